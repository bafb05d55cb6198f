"""The commands list and run, in this process and as real ones: what they print, write, repeat and refuse."""

import json
import re
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

import problems
import workbench as wb
from workbench import catalogue
from workbench.cli import main
from workbench.provenance import digest

QUICK = ["-n", "3", "--steps", "4", "--threads", "1", "--quiet", "--device", "cpu"]


def run(capsys, *words):
    """Status, standard output and standard error of `workbench WORDS`."""
    try:
        status = main([str(w) for w in words])
    except SystemExit as stop:  # argparse's own way out
        status = stop.code
    text = capsys.readouterr()
    return status, text.out, text.err


def summary(capsys, *words):
    """The parsed JSON of a run that succeeds."""
    status, out, err = run(capsys, "run", *words, *QUICK, "--json")
    assert status == 0, err
    return json.loads(out)


# --- list -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", catalogue.ROOMS)
def test_list(room, capsys):
    entries = catalogue.entries(room)
    status, out, err = run(capsys, "list", room)
    assert status == 0 and err == "" and len(out.splitlines()) == max(1, len(entries))
    for line, entry in zip(out.splitlines(), entries, strict=False):
        assert line.startswith(f"{entry.name} ") and line.endswith(entry.summary)


@pytest.mark.parametrize("room", catalogue.ROOMS)
def test_list_json_has_the_cards(room, capsys):
    status, out, _ = run(capsys, "list", room, "--json")
    found, entries = json.loads(out), catalogue.entries(room)
    assert status == 0 and [item["name"] for item in found] == [entry.name for entry in entries]
    for item, entry in zip(found, entries, strict=True):
        assert item["summary"] == entry.summary and item["card"] == entry.card
        assert all(item[key] == value for key, value in entry.card.items())


def test_list_samplers_says_what_they_are(capsys):
    kinds = {item["name"]: item["kind"] for item in json.loads(run(capsys, "list", "samplers", "--json")[1])}
    assert kinds["dps"] == kinds["tds"] == "sampler" and kinds["ddpm"] == "stepper"
    assert kinds["moment-matching"] == kinds["exact"] == "guidance" and kinds["exact-draws"] == "draws"


def test_list_suggests_a_room(capsys):
    status, out, err = run(capsys, "list", "sampler")
    assert status == 2 and out == "" and "did you mean 'samplers'" in err and err.count("\n") == 1


# --- run ------------------------------------------------------------------------------------------------------------


def test_fields_of_the_sampler(capsys):
    assert summary(capsys, "toy/g2", "--sampler", "dps", "--zeta", "0.25")["sampler"] == "DPS(zeta=0.25)"
    assert "churn=0.1" in summary(capsys, "toy/g2", "--sampler", "heun", "--churn=0.1")["sampler"]


def test_a_guidance_alone_runs_under_ddpm(capsys):
    assert summary(capsys, "toy/g2", "--sampler", "exact")["sampler"] == "DDPM(guidance=Exact())"


def test_published_settings_by_name(capsys):
    words = ("toy/g2", "--sampler", "dps", "--published", "box_inpainting")
    assert "zeta=0.5" in summary(capsys, *words)["sampler"]
    assert "zeta=0.1" in summary(capsys, *words, "--zeta", "0.1")["sampler"]
    status, _, err = run(capsys, "run", "toy/g2", "--sampler", "dps", "--published", "box-painting", *QUICK)
    assert status == 2 and "box_inpainting" in err and len(err.splitlines()) == 1


def test_fields_of_the_guidance(capsys):
    made = summary(
        capsys,
        "toy/g2",
        "--sampler",
        "ddim",
        "--guidance",
        "moment-matching",
        "--iterations",
        "7",
        "--eta",
        "0.5",
    )
    assert made["sampler"] == repr(
        wb.samplers.DDIM(eta=0.5, guidance=wb.samplers.MomentMatching(iterations=7))
    )
    assert made["denoiser_calls"] == 12 and made["problem"] == "toy/g2" and made["samples"] == 3


def test_sizes_of_the_problem(capsys, tmp_path):
    out = tmp_path / "run"
    made = summary(capsys, "inpainting/random", "--size", "8", "--sigma", "0.5", "--out", out)
    assert made["out"] == str(out) and made["mean_minus_truth_rms"] > 0
    assert wb.Posterior.load(out).samples.shape == (3, 8, 8)


