"""Data seen through the singular vectors of the operator: y_i / s_i = (V^H x)_i + n_i / s_i, one number at a time."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench.operators.dense import Dense

SMALL = 2**24  # entries of a matrix that may be formed where an operator has no singular values of its own
CUT = 1e-6  # of the largest singular value: what is below counts as not measured


@dataclass(frozen=True, eq=False)
class Spectral:
    """The whitened operator W = U diag(s) V^H of a linear problem with Gaussian noise, and its data.

    seen: U^H w / s, the measured coordinates of the signal, whose noise is N(0, 1 / s^2) in each real component.
    s: (r,) > 0.  V: linear, (r,) -> signal, with orthonormal columns.  residual: what of |w|^2 no signal explains.
    """

    seen: Tensor
    s: Tensor
    V: Any
    residual: float
    reals: int  # of the data

    def measured(self, x):
        """V^H x: (n, r)."""
        return self.V.H(x)

    def replaced(self, x, coordinates):
        """x with its measured coordinates replaced: x + V (coordinates - V^H x)."""
        return x + self.V(coordinates - self.measured(x))

    @cached_property
    def deviation(self):
        """1 / s, the standard deviation of the noise of each coordinate."""
        return 1 / self.s


def spectral(problem):
    """The Spectral view of a problem. Raises BadInput where A is not linear, or has no cheap singular values and more
    than 2^24 entries. Made once a problem."""
    if "_spectral" not in problem.__dict__:
        problem.__dict__["_spectral"] = _spectral(problem)
    return problem.__dict__["_spectral"]


def gaussian_spectral(problem, who):
    """The same, where the noise is Gaussian itself: for methods that would not be exact with its stand-in."""
    if problem.gaussian is not problem:
        raise BadInput(
            f"{who} needs Gaussian noise, not {type(problem.noise).__name__}; use AFDPSODE, TDS or FKSteering"
        )
    return spectral(problem)


def _spectral(problem):
    W, w = problem.white
    try:
        U, s, V = W.svd()
    except BadInput as error:
        U, s, V = _dense(W, error).svd()
    c = U.H(w.reshape(1, *U.out_shape))[0]
    keep = s > CUT * s.max()
    if not keep.any():
        raise BadInput(
            f"A = {type(problem.A).__name__} sees nothing of the signal; use a stepper without guidance"
        )
    if not keep.all():
        U, V = _columns(U, keep), _columns(V, keep)
        c, s = c[keep], s[keep]
    reals = w.numel() * (2 if w.is_complex() else 1)
    residual = (w.abs().double().square().sum() - c.abs().double().square().sum()).clamp_min(0).item()
    return Spectral(c / s, s, V, residual, reals)


def _columns(U, keep):
    from workbench.operators.mask import Mask

    return U @ Mask(keep, U.in_dtype).H


def _dense(W, error):
    """W as a matrix, where it is small."""
    d, m = (torch.Size(shape).numel() for shape in (W.in_shape, W.out_shape))
    if d * m > SMALL or W.in_dtype.is_complex != W.out_dtype.is_complex:
        raise error
    eye = torch.eye(d, dtype=W.in_dtype, device=W.device).reshape(d, *W.in_shape)
    return Dense(torch.cat([W(part).reshape(len(part), m) for part in eye.split(64)]).mT, tuple(W.in_shape))


def log_scale(problem):
    """log p(y | x) + sum_i s_i^2 |seen_i - (V^H x)_i|^2 / 2, the same at every x: the likelihood's largest value."""
    data = spectral(problem)
    return (
        problem.gaussian.noise.log_likelihood(problem.gaussian.y, problem.gaussian.y).item()
        - 0.5 * data.residual
    )
