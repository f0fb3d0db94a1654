"""Total variation: neighbouring pixels of the image are alike."""

from typing import get_args

from torch import Tensor

from nst_lightning.errors import UserError, check_choice
from nst_lightning.losses.loss import Features, Loss, Measured, check_weight
from nst_lightning.losses.total_variation import VariationKind, total_variation, variation_of_rows

KERAS_EXPONENT = 1.25


class TotalVariationLoss(Loss):
    """How much neighbouring pixels of the image differ; a regulariser without a reference picture.

    The one term is called by the loss's name alone, `tv`. The formulas, `l2` (default) to `neural_style_pt`,
    are in `total_variation`. Pixels are in [0, 1]: the weights of a program that works in [0, 255]
    are to be multiplied by 255 for `neural_style_pt`, 256^2 for `neural_style` (which works in [0, 256]) and
    255^2.5, about 1.04 million, for `keras`; so the Keras example's 1e-6 is 1.04 here.
    """

    reference = "none"

    def __init__(
        self,
        weight: float = 1.0,
        kind: VariationKind = "l2",
        exponent: float = KERAS_EXPONENT,
        name: str = "tv",
        chroma: float = 1.0,
    ) -> None:
        """Check and keep the settings.

        Args:
            weight: Weight of the loss.
            kind: The formula; `total_variation` lists them.
            exponent: For `keras` only: the power of the sum of squares, at least 1.
            name: Name of the term.
            chroma: Factor of differences in color, 0 or more: above 1, fine noise of color costs more than strokes
                of light and dark do. `total_variation` has the formula.

        Raises:
            UserError: If *kind* is unknown, *exponent* is below 1 or not finite, *exponent* is given with
                another kind, *chroma* is negative or not finite, or as in `Loss`.
        """
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

    def forward(self, features: Features, targets: Measured) -> dict[str, Tensor]:
        """Return `{name: scalar}`; *targets* are not read."""
        distances = total_variation(features["input"], self.kind, exponent=self.exponent, chroma=self.chroma)
        return {self.name: self.weigh("input", distances)}

    def of_rows(self, band: Tensor, rows: slice, height: int) -> dict[str, Tensor]:
        """Return the share of some rows, so that all shares add up to what `forward` returns.

        Args:
            band: Those rows of the image, with the one above and the one below where the image has them.
            rows: Which they are.
            height: Of the whole image.
        """
        distances = variation_of_rows(band, rows, height, self.kind, exponent=self.exponent, chroma=self.chroma)
        return {self.name: self.weigh("input", distances)}

    def extra_repr(self) -> str:
        """Tell the settings in `print(loss)`."""
        return f"{super().extra_repr()}, kind={self.kind}, chroma={self.chroma:g}"
