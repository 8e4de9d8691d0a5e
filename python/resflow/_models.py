"""FLUX.1's parts from whatever file or folder they are in."""

import json
import os

from . import _resflow
from ._error import Error

# As torch names them, and as `resflow` does.
TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "f32": "f32", "bf16": "bf16", "f16": "f16", "auto": "auto"}


def type_name(dtype):
    name = str(dtype).removeprefix("torch.")
    if name not in TYPES:
        raise Error(f"[dtype] unknown number type: wanted one of {', '.join(TYPES)}, got {name}", where="dtype", what="unknown number type", got=name)
    return TYPES[name]


def load_transformer(path, device="cpu", dtype="float32"):
    """FLUX.1's transformer, to be called as diffusers' FluxTransformer2DModel; it returns the tensor itself."""
    return _resflow.Transformer(os.fsencode(path), str(device), type_name(dtype))


def load_autoencoder(path, device="cpu", dtype="float32"):
    """An AutoencoderKL or AutoencoderTiny: encode(x) and decode(z), pictures in -1..1."""
    return _resflow.Autoencoder(os.fsencode(path), str(device), type_name(dtype))


def load_text_encoder(path, device="cpu", dtype="float32", tokenizer=None):
    """T5, CLIP, or both: prompts -> (tokens [B, L, D], pooled [B, D] or None)."""
    return _resflow.TextEncoder(os.fsencode(path), str(device), type_name(dtype), b"" if tokenizer is None else os.fsencode(tokenizer))


_resflow.Transformer.config = property(lambda self: json.loads(self._config), doc="diffusers' configuration, as it was read or told by the tensors")
