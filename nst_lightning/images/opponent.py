"""Opponent colors: brightness apart from color, in an orthonormal basis."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)


def opponent_colors(image: Tensor, chroma: float = 1.0) -> Tensor:
    r"""Return an image in opponent colors: brightness, red against blue, and both against green.

    Its channels, :math:`(R + G + B) / \sqrt 3`, :math:`(R - B) / \sqrt 2` and :math:`(R - 2 G + B) / \sqrt 6`, are
    coordinates in an orthonormal basis (the :math:`I_1 I_2 I_3` of Ohta, Kanade and Sakai 1980, "Color information for
    region segmentation", normalized): grey has no second and third component, and with *chroma* 1 squared distances
    stay what they are.

    Args:
        image: RGB, `(N, 3, H, W)`.
        chroma: Factor of the second and the third channel.

    Returns:
        `(N, 3, H, W)`.

    Example:
        >>> opponent_colors(torch.full((1, 3, 1, 1), 0.5)).flatten()
        tensor([0.8660, 0.0000, 0.0000])
    """
    return torch.einsum("oc,nchw->nohw", _matrix(image, chroma), image)


def rgb_colors(opponent: Tensor, chroma: float = 1.0) -> Tensor:
    """Return an image in RGB; the inverse of `opponent_colors`.

    Args:
        opponent: Brightness and two colors, `(N, 3, H, W)`.
        chroma: Factor that the second and the third channel had, not 0.

    Returns:
        `(N, 3, H, W)`.
    """
    return torch.einsum("oc,nohw->nchw", _matrix(opponent, 1 / chroma), opponent)


def _matrix(like: Tensor, chroma: float) -> Tensor:
    return like.new_tensor([[1.0], [chroma], [chroma]]) * like.new_tensor(_ROWS)
