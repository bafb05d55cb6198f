"""Operators whose fields are unknowns too: gradients to them as often as one likes, and changes in place are seen."""

from dataclasses import replace

import pytest
import torch
from laws import close, measurements, signals

from workbench import Rng
from workbench.operators import (
    BlurDownsample,
    CircularBlur,
    Crop,
    Interferometry,
    OffResonance,
    Ptychography,
    RandomConvolution,
    SpaceVaryingBlur,
)

FIELDS = [
    (CircularBlur, "kernel"),
    (BlurDownsample, "kernel"),
    (SpaceVaryingBlur, "kernels"),
    (SpaceVaryingBlur, "weights"),
    (RandomConvolution, "kernel"),
    (Ptychography, "probe"),
    (OffResonance, "field_map"),
    (Interferometry, "uv"),
]
SEED = 3  # of examples none of whose fields is constant, or one number
every_field = pytest.mark.parametrize("kind, name", FIELDS)


def blind(kind, name):
    """An example whose field is a leaf of its own that requires gradients, and a misfit to measurements."""
    A = kind.example(Rng(SEED))
    A = replace(A, **{name: getattr(A, name).clone().requires_grad_()})
    x, y = signals(A, 1)[0], measurements(A, 1)[0]
    misfit = lambda B: (B(x) - y).abs().square().sum() + B.normal(x).abs().square().sum()
    return A, getattr(A, name), misfit


def gradient(misfit, A, field):
    field.grad = None
    misfit(A).backward()
    return field.grad


@every_field
def test_a_second_backward_and_one_after_no_grad(kind, name):
    A, field, misfit = blind(kind, name)
    with torch.no_grad():
        misfit(A)
        A.norm()
    first, second = gradient(misfit, A, field), gradient(misfit, A, field)
    assert first.abs().max() > 0 and close(first, second)


@every_field
def test_a_change_in_place_is_seen(kind, name):
    A, field, misfit = blind(kind, name)
    field.requires_grad_(False)
    before = misfit(A).item()
    field.copy_(field.roll(1, 0))
    fresh = replace(A, **{name: field.clone()})
    assert close(misfit(A), misfit(fresh)) and misfit(A).item() != pytest.approx(before, rel=1e-6)


@every_field
def test_a_step_down_the_gradient_lowers_the_misfit(kind, name):
    A, field, misfit = blind(kind, name)
    before, slope = misfit(A).item(), gradient(misfit, A, field)
    with torch.no_grad():
        field -= 1e-6 * before * slope / slope.abs().square().sum()
    assert (before - misfit(A).item()) / before == pytest.approx(1e-6, rel=0.01)


@every_field
def test_a_transform_of_torch_func_leaves_nothing_behind(kind, name):
    A, field, misfit = blind(kind, name)
    want = gradient(misfit, A, field)
    at = field.detach().clone()
    assert close(torch.func.grad(lambda f: misfit(replace(A, **{name: f})))(at), want)
    A = replace(A, **{name: at})
    x = signals(A, 1)[0]
    torch.func.jvp(lambda v: A(v), (x,), (x,))
    with torch.inference_mode():
        misfit(A)
    assert A(x.requires_grad_()).abs().sum().requires_grad


@pytest.mark.parametrize("kind, name", [pair for pair in FIELDS if pair[0] in (CircularBlur, Ptychography)])
def test_what_is_made_of_the_fields_is_kept(kind, name):
    A = kind.example(Rng(SEED))
    prepared = {CircularBlur: "transfer", Ptychography: "power"}[kind]
    assert getattr(A, prepared) is getattr(A, prepared)


def test_the_diagonal_of_a_crop_is_made_once():
    made = []

    class Counted(Crop):
        @property
        def column_power(self):
            made.append(1)
            return super().column_power

    A = Counted((6, 5), (3, 2), dtype=torch.float64)
    x = signals(A, 1)[0]
    for _ in range(3):
        A.normal(x), A.solve(x, 1.0), A.norm()
    assert len(made) == 1
