"""The suite `g2`: samplers on problem toy/g2 beside the values of an independent implementation.

Rows that gate are means over eight groups of 4000 draws, on the grid of Karras et al. 2022 from sigma 20 to 0.01; the
others are single runs of 4000, shown beside single runs of the reference: a first aid, near within 0.03 in sliced W2
(0.05 above 0.3). The pointwise values come first: they gate to all the digits given.
"""

from dataclasses import dataclass, field
from functools import partial
from math import acos, inf, pi
from typing import Any

N = 4000
HEADER = (
    "sampler", "steps", "sliced W2", "reference", "|mean|", "reference", "mode TV", "reference",
    "tr Cov", "reference", "residual", "reference", "log Z error", "reference", "",
)  # fmt: skip
KEYS = ("sw2", "mean", "modes", "trace", "residual", "evidence")
WITHIN = dict(sw2=0.012, trace=0.05, residual=0.015)  # of the means over eight groups; the rest is only shown
EVIDENCE_STEPS, EVIDENCE = 400, 0.01  # with so many steps, |log Z_hat - log Z| is at most this
EXACT = dict(mean=0.0, modes=0.0, trace=1.374, residual=0.404)


@dataclass
class Row:
    """One line of the table: `groups` of `n` draws of the sampler, or of ensembles of `particles`, `keep` of each.

    grid: steps -> times (None: the sampler's own).  reference: what is known of it, under the names KEYS.  gates:
    whether the reference is a mean over eight groups, which must be met.
    """

    sampler: Any
    steps: int
    reference: dict
    groups: int = 1
    n: int = N
    particles: int | None = None
    keep: int = 1
    grid: Any = "karras"
    process: Any = None
    gates: bool = False
    label: str = ""
    name: str = field(init=False, default="")
    evidences: Any = None

    def __post_init__(self):
        self.name = self.label or short(self.sampler)


def short(sampler):
    """The sampler with what differs from its defaults, on a few words."""
    guidance = getattr(sampler, "guidance", None)
    if guidance is not None and type(sampler).__name__ == "DDPM":
        return short(guidance)
    default = type(sampler)()
    fields = {k: v for k, v in vars(sampler).items() if getattr(default, k, None) != v}
    words = ", ".join(f"{k}={v if isinstance(v, (int, float)) else short(v)}" for k, v in fields.items())
    return f"{type(sampler).__name__}({words})"


