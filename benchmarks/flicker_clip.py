"""A clip whose motion is known: a camera pans over a sample image and a spinning disc flies past in front.

`FlickerClip` makes its frames when asked, with the true flow between any two of them, so that flicker can be measured
without the errors of an estimator, and estimators and masks against the truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from nst_lightning.images.files import read_image
from nst_lightning.images.resize import cover
from nst_lightning.video.warping import inside, warp

_FINE = 4  # samples along each side of a pixel: each frame is the mean of these, as a camera's
_SCENE = (1.25, 1.75)  # height and width of the panned image, frames
_RADIUS = 0.2  # of the disc, in heights of a frame
_TURN = 0.02  # of the disc from frame to frame, radians


@dataclass(frozen=True)
class FlickerClip:
    """A clip of `seconds * fps` frames, by default 125 of 256×192 pixels.

    The pan crosses the scene once in x and moves to and fro in y; the disc goes round an ellipse, twice, and spins.
    All positions are smooth functions of time, hence at fractions of a pixel; at the default size the pan moves by
    1.5 to 2.0 pixels from frame to frame and the disc by up to 7.3.

    Args:
        width: Width of a frame, pixels.
        height: Height of a frame, pixels.
        seconds: Length of the clip, seconds.
        fps: Frames per second.
        ground: Image that is panned over.
        front: Image that the disc is cut from.
    """

    width: int = 256
    height: int = 192
    seconds: float = 5.0
    fps: int = 25
    ground: str = "sample:town"
    front: str = "sample:still_life"
    _scene: Tensor = field(init=False, repr=False)
    _disc: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        scene = [round(side * factor) * _FINE for side, factor in zip((self.height, self.width), _SCENE, strict=True)]
        disc = 2 * math.ceil(self._radius) * _FINE
        object.__setattr__(self, "_scene", _softened(self.ground, (scene[0], scene[1])))
        object.__setattr__(self, "_disc", _softened(self.front, (disc, disc)))

    def __len__(self) -> int:
        return round(self.seconds * self.fps)

    def frame(self, index: int) -> Tensor:
        """Return a frame, counted from 0: sRGB in [0, 1], `(1, 3, height, width)`."""
        points = self._points(_FINE)
        ground = _look_up(self._scene, points + self._camera(index)[:, None, None] + 0.5)
        place = self._place(index, points)
        disc = _look_up(self._disc, place + self._disc.shape[-1] / _FINE / 2)
        return F.avg_pool2d(ground.lerp(disc, self._covers(place)), _FINE)

    def backward(self, index: int) -> Tensor:
        """Return the true flow from a frame to the one before, pixels, `(1, 2, height, width)`; *index* from 1."""
        return self.flow(index, index - 1)

    def forward(self, index: int) -> Tensor:
        """Return the true flow from the frame before to a frame, pixels, `(1, 2, height, width)`; *index* from 1."""
        return self.flow(index - 1, index)

    def flow(self, start: int, end: int) -> Tensor:
        """Return the true flow from frame *start* to frame *end*, pixels, `(1, 2, height, width)`.

        Pixels that the disc covers by half or more have its motion.
        """
        ground = (self._camera(start) - self._camera(end))[:, None, None].expand(2, self.height, self.width)
        points = self._points(1)
        disc = _turned(_TURN * end, self._place(start, points)) + self._center(end)[:, None, None] - points
        return torch.where(self._coverage(start) >= 0.5, disc, ground)

    def visible(self, index: int) -> Tensor:
        """Return which pixels of a frame were to be seen in the frame before; *index* from 1.

        Returns:
            1 where a pixel shows either the scene alone or the disc alone, and so does, from end to end, the place that
            it comes from; 0 where it was hidden or out of the image, or is of the disc's edge, which mixes both and
            has no one motion. Float32, `(1, 1, height, width)`.
        """
        flow = self.backward(index)
        present, before = self._coverage(index), warp(self._coverage(index - 1), flow)
        same = ((present - before).abs() < 1e-3) & ((present == 0) | (present == 1))
        return same * inside(flow)

    @property
    def _radius(self) -> float:
        return _RADIUS * self.height

    def _camera(self, index: int) -> Tensor:
        """Return where in the scene a frame's upper left pixel lies, `(x, y)` in pixels of a frame."""
        if not 0 <= index < len(self):
            raise IndexError(f"expected a frame from 0 to {len(self) - 1}, got {index}")
        phase = index / max(len(self) - 1, 1)
        room = self._scene.new_tensor([self._scene.shape[3], self._scene.shape[2]]) / _FINE
        room = room - room.new_tensor([self.width, self.height])
        return room * room.new_tensor([phase, 0.5 - 0.5 * math.cos(2 * math.pi * phase)])

    def _center(self, index: int) -> Tensor:
        """Return where in the frame the disc's center lies, `(x, y)` in pixels."""
        angle = 4 * math.pi * index / max(len(self) - 1, 1)
        middle = self._scene.new_tensor([self.width - 1, self.height - 1]) / 2
        return middle + self._scene.new_tensor(
            [0.25 * self.width * math.cos(angle), 0.2 * self.height * math.sin(angle)]
        )

    def _points(self, fine: int) -> Tensor:
        """Return the points `(x, y)` of a frame, `fine` of them along each side of a pixel, `(2, H fine, W fine)`."""
        y, x = torch.meshgrid(
            (torch.arange(self.height * fine) + 0.5) / fine - 0.5,
            (torch.arange(self.width * fine) + 0.5) / fine - 0.5,
            indexing="ij",
        )
        return torch.stack([x, y])

    def _place(self, index: int, points: Tensor) -> Tensor:
        """Return where on the disc points of a frame lie, `(x, y)` from its center in pixels, turned back."""
        return _turned(-_TURN * index, points - self._center(index)[:, None, None])

    def _covers(self, place: Tensor) -> Tensor:
        return (place.square().sum(0) <= self._radius**2).float()[None, None]

    def _coverage(self, index: int) -> Tensor:
        """Return how much of each pixel of a frame the disc covers, `(1, 1, height, width)`."""
        return F.avg_pool2d(self._covers(self._place(index, self._points(_FINE))), _FINE)


def _softened(path: str, size: tuple[int, int]) -> Tensor:
    """Read an image at a size and blur it over one pixel of a frame, as a lens does.

    Warping reads frames between their pixels, which loses what is finer: without the blur one and a half times as much.
    """
    width = _FINE + 1  # odd, to stay centered
    return F.avg_pool2d(cover(read_image(path).pixels, size), width, 1, width // 2, count_include_pad=False)


def _turned(angle: float, points: Tensor) -> Tensor:
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.einsum("ij,jhw->ihw", points.new_tensor([[cos, -sin], [sin, cos]]), points)


def _look_up(image: Tensor, points: Tensor) -> Tensor:
    """Read an image of `_FINE` samples per pixel at points `(x, y)` in pixels from its upper left corner."""
    size = image.new_tensor([image.shape[3], image.shape[2]]) / _FINE
    grid = points.movedim(0, -1) / size * 2 - 1
    return F.grid_sample(image, grid[None], mode="bilinear", padding_mode="border", align_corners=False)