def test_what_the_summary_says(capsys):
    made = summary(capsys, "toy/g2", "--sampler", "tds", "--ensembles", "2")
    assert made["samples"] == 6 and 0 < made["effective_samples"] <= 6 and made["vjp"] > 0
    assert abs(made["exact_log_evidence"] + 4.068028587) < 1e-9 and made["log_evidence"] < 0
    assert "warning" in summary(capsys, "toy/g2", "--sampler", "ddpm")
    status, out, _ = run(capsys, "run", "toy/g2", *QUICK)
    assert (
        status == 0
        and re.search(r"^sampler +ExactDraws\(\)$", out, re.M)
        and re.search(r"^samples +3$", out, re.M)
    )


def test_the_folder_says_what_made_it(capsys, tmp_path):
    made = summary(capsys, "toy/g2", "--sampler", "dps", "--seed", "5", "--out", tmp_path / "run")
    note = json.loads((tmp_path / "run" / "run.json").read_text())
    provenance = note["provenance"]
    assert provenance["seed"] == 5 and provenance["steps"] == 4 and provenance["problem"] == "toy/g2"
    assert provenance["sampler"] == made["sampler"] and len(provenance["times"]) == 5
    assert note["cost"]["denoiser"] == made["denoiser_calls"] == 12
    assert not (tmp_path / "run.partial").exists() and str(tmp_path) not in provenance["arguments"]


def test_the_seed_is_the_seed(capsys, tmp_path):
    for name, seed in dict(a=1, b=1, c=2).items():
        summary(capsys, "inpainting/random", "--size", "8", "--seed", seed, "--out", tmp_path / name)
    a, b, c = (wb.Posterior.load(tmp_path / name).samples for name in "abc")
    assert torch.equal(a, b) and not torch.equal(a, c)
    for name, seed in dict(a=1, c=2).items():  # of the data, too
        y = problems.load("inpainting/random", seed=seed, size=8).y
        assert wb.Posterior.load(tmp_path / name).provenance["data_sha256"] == digest(y)


@pytest.mark.parametrize(
    "sampler",
    [
        ["exact-draws"],
        ["dps", "--zeta", "0.3"],
        ["ddpm", "--guidance", "moment-matching", "--tol", "1e-3"],
        ["tds", "--ensembles=2"],
    ],
    ids=lambda w: w[0],
)
def test_from_repeats_a_run(sampler, capsys, tmp_path):
    summary(
        capsys,
        "inpainting/random",
        "--size",
        "4",
        "--seed",
        "3",
        "--sampler",
        *sampler,
        "--out",
        tmp_path / "first",
    )
    status, out, err = run(
        capsys, "run", "--from", tmp_path / "first" / "run.json", "--out", tmp_path / "again"
    )
    assert status == 0, err
    first, again = wb.Posterior.load(tmp_path / "first"), wb.Posterior.load(tmp_path / "again")
    assert (
        torch.equal(first.samples, again.samples)
        and first.provenance["sampler"] == again.provenance["sampler"]
    )
    assert first.provenance["arguments"] == again.provenance["arguments"]


def test_from_takes_changes(capsys, tmp_path):
    summary(capsys, "toy/g2", "--sampler", "dps", "--out", tmp_path / "first")
    words = ["--from", str(tmp_path / "first" / "run.json"), "--seed", "9", f"--out={tmp_path / 'again'}"]
    assert run(capsys, "run", *words)[0] == 0
    assert wb.Posterior.load(tmp_path / "again").provenance["seed"] == 9


@pytest.mark.parametrize(
    "words, said",
    [
        (["--help"], "--guidance"),
        (["toy/g2", "--sampler", "dps", "--help"], "--zeta"),
        (["inpainting/random", "--help"], "--keep"),
    ],
    ids=str,
)
def test_help_knows_the_fields(words, said, capsys):
    status, out, _ = run(capsys, "run", *words)
    assert status == 0 and said in out


# --- refusals -------------------------------------------------------------------------------------------------------

