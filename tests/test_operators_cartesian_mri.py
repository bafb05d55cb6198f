"""Multi-coil Cartesian MRI: the plain formula, dense matrices, sigpy's operator, and gradients."""

from functools import reduce

import numpy as np
import pytest
import torch
from laws import basis, close, measurements, signals
from torch.fft import fftn, fftshift, ifftshift

from workbench import BadInput, Rng
from workbench.operators import CartesianMRI, dot_test

# masks that vary along the last axis, the last two, all, or only a leading one; odd and even, 1 to 3 axes
SHAPES = [
    ((6, 5), (5,)),
    ((5, 6), (5, 6)),
    ((5, 7), (5, 1)),
    ((6, 5), (1, 5)),
    ((7,), (7,)),
    ((4, 5, 6), (6,)),
    ((4, 5, 6), (5, 6)),
    ((5, 4, 3), (5, 1, 3)),
    ((6, 5), (1,)),
]


def operator(shape, columns, coils=3, dtype=torch.complex128, seed=1):
    rng = Rng(seed, "example")
    mask = rng.uniform(*columns) < 0.6
    mask.view(-1)[0] = True
    return CartesianMRI(rng.normal(torch.empty(coils, *shape, dtype=dtype)), mask)


def plain(A, x):
    """The formula of the docstring, as it stands."""
    axes = tuple(range(-len(A.in_shape), 0))
    coil_images = A.maps * x.unsqueeze(-len(axes) - 1)
    kspace = fftshift(fftn(ifftshift(coil_images, axes), dim=axes, norm="ortho"), axes)
    return kspace[..., A.mask.broadcast_to(A.in_shape)]


@pytest.mark.parametrize("shape, columns", SHAPES)
def test_the_formula_its_adjoint_and_its_normal_map(shape, columns):
    A = operator(shape, columns)
    x = signals(A, 4).reshape(2, 2, *shape)
    y = A(x)
    assert y.shape == (2, 2, *A.out_shape)
    assert close(y.real, plain(A, x).real) and close(y.imag, plain(A, x).imag)
    assert dot_test(A) < 1e-15
    assert close(torch.view_as_real(A.normal(x)), torch.view_as_real(A.H(y)))
    assert A.acceleration == pytest.approx(np.prod(shape) / int(A.mask.broadcast_to(shape).sum()))


