"""The laws of operators, over the whole catalogue: a new operator is held to them by being there."""

from dataclasses import replace
from functools import cache
from math import prod

import numpy as np
import pytest
import torch
from laws import basis, close, coordinates, dense_matrix, measurements, mismatch, same_map, signals

from workbench import BadInput, Rng
from workbench.catalogue import entries, load
from workbench.operators import (
    Dense,
    Diagonal,
    FiniteDifference,
    Fourier,
    Intensity,
    Magnitude,
    Mask,
    NonlinearStack,
    Stack,
    dot_test,
    from_function,
    from_scipy,
    from_sigpy,
)
from workbench.operators._linear import Linear
from workbench.operators._solve import cg
from workbench.operators.adjointness import inner

DTYPES = (torch.float64, torch.float32, torch.complex128, torch.complex64)
DOUBLE = (torch.float64, torch.complex128)
KINDS = {entry.name: load("operators", entry.name) for entry in entries("operators")}
PROMISED = {torch.float64: 1e-12, torch.float32: 1e-5}  # |Re<A x, y> - Re<x, A^H y>| over ||A x|| ||y||
ROUNDINGS = 20  # in which `mismatch` of an exact adjoint stays


@cache
def example(name, dtype, seed=0):
    """The example of an operator whose sizes, parameters and numbers are drawn with `seed`."""
    return KINDS[name].example(Rng(seed, "example"), dtype)


@cache
def matrix(A):
    return dense_matrix(A)


def known(name, dtype):
    """Whether an operator has signals of this dtype on one of its sides."""
    try:
        return dtype in (example(name, dtype).in_dtype, example(name, dtype).out_dtype)
    except BadInput:
        return False


def cases(linear, dtypes=DTYPES, where=lambda kind: True):
    """(name, dtype) for the operators of one kind, in every dtype that they know."""
    return [
        pytest.param(name, dtype, id=f"{name}-{str(dtype).removeprefix('torch.')}")
        for name, kind in KINDS.items()
        if kind.card["linear"] is linear and where(kind)
        for dtype in dtypes
        if known(name, dtype)
    ]


def law(kinds, seeds):
    """Makes a test of one operator run on the examples of so many seeds; what fails names operator, dtype and seed."""

    def over_seeds(test):
        @pytest.mark.parametrize("name, dtype", kinds)
        def run(name, dtype):
            for seed in range(seeds):
                try:
                    test(example(name, dtype, seed))
                except Exception as error:
                    error.add_note(f"{name}, {dtype}, seed {seed}")
                    raise

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return over_seeds


def linear(seeds):
    return law(cases(True), seeds)


def linear_double(seeds, where=lambda kind: True):
    return law(cases(True, DOUBLE, where), seeds)


def nonlinear(seeds):
    return law(cases(False), seeds)


def every(seeds):
    return law(cases(True) + cases(False), seeds)


def eps(A):
    return torch.finfo(A.in_dtype).eps


def exact(A):
    """Whether the adjoint of A is exact: to what is promised of the dot test (where A x is one number, its terms may
    cancel by chance, and what is promised of it means little), and to a few roundings of what is summed."""
    promised = prod(A.out_shape) == 1 or dot_test(A) < PROMISED[A.in_dtype.to_real()]
    return promised and mismatch(A, signals(A, 4), measurements(A, 4)) < ROUNDINGS * eps(A)


@pytest.mark.parametrize("name", KINDS)
def test_example_is_drawn_from_the_rng_it_is_given(name):
    A, B = (KINDS[name].example(Rng(3, "example")) for _ in range(2))
    x = signals(A, 1)
    assert torch.equal(A(x), B(x))
    assert KINDS[name].card["linear"] is isinstance(A, Linear)


@pytest.mark.parametrize("name", KINDS)
def test_examples_are_of_many_sizes_and_small(name):
    drawn = [KINDS[name].example(Rng(seed, "example")) for seed in range(12)]
    assert len({(*A.in_shape, *A.out_shape) for A in drawn}) >= 4
    assert max(prod(shape) for A in drawn for shape in (A.in_shape, A.out_shape)) <= 200


@linear(seeds=12)
def test_adjoint_is_exact(A):
    assert exact(A)


