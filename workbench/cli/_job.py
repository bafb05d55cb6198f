"""The main job: one measured slice in, its posterior with error bars and the checks of it out."""

import time
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from theory.distributions.field_fit import fit_field
from workbench._errors import BadInput
from workbench.metrics.predictive import predictive
from workbench.problem import Problem
from workbench.run import free_memory, sample
from workbench.samplers.exact import ExactDraws

CHECK_DRAWS = 32


@dataclass
class Slice:
    """What a reconstruction of one slice gives: images (*shape), checks, settings and notes, ready for the report.

    mean: E[x | y].  std, lower, upper: standard deviation and 5 % and 95 % quantiles of the modulus (of x itself if
    real) over the draws.  draws: a few of them.  others: name -> another reconstruction of the same data.
    spectrum, history: the fitted prior, and how the fit went.
    """

    mean: Tensor
    std: Tensor
    lower: Tensor
    upper: Tensor
    draws: Tensor
    support: Tensor
    spectrum: Tensor
    others: dict
    checks: dict
    settings: dict
    history: list
    notes: list = field(default_factory=list)
    warnings: list = field(default_factory=list)


def reconstruct(
    measured, draws=200, seed=0, sampler=None, steps=100, make_prior=None, classical=(), say=print
):
    """The posterior of a `Measured` slice.

    The stationary Gaussian prior and the noise level are fitted to the part of the data that is not held out; the held
    part tests them. The image then uses all data: by exact draws, or by `sampler` under `make_prior(scale)`.
    """
    started = time.perf_counter()
    room_for(draws, measured)
    fit = fit_field(*measured.fitted, sigma=measured.sigma, seed=seed)
    say(
        f"fitted the prior's spectrum and the noise in {len(fit.history)} iterations, factor {fit.noise.sigma:.4g}"
    )
    fitted = Problem(fit.prior, measured.A, fit.noise, measured.y, name=measured.kind)
    problem = fitted if make_prior is None else replace(fitted, prior=make_prior(typical_scale(fitted)))
    sampler = sampler or ExactDraws()
    held = held_out(measured, problem, sampler, steps, seed)
    say(
        f"held-out data: chi-square {held.chi_square:.3f}, {100 * held.coverage:.1f} % inside the 90 % interval"
    )
    others = {}
    for method in classical:
        others[method.name] = method.reconstruct(fitted, measured)
        say(f"{method.name} done")
    post = sample(problem, sampler, n=draws, steps=steps, seed=seed)
    say(f"{draws} posterior draws in {post.cost.seconds:.1f} s")
    exact, even = isinstance(sampler, ExactDraws), evenly(post, seed)
    shown = post.map(torch.abs) if post.samples.is_complex() else post
    checks = dict(
        held_out_chi_square=held.chi_square,
        held_out_coverage_90=held.coverage,
        held_out_numbers=held.count,
        data_consistency=consistency(measured, even, fit.noise.sigma),
        measurements=reals(measured.y),
        noise_factor=float(fit.noise.sigma),
    )
    return Slice(
        problem.exact.mean() if exact else post.mean(),
        shown.std(),
        shown.quantile(0.05),
        shown.quantile(0.95),
        even[:8],
        measured.support,
        fit.prior.spectrum,
        others,
        checks,
        settings(post, problem, fit, time.perf_counter() - started),
        fit.history,
        notes=[*meaning(exact), *measured.notes],
        warnings=warnings(checks, fit.history, round(post.ess)),
    ), fit


def evenly(post, seed):
    """The samples of a posterior with even weights."""
    return post.samples if post.log_weights is None else post.resampled(len(post), seed).samples


