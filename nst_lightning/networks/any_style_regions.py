"""Painting with a network of any style: in one piece or tiles, and each region in a style of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nst_lightning.networks.any_style import AnyStyleNet, Smoothing, Statistics, unsmoothed
from nst_lightning.networks.any_style_tiles import paint_any_tiled
from nst_lightning.networks.gaussians import Gaussian


@torch.no_grad()
def paint_in_styles(
    network: AnyStyleNet,
    images: Tensor,
    styles: Sequence[Statistics],
    weights: Tensor,
    *,
    regions: Sequence[Tensor] = (),
    tile_size: int | None = None,
    smoothing: Smoothing = unsmoothed,
) -> Tensor:
    r"""Return images painted in a blend of styles, or each region in its own.

    With regions the image is painted once for each style, whose statistics are given to those of its region, and the
    paintings are put together by :math:`s_i = m_i w_i / \sum_j m_j w_j \cdot \min(1, \sum_j m_j)` for masks
    :math:`m` and weights :math:`w`: where no mask is, the image stays as it is.

    Args:
        network: Network that paints.
        images: sRGB in [0, 1], `(N, 3, H, W)`; with regions, one image.
        styles: Statistics of each style, from `AnyStyleNet.measure`.
        weights: Weights of the styles, `(S,)`; their sum is the strength, that of each region too.
        regions: Mask of each style's region, `(1, 1, H, W)` in [0, 1]; none for a blend everywhere.
        tile_size: Longest side of the tiles, pixels; `None` for one piece.
        smoothing: As in `AnyStyleNet.forward`. Names begin with the number of the region, where there are regions.

    Returns:
        sRGB in [0, 1], `(N, 3, H, W)`.

    Example:
        >>> network = AnyStyleNet(width=4, blocks=1).eval()
        >>> image, styles = torch.rand(1, 3, 24, 32), [network.measure(torch.rand(1, 3, 24, 24)) for _ in range(2)]
        >>> left = torch.zeros(1, 1, 24, 32)
        >>> left[..., :16] = 1
        >>> painted = paint_in_styles(network, image, styles, torch.tensor([0.5, 0.5]), regions=[left, 1 - left])
        >>> painted.shape
        torch.Size([1, 3, 24, 32])
    """
    if not regions:
        return _paint(network, images, styles, weights, None, tile_size, smoothing)
    weighted = [region * weight for region, weight in zip(regions, weights.to(regions[0]), strict=True)]
    total = torch.stack(weighted).sum(0).clamp_min(torch.finfo(weights.dtype).tiny)
    covered = torch.stack(list(regions)).sum(0).clamp(max=1)
    result = images.clone()
    for number, (style, region, part) in enumerate(zip(styles, regions, weighted, strict=True)):
        if not bool(part.any()):
            continue

        def smoothing_here(name: str, gaussian: Gaussian, number: int = number) -> Gaussian:
            return smoothing(f"{number}/{name}", gaussian)

        painted = _paint(network, images, [style], weights.sum()[None], region, tile_size, smoothing_here)
        result += (part / total * covered) * (painted - images)
    return result.clamp_(0, 1)


def _paint(
    network: AnyStyleNet,
    images: Tensor,
    styles: Sequence[Statistics],
    weights: Tensor,
    region: Tensor | None,
    tile_size: int | None,
    smoothing: Smoothing,
) -> Tensor:
    if tile_size is not None:
        return paint_any_tiled(network, images, styles, weights, tile_size, region, smoothing)
    painted: Tensor = network(images, styles, weights, region, smoothing)
    return painted
