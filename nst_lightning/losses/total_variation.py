"""Total variation: neighboring pixels of the image are alike."""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from nst_lightning.errors import UserError, check_choice
from nst_lightning.images.color_spaces import opponent_colors
from nst_lightning.losses.functional import check_positions, full_precision
from nst_lightning.losses.loss import Features, Guide, Loss, Measured, check_weight

VariationKind = Literal["l2", "l1", "second_order", "keras", "crowsonkb", "neural_style", "neural_style_pt"]

KERAS_EXPONENT = 1.25


class TotalVariationLoss(Loss):
    """How much neighboring pixels of the image differ; a regularizer without a reference image.

    The one term is called by the loss's name alone, `tv`. The formulas, `l2` (default) to `neural_style_pt`,
    are in `total_variation`. Pixels are in [0, 1]: the weights of a program that works in [0, 255]
    are to be multiplied by 255 for `neural_style_pt`, 256^2 for `neural_style` (which works in [0, 256]) and
    255^2.5, about 1.04 million, for `keras`; so the Keras example's 1e-6 is 1.04 here.

    It is `tileable`: what `of_rows` returns for bands of rows adds up to what `forward` returns.

    Args:
        weight: Weight of the loss.
        kind: Formula; `total_variation` lists them.
        exponent: For `keras` only: power of the sum of squares, at least 1.
        name: Name of the term.
        chroma: Factor of differences in color, 0 or more: above 1, fine noise of color costs more than strokes
            of light and dark do. `total_variation` has the formula.

    Raises:
        UserError: If *kind* is unknown, *exponent* is below 1 or not finite, *exponent* is given with
            another kind, *chroma* is negative or not finite, or as in `Loss`.

    Example:
        >>> import torch
        >>> stripes = torch.tensor([0.0, 1.0, 0.0, 1.0]).expand(1, 3, 2, 4)
        >>> TotalVariationLoss(weight=3.0)({"input": stripes}, {})
        {'tv': tensor(3.)}
    """

    reference = "none"
    tileable = True
    tiled_methods = ("forward", "of_rows", "weigh")

    def __init__(
        self,
        weight: float = 1.0,
        kind: VariationKind = "l2",
        exponent: float = KERAS_EXPONENT,
        name: str = "tv",
        chroma: float = 1.0,
    ) -> None:
        super().__init__(layers=("input",), weight=weight, name=name)
        check_choice(kind, get_args(VariationKind), f"{name}: kind")
        if not 1 <= exponent < float("inf"):
            raise UserError(f"{name}: expected an exponent of 1 or more, found {exponent}; 1.25 is usual")
        if exponent != KERAS_EXPONENT and kind != "keras":
            raise UserError(
                f"{name}: expected an exponent only with kind 'keras', found {exponent} with '{kind}'; "
                "drop the one or change the other"
            )
        self.kind: VariationKind = kind
        self.exponent = exponent
        self.chroma = check_weight(chroma, f"{name}: chroma")

    def forward(self, features: Features, targets: Measured, guide: Guide | None = None) -> dict[str, Tensor]:
        """Return `{name: scalar}`; *targets* and *guide* are not read."""
        distances = total_variation(features["input"], self.kind, exponent=self.exponent, chroma=self.chroma)
        return {self.name: self.weigh("input", distances)}

    def of_rows(self, band: Tensor, rows: slice, height: int) -> dict[str, Tensor]:
        """Return the share of some rows; all shares add up to what `forward` returns. See `variation_of_rows`."""
        distances = variation_of_rows(band, rows, height, self.kind, exponent=self.exponent, chroma=self.chroma)
        return {self.name: self.weigh("input", distances)}

    def extra_repr(self) -> str:
        """Return the settings, for `print(loss)`."""
        return f"{super().extra_repr()}, kind={self.kind}, chroma={self.chroma:g}"


