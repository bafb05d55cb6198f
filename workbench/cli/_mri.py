"""The suite `mri`: every sampler on complex multi-coil MRI of 64 x 64 with a Gaussian-field prior, beside the exact posterior.

Four coils, every fourth line and eight in the middle, noise of a tenth of the signal in each real component; complex64.
Each sampler at its defaults with the same number of steps. What counts: the error of the mean of 16 draws in posterior
standard deviations (16 exact draws have 0.25), the spread of the draws over that of the posterior, and the misfit to
the data over that of exact draws. 1 and 1 are right for the last two, whatever the first.
"""

from dataclasses import dataclass
from math import isfinite

SIZE, COILS, STEPS, N = 64, 4, 100, 16
PARTICLES = 128  # of one ensemble, for samplers whose rows are particles
PUSHED = {  # the scale of methods whose push is in the signal's units, the best of a few; and a shorter run
    "dps": dict(zeta=10.0),
    "published-lgd": dict(zeta=10.0),
    "published-flowchef": dict(gain=100.0),
    "mcg": dict(zeta=0.3),
    "dpg": dict(draws=100),
}
LONG = {"ula": 2000, "mala": 2000, "sk-rock": 200, "red-diff": 400, "tsdiff-refiner": 400, "ald": 400}
SHORT = {"dpg": 20, "d-flow": 20, "noise-space-mcmc": 20, "repaint": 10, "enkg": 30}
HEADER = (
    "sampler",
    "class",
    "steps",
    "mean error",
    "spread",
    "misfit",
    "denoiser",
    "vjp",
    "operator",
    "seconds",
    "",
)


@dataclass
class Truth:
    """What the exact posterior says: mean, rms standard deviation, rms misfit in noise standard deviations."""

    mean: object
    spread: float
    misfit: float


def make(size=SIZE, coils=COILS):
    """The problem, its truth drawn from the prior."""
    import torch

    from theory.distributions.gaussian_field import GaussianField, power_law
    from workbench.noise.gaussian import Gaussian
    from workbench.operators.cartesian_mri import CartesianMRI
    from workbench.operators.coils import simulate_coils
    from workbench.operators.sampling import cartesian_mask
    from workbench.problem import Problem

    shape = (size, size)
    prior = GaussianField(power_law(shape, 1.2, dtype=torch.float32), dtype=torch.complex64)
    A = CartesianMRI(simulate_coils(shape, coils), cartesian_mask(shape, 4.0, calibration=size // 8, seed=0))
    noise, truth = Gaussian(0.1), prior.sample(1, 0)[0]
    return Problem(prior, A, noise, y=noise.sample(A(truth), 0), truth=truth, name=f"mri of {size} x {size}")


def truth(problem, n=64):
    """From n exact draws, and the mean in closed form."""
    x = problem.exact.sample(n, 1)
    mean = problem.exact.mean()
    return Truth(mean, (x - mean).abs().square().mean().sqrt().item(), misfit(problem, x))


def misfit(problem, x, weights=None):
    """The rms of y - A x, in standard deviations of the noise."""
    square = (problem.A(x) - problem.y).abs().square().flatten(1).mean(1) / 2
    mean = square.mean() if weights is None else (weights.to(square) * square).sum()
    return (mean.sqrt() / problem.noise.sigma).item()


def rows(say=None, only=None, size=SIZE, coils=COILS):
    """One dict a sampler; `only`: names to run.  say: called with each as it is done."""
    from workbench import catalogue

    problem = make(size, coils)
    exact = truth(problem)
    found = []
    for entry in catalogue.entries("samplers"):
        if entry.card["kind"] in ("sampler", "guidance", "draws") and (only is None or entry.name in only):
            found.append(line(problem, exact, entry))
            if say is not None:
                say(found[-1])
    return found


def line(problem, exact, entry):
    """What a sampler does, or why it cannot."""
    from workbench import catalogue
    from workbench._errors import BadInput
    from workbench.run import sample

    sampler = catalogue.load("samplers", entry.name)(**PUSHED.get(entry.name, {}))
    if entry.name == "tds":  # the default twist forms a matrix of the size of y
        from workbench.samplers.twists import Isotropic

        sampler = type(sampler)(twist=Isotropic(variance=float(problem.prior.spectrum.max())))
    steps = LONG.get(entry.name, SHORT.get(entry.name, STEPS))
    row = dict(name=entry.name, exactness=entry.card["exactness"], steps=steps)
    size = PARTICLES if getattr(sampler, "couples", False) else N
    try:
        post = sample(problem, sampler, n=size, steps=steps, seed=0, progress=False)
    except BadInput as error:
        return row | dict(cannot=str(error))
    mean = post.mean()
    return row | dict(
        error=(mean - exact.mean).abs().square().mean().sqrt().item() / exact.spread,
        spread=post.std().square().mean().sqrt().item() / exact.spread,
        misfit=misfit(problem, post.samples, post.weights) / exact.misfit,
        denoiser=post.cost.denoiser,
        vjp=post.cost.vjp,
        operator=post.cost.operator,
        seconds=post.cost.seconds,
    )


def table(found):
    """The rows as text, the nearest to the posterior first."""
    lines = [HEADER, *[cells(row) for row in sorted(found, key=distance)]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER) - 1)]
    text = []
    for first, second, *rest, last in lines:
        right = [cell.rjust(width) for cell, width in zip(rest, widths[2:], strict=True)]
        text.append("  ".join([first.ljust(widths[0]), second.ljust(widths[1]), *right, last]).rstrip())
    return "\n".join(text)


def distance(row):
    """The error of the mean, of the spread and of the misfit together: what the table is sorted by."""
    if "cannot" in row:
        return float("inf")
    parts = (max(row["error"] - 1 / N**0.5, 0.0), row["spread"] - 1, row["misfit"] - 1)
    total = sum(p**2 for p in parts)
    return total if isfinite(total) else 1e300


def cells(row):
    if "cannot" in row:
        return (
            row["name"],
            row["exactness"],
            str(row["steps"]),
            *[""] * 7,
            "cannot: " + row["cannot"].split(";")[0],
        )
    numbers = (f"{row[k]:.2f}" if row[k] < 1000 else f"{row[k]:.1e}" for k in ("error", "spread", "misfit"))
    counts = (str(row[k]) for k in ("denoiser", "vjp", "operator"))
    return (row["name"], row["exactness"], str(row["steps"]), *numbers, *counts, f"{row['seconds']:.1f}", "")