def plans():
    """The rows."""
    import workbench.samplers as S
    from workbench.diffusion.variance_preserving import VariancePreserving
    from workbench.samplers.daps import Endpoint

    def ref(sw2=None, mean=None, modes=None, trace=None, residual=None, evidence=None):
        found = dict(zip(KEYS, (sw2, mean, modes, trace, residual, evidence), strict=True))
        return {k: v for k, v in found.items() if v is not None}

    gated = partial(Row, groups=8, gates=True)
    own = partial(Row, grid=None)
    exact, matched, pigdm = (S.DDPM(guidance=g) for g in (S.Exact(), S.MomentMatching(), S.PiGDM()))
    falling = partial(Row, grid="vp", process=VariancePreserving())
    twisted = partial(Row, particles=N, keep=N, groups=8, gates=True)
    particles = partial(Row, particles=N, keep=N)
    return [
        gated(S.ExactDraws(), 1, ref(0.029, trace=1.374, residual=0.404), grid=None),
        gated(exact, 200, ref(0.026, trace=1.329, residual=0.391)),
        gated(pigdm, 200, ref(0.043, trace=1.314, residual=0.372)),
        gated(matched, 50, ref(0.058, trace=1.38, residual=0.39)),
        gated(matched, 200, ref(0.071, trace=1.46, residual=0.40)),
        twisted(S.TDS(), 50, ref(0.071, evidence=0.076)),
        twisted(S.TDS(), 100, ref(0.042, evidence=0.036)),
        twisted(S.TDS(), 200, ref(0.034, evidence=0.008)),
        twisted(S.TDS(), EVIDENCE_STEPS, ref(0.033, evidence=0.003)),
        Row(exact, 50, ref(0.041, 0.013, 0.024, 1.227, 0.381)),
        Row(exact, 1000, ref(0.055, 0.019, 0.018, 1.445, 0.407)),
        Row(S.DDIM(guidance=S.Exact()), 200, ref(0.039, 0.019, 0.006, 1.368, 0.396)),
        Row(matched, 1000, ref(0.121, 0.061, 0.078, 1.59, 0.42)),
        Row(pigdm, 1000, ref(0.059, 0.048, 0.007, 1.420, 0.389)),
        falling(S.PublishedPiGDM(), 20, ref(0.079, 0.022, 0.043, 1.14, 0.31)),
        falling(S.PublishedPiGDM(), 100, ref(0.169, 0.114, 0.031, 1.14, 0.12)),
        falling(S.PublishedPiGDM(), 1000, ref(0.497, 0.548, 0.085, 1.72, 0.07)),
        Row(S.AFDPSODE(corrections=3), 200, ref(None, 0.004, 0.003, 1.374), particles=20000, keep=N),
        Row(S.AFDPSSDE(), 200, {}, particles=20000, keep=N),
        particles(S.MCGDiff(), 200, ref(0.035, 0.049, 0.017, 1.279, 0.394)),
        particles(S.MCGDiff(ending=S.Reweighted()), 200, ref(0.165, 0.160, 0.083, 1.150, 0.241)),
        particles(S.MCGDiff(kappa_r=0.1, ending=S.Reweighted()), 200, ref(0.051, 0.086, 0.031, 1.262, 0.413)),
        Row(S.FPSSMC(), 100, ref(0.063, 0.074, 0.031, 1.38, 0.397), particles=100, groups=40, keep=100),
        Row(S.FPSSMC(weights=S.Independent()), 100, ref(0.123, 0.080, 0.054, 1.13, 0.145), particles=100, groups=40,
            keep=100),
        Row(S.FKSteering(resample=S.Multinomial(below=1.1)), 100, ref(0.074, 0.057, 0.029, 1.31, 0.49), particles=4,
            groups=N, label="FKSteering, 4 particles"),
        Row(S.FKSteering(resample=S.Multinomial(below=1.1)), 100, ref(0.115, 0.101, 0.061, 1.29, 0.39), particles=32,
            groups=N, label="FKSteering, 32 particles"),
        Row(S.SVDD(), 100, ref(0.107, 0.074, 0.028, 1.19, 0.26)),
        Row(S.SVDD(candidates=50), 100, ref(0.120, 0.053, 0.022, 1.33, 0.24)),
        own(S.ULA(delta=5e-3, sigma=0.1), 5000, ref(0.038, 0.034, 0.010, 1.398, 0.397)),
        own(S.PnPDM(rho0=1.0, rho_min=1.0, levels=100), 20, ref(0.681, 0.291, 0.188, 3.43, 1.58)),
        own(S.PnPDM(rho0=3.0, decay=0.8, rho_min=0.3, levels=60), 30, ref(0.170, 0.066, 0.037, 1.66, 0.68)),
        own(S.PnPDM(rho0=10.0, rho_min=0.1, levels=30), 100, ref(0.087, 0.053, 0.016, 1.47, 0.45)),
        Row(S.DiffPIR(), 100, ref(0.104, 0.147, 0.052, 1.34, 0.38)),
        Row(S.DiffPIR(zeta=1.0), 100, ref(0.143, 0.107, 0.077, 0.95, 0.33)),
        Row(S.DiffPIR(lam=8.0, zeta=1.0), 100, ref(0.406, 0.114, 0.083, 2.09, 1.14)),
        Row(S.DDRM(), 21, ref(0.156, 0.190, 0.060, 1.04, 0.33)),
        Row(S.DDRM(), 100, ref(0.133, 0.092, 0.059, 1.06, 0.15)),
        Row(S.ScalarDDNMPlus(), 100, ref(0.159, 0.090, 0.059, 1.05, 0.036)),
        Row(S.DDNMPlus(), 21, ref(0.159, 0.193, 0.063, 1.03, 0.33)),
        Row(S.DDNMPlus(), 100, ref(0.127, 0.077, 0.053, 1.07, 0.15)),
        Row(S.DDNMPlus(), 1000, ref(0.149, 0.057, 0.056, 1.06, 0.07)),
        Row(S.DDNM(), 100, ref(0.180, 0.128, 0.053, 1.06, 0.000)),
        own(S.OTODE(), 100, ref(0.158, 0.123, 0.036, 1.32, 0.276)),
        *(Row(S.DPS(zeta=z), 1000, ref(*r)) for z, r in (
            (0.05, (0.155, 0.10, 0.022, 1.35, 0.04)), (0.2, (0.386, 0.21, 0.044, 1.84, 0.15)),
            (0.5, (1.05, 1.08, 0.18, 3.49, 0.38)), (1.0, (1.89, 2.26, 0.38, 4.08, 0.86)))),
        Row(S.DAPS(surrogate=Endpoint(5, 0.01)), 200, ref(0.190, 0.095, 0.066, 1.82, 0.354), label="DAPS()"),
        Row(S.DAPS(beta=0.01, surrogate=Endpoint(5, 0.01)), 200, ref(0.208, 0.079, 0.029, 1.70, 0.010),
            label="DAPS(beta=0.01)"),
        own(S.PublishedFlowChef(gain=0.05), 100, ref(0.207, 0.21, 0.055, 1.19, 0.010)),
        own(S.PublishedFlowChef(gain=0.5), 100, ref(0.229, 0.23, 0.050, 1.22, 0.000)),
        own(S.PnPFlow(a=0.1, gain=1.25), 100, ref(0.473, 0.34, 0.20, 0.35, 0.006)),
        own(S.PnPFlow(a=0.5, gain=1.25), 100, ref(0.510, 0.29, 0.26, 0.26, 0.047)),
        own(S.PnPFlow(a=1.0, gain=1.25), 100, ref(0.536, 0.30, 0.27, 0.29, 0.365)),
        Row(S.REDDiff.named("config"), 100, ref(0.594, 0.29, 0.28, 0.13, 0.047)),
        Row(S.REDDiff.named("config"), 1000, ref(0.549, 0.39, 0.23, 0.23, 0.006)),
        Row(S.STSL(), 50, {}),
        Row(S.DDPM(guidance=S.TMPD()), 50, {}),
        Row(S.DDPM(guidance=S.LGDMC()), 100, {}),
        Row(S.DDPM(guidance=S.LikelihoodDPS()), 200, {}),
        Row(S.EnKG(), 80, {}),
        Row(S.SCG(), 100, {}),
        Row(S.ALD(), 400, {}),
        Row(S.Replacement(), 200, {}),
        Row(S.RePaint(), 20, {}),
        own(S.NoiseSpaceMCMC(), 20, {}),
    ]  # fmt: skip


