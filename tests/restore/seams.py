"""What tiles and 16-px tokens can leave in a picture: detectors on 8-bit arrays [H, W, 3]."""

import numpy as np
from scipy.ndimage import gaussian_filter


def jumps(plane):
    """|step between neighbours, less the slope on both sides|, signed; entry i is the step from column i + 1 to i + 2."""
    d = np.diff(plane, axis=1)
    return d[:, 1:-1] - 0.5 * (d[:, 2:] + d[:, :-2])


def seam_score(image, borders):
    """The mean signed step along each of the columns, over that of the columns 3 to 12 px beside it; the largest. Without a seam
    about 1 to 3."""
    plane = image.astype(float).mean(2)
    texture = jumps(plane)
    texture = np.clip(texture / (np.abs(texture).mean() + 0.5), -2, 2).mean(0)
    worst = 0
    for x in borders:
        beside = np.concatenate([texture[x - 2 - 12 : x - 2 - 2], texture[x - 2 + 3 : x - 2 + 13]])
        worst = max(worst, abs(texture[x - 2]) / (np.sqrt((beside**2).mean()) + 0.02))
    return worst


def grid_score(image, period=16):
    """Mean step at every `period`-th line over the mean elsewhere, the larger of both directions. 1 = no grid."""
    plane, scores = image.astype(float).mean(2), []
    for turned in (plane, plane.T):
        size = np.abs(jumps(turned))
        size = np.minimum(size / (size.mean() + 0.5), 4).mean(0)
        phase = (np.arange(size.size) + 2) % period
        scores.append(size[phase == 0].mean() / size[(phase > 1) & (phase < period - 1)].mean())
    return max(scores)


def lattice_score(images, period):
    """How strong a pattern repeats every `period` px in both directions at the same places of all images: RMS over the period's
    phases of the mean fine detail there, in units of the local detail. Three photographs of 512 px: about 0.005 (period 4), 0.02 (16)."""
    total, count = np.zeros((period, period)), 0
    for image in images:
        plane = image.astype(float).mean(2)
        fine = plane - gaussian_filter(plane, 1)
        fine /= np.sqrt(gaussian_filter(fine**2, 8)) + 0.5
        rows, columns = (fine.shape[0] // period - 2) * period, (fine.shape[1] // period - 2) * period
        inner = fine[period : period + rows, period : period + columns]
        cells = inner.reshape(rows // period, period, columns // period, period)
        total += cells.sum((0, 2))
        count += cells.shape[0] * cells.shape[2]
    return float(np.sqrt(np.mean((total / count) ** 2)))