WRONG = {
    "problem": (["toy/g3"], "did you mean 'toy/g2'"),
    "problem is missing": ([], "PROBLEM is missing"),
    "sampler": (["toy/g2", "--sampler", "heuns"], "did you mean 'heun'"),
    "guidance": (
        ["toy/g2", "--sampler", "ddpm", "--guidance", "moment-machting"],
        "did you mean 'moment-matching'",
    ),
    "guidance of a sampler": (["toy/g2", "--sampler", "dps", "--guidance", "exact"], "needs a stepper"),
    "sampler as guidance": (["toy/g2", "--sampler", "ddpm", "--guidance", "dps"], "use --sampler dps"),
    "flag": (["toy/g2", "--sampler", "dps", "--zeat", "1"], "--zeat"),
    "flag of another sampler": (["toy/g2", "--sampler", "ddpm", "--zeta", "1"], "--zeta"),
    "word": (["toy/g2", "--sampler", "dps", "--zeta", "much"], "zeta"),
    "n=0": (["toy/g2", "-n", "0"], "-n"),
    "n of letters": (["toy/g2", "-n", "many"], "-n"),
    "steps": (["toy/g2", "--sampler", "dps", "--steps", "0"], "--steps"),
    "negative seed": (["toy/g2", "--seed", "-1"], "seed"),
    "seed of letters": (["toy/g2", "--seed", "first"], "seed"),
    "seed of a random problem": (["inpainting/random", "--size", "4", "--seed", "-1"], "seed"),
    "device": (["toy/g2", "--device", "cuda:99"], "cuda:99"),
    "no device": (["toy/g2", "--device", "abacus"], "abacus"),
    "size": (["mri/brain-cartesian-4x", "--size", "48"], "size = 48"),
    "no size": (["inpainting/random", "--size", "0"], "shape = (0, 0)"),
    "nothing seen": (["inpainting/random", "--size", "4", "--keep", "0"], "keep"),
    "no views": (["ct/head-parallel-60", "--size", "32", "--views", "0"], "angles"),
    "no coils": (["mri/brain-cartesian-4x", "--size", "64", "--coils", "0"], "coils"),
    "no acceleration": (["mri/brain-cartesian-4x", "--size", "64", "--acceleration", "0"], "acceleration"),
    "no width": (["deblur/gaussian", "--size", "32", "--width", "0"], "sigma = 0.0"),
    "no number": (["toy/g2", "--sampler", "dps", "--zeta", "nan"], "zeta"),
    "negative noise": (["inpainting/random", "--size", "4", "--sigma", "-1"], "sigma"),
    "batch": (["toy/g2", "--batch", "0"], "--batch"),
    "threads": (["toy/g2", "--threads", "0"], "--threads"),
    "too much data for tds": (["inpainting/random", "--size", "64", "--sampler", "tds"], "MomentMatching"),
    "no file to repeat": (["--from", "nowhere/run.json"], "nowhere/run.json"),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_line_and_status_2(case, capsys, tmp_path):
    words, said = WRONG[case]
    status, out, err = run(capsys, "run", *words, "--out", tmp_path / "out")
    assert status == 2 and out == "" and said in err
    assert err.count("\n") == 1 and err.startswith("workbench run: ") and "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [["--seed", "-1"], ["--sampler", "tds"]], ids=str)
def test_a_refused_run_does_not_bind_the_next(wrong, capsys, tmp_path):
    words = ["run", "inpainting/random", "--size", "64", *QUICK, "--out", tmp_path / "out"]
    assert run(capsys, *words, *wrong)[0] == 2
    status, _, err = run(capsys, *words)
    assert status == 0, err
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_not_a_run_json(capsys, tmp_path):
    (tmp_path / "run.json").write_text('{"provenance": {}}')
    status, _, err = run(capsys, "run", "--from", tmp_path / "run.json")
    assert status == 2 and "is not the run.json of a run" in err and err.count("\n") == 1
    (tmp_path / "run.json").write_text("[1]")
    assert run(capsys, "run", "--from", tmp_path / "run.json")[0] == 2


def test_an_out_that_cannot_be(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = run(capsys, "run", "toy/g2", *QUICK, "--out", tmp_path / "file" / "run")
    assert status == 2 and err.count("\n") == 1


def test_a_finished_out_is_refused(capsys, tmp_path):
    summary(capsys, "toy/g2", "--out", tmp_path / "run")
    status, _, err = run(capsys, "run", "toy/g2", *QUICK, "--seed", "1", "--out", tmp_path / "run")
    assert (
        status == 2 and "--overwrite" in err and wb.Posterior.load(tmp_path / "run").provenance["seed"] == 0
    )
    summary(capsys, "toy/g2", "--seed", "1", "--overwrite", "--out", tmp_path / "run")
    assert wb.Posterior.load(tmp_path / "run").provenance["seed"] == 1


# --- as real commands -----------------------------------------------------------------------------------------------


def command(*words):
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *map(str, words)], cwd=ROOT, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def test_a_command_that_succeeds(tmp_path):
    status, out, err = command(
        "run", "toy/g2", "--sampler", "dps", *QUICK, "--json", "--out", tmp_path / "run"
    )
    assert status == 0 and err == "" and json.loads(out)["samples"] == 3
    assert wb.Posterior.load(tmp_path / "run").samples.shape == (3, 2)


def test_a_command_that_is_refused():
    status, out, err = command("run", "toy/g2", "--sampler", "dps", "--zeta", "x")
    assert status == 2 and out == "" and err.count("\n") == 1 and "zeta" in err


def test_a_listing_imports_no_torch():
    code = "import sys; from workbench.cli import main; main(['list', 'samplers', '--json']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"dps", "tds"} <= {item["name"] for item in json.loads(done.stdout)}
