"""A ledger: one row a case, entrant and seed, in a CSV that a run appends to and the next goes on from."""

import csv
import gzip
import io
import os
from pathlib import Path

from workbench._checkpoint import replace_with
from workbench._errors import BadInput

METRICS = (
    "sw2",
    "modes",
    "mean",
    "covariance",
    "trace",
    "spread",
    "residual",
    "cover50",
    "cover90",
    "cover95",
    "ksd",
)
KEY = ("case", "entrant", "seed")
WORDS = ("case", "family", "entrant", "exactness", "settings", "cannot")
FIELDS = (
    *("case", "family", "entrant", "exactness", "seed", "ratio"),
    *(name for key in METRICS for name in (key, f"{key}_floor", f"{key}_floor95")),
    *("evidence", "ess", "ancestors", "finite", "draws", "denoiser", "vjp", "operator", "seconds"),
    *("cannot", "settings"),
)


DIGITS = 5  # of a packed number


class Ledger:
    """The rows of `folder`: those packed in ledger.csv.gz to five digits, and those of ledger.csv, where new ones go. There
    numbers are written in full, so that reading gives them back to the last bit."""

    def __init__(self, folder):
        self.path = Path(folder) / "ledger.csv"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"--out {folder} cannot be made ({error.strerror}); give a folder that can be"
            ) from None
        self.packed = self.path.with_suffix(".csv.gz")
        self.rows = {key(row): row for row in [*self._packed_rows(), *self._read()]}

    def __contains__(self, where):
        return where in self.rows

    def __len__(self):
        return len(self.rows)

    def add(self, row):
        """One more row, written in one piece."""
        row = {name: row[name] for name in FIELDS if row.get(name) is not None}
        if not self.path.exists():
            replace_with(
                self.path, lambda beside: beside.write_text(line(dict(zip(FIELDS, FIELDS, strict=True))))
            )
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(line(row))
            file.flush()
            os.fsync(file.fileno())
        self.rows[key(row)] = row

    def agree(self, cases, entrants):
        """Raise BadInput where what is here was made with other settings than these."""
        now = {(case.name, e.name): e.settings(case) for case in cases for e in entrants}
        for row in self.rows.values():
            wanted = now.get((row["case"], row["entrant"]), row["settings"])
            if wanted != row["settings"]:
                raise BadInput(
                    f"{self.path.name} has {row['entrant']} on {row['case']} with {row['settings']}, now it is {wanted}; "
                    f"take a new folder, or leave this sampler out"
                )

    def pack(self):
        """All rows to ledger.csv.gz, the same bytes for the same rows; ledger.csv is removed."""
        head = line(dict(zip(FIELDS, FIELDS, strict=True)))
        text = head + "".join(line(rounded(self.rows[k])) for k in sorted(self.rows))
        replace_with(self.packed, lambda beside: beside.write_bytes(gzip.compress(text.encode(), mtime=0)))
        self.path.unlink(missing_ok=True)

    def _packed_rows(self):
        if not self.packed.exists():
            return []
        try:
            text = gzip.decompress(self.packed.read_bytes()).decode()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise BadInput(
                f"{self.packed.name} is damaged ({error}); take it from the repository again"
            ) from None
        return self._rows(text, self.packed)

    def _read(self):
        """The rows of the file; a last line that an interruption cut is dropped from it."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            replace_with(self.path, lambda beside: beside.write_text(whole))
        return self._rows(whole, self.path)

    @staticmethod
    def _rows(text, path):
        rows = list(csv.reader(io.StringIO(text)))
        if not rows or tuple(rows[0]) != FIELDS or any(len(row) != len(FIELDS) for row in rows):
            raise BadInput(f"{path.name} is no ledger of this version; take a new folder")
        return [parsed(row) for row in rows[1:]]


def rounded(row):
    """The row on five digits a number."""
    return {k: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for k, v in row.items()}


def key(row):
    """What a row is of: (case, entrant, seed)."""
    return tuple(row[name] for name in KEY)


def line(row):
    """One line of the CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(
        [repr(v) if isinstance(v := row.get(name, ""), float) else v for name in FIELDS]
    )
    return text.getvalue()


def parsed(cells):
    """The row that `line` wrote."""
    row = {name: text for name, text in zip(FIELDS, cells, strict=True) if text != ""}
    return {name: text if name in WORDS else number(text) for name, text in row.items()}


def number(text):
    """An int where it is written as one, else a float."""
    try:
        return int(text)
    except ValueError:
        return float(text)
