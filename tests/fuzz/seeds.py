"""Files to begin fuzzing with: good ones as their own programs write them, and the bad ones that are known to be made. As a program: FOLDER, into
which FOLDER/TARGET/NAME are written."""

import io
import json
import pathlib
import pickle
import struct
import sys
import zipfile

import gguf
import numpy as np
import safetensors.torch
import torch

TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2], dtype=torch.int64), "h": torch.ones(3, dtype=torch.bfloat16)}


def st(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def safetensors_seeds():
    whole = safetensors.torch.save(TENSORS, {"format": "pt"})
    good = {"whole": whole, "empty tensor": safetensors.torch.save({"none": torch.zeros(0, 3)}), "scalar": safetensors.torch.save({"s": torch.tensor(2.0)})}
    bad = {
        "truncated": whole[:-5],
        "truncated header": whole[:40],
        "no bytes": b"",
        "wrong offsets": st({"a": entry(begin=8, end=16)}, bytes(16)),
        "offsets beyond the file": st({"a": entry(end=1 << 40)}, bytes(8)),
        "offsets turned round": st({"a": entry(begin=8, end=0)}, bytes(8)),
        "overlap": st({"a": entry(), "b": entry(begin=4, end=12)}, bytes(12)),
        "duplicate keys": st(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8)),
        "absurd header length": st({}, length=1 << 62),
        "header length beyond the file": st({}, length=100_000_000),
        "wrong dtype": st({"a": entry(dtype="F33")}, bytes(8)),
        "a size that overflows": st({"a": entry(shape=(1 << 33, 1 << 33))}, bytes(8)),
        "a negative size": st({"a": entry(shape=(-1, -2))}, bytes(8)),
        "a number that is too large": st(b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}', bytes(8)),
        "deep nesting": st(b"[" * 100_000, b""),
        "a deep value": st(b'{"a":{"dtype":"F32","shape":' + b"[" * 100_000 + b"]" * 100_000 + b',"data_offsets":[0,4]}}', bytes(4)),
        "not UTF-8": st(b'{"\xff":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    }
    return good, bad


def gguf_file(folder):
    path = folder / "whole.gguf"
    writer = gguf.GGUFWriter(path, "flux")
    writer.add_string("general.name", "tiny")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "<unk>"])
    writer.add_array("tokenizer.ggml.scores", [0.0, -1.0, -2.0])
    writer.add_float32("scale", 0.5)
    rows = np.random.default_rng(0).normal(size=(4, 256)).astype(np.float32)
    writer.add_tensor("plain", rows)
    writer.add_tensor("half", rows.astype(np.float16))
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q5_1):
        writer.add_tensor(kind.name, gguf.quants.quantize(rows, kind), raw_dtype=kind)
    blocks = np.random.default_rng(1).integers(0, 256, (4, 144), dtype=np.uint8)
    writer.add_tensor("Q4_K", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data = path.read_bytes()
    path.unlink()
    return data


def gguf_by_hand(pairs=b"", pair_count=0, tensors=b"", tensor_count=0, version=3, data=bytes(64)):
    return b"GGUF" + struct.pack("<IQQ", version, tensor_count, pair_count) + pairs + tensors + bytes(-(24 + len(pairs) + len(tensors)) % 32) + data


def text(value):
    return struct.pack("<Q", len(value)) + value


def gguf_tensor(name=b"a", sizes=(4,), kind=0, offset=0):
    return text(name) + struct.pack("<I", len(sizes)) + b"".join(struct.pack("<Q", size) for size in sizes) + struct.pack("<IQ", kind, offset)


def gguf_seeds(folder):
    whole = gguf_file(folder)
    nested = text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 10_000
    good = {
        "whole": whole,
        "by hand": gguf_by_hand(tensors=gguf_tensor(), tensor_count=1),
        "an offset that is not aligned": gguf_by_hand(tensors=gguf_tensor(offset=3), tensor_count=1),
    }
    bad = {
        "truncated": whole[:-100],
        "truncated header": whole[:100],
        "a bad type": gguf_by_hand(tensors=gguf_tensor(kind=999), tensor_count=1),
        "a bad type of a pair": gguf_by_hand(pairs=text(b"k") + struct.pack("<I", 77), pair_count=1),
        "a bad version": gguf_by_hand(version=99),
        "an offset beyond the file": gguf_by_hand(tensors=gguf_tensor(offset=1 << 50), tensor_count=1),
        "duplicate names": gguf_by_hand(tensors=gguf_tensor() + gguf_tensor(offset=32), tensor_count=2),
        "sizes that overflow behind a 0": gguf_by_hand(tensors=gguf_tensor(sizes=(1 << 40, 1 << 40, 0)), tensor_count=1),
        "sizes that overflow": gguf_by_hand(tensors=gguf_tensor(sizes=(1 << 40, 1 << 40)), tensor_count=1),
        "absurd counts": gguf_by_hand(tensor_count=1 << 60, pair_count=1 << 60),
        "an absurd text": gguf_by_hand(pairs=struct.pack("<Q", 1 << 62), pair_count=1),
        "an absurd array": gguf_by_hand(pairs=text(b"k") + struct.pack("<IIQ", 9, 4, 1 << 61), pair_count=1),
        "nested arrays": gguf_by_hand(pairs=nested, pair_count=1),
        "a block that is cut": gguf_by_hand(tensors=gguf_tensor(sizes=(33,), kind=8), tensor_count=1),
    }
    return good, bad


class Code:
    def __reduce__(self):
        return print, ("this must not be run",)


def saved(value, **options):
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def repacked(data, compression=zipfile.ZIP_STORED, changes=None):
    """The archive with some entries' contents changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", compression) as target:
        for item in source.namelist():
            target.writestr(item, (changes or {}).get(item.split("/", 1)[1], source.read(item)))
    return out.getvalue()


def bomb(entries=3, size=30_000_000):
    """Entries that unpack to a thousand times the file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        for i in range(entries):
            archive.writestr(f"archive/data/{i}", bytes(size))
    return out.getvalue()


def pickled(code):
    return repacked(saved({"a": torch.zeros(2)}), changes={"data.pkl": code})


def torch_seeds():
    whole, old = saved(TENSORS), saved(TENSORS, _use_new_zipfile_serialization=False)
    script = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3)), script)
    good = {
        "whole": whole,
        "old format": old,
        "one level down": saved({"state_dict": TENSORS, "epoch": 3}),
        "a view": saved({"v": torch.arange(12.0).reshape(3, 4).t()[1:]}),
        "script": script.getvalue(),
    }
    bad = {
        "truncated": whole[:-30],
        "truncated old": old[:-9],
        "pickle with code": saved({"a": torch.zeros(2), "b": Code()}),
        "pickle with code, old": saved({"a": torch.zeros(2), "b": Code()}, _use_new_zipfile_serialization=False),
        "zip bomb": bomb(),
        "compressed": repacked(whole, zipfile.ZIP_DEFLATED),
        "a storage cut short": repacked(whole, changes={"data/0": bytes(3)}),
        "a pickle that never ends": pickled(b"\x80\x02" + b"(" * 500_000 + b"."),
        "a memo that doubles": pickled(b"\x80\x02](h\x00" + b"h\x00h\x00" * 1000 + b"e."),
        "a text of 4 GB": pickled(b"\x80\x02X\xff\xff\xff\xff."),
        "an empty pickle": pickled(b""),
        "a number of 2 GB": pickled(b"\x80\x02\x8b\xff\xff\xff\x7f."),
    }
    return good, bad


