"""Every claim of tiers 0 and 1 holds, and every control breaks as it should: over the folder."""

import json
import math

import pytest
from mutations import MUTATIONS

from theory import claims
from theory.claims._claim import at_least, at_most, equal
from workbench import BadInput
from workbench.catalogue import entries, load
from workbench.cli import main

ENTRIES = claims.select()
FAST = [entry for entry in ENTRIES if entry.card["tier"] <= 1]
SLOW = [entry for entry in ENTRIES if entry.card["tier"] == 2]
FIELDS = {"code", "tier", "topic", "paper", "source", "found"}


def holds(entry):
    """The finding of an entry, asserted, its figure drawn."""
    finding = load("claims", entry.name)().verify(entry.name, 0)
    assert finding.holds and finding.control_fails, finding.block()
    figure = finding.plot()
    figure.draw_without_rendering()
    assert figure.axes and all(ax.get_xlabel() or ax.get_title() or not ax.axison for ax in figure.axes)
    json.dumps(finding.json(), allow_nan=False)


@pytest.mark.parametrize("entry", FAST, ids=lambda entry: f"{entry.card['code']}-{entry.name}")
def test_claim(entry):
    holds(entry)


@pytest.mark.slow
@pytest.mark.parametrize("entry", SLOW, ids=lambda entry: f"{entry.card['code']}-{entry.name}")
def test_nightly_claim(entry):
    holds(entry)


def test_cards():
    """Each card is complete, and a code or an id is one claim's."""
    codes = [entry.card["code"] for entry in ENTRIES]
    assert len(set(codes)) == len(codes)
    for entry in ENTRIES:
        assert set(entry.card) - {"name"} == FIELDS, entry.name
        assert entry.card["tier"] in range(4) and entry.card["paper"] and entry.card["source"]
        assert entry.summary, entry.name


def test_every_claim_is_turned_red_by_a_mutation():
    """`make test-all` runs them; here, that the table names every claim of tiers 0 and 1, and only claims."""
    seen = {code for mutation in MUTATIONS.values() for code in mutation.claims}
    codes = {entry.card["code"] for entry in FAST}
    assert len(MUTATIONS) >= 15
    assert codes <= seen, f"no mutation for {sorted(codes - seen)}"
    assert seen <= {entry.card["code"] for entry in ENTRIES}


def test_a_claim_answers_to_its_id_its_code_and_its_file():
    for word in ("tweedie-first-order", "A1", "a1"):
        assert [entry.name for entry in claims.select(word)] == ["tweedie-first-order"]
    assert {entry.card["code"] for entry in claims.select("tweedie")} == {"A1", "A2"}
    assert {entry.card["topic"] for entry in claims.select("identities")} == {"identities"}
    assert claims.catalogue() == sorted(entry.name for entry in entries("claims"))
    with pytest.raises(BadInput, match="tweedie"):
        claims.select("tweedy")


def test_which_run():
    """A claim named by its id or code runs whatever its tier; of a family or a letter those up to --tier."""
    from workbench.cli.verify import chosen_claims

    codes = lambda words, tier=None: [entry.card["code"] for entry in chosen_claims(words, tier)]
    assert codes(["B3", "B3"]) == ["B3"] and codes(["B"]) == ["B1", "B2", "B4"]
    assert codes(["B3", "B"]) == ["B1", "B2", "B3", "B4"] and "B5" not in codes(["all"])
    assert codes(["B"], 0) == ["B1", "B4"]
    with pytest.raises(BadInput, match="tier"):
        chosen_claims(["pixel-shuffle"], None)


def test_a_side_that_is_not_a_number_is_still_json(monkeypatch, capsys):
    cls = load("claims", "tweedie-second-order")
    monkeypatch.setattr(cls, "rows", lambda self, m: [equal("broken", math.nan, 0.0, 1.0)])
    assert main(["verify", "A2", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["rows"][0]["left"] == "nan"


def test_a_claim_that_raises_does_not_hold_and_the_others_go_on(monkeypatch, tmp_path, capsys):
    def fails(self, seed):
        raise RuntimeError("no convergence")

    monkeypatch.setattr(load("claims", "tweedie-second-order"), "measure", fails)
    assert main(["verify", "A1", "A2", "--json", "--plot", str(tmp_path)]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first["holds"] and not second["holds"] and "no convergence" in second["error"]
    assert main(["verify", "A2"]) == 1 and "RAISED RuntimeError: no convergence" in capsys.readouterr().out


def test_rows():
    assert equal("", 1.0, 1.05, 0.1).holds and equal("", 1.0, 1.2, 0.1).breaks
    assert at_most("", 1.0, 0.95, 0.1).holds and at_most("", 2.0, 1.0, 0.1).breaks
    assert at_least("", 1.0, 1.05, 0.1).holds and at_least("", 1.0, 2.0, 0.1).breaks
    for row in (equal("", math.nan, 1, 1), at_most("", math.nan, 1), at_least("", 1, math.nan)):
        assert not row.holds and not row.breaks
    assert at_most("", math.inf, 1).breaks


def test_evidence():
    evidence = claims.verify("tweedie", seed=1)
    assert evidence.holds and evidence.control_fails and len(evidence.plot()) == 2
    assert "control" in evidence.table and [f["code"] for f in evidence.json()] == ["A1", "A2"]


def test_a_control_that_holds_is_no_pass(monkeypatch):
    cls = load("claims", "tweedie-second-order")
    monkeypatch.setattr(cls, "controls", lambda self, m: [at_most("tame", 0.0, 1.0)])
    assert main(["verify", "A2"]) == 1
    monkeypatch.setattr(cls, "controls", lambda self, m: [])
    assert main(["verify", "A2"]) == 1


def test_command(tmp_path, capsys):
    assert main(["verify", "A1", "A2", "--plot", str(tmp_path)]) == 0
    assert "Claims that hold: 2" in capsys.readouterr().out
    assert (tmp_path / "tweedie-first-order.png").stat().st_size > 5000
    saved = json.loads((tmp_path / "tweedie-first-order.json").read_text())
    assert saved["holds"] and saved["rows"] and saved["controls"]
    assert "tweedie-first-order.png" in (tmp_path / "index.md").read_text()
    assert main(["verify", "A1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["code"] == "A1"
    (tmp_path / "other.json").write_text("[]")
    assert main(["verify", "A1", "--plot", str(tmp_path)]) == 0
    for bad in (["nonsense"], ["--tier", "4"], ["A1", "--seed", "-1"], ["A1", "--seed", str(2**64)],
                ["A1", "--plot", __file__], ["A1", "--plot", ""], ["A1", "--page", "/proc/x"]):  # fmt: skip
        with pytest.raises(SystemExit) if "--tier" in bad else pytest.MonkeyPatch.context():
            assert main(["verify", *bad]) == 2
