"""Gradient noise and its fractal sum: the irregularity in clouds, leaves, stone and paper.

Technique: Perlin, "An image synthesizer" (1985) and "Improving noise" (2002, the quintic fade). The noise is
    a function
of coordinates, not of pixels, so an image keeps its clouds when it is drawn at another size.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from tools.draw_samples.canvas import Array

__all__ = ["fractal", "perlin"]


def perlin(coordinates: Sequence[Array], seed: int) -> Array:
    """Gradient noise over any number of dimensions.

    Args:
        coordinates: One array per dimension, all of one shape; one unit is one noise cell.
        seed: Picks the permutation and the gradients.

    Returns:
        Values of about [-0.7, 0.7], zero at every integer point, of the coordinates' shape.
    """
    rng = np.random.default_rng(seed)
    table = rng.permutation(256)
    gradients = rng.normal(size=(256, len(coordinates))).astype(np.float32)
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    cells = [np.floor(c).astype(np.int32) for c in coordinates]
    fractions = [(c - cell).astype(np.float32) for c, cell in zip(coordinates, cells, strict=True)]
    fades = [f * f * f * (f * (f * 6 - 15) + 10) for f in fractions]
    total = np.zeros(np.shape(coordinates[0]), np.float32)
    for corner in itertools.product((0, 1), repeat=len(coordinates)):
        index: np.ndarray = np.zeros(total.shape, np.int64)
        weight: Array = np.ones(total.shape, np.float32)
        slope: Array = np.zeros(total.shape, np.float32)
        for cell, step in zip(cells, corner, strict=True):
            index = table[(index + cell + step) & 255]
        for axis, step in enumerate(corner):
            weight = weight * (fades[axis] if step else 1 - fades[axis])
            slope = slope + gradients[index, axis] * (fractions[axis] - step)
        total += weight * slope
    return total


def fractal(coordinates: Sequence[Array], seed: int, octaves: int = 5, gain: float = 0.5) -> Array:
    """Sum of noise octaves, each at twice the frequency and `gain` times the amplitude of the one before.

    Args:
        coordinates: As for `perlin`, in cells of the coarsest octave.
        seed: Each octave uses `seed` plus its number.
        octaves: How many.
        gain: 0.5 is like clouds; above it the result is rougher.

    Returns:
        Values of about [-1, 1].
    """
    total = np.zeros(np.shape(coordinates[0]), np.float32)
    for octave in range(octaves):
        scaled = [c * 2.0**octave for c in coordinates]
        total += gain**octave * perlin(scaled, seed + octave)
    return total * 1.4
