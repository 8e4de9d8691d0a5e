"""Between what people hold pictures in and the library's: float32 [3, H, W], 0..1."""

import sys

import torch

from . import _resflow
from ._error import Error

FULL = {torch.uint8: 255, torch.uint16: 65535}  # of integer samples


def _wrong(what, wanted, got):
    return Error(f"[image] {what}: wanted {wanted}, got {got}", where="image", what=what, wanted=wanted, got=got)


def _unit(samples):
    """Samples of any type -> 0..1. float32 stays as it is."""
    if samples.dtype in FULL:
        return samples.to(torch.float32) / FULL[samples.dtype]
    if not samples.is_floating_point():
        raise _wrong("samples of a type that has no full scale", "uint8, uint16 or floating point, 0..1", str(samples.dtype))
    return samples


def _samples(unit, dtype):
    if dtype not in FULL:
        return unit.to(dtype)
    return (unit.clamp(0, 1) * FULL[dtype] + 0.5).to(dtype)


def _picture(samples):
    """[C, H, W], C = 1 grey, 2 with alpha, 3 colours, 4 with alpha"""
    channels = samples.shape[0]
    unit = _unit(samples)
    colours = unit[:3] if channels >= 3 else unit[:1].expand(3, -1, -1)
    alpha = unit[-1:] if channels in (2, 4) else None
    return _resflow.Picture(colours, alpha, 8 if samples.dtype == torch.uint8 else 16, channels < 3)


def _channels(picture, count):
    """A result's channels, as many as the source had. Of a grey source the three differ a little."""
    parts = [picture.pixels]
    if count < 3:
        red, green, blue = picture.pixels
        parts = [(0.299 * red + 0.587 * green + 0.114 * blue)[None]]
    if count in (2, 4):
        parts.append(picture.alpha)
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _from_tensor(image):
    if image.dim() != 3 or image.shape[0] not in (1, 3, 4) or image.numel() == 0:
        raise _wrong("not a picture", "a tensor [3, H, W], or 1 or 4 channels; one picture at a time", str(list(image.shape)))
    return _picture(image), lambda made: _samples(_channels(made, image.shape[0]), image.dtype).to(image.device)


def _from_array(image):
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)) or image.size == 0:
        raise _wrong("not a picture", "an array H x W x 3, H x W x 4 or H x W", " x ".join(map(str, image.shape)))
    usable = image.astype(image.dtype.newbyteorder("="), order="C", copy=not image.flags.writeable)
    try:
        samples = torch.from_numpy(usable)
    except TypeError:
        raise _wrong("samples of a type that has no full scale", "uint8, uint16 or floating point, 0..1", str(image.dtype)) from None
    channels = samples[None] if image.ndim == 2 else samples.permute(2, 0, 1)

    def back(made):
        out = _samples(_channels(made, channels.shape[0]), samples.dtype)
        return (out[0] if image.ndim == 2 else out.permute(1, 2, 0).contiguous()).numpy()

    return _picture(channels), back


def _in_srgb(image):
    """A PIL image in a mode that is worked on; one with a profile of its own converted to sRGB."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I"):
        return image.convert("I;16") if image.mode != "I;16" else image
    if image.mode in ("LA", "La", "RGBa") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("LA" if image.mode in ("LA", "La") else "RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    profile = image.info.get("icc_profile")
    if profile and image.mode not in ("L", "LA"):
        import io

        from PIL import ImageCms

        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        colours = image if image.mode in ("RGB", "CMYK") else image.convert("RGB")
        try:
            colours = ImageCms.profileToProfile(
                colours, io.BytesIO(profile), ImageCms.createProfile("sRGB"), renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
            )
        except ImageCms.PyCMSError:  # a profile that does not fit the picture: its colours are taken as sRGB
            colours = colours.convert("RGB")
        if alpha is not None:
            colours.putalpha(alpha)
        return colours
    return image if image.mode in ("L", "LA", "RGB", "RGBA") else image.convert("RGB")


def _to_pil(picture, channels, deep):
    from PIL import Image

    samples = _samples(_channels(picture, channels), torch.uint16 if deep else torch.uint8).permute(1, 2, 0).contiguous()
    mode = "I;16" if deep else {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    return Image.frombytes(mode, (samples.shape[1], samples.shape[0]), bytes(samples.untyped_storage()))


def _from_pil(image):
    work = _in_srgb(image)
    deep, channels = work.mode == "I;16", len(work.getbands())
    samples = torch.frombuffer(bytearray(work.tobytes()), dtype=torch.uint16 if deep else torch.uint8)
    samples = samples.view(work.height, work.width, channels).permute(2, 0, 1)

    def back(made):
        out = _to_pil(made, channels, deep)
        if "exif" in image.info:
            out.info["exif"] = image.info["exif"]
        return out

    return _picture(samples), back


def pil_of(picture):
    """A file's result as a PIL image: 8 bits a sample, sRGB."""
    return _to_pil(picture, (1 if picture.grey else 3) + (picture.alpha is not None), deep=False)


def given(image):
    """-> the picture, and what makes the result's kind the same"""
    if isinstance(image, torch.Tensor):
        return _from_tensor(image)
    # Whoever holds an object of these has imported them.
    numpy, pil = sys.modules.get("numpy"), sys.modules.get("PIL.Image")
    if numpy is not None and isinstance(image, numpy.ndarray):
        return _from_array(image)
    if pil is not None and isinstance(image, pil.Image):
        return _from_pil(image)
    raise TypeError(f"restore() takes a path, a PIL image, a numpy array or a torch tensor, not {type(image).__name__}")
