"""What can be measured on pictures without knowing what they show. Pictures are (H, W, 3) bytes."""
import math

import numpy as np
import torch
import torch.nn.functional as F

EDGE = 20.0  # grey levels a pixel, from which a slope is an edge
RING = (4, 8)  # pixels from the nearest edge


def psnr(a, b):
    """Peak signal-to-noise ratio in dB."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255 ** 2 / error)


def ssim(a, b):
    """Structural similarity of the greys (Wang et al. 2004): Gaussian window of 11 pixels, sigma 1.5, mean over the picture."""
    x, y = grey(a), grey(b)
    offsets = torch.arange(11) - 5.0
    line = torch.exp(-offsets ** 2 / (2 * 1.5 ** 2))
    window = torch.outer(line, line)[None, None] / line.sum() ** 2

    def mean(z):
        return F.conv2d(z, window)
    c1, c2, mx, my = (0.01 * 255) ** 2, (0.03 * 255) ** 2, mean(x), mean(y)
    vx, vy, cxy = mean(x * x) - mx ** 2, mean(y * y) - my ** 2, mean(x * y) - mx * my
    return (((2 * mx * my + c1) * (2 * cxy + c2)) / ((mx ** 2 + my ** 2 + c1) * (vx + vy + c2))).mean().item()


def edge_error(a, b):
    """Mean difference of the slopes of two pictures, in grey levels a pixel."""
    return (slope(grey(a)) - slope(grey(b))).abs().mean().item()


def ripple(picture):
    """Unrest beside edges, in grey levels: what mosaics, ringing and speckle add to it. No reference is needed.

    An edge is where the slope of the grey is at least EDGE. Of all pixels whose distance to the nearest edge
    (Chebyshev) is within RING, the mean of |grey - mean of the 5x5 pixels around|. The window of the nearest of
    them ends two pixels before the edge, so a sharp edge itself adds nothing. 0 without edges.
    """
    y = grey(picture)
    edge = (slope(y) >= EDGE).float()

    def within(distance):
        return F.max_pool2d(edge, 2 * distance + 1, 1, distance) > 0
    ring = within(RING[1]) & ~within(RING[0] - 1)
    rough = (y - F.avg_pool2d(F.pad(y, (2, 2, 2, 2), "replicate"), 5, 1)).abs()
    return rough[ring].mean().item() if ring.any() else 0.0


def grey(picture):
    """(1, 1, H, W) in 0…255."""
    rgb = torch.from_numpy(np.array(picture, np.float32))
    return (rgb @ torch.tensor([0.299, 0.587, 0.114]))[None, None]


def slope(y):
    """Length of the Sobel gradient, in grey levels a pixel."""
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    both = F.conv2d(F.pad(y, (1, 1, 1, 1), "replicate"), torch.stack([kernel, kernel.T])[:, None])
    return both.pow(2).sum(1, keepdim=True).sqrt()