@pytest.mark.parametrize("seed", range(6))
def test_dense_matrix_of_random_sizes_and_masks(seed):
    A = CartesianMRI.example(Rng(seed))
    n = A.in_shape
    dft = [torch.outer(torch.arange(s) - s // 2, torch.arange(s) - s // 2).double() / s for s in n]
    F = reduce(torch.kron, [torch.polar(torch.full_like(t, len(t) ** -0.5), -2 * torch.pi * t) for t in dft])
    keep = A.mask.broadcast_to(n).flatten()
    M = torch.cat([F[keep] * maps.flatten() for maps in A.maps])
    x = signals(A, 1)[0]
    assert torch.allclose(A(x).flatten(), M @ x.flatten(), atol=1e-13)
    y = measurements(A, 1)[0]
    assert torch.allclose(A.H(y).flatten(), M.mH @ y.flatten(), atol=1e-13)
    assert A.norm() == pytest.approx(torch.linalg.matrix_norm(M, 2).item(), rel=1e-3)


@pytest.mark.parametrize("shape, columns", [s for s in SHAPES if len(s[0]) > 1])
def test_gram_spectrum_is_the_exact_diagonal(shape, columns):
    A = operator(shape, columns)
    axes = tuple(range(len(shape)))
    waves = torch.fft.ifftn(
        basis(shape, torch.float64).to(torch.complex128), dim=axes_after(axes), norm="ortho"
    )
    exact = A(waves).abs().square().sum((-2, -1)).reshape(shape)
    assert torch.allclose(A.gram_spectrum(axes), exact, atol=1e-12)
    assert torch.allclose(A.gram_spectrum(tuple(a - len(axes) for a in axes)), exact, atol=1e-12)


def axes_after(axes):
    return tuple(a + 1 for a in axes)


@pytest.mark.parametrize("shape", [(16, 12), (15, 11)])
@pytest.mark.parametrize("lines", [True, False])
def test_against_sigpy(shape, lines):
    sense = pytest.importorskip("sigpy.mri.linop").Sense
    A = operator(shape, shape[1:] if lines else shape, coils=4, dtype=torch.complex64)
    theirs = sense(A.maps.numpy(), weights=np.broadcast_to(A.mask.numpy(), shape).astype(np.float32))
    x, y = signals(A, 1)[0], measurements(A, 1)[0]
    assert np.allclose(A.grid(A(x)).numpy(), theirs(x.numpy()), atol=1e-5)
    assert np.allclose(A.H(y).numpy(), theirs.H(A.grid(y).numpy()), atol=1e-5)


@pytest.mark.parametrize("shape, columns", SHAPES)
def test_sample_and_grid(shape, columns):
    A = operator(shape, columns)
    kspace = Rng(2).normal(torch.empty(2, 3, *shape, dtype=torch.complex128))
    y = A.sample(kspace)
    assert torch.equal(y, kspace[..., A.mask.broadcast_to(shape)])
    assert torch.equal(A.grid(y), kspace * A.mask)


def test_large_batches_and_many_coils_are_the_same_numbers(monkeypatch):
    from workbench.operators import cartesian_mri

    A = operator((6, 5), (5,), coils=7)
    x, y = signals(A, 9), measurements(A, 9)
    whole = A(x), A.H(y), A.normal(x)
    monkeypatch.setattr(cartesian_mri, "CHUNK", 60)  # two coils and one image at a time
    B = CartesianMRI(A.maps, A.mask)
    parts = B(x), B.H(y), B.normal(x)
    assert len(B._coils) == 4 and len(A._coils) == 1
    assert all(torch.allclose(part, full, atol=1e-13) for part, full in zip(parts, whole, strict=True))
    assert torch.equal(parts[0][4], B(x[4]))


@pytest.mark.parametrize("columns", [(5,), (4, 5)])
def test_gradients_to_the_image_and_the_maps(columns):
    A = operator((4, 5), columns, coils=2)
    maps, x = A.maps.clone().requires_grad_(), signals(A, 1)[0].requires_grad_()
    y = measurements(A, 1)[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda maps, x: CartesianMRI(maps, A.mask)(x), (maps, x))
    assert torch.autograd.gradcheck(lambda maps, y: CartesianMRI(maps, A.mask).H(y), (maps, y))
    assert torch.autograd.gradcheck(lambda maps, x: CartesianMRI(maps, A.mask).normal(x), (maps, x))


def test_one_operator_takes_many_backward_passes():
    A = operator((4, 5), (5,))
    A = CartesianMRI(A.maps.requires_grad_(), A.mask)
    for _ in range(2):
        A(signals(A, 1)).abs().sum().backward()
    assert A.maps.grad.isfinite().all()


def test_vmap_and_jacobian_products():
    A = operator((4, 5), (5,))
    x = signals(A, 3)
    assert torch.allclose(torch.func.vmap(A)(x), A(x), atol=1e-14)
    y, back = torch.func.vjp(A, x)
    assert torch.allclose(back(y)[0], A.H(y), atol=1e-13)
    assert torch.allclose(torch.func.jvp(A, (x,), (x,))[1], y, atol=1e-14)


def test_solve():
    A = operator((6, 5), (5,))
    b = signals(A, 2)
    x = A.solve(b, 0.3)
    assert torch.allclose(A.normal(x) + 0.3 * x, b, atol=1e-10)


@pytest.mark.parametrize(
    "maps, mask, says",
    [
        (torch.ones(3, 6, 5), torch.ones(5) > 0, "maps is torch.float32 of shape"),
        (torch.ones(5) * 1j, torch.ones(5) > 0, r"maps is torch.complex64 of shape \(5,\)"),
        (None, torch.ones(5) > 0, "maps is a NoneType"),
        (torch.ones(3, 6, 5) * 1j, torch.ones(5), "mask is torch.float32 of shape"),
        (torch.ones(3, 6, 5) * 1j, torch.ones(6) > 0, r"mask has shape \(6,\)"),
        (torch.ones(3, 6, 5) * 1j, torch.ones(3, 6, 5) > 0, r"mask has shape \(3, 6, 5\)"),
        (torch.ones(3, 6, 5) * 1j, torch.ones(5) < 0, "no True entry"),
        (torch.full((3, 6, 5), float("nan")) * 1j, torch.ones(5) > 0, "maps has NaN"),
    ],
)
def test_bad_input_is_named(maps, mask, says):
    with pytest.raises(BadInput, match=says):
        CartesianMRI(maps, mask)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("shape, columns", SHAPES)
def test_on_a_gpu(shape, columns):
    A = operator(shape, columns)
    x, y = signals(A, 3), measurements(A, 3)
    B = A.to("cuda")
    for ours, there in [(A(x), B(x.cuda())), (A.H(y), B.H(y.cuda())), (A.normal(x), B.normal(x.cuda()))]:
        assert torch.allclose(ours, there.cpu(), atol=1e-12)
