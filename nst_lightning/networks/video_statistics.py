"""Statistics of a video's frames, smoothed over time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nst_lightning.networks.gaussians import Gaussian

_CELLS = 16  # cells of a frame's sketch, in each direction
_SAME_SCENE = 0.5  # correlation of the sketches of two frames, above which they are of one scene
_FLAT = 1e-3  # deviation of a sketch below which a frame shows nothing


class VideoStatistics:
    r"""Exponential moving average of each statistic of the frames of one video.

    A frame is painted by a map from its own statistics to the style's. Where an exposure drifts, or something bright
    comes into view, that map would change, and with it all that stays as it was. So the map is made of the Gaussian of
    all positions of the frames before too, a frame that is :math:`t` seconds old counting
    :math:`e^{-t/\tau}`; the first frames count alike, as in a mean. At a cut all is forgotten.

    Every frame of a video is given, in order, from the first: nothing else is kept.

    Args:
        seconds: The time :math:`\tau`, above 0.
        rate: Frames per second.
    """

    def __init__(self, seconds: float, rate: float) -> None:
        self._share = -torch.expm1(torch.tensor(-1 / (seconds * rate), dtype=torch.float64)).item()
        self._averages: dict[str, Gaussian] = {}
        self._frames = 0
        self._sketch: Tensor | None = None  # of the last frame that shows something

    def begin_frame(self, frame: Tensor) -> None:
        """Take in the next frame, `(1, 3, H, W)` in [0, 1], before its statistics; forget those before a cut."""
        sketch = F.adaptive_avg_pool2d(frame.float(), _CELLS).flatten()
        sketch = sketch - sketch.mean()  # with which the exposure goes, and with the correlation the contrast
        if sketch.std() > _FLAT:  # else black, as between two scenes
            if self._sketch is not None and F.cosine_similarity(sketch, self._sketch, dim=0) < _SAME_SCENE:
                self._averages, self._frames = {}, 0
            self._sketch = sketch
        self._frames += 1

    def smooth(self, name: str, gaussian: Gaussian) -> Gaussian:
        """Return the average of a statistic, that of the present frame included.

        Args:
            name: Name of the statistic; given once a frame.
            gaussian: Its value of this frame.
        """
        before = self._averages.get(name)
        if before is not None:
            share = max(self._share, 1 / self._frames)
            gaussian = Gaussian.merged([before, gaussian], [1 - share, share])
        self._averages[name] = gaussian
        return gaussian
