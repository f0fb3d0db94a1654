"""Opponent colors: brightness apart from color, in an orthonormal basis."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)


def opponent_matrix(like: Tensor) -> Tensor:
    r"""Return the matrix that takes RGB to opponent colors.

    Its rows, :math:`(R + G + B) / \sqrt 3`, :math:`(R - B) / \sqrt 2` and :math:`(R - 2 G + B) / \sqrt 6`, are an
    orthonormal basis (the :math:`I_1 I_2 I_3` of Ohta, Kanade and Sakai 1980, "Color information for region
    segmentation", normalized): grey has no second and third component, squared distances stay what they are, and the
    transpose leads back.

    Args:
        like: A tensor with the wanted dtype and device.

    Returns:
        `(3, 3)`.
    """
    return torch.tensor(_ROWS, dtype=like.dtype, device=like.device)


def opponent_colors(image: Tensor, chroma: float = 1.0) -> Tensor:
    """Return an image in opponent colors: brightness, red against blue, and both against green.

    Args:
        image: RGB, `(N, 3, H, W)`.
        chroma: Factor of the second and the third channel.

    Returns:
        `(N, 3, H, W)`.

    Example:
        >>> opponent_colors(torch.full((1, 3, 1, 1), 0.5)).flatten()
        tensor([0.8660, 0.0000, 0.0000])
    """
    factors = torch.tensor([[1.0], [chroma], [chroma]], dtype=image.dtype, device=image.device)
    return torch.einsum("oc,nchw->nohw", factors * opponent_matrix(image), image)
