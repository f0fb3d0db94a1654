"""Measures of flicker: what has changed between two frames of a video apart from motion."""

from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.video.warping import inside, warp


def flicker(previous: Tensor, present: Tensor, flow: Tensor, mask: Tensor | None = None) -> float:
    r"""Return the flicker between two frames: the mean absolute difference.

    :math:`\sum_p m(p)\, \|x_t(p) - x_{t-1}(p + w(p))\|_1 \,/\, (C \sum_p m(p))`: 0 where the pixels just move along the
    flow, 1 between black and white. The unit is that of the pixels, so 1/255 is one step of an 8-bit image. Note
    that a frame taken between pixel centers is a little softer, so that even the original video's figure is not 0.

    Args:
        previous: Frame before, sRGB in [0, 1], `(1, C, H, W)`.
        present: Frame, sRGB in [0, 1], `(1, C, H, W)`.
        flow: Flow from the present frame to the previous one, pixels, `(1, 2, H, W)`. It should be that of the original
            video for all outputs compared.
        mask: Weight of each pixel, from 0 to 1, `(1, 1, H, W)`: 1 where the flow is to be trusted, as from
            `warping.reliability`. By default all pixels count that come from within the image.

    Returns:
        Mean over the trusted pixels and the channels, at least 0.

    Raises:
        UserError: If no pixel is trusted.
        ValueError: If the shapes don't fit.
    """
    return _trusted_mean((present - warp(previous, flow)).abs(), flow, mask)


def warping_error(previous: Tensor, present: Tensor, flow: Tensor, mask: Tensor | None = None) -> float:
    r"""Return the flicker between two frames: the mean squared difference.

    :math:`E_{warp}` of Lai et al. 2018, "Learning blind video temporal consistency" (arXiv 1808.00449), as computed by
    their program (`evaluate_WarpError.py`: over pixels and channels); there the next frame is warped to the present
    one, here the previous. It weighs a few large changes more than many small ones. Their figure of a video is the
    mean over its pairs of frames; that of Gao et al. 2018 (ReCoNet, arXiv 1807.01197) is that mean's square root.

    Args:
        previous: Frame before, as for `flicker`.
        present: Frame, as for `flicker`.
        flow: Flow, as for `flicker`.
        mask: Weights, as for `flicker`.

    Returns:
        Mean over the trusted pixels and the channels, at least 0.

    Raises:
        UserError: If no pixel is trusted.
        ValueError: If the shapes don't fit.
    """
    return _trusted_mean((present - warp(previous, flow)).square(), flow, mask)


def _trusted_mean(difference: Tensor, flow: Tensor, mask: Tensor | None) -> float:
    if mask is None:
        mask = inside(flow)
    if mask.shape != (difference.shape[0], 1, *difference.shape[2:]):
        raise ValueError(f"expected a mask (1, 1, H, W) of the frames' size, got {tuple(mask.shape)}")
    trusted = mask.sum().item()
    if trusted <= 0:
        raise UserError(
            f"expected a pixel whose motion is known, found none of {mask.numel()}; the two frames show nothing in "
            "common (a cut?): leave this pair out of the measure"
        )
    return float((difference * mask).sum().item() / (trusted * difference.shape[1]))
