"""The page of the published experiments: tables of our figures beside the published ones, from what the studies found."""

from theory.scoreboard.published._study import MARKS
from theory.scoreboard.published.studies import every_study

SIGNS = {"": "", "2nd": "†", "unverified": "‡"}
ABOUT = """# Published experiments, run again

Experiments of the literature whose posterior is known exactly, in their settings where we know them. A cell is our mean ±
half its 95 % interval, and in brackets the published figure where there is one."""


def words(found):
    """The page.  found: dict(studies=[what Study.run returned, ...], machine=...)."""
    machine = found.get("machine") or {}
    facts = f"One thread of {machine['processor']}." if machine.get("processor") else ""
    parts = [" ".join([ABOUT, legend(found), facts]).strip()]
    parts += [section(study) for study in found["studies"]]
    return "\n\n".join(parts) + "\n"


def legend(found):
    """What the signs of the figures shown mean."""
    marks = {row["mark"] for study in found["studies"] for row in study["rows"]}
    return " ".join(f"{sign}: {MARKS[mark]}." for mark, sign in SIGNS.items() if mark in marks and sign)


def section(study):
    """One experiment: tables, where we differ and why, settings."""
    kind = every_study()[study["name"]]
    tables = [f"{about}.\n\n{table(study, metric, markdown)}" for metric, about in kind.metrics.items()]
    parts = [
        f"## {kind.title}\n\n{kind.source}; `{study['name']}`, {minutes(study['seconds'])}.",
        *tables,
        kind.note,
    ]
    return "\n\n".join(parts)


def minutes(seconds):
    return f"{seconds} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def table(study, metric, form):
    """One metric, methods against settings, the more of them downwards.  form: (head, rows) -> text."""
    rows = [row for row in study["rows"] if row["metric"] == metric]
    settings, methods = (list(dict.fromkeys(row[k] for row in rows)) for k in ("setting", "method"))
    here = {(row["method"], row["setting"]): cell(row) for row in rows}
    if len(settings) > len(methods):
        return form(("", *methods), [(s, *[here.get((m, s), "") for m in methods]) for s in settings])
    return form(("", *settings), [(m, *[here.get((m, s), "") for s in settings]) for m in methods])


def text(study):
    """The tables of one study for a terminal."""
    kind = every_study()[study["name"]]
    return "\n\n".join(
        f"{kind.title}. {about}.\n" + table(study, metric, aligned) for metric, about in kind.metrics.items()
    )


def markdown(head, rows):
    """A table of a page."""
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def aligned(head, rows):
    """Columns of the same width."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    )


def cell(row):
    """Our mean, half its interval, and the published figure in brackets."""
    parts = [] if row["mean"] is None else [number(row["mean"])]
    if row["mean"] is not None and row["half"] is not None:
        parts.append(f"± {number(row['half'])}")
    if row["lost"]:
        parts.append(f"{row['lost']} of {row['n'] + row['lost']} diverge")
    if row["published"] is not None:
        parts.append(f"({row['published']:g}{SIGNS[row['mark']]})")
    return " ".join(parts)


def number(value):
    """Two decimals, or three digits of what is large."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.3g}"