@linear_double(seeds=3)
def test_matrix_of_the_adjoint_is_the_transpose(A):
    assert same_map(dense_matrix(A.H), matrix(A).mT)
    assert A.H.H is A


@linear(seeds=6)
def test_linear(A):
    x, z = signals(A, 4), signals(A, 4, seed=1)
    a, b = (2 - 1j, -3 + 0.5j) if A.in_dtype.is_complex and A.out_dtype.is_complex else (2.0, -3.0)
    assert close(A(a * x + b * z), a * A(x) + b * A(z))


@linear(seeds=6)
def test_batch_is_its_rows(A):
    x, y = signals(A, 6), measurements(A, 6)
    assert close(A(x), torch.stack([A(row) for row in x]))
    assert close(A.H(y), torch.stack([A.H(row) for row in y]))
    assert A(x.unflatten(0, (2, 3))).shape == (2, 3, *A.out_shape)
    assert A.H(y.unflatten(0, (2, 3))).shape == (2, 3, *A.in_shape)
    assert A(x).dtype == A.out_dtype and A.H(y).dtype == A.in_dtype
    assert close(A(x.unflatten(0, (2, 3))).flatten(0, 1), A(x))
    assert close(A.H(y.unflatten(0, (2, 3))).flatten(0, 1), A.H(y))


@linear(seeds=6)
def test_gradient_is_the_adjoint(A):
    x, y = signals(A, 2).requires_grad_(), measurements(A, 2).requires_grad_()
    (g,) = torch.autograd.grad(inner(A(x), y.detach()), x)
    assert close(g, A.H(y.detach()))
    (g,) = torch.autograd.grad(inner(A.H(y), x.detach()), y)
    assert close(g, A(x.detach()))


@linear(seeds=3)
def test_forward_mode_and_function_transforms(A):
    """Of fresh operators, so that what they prepare on first use is prepared under the transform."""
    x, v, y = signals(A, 2), signals(A, 2, seed=1), measurements(A, 2)
    assert close(torch.func.jvp(replace(A), (x,), (v,))[1], A(v))
    assert close(torch.func.vjp(replace(A), x)[1](y)[0], A.H(y))


@linear(seeds=3)
def test_gradient_of_the_misfit_twice(A):
    x, v = signals(A, 2).requires_grad_(), signals(A, 2, seed=1)
    r = A(x) - measurements(A, 2)
    (g,) = torch.autograd.grad(inner(r, r) / 2, x, create_graph=True)
    (h,) = torch.autograd.grad(inner(g, v), x)
    assert close(g, A.H(r), 1000)
    assert close(h, A.H(A(v)), 1000)


@linear_double(seeds=2)
def test_algebra(A):
    M = matrix(A)
    assert same_map(dense_matrix(A.H @ A), M.mT @ M)
    assert same_map(dense_matrix((A @ A.H).H), M @ M.mT)
    assert same_map(dense_matrix(A + 2 * A), 3 * M)
    assert same_map(dense_matrix((A - 3 * A).H), -2 * M.mT)
    assert same_map(dense_matrix(-A), -M)
    x, both = signals(A, 3), Stack(A, 2.0 * A)
    first, second = both.split(both(x))
    assert close(first, A(x)) and close(second, 2 * A(x))
    assert close(both.H(both(x)), 5 * A.H(A(x)))
    for B in (A.H @ A, A + 2 * A, both, (2.0 * A).H):
        assert exact(B)


@linear(seeds=6)
def test_normal_is_the_adjoint_of_the_forward(A):
    x = signals(A, 2)
    assert close(A.normal(x), A.H(A(x)), 1000)


@linear(seeds=3)
def test_solve_against_the_dense_inverse(A):
    M = matrix(A).double()
    b, rho = signals(A, 2), torch.tensor([0.25, 2.0])
    got = coordinates(A.solve(b, rho.to(b.dtype.to_real())), len(A.in_shape)).double()
    eye = torch.eye(M.shape[1], dtype=torch.float64)
    want = torch.stack(
        [
            torch.linalg.solve(M.mT @ M + r * eye, row)
            for r, row in zip(rho.double(), coordinates(b, len(A.in_shape)).double(), strict=True)
        ]
    )
    tol = 1e-9 if eps(A) < 1e-10 else 1e-4
    assert torch.linalg.vector_norm(got - want) < tol * torch.linalg.vector_norm(want)
    one = A.solve(b, 0.25)[0]
    assert torch.linalg.vector_norm(coordinates(one, len(A.in_shape)) - got[0]) < 10 * tol * got[0].norm()


