"""The suite `g2`: samplers on problem toy/g2 beside the values of an independent implementation.

Means over eight groups of 4000 draws, on the grid of Karras et al. 2022 from sigma 20 to 0.01.
"""

GROUPS, N = 8, 4000
HEADER = (
    "sampler",
    "steps",
    "sliced W2",
    "reference",
    "tr Cov",
    "reference",
    "residual",
    "reference",
    "log Z error",
    "reference",
)
WITHIN = dict(
    sw2=0.012, trace=0.05, residual=0.015
)  # of the references; those of log Z are single seeds, only shown
EVIDENCE_STEPS, EVIDENCE = 400, 0.01  # with so many steps, |log Z_hat - log Z| is at most this
EXACT = dict(trace=1.374, residual=0.404)


def plans():
    """(sampler, steps, reference values)."""
    from workbench.samplers.ddpm import DDPM
    from workbench.samplers.exact import Exact, ExactDraws
    from workbench.samplers.moment_matching import MomentMatching
    from workbench.samplers.tds import TDS

    matched = DDPM(guidance=MomentMatching())
    return [
        (ExactDraws(), 1, dict(sw2=0.029, **EXACT)),
        (DDPM(guidance=Exact()), 200, dict(sw2=0.026, trace=1.329, residual=0.391)),
        (matched, 50, dict(sw2=0.058, trace=1.38, residual=0.39)),
        (matched, 200, dict(sw2=0.071, trace=1.46, residual=0.40)),
        (TDS(), 50, dict(sw2=0.071, evidence=0.076)),
        (TDS(), 100, dict(sw2=0.042, evidence=0.036)),
        (TDS(), 200, dict(sw2=0.034, evidence=0.008)),
        (TDS(), EVIDENCE_STEPS, dict(sw2=0.033, evidence=0.003)),
    ]


def rows(groups=GROUPS, n=N, say=None):
    """One dict a plan: name, steps, the means found and their references, and whether all are `within` of them."""
    found = []
    for sampler, steps, reference in plans():
        got = measure(sampler, steps, groups, n)
        found.append(
            dict(
                name=repr(sampler),
                steps=steps,
                found=got,
                reference=reference,
                within=within(got, reference, steps),
            )
        )
        if say is not None:
            say(found[-1])
    return found


def within(got, reference, steps):
    """Whether the means found are as near to the references as eight groups allow, and log Z as right as it must be."""
    near = all(abs(got[k] - v) <= WITHIN[k] for k, v in reference.items() if k in WITHIN)
    return near and not (steps == EVIDENCE_STEPS and abs(got.get("evidence", 0.0)) > EVIDENCE)


def measure(sampler, steps, groups, n):
    """Means over the groups: sliced W2 to exact draws, trace of the covariance, rms of y - A x, log Z_hat - log Z."""
    import torch

    import problems
    from theory.diagnostics.transport import sliced_wasserstein
    from workbench.diffusion.grids import karras
    from workbench.run import sample

    problem = problems.load("toy/g2")
    law, grid = problem.exact, karras(problem.prior.process, 0.01, 20.0, steps)
    weighted = sampler.couples and sampler.resample is not None
    size = dict(n=n, ensembles=groups) if weighted else dict(n=n * groups)
    post = sample(problem, sampler, grid=grid, seed=0, progress=False, **size)
    parts = post.samples.split(n)
    if weighted:
        weights = post.log_weights.split(n)
        parts = [
            post.__class__(x, w).resampled(n, i).samples
            for i, (x, w) in enumerate(zip(parts, weights, strict=True))
        ]
    gaps = [
        sliced_wasserstein(x, law.sample(n, 1000 + i), law=law, repeats=2, seed=i).value
        for i, x in enumerate(parts)
    ]
    got = dict(
        sw2=sum(gaps) / len(gaps),
        trace=sum(x.mT.cov().trace().item() for x in parts) / len(parts),
        residual=sum((problem.A(x) - problem.y).square().mean().sqrt().item() for x in parts) / len(parts),
    )
    if weighted:
        got["evidence"] = torch.tensor(post.provenance["evidences"]).mean().item() - law.log_evidence
    return got


def table(found):
    """The rows as text."""

    def number(source, key):
        return (
            "" if key not in source else f"{source[key]:+.3f}" if key == "evidence" else f"{source[key]:.3f}"
        )

    lines = [HEADER]
    for row in found:
        pairs = [
            number(row[source], key) for key in (*WITHIN, "evidence") for source in ("found", "reference")
        ]
        lines.append((row["name"], str(row["steps"]), *pairs, "" if row["within"] else "<- off"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    text = []
    for name, *numbers in lines:
        cells = [cell.rjust(width) for cell, width in zip(numbers, [*widths[1:], 0], strict=False)]
        text.append("  ".join([name.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(text)
