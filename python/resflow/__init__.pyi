"""resflow restores real photographs, and opens FLUX.1's parts from the files that people have."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack, overload

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch

from ._options import RestoreOptions

__version__: str

_Path = str | os.PathLike[str]
_Array = TypeVar("_Array", torch.Tensor, npt.NDArray[np.uint8], npt.NDArray[np.uint16], npt.NDArray[np.floating[Any]], PIL.Image.Image)

class Error(ValueError):
    """A wrong option, argument or file. str() says it all; the parts are there one by one, None where there is nothing to say."""

    where: str | None
    """The option, argument or file that it is about."""
    what: str | None
    """What was wrong."""
    wanted: str | None
    got: str | None
    hint: str | None
    """A way out."""

class Transformer:
    """FLUX.1's transformer, called as diffusers' FluxTransformer2DModel. One may be called from several threads."""

    def __call__(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        pooled_projections: torch.Tensor | None = None,
        timestep: torch.Tensor | None = None,
        img_ids: torch.Tensor | None = None,
        txt_ids: torch.Tensor | None = None,
        guidance: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The velocity of the latent tokens, [B, L, C], in the number type that is computed in.

        hidden_states: latent tokens, [B, L, C]. encoder_hidden_states: the text's tokens, [B, T, D]. pooled_projections: the text's one vector, [B, P].
        timestep: sigma, [B], 0..1. img_ids, txt_ids: positions, [L, 3] and [T, 3], float32. guidance: the scale, [B], where the model takes one.
        All but guidance are needed. No gradients. Raises Error where a shape does not fit.
        """

    @property
    def config(self) -> dict[str, Any]:
        """diffusers' configuration, as config.json has it or as the tensors tell it."""

class Autoencoder:
    """Between pictures, float in -1..1, and the transformer's latents. Computes in the number type that was asked for, gives float32."""

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W], -1..1, sides multiples of `reduction` -> [B, C, h, w]: (mean - shift) * scale of the posterior, the same every time."""

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """The inverse: [B, C, h, w] -> [B, 3, h * reduction, w * reduction], about -1..1, not clamped."""

    @property
    def latent_channels(self) -> int:
        """C"""

    @property
    def reduction(self) -> int:
        """Pixels along a side that one latent stands for."""

class TextEncoder:
    """T5, CLIP, or both, with their tokenizers."""

    def __call__(self, prompts: str | Sequence[str], max_sequence_length: int = 512) -> tuple[torch.Tensor, torch.Tensor | None]:
        """-> (tokens [B, L, D], pooled [B, D] or None).

        T5: its last hidden state over max_sequence_length tokens, padding included, as FLUX is fed it. CLIP: its last hidden state over its own 77 tokens,
        and the pooled output. Both: T5's tokens, CLIP's pooled output: encoder_hidden_states and pooled_projections of the transformer.
        """

    @property
    def parts(self) -> list[str]:
        """What is loaded: "t5", "clip"."""

def load_transformer(path: _Path, device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32") -> Transformer:
    """Opens FLUX.1's transformer.

    path: the component's folder (config.json and weights, in shards or not), a pipeline's folder, a name in Hugging Face's cache, or a single file
    (diffusers' or BFL's names, all-in-one files, GGUF, float8). The configuration is read, or told by the tensors. Quantised weights stay so in memory.
    dtype: what is computed in, "float32", "bfloat16" or "float16". Raises Error.
    """

def load_autoencoder(path: _Path, device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32") -> Autoencoder:
    """Opens an AutoencoderKL (diffusers' or BFL's names) or AutoencoderTiny (TAEF1). path: as in load_transformer(). Raises Error."""

def load_text_encoder(
    path: _Path, device: str | torch.device = "cpu", dtype: str | torch.dtype = "float32", tokenizer: _Path | None = None
) -> TextEncoder:
    """Opens T5's encoder or CLIP's text tower, or both of a pipeline's folder.

    path: as in load_transformer(). tokenizer: its folder or file, or a pipeline's folder; needed for single files only: a component's folder has its own
    beside it. T5 computes in float32 where float16 is asked for, which it does not fit. Raises Error.
    """

def restore_options() -> list[dict[str, Any]]:
    """Every option of restore(): {"name", "type", "default", "help"}, with "choices" where there are."""

@overload
def restore(image: _Array, *, output: None = None, report: Literal[False] = False, **options: Unpack[RestoreOptions]) -> _Array: ...
@overload
def restore(image: _Array, *, output: None = None, report: Literal[True], **options: Unpack[RestoreOptions]) -> tuple[_Array, dict[str, Any]]: ...
@overload
def restore(image: _Path, *, output: None = None, report: Literal[False] = False, **options: Unpack[RestoreOptions]) -> PIL.Image.Image: ...
@overload
def restore(image: _Path, *, output: None = None, report: Literal[True], **options: Unpack[RestoreOptions]) -> tuple[PIL.Image.Image, dict[str, Any]]: ...
@overload
def restore(image: _Path | _Array, *, output: _Path, report: Literal[False] = False, **options: Unpack[RestoreOptions]) -> Path: ...
@overload
def restore(image: _Path | _Array, *, output: _Path, report: Literal[True], **options: Unpack[RestoreOptions]) -> tuple[Path, dict[str, Any]]:
    """Restores a photograph, as `resflow restore` does: the same options and seed, the same pixels.

    image: a path, a PIL image, a numpy array H x W x 3 (also H x W, and x 4 with alpha; uint8, uint16, or floating point in 0..1) or a torch tensor
    [3, H, W]. The result is of the same kind, number type and device; of a path it is a PIL image. Colours are sRGB.
    output: write the result to this file (or into this folder, under the source's name) and return its path.
    report: return (result, report): model, options as used, sizes, faithfulness, checks, seconds, notes: what `--json` prints.
    The GIL is released meanwhile; Ctrl-C ends it. Several threads may call it: one model serves them in turn.
    Raises TypeError for an option that is not known, Error for what is wrong with a value or a file.
    """