@linear_double(seeds=6, where=lambda kind: kind.solve is not Linear.solve)
def test_solve_in_closed_form_is_that_of_conjugate_gradients(A):
    b, rho = signals(A, 2), torch.tensor([0.25, 2.0], dtype=torch.float64)
    want = Linear.solve(A, b, rho)
    assert torch.linalg.vector_norm(A.solve(b, rho) - want) < 1e-9 * torch.linalg.vector_norm(want)


@linear_double(seeds=3)
def test_norm_is_the_largest_singular_value(A):
    assert A.norm() == pytest.approx(torch.linalg.matrix_norm(matrix(A), 2).item(), rel=2e-3)
    assert A.H.norm() == pytest.approx(A.norm())


@law(cases(True, DTYPES[::2], lambda kind: kind.card["svd"]), seeds=6)
def test_svd_gives_the_operator_back(A):
    U, s, V = A.svd()
    coefficients = torch.eye(len(s), dtype=V.in_dtype)
    assert close(U.H(U(coefficients)), coefficients) and close(V.H(V(coefficients)), coefficients)
    assert (s >= 0).all()
    x = signals(A, 3)
    assert close(U((s * V.H(x)).to(U.in_dtype)), A(x), 1000)


@law(cases(True, DTYPES[::2], lambda kind: not kind.card["svd"]), seeds=1)
def test_no_svd_says_so(A):
    with pytest.raises(BadInput, match="singular value"):
        A.svd()


@linear_double(seeds=3)
def test_gram_spectrum_is_the_diagonal_in_frequency(A):
    axes = tuple(range(-min(2, len(A.in_shape)), 0))
    z = torch.fft.ifftn(basis(A.in_shape, torch.float64).to(torch.complex128), dim=axes, norm="ortho")
    image = A.normal(z) if A.in_dtype.is_complex else torch.complex(A.normal(z.real), A.normal(z.imag))
    image = torch.fft.fftn(image, dim=axes, norm="ortho").reshape(len(z), -1)
    want = image.diagonal().real.reshape(A.in_shape)
    got = A.gram_spectrum(axes, probes=64)
    # Each probe adds sum over j of conj(z_k) z_j image[k, j]; its variance is the off-diagonal power of row k.
    spread = (image.abs() ** 2).sum(0).reshape(A.in_shape).sub(want**2).clamp_min(0) ** 0.5
    assert got.shape == tuple(A.in_shape) and (got >= 0).all()
    assert ((got - want).abs() <= 6 / 64**0.5 * spread + 1e-9).all()


@linear_double(seeds=3)
def test_scipy_view(A):
    view = A.as_linear_operator()
    x, y = signals(A, 1)[0], measurements(A, 1)[0]
    assert view.shape == (y.numel(), x.numel())
    assert np.allclose(view.matvec(x.numpy().ravel()), A(x).numpy().ravel(), rtol=0, atol=1e-12)
    assert np.allclose(view.rmatvec(y.numpy().ravel()), A.H(y).numpy().ravel(), rtol=0, atol=1e-12)


@every(seeds=4)
def test_other_precision(A):
    double, single = A.to(torch.float64), A.to(torch.float32)
    assert double.in_dtype.to_real() == torch.float64 and single.in_dtype.to_real() == torch.float32
    assert (double.in_dtype.is_complex, double.out_dtype.is_complex) == (
        A.in_dtype.is_complex,
        A.out_dtype.is_complex,
    )
    x = signals(double, 2)
    y = single(x.to(single.in_dtype))
    assert y.dtype == single.out_dtype
    assert torch.linalg.vector_norm(y - double(x)) <= 1e-5 * torch.linalg.vector_norm(y)
    if isinstance(A, Linear):
        assert exact(single) and exact(double)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every(seeds=4)
