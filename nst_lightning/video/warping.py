"""Warping: images moved along an optical flow, and the mask of where the flow is to be trusted."""

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(image: Tensor, flow: Tensor) -> Tensor:
    r"""Return an image moved along a flow: :math:`O(p) = I(p + w(p))`.

    With the flow from the present frame to the previous one it brings the previous frame's output to the present
    frame. A pixel's center is its integer index; between centers the image is bilinear; beyond the outermost
    centers the border is repeated.

    Args:
        image: Image, or any map, of shape `(N, C, H, W)`, floating point.
        flow: Flow in pixels, channel 0 along x and channel 1 along y, `(N, 2, H, W)` or `(1, 2, H, W)` for all, of the
            image's dtype and on its device.

    Returns:
        A new tensor of shape `(N, C, H, W)`, differentiable in both arguments.

    Raises:
        ValueError: If the shapes don't fit.
    """
    _check_flow(flow)
    if image.ndim != 4 or image.shape[-2:] != flow.shape[-2:] or flow.shape[0] not in (1, image.shape[0]):
        raise ValueError(f"expected an image of the flow's size, got {tuple(image.shape)} and {tuple(flow.shape)}")
    height, width = flow.shape[-2:]
    # grid_sample's -1 and 1 are the centers of the outermost pixels; max() for a side of one pixel
    scale = flow.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    grid = _origins(flow).movedim(1, -1) * scale - 1
    grid = grid.expand(image.shape[0], -1, -1, -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


def inside(flow: Tensor) -> Tensor:
    """Return which pixels come from within the image.

    Args:
        flow: Flow in pixels, `(N, 2, H, W)`, as for `warp`.

    Returns:
        1 where `p + flow(p)` lies between the centers of the outermost pixels, them included, and 0 elsewhere;
        `(N, 1, H, W)`, of the flow's dtype.
    """
    _check_flow(flow)
    origins = _origins(flow)
    x, y = origins[:, :1], origins[:, 1:]
    height, width = flow.shape[-2:]
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).to(flow.dtype)


def reliability(backward: Tensor, forward: Tensor) -> Tensor:
    r"""Return where the flow from the present frame to the previous one is to be trusted.

    With :math:`\hat w = (\hat u, \hat v)` the backward flow and :math:`\tilde w(p) = w(p + \hat w(p))` the forward flow
    brought to the present frame, a pixel is not trusted where

    * it was hidden before: :math:`|\tilde w + \hat w|^2 > 0.01\,(|\tilde w|^2 + |\hat w|^2) + 0.5`;
    * motions meet: :math:`|\nabla\hat u|^2 + |\nabla\hat v|^2 > 0.01\,|\hat w|^2 + 0.002`;
    * it was not in the image: :math:`p + \hat w(p)` lies outside.

    The first two are equations 5 and 6 of Ruder, Dosovitskiy and Brox 2016, "Artistic style transfer for videos"
    (arXiv 1604.08610), with the numbers of Sundaram, Brox and Keutzer 2010; the third is not in the paper but in its
    program (`consistencyChecker.cpp`), which also discards sources exactly on the last row and column; here these
    count as inside. As there, gradients are central differences. That program goes on to blur its mask (Gaussian of
    0.8 pixels); here the mask is the paper's, of zeros and ones.

    Args:
        backward: Flow from the present frame to the previous one, pixels, `(1, 2, H, W)`.
        forward: Flow from the previous frame to the present one, pixels, `(1, 2, H, W)`.

    Returns:
        1 where the backward flow is to be trusted, else 0; float32 of shape `(1, 1, H, W)`, without gradient.

    Raises:
        ValueError: If the shapes don't fit.
    """
    backward, forward = backward.detach(), forward.detach()
    returned = warp(forward, backward)
    size = _squared(backward)
    hidden = _squared(returned + backward) > 0.01 * (_squared(returned) + size) + 0.5
    edge = _squared_gradient(backward) > 0.01 * size + 0.002
    return (~hidden & ~edge & (inside(backward) == 1)).float()


def _check_flow(flow: Tensor) -> None:
    if flow.ndim != 4 or flow.shape[1] != 2:
        raise ValueError(f"expected a flow (N, 2, H, W), got {tuple(flow.shape)}")


def _origins(flow: Tensor) -> Tensor:
    """Return the points `p + flow(p)`, x before y, `(N, 2, H, W)`."""
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=flow.dtype, device=flow.device),
        torch.arange(width, dtype=flow.dtype, device=flow.device),
        indexing="ij",
    )
    return torch.stack([x, y]) + flow


def _squared(flow: Tensor) -> Tensor:
    return flow.square().sum(1, keepdim=True)


def _squared_gradient(flow: Tensor) -> Tensor:
    """Return the sum of the squares of the four central differences; the border is repeated."""
    padded = F.pad(flow, (1, 1, 1, 1), mode="replicate")
    along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return _squared(along_x) + _squared(along_y)
