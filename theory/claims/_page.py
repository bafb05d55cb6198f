"""Pages made of claims' JSON files: the index of a folder of figures."""

import json
from pathlib import Path


def index(folder):
    """Write index.md beside the <id>.json and <id>.png of `folder`: statement, verdict and figure of each claim."""
    folder = Path(folder)
    found = sorted((json.loads(p.read_text(encoding="utf-8")) for p in folder.glob("*.json")), key=_order)
    lines = ["# Claims, as checked", ""]
    for claim in found:
        ok = claim["holds"] and claim["control_fails"]
        lines += [
            f"## {claim['code']} {claim['id']}",
            "",
            claim["statement"],
            "",
            f"{'Holds' if ok else 'DOES NOT HOLD'}: {len(claim['rows'])} rows, {len(claim['controls'])} controls, "
            f"seed {claim['seed']}, {claim['seconds']} s.",
            "",
            f"![{claim['id']}]({claim['id']}.png)",
            "",
        ]
    (folder / "index.md").write_text("\n".join(lines), encoding="utf-8")


def _order(claim):
    return claim["code"][0], int(claim["code"][1:])
