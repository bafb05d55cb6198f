"""Batches of every operator of the catalogue: torch.func.vmap gives the numbers of the batch; an empty one is empty."""

import pytest
import torch
from laws import close, measurements, signals

from workbench import BadInput, Rng
from workbench.catalogue import entries, load
from workbench.operators import FullWaveform
from workbench.operators._linear import Linear
from workbench.operators.adjointness import inner


def kinds():
    for entry in entries("operators"):
        for dtype in (torch.float64, torch.complex128):
            try:
                A = load("operators", entry.name).example(Rng(3, "example"), dtype)
            except BadInput:
                continue
            if dtype == A.in_dtype and not isinstance(
                A, FullWaveform
            ):  # which looks at its signal before it starts
                yield pytest.param(A, id=f"{entry.name}-{str(dtype).removeprefix('torch.')}")


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("A", kinds())
def test_vmap(A):
    x, y = signals(A, 3), measurements(A, 3)
    assert close(torch.func.vmap(A)(x), A(x))
    g = torch.func.vmap(torch.func.grad(lambda v, w: inner(A(v), w)))(x, y)
    assert close(g, A.linearize(x).H(y), 1000)
    if isinstance(A, Linear):
        assert close(torch.func.vmap(A.H)(y), A.H(y))
        assert close(torch.func.vmap(A, in_dims=-1)(x.movedim(0, -1)), A(x))


@pytest.mark.parametrize("A", kinds())
def test_an_empty_batch(A):
    x, y = signals(A, 1)[:0], measurements(A, 1)[:0]
    assert A(x).shape == (0, *A.out_shape) and A(x).dtype == A.out_dtype
    assert A(x[None]).shape == (1, 0, *A.out_shape)
    if isinstance(A, Linear):
        assert A.H(y).shape == (0, *A.in_shape) and A.H(y).dtype == A.in_dtype
