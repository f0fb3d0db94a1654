"""Statistics of features and distances between them, as pure functions.

Every statistic is a mean over positions and every distance compares two statistics, so that an image can be
measured tile by tile: the statistics of its tiles add up (weighted by their positions), the distance is taken
once.

Distances are per image, `(N,)`. A reference of batch 1 is compared with every image of the batch.
Whatever the dtype of the features, statistics and distances are in float32, also inside an autocast region (float64
stays float64). The gradient of a Gram matrix of bfloat16 features is a product in bfloat16.
"""

from typing import Any

import torch
from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.utils.matrix_roots import trace_of_root

_CAST_NUMBERS = 2**21  # features that are cast to float32 at a time on a CPU, 8 MiB of them


def full_precision(tensor: Tensor) -> Tensor:
    """Return *tensor* in float32; float64 stays as it is."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def gram_matrix(features: Tensor, guide: Tensor | None = None, *, normalize: bool = True) -> Tensor:
    r"""Return the Gram matrix of the channels, :math:`G = F F^T`, by default per position.

    With a guide it is the guided Gram matrix :math:`\sum_p g_p f_p f_p^T / \sum_p g_p` of Gatys et al. 2017
    (arXiv 1611.07865), who write it with guidance channels :math:`T = \sqrt{g / \sum g}`. For masks of black
    and white this is the same; a gray is here the weight of a position, there its square root.

    Args:
        features: Feature maps, `(N, C, H, W)`.
        guide: Weights of the positions, `(1, 1, H, W)`, 0 or more; where all are 0 so is the result. `None` for 1
            everywhere.
        normalize: Whether to divide by the number of positions :math:`HW`, which makes images of different sizes
            comparable. Without it the result is the raw sum, as written in Gatys et al. 2015.

    Returns:
        `(N, C, C)`.

    Raises:
        UserError: If *features* is not 4-dimensional or has no positions, or *guide* has another size.

    Example:
        >>> features = torch.tensor([[[[1.0, 0.0]], [[1.0, 2.0]]]])  # two channels, two positions
        >>> gram_matrix(features)
        tensor([[[0.5000, 0.5000],
                 [0.5000, 2.5000]]])
        >>> gram_matrix(features, torch.tensor([[[[1.0, 0.0]]]]))  # the first position alone
        tensor([[[1., 1.],
                 [1., 1.]]])
    """
    check_positions(features)
    weights = None if guide is None else _position_weights(features, guide)
    gram: Tensor = _GramMatrix.apply(features, weights)
    if not normalize:
        return gram
    return gram / features[0, 0].numel() if weights is None else gram / nonzero_energy(weights.sum())


class _GramMatrix(torch.autograd.Function):
    r""":math:`F W F^T`, with the gradient :math:`(D + D^T) F W` by one product instead of autograd's two.

    The features are kept in the dtype they came in, such as bfloat16, and their gradient gets their memory format:
    neither has to be copied when it meets those of the convolutions.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weights: Tensor | None) -> Tensor:
        ctx.save_for_backward(features, weights)
        # Cast before the product: a sum of squares of float16 features overflows at 65504. On a CPU a part at a time: a
        # copy of the largest maps leaves the caches, and takes longer than the product (benchmarks/README.md).
        whole = features.device.type != "cpu" or features.dtype in (torch.float32, torch.float64)
        positions = features[0, 0].numel()
        at_a_time = positions if whole else max(_CAST_NUMBERS // features[:, :, 0, 0].numel(), 1)
        gram = features.new_zeros(())
        with torch.autocast(features.device.type, enabled=False):
            for start in range(0, positions, at_a_time):
                here = slice(start, start + at_a_time)
                part = full_precision(features.flatten(2)[:, :, here])
                weighted = part if weights is None else part * weights[:, :, here]
                gram = gram + weighted @ part.transpose(1, 2)
        return gram

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        features, weights = ctx.saved_tensors
        with torch.autocast(features.device.type, enabled=False):
            flat, both = features.flatten(2), grad_output + grad_output.transpose(1, 2)
            if features.dtype == torch.bfloat16:
                # The product is rounded to it anyway; D + D^T has float32's range there, unlike in float16.
                both = both.to(torch.bfloat16)
            else:
                flat = full_precision(flat)
            channels_last = features.stride(1) == 1
            grad = (flat.transpose(1, 2) @ both).transpose(1, 2) if channels_last else both @ flat
            grad = grad if weights is None else grad * weights
        return grad.unflatten(2, features.shape[2:]).to(features.dtype), None


def gaussian_moments(features: Tensor, guide: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean and the second raw moment of the feature vectors over positions.

    Both are linear in the distribution of the vectors, so those of several images (or tiles) may be blended
    by a weighted mean; a covariance may not.

    Args:
        features: Feature maps, `(N, C, H, W)`.
        guide: Weights of the positions as in `gram_matrix`; both moments are then weighted means.

    Returns:
        The mean, `(N, C)`, and the second moment, `(N, C, C)`: the per-position Gram matrix.

    Raises:
        UserError: If *features* is not 4-dimensional or has no positions, or *guide* has another size.
    """
    check_positions(features)
    second, features = gram_matrix(features, guide), full_precision(features)
    if guide is None:
        return features.mean(dim=(2, 3)), second
    weights = _position_weights(features, guide)
    return (features.flatten(2) * weights).sum(dim=2) / nonzero_energy(weights.sum()), second


def covariance_matrix(mean: Tensor, second_moment: Tensor) -> Tensor:
    """Return the covariance `(N, C, C)` of a mean `(N, C)` and a second raw moment `(N, C, C)`."""
    return second_moment - mean.unsqueeze(2) * mean.unsqueeze(1)


def squared_norm(tensor: Tensor) -> Tensor:
    """Return the sum of squares of each element of the batch, `(N,)`."""
    return full_precision(tensor).square().flatten(1).sum(dim=1)


def squared_distance(tensor: Tensor, reference: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the sum of squared differences of each element of the batch, `(N,)`.

    Args:
        tensor: Batch, `(N, ...)`.
        reference: Batch to subtract, `(N, ...)`, or `(1, ...)` for the whole batch.
        weights: Factor of each squared difference, in a shape that broadcasts; `None` for 1.

    Raises:
        UserError: If the shapes differ in anything but the batch.
    """
    if tensor.shape[1:] != reference.shape[1:] or reference.shape[0] not in (1, tensor.shape[0]):
        raise UserError(
            f"expected a reference of shape {tuple(tensor.shape)} (or batch 1), "
            f"found {tuple(reference.shape)}; measure the reference with the same encoder, "
            "and a content picture at the size of the image"
        )
    difference = full_precision(tensor) - full_precision(reference)
    if weights is None:
        return squared_norm(difference)
    return (difference.square() * weights).flatten(1).sum(dim=1)


def nonzero_energy(energy: Tensor) -> Tensor:
    """Return *energy* with 1 in place of 0, to divide by: a blank reference is then compared absolutely."""
    return torch.where(energy > torch.finfo(energy.dtype).tiny, energy, torch.ones_like(energy))


def gaussian_distance(
    mean: Tensor, covariance: Tensor, target_mean: Tensor, target_root: Tensor, target_trace: Tensor
) -> Tensor:
    r"""Return the squared 2-Wasserstein distance between two Gaussians.

    .. math:: W^2 = |\mu - \mu_t|^2 + \mathrm{tr}\,(S + S_t - 2\,(S_t^{1/2} S\, S_t^{1/2})^{1/2})

    Args:
        mean: Mean :math:`\mu`, `(N, C)`.
        covariance: Covariance :math:`S`, `(N, C, C)`.
        target_mean: Mean :math:`\mu_t`, `(N, C)` or `(1, C)`.
        target_root: Root :math:`S_t^{1/2}`, `(N, C, C)` or `(1, C, C)`, as `symmetric_root` returns it.
        target_trace: Trace :math:`\mathrm{tr}\,S_t`, `(N,)` or `(1,)`.

    Returns:
        `(N,)`. Rounding can make the distance of equal Gaussians very slightly negative.

    Note:
        Olkin and Pukelsheim 1982; as a style loss in crowsonkb/style-transfer-pytorch, which takes the root
        by Newton-Schulz iterations instead.
    """
    trace = covariance.diagonal(dim1=1, dim2=2).sum(dim=1)
    with torch.autocast(covariance.device.type, enabled=False):
        product = target_root @ covariance.to(target_root.dtype) @ target_root
    spread = trace + target_trace - 2 * trace_of_root(product).to(trace.dtype)
    return squared_distance(mean, target_mean) + spread


def check_positions(features: Tensor) -> None:
    """Raise a UserError unless *features* are `(N, C, H, W)` with at least one position."""
    if features.dim() != 4 or 0 in features.shape[2:]:
        raise UserError(
            "expected a tensor of shape (N, C, H, W) with at least one position, "
            f"found {tuple(features.shape)}; use a larger picture or a shallower layer"
        )


def _position_weights(features: Tensor, guide: Tensor) -> Tensor:
    """Return the guide as `(1, 1, HW)`."""
    if guide.shape != (1, 1, *features.shape[2:]):
        raise UserError(
            f"expected a guide of shape (1, 1, {features.shape[2]}, {features.shape[3]}) like the features, "
            f"found {tuple(guide.shape)}; propagate it to the layer (encoders.guide_propagation)"
        )
    return full_precision(guide).flatten(2)