FLUX = {
    "_class_name": "FluxTransformer2DModel", "patch_size": 1, "in_channels": 64, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 128,
    "num_attention_heads": 2, "joint_attention_dim": 64, "pooled_projection_dim": 32, "guidance_embeds": True, "axes_dims_rope": [16, 56, 56],
}  # fmt: skip
KL = {
    "_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2, "block_out_channels": [32, 64], "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 32,
    "scaling_factor": 0.36, "shift_factor": 0.11, "use_quant_conv": False, "use_post_quant_conv": False,
}  # fmt: skip
TINY = {"_class_name": "AutoencoderTiny", "latent_channels": 4, "encoder_block_out_channels": [64] * 4, "decoder_block_out_channels": [64] * 4}


def index(weights):
    return b"i" + json.dumps({"metadata": {"total_size": 40}, "weight_map": weights}).encode()


def json_seeds():
    good = {
        "transformer": b"t" + json.dumps(FLUX).encode(),
        "autoencoder": b"a" + json.dumps(KL).encode(),
        "tiny autoencoder": b"a" + json.dumps(TINY).encode(),
        "index": index({"a": "a.safetensors", "b": "b.safetensors"}),
    }
    deep = b"[" * 200_000
    bad = {
        "truncated": good["transformer"][:50],
        "no bytes of it": b"t",
        "deep nesting": b"t" + deep + b"]" * 200_000,
        "deep nesting as a value": b't{"patch_size": ' + deep + b"]" * 200_000 + b"}",
        "deep nesting in an autoencoder": b'a{"_class_name": "AutoencoderKL", "block_out_channels": ' + deep + b"]" * 200_000 + b"}",
        "deep nesting in an index": b'i{"weight_map": {"a": ' + deep + b"]" * 200_000 + b"}}",
        "a number that is none": b't{"patch_size": 1e999}',
        "absurd sizes": b"t" + json.dumps(FLUX | {"num_attention_heads": 1 << 62}).encode(),
        "absurd blocks": b"a" + json.dumps(KL | {"block_out_channels": [1 << 40, 1 << 40]}).encode(),
        "absurdly many layers": b"a" + json.dumps(KL | {"layers_per_block": 1 << 60}).encode(),
        "no groups": b"a" + json.dumps(KL | {"norm_num_groups": 0}).encode(),
        "wrong type": b"t" + json.dumps(FLUX | {"in_channels": "64"}).encode(),
        "another class": b"a" + json.dumps(KL | {"_class_name": "VQModel"}).encode(),
        "missing shard": index({"a": "a.safetensors", "c": "c.safetensors"}),
        "a tensor that its shard lacks": index({"a": "a.safetensors", "x": "b.safetensors"}),
        "a shard elsewhere": index({"a": "../../etc/passwd"}),
        "an index of itself": index({"a": "model.safetensors.index.json"}),
        "not UTF-8": b't{"_class_name": "\xff\xfe"}',
    }
    return good, bad


def write_seeds(folder):
    """-> {target: (names of good files, names of bad ones)}; files in folder / target."""
    out = {}
    folder.mkdir(parents=True, exist_ok=True)
    for target, (good, bad) in {"safetensors": safetensors_seeds(), "gguf": gguf_seeds(folder), "torch": torch_seeds(), "json": json_seeds()}.items():
        (folder / target).mkdir(exist_ok=True)
        for name, data in (good | bad).items():
            (folder / target / name).write_bytes(data)
        out[target] = (list(good), list(bad))
    return out


if __name__ == "__main__":
    write_seeds(pathlib.Path(sys.argv[1]))
