"""`workbench bench`: both sides do the same work, medians and ratios are those of the clock, files are whole. No timings."""

import json
import subprocess

import pytest
import torch
from laws import close

from workbench.cli import _g2, _race, _races_mri, _races_tomography, _speed, bench, main
from workbench.cli._race import Race

TINY = dict(
    sense=lambda: _races_mri.sense(size=16, coils=2),
    tomography=lambda: _races_tomography.tomography(size=16, views=8, detectors=24),
    radial=lambda: _races_mri.radial(size=16, coils=2, spokes=5, samples=20),
    cone=lambda: _races_tomography.cone(size=8, views=4, detector=10),
    calibration=lambda: _races_mri.calibration(size=32, coils=3, width=16),
    normals=lambda: _speed.normals((2, 8, 8)),
    mixture=lambda: _speed.mixture(components=2, dimension=4, n=3),
)


def fake(*args):
    """Races whose sides take no time to speak of."""
    return [
        Race("quick", lambda: None, "slow", lambda: None, least=1e-9, repeats=2),
        Race("late", lambda: None, "nobody", None, most=1e-9, repeats=2),
    ]


def run(capsys, *words):
    """Status, standard output and standard error of `workbench bench WORDS`."""
    try:
        status = main(["bench", *words])
    except SystemExit as stop:
        status = stop.code
    text = capsys.readouterr()
    return status, text.out, text.err


# --- what is measured -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_every_race_runs(name):
    for entry in TINY[name]():
        row = _race.race(entry, repeats=1)
        assert row["repeats"] == 1 and row["ours_ms"] > 0 and (entry.peer is None or row["peer_ms"] > 0), (
            entry.name
        )


def test_the_suite_holds_what_was_promised():
    text = " ".join(entry.name + " " + entry.against for suite in TINY.values() for entry in suite())
    text += " ".join(entry.name for entry in _speed.start_up())
    for word in (
        "SENSE",
        "forward",
        "adjoint",
        "normal",
        "CT",
        "ESPIRiT",
        "NUFFT",
        "cone beam",
        "Rng.normal",
        "mixture",
        "start: workbench list",
    ):
        assert word in text
    assert [entry.least for entry in TINY["sense"]()] == [1.7] * 3
    assert [entry.least for entry in TINY["tomography"]()] == [
        *(5, 5, 3, 10, 5, 5, None, None),
        *(1 / 1.4,) * 2,
    ]
    assert [entry.most for entry in _speed.start_up()] == [300, None]


def test_both_sides_of_sense_do_the_same_work():
    pytest.importorskip("sigpy")
    entries = list(_races_mri.sense(size=16, coils=2))
    (ours, peer), *rest = [(entry.ours(), torch.from_numpy(entry.peer())) for entry in entries]
    assert ours.numel() < peer.numel() and torch.linalg.vector_norm(ours) == pytest.approx(
        peer.norm().item(), rel=1e-5
    )
    assert all(close(a, b) for a, b in rest)


def test_both_sides_of_espirit_do_the_same_work():
    pytest.importorskip("sigpy")
    (entry,) = TINY["calibration"]()
    ours, peer = entry.ours(), torch.from_numpy(entry.peer())
    assert ours.shape == peer.shape and (ours - peer).abs().median() < 1e-3


def test_both_sides_of_ct_make_a_sinogram_of_the_image():
    pytest.importorskip("skimage")
    forward, adjoint, *_ = TINY["tomography"]()
    mass = lambda sinogram: sinogram.sum() / 8  # of every view, that of the image
    assert mass(forward.ours()) == pytest.approx(mass(forward.peer()), rel=0.05)
    assert tuple(adjoint.ours().shape) == adjoint.peer().shape == (16, 16)