def rows(say=None, only=None):
    """One dict a line: name, steps, what was found, its references, whether it gates, and whether it is met.

    only: the rows to run, as a test of Row.  say: called with each as it is done.
    """
    found = []
    for line in [*pointwise(), *(plan for plan in plans() if only is None or only(plan))]:
        if isinstance(line, Row):
            got = measure(line)
            met = within(got, line.reference, line.steps) if line.gates else near(got, line.reference)
            line = dict(
                name=line.name,
                steps=line.steps,
                found=got,
                reference=line.reference,
                gates=line.gates,
                within=met,
            )
        found.append(line)
        if say is not None:
            say(line)
    return found


def within(got, reference, steps):
    """Whether the means found are as near to the references as eight groups allow, and log Z as right as it must be."""
    close = all(abs(got[k] - v) <= WITHIN[k] for k, v in reference.items() if k in WITHIN)
    return close and not (steps == EVIDENCE_STEPS and abs(got.get("evidence", 0.0)) > EVIDENCE)


def near(got, reference):
    """Whether a single run is near that of the reference."""
    if "sw2" not in reference:
        return True
    return abs(got["sw2"] - reference["sw2"]) <= (0.03 if reference["sw2"] <= 0.3 else 0.05)


def measure(row):
    """Means over the groups: sliced W2 to exact draws, |mean - exact|, mode weights, trace of the covariance, rms of
    y - A x, log Z_hat - log Z."""
    import torch

    import problems
    from theory.diagnostics.transport import mode_weight_error, sliced_wasserstein
    from workbench.run import sample

    problem = problems.load("toy/g2")
    law, parts = problem.exact, draws(problem, row, sample)
    found = []
    for i, x in enumerate(parts):
        gap = sliced_wasserstein(x, law.sample(len(x), 1000 + i), law=law, repeats=2, seed=i).value
        residual = (problem.A(x) - problem.y).square().mean().sqrt().item()
        centre = (x.mean(0) - law.mean()).norm().item()
        found.append((gap, centre, mode_weight_error(x, law), x.mT.cov().trace().item(), residual))
    got = dict(zip(KEYS, torch.tensor(found, dtype=torch.float64).mean(0).tolist(), strict=False))
    if row.particles and row.evidences is not None:
        got["evidence"] = torch.tensor(row.evidences).mean().item() - law.log_evidence
    return got


def draws(problem, row, sample):
    """The sets of draws to measure, each (n, 2): one a group, or what is kept of all small ensembles together."""
    from dataclasses import replace

    import torch

    if row.process is not None:
        problem = replace(problem, prior=problem.prior.under(row.process))
    size = dict(n=row.particles, ensembles=row.groups) if row.particles else dict(n=row.n * row.groups)
    post = sample(
        problem, row.sampler, steps=row.steps, grid=times(problem, row), seed=0, progress=False, **size
    )
    row.evidences = post.provenance["evidences"]
    if not row.particles:
        return post.samples.split(row.n)
    pairs = zip(post.samples.split(row.particles), post.log_weights.split(row.particles), strict=True)
    kept = [post.__class__(x, w).resampled(row.keep, i).samples for i, (x, w) in enumerate(pairs)]
    return kept if row.keep >= N else [torch.cat(kept)]


