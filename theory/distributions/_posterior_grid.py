"""The posterior of a law in one or two dimensions under any operator and noise, on a grid that finds its box."""

from dataclasses import replace

import torch

from theory.distributions._cells import centres
from theory.distributions._likelihood import Joint, Likelihood
from theory.distributions.grid import Grid
from workbench._errors import BadInput

COARSE = 300  # cells along an axis while a box is looked for
CELLS = {1: 1920, 2: 480}  # and in the law, in one and two dimensions
OUTSIDE = 1e-11  # probability that a box may leave out
UNRESOLVED = 1e-2  # tolerance from which a posterior is no longer called exact


def posterior(prior, A, y, noise, low, high):
    """The Grid of p(x) p(y | x) for a prior with `log_prob` in 1 or 2 real dimensions, which lies in the box low, high.

    The box is narrowed to what holds all but 1e-11 of the probability, first for tempered likelihoods so that a narrow
    ridge is not stepped over, and widened where mass touches its side. BadInput where half the resolution would say
    something else.
    """
    joint = Joint(prior, Likelihood(A, y, noise).fitting(prior))
    for beta in (1 / 256, 1 / 64, 1 / 16, 1 / 4, 1.0, 1.0, 1.0):
        low, high = narrowed(replace(joint, beta=beta), prior, low, high)
    cells = CELLS[len(low)]
    half, law = (_evaluated(joint, prior, low, high, n) for n in (cells // 2, cells))
    law.stream, law.tolerance = "posterior", change(half, law)
    if not law.tolerance < UNRESOLVED:
        raise BadInput(
            f"condition: a grid of {cells} cells along an axis leaves a tolerance of {law.tolerance:.1g}, more than "
            f"{UNRESOLVED}: the noise is too small for it"
        )
    return law


def _evaluated(joint, prior, low, high, cells):
    """The Grid of a joint density on a box."""
    axes = centres(low, high, [cells] * len(low))
    points = torch.cartesian_prod(*axes).reshape(-1, *prior.shape).to(prior.dtype)
    log_p = torch.cat([joint(rows) for rows in points.split(2**16)]).reshape([cells] * len(low))
    return Grid(low, high, log_p, joint, prior.shape, prior.dtype, prior.process, prior.noise_range)


def narrowed(joint, prior, low, high):
    """The box of the coarse cells that hold all but OUTSIDE of the probability, with two cells to spare.

    Where they reach a side of the old box, half its width is added there.
    """
    law = _evaluated(joint, prior, low, high, COARSE)
    new_low, new_high = low.clone(), high.clone()
    for i in range(len(low)):
        mass = law.marginal(i)
        kept = ((mass.cumsum(0) > OUTSIDE / 4) & (mass.flip(0).cumsum(0).flip(0) > OUTSIDE / 4)).nonzero()
        first, last = kept[0].item(), kept[-1].item()
        more = 0.5 * (high[i] - low[i])
        new_low[i] = low[i] - more if first == 0 else low[i] + max(first - 2, 0) * law.cell[i]
        new_high[i] = high[i] + more if last == COARSE - 1 else low[i] + min(last + 3, COARSE) * law.cell[i]
    return new_low, new_high


def change(coarse, fine):
    """The largest of: log evidence, means in standard deviations, relative standard deviations."""
    s, r = fine.cov().diagonal().sqrt(), coarse.cov().diagonal().sqrt()
    shift = ((fine.flat_mean() - coarse.flat_mean()).abs() / s).max().item()
    return max(abs(fine.log_evidence - coarse.log_evidence), shift, (r / s - 1).abs().max().item())
