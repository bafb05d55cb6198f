"""The main job on a real MR slice that needs no download: reconstruct it, and compare with the truth."""

import time
from pathlib import Path

from workbench.cli import Parser
from workbench.cli._flags import set_threads, whole

HEADER = ["reconstruction", "PSNR (dB)", "relative error", "std / exact std", "seconds"]


def main(argv):
    """`workbench demo [--out DIR]`: simulate 8 coils, a 4x mask and noise on a real head; report and table of errors."""
    parser = Parser("workbench demo", description=__doc__)
    parser.add_argument("--out", default="demo", help="folder of the report (demo)")
    parser.add_argument("-n", type=whole, default=200, help="exact posterior draws (200)")
    parser.add_argument("--size", type=whole, default=256, help="pixels a side: 256, 128 or 64 (256)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=whole, help="CPU threads (the free cores)")
    args = parser.parse_args(argv)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    print(
        "A real sagittal MR slice of a head (matplotlib's sample data) is given a smooth phase, measured by 8 simulated"
    )
    print(
        "coils with a quarter of the phase encodes and noise, and reconstructed. The prior sees only the measurement.\n"
    )
    return demo(out, args)


def demo(out, args):
    """Simulate, reconstruct, compare, report."""
    from problems._head import inside
    from workbench._allocator import keep_large_blocks
    from workbench.cli import _job, _yardsticks

    keep_large_blocks()
    set_threads(args.threads)
    started = time.perf_counter()
    measured, truth = simulated(args)
    part, fit = _job.reconstruct(
        measured,
        draws=args.n,
        seed=args.seed,
        classical=_yardsticks.KSPACE,
        say=lambda text: print(f"  {text}", flush=True),
    )
    samplers = diffusion_samplers(measured, fit, args)
    head = inside(truth.abs())
    judge(part, truth, head)
    rows = compare(part, samplers, truth.abs(), head)
    part.checks["psnr_mean"] = rows[0][1]
    part.others.update({name: post.mean() for name, post in samplers.items()})
    report = write(out, part, truth, measured.unit, rows)
    show(rows)
    conclude(part.checks)
    print(f"\nReport: {report.resolve()}   ({time.perf_counter() - started:.0f} s)")
    return 0


def simulated(args):
    """The head measured by 8 coils, as a scan that knows its coil maps, and the truth."""
    import problems
    from problems._scan import from_kspace
    from workbench.io.kspace import KSpace

    problem = problems.load("mri/brain-cartesian-4x", seed=args.seed, size=args.size)
    A = problem.A
    notes = ("Simulated from a real slice; coil maps known.",)
    scan = KSpace(A.grid(problem.y)[None], A.mask, maps=A.maps, notes=notes)
    return from_kspace(scan, 0, seed=args.seed), problem.truth


def judge(part, truth, head):
    """Add to the checks the share of the true pixels inside their 90 % interval, and say what it means."""
    inside = (truth.abs() >= part.lower) & (truth.abs() <= part.upper)
    share = part.checks["coverage_90"] = inside[head].double().mean().item()
    if abs(share - 0.9) > 0.03:
        part.warnings.append(
            f"The 90 % intervals hold {100 * share:.1f} % of the true pixels inside the head: a stationary prior spreads "
            f"the image's variance evenly, so its bars are too narrow where there is anatomy and too wide in air."
        )
    part.notes.insert(
        0,
        "The truth is known here and was used for nothing but the comparison: the prior and the noise level were fitted "
        "to the simulated measurement, and no setting was tuned on this slice.",
    )


def write(out, part, truth, unit, rows):
    """The report, with the table of errors first."""
    from workbench._checkpoint import replace_with
    from workbench.viz.report import report_html

    title, label = "Demo: a head in a quarter of the scan time", "Head, 8 coils, 4x"
    table = ("Against the truth, inside the head", HEADER, rows)
    page = report_html(title, [part], unit, [label], [truth], [table])
    replace_with(out / "report.html", lambda path: path.write_text(page, encoding="utf-8"))
    return out / "report.html"


def conclude(checks):
    """What the intervals hold, in words."""
    print(
        f"\nThe 90 % intervals hold {100 * checks['coverage_90']:.1f} % of the true pixels inside the head, and"
    )
    print(
        f"{100 * checks['held_out_coverage_90']:.1f} % of the data that were held out (90 % expected of a model that is right)."
    )
    print(
        "They come from a stationary prior: they follow mask, coils and noise, not anatomy; edges may leave them."
    )


def diffusion_samplers(measured, fit, args):
    """Two diffusion samplers under the same fitted prior: name -> Posterior."""
    from workbench.problem import Problem
    from workbench.run import sample
    from workbench.samplers.ddpm import DDPM
    from workbench.samplers.dps import DPS
    from workbench.samplers.moment_matching import MomentMatching

    problem = Problem(fit.prior, measured.A, fit.noise, measured.y, name="demo")
    plan = {
        "DDPM + moment matching": (DDPM(guidance=MomentMatching(iterations=10)), 4, 25),
        "DPS": (DPS(zeta=1.0), 2, 200),
    }
    done = {}
    for name, (sampler, n, steps) in plan.items():
        done[name] = sample(problem, sampler, n=n, steps=steps, seed=args.seed)
        print(f"  {name}: {n} samples, {steps} steps, {done[name].cost.seconds:.1f} s", flush=True)
    return done


def compare(part, samplers, truth, head):
    """One row a reconstruction: PSNR of the modulus (peak 1), relative error, spread against the exact one, seconds."""
    import torch

    def row(name, image, spread=None, seconds=None):
        error = (image.abs() - truth)[head].double().square().mean().sqrt().item()
        size = truth[head].double().square().mean().sqrt().item()
        return [
            name,
            -20 * torch.log10(torch.tensor(error)).item(),
            error / size,
            spread or "",
            seconds or "",
        ]

    exact = part.std[head].double().square().mean().sqrt().item()
    rows = [row("exact posterior mean", part.mean, 1.0, part.settings["seconds_of_draws"])]
    rows += [row(name, image) for name, image in part.others.items()]
    for name, post in samplers.items():
        spread = post.map(torch.abs).std()[head].double().square().mean().sqrt().item()
        rows.append(row(name + f" (mean of {len(post)})", post.mean(), spread / exact, post.cost.seconds))
    return rows


def show(rows):
    """A table in the terminal."""

    def words(value):
        return value if isinstance(value, str) else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"

    lines = [HEADER, *[[words(value) for value in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    print()
    for name, *numbers in lines:
        cells = [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)]
        print("  " + "  ".join([name.ljust(widths[0]), *cells]))