def test_cuda(A):
    B, x, y = A.to("cuda"), signals(A, 2), measurements(A, 2)
    assert B(x.cuda()).is_cuda and close(B(x.cuda()).cpu(), A(x), 1000)
    if isinstance(A, Linear):
        assert close(B.H(y.cuda()).cpu(), A.H(y), 1000)
        assert close(B.solve(x.cuda(), 0.5).cpu(), A.solve(x, 0.5), 1e5)
        assert exact(B)


@every(seeds=2)
def test_bad_signals(A):
    x = signals(A, 1)
    other = {torch.float32: torch.float64, torch.float64: torch.float32}[A.in_dtype.to_real()]
    with pytest.raises(BadInput, match="shape"):
        A(torch.cat([x, x[..., :1]], dim=-1))
    with pytest.raises(BadInput, match="shape"):
        A(x[0][0])
    with pytest.raises(BadInput, match="convert x"):
        A(x.to(other.to_complex() if x.is_complex() else other))
    with pytest.raises(BadInput, match="torch.as_tensor"):
        A(x.numpy())


# Nonlinear operators: the Jacobian is what finite differences say, and its adjoint is exact. Where the forward has
# steps (card: derivative="straight-through"), the Jacobian is that of the map `smooth` beside it.


def differentiated(A):
    """The map whose derivatives A has."""
    return A.smooth if A.card.get("derivative") == "straight-through" else A.forward


@nonlinear(seeds=8)
def test_jacobian(A):
    x, v, y = signals(A, 3), signals(A, 3, seed=1), measurements(A, 3)
    J, f = A.linearize(x), differentiated(A)
    assert mismatch(J, v, y) < min(ROUNDINGS * eps(A), PROMISED[A.in_dtype.to_real()])
    assert J(v).dtype == A.out_dtype and J.H(y).dtype == A.in_dtype
    assert close(J(v), torch.func.jvp(f, (x,), (v,))[1])
    if eps(A) < 1e-10:
        h = 1e-6
        assert torch.linalg.vector_norm((f(x + h * v) - f(x - h * v)) / (2 * h) - J(v)) <= 1e-6 * J(v).norm()


@nonlinear(seeds=3)
def test_nonlinear_batch_and_gradient(A):
    x, y, v = signals(A, 6).requires_grad_(), measurements(A, 6), signals(A, 6, seed=1)
    assert close(A(x), torch.stack([A(row) for row in x]))
    assert A(x).dtype == A.out_dtype and A(x[0]).shape == tuple(A.out_shape)
    assert close(A(x.unflatten(0, (2, 3))).flatten(0, 1), A(x))
    (g,) = torch.autograd.grad(inner(A(x), y), x)
    J = A.linearize(x.detach())
    assert close(g, J.H(y))
    assert close(J.H(y), torch.stack([A.linearize(row.detach()).H(w) for row, w in zip(x, y, strict=True)]))
    assert close(J(v), torch.stack([A.linearize(row.detach())(u) for row, u in zip(x, v, strict=True)]))


@nonlinear(seeds=3)
def test_nonlinear_function_transforms(A):
    x, v, y = signals(A, 2), signals(A, 2, seed=1), measurements(A, 2)
    value, tangent = torch.func.jvp(replace(A), (x,), (v,))
    again, back = torch.func.vjp(replace(A), x)
    assert close(value, A(x)) and close(again, A(x))
    assert close(tangent, A.linearize(x)(v)) and close(back(y)[0], A.linearize(x).H(y))


@law(cases(False, DTYPES[::2]), seeds=3)
def test_second_derivative(A):
    """A gradient of a gradient, by backward twice and by jvp of vjp, against differences of the Jacobian."""
    x, v, y, h = signals(A, 2).requires_grad_(), signals(A, 2, seed=1), measurements(A, 2), 1e-5
    (g,) = torch.autograd.grad(inner(A(x), y), x, create_graph=True)
    (twice,) = torch.autograd.grad(inner(g, v) + 0 * inner(x, x), x)
    x = x.detach()
    want = (A.linearize(x + h * v).H(y) - A.linearize(x - h * v).H(y)) / (2 * h)
    scale = 1e-5 * (torch.linalg.vector_norm(want) + torch.linalg.vector_norm(g.detach()))
    assert torch.linalg.vector_norm(twice - want) <= scale
    ahead = torch.func.jvp(lambda u: torch.func.vjp(A, u)[1](y)[0], (x,), (v,))[1]
    assert torch.linalg.vector_norm(ahead - twice) <= scale


