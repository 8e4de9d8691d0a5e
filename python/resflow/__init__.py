"""resflow restores real photographs, and opens FLUX.1's parts from the files that people have."""

import torch as _torch  # before the native half, which is linked against this torch's own libraries

from ._build import TORCH as _TORCH
from ._build import VERSION as __version__

if _torch.__version__.split("+")[0].split(".")[:2] != _TORCH.split("."):
    raise ImportError(
        f"this resflow was built with torch {_TORCH}, and torch {_torch.__version__} is installed: their binaries do not fit. "
        f"Install torch=={_TORCH}.*, or build resflow again (`make wheel`)"
    )

from ._error import Error
from ._models import load_autoencoder, load_text_encoder, load_transformer
from ._restore import restore, restore_options

__all__ = ["Error", "load_autoencoder", "load_text_encoder", "load_transformer", "restore", "restore_options"]
