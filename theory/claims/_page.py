"""Pages made of what claims found: an index of figures in a folder, and the catalogue by papers in docs/claims.md."""

import io
import json
from pathlib import Path

from workbench._errors import BadInput
from workbench.catalogue import entries

PAPERS = {  # the seed papers and those whose statements the catalogue checks, by arXiv id
    "2311.15996": "Deveney et al. 2023, Closing the ODE-SDE gap in score-based diffusion models",
    "2402.03845": "Horvat and Pfister 2024, On gauge freedom, conservativity and intrinsic dimensionality",
    "2509.00336": "Vuong et al. 2025, Are we really learning the score function?",
    "2409.02426": "Wang et al. 2024, Diffusion models learn low-dimensional distributions via subspace clustering",
    "2405.20494": "Chen et al. 2024, Slight corruption in pre-training data makes better diffusion models",
    "2303.02490": "Wang and Vastola 2023, Diffusion models generate images like painters",
    "2310.02557": "Kadkhodaie et al. 2024, Generalization arises from geometry-adaptive harmonic representations",
    "2401.15604": "Han et al. 2024, Neural network-based score estimation",
    "2506.17139": "Plainer et al. 2025, Consistent sampling and simulation",
    "2412.17762": "Skreta et al. 2025, The superposition of diffusion models",
    "2506.03979": "on posterior sampling by ensembles of particles, 2025",
    "2312.00852": "Rout et al. 2023, Beyond first-order Tweedie (STSL)",
    "2303.08797": "Albergo, Boffi, Vanden-Eijnden 2023, Stochastic interpolants",
    "2302.04265": "Xu et al. 2023, PFGM++",
    "2209.14687": "Chung et al. 2023, Diffusion posterior sampling",
    "2305.04391": "Mardani et al. 2023, RED-diff",
    "2206.01714": "Liu et al. 2022, Compositional visual generation with composable diffusion models",
    "2501.05450": "on decentralised diffusion models, 2025",
    "2310.11311": "Elucidating the design space of classifier-guided diffusion (EluCD, 2023)",
    "2312.12487": "Castillo et al. 2023, Adaptive guidance",
    "2301.12334": "Um et al. 2023, Minority guidance",
    "2403.10348": "on the difficulty of denoising tasks, 2024",
    "2312.04823": "on diffusion spectral entropy and mutual information, 2023",
    "2401.09031": "on data attribution and its bias by time, 2024",
    "2404.07771": "Chen et al. 2024, An overview of diffusion models",
    "2501.06848": "Singhal et al. 2025, Feynman-Kac steering",
    "2210.05559": "Wu and De la Torre 2022, DPM-Encoder",
    "2212.12611": "Stanczuk et al. 2022, Diffusion models encode the intrinsic dimension of data manifolds",
}


def index(folder):
    """Write index.md beside the <id>.json and <id>.png of `folder`: statement, verdict and figure of each claim."""
    folder = Path(folder)
    known = {entry.name for entry in entries("claims")}
    found = [json.loads(p.read_text(encoding="utf-8")) for p in folder.glob("*.json") if p.stem in known]
    lines = ["# Claims, as checked", ""]
    for claim in sorted(found, key=_order):
        lines += [f"## {claim['code']} {claim['id']}", "", claim["statement"], "", _counted(claim), ""]
        lines += [f"![{claim['id']}]({claim['id']}.png)", ""]
    _put(folder / "index.md", "\n".join(lines))


def _put(path, text):
    """The file, complete or as it was."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def page(folder, findings):
    """Write FOLDER/claims.md with its small figures and evidence in FOLDER/claims; what it held of other claims stays."""
    folder = Path(folder)
    kept = folder / "claims"
    kept.mkdir(parents=True, exist_ok=True)
    ledger = kept / "evidence.json"
    try:
        known = json.loads(ledger.read_text(encoding="utf-8")) if ledger.exists() else {}
    except ValueError:
        raise BadInput(f"{ledger} is damaged; remove it, and run all claims again") from None
    for finding in findings:
        known[finding.name] = finding.json()
        (kept / f"{finding.name}.png").write_bytes(small(finding.plot()))
    names = {entry.name: entry for entry in entries("claims")}
    known = {name: known[name] for name in sorted(known) if name in names}
    _put(ledger, json.dumps(known, separators=(",", ":"), allow_nan=False) + "\n")
    _put(folder / "claims.md", "\n".join(_catalogue(names, known)))


def small(figure):
    """The figure as a PNG of 32 colours."""
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw, dpi=75, format="png")
    picture = Image.open(raw).convert("RGB").quantize(32, dither=Image.Dither.NONE)
    out = io.BytesIO()
    picture.save(out, format="png", optimize=True)
    return out.getvalue()


def _order(claim):
    return claim["code"][0], int(claim["code"][1:])


def _counted(claim):
    verdict = "Holds" if claim["holds"] and claim["control_fails"] else "DOES NOT HOLD"
    return (
        f"{verdict}: {len(claim['rows'])} rows, {len(claim['controls'])} controls, seed {claim['seed']}, "
        f"{claim['seconds']:.1f} s."
    )


def _catalogue(names, known):
    """The lines of docs/claims.md: what a claim is, what differs from print, then a section a paper."""
    listed = sorted(names.values(), key=lambda e: _order(e.card))
    held = sum(c["holds"] and c["control_fails"] for c in known.values())
    rows, controls = (sum(len(c[key]) for c in known.values()) for key in ("rows", "controls"))
    yield from [
        "# Claims",
        "",
        "Generated by `workbench verify --page docs`; do not edit. A claim compares two sides in every row, and each of its",
        "controls is a case in which the same comparison must break: a claim whose control holds is an error.",
        f"Checked: {held} of {len(listed)} claims, {rows} rows and {controls} controls. `workbench verify B1` checks one again.",
        "Tiers: 0 identity, 1 Monte Carlo (both in every test run), 2 nightly, 3 trains a network.",
        "",
        "## Where print and measurement differ",
        "",
    ]
    yield from [f"- **{e.card['code']} {e.name}**: {e.card['found']}" for e in listed if e.card["found"]]
    papers = list(dict.fromkeys(e.card["paper"] for e in listed))
    for paper in sorted(papers, key=lambda p: (p not in PAPERS, p)):
        title = (
            f"{PAPERS[paper]} ([arXiv {paper}](https://arxiv.org/abs/{paper}))" if paper in PAPERS else paper
        )
        yield from [
            "",
            f"## {title}",
            "",
            "| claim | statement | status | figure |",
            "| --- | --- | --- | --- |",
        ]
        for e in (e for e in listed if e.card["paper"] == paper):
            yield _line(e, known.get(e.name))


def _line(entry, claim):
    statement = (claim["statement"] if claim else entry.summary).replace("|", "\\|")
    status = "not run" if claim is None else _status(claim)
    picture = f'<img src="claims/{entry.name}.png" width="300" alt="{entry.name}">' if claim else ""
    label = f"**{entry.card['code']}** `{entry.name}`<br>tier {entry.card['tier']}; {entry.card['source']}"
    return f"| {label} | {statement} | {status} | {picture} |"


def _status(claim):
    ok = claim["holds"] and claim["control_fails"]
    return f"{'holds' if ok else '**does not hold**'}; {len(claim['rows'])} rows, {len(claim['controls'])} controls, {claim['seconds']:.1f} s"
