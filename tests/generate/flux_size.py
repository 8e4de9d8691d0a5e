"""A FLUX.1 of the real size without its weights: whole diffusers folders of the published shapes, as sparse files of zeros that take no room on the
disk, and GGUF files of random blocks; and a program watched while it runs.

    .venv/bin/python tests/generate/flux_size.py FOLDER [--gguf q4_0|q8_0]

makes FOLDER/model, and FOLDER/transformer.gguf (7 or 13 GB, written). See docs/flux.md, "Memory".
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "models")]
from flux_files import bfl_shapes  # noqa: E402

FLUX = {"num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096}
CLIP = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
T5 = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}


def sparse(path, shapes):
    """A safetensors file of bf16 zeros that takes no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def sparse_shards(folder, stem, shapes, count):
    names, size = list(shapes), -(-len(shapes) // count)
    index = {}
    for i in range(count):
        shard = f"{stem}-{i + 1:05}-of-{count:05}.safetensors"
        sparse(folder / shard, {name: shapes[name] for name in names[i * size : (i + 1) * size]})
        index |= {name: shard for name in names[i * size : (i + 1) * size]}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def shapes_of(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def without_weights(folder):
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        path.unlink()
    return folder


def sparse_model(folder, small, flux=FLUX, clip=CLIP, t5=None, vae=(128, 256, 512, 512), shards=3):
    """A copy of the small model `small` with parts of these sizes. t5: None keeps the small one's."""
    import diffusers
    import torch
    import transformers

    shutil.copytree(small, folder)
    read = lambda part: json.loads((folder / part / "config.json").read_text())  # noqa: E731
    with torch.device("meta"):
        width = clip["hidden_size"]
        kept = {"joint_attention_dim": read("transformer")["joint_attention_dim"]} if t5 is None else {}
        transformer = diffusers.FluxTransformer2DModel(in_channels=64, guidance_embeds=True, pooled_projection_dim=width, **flux | kept)
        clip_config = transformers.CLIPTextConfig(**{k: v for k, v in read("text_encoder").items() if k not in ("architectures", "model_type")} | clip)
        clip_model = transformers.CLIPTextModel(clip_config)
        autoencoder = diffusers.AutoencoderKL.from_config(
            {k: v for k, v in read("vae").items() if not k.startswith("_")} | {"block_out_channels": list(vae), "latent_channels": 16, "layers_per_block": 2, "norm_num_groups": 32}
        )
        t5_config = None
        if t5 is not None:
            t5_config = transformers.T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", tie_word_embeddings=False, **t5)
            t5_shapes = shapes_of(transformers.T5EncoderModel(t5_config))
    transformer.save_config(without_weights(folder / "transformer"))
    autoencoder.save_config(without_weights(folder / "vae"))
    clip_config.save_pretrained(without_weights(folder / "text_encoder"))
    sparse_shards(folder / "transformer", "diffusion_pytorch_model", shapes_of(transformer), shards)
    sparse(folder / "vae" / "diffusion_pytorch_model.safetensors", shapes_of(autoencoder))
    sparse(folder / "text_encoder" / "model.safetensors", shapes_of(clip_model))
    if t5_config is not None:
        t5_config.save_pretrained(without_weights(folder / "text_encoder_2"))
        sparse_shards(folder / "text_encoder_2", "model", {n: s for n, s in t5_shapes.items() if n != "encoder.embed_tokens.weight"}, 2)
    return folder


def write_gguf(path, kind, shapes):
    """Random blocks of small weights under BFL's names, as city96's tools lay them out; biases 0, norms 1."""
    import gguf

    types = gguf.GGMLQuantizationType
    quantised, (block, size) = types[kind.upper()], gguf.GGML_QUANT_SIZES[types[kind.upper()]]
    random = np.random.default_rng(1)
    blocks = random.integers(0, 256, (1 << 16, size), np.uint8)
    blocks[:, :2] = np.full(len(blocks), 0.004 if kind == "q4_0" else 0.0003, np.float16).view(np.uint8).reshape(-1, 2)
    writer = gguf.GGUFWriter(str(path), "flux")
    plans = []
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        if len(shape) == 2 and count > 1024 and shape[1] % block == 0:
            writer.add_tensor_info(name, (shape[0], shape[1] // block * size), np.dtype(np.uint8), count // block * size, raw_dtype=quantised)
            plans.append(lambda count=count: np.resize(blocks, (count // block, size)))
        else:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * count)
            plans.append(lambda shape=shape, name=name: np.full(shape, float(name.endswith("scale")), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for plan in plans:
        writer.write_tensor_data(plan())
    writer.close()
    return path


def numbers_of(process):
    """Bytes of anonymous and of mapped memory; nothing once it has ended."""
    try:
        lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    found = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile"))}
    return (found["RssAnon"], found["RssFile"]) if len(found) == 2 else None


def watched(*arguments, every=0.004, **environment):
    """Runs a generation with --json. -> what it printed, the most anonymous memory in each stage and in all, the most of both kinds, seconds by
    the clock and of computing"""
    words = [os.environ.get("RESFLOW", str(ROOT / "build" / "resflow")), *map(str, arguments)]
    begin, used, seen = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment) as running:
        while running.poll() is None:
            if numbers := numbers_of(running.pid):
                seen.append((time.time(), *numbers))
            time.sleep(every)
        end = time.time()
        assert running.returncode == 0, running.stderr.read()
        item = json.loads(running.stdout.read())["items"][0]
    # The picture is written when it is decoded; the last second before that may be either's.
    decoded = os.stat(item["output"]).st_mtime - item["seconds"]["decode"]
    denoised = decoded - item["seconds"]["denoise"]
    most = lambda chosen, column=1: max((row[column] for row in seen if chosen(row[0])), default=0)  # noqa: E731
    return {
        "item": item,
        "anonymous": most(lambda _: True),
        "resident": max(row[1] + row[2] for row in seen),
        "denoise": most(lambda when: denoised < when < decoded - 1),
        "decode": most(lambda when: when > decoded),
        "seconds": end - begin,
        "cpu_seconds": resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used,
    }


def main():
    import diffusers
    from generate_models import parts, saved

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--gguf", choices=["q4_0", "q8_0"])
    args = parser.parse_args()
    small = saved(diffusers.FluxPipeline(**parts(args.folder / "sources")), args.folder / "small", args.folder / "sources")
    print(sparse_model(args.folder / "model", small, t5=T5))
    if args.gguf:
        print(write_gguf(args.folder / "transformer.gguf", args.gguf, bfl_shapes()))


if __name__ == "__main__":
    main()
