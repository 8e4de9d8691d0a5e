"""GGUF files against the `gguf` package: its writer makes them, its dequantisation is the oracle."""

import os
import pathlib
import struct
import subprocess

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

from safetensors.numpy import load_file  # noqa: E402
from safetensors.torch import load_file as load_torch  # noqa: E402

PROBE = pathlib.Path(os.environ["RESFLOW"]).parent / "tests" / "weights_probe"
QUANTS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def probe(*arguments):
    return subprocess.run([PROBE, *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def random_blocks(name, rows, columns):
    """Every bit at random but the float16 scales, which would be infinities and NaN now and then. -> bytes [rows, bytes of a row]"""
    draw = np.random.default_rng(len(name))
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    blocks = draw.integers(0, 256, (rows * columns // block, size), np.uint8)
    for place in SCALES[name]:
        blocks[:, place : place + 2] = draw.normal(0, 0.1, (len(blocks), 1)).astype(np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)


def written(path, tensors, pairs=()):
    """tensors: (name, array, ggml type or None)"""
    writer = gguf.GGUFWriter(str(path), "flux")
    for add, *values in pairs:
        getattr(writer, add)(*values)
    for name, array, kind in tensors:
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", QUANTS)
def test_every_block_format_is_the_packages(tmp_path, name):
    """300 blocks of every bit at random. Catches: one wrong shift, mask, sign or order of halves."""
    kind = gguf.GGMLQuantizationType[name]
    raw = random_blocks(name, 150, 512)
    written(tmp_path / "in.gguf", [("first", np.ones(3, np.float32), None), ("w", raw, kind)])
    probe("copy", tmp_path / "in.gguf", tmp_path / "out.safetensors")
    found, wanted = load_file(tmp_path / "out.safetensors")["w"], gguf.quants.dequantize(raw, kind)
    assert found.shape == (150, 512) and found.dtype == np.float32 and np.ptp(wanted) > 0.5
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6 * np.abs(wanted).max())


def test_plain_types_shapes_and_metadata(tmp_path):
    """Catches: shapes that are not turned round, a wrong alignment, an original shape that is ignored."""
    draw = np.random.default_rng(0)
    arrays = {
        "f32": draw.normal(size=(2, 3, 5)).astype(np.float32),
        "f16": draw.normal(size=(7, 3)).astype(np.float16),
        "f64": draw.normal(size=(3,)),
        "i32": draw.integers(-9, 9, (4, 2)).astype(np.int32),
    }
    tensors = [(name, array, None) for name, array in arrays.items()]
    bf16 = (draw.normal(size=(4, 6)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    tensors += [("bf16", bf16.view(np.uint8), gguf.GGMLQuantizationType.BF16), ("reshaped", random_blocks("Q8_0", 1, 96), gguf.GGMLQuantizationType.Q8_0)]
    pairs = [
        ("add_array", "comfy.gguf.orig_shape.reshaped", [4, 24]), ("add_custom_alignment", 64), ("add_array", "words", ["a", "b"]),
        ("add_string", "general.name", "x"), ("add_bool", "yes", True), ("add_float64", "real", 0.5),
    ]  # fmt: skip
    path = written(tmp_path / "in.gguf", tensors, pairs)
    probe("copy", path, tmp_path / "out.safetensors")
    found = load_torch(tmp_path / "out.safetensors")
    assert set(found) == set(arrays) | {"bf16", "reshaped"} and tuple(found["reshaped"].shape) == (4, 24)
    for name, array in arrays.items():
        assert found[name].numpy().dtype == array.dtype
        np.testing.assert_array_equal(found[name].numpy(), array)
    np.testing.assert_array_equal(found["bf16"].float().numpy(), (bf16.astype(np.uint32) << 16).view(np.float32))


def test_damaged_files_are_user_errors(tmp_path):
    """Every truncation, and lies about sizes. Catches: a read behind the file."""
    folder = tmp_path / "files"
    folder.mkdir()
    whole = written(tmp_path / "in.gguf", [("a", np.ones((2, 3), np.float32), None), ("w", random_blocks("Q4_K", 1, 256), gguf.GGMLQuantizationType.Q4_K)]).read_bytes()
    for size in range(4, len(whole) - 16, 7):  # the last 16 bytes are padding
        (folder / f"cut{size:05}.gguf").write_bytes(whole[:size])
    place = whole.index(struct.pack("<Q", 1) + b"w" + struct.pack("<I", 2)) + 9  # its number of dimensions
    lies = {
        "version": whole[:4] + struct.pack("<I", 9) + whole[8:],
        "dimensions": whole[:place] + struct.pack("<I", 99) + whole[place + 4 :],
        "tensors": whole[:8] + struct.pack("<Q", 1 << 60) + whole[16:],
        "pairs": whole[:16] + struct.pack("<Q", 1 << 60) + whole[24:],
    }
    for name, data in lies.items():
        (folder / f"lie_{name}.gguf").write_bytes(data)
    (folder / "whole.gguf").write_bytes(whole)
    said = probe("check", folder).splitlines()
    names = sorted(path.name for path in folder.iterdir())
    assert len(said) == len(names)
    for name, line in zip(names, said, strict=True):
        assert line == "ok" if name == "whole.gguf" else line.startswith("[gguf]") and name in line, (name, line)