def times(problem, row):
    """The grid of a row."""
    import torch

    from workbench.diffusion.grids import karras

    if row.grid is None:
        return None
    if row.grid == "vp":  # uniform in its own time, as published
        return torch.linspace(1, 1e-3, row.steps, dtype=torch.float64)
    return karras(problem.prior.process, 0.01, 20.0, row.steps)


# The pointwise values: at alpha = 0.8, sigma = 0.6, x = (0.5, -0.3).


def pointwise():
    """One dict a value: its numbers, the reference, and whether all digits agree."""
    from dataclasses import replace

    import torch

    import problems
    import workbench.samplers as S
    from workbench.diffusion.cosine import Cosine

    base = problems.load("toy/g2")
    prior = base.prior
    problem = replace(
        base, prior=type(prior)(prior.weights, prior.means, prior.covariances, process=Cosine())
    )
    x, t = (
        torch.tensor([[0.5, -0.3]], dtype=torch.float64),
        torch.tensor(2 / pi * acos(0.8), dtype=torch.float64),
    )
    x0, covariance = problem.prior.tweedie(x, t)
    eye = torch.eye(2, dtype=torch.float64)

    def push(guidance):
        return (guidance.bind(problem).denoise(x, t) - x0)[0] * 0.8 / 0.36

    values = [
        ("log evidence", base.exact.log_evidence, (-4.068028587,)),
        ("posterior weights", base.exact.weights, (0.134885, 0.655265, 0.209851)),
        ("posterior mean", base.exact.mean(), (0.824426, 0.097656)),
        ("log p_t", problem.prior.log_prob(x, t), (-3.772592157,)),
        ("score of the prior", problem.prior.score(x, t)[0], (-0.037310, -0.131777)),
        ("E[x0 | x_t]", x0[0], (0.608210, -0.434300)),
        (
            "Cov[x0 | x_t]",
            torch.cat([covariance(e[None])[0] for e in eye]),
            (0.941031, 0.334157, 0.334157, 0.998171),
        ),
        ("guidance: exact", push(S.Exact()), (0.730894, 0.738264)),
        ("guidance: moment matching", push(S.MomentMatching()), (0.623633, 0.468940)),
        ("guidance: TMPD", push(S.TMPD()), (0.623633, 0.468940)),
        ("guidance: PiGDM", push(S.PiGDM()), (1.864814, 1.402245)),
        ("guidance: DPS", push(S.LikelihoodDPS(reach=inf)), (11.188883, 8.413471)),
    ]
    return [compared(name, got, wanted) for name, got, wanted in values]


def compared(name, got, wanted):
    """The line of one pointwise value."""
    import torch

    got = torch.as_tensor(got, dtype=torch.float64).flatten().tolist()
    same = all(abs(a - b) <= 0.6 * 10 ** -digits(b) for a, b in zip(got, wanted, strict=True))
    return dict(name=name, steps=0, values=got, wanted=list(wanted), gates=True, within=same)


def digits(number):
    """Decimals a reference is given with: 9 for the two densities, else 6."""
    return 9 if len(repr(number).split(".")[1]) > 6 else 6


def table(found):
    """The rows as text: the pointwise values, then the runs."""
    points = [row for row in found if "values" in row]
    runs = [row for row in found if "found" in row]
    width = max((len(row["name"]) for row in points), default=0)
    lines = [
        f"{row['name']:{width}}  {numbers(row['values'])}  reference {numbers(row['wanted'])}"
        + ("" if row["within"] else "  <- off")
        for row in points
    ]
    return "\n".join([*lines, "", aligned([HEADER, *[cells(row) for row in runs]])])


def numbers(values):
    return " ".join(f"{v:+.6f}" for v in values)


def cells(row):
    """The words of one run."""

    def number(source, key):
        value = row[source].get(key)
        return "" if value is None else f"{value:+.3f}" if key == "evidence" else f"{value:.3f}"

    pairs = [number(source, key) for key in KEYS for source in ("found", "reference")]
    verdict = {(True, True): "met", (True, False): "<- off", (False, True): "", (False, False): "far"}
    return (row["name"], str(row["steps"]), *pairs, verdict[row["gates"], row["within"]])


def aligned(lines):
    """Columns of the same width, numbers to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    text = []
    for name, *rest in lines:
        right = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        text.append("  ".join([name.ljust(widths[0]), *right]).rstrip())
    return "\n".join(text)
