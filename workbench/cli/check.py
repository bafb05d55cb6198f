"""Check this machine: dot tests of every operator, exactness of every analytic prior, one sampler, and controls."""

import json
from dataclasses import asdict, dataclass

from workbench import catalogue
from workbench.cli import Parser

DRAWS = 20000
ERRORS = 5.0  # standard errors allowed: with at most 120 means a number, a false alarm in 15 000 of them


@dataclass(frozen=True)
class Number:
    """One measured number, which should not exceed its limit."""

    name: str
    value: float
    limit: float

    @property
    def holds(self):
        return self.value <= self.limit  # False for NaN


@dataclass(frozen=True)
class Row:
    """What was measured of one subject on one device; a control is wrong on purpose and should be rejected."""

    kind: str
    subject: str
    device: str
    numbers: tuple
    control: bool = False
    note: str = ""

    @property
    def passed(self):
        """Whether the machine passes here: all numbers hold, or, of a control, one does not."""
        return not self.note and all(n.holds for n in self.numbers) is not self.control

    def as_dict(self):
        """The row with its verdicts, for JSON: a number that is not finite becomes None."""
        numbers = [{**asdict(n), "value": _finite(n.value), "holds": n.holds} for n in self.numbers]
        return {**asdict(self), "numbers": numbers, "passed": self.passed}


def _finite(value):
    return value if abs(value) < float("inf") else None


