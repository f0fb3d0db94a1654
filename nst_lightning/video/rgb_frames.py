"""Conversion of decoded frames to upright square pixels in sRGB, and of such to frames for an encoder."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.images.resize import fit_long_side, resize

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_BT709, _BT601 = 1, 5  # as FFmpeg counts matrices
_UNTAGGED = (0, 2, 3)  # RGB, unspecified, reserved
_FULL = 2  # range: luma from 0 to 255, not from 16 to 235
_HD_LINES = 720
# Of the chroma, which is stored at half the size: bilinear, at full width, rounded well, alike on any CPU. Numbers of
# libswscale; PyAV 17 has no names for the last three.
_WELL_ROUNDED = 0x2 | 0x2000 | 0x40000 | 0x80000
_LUMA = (0.2126, 0.7152, 0.0722)  # weights of BT.709


class FrameToRGB:
    """Converts the frames of one stream to upright sRGB pixels of one shape.

    Colors are converted with the matrix and the range that the frame is tagged with; untagged ones with BT.601
    below 720 lines and BT.709 from there on, limited range (full for the formats that are always full). More than
    8 bits are kept. Only the matrix is undone: transfer functions and primaries are taken for those of sRGB, so
    HDR (PQ, HLG) comes out flat and pale; it is not tone-mapped.

    Args:
        stream: Stream of the frames; it says how wide a pixel is.
        size: Length of the longer side of the result, pixels; None for that of the frames.
    """

    def __init__(self, stream: VideoStream, size: int | None = None) -> None:
        from av.video.reformatter import VideoReformatter

        self._aspect = stream.sample_aspect_ratio or Fraction(1)
        self._size = size
        self._shape: tuple[int, int] | None = None
        self._reformatter = VideoReformatter()

    def shape(self, frame: VideoFrame) -> tuple[int, int]:
        """Return the `(height, width)` in pixels that a frame will have."""
        height, width = self._shape_as_stored(frame)
        return (width, height) if _orientation(frame)[0] else (height, width)

    def pixels(self, frame: VideoFrame) -> Tensor:
        """Return the pixels of a frame.

        Returns:
            Float32 sRGB in [0, 1] of shape `(1, 3, H, W)`; bicubic where the size is not the frame's own.

        Raises:
            UserError: If FFmpeg does not know how to convert such colors.
        """
        import av

        is_deep = max(component.bits for component in frame.format.components) > 8
        untagged = _BT601 if frame.height < _HD_LINES else _BT709
        # gbrp16le, because libswscale garbles rgb48le where chroma is interpolated at full width
        try:
            rgb = self._reformatter.reformat(
                frame,
                format="gbrp16le" if is_deep else "rgb24",
                src_colorspace=untagged if frame.colorspace in _UNTAGGED else frame.colorspace,
                src_color_range=frame.color_range,
                dst_color_range=_FULL,
                interpolation=_WELL_ROUNDED,
            )
        except av.FFmpegError as error:
            raise UserError(
                f"expected colors that FFmpeg can convert, found {frame.format.name} with matrix {frame.colorspace}; "
                "convert the video to H.264"
            ) from error
        # the bytes are put in order before they grow to floats, which is twice as fast
        levels = torch.from_numpy(rgb.to_ndarray()).permute(2, 0, 1).contiguous().float()
        stored = levels.div_(_deep_white(frame) if is_deep else 255).clamp_(max=1).unsqueeze(0)
        shape = self._shape_as_stored(frame)
        return _turn(resize(stored, shape) if stored.shape[2:] != shape else stored, *_orientation(frame))

    def _shape_as_stored(self, frame: VideoFrame) -> tuple[int, int]:
        if self._shape is None:  # that of the first frame goes for all
            height, width = frame.height, max(1, round(frame.width * self._aspect))
            self._shape = (height, width) if self._size is None else fit_long_side(height, width, self._size)
        return self._shape


def _deep_white(frame: VideoFrame) -> int:
    """Return what white is for libswscale in 16 bits: out of Y'CbCr it is that of 8 bits, shifted."""
    return 65535 if frame.format.is_rgb else 255 << 8


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Return whether rows and columns change places, and whether up and down, left and right do after that.

    The display matrix maps a stored place (x, y) to (a·x + c·y, b·x + d·y), y downwards (ISO/IEC 14496-12,
    §6.2.2). Of angles other than quarter turns, which no camera writes, the nearest quarter turn is taken.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = struct.unpack("=9i", bytes(matrix))[:5]
    return (True, b < 0, c < 0) if abs(b) > abs(a) else (False, d < 0, a < 0)


def _turn(pixels: Tensor, transposed: bool, upside_down: bool, mirrored: bool) -> Tensor:
    turned = pixels.mT if transposed else pixels
    flips = [axis for axis, is_flipped in ((2, upside_down), (3, mirrored)) if is_flipped]
    return turned.flip(flips).contiguous()


class RGBToFrame:
    """Converts sRGB pixels to frames for an encoder: 8-bit Y'CbCr 4:2:0 in BT.709, limited range.

    Y' = 16 + 219 (0.2126 R + 0.7152 G + 0.0722 B), Cb = 128 + 224 (B - Y) / 1.8556, Cr = 128 + 224 (R - Y) / 1.5748
    (ITU-R BT.709-6, §3), rounded once. Chroma is stored once for 2×2 pixels, at the height between the two rows and
    above the left column, where decoders of H.264 and VP9 look for it (ITU-T H.273, type 0); libswscale takes it
    from the middle instead, which moves it by half a pixel. Both sides have to be even: an odd last row or column is
    cut off, and a side of one pixel is doubled.

    Args:
        height: Height of the images, pixels.
        width: Width of the images, pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = (max(2, side // 2 * 2) for side in (height, width))
        self._expected = (1, 3, height, width)

    def frame(self, pixels: Tensor) -> VideoFrame:
        """Return the frame of an image.

        Args:
            pixels: sRGB of shape `(1, 3, H, W)` on any device; what lies outside [0, 1] is cut off.

        Raises:
            ValueError: If the shape is another one, or a value is not finite.
        """
        from av.video.frame import VideoFrame

        if pixels.shape != self._expected:
            raise ValueError(f"expected pixels of shape {self._expected}, got {tuple(pixels.shape)}")
        pixels = pixels.detach().float()
        if not bool(pixels.isfinite().all()):
            raise ValueError("expected finite pixels, got NaN or infinity")
        height, width = self._expected[2:]
        even = F.pad(pixels, (0, self.width - width, 0, self.height - height), mode="replicate").clamp(0, 1)
        luma = (even * even.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        chroma = (even[:, [2, 0]] - luma) / even.new_tensor([2 * (1 - _LUMA[2]), 2 * (1 - _LUMA[0])]).view(1, 2, 1, 1)
        planes = torch.cat([(16 + 219 * luma).flatten(), (128 + 224 * _halve(chroma)).flatten()])
        levels = planes.round().byte().view(-1, self.width).cpu().numpy()
        return VideoFrame.from_ndarray(levels, format="yuv420p")


def _halve(chroma: Tensor) -> Tensor:
    """Return `(1, 2, H, W)` sampled at half the height and width: 1-1 over the rows, 1-2-1 over the columns."""
    rows = F.pad(F.avg_pool2d(chroma, (2, 1)), (1, 0, 0, 0), mode="replicate")
    return (rows[..., :-1:2] + 2 * rows[..., 1::2] + rows[..., 2::2]) / 4
