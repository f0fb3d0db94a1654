"""What stands on the table of `still_life`, and where; lengths in decimetres."""

from __future__ import annotations

import numpy as np

from tools.draw_samples.solids import Handle, Lathe, Polar, Solid

__all__ = ["EYE", "LAMP", "SPREAD", "TARGET", "WALL", "solids"]

EYE = np.array((0.35, 3.0, -9.5), np.float32)
TARGET = np.array((0.02, 1.12, 0.0), np.float32)
SPREAD = 0.80
LAMP = np.array((-8.0, 7.2, -5.0), np.float32)
WALL = 3.4
"""Third coordinate of the wall behind the table."""

APPLE = (0.40, 0.62, 0.73, 0.76, 0.73, 0.67, 0.58, 0.50, 0.42)
ORANGE = (0.56, 0.60, 0.61, 0.61, 0.61, 0.60, 0.58)
LEMON = (0.68, 0.50, 0.44, 0.43, 0.44, 0.49, 0.62)
PEAR = (0.98, 0.88, 0.60, 0.48, 0.52, 0.58, 0.62, 0.62, 0.56)
JUG = (0.62, 0.66, 0.86, 1.00, 1.02, 0.93, 0.72, 0.50, 0.42, 0.44, 0.56)
BOTTLE = (0.52, 0.55, 0.55, 0.55, 0.55, 0.55, 0.52, 0.34, 0.19, 0.17, 0.17, 0.17, 0.19)


def solids() -> list[Solid]:
    """Everything round in the scene."""
    return [
        Lathe("jug", (-1.55, 0.0, 0.75), 1.75, lift=1.3, radii=JUG, tall=2.75),
        Handle(
            "jug",
            (-0.80, 1.72, 0.70),
            0.95,
            axis=(0.0, 1.0, 0.0),
            ring=0.52,
            thick=0.10,
            keep=-0.48,
            stretch=1.35,
        ),
        Lathe("bottle", (2.28, 0.0, 1.25), 2.1, lift=1.9, radii=BOTTLE, tall=3.8),
        Lathe("cork", (2.28, 3.7, 1.25), 0.3, lift=0.15, radii=(0.13, 0.13, 0.15), tall=0.28),
        Polar(
            "bowl",
            (0.82, 1.46, 0.05),
            1.55,
            radii=(1.45, 1.45, 1.46, 1.46, 1.40, 1.32),
            shell=0.09,
            cut=-0.34,
        ),
        Lathe("bowl", (0.82, 0.0, 0.05), 0.72, lift=0.1, radii=(0.62, 0.56, 0.60), tall=0.2),
        *_in_bowl(),
        *_on_table(),
        *_stalks([*_in_bowl(), *_on_table()]),
        *_grapes(),
    ]


def _in_bowl() -> list[Solid]:
    """Fruit heaped in the bowl."""
    return [
        Polar("apple", (0.22, 1.22, -0.22), 0.85, axis=(-0.25, 1.0, -0.35), seed=3, radii=APPLE),
        Polar("orange", (1.42, 1.14, -0.38), 0.66, axis=(0.3, 0.6, -0.7), seed=4, radii=ORANGE),
        Polar("orange", (0.66, 1.24, 0.75), 0.66, axis=(0.1, 1.0, 0.1), seed=5, radii=ORANGE),
        Polar("green", (1.52, 1.26, 0.60), 0.85, axis=(0.45, 1.0, 0.1), seed=6, radii=APPLE),
        Polar("lemon", (0.86, 1.02, -0.72), 0.75, axis=(0.95, 0.25, -0.2), seed=7, radii=LEMON),
        Polar("apple", (0.92, 1.86, 0.18), 0.85, axis=(0.25, 1.0, -0.45), seed=8, radii=APPLE),
    ]


def _on_table() -> list[Solid]:
    """Fruit that lies about."""
    return [
        Polar("pear", (2.55, 0.56, -0.75), 1.2, lift=0.2, axis=(0.30, 1.0, 0.05), seed=9, radii=PEAR),
        Polar("lemon", (-0.62, 0.43, -1.25), 0.75, axis=(0.9, 0.05, 0.45), seed=10, radii=LEMON),
        Polar("orange", (-2.75, 0.60, -0.45), 0.66, axis=(0.5, 0.7, -0.5), seed=11, radii=ORANGE),
        Polar("green", (-1.72, 0.52, -1.35), 0.85, axis=(0.3, 1.0, -0.5), seed=12, radii=APPLE),
    ]


def _stalks(fruit: list[Solid]) -> list[Solid]:
    """The stalk of every apple and pear."""
    found: list[Solid] = []
    for thing in fruit:
        start = {"apple": 0.36, "green": 0.36, "pear": 0.92}.get(thing.name)
        if start is not None:
            up = np.asarray(thing.axis) / np.linalg.norm(thing.axis)
            x, y, z = np.asarray(thing.center) + start * up
            lean = (thing.axis[0] + 0.25, thing.axis[1], thing.axis[2] - 0.1)
            found.append(
                Lathe(
                    "stalk",
                    (x, y, z),
                    0.3,
                    lift=0.2,
                    axis=lean,
                    radii=(0.025, 0.022, 0.024, 0.038),
                    tall=0.40,
                )
            )
    return found


def _grapes() -> list[Solid]:
    """A bunch of grapes: balls pushed apart until they rest on each other and on the table."""
    rng = np.random.default_rng(17)
    radius = 0.19
    count = 46
    places = np.stack(
        [rng.uniform(0.1, 1.5, count), rng.uniform(radius, 1.0, count), rng.uniform(-2.1, -1.4, count)],
        1,
    )
    for _ in range(120):
        offset = places[:, None] - places[None]
        distance = np.linalg.norm(offset, axis=-1) + np.eye(count)
        overlap = np.clip(1.86 * radius - distance, 0, None) * (1 - np.eye(count))
        places += 0.3 * np.sum(offset / distance[..., None] * overlap[..., None], axis=1)
        places[:, 1] = np.maximum(places[:, 1] - 0.012, radius)
        # the stalk holds the bunch together
        places += 0.02 * ((0.75, radius, -1.75) - places) * (0.6, 0.0, 1.0)
    return [
        Polar("grape", (x, y, z), radius * 1.02, seed=i, radii=(radius, radius)) for i, (x, y, z) in enumerate(places)
    ]
