"""`workbench check`: every exhibit has a row, wrong ones are seen, controls are rejected, the status says which."""

import json

import pytest
import torch

from theory.distributions._analytic import Analytic
from theory.distributions.gaussian_field import FieldPosterior, GaussianField
from theory.distributions.mixture import GaussianMixture
from workbench import catalogue
from workbench.cli import check, main
from workbench.cli.check import Number, Row
from workbench.operators._operator import Operator
from workbench.operators.mask import Mask

NAN = float("nan")


def measured(numbers):
    """name -> whether it holds."""
    return {number.name: number.holds for number in numbers}


def scaled(monkeypatch, kind, name, factor):
    """The method `name` of `kind` gives `factor` times what it should."""
    right = getattr(kind, name)
    monkeypatch.setattr(kind, name, lambda self, *args: factor * right(self, *args))


@pytest.fixture(scope="module")
def rows():
    return list(check.check("cpu"))


def test_every_operator_and_every_law_has_a_row(rows):
    named = {
        kind: [row.subject for row in rows if row.kind == kind and not row.control]
        for kind in ("operator", "distribution")
    }
    assert named["operator"] == catalogue.names("operators")
    analytic = [
        n
        for n in catalogue.names("distributions")
        if issubclass(catalogue.load("distributions", n), Analytic)
    ]
    assert named["distribution"] == analytic and {"gaussian", "gaussian-field", "gaussian-mixture"} <= set(
        analytic
    )
    assert [row.kind for row in rows if row.control] == ["operator", "distribution", "sampler"]


def test_everything_holds_here_and_the_controls_do_not(rows):
    assert [row for row in rows if not row.passed] == []
    assert all(not number.holds for row in rows if row.control for number in row.numbers)
    assert all(row.numbers for row in rows)
    assert {n.name for row in rows for n in row.numbers if row.subject == "gaussian-mixture"} == {
        "tweedie",
        "jacobian",
        "score",
        "draws",
        "posterior",
    }


@pytest.mark.parametrize("words", [[], ["--json"]], ids=["table", "json"])
def test_the_command(monkeypatch, capsys, rows, words):
    monkeypatch.setattr(check, "check", lambda device: rows)
    monkeypatch.setattr(check, "devices", lambda: ["cpu"])
    assert main(["check", *words]) == 0
    out = capsys.readouterr().out
    if words:
        found = json.loads(out)
        assert [row["subject"] for row in found] == [row.subject for row in rows]
        assert all(row["passed"] for row in found) and all(n["holds"] for n in found[0]["numbers"])
    else:
        assert all(row.subject in out for row in rows)
        assert out.count("control, rejected") == 3 and out.rstrip().endswith("3 controls are rejected.")


@pytest.mark.parametrize(
    "bad",
    [
        Row("operator", "mine", "cpu", (Number("double", 1e-3, 1e-12),)),
        Row("operator", "mine", "cpu", (Number("double", NAN, 1e-12),)),
        Row("operator", "mine", "cpu", (), note="RuntimeError: no"),
        Row("operator", "mine", "cpu", (Number("double", 0.0, 1e-12),), control=True),
        Row("operator", "mine", "cpu", (), control=True, note="RuntimeError: no"),
    ],
    ids=["too large", "not a number", "broke off", "control that holds", "control that broke off"],
)
def test_one_bad_row_is_status_1(monkeypatch, capsys, bad):
    good = Row("operator", "other", "cpu", (Number("double", 0.0, 1e-12),))
    monkeypatch.setattr(check, "check", lambda device: [good, bad])
    monkeypatch.setattr(check, "devices", lambda: ["cpu"])
    assert main(["check"]) == 1
    assert "1 of 2 rows fail: mine (cpu)." in capsys.readouterr().out
    assert main(["check", "--json"]) == 1
    said = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # NaN is no JSON
    assert [row["passed"] for row in said] == [True, False]


@pytest.mark.parametrize("factor", [1 + 1e-5, -1.0, NAN])
@pytest.mark.parametrize("method", ["forward", "adjoint"])
def test_a_wrong_adjoint_is_seen(monkeypatch, method, factor):
    scaled(monkeypatch, Mask, method, factor)
    assert measured(check.adjoint("mask", "cpu")) == dict(double=False, single=False)


def test_the_derivative_of_a_curve_is_what_is_tested():
    class Square(Operator):
        in_shape = out_shape = property(lambda self: (3,))
        in_dtype = out_dtype = property(lambda self: torch.float64)

        def forward(self, x):
            return x**2

    assert check.mismatch(Square()) < 1e-15


@pytest.mark.parametrize(
    "kind, name", [(GaussianMixture, "gaussian-mixture"), (GaussianField, "gaussian-field")]
)
@pytest.mark.parametrize(
    "method, wrong",
    [
        ("denoise", {"tweedie", "jacobian", "draws"}),
        ("score", {"tweedie", "score"}),
        ("denoiser_jvp", {"jacobian"}),
        ("log_prob", {"score"}),
        ("sample", {"draws"}),
    ],
)
def test_a_wrong_law_is_seen(monkeypatch, kind, name, method, wrong):
    scaled(monkeypatch, kind, method, 1.1)
    held = measured(check.exactness(name, "cpu"))
    assert wrong <= {key for key, holds in held.items() if not holds}
    assert len(held) == 5


def test_a_wrong_posterior_is_seen(monkeypatch):
    scaled(monkeypatch, GaussianMixture, "mean", 0.9)  # the posterior of a small mixture is one
    assert not measured(check.exactness("gaussian-mixture", "cpu"))["posterior"]
    scaled(monkeypatch, FieldPosterior, "mean", 0.9)
    assert not measured(check.exactness("gaussian-field", "cpu"))["posterior"]


def test_a_sampler_driven_by_a_wrong_score_is_seen(monkeypatch):
    scaled(monkeypatch, GaussianMixture, "denoise", 0.9)
    assert measured(check.sampled("cpu", conditional=True)) == dict(mean=False)


def test_an_exhibit_that_breaks_off_is_a_row(monkeypatch):
    def broken(self, x):
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setattr(Mask, "forward", broken)
    row = check.attempt("operator", "mask", "cpu", lambda: check.adjoint("mask", "cpu"))
    assert not row.passed and row.note == "RuntimeError: no kernel image is available"


def test_bad_flags_are_status_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["check", "--quack"])
    assert stop.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
