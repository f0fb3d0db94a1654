"""Roots of positive semi-definite matrices, and the trace of one with its gradient."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_ROUNDING = 1e-8  # one more step squares it
_LARGEST_SCALE = 1.69770248526  # with more the largest eigenvalue would be sent near 0, and come back with errors


def symmetric_root(matrix: Tensor) -> Tensor:
    """Return the symmetric square root of a positive semi-definite matrix; no gradient.

    Args:
        matrix: `(..., C, C)`. Eigenvalues that rounding made negative count as 0.

    Returns:
        `(..., C, C)` in float64 (in the dtype of *matrix* on a device without it): the root is multiplied on
        both sides of another matrix, and its rounding in float32 would drown the small eigenvalues of the
        product.
    """
    if torch.compiler.is_exporting():
        return _iterated_roots(matrix)[0]
    with torch.no_grad():
        values, vectors, finite = _eigh(_widest(_symmetric(matrix)))
        root = (vectors * values.clamp_min(0).sqrt().unsqueeze(-2)) @ vectors.mT
    return torch.where(finite[..., None, None], root, torch.nan)


def inverse_root(matrix: Tensor) -> Tensor:
    """Return the inverse of the symmetric square root of a positive definite matrix; no gradient.

    Args:
        matrix: `(..., C, C)`. Eigenvalues below the rounding error of the largest one are raised to it.

    Returns:
        `(..., C, C)`, in the dtype that `symmetric_root` returns.
    """
    if torch.compiler.is_exporting():
        return _iterated_roots(matrix)[1]
    with torch.no_grad():
        values, vectors, finite = _eigh(_widest(_symmetric(matrix)))
        limits = torch.finfo(values.dtype)
        floor = (limits.eps * values[..., -1:]).clamp_min(limits.tiny)
        root = (vectors * values.clamp_min(floor).rsqrt().unsqueeze(-2)) @ vectors.mT
    return torch.where(finite[..., None, None], root, torch.nan)


def trace_of_root(matrix: Tensor) -> Tensor:
    r"""Return the trace of the square root of a positive semi-definite matrix, with its gradient.

    .. math:: \mathrm{tr}\,M^{1/2} = \sum_i \sqrt{\lambda_i}, \qquad
              \partial\,\mathrm{tr}\,M^{1/2} / \partial M = \tfrac{1}{2} V \mathrm{diag}(\lambda^{-1/2})\, V^T

    Unlike the gradient of `torch.linalg.eigh` this one has no :math:`1/(\lambda_i - \lambda_j)`, so repeated
    eigenvalues are harmless. Eigenvalues below the rounding error of the largest one are raised to it in the
    gradient, which is infinite at 0; negative ones, which only rounding makes, count as 0.

    Args:
        matrix: `(..., C, C)`. Only its symmetric part counts. A matrix with a non-finite entry has the value
            nan: a diverged image must show in the loss, where the guard looks, and not as an error of the
            eigensolver.

    Returns:
        `(...)`, in the dtype of *matrix*. The eigenvalues are computed in float64 where the device has it.
    """
    return cast("Tensor", _TraceOfRoot.apply(_symmetric(matrix)))


class _TraceOfRoot(torch.autograd.Function):
    """The sum of the roots of the eigenvalues; the gradient is computed along with them."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        values, vectors, finite = _eigh(_widest(matrix))
        roots = values.clamp_min(0).sqrt().sum(dim=-1)
        if ctx.needs_input_grad[0]:
            limits = torch.finfo(matrix.dtype)
            floor = (limits.eps * values[..., -1:]).clamp_min(limits.tiny)
            inverse_roots = 0.5 / values.clamp_min(floor).sqrt()
            ctx.save_for_backward(((vectors * inverse_roots.unsqueeze(-2)) @ vectors.mT).to(matrix.dtype))
        return torch.where(finite, roots, torch.nan).to(matrix.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        (grad,) = ctx.saved_tensors
        return grad_output[..., None, None] * cast("Tensor", grad)


def _iterated_roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the root of a positive definite matrix and its inverse, by products alone: ONNX has no eigensolver.

    The coupled Newton-Schulz iteration (Higham, "Functions of Matrices", 2008, equation 6.35) in float64, each step
    scaled as Chen and Chow have it ("A Stable Scaling of Newton-Schulz for Improving the Sign Function Computation of
    a Hermitian Matrix", 2014): a small eigenvalue grows by up to 13/2 in a step instead of 9/4, and half the steps
    do. They suffice where no eigenvalue is below 1e-12 of the matrix's Frobenius norm.
    """
    matrix = _widest(_symmetric(matrix))
    size = matrix.square().sum((-2, -1), keepdim=True).sqrt()  # at least the largest eigenvalue
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    root, inverse = matrix / size, identity.expand_as(matrix)
    grown = 1.0  # what both are still to be multiplied by: the graph has a constant matrix less in each step
    for scale in _scales():
        factor = identity - (scale**2 * grown**2 / 3) * (inverse @ root)
        root, inverse = root @ factor, factor @ inverse
        grown *= 1.5 * scale
    return root * (grown * size.sqrt()), inverse * (grown / size.sqrt())


def _scales() -> list[float]:
    """Return the scale of each step until roots of eigenvalues from 1e-6 to 1 have become 1, to rounding."""
    scales, least = [], 1e-6
    while 1 - least > _ROUNDING:
        scales.append(min(_LARGEST_SCALE, (3 / (1 + least + least**2)) ** 0.5))
        least *= scales[-1] * (3 - (scales[-1] * least) ** 2) / 2
    return [*scales, 1.0]


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return eigenvalues (ascending), eigenvectors, and which matrices of the batch are finite.

    The eigensolver raises on nan and inf, so it gets zeros in their place.
    """
    finite = matrix.isfinite().all(dim=-1).all(dim=-1)
    with torch.autocast(matrix.device.type, enabled=False):
        values, vectors = torch.linalg.eigh(torch.where(finite[..., None, None], matrix, 0.0))
    return values, vectors, finite


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def _widest(matrix: Tensor) -> Tensor:
    # Apple's GPUs have no float64.
    return matrix if matrix.device.type == "mps" else matrix.double()
