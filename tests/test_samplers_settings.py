"""What constructors refuse: settings that would give NaN, a raw error, or silently another method."""

from math import inf, nan

import pytest
import torch
from truth import DOUBLE, gaussian_problem

import workbench as wb
from theory.distributions.points import Points
from workbench.diffusion.interpolant import Interpolant
from workbench.diffusion.pfgm import PoissonFlow

S = wb.samplers
REFUSED = [
    (S.Euler, dict(eta=-1)), (S.DDIM, dict(eta=-1)), (S.DDIM, dict(eta=3)), (S.PublishedPiGDM, dict(eta=3)),
    (S.PredictorCorrector, dict(corrections=-1)), (S.PredictorCorrector, dict(corrections=1.5)),
    (S.PredictorCorrector, dict(snr=-1)), (S.PredictorCorrector, dict(snr=5)), (S.Replacement, dict(snr=5)),
    (S.Replacement, dict(corrections=1.5)), (S.Heun, dict(churn=-1)), (S.Heun, dict(churn=nan)),
    (S.RePaint, dict(resamplings=0)), (S.RePaint, dict(jump=0)), (S.RePaint, dict(jump=2.5)),
    (S.MomentMatching, dict(iterations=1.5)), (S.LGDMC, dict(draws=2.5)), (S.DPG, dict(draws=4.0)),
    (S.PnPFlow, dict(averages=1.5)), (S.FlowChef, dict(inner=1.5)), (S.FlowChef, dict(gain=3)),
    (S.DDNM, dict(travel=2.5)), (S.UniPC, dict(order=nan)), (S.UniPC, dict(order=1.5)), (S.DCSolver, dict(ratios=0.9)),
    (S.DCSolver, dict(ratios=(1.0, nan))), (S.EVODiff, dict(zeta=2.0)), (S.EVODiff, dict(last=-1)),
    (S.DiffPIR, dict(iterations=1.5)), (S.DPS, dict(zeta=nan)), (S.DPS, dict(zeta=-1)), (S.MCG, dict(zeta=-1)),
    (S.PublishedLGD, dict(zeta=-1)), (S.PiGDM, dict(variance=inf)), (S.OTODE, dict(gamma=-1)), (S.DFlow, dict(lam=-1)),
    (S.TMPD, dict(reach=0)), (S.PiGDM, dict(reach=nan)), (Interpolant, dict(bridge=nan)), (Interpolant, dict(base=inf)),
    (PoissonFlow, dict(D=0.05)),
]  # fmt: skip


@pytest.mark.parametrize("kind, setting", REFUSED, ids=lambda v: getattr(v, "__name__", str(v)))
def test_refused(kind, setting):
    name = next(iter(setting))
    with pytest.raises(wb.BadInput, match=f"{name} = "):
        kind(**setting)


def test_churn_is_a_share_of_the_papers():
    with pytest.raises(wb.BadInput, match="S_churn / N"):
        S.Heun(churn=40)


@pytest.mark.parametrize("kind", [S.DFlow, S.NoiseSpaceMCMC])
@pytest.mark.parametrize(
    "stepper",
    [
        S.DDPM(),
        S.Euler(eta=1.0),
        S.DDIM(eta=0.5),
        S.Heun(churn=0.1),
        S.DPMSolverSDE(),
        S.PredictorCorrector(),
        S.DPS(),
    ],
    ids=lambda s: type(s).__name__,
)
def test_noise_space_needs_a_deterministic_stepper(kind, stepper):
    with pytest.raises(wb.BadInput, match="deterministic stepper without guidance"):
        kind(stepper=stepper)


POINTS = torch.tensor([[-2.0, 0.0], [1.5, 1.0]], dtype=DOUBLE)


@pytest.mark.parametrize(
    "points",
    [POINTS.long(), POINTS * nan, torch.tensor(1.0), POINTS[:0]],
    ids=["whole", "nan", "0-d", "empty"],
)
def test_points_that_are_none(points):
    with pytest.raises(wb.BadInput, match="points"):
        Points(points)


@pytest.mark.parametrize(
    "sampler",
    [
        S.Euler(eta=1.0),
        S.Heun(churn=0.2),
        S.PredictorCorrector(),
        S.DPMSolverSDE(),
        S.DFlow(),
        S.NoiseSpaceMCMC(),
    ],
    ids=lambda s: type(s).__name__,
)
def test_a_poisson_flow_has_no_stochastic_steps(sampler):
    prior = Points(POINTS, process=PoissonFlow(D=3, N=2))
    problem = wb.Problem(
        prior,
        wb.operators.Dense(torch.ones(1, 2, dtype=DOUBLE)),
        wb.noise.Gaussian(1.0),
        y=torch.ones(1, dtype=DOUBLE),
    )
    with pytest.raises(wb.BadInput, match="not Gaussian"):
        wb.sample(problem, sampler, n=2, steps=4, progress=False)


def test_a_gaussian_prior_does_not_go_under_a_poisson_flow():
    with pytest.raises(wb.BadInput, match="not Gaussian"):
        gaussian_problem().prior.under(PoissonFlow(D=3, N=4))


def test_successive_draws_of_a_poisson_flow_have_radii_of_their_own():
    rng, process = wb.Rng(0), PoissonFlow(D=0.5, N=2)
    one, two = (process.draw(torch.empty(400, 2, dtype=DOUBLE), 1.0, rng).norm(dim=1).log() for _ in range(2))
    assert abs(torch.corrcoef(torch.stack([one, two]))[0, 1]) < 0.2
