"""What tiles and 16-px tokens can leave in a picture: detectors on 8-bit arrays [H, W, 3]."""

import numpy as np


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