# Algebra between different operators, and operators from elsewhere.


def test_composition_of_different_shapes():
    rng = Rng(0, "test")
    M = rng.normal(torch.empty(3, 7, dtype=torch.float64))
    B = Mask(torch.arange(20).reshape(4, 5) % 3 == 0, torch.float64)
    A = Dense(M)
    assert close(dense_matrix(A @ B), M @ dense_matrix(B))
    assert close(dense_matrix((A @ B).H), (M @ dense_matrix(B)).mT)
    with pytest.raises(BadInput, match=r"\(4, 5\)"):
        B @ A
    with pytest.raises(BadInput, match=r"\(7,\).*\(3,\)"):
        A + B
    with pytest.raises(BadInput, match="one number"):
        A.__rmul__(torch.ones(3))  # torch.ones(3) * A asks the tensor first
    with pytest.raises(BadInput, match="complex"):
        2j * A
    with pytest.raises(BadInput, match="Stack"):
        Stack(A, B)


def test_a_stack_where_a_complex_part_follows_an_odd_real_one():
    A = NonlinearStack(Magnitude((3,), torch.complex128), Fourier((3,), torch.complex128))
    x = signals(A, 1)[0].requires_grad_()
    size, waves = A.split(A(x))
    (g,) = torch.autograd.grad(inner(A(x), A(x)), x)
    assert close(size, x.abs()) and close(waves, A.operators[1](x)) and close(g, 4 * x)


def test_differences_along_one_entry_are_refused():
    with pytest.raises(BadInput, match=r"axes = \(0,\) of shape = \(1, 5\)"):
        FiniteDifference((1, 5), (0,))


def test_weights_that_do_not_keep_the_signal_what_it_is_are_refused():
    with pytest.raises(BadInput, match="complex128.*float64"):
        Diagonal(torch.ones(3, dtype=torch.complex128), torch.float64)


def test_complex_scale():
    A = Dense(Rng(0, "test").normal(torch.empty(3, 4, dtype=torch.complex128)))
    x = signals(A, 2)
    assert close((2j * A)(x), 2j * A(x)) and dot_test((1 + 2j) * A) < 1e-14
    assert close(((1 + 2j) * A).H(A(x)), (1 - 2j) * A.H(A(x)))


def test_to_moves_what_an_operator_is_made_of():
    A = Stack(Dense(torch.eye(3)), 2 * Dense(torch.ones(2, 3))).to(torch.float64)
    assert A.in_dtype == torch.float64 and A(torch.ones(3, dtype=torch.float64)).tolist() == [1, 1, 1, 6, 6]


def test_a_field_has_a_gradient():
    M = Rng(0, "test").normal(torch.empty(3, 4, dtype=torch.float64)).requires_grad_()
    x = torch.arange(4.0, dtype=torch.float64)
    (g,) = torch.autograd.grad(Dense(M)(x).sum(), M)
    assert torch.equal(g, x.expand(3, 4))


def test_solve_with_a_negative_ridge():
    with pytest.raises(BadInput, match="rho = -1"):
        (2 * Dense(torch.eye(3))).solve(torch.ones(3), -1)


def test_conjugate_gradients():
    d = torch.arange(1.0, 9.0, dtype=torch.float64)
    b = Rng(0, "test").normal(torch.empty(2, 8, dtype=torch.float64))
    assert close(cg(lambda v: v * d, b, 1, tol=1e-13), b / d, 1e4)
    assert torch.equal(cg(lambda v: v * d, b, 1, x0=b / d, tol=1e-3), b / d)