def main(argv):
    """`workbench check [--json]`: exit status 0 where everything holds and every control is rejected, else 1."""
    parser = Parser("workbench check", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON list, a row each")
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(1)  # thousands of tiny maps: a pool of threads only waits
    rows = [row for device in devices() for row in check(device)]
    print(json.dumps([row.as_dict() for row in rows], indent=1) if args.json else table(rows))
    return 0 if all(row.passed for row in rows) else 1


def devices():
    """cpu, and cuda where torch finds a GPU."""
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def check(device):
    """Every row on one device."""
    for name in catalogue.names("operators"):
        yield attempt("operator", name, device, lambda name=name: adjoint(name, device))
    yield attempt(
        "operator", "a transpose without its conjugate", device, lambda: wrong_adjoint(device), control=True
    )
    for name in laws():
        yield attempt("distribution", name, device, lambda name=name: exactness(name, device))
    yield attempt(
        "distribution",
        "a posterior with half its noise",
        device,
        lambda: wrong_posterior(device),
        control=True,
    )
    yield attempt(
        "sampler",
        "ddpm with the exact conditional score, toy/g2",
        device,
        lambda: sampled(device, conditional=True),
    )
    yield attempt(
        "sampler",
        "ddpm without the data, toy/g2",
        device,
        lambda: sampled(device, conditional=False),
        control=True,
    )


def laws():
    """The names of the analytic distributions; discrete ones have no score to check."""
    from theory.distributions._analytic import Analytic

    return [
        name
        for name in catalogue.names("distributions")
        if issubclass(catalogue.load("distributions", name), Analytic)
    ]


def attempt(kind, subject, device, measure, control=False):
    """The row of `measure()`; a measurement that breaks off is a row that does not pass, with the error as its note."""
    try:
        return Row(kind, subject, device, tuple(measure()), control)
    except Exception as error:  # whatever is broken on this machine belongs in the table
        return Row(
            kind,
            subject,
            device,
            (),
            control,
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
        )


def examples(room, name, precision):
    """The real and the complex example of an exhibit in `precision`, without those that it does not have."""
    from workbench._errors import BadInput
    from workbench._rng import Rng

    found, refused = [], None
    for dtype in (precision, precision.to_complex()):
        try:
            found.append(catalogue.load(room, name).example(Rng(3, "check"), dtype))
        except BadInput as error:
            refused = error
    if not found:
        raise refused
    return found


def adjoint(name, device):
    """The dot test of an operator (of its Jacobian, if it is not linear), the worse of real and complex signals."""
    import torch

    for label, precision, limit in (("double", torch.float64, 1e-12), ("single", torch.float32, 1e-6)):
        yield Number(
            label, worst(mismatch(A.to(device)) for A in examples("operators", name, precision)), limit
        )


def worst(values):
    """The largest of some numbers, NaN if one of them is."""
    return max(values, key=lambda value: (value != value, value))


def mismatch(A):
    """The dot test of A, or of its derivative at a random signal."""
    import torch

    from workbench._rng import Rng
    from workbench.operators.adjointness import dot_test

    x = Rng(0, "check").normal(torch.empty(1, *A.in_shape, dtype=A.in_dtype, device=A.device))[0]
    J = A.linearize(x)
    return dot_test(J) if J.H(J(x)).isfinite().all() else float("nan")


def wrong_adjoint(device):
    """A complex matrix with its transpose in place of its adjoint."""
    import torch

    from workbench._rng import Rng
    from workbench.operators.dense import Dense

    class Transposed(Dense):
        def adjoint(self, y):
            return y @ self.matrix

    matrix = Rng(3, "check").normal(torch.empty(4, 15, dtype=torch.complex128))
    yield Number("double", mismatch(Transposed(matrix.to(device))), 1e-12)


def exactness(name, device):
    """The worse of the real and the complex example in double precision, number by number."""
    import torch

    from workbench.problem import moved

    found = {}
    for law in examples("distributions", name, torch.float64):
        for number in (*identities(moved(law, device)), *moments(moved(law, device))):
            found.setdefault(number.name, []).append(number)
    for name, numbers in found.items():
        yield Number(name, worst(n.value for n in numbers), max(n.limit for n in numbers))


def identities(law):
    """Tweedie's identity, the score against the gradient of log p_t, J against the derivative of the denoiser."""
    limit, levels = (
        1e-9 + getattr(law, "tolerance", 0.0),
        [noised(law, 4, kappa) for kappa in (0.1, 0.7, 5.0)],
    )
    yield Number("tweedie", worst(tweedie(law, *level) for level in levels), limit)
    yield Number("jacobian", worst(jacobian(law, *level) for level in levels), limit)
    if has_density(law):
        yield Number("score", worst(score(law, *level) for level in levels), limit)


def noised(law, n, kappa):
    """(x0, x_t, t): draws of the law and of its noised version at sigma / alpha = kappa."""
    t = law.process.time(kappa)
    x0 = law.sample(n, 0)
    return x0, law.process.alpha(t) * x0 + law.process.sigma(t) * normal(x0, "noise"), t


def normal(like, stream):
    """Standard normal rows like those of `like`."""
    from workbench._rng import Rng

    return Rng(0, f"check/{stream}").normal(like)


def tweedie(law, x0, x, t):
    """alpha E[x0 | x_t] = x_t + sigma^2 grad log p_t(x_t)."""
    return gap(law.process.alpha(t) * law.denoise(x, t), x + law.process.sigma(t) ** 2 * law.score(x, t))


def score(law, x0, x, t):
    """The score is the gradient of log p_t."""
    import torch

    leaf = x.clone().requires_grad_()
    return gap(law.score(x, t), torch.autograd.grad(law.log_prob(leaf, t).sum(), leaf)[0])


def jacobian(law, x0, x, t):
    """J v is the product that autograd makes of the denoiser, whose Jacobian is symmetric."""
    import torch

    leaf, v = x.clone().requires_grad_(), normal(x, "direction")
    return gap(law.denoiser_jvp(x, t, v), torch.autograd.grad(law.denoise(leaf, t), leaf, v)[0])


def gap(a, b):
    """The largest difference of two tensors relative to their size."""
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-300)).item()


def has_density(law):
    """Whether the law knows log p_t in closed form."""
    from workbench._errors import BadInput

    try:
        law.log_prob(law.sample(1, 0), law.process.time(0.7))
    except BadInput:
        return False
    return True


def moments(law):
    """In standard errors: E (x0 - E[x0 | x_t]) h(x_t) = 0 over draws, for h = 1 and, entry by entry, h = x_t; and the
    exact posterior mean (see `posterior_gap`)."""
    import torch

    x0, x, t = noised(law, DRAWS, 0.7)
    error = x0 - law.denoise(x, t)
    yield Number("draws", largest_z(torch.stack([error, error * x.conj()], dim=1)), ERRORS)
    if hasattr(law, "condition") and law.card["exact"]:  # under every linear A
        yield Number("posterior", posterior_gap(law, belief=1.0), ERRORS)


