"""Check claims of the theory: both sides, the margin, and the control that must break."""

import json
import sys
from pathlib import Path

from workbench._errors import BadInput
from workbench.cli import Parser


def main(argv):
    """Check the chosen claims one by one; status 1 if one does not hold or a control does not break."""
    args = flags().parse_args(argv)
    if not 0 <= args.seed < 2**64:
        raise BadInput(f"--seed = {args.seed} should be from 0 to 2**64 - 1")
    chosen = chosen_claims(args.claims, args.tier)
    folder, home = made("--plot", args.plot), made("--page", args.page)
    findings = []
    for entry in chosen:
        findings.append(verified(entry, args.seed))
        if folder is not None and not findings[-1].error:
            write(folder, findings[-1])
        if not args.json:
            tell(findings, args.details)
    if args.json:
        print(json.dumps([finding.json() for finding in findings], indent=1, allow_nan=False))
    else:
        print(verdict(findings))
    pages(folder, home, findings)
    return 0 if all(f.holds and f.control_fails for f in findings) else 1


def flags():
    """`workbench verify [CLAIM ...] [--tier N] [--seed S] [--plot DIR] [--page DIR] [--details] [--json]`."""
    parser = Parser("workbench verify", description=__doc__)
    add = parser.add_argument
    add(
        "claims",
        nargs="*",
        metavar="CLAIM",
        help="an id, a code (B1), a letter (B), a file or a topic (none: all)",
    )
    tiers = "0 identities, 1 Monte Carlo, 2 minutes, 3 trains a network"
    known = f"all tiers up to it: {tiers} (default 1; a claim named by itself runs whatever its tier)"
    add("--tier", type=int, choices=range(4), help=known)
    add("--seed", type=int, default=0, help="of every draw (0)")
    add("--plot", metavar="DIR", help="a figure and a JSON file a claim, and an index, in DIR")
    add("--page", metavar="DIR", help="bring DIR/claims.md and its figures up to date")
    add("--details", action="store_true", help="every row and control, not the tightest alone")
    add("--json", action="store_true", help="one JSON list, every row and control")
    return parser


def tell(findings, details):
    """The last finding, on a line of the table or in full."""
    if len(findings) == 1 and not details:
        print(header(), flush=True)
    print(findings[-1].block() + "\n" if details else line(findings[-1]), flush=True)


def pages(folder, home, findings):
    """The index of --plot and the page of --page, where they are asked for."""
    from theory.claims import _page

    if folder is not None:
        _page.index(folder)
    if home is not None:
        _page.page(home, [finding for finding in findings if not finding.error])


def chosen_claims(words, tier):
    """The catalogue entries to run, at least one."""
    from theory import claims

    highest = 1 if tier is None else tier
    words = [] if words == ["all"] else words
    chosen = claims.select(*words)
    named = {word.lower() for word in words if tier is None}
    alone = lambda entry: bool(named & {entry.name, entry.card["code"].lower()})
    kept = [entry for entry in chosen if entry.card["tier"] <= highest or alone(entry)]
    if not kept:
        raise BadInput(
            f"{' '.join(words) or 'claims'}: none is of a tier up to {highest}; use a higher --tier"
        )
    if len(kept) < len(chosen) and words:
        left = ", ".join(f"{e.card['code']} {e.name}" for e in chosen if e not in kept)
        print(f"workbench verify: left out, of a higher --tier: {left}", file=sys.stderr)
    return kept


def verified(entry, seed):
    """The finding of one entry; a claim that raises does not hold, and the others go on."""
    from theory.claims._claim import Finding
    from workbench.catalogue import load

    claim = load("claims", entry.name)()
    try:
        return claim.verify(entry.name, seed)
    except (ArithmeticError, RuntimeError, ValueError) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(entry.name, entry.card["code"], (), (), seed, 0.0, claim, None, words)


def made(flag, folder):
    """A folder of figures, there and writable, or None."""
    if folder is None:
        return None
    path = Path(folder)
    if not folder.strip():
        raise BadInput(f"{flag} is empty; name a folder")
    if path.exists() and not path.is_dir():
        raise BadInput(f"{flag} = {folder} is a file; name a folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInput(f"{flag} = {folder}: {error.strerror}; name a folder that can be written") from None
    return path


def write(folder, finding):
    """DIR/<id>.json and DIR/<id>.png, each complete or absent."""
    text = json.dumps(finding.json(), indent=1, allow_nan=False) + "\n"
    (folder / f"{finding.name}.json.part").write_text(text, encoding="utf-8")
    (folder / f"{finding.name}.json.part").replace(folder / f"{finding.name}.json")
    finding.plot().savefig(folder / f"{finding.name}.png.part", dpi=110, format="png")
    (folder / f"{finding.name}.png.part").replace(folder / f"{finding.name}.png")


COLUMNS = (
    f"{'':4} {'claim':31} {'measured':>10}    {'bound':<10} {'margin':>8}  {'control':<26} {'seconds':>7}  "
)


def header():
    """The names of the columns."""
    return COLUMNS.rstrip()


def line(finding):
    """One claim: its tightest row, the control nearest to holding, and a word."""
    from theory.claims._claim import sides

    row = finding.tightest if finding.rows else None
    control = finding.mildest if finding.controls else None
    left = f"{sides(row)} {row.margin:8.2g}" if row else "no row"
    right = f"{sides(control)}" if control else "no control"
    return f"{finding.code:4} {finding.name:31} {left}  {right:<26} {finding.seconds:7.1f}  {word(finding)}"


def word(finding):
    """What the finding comes to."""
    if finding.error:
        return f"RAISED {finding.error}"
    if not finding.holds:
        return "DOES NOT HOLD"
    return "holds" if finding.control_fails else "CONTROL DOES NOT BREAK"


def verdict(findings):
    """The last line."""
    bad = [f for f in findings if not (f.holds and f.control_fails)]
    rows, controls = sum(len(f.rows) for f in findings), sum(len(f.controls) for f in findings)
    seconds = sum(f.seconds for f in findings)
    if not bad:
        return (
            f"\nClaims that hold: {len(findings)}, in {rows} rows; controls, which break as they should: {controls}; "
            f"{seconds:.0f} s. Shown: the tightest row and the control nearest to holding; --details shows all."
        )
    return f"\n{len(bad)} of {len(findings)} claims fail: {', '.join(f'{f.code} {f.name}' for f in bad)}."