def test_conjugate_gradients_stop_each_row_on_its_own():
    d = torch.arange(1.0, 9.0, dtype=torch.float64)
    b = Rng(0, "test").normal(torch.empty(2, 8, dtype=torch.float64))
    b[0, 2:] *= 0.02  # nearly in the span of two eigenvectors, so it stops first
    alone = torch.cat([cg(lambda v: v * d, row[None], 1, tol=0.1) for row in b])
    assert torch.equal(cg(lambda v: v * d, b, 1, tol=0.1), alone)


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_scipy(dtype):
    from scipy.sparse import random_array

    S = random_array((5, 12), density=0.4, rng=np.random.default_rng(0))
    S = (S * (1 + 2j) if dtype.is_complex else S).astype(torch.empty(0, dtype=dtype).numpy().dtype)
    A = from_scipy(S, in_shape=(3, 4))
    x, M = signals(A, 2), torch.from_numpy(S.toarray())
    assert A.in_shape == (3, 4) and A.in_dtype == dtype
    assert close(A(x), x.flatten(1) @ M.mT) and dot_test(A) < 10 * torch.finfo(dtype).eps
    x.requires_grad_()
    (g,) = torch.autograd.grad(inner(A(x), A(x)) / 2, x)
    assert close(g, A.H(A(x)))


def test_from_sigpy():
    import sigpy as sp

    A = from_sigpy(sp.linop.FFT((4, 5)), torch.complex128)
    x = signals(A, 2)
    want = torch.stack([torch.from_numpy(sp.fft(row.numpy())) for row in x])
    assert close(A(x), want) and dot_test(A) < 1e-14
    x.requires_grad_()
    (g,) = torch.autograd.grad(inner(A(x), measurements(A, 2)), x)
    assert close(g, A.H(measurements(A, 2)))


def test_from_function_finds_the_transpose():
    A = from_function(lambda x: x.diff(dim=-1), (3, 5), (3, 4), torch.float64)
    assert isinstance(A, Linear) and dot_test(A) < 1e-14
    assert close(dense_matrix(A.H), dense_matrix(A).mT)
    B = from_function(torch.fft.fft, (6,), (6,), torch.complex128)
    assert isinstance(B, Linear) and dot_test(B) < 1e-14


def test_from_function_of_a_curve():
    A = from_function(lambda x: x**2, (4,), (4,), torch.float64)
    x = torch.arange(1.0, 5.0, dtype=torch.float64)
    assert not isinstance(A, Linear)
    assert close(A.linearize(x)(torch.ones_like(x)), 2 * x) and close(A.linearize(x).H(x), 2 * x * x)


def test_from_function_with_the_wrong_shape():
    with pytest.raises(BadInput, match=r"\(3, 4\).*should give \(3, 5\)"):
        from_function(lambda x: x, (4,), (5,))


def test_cg_survives_an_exact_solution_before_it_may_stop():
    """The energy estimate looks back over several steps; a row that is exact after one must wait unharmed."""
    b = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    assert torch.equal(cg(lambda v: 2 * v, b, 1, energy=1e-3), b / 2)


def test_the_dot_test_does_not_pass_what_is_not_a_number():
    broken = from_function(lambda x: x, (3,), (3,), adjoint=lambda y: y * float("nan"))
    assert np.isnan(dot_test(broken))


def test_intensity_is_the_squared_modulus_whatever_the_phase():
    A = Intensity((2, 2), torch.complex128)
    x = torch.tensor([[3 + 4j, 1j], [-2, 0]], dtype=torch.complex128)
    turned = x * torch.exp(torch.tensor(0.7j, dtype=torch.complex128))
    assert close(A(x), torch.tensor([[25.0, 1.0], [4.0, 0.0]], dtype=torch.float64)) and close(
        A(turned), A(x)
    )
    real = Intensity((2,), torch.float64)
    assert real(torch.tensor([-3.0, 2.0], dtype=torch.float64)).tolist() == [9.0, 4.0]


@pytest.mark.parametrize("scale", [0.3, -1 / 3, 0.1 + 0.7j])
def test_a_scale_that_binary_does_not_hold_keeps_double_precision(scale):
    A = scale * Dense(Rng(0).normal(torch.empty(4, 15, dtype=torch.complex128)), (3, 5))
    x = Rng(1).normal(torch.empty(2, *A.in_shape, dtype=A.in_dtype))
    assert close(A.normal(x), A.H(A(x)))
    assert close(A.gram_spectrum((-1, -2), 32), abs(scale) ** 2 * A.A.gram_spectrum((-1, -2), 32))
    assert dot_test(A) < 1e-15 and A.norm() == pytest.approx(abs(scale) * A.A.norm(), rel=1e-12)