def test_the_products_are_those_of_the_score():
    (entry,) = TINY["mixture"]()
    assert entry.ours().shape == (3, 4) and entry.peer().shape == (2, 3, 4)


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(_race, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    rows = [_race.race(entry, repeats=1) for entry in _races_mri.sense(size=16, coils=2)]
    assert all(row["peer_ms"] is row["ratio"] is row["met"] is None for row in rows)
    assert all("not installed" in bench.cells(dict(threads=1, **row)) for row in rows)


# --- how it is measured ---------------------------------------------------------------------------------------------


def test_calls_alternate_and_the_first_are_not_counted():
    calls = []
    entry = Race("r", lambda: calls.append("a"), "peer", lambda: calls.append("b"))
    row = _race.race(entry, repeats=3)
    assert calls == ["a", "b"] * (3 + _race.WARM) and row["repeats"] == 3
    calls.clear()
    assert _race.race(Race("r", lambda: calls.append("a"), "peer", None))["repeats"] == 20
    assert calls == ["a"] * (20 + _race.WARM)


def test_medians_minima_and_ratio_are_of_the_clock(monkeypatch):
    ours, peer = [99, 99, 1, 4, 2], [99, 99, 30, 7, 10]
    ticks = iter([t for pair in zip(ours, peer, strict=True) for t in pair])
    monkeypatch.setattr(_race, "clocked", lambda call: next(ticks))
    row = _race.race(Race("r", None, "peer", lambda: None, least=5.0), repeats=3)
    assert (row["ours_ms"], row["ours_min_ms"], row["peer_ms"], row["peer_min_ms"]) == (2, 1, 10, 7)
    assert row["ratio"] == 5 and row["goal"] == ">= 5x" and row["met"] is True


@pytest.mark.parametrize(
    "goals, ours, met",
    [
        (dict(least=5), 2.1, False),
        (dict(most=2), 2.1, False),
        (dict(most=3), 2.1, True),
        (dict(), 2.1, None),
    ],
)
def test_goals(goals, ours, met):
    row = _race.summary(Race("r", None, "peer", lambda: None, **goals), [ours], [10])
    assert row["met"] is met and (row["goal"] is None) is (not goals)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(_speed, "races", fake)
    monkeypatch.setattr(bench, "POOLS", ())  # nothing of this process's environment changes


def test_table(quick, capsys):
    status, out, _ = run(capsys, "speed", "--threads", "1")
    head, first, second = out.splitlines()
    assert status == 0 and head.split()[0] == "what"
    assert first.split()[:2] == ["quick", "1"] and first.split()[-1] == "yes"
    assert "not installed" in second and second.split()[-1] == "NO"


def test_files(quick, capsys, tmp_path):
    out = tmp_path / "new" / "bench"
    status, text, _ = run(capsys, "--threads", "1", "--out", str(out), "--json")
    found = json.loads((out / "speed.json").read_text())
    assert (
        status == 0
        and json.loads(text) == found
        and sorted(p.name for p in out.iterdir()) == ["speed.json", "speed.md"]
    )
    assert [row["name"] for row in found["rows"]] == ["quick", "late"] and found["rows"][0]["threads"] == 1
    row = found["rows"][0]
    assert row["ratio"] == row["peer_ms"] / row["ours_ms"] and found["machine"]["torch"] == torch.__version__
    page = (out / "speed.md").read_text()
    assert page.count("\n| ") == 4 and "quick" in page and "late" in page

    before = (out / "speed.json").read_bytes()
    status, _, err = run(capsys, "--threads", "1", "--out", str(out))
    assert status == 2 and len(err.splitlines()) == 1 and "--overwrite" in err
    assert (out / "speed.json").read_bytes() == before
    assert run(capsys, "--threads", "1", "--out", str(out), "--overwrite")[0] == 0


def test_each_number_of_threads_has_a_process(quick, capsys, monkeypatch):
    def in_this_one(words, **options):
        assert words[1:4] == ["-m", "workbench", "bench"]
        status = main(words[3:])
        return subprocess.CompletedProcess(words, status, stdout=capsys.readouterr().out)

    monkeypatch.setattr(subprocess, "run", in_this_one)
    monkeypatch.setattr(bench, "machine", lambda: dict(load=0.0))
    monkeypatch.setattr(bench, "thread_counts", lambda: [1, 3])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    rows = json.loads(run(capsys, "--json")[1])["rows"]
    assert [(row["name"], row["threads"]) for row in rows] == [
        ("quick", 1),
        ("late", 1),
        ("quick", 3),
        ("late", 3),
    ]


@pytest.mark.parametrize("load, warned", [(0.1, False), (1.7, True), (None, False)])
def test_a_busy_machine_is_said(capsys, monkeypatch, load, warned):
    monkeypatch.setattr(bench, "load", lambda: load)
    monkeypatch.setattr(bench, "thread_counts", list)
    status, out, err = run(capsys, "--json")
    assert status == 0 and json.loads(out)["machine"]["load"] == load
    assert ("1.7 cores busy" in err) is warned


def test_bad_words(capsys, tmp_path):
    status, _, err = run(capsys, "sped")
    assert status == 2 and "'speed'" in err and len(err.splitlines()) == 1
    blocked = tmp_path / "file"
    blocked.write_text("")
    status, _, err = run(capsys, "--threads", "1", "--out", str(blocked / "x"))
    assert status == 2 and len(err.splitlines()) == 1
    assert run(capsys, "--threads", "0")[0] == 2


def test_g2_holds_the_means_to_their_references_and_the_evidence_to_its_gate():
    near = dict(sw2=0.035, trace=1.33, residual=0.39, evidence=0.009)
    reference = dict(sw2=0.033, trace=1.33, residual=0.39, evidence=0.003)
    assert _g2.within(near, reference, 400)
    assert not _g2.within({**near, "evidence": -0.011}, reference, 400)
    assert _g2.within({**near, "evidence": 0.05}, reference, 50)  # there it is only shown
    for key, much in dict(sw2=0.013, trace=0.051, residual=0.016).items():
        assert not _g2.within({**near, key: reference[key] - much}, reference, 400)


def test_g2_measures_every_kind_of_row():
    import workbench.samplers as S

    grouped = _g2.Row(S.DDIM(guidance=S.Exact()), 4, {}, groups=2, n=50)
    assert set(_g2.measure(grouped)) == {"sw2", "mean", "modes", "trace", "residual"}
    weighted = _g2.Row(S.TDS(), 4, dict(sw2=0.1, evidence=0.0), particles=50, keep=10, groups=3)
    found = _g2.measure(weighted)
    assert set(found) == set(_g2.KEYS)
    silent = _g2.measure(_g2.Row(S.FPSSMC(), 4, {}, particles=50, keep=20))
    assert "evidence" not in silent
    row = dict(name="tds", steps=4, found=found, reference=weighted.reference, gates=True, within=False)
    text = _g2.table([row])
    assert f"{found['sw2']:.3f}" in text and "<- off" in text and "log Z error" in text


def test_g2_pointwise_values_are_met():
    """All digits of the table worked out by hand; and a wrong digit is seen."""
    found = _g2.pointwise()
    assert len(found) >= 10 and all(row["within"] for row in found)
    assert not _g2.compared("wrong", [1.864815], [1.864814])["within"]
    assert "reference" in _g2.table(found)


def test_g2_holds_what_was_promised():
    """Every row of the reference table, and eight groups behind every gate."""
    plans = _g2.plans()
    kinds = {type(getattr(p.sampler, "guidance", None) or p.sampler).__name__ for p in plans}
    assert {"ExactDraws", "Exact", "PiGDM", "MomentMatching", "TDS", "AFDPSODE", "ULA", "MCGDiff", "PnPDM",
            "PublishedPiGDM", "FKSteering", "SVDD", "FPSSMC", "DiffPIR", "DDRM", "DDNMPlus", "ScalarDDNMPlus", "DDNM",
            "OTODE", "DPS", "DAPS", "PublishedFlowChef", "PnPFlow", "REDDiff"} <= kinds  # fmt: skip
    assert (
        len(plans) >= 50 and all(p.groups == 8 for p in plans if p.gates) and sum(p.gates for p in plans) == 9
    )


def test_mri_suite_measures_what_it_says():
    """Exact draws are at the floor; a sampler that cannot says why; the nearest comes first."""
    from workbench.cli import _mri

    found = _mri.rows(only={"exact-draws", "ddrm", "tds"}, size=16, coils=2)
    rows = {row["name"]: row for row in found}
    assert 0.1 < rows["exact-draws"]["error"] < 0.4 and abs(rows["exact-draws"]["spread"] - 1) < 0.1
    assert abs(rows["exact-draws"]["misfit"] - 1) < 0.1 and rows["ddrm"]["denoiser"] == 1600
    text = _mri.table([*found, dict(name="some", exactness="B", steps=1, cannot="A is odd; mend")])
    lines = text.splitlines()
    assert lines[1].startswith("exact-draws") and lines[-1].endswith("cannot: A is odd")
