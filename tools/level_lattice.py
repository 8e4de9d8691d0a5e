#!/usr/bin/env python3
"""Takes a fixed pattern out of a compact model: what its 4-px cells leave at the same places of all pictures is a bias of the last convolution.

  level_lattice.py MODEL RESTORED PART OUT    RESTORED: pictures (png) that MODEL made, of training pictures, by PART: dr (--strength 0) or flow (default)

First dr, until its pattern is gone, then flow. tests/restore/seams.py measures what is left (lattice_score)."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter

CELL = 4
# A part's last bias and what one of its units is in the picture, 0..1 (kChangeScale; sigma_data).
LAST = {"dr": ("dr.conv_out.bias", 0.1), "flow": ("flow.conv_out.bias", 0.05)}


def pattern(folder):
    """Mean fine detail at each place of a cell, smooth parts counting most. -> [CELL, CELL, 3], levels of 255, of mean 0"""
    total, weights = np.zeros((CELL, CELL, 3)), np.zeros((CELL, CELL, 3))
    for path in sorted(Path(folder).glob("*.png")):
        image = np.array(Image.open(path).convert("RGB")).astype(float)
        rows, columns = (image.shape[0] // CELL - 2) * CELL, (image.shape[1] // CELL - 2) * CELL
        for channel in range(3):
            fine = image[..., channel] - gaussian_filter(image[..., channel], 1)
            weight = 1 / (np.sqrt(gaussian_filter(fine**2, 8)) + 0.5)
            cells = lambda values: values[CELL : CELL + rows, CELL : CELL + columns].reshape(rows // CELL, CELL, columns // CELL, CELL).sum((0, 2))
            total[..., channel] += cells(fine * weight)
            weights[..., channel] += cells(weight)
    mean = total / weights
    return mean - mean.mean((0, 1))


def main():
    if len(sys.argv) != 5 or sys.argv[3] not in LAST:
        sys.exit(__doc__)
    model, folder, part, out = sys.argv[1:]
    name, unit = LAST[part]
    found = torch.tensor(pattern(folder)).permute(2, 0, 1)  # [3, CELL, CELL], as pixel_shuffle lays channels out
    with safe_open(model, "pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    tensors[name] = (tensors[name].float() - (found / 255 / unit).reshape(-1).float()).to(tensors[name].dtype)
    save_file(tensors, out, metadata)
    print(f"{part}: a pattern of {found.abs().mean():.3f} levels of 255 on average, {found.abs().max():.3f} at most, taken out")


if __name__ == "__main__":
    main()