def settings(post, problem, fit, seconds):
    """What made the reconstruction, and what it cost."""
    return dict(
        sampler=post.provenance["sampler"],
        prior=repr(problem.prior),
        draws=len(post),
        seed=post.provenance["seed"],
        em_iterations=len(fit.history),
        em_last_change=fit.history[-1]["change"],
        threads=torch.get_num_threads(),
        seconds_in_all=seconds,
        seconds_of_draws=post.cost.seconds,
        denoiser_calls=post.cost.denoiser,
        jacobian_products=post.cost.vjp,
        **{f"version_of_{k}": v for k, v in post.provenance["versions"].items()},
        data_sha256=post.provenance["data_sha256"],
    )


def room_for(draws, measured):
    """Raise BadInput where the draws would not fit in memory."""
    need, free = 6 * draws * measured.support.numel() * 8, free_memory(measured.y.device)
    if need > 0.8 * free:
        raise BadInput(
            f"not enough memory: -n {draws} draws of {tuple(measured.support.shape)} need about {need / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free; use a smaller -n, or bin the data"
        )


def held_out(measured, problem, sampler, steps, seed):
    """Chi-square and coverage of the data that were held out, under the same sampler and prior given the rest."""
    A, y = measured.fitted
    post = sample(replace(problem, A=A, y=y), sampler, n=CHECK_DRAWS, steps=steps, seed=seed)
    A, y = measured.held
    return predictive(A(evenly(post, seed)), y, problem.noise.sigma)


def reals(y):
    """How many real numbers were measured."""
    return y.numel() * (2 if y.is_complex() else 1)


def consistency(measured, x, sigma):
    """E ||y - A x||^2 / sigma^2 over posterior draws, a number of real measurements: their ratio is 1 in expectation
    under the model. The posterior mean would have less, so draws are what is judged."""
    total = sum((measured.y - measured.A(part)).abs().double().square().sum().item() for part in x.split(16))
    return total / len(x) / float(sigma) ** 2 / reals(measured.y)


def typical_scale(problem):
    """The size of the image in its own unit: the 99.5 % quantile of the modulus of the posterior mean."""
    return torch.quantile(problem.exact.mean().abs().flatten()[: 2**24], 0.995).item()


def meaning(exact):
    """What the error bars say and do not say, in words."""
    if not exact:
        return [
            "The samples come from an approximate sampler under the prior that was given; the noise level comes from the "
            "stationary Gaussian model fitted to the scan."
        ]
    return [
        "The draws are exact under the fitted model: a stationary Gaussian field whose spectrum, with the noise level, was "
        "estimated from this scan. It is not the truth about anatomy: it has no edges and no organs.",
        "The error bars therefore follow the sampling, the coils or views, and the noise; they do not follow anatomy, "
        "and they do not know of motion, of wrong coil maps or of any other fault of the measurement model.",
    ]


def warnings(checks, history, draws):
    """What a reader should be told first."""
    found = []
    spread = 3 * (2 / checks["held_out_numbers"]) ** 0.5
    if abs(checks["held_out_chi_square"] - 1) > 0.1 + spread:
        side = "too narrow" if checks["held_out_chi_square"] > 1 else "too wide"
        factor = max(checks["held_out_chi_square"], 1 / checks["held_out_chi_square"]) ** 0.5
        found.append(
            f"The held-out data have chi-square {checks['held_out_chi_square']:.2f} where 1 is expected: "
            f"the error bars are {side} by about {factor:.2f} times for such data."
        )
    if abs(checks["held_out_coverage_90"] - 0.9) > 0.03 + 3 * (0.09 / checks["held_out_numbers"]) ** 0.5:
        found.append(
            f"The 90 % intervals hold {100 * checks['held_out_coverage_90']:.1f} % of the held-out data."
        )
    if abs(checks["data_consistency"] - 1) > 0.1:
        found.append(
            f"The draws miss the data they were made from: mean square misfit {checks['data_consistency']:.3f} of the noise."
        )
    if history[-1]["change"] > 0.05:
        found.append(
            f"The fit of the prior had not settled: its last step still changed by {history[-1]['change']:.2f}."
        )
    if draws < 200:
        found.append(
            f"The error bars come from {draws} draws and are speckled by about {50 / draws**0.5:.0f} % or more; use 200."
        )
    return found
