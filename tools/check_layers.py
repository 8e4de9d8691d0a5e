"""A folder of src/resflow includes only the folders that tools/layers.txt allows it, and headers stay cheap to include."""

import re
import sys

from sources import report, root_from_arguments, sources

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def read_layers(path) -> dict[str, list[str]]:
    layers = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            folder, _, below = line.partition(":")
            layers[folder] = below.split()
    return layers


def cycles(layers: dict[str, list[str]]) -> list[str]:
    """Arrows point down only: a folder may use those listed above it in the file."""
    seen, complaints = set(), []
    for folder, below in layers.items():
        complaints += [f"tools/layers.txt: {folder} uses {other}, which is not listed before it" for other in below if other not in seen]
        seen.add(folder)
    return complaints


def check(root) -> list[str]:
    layers = read_layers(root / "tools" / "layers.txt")
    complaints = cycles(layers)
    for path in sources(root, {".h", ".cpp", ".inc"}, ("src", "python")):
        name = path.relative_to(root).as_posix()
        parts = path.relative_to(root).parts
        top = parts[0] == "python"
        if not top and (len(parts) < 4 or parts[:2] != ("src", "resflow")):
            complaints.append(f"{name}: wanted a place in src/resflow/<folder>/")
            continue
        folder = parts[0] if top else parts[2]
        if folder not in layers:
            complaints.append(f"{name}: folder {folder} is not in tools/layers.txt")
            continue
        header = path.suffix == ".h"
        for bracket, included in INCLUDE.findall(path.read_text()):
            if bracket == '"' and not (top and (path.parent / included).exists()):
                if not included.startswith("resflow/"):
                    complaints.append(f'{name}: includes "{included}": write the path from src, "resflow/<folder>/..."')
                elif (other := included.split("/")[1]) != folder and other not in layers[folder]:
                    complaints.append(f"{name}: {folder} may not include {other} (tools/layers.txt)")
            elif included == "torch/torch.h" or included.startswith("torch/nn"):
                complaints.append(f"{name}: includes <{included}>: take the ATen headers (a file would compile in 13 s instead of 5)")
            elif header and included.startswith(("torch/", "ATen/")) and included != "ATen/core/Tensor.h":
                complaints.append(f"{name}: a header includes <{included}>: of libtorch take ATen/core/Tensor.h only")
        if header and "#pragma once" not in path.read_text():
            complaints.append(f"{name}: no #pragma once")
    return complaints


if __name__ == "__main__":
    sys.exit(report("layers", check(root_from_arguments(__doc__))))
