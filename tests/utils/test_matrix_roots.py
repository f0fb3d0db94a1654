import math

import numpy as np
import pytest
import scipy.linalg
import torch

from nst_lightning.utils.matrix_roots import _iterated_roots, symmetric_root, trace_of_root


def semi_definite(*shape: int, rank: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(*shape, rank, generator=generator, dtype=torch.float64)
    return factor @ factor.mT


@pytest.mark.parametrize("channels", [1, 4, 33])
def test_roots_match_scipy(channels):
    matrices = semi_definite(2, channels, rank=channels + 2)
    expected = np.stack([scipy.linalg.sqrtm(matrix) for matrix in matrices.numpy()])
    np.testing.assert_allclose(symmetric_root(matrices).numpy(), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(trace_of_root(matrices).numpy(), np.trace(expected, axis1=1, axis2=2), rtol=1e-10)


def test_gradient_with_batch_and_repeated_eigenvalues():
    assert torch.autograd.gradcheck(trace_of_root, semi_definite(3, 5, rank=7).requires_grad_())
    repeated = torch.diag(torch.tensor([2.0, 2.0, 2.0, 5.0], dtype=torch.float64))
    assert torch.autograd.gradcheck(trace_of_root, repeated.requires_grad_())


def test_only_the_symmetric_part_counts():
    matrix = semi_definite(4, rank=6)
    skew = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(trace_of_root(matrix + skew - skew.mT), trace_of_root(matrix))
    torch.testing.assert_close(symmetric_root(matrix + skew - skew.mT), symmetric_root(matrix))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_and_zero_matrices_have_a_finite_gradient(dtype):
    for matrix in (semi_definite(8, rank=2), torch.zeros(8, 8, dtype=torch.float64)):
        matrix = matrix.to(dtype).requires_grad_()
        root = trace_of_root(matrix)
        root.backward()
        assert root.dtype == dtype
        assert root.isfinite()
        assert matrix.grad.isfinite().all()


def test_an_eigenvalue_that_rounding_made_negative_counts_as_zero():
    matrix = torch.diag(torch.tensor([4.0, -1e-9]))
    assert float(trace_of_root(matrix)) == pytest.approx(2.0)
    torch.testing.assert_close(symmetric_root(matrix).float(), torch.diag(torch.tensor([2.0, 0.0])))


def test_a_non_finite_matrix_gives_nan_and_leaves_the_others_alone():
    matrices = semi_definite(3, 4, rank=6)
    expected = trace_of_root(matrices)
    matrices[1, 2, 3] = float("nan")
    roots = trace_of_root(matrices)
    assert roots.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(roots[[0, 2]], expected[[0, 2]])
    assert symmetric_root(matrices).isnan().all(-1).all(-1).tolist() == [False, True, False]


@pytest.mark.parametrize("condition", [1, 1e4, 1e9, 1e11])
def test_products_alone_come_to_the_same_roots(condition: float) -> None:
    """What stands for the eigensolver in exported models: eigenvalues spread out, one small, one large."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(3, 24, 24, generator=generator, dtype=torch.float64))[0]
    least = 1 / condition
    spread = torch.logspace(-math.log10(condition), 0, 24, dtype=torch.float64)
    most, few = torch.ones_like(spread), torch.full_like(spread, least)
    most[0], few[0] = least, 1
    values = torch.stack([100 * spread, most, 0.01 * few])[:, None]
    root, inverse = _iterated_roots((basis * values) @ basis.mT)
    torch.testing.assert_close(root, (basis * values.sqrt()) @ basis.mT, rtol=0, atol=1e-9)
    error = inverse - (basis * values.rsqrt()) @ basis.mT
    # The matrix itself has its eigenvalues to rounding of the largest only.
    assert float((error.abs().amax((1, 2)) * values.amin((1, 2)).sqrt()).max()) <= 1e-14 * condition + 1e-12