def posterior_gap(law, belief):
    """E[x | y] by `condition`, with a noise of `belief` times the true one, against prior draws weighted by their true
    likelihood, in standard errors of those: y = M x + n with two rows, n as large as M x is."""
    import torch

    from workbench._rng import Rng
    from workbench.noise.gaussian import Gaussian
    from workbench.operators.dense import Dense

    x = law.sample(DRAWS, 1)
    rows = Rng(7, "check").normal(torch.empty(2, x[0].numel(), dtype=law.dtype)).to(x.device)
    clean = x.flatten(1) @ rows.mT
    noise, y = Gaussian(clean.real.std().item()), clean[0] + clean.real.std() * normal(clean[:1], "data")[0]
    w = torch.softmax(noise.log_likelihood(y, clean), 0).reshape(-1, *[1] * (x.ndim - 1))
    mean = law.condition(Dense(rows, tuple(law.shape)), y, Gaussian(belief * noise.sigma)).mean()
    return largest_z(len(x) * w * (x - mean))


def largest_z(rows):
    """The mean of independent rows in standard errors, the largest over entries."""
    import torch

    rows = torch.view_as_real(rows) if rows.is_complex() else rows
    return (rows.mean(0).abs() / (rows.std(0) / len(rows) ** 0.5).clamp_min(1e-300)).max().item()


def wrong_posterior(device):
    """The posterior of a Gaussian mixture that takes the noise for half of what it is."""
    import torch

    from workbench.problem import moved

    law = moved(examples("distributions", "gaussian-mixture", torch.float64)[0], device)
    yield Number("posterior", posterior_gap(law, belief=0.5), ERRORS)


def sampled(device, conditional):
    """The mean of 4000 draws of DDPM on three Gaussians in the plane, against the exact posterior mean."""
    import problems
    from workbench.run import sample
    from workbench.samplers.ddpm import DDPM
    from workbench.samplers.exact import Exact

    problem = problems.load("toy/g2").to(device)
    sampler = DDPM(guidance=Exact()) if conditional else DDPM()
    post = sample(problem, sampler, n=4000, steps=100, seed=0, progress=False)
    yield Number("mean", largest_z(post.samples - problem.exact.mean()), ERRORS)


def table(rows):
    """The rows of each kind under a line of limits, then the verdict in one sentence."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    lines = [line for kind in kinds for line in (*part([row for row in rows if row.kind == kind]), "")]
    failed = [row for row in rows if not row.passed]
    controls = sum(row.control for row in rows)
    verdict = f"{len(rows) - controls} rows hold and {controls} controls are rejected."
    if failed:
        verdict = f"{len(failed)} of {len(rows)} rows fail: {', '.join(f'{row.subject} ({row.device})' for row in failed)}."
    return "\n".join([*lines, verdict])


def part(rows):
    """The lines of one kind: a header, the limits, then a row each."""
    names = list(dict.fromkeys(n.name for row in rows for n in row.numbers))
    limits = {n.name: f"{n.limit:.3g}" for row in reversed(rows) for n in row.numbers}
    width = max(len(row.subject) for row in rows)

    def line(subject, device, values, verdict=""):
        return "  ".join(
            [f"{subject:{width}}", f"{device:6}", *[f"{values.get(n, ''):>9}" for n in names], verdict]
        ).rstrip()

    yield line(rows[0].kind, "device", {name: name for name in names})
    yield line("not above", "", limits)
    for row in rows:
        yield line(row.subject, row.device, {n.name: f"{n.value:.2g}" for n in row.numbers}, said(row))


def said(row):
    """The verdict of one row."""
    if row.note:
        return f"FAILS: {row.note}"
    words = ("control, rejected", "control, NOT REJECTED") if row.control else ("holds", "FAILS")
    return words[not row.passed]