def total_variation(
    image: Tensor, kind: VariationKind = "l2", *, exponent: float = KERAS_EXPONENT, chroma: float = 1.0
) -> Tensor:
    r"""Return how much neighboring pixels differ.

    With :math:`a` the differences of vertical and :math:`b` those of horizontal neighbors, *kind* is

    * `l2`: mean of all :math:`a^2` plus mean of all :math:`b^2`.
    * `l1`: mean of all :math:`|a|` plus mean of all :math:`|b|`.
    * `second_order`: mean of all :math:`a_y^2` plus mean of all :math:`b_x^2` plus twice the mean of all
      :math:`a_x^2`, the squares of the second differences: those of :math:`a` and :math:`b` along the axes and the
      mixed one; the bending energy of a thin plate (Duchon 1977), the same whatever the direction. It grows with the
      fourth power of a frequency, `l2` with the second: it takes fine noise and leaves strokes their contrast.
    * `keras`: :math:`\sum (a^2 + b^2)^{exponent}` over channels and the :math:`(H-1)(W-1)` pixels that have
      both a lower and a right neighbor (Keras example; Mahendran and Vedaldi 2015 with :math:`\beta = 2
      \cdot exponent`).
    * `neural_style`: :math:`\frac{1}{2}\sum (a^2 + b^2)` over the same pixels, the function whose gradient
      jcjohnson/neural-style adds (it never reports the value).
    * `neural_style_pt`: :math:`\sum |a| + \sum |b|` over all neighbors (ProGamerGov/neural-style-pt).
    * `crowsonkb`: twice the nine-point stencil of crowsonkb/style-transfer-pytorch, the means of squares of
      the two axis differences over 3 and of the two diagonal ones over 12, on the image padded by
      replication.

    Args:
        image: Image, `(N, C, H, W)` in [0, 1]. Keras and neural_style_pt work in [0, 255], neural_style in [0, 256]:
            their numbers are those of the image times that.
        kind: Formula; one of the above.
        exponent: For `keras`; at least 1, or the gradient of a flat image is not finite.
        chroma: Factor of differences in color, 0 or more. Unless it is 1, *kind* is taken of the image's
            `opponent_colors`, the two color channels multiplied by this; for kinds that sum squares, `l2`,
            `second_order`, `neural_style` and `crowsonkb`, 1 gives the same either way. Ours.

    Returns:
        `(N,)`. An image one pixel high or wide has no differences in that direction.

    Raises:
        UserError: If *image* is not 4-dimensional, *kind* is unknown, or *chroma* is not 1 and there are not three
            channels.

    Example:
        >>> import torch
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
    exponent: float = KERAS_EXPONENT,
    chroma: float = 1.0,
) -> Tensor:
    """Return the part of an image's `total_variation` that belongs to some of its rows.

    Each difference belongs to one row, so the parts of bands that cover the image add up to the whole.

    Args:
        band: Pixels of these rows, with the row above and the row below where the image has them.
        rows: Range of the rows in the image.
        height: Height of the whole image, pixels.
        kind: As in `total_variation`.
        exponent: As there.
        chroma: As there.

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
    if kind == "second_order":
        return _second_order_variation(band, rows, height)
    _, channels, _, width = band.shape
    across = _own(band, rows).diff(dim=3)
    down = _own(band.diff(dim=2), rows)
    vertical, horizontal = channels * (height - 1) * width, channels * height * (width - 1)
    if kind == "l2":
        return _mean(down.square(), vertical) + _mean(across.square(), horizontal)
    if kind == "l1":
        return _mean(down.abs(), vertical) + _mean(across.abs(), horizontal)
    if kind == "neural_style_pt":
        return _sum(down.abs()) + _sum(across.abs())
    squares = down[..., :-1].square() + across[..., : down.shape[2], :].square()
    return _sum(squares) / 2 if kind == "neural_style" else _sum(squares.pow(exponent))


def _second_order_variation(band: Tensor, rows: slice, height: int) -> Tensor:
    _, channels, _, width = band.shape
    own = _own(band, rows)
    down = band.diff(dim=2)  # of every row of the band but the last to the one below
    bent_down, bent_across = down.diff(dim=2), own.diff(n=2, dim=3)
    twisted = _own(down, rows).diff(dim=3)
    straight = _mean(bent_down.square(), channels * (height - 2) * width)
    straight = straight + _mean(bent_across.square(), channels * height * (width - 2))
    return straight + 2 * _mean(twisted.square(), channels * (height - 1) * (width - 1))


def _nine_point_variation(band: Tensor, rows: slice, height: int) -> Tensor:
    at_top, at_bottom = rows.start == 0, rows.stop == height
    padded = F.pad(band, (1, 1, int(at_top), int(at_bottom)), mode="replicate")
    _, channels, _, width = band.shape
    center = padded[..., 1:-1, 1:-1]
    right, below = padded[..., 1:-1, 2:] - center, padded[..., 2:, 1:-1] - center
    # There is one row more of diagonals than of pixels: the last band has it.
    diagonals = rows.stop - rows.start + int(at_bottom)
    upper, lower = padded[..., :diagonals, :], padded[..., 1 : 1 + diagonals, :]
    falling, rising = lower[..., 1:] - upper[..., :-1], lower[..., :-1] - upper[..., 1:]
    straight, slanted = channels * height * width, channels * (height + 1) * (width + 1)
    axes = _mean(right.square(), straight) + _mean(below.square(), straight)
    return 2 * (axes / 3 + (_mean(falling.square(), slanted) + _mean(rising.square(), slanted)) / 12)


def _own(band: Tensor, rows: slice) -> Tensor:
    """Return the rows of a band that are its own, or those of what begins at its rows."""
    return band[..., min(rows.start, 1) :, :][..., : rows.stop - rows.start, :]


def _sum(values: Tensor) -> Tensor:
    return values.flatten(1).sum(dim=1)


def _mean(values: Tensor, count: int) -> Tensor:
    return _sum(values) / max(count, 1)
