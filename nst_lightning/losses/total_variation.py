"""Total variation: how much neighbouring pixels differ, of a whole picture or of some of its rows."""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from nst_lightning.errors import UserError, check_choice
from nst_lightning.images.opponent import opponent_colors
from nst_lightning.losses.functional import check_positions, full_precision

VariationKind = Literal["l2", "l1", "keras", "crowsonkb", "neural_style", "neural_style_pt"]


def total_variation(
    image: Tensor, kind: VariationKind = "l2", *, exponent: float = 1.25, chroma: float = 1.0
) -> Tensor:
    r"""Return how much neighbouring pixels differ.

    With :math:`a` the differences of vertical and :math:`b` those of horizontal neighbours, *kind* is

    * `l2`: mean of all :math:`a^2` plus mean of all :math:`b^2`.
    * `l1`: mean of all :math:`|a|` plus mean of all :math:`|b|`.
    * `keras`: :math:`\sum (a^2 + b^2)^{exponent}` over channels and the :math:`(H-1)(W-1)` pixels that have
      both a lower and a right neighbour (Keras example; Mahendran and Vedaldi 2015 with :math:`\beta = 2
      \cdot exponent`).
    * `neural_style`: :math:`\frac{1}{2}\sum (a^2 + b^2)` over the same pixels, the function whose gradient
      jcjohnson/neural-style adds (it never reports the value).
    * `neural_style_pt`: :math:`\sum |a| + \sum |b|` over all neighbours (ProGamerGov/neural-style-pt).
    * `crowsonkb`: twice the nine-point stencil of crowsonkb/style-transfer-pytorch, the means of squares of
      the two axis differences over 3 and of the two diagonal ones over 12, on the picture padded by
      replication.

    Args:
        image: `(N, C, H, W)` in [0, 1]. Keras and neural_style_pt work in [0, 255], neural_style in [0, 256]:
            their numbers are those of the image times that.
        kind: One of the above.
        exponent: For `keras`; at least 1, or the gradient of a flat picture is not finite.
        chroma: Factor of differences in color, 0 or more. Unless it is 1, *kind* is taken of the image's
            `opponent_colors`, the two color channels multiplied by this; for kinds that sum squares, `l2`,
            `neural_style` and `crowsonkb`, 1 gives the same either way. Ours.

    Returns:
        `(N,)`. A picture one pixel high or wide has no differences in that direction.

    Raises:
        UserError: If *image* is not 4-dimensional, *kind* is unknown, or *chroma* is not 1 and there are not three
            channels.

    Example:
        >>> stripes = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]]]])  # red, green
        >>> total_variation(stripes)
        tensor([0.6667])
        >>> total_variation(stripes, chroma=2.0)
        tensor([2.6667])
    """
    check_positions(image)
    height = image.shape[2]
    return variation_of_rows(image, slice(0, height), height, kind, exponent=exponent, chroma=chroma)


def variation_of_rows(
    band: Tensor,
    rows: slice,
    height: int,
    kind: VariationKind = "l2",
    *,
    exponent: float = 1.25,
    chroma: float = 1.0,
) -> Tensor:
    """Return the part of a picture's `total_variation` that belongs to some of its rows.

    Each difference belongs to one row, so the parts of bands that cover the picture add up to the whole.

    Args:
        band: Those rows of the picture, with the one above and the one below where the picture has them.
        rows: Which they are.
        height: Of the whole picture.
        kind: As in `total_variation`.
        exponent: As in `total_variation`.
        chroma: As in `total_variation`.

    Returns:
        `(N,)`.
    """
    check_choice(kind, get_args(VariationKind), "kind")
    band = full_precision(band)
    if chroma != 1.0:
        if band.shape[1] != 3:
            raise UserError(f"chroma: expected an image with 3 channels, found {band.shape[1]}; leave chroma at 1")
        band = opponent_colors(band, chroma)
    if kind == "crowsonkb":
        return _nine_point_variation(band, rows, height)
    _, channels, _, width = band.shape
    begun = band[..., min(rows.start, 1) :, :]
    own = begun[..., : rows.stop - rows.start, :]
    below = begun[..., 1 : 1 + rows.stop - rows.start, :]
    down = below - own[..., : below.shape[2], :]
    across = own[..., 1:] - own[..., :-1]
    vertical, horizontal = channels * (height - 1) * width, channels * height * (width - 1)
    if kind == "l2":
        return _mean(down.square(), vertical) + _mean(across.square(), horizontal)
    if kind == "l1":
        return _mean(down.abs(), vertical) + _mean(across.abs(), horizontal)
    if kind == "neural_style_pt":
        return _sum(down.abs()) + _sum(across.abs())
    squares = down[..., :-1].square() + across[..., : down.shape[2], :].square()
    return _sum(squares) / 2 if kind == "neural_style" else _sum(squares.pow(exponent))


def _nine_point_variation(band: Tensor, rows: slice, height: int) -> Tensor:
    at_top, at_bottom = rows.start == 0, rows.stop == height
    padded = F.pad(band, (1, 1, int(at_top), int(at_bottom)), mode="replicate")
    _, channels, _, width = band.shape
    centre = padded[..., 1:-1, 1:-1]
    right, below = padded[..., 1:-1, 2:] - centre, padded[..., 2:, 1:-1] - centre
    # Of the diagonals there is one row more than of the picture: the last band has it.
    diagonals = rows.stop - rows.start + int(at_bottom)
    upper, lower = padded[..., :diagonals, :], padded[..., 1 : 1 + diagonals, :]
    falling, rising = lower[..., 1:] - upper[..., :-1], lower[..., :-1] - upper[..., 1:]
    straight, slanted = channels * height * width, channels * (height + 1) * (width + 1)
    axes = _mean(right.square(), straight) + _mean(below.square(), straight)
    return 2 * (axes / 3 + (_mean(falling.square(), slanted) + _mean(rising.square(), slanted)) / 12)


def _sum(values: Tensor) -> Tensor:
    return values.flatten(1).sum(dim=1)


def _mean(values: Tensor, count: int) -> Tensor:
    return _sum(values) / max(count, 1)
