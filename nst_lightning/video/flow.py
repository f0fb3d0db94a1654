"""Optical flow between two images: by torchvision's RAFT where its weights can be had, by OpenCV's DIS elsewhere."""

import logging
import math
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.optical_flow import Raft_Large_Weights, raft_large

from nst_lightning.errors import StorageError, UserError, one_line
from nst_lightning.images.color_spaces import luminance
from nst_lightning.images.resize import resize
from nst_lightning.utils.download import Source, download

log = logging.getLogger(__name__)

FlowMethod = Literal["auto", "raft", "dis"]

_URL: str = Raft_Large_Weights.DEFAULT.url
_SHA256 = "ff5fadd56d26b40647388883af1547351ea17868b765c05b27231e72dd16a322"
_MEGABYTES = 20
_SILENCE = 10.0  # seconds without a byte after which the server counts as out of reach
_RAFT_SIDE = 128  # the least that RAFT's pyramid of correlations takes, pixels
_RAFT_STEP = 8  # RAFT's sides are multiples of it
_RAFT_PIXELS = 1 << 20  # its correlations grow with the square of the pixels: 1.4 GB here
_DIS_SIDE = 32  # pixels; DIS refuses images below 12


class FlowEstimator(Protocol):
    """Estimates how the pixels of one image move to another.

    Attributes:
        name: `raft` or `dis`.
    """

    name: str

    def estimate(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the flow from one image to another.

        Args:
            first: sRGB in [0, 1], `(1, 3, H, W)`, of at least one pixel.
            second: sRGB in [0, 1], `(1, 3, H, W)`.

        Returns:
            Flow in pixels, channel 0 along x and channel 1 along y: what is at `p` in *first* is at `p + flow(p)` in
            *second*. Float32 of shape `(1, 2, H, W)`, without gradient, on *first*'s device.

        Raises:
            ValueError: If the shapes are others.
        """
        ...


def make_flow(method: FlowMethod = "auto", device: torch.device | str = "cpu") -> FlowEstimator:
    """Return an estimator of optical flow.

    RAFT is torchvision's `raft_large` (Teed and Deng 2020, weights `C_T_SKHT_V2`, 20 MB, downloaded once into torch
    hub's cache), with its 12 updates. `raft_small` takes a third of the time but has 1.4 times the endpoint error on
    Sintel's clean pass (torchvision's table), and either is quick beside the painting of a frame by optimization: a
    flow of 512×384 pixels takes 4.3 s on one core. Images of more than 1024² pixels are reduced to that for RAFT and
    the flow is enlarged, because memory grows with the square of the number of pixels.

    DIS is OpenCV's (Kroeger et al. 2016, "Fast optical flow using dense inverse search"), its preset `medium` but down
    to full resolution instead of a half: where things are visible in both frames of a clip of known
    motion (`benchmarks/flicker_clip.py`) the mean endpoint error is 0.065 pixels instead of 0.15, for four times the
    time, 0.1 s on one core at 512×384.

    Args:
        method: `raft`, `dis`, or `auto` for RAFT where its weights are in the cache or can be downloaded (a silent
            server is given up after 10 seconds) and DIS elsewhere; why is then logged.
        device: Device on which RAFT computes, always in float32; DIS uses the CPU.

    Raises:
        UserError: If RAFT is asked for and its weights can't be had, or if DIS is to be used and OpenCV is missing.
    """
    if method == "dis":
        return _Dis()
    try:
        weights = _weights_file()
    except StorageError:
        raise
    # RuntimeError is torch hub's word for a wrong digest, ValueError is urllib's for a bad URL
    except (OSError, HTTPException, RuntimeError, ValueError) as error:
        reason = one_line(error)
        if method == "raft":
            raise UserError(
                f"expected RAFT's weights at {_weights_source().path} or {_URL}, found neither ({reason}); use the "
                "optical flow dis, or get that URL by other means and put the file at that path"
            ) from error
        log.info("Optical flow by OpenCV's DIS, because RAFT's weights can't be had from %s (%s)", _URL, reason)
        return _Dis()
    return _Raft(weights, torch.device(device))


class _Raft:
    name = "raft"

    def __init__(self, weights: Path, device: torch.device) -> None:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        with torch.device("meta"):  # an initialization would take random numbers that the run counts on
            network = raft_large()
        network.load_state_dict(state, assign=True)
        self._network = network.eval().requires_grad_(False).to(device)
        self._device = device

    def estimate(self, first: Tensor, second: Tensor) -> Tensor:
        _check(first, second)
        height, width = first.shape[-2:]
        scale = min(1.0, math.sqrt(_RAFT_PIXELS / (height * width)))
        reduced = (max(1, int(height * scale)), max(1, int(width * scale)))
        pair = [self._prepared(image, reduced) for image in (first, second)]
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            flow: Tensor = self._network(*pair)[-1]
            flow = flow[..., : reduced[0], : reduced[1]]
            if reduced != (height, width):
                flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
                flow = flow * flow.new_tensor([width / reduced[1], height / reduced[0]])[:, None, None]
        return flow.to(first.device).contiguous()

    def _prepared(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        image = resize(image.detach().to(self._device, torch.float32), size)
        return _padded(image, _RAFT_SIDE, _RAFT_STEP) * 2 - 1


class _Dis:
    name = "dis"

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise UserError(
                f"expected OpenCV for optical flow, found none ({error}); pip install 'nst-lightning[video]'"
            ) from error
        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
        self._dis.setFinestScale(0)

    def estimate(self, first: Tensor, second: Tensor) -> Tensor:
        _check(first, second)
        height, width = first.shape[-2:]
        gray = [
            _padded(luminance(image.detach().float()).cpu(), _DIS_SIDE).mul(255).round().clamp(0, 255).byte()[0, 0]
            for image in (first, second)
        ]
        flow = torch.from_numpy(self._dis.calc(gray[0].numpy(), gray[1].numpy(), None))
        return flow.movedim(-1, 0)[None, :, :height, :width].to(first.device).contiguous()


def _check(first: Tensor, second: Tensor) -> None:
    if first.ndim != 4 or first.shape[:2] != (1, 3) or first.shape != second.shape:
        raise ValueError(
            f"expected two images (1, 3, H, W) of one size, got {tuple(first.shape)} and {tuple(second.shape)}"
        )


def _padded(image: Tensor, least: int, step: int = 1) -> Tensor:
    """Return an image, its border repeated until both sides are long enough and multiples of a step."""
    height, width = (max(least, -(-side // step) * step) for side in image.shape[-2:])
    return F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]), mode="replicate")


def _weights_source() -> Source:
    published = Path(_URL).stem.rsplit("-", 1)[-1]  # first digits; those of a later torchvision may be others
    return Source(_URL, sha256=_SHA256 if _SHA256.startswith(published) else published, megabytes=_MEGABYTES)


def _weights_file() -> Path:
    """Return the file of RAFT's weights with the right content, downloaded if it is missing or damaged."""
    source = _weights_source()
    if not source.is_good:
        source.path.parent.mkdir(parents=True, exist_ok=True)
        # Not load_state_dict_from_url: that prints to stdout and takes any file in the cache for good.
        download(source, _SILENCE)
    return source.path
