"""Tweedie moment projected diffusion: the second-order Tweedie covariance by its row sums."""

from dataclasses import dataclass
from math import inf, isinf

import torch

from workbench._errors import BadInput
from workbench.samplers._gaussian import linearised
from workbench.samplers._guidance import Guidance
from workbench.samplers._length import step_length


@dataclass(frozen=True)
class TMPD(Guidance):
    """xhat + Sigma A^H D^{-1} (y - A xhat), D = Sigma_y + diag(A Sigma A^H 1), Sigma = (sigma^2 / alpha) J.

    The covariance of y given x_t is taken as diagonal, from its row sums: one product with the denoiser's Jacobian and
    no solve. Equal to MomentMatching for one measurement, and wherever A Sigma A^H is diagonal; elsewhere the row sums
    stand for it (their size counts, where one is negative). Where they are too small the shift would overshoot the data
    and diverge, so each sample's is shortened to what lowers its misfit the most, times `reach` (never so where D is
    exact); reach=inf is the published rule. Complex data are real data of twice the size. In units of the noise; a
    nonlinear A is linearised at xhat, Poisson noise is its plug-in. Boys et al. 2023, eq. 9.
    """

    card = dict(kind="guidance", exactness="B", needs="gradient", complex=True, nonlinear=True, poisson=True,
                cost="1 NFE + 2 VJP", source="Boys et al. 2023")  # fmt: skip

    reach: float = 1.0

    def __post_init__(self):
        if not self.reach > 0:
            raise BadInput(f"TMPD: reach = {self.reach} should be positive; {inf} takes whole steps")

    def shift(self, problem, x, x0, covariance, t, rng):
        W, e = linearised(problem, x0)
        shift = covariance(self.pull(problem, x, x0, covariance, t, rng))
        if isinf(self.reach):
            return shift
        return step_length(problem, x0, W.H(e), shift, self.reach) * shift

    def pull(self, problem, x, x0, covariance, t, rng):
        W, e = linearised(problem, x0)
        ones = torch.ones_like(e)
        if e.is_complex():
            sums = torch.view_as_real(W(covariance(W.H((1 + 1j) * ones))))
            return W.H(torch.view_as_complex(torch.view_as_real(e) / (1 + sums.abs())))
        return W.H(e / (1 + W(covariance(W.H(ones))).abs()))
