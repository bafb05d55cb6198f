"""The main job end to end, on scans of 24 x 20 points: what it writes, repeats, resumes and refuses."""

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch
from conftest import ROOT

import workbench.run
from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.cli import _job, _results, main
from workbench.noise.gaussian import Gaussian
from workbench.operators.cartesian_mri import CartesianMRI
from workbench.operators.coils import simulate_coils
from workbench.operators.radon import ParallelBeam

SHAPE, VIEWS, COLUMNS = (24, 20), 24, 20
QUICK = ["-n", "20", "--threads", "1"]
IMAGES = {"mean", "std", "lower", "upper"}
HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>24</x><y>20</y><z>1</z></matrixSize>
<fieldOfView_mm><x>36</x><y>50</y><z>4</z></fieldOfView_mm></encodedSpace></encoding></ismrmrdHeader>"""


# --- scans ----------------------------------------------------------------------------------------------------------


def columns():
    """Every second phase encode, and the middle ones."""
    mask = torch.zeros(SHAPE[1], dtype=torch.bool)
    mask[::2], mask[6:14] = True, True
    return mask


def mri(slices, seed=0):
    """k-space (slices, 4, 24, 20) of smooth complex images, the noise 1 % of them, and the coil maps."""
    A = CartesianMRI(simulate_coils(SHAPE, 4), columns())
    x = GaussianField(power_law(SHAPE, 1.3), dtype=torch.complex64).sample(slices, seed)
    return A.grid(Gaussian(0.02).sample(A(x), seed)).numpy(), A.maps.numpy()


def line_integrals(slices, seed=0):
    """A smooth blob seen from 24 sides, (slices, 24, 20), and the angles in degrees."""
    angles = torch.arange(VIEWS, dtype=torch.float64) * torch.pi / VIEWS
    A = ParallelBeam(angles, (COLUMNS, COLUMNS), COLUMNS)
    r = torch.stack(torch.meshgrid(*[torch.arange(COLUMNS) - 9.5] * 2, indexing="ij")).square().sum(0)
    texture = 1 + 0.3 * GaussianField(power_law((COLUMNS, COLUMNS), 1.3)).sample(slices, seed)
    return Gaussian(0.01).sample(A(0.05 * texture * (r < 60)), seed).numpy(), np.rad2deg(angles.numpy())


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder of good scans."""
    folder = tmp_path_factory.mktemp("scans")
    k, maps = mri(3)
    p, angles = line_integrals(2)
    np.save(folder / "kspace.npy", k[0])
    np.save(folder / "slices.npy", k)
    np.save(folder / "maps.npy", maps)
    np.save(folder / "mask.npy", columns().numpy())
    np.save(folder / "views.npy", p[0])
    np.savetxt(folder / "angles.txt", angles)
    with h5py.File(folder / "fastmri.h5", "w") as file:
        file["kspace"], file["mask"], file["ismrmrd_header"] = k, columns().numpy(), HEADER
    with h5py.File(folder / "views.h5", "w") as file:
        file["sinogram"], file["angles"] = p, angles
    counts = np.random.default_rng(0)
    with h5py.File(folder / "exchange.h5", "w") as file:
        file["exchange/data"] = counts.poisson(1e4 * np.exp(-p.swapaxes(0, 1))).astype(np.float32)
        file["exchange/data_white"] = counts.poisson(1e4, (8, 2, COLUMNS)).astype(np.float32)
        file["exchange/data_dark"] = np.zeros((2, 2, COLUMNS), np.float32)
        file["exchange/theta"] = angles
    return folder


# --- runs -----------------------------------------------------------------------------------------------------------


def run(capsys, *words):
    """Status, standard output and standard error of `workbench WORDS`."""
    try:
        status = main([str(w) for w in words])
    except SystemExit as stop:  # argparse's own way out
        status = stop.code
    text = capsys.readouterr()
    return status, text.out, text.err


def done(capsys, scan, out, *words):
    """The `Result` of a reconstruction that succeeds."""
    status, said, err = run(capsys, "reconstruct", scan, "--out", out, *QUICK, *words)
    assert status == 0, err
    return Result(out, said)


class Result:
    """What a finished reconstruction printed and wrote: its arrays and record."""

    def __init__(self, out, said):
        self.stem, self.said = re.sub(r"\.(nii\.gz|nii|npz)$", "", str(out)), said
        with np.load(f"{self.stem}.npz", allow_pickle=False) as file:
            self.arrays = dict(file)
        self.record = json.loads(Path(f"{self.stem}_run.json").read_text())
        self.checks = [part["checks"] for part in self.record["slices"]]

    def page(self):
        return Path(f"{self.stem}_report.html").read_text(encoding="utf-8")

    def equals(self, other):
        """Whether every array and check is the same to the last bit."""
        arrays = all(np.array_equal(self.arrays[k], other.arrays[k]) for k in self.arrays)
        return arrays and self.arrays.keys() == other.arrays.keys() and self.checks == other.checks


@pytest.fixture
def words_only(monkeypatch):
    """Pages without pictures, which take most of the time, for tests that do not look at them."""
    monkeypatch.setattr(_results, "report_html", lambda title, *rest: title)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_kspace_to_nifti(scans, tmp_path, capsys, words_only):
    made = done(capsys, scans / "kspace.npy", tmp_path / "a.nii.gz", "--maps", scans / "maps.npy")
    assert names(tmp_path) == [
        "a.nii.gz",
        "a.npz",
        "a_lower.nii.gz",
        "a_report.html",
        "a_run.json",
        "a_std.nii.gz",
        "a_upper.nii.gz",
    ]
    assert {"zero-filled", "CG-SENSE", "L1-wavelet", "total variation"} | IMAGES <= made.arrays.keys()
    assert made.arrays["mean"].shape == (1, *SHAPE) and made.arrays["draws"].shape == (1, 8, *SHAPE)
    for name in IMAGES:
        volume = nibabel.load(tmp_path / ("a.nii.gz" if name == "mean" else f"a_{name}.nii.gz"))
        assert np.allclose(np.asarray(volume.dataobj)[:, :, 0].T, np.abs(made.arrays[name][0]), atol=1e-6)
    x = GaussianField(power_law(SHAPE, 1.3), dtype=torch.complex64).sample(3, 0)[0].numpy()
    mean, zero_filled = (
        np.linalg.norm(made.arrays[k][0] - x) / np.linalg.norm(x) for k in ("mean", "zero-filled")
    )
    assert mean < 0.06 and zero_filled > 0.1  # the noise is 2 % in each real component
    inside = (made.arrays["lower"][0] <= np.abs(x)) & (np.abs(x) <= made.arrays["upper"][0])
    assert 0.8 < inside.mean() < 0.97  # the 5 % and 95 % quantiles of 20 draws hold 86 % when all is right


def test_spacing_from_the_header_of_every_slice(scans, tmp_path, capsys, words_only):
    made = done(capsys, scans / "fastmri.h5", tmp_path / "a.nii.gz", "--posterior-only")
    assert nibabel.load(tmp_path / "a.nii.gz").header.get_zooms() == pytest.approx((2.5, 1.5, 4.0))
    assert nibabel.load(tmp_path / "a.nii.gz").shape == (20, 24, 3)
    assert made.arrays["spacing_mm"].tolist() == [4.0, 1.5, 2.5] == made.record["spacing_mm"]
    assert made.arrays["mean"].shape == (3, *SHAPE) and "zero-filled" not in made.arrays
    assert not any("voxel size" in w for part in made.record["slices"] for w in part["warnings"])
    one = done(capsys, scans / "fastmri.h5", tmp_path / "b.npz", "--posterior-only", "--slices", "2:3")
    gap = np.abs(made.arrays["mean"][2] - one.arrays["mean"][0]).max()
    assert gap < 1e-3 * np.abs(one.arrays["mean"]).max() and len(one.checks) == 1


def test_spacing_given(scans, tmp_path, capsys, words_only):
    words = ["--slices", "0:2", "--spacing", "5,0.5,0.25", "--posterior-only"]
    made = done(capsys, scans / "fastmri.h5", tmp_path / "a.nii", *words)
    assert nibabel.load(tmp_path / "a.nii").header.get_zooms() == pytest.approx((0.25, 0.5, 5.0))
    assert "a_std.nii" in names(tmp_path) and made.arrays["mean"].shape == (2, *SHAPE)


def test_the_report_is_one_file_in_plain_words(scans, tmp_path, capsys):
    made = done(capsys, scans / "kspace.npy", tmp_path / "a.nii.gz", "--posterior-only")
    assert nibabel.load(tmp_path / "a.nii.gz").header.get_zooms() == (1, 1, 1)
    page, part = made.page(), made.record["slices"][0]
    assert not re.search(r"https?:|//\w|<script|<link|@import|url\(", re.sub(r"data:[^\"]*", "data:", page))
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 3 and all(s.startswith("data:image/png;base64,") for s in sources)
    sentence = "The voxel size is not known: 1 mm was written; give --spacing Z,Y,X."
    assert sentence in part["warnings"] and f"warning: {sentence}" in made.said
    for warning in part["warnings"]:
        assert f"<b>Warning.</b> {warning}" in page
    assert any("20 draws" in warning for warning in part["warnings"])
    for said in ("Reconstruction of kspace.npy", "noise standard deviations", "Not a medical device",
                 "0.90 if the model is right", "1 in expectation", "It is not the truth about anatomy",
                 "seconds in all", "sampler", "the ones given", "acceleration 1.43"):  # fmt: skip
        assert (said in page) is (said != "the ones given"), said


def test_the_record_is_complete(scans, tmp_path, capsys, words_only):
    scan = scans / "kspace.npy"
    record = done(capsys, scan, tmp_path / "a.npz", "--posterior-only", "--seed", "3").record
    assert record["arguments"]["seed"] == 3 and record["arguments"]["scan"] == str(scan)
    assert record["scan_sha256"] == sha256(scan.read_bytes()).hexdigest()
    part = record["slices"][0]
    assert set(part) == {"checks", "settings", "notes", "warnings"}
    assert {"held_out_chi_square", "held_out_coverage_90", "data_consistency", "noise_factor"} <= set(
        part["checks"]
    )
    wanted = {
        "sampler",
        "prior",
        "draws",
        "seed",
        "em_iterations",
        "seconds_in_all",
        "version_of_torch",
        "data_sha256",
    }
    assert wanted <= set(part["settings"]) and part["settings"]["draws"] == 20
    assert part["checks"]["held_out_numbers"] == 2 * 4 * round(0.05 * 24 * 14)
    assert part["checks"]["measurements"] == 2 * 4 * 24 * 14


def test_the_checks_as_json(scans, tmp_path, capsys, words_only):
    made = done(
        capsys, scans / "kspace.npy", tmp_path / "a.npz", "--posterior-only", "--json", "--hold-out", "0.2"
    )
    start = made.said.index("[")
    assert json.JSONDecoder().raw_decode(made.said[start:])[0] == made.checks
    assert made.checks[0]["held_out_numbers"] == 2 * 4 * round(0.2 * 24 * 14)


@pytest.mark.parametrize("scan", ["views.npy", "views.h5", "exchange.h5"])
def test_sinograms(scan, scans, tmp_path, capsys, words_only):
    made = done(capsys, scans / scan, tmp_path / "a.nii.gz", "--detector-spacing", "0.5")
    slices = 1 if scan == "views.npy" else 2
    assert made.arrays["mean"].shape == (slices, COLUMNS, COLUMNS)
    assert {"filtered back-projection", "least squares (Tikhonov)"} <= made.arrays.keys()
    assert nibabel.load(tmp_path / "a.nii.gz").header.get_zooms() == pytest.approx((0.5, 0.5, 1.0))
    assert str(made.arrays["unit"]) == "1/mm"
    assert any("slice distance" in w for w in made.record["slices"][0]["warnings"])
    middle = made.arrays["mean"][:, 8:12, 8:12].mean()
    assert abs(middle / 0.1 - 1) < 0.25  # 0.05 a column, and a column is half a millimetre
    assert made.arrays["support"].mean() < 0.85 and made.checks[0]["held_out_numbers"] == COLUMNS


def test_same_seed_same_numbers(scans, tmp_path, capsys, words_only):
    a, b, c = (
        done(capsys, scans / "kspace.npy", tmp_path / f"{i}.npz", "--posterior-only", "--seed", seed)
        for i, seed in enumerate((1, 1, 2))
    )
    assert a.equals(b) and not np.array_equal(a.arrays["draws"], c.arrays["draws"])
    gap = np.abs(a.arrays["mean"] - c.arrays["mean"]).mean() / a.arrays["std"].mean()
    assert gap < 0.5  # another seed holds out other data; the mean hardly moves


def test_a_finished_out_is_refused(scans, tmp_path, capsys, words_only):
    words = [scans / "kspace.npy", tmp_path / "a.npz", "--posterior-only"]
    first = done(capsys, *words)
    status, out, err = run(capsys, "reconstruct", words[0], "--out", words[1], *QUICK, "--seed", "1")
    assert status == 2 and out == "" and "--overwrite" in err and err.count("\n") == 1
    assert Result(tmp_path / "a.npz", "").equals(first)
    again = done(capsys, *words, "--overwrite", "--seed", "1")
    assert not again.equals(first) and again.record["arguments"]["seed"] == 1


# --- samplers and priors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampler",
    [["ddpm"], ["dps", "--zeta", "0.5"], ["moment-matching", "--iterations", "20"]],
    ids=lambda w: w[0],
)
def test_samplers(sampler, scans, tmp_path, capsys, words_only):
    words = ["--maps", scans / "maps.npy", "--posterior-only"]
    exact = done(capsys, scans / "kspace.npy", tmp_path / "exact.npz", *words)
    made = done(
        capsys, scans / "kspace.npy", tmp_path / "a.npz", *words, "--sampler", *sampler, "--steps", "20"
    )
    settings = made.record["slices"][0]["settings"]
    assert settings["denoiser_calls"] >= 20 * 20 and "approximate" in made.record["slices"][0]["notes"][0]
    assert settings["sampler"] != exact.record["slices"][0]["settings"]["sampler"] == "ExactDraws()"
    size = np.linalg.norm(exact.arrays["mean"])
    assert (
        np.linalg.norm(made.arrays["mean"] - exact.arrays["mean"]) < 0.4 * size
    )  # the prior alone would give 1 or more


def test_the_prior_of_a_network(scans, tmp_path, capsys, words_only):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    model = diffusers.UNet2DModel(
        sample_size=24, in_channels=2, out_channels=2, layers_per_block=1, block_out_channels=(8, 16),
        norm_num_groups=4, down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    model.save_pretrained(tmp_path / "pipeline" / "unet")
    diffusers.DDPMScheduler(clip_sample=False).save_pretrained(tmp_path / "pipeline" / "scheduler")
    words = ["--prior", tmp_path / "pipeline", "--steps", "5", "--posterior-only", "-n", "2"]
    made = done(capsys, scans / "kspace.npy", tmp_path / "a.npz", *words)
    settings = made.record["slices"][0]["settings"]
    assert "Network" in settings["prior"] and "MomentMatching(iterations=5" in settings["sampler"]
    assert settings["denoiser_calls"] >= 2 * 5 and made.arrays["draws"].shape == (1, 2, *SHAPE)
    assert np.isfinite(made.arrays["mean"]).all()
    assert "under the prior that was given" in made.record["slices"][0]["notes"][0]


# --- interruptions --------------------------------------------------------------------------------------------------


@pytest.fixture
def second_slice_fails(monkeypatch):
    """Interrupts the second slice until it is undone; the number of slices begun is kept in the list."""
    begun, real = [], _job.reconstruct

    def reconstruct(*words, **more):
        begun.append(1)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(*words, **more)

    monkeypatch.setattr(_job, "reconstruct", reconstruct)
    return begun


def test_an_interrupted_run_goes_on(scans, tmp_path, capsys, words_only, second_slice_fails):
    words = ["reconstruct", scans / "slices.npy", *QUICK, "--maps", scans / "maps.npy", "--out"]
    status, _, err = run(capsys, *words, tmp_path / "a.npz")
    assert status == 130 and "goes on" in err and err.count("\n") == 1
    assert names(tmp_path) == ["a.partial"] and names(tmp_path / "a.partial") == [
        "arguments.json",
        "slice-0.npz",
    ]
    status, _, err = run(capsys, *words, tmp_path / "a.npz", "--seed", "1")
    assert status == 2 and "another seed" in err and str(tmp_path / "a.partial") in err
    assert run(capsys, *words, tmp_path / "a.npz")[0] == 0
    assert len(second_slice_fails) == 4  # slices 1, 2 (stopped), then 2 and 3
    assert run(capsys, *words, tmp_path / "whole.npz")[0] == 0
    assert Result(tmp_path / "a.npz", "").equals(Result(tmp_path / "whole.npz", ""))
    assert not (tmp_path / "a.partial").exists()


@pytest.mark.parametrize("damaged", ["arguments.json", "slice-0.npz"])
def test_a_damaged_partial_folder_is_one_line(
    damaged, scans, tmp_path, capsys, words_only, second_slice_fails
):
    words = ["reconstruct", scans / "slices.npy", *QUICK, "--posterior-only", "--out", tmp_path / "a.npz"]
    assert run(capsys, *words)[0] == 130
    path = tmp_path / "a.partial" / damaged
    path.write_bytes(path.read_bytes()[:40])
    status, _, err = run(capsys, *words)
    assert status == 2 and err.count("\n") == 1 and "a.partial" in err


def test_a_killed_process_goes_on(scans, tmp_path, capsys, words_only):
    words = ["reconstruct", scans / "slices.npy", *QUICK, "--posterior-only", "--out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", *map(str, words), tmp_path / "a.npz"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("slice 2"):
            process.kill()
    assert process.wait() != 0 and (tmp_path / "a.partial" / "slice-0.npz").exists()
    process.stdout.close()
    status, said, err = run(capsys, *words, tmp_path / "a.npz")
    assert status == 0 and "slice 1 of 3" not in said, err
    assert run(capsys, *words, tmp_path / "whole.npz")[0] == 0
    assert Result(tmp_path / "a.npz", "").equals(Result(tmp_path / "whole.npz", ""))


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wrong(scans, tmp_path_factory):
    """A folder of scans, maps and masks that cannot be used, one fault each."""
    folder = tmp_path_factory.mktemp("wrong")
    k, maps, p = np.load(scans / "slices.npy"), np.load(scans / "maps.npy"), np.load(scans / "views.npy")
    nan, inf = k.copy(), k.copy()
    nan[1, 2, 3, 4], inf[0, 0, 0, 0] = np.nan, np.inf
    regular = np.where(np.arange(SHAPE[1]) % 2, 0, k)
    view = p.copy()
    view[3, 4] = np.nan
    arrays = dict(
        nan=nan, inf=inf, zeros=0 * k, five=k[None], regular=regular, dead=k * [[[0]], [[1]], [[1]], [[1]]],
        maps_small=maps[:, :12], maps_three=maps[:3], maps_real=maps.real, maps_nan=np.where(maps.real > 0, maps, np.nan),
        mask_wide=np.ones(30), mask_none=np.zeros(20), mask_more=np.ones(20), noise_flat=np.ones(9, complex),
        view_nan=view, view_line=p[0], view_zeros=0 * p, angles_few=np.arange(7.0), angles_nan=np.full(VIEWS, np.nan),
    )  # fmt: skip
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "pickled.npy", np.array([dict(a=1)]), allow_pickle=True)
    (folder / "empty.npy").write_bytes(b"")
    (folder / "text.txt").write_text("not a scan")
    (folder / "words.txt").write_text("north south")
    for name, size in {"slices.npy": 500, "fastmri.h5": 3000}.items():
        (folder / f"short_{name}").write_bytes((scans / name).read_bytes()[:size])
    with h5py.File(folder / "other.h5", "w") as file:
        file["text"], file["more"] = "nothing", np.ones(3)
    with h5py.File(folder / "flatless.h5", "w") as file:
        file["exchange/data"] = np.ones((VIEWS, 1, COLUMNS))
    (folder / "folder").mkdir()
    return folder


# name: (scan and flags, what the sentence says); a path is relative to the good scans, or to the wrong ones with a dot
K, P = "kspace.npy", "views.npy"
WRONG = {
    "no file": ("nowhere.npy", "nowhere.npy does not exist"),
    "a folder": ("./folder", "is a folder"),
    "empty": ("./empty.npy", "empty.npy"),
    "text": ("./text.txt", "neither .npy nor HDF5"),
    "pickle": ("./pickled.npy", "pickled"),
    "short npy": ("./short_slices.npy", "truncated"),
    "short HDF5": ("./short_fastmri.h5", "short_fastmri.h5"),
    "other HDF5": ("./other.h5", "other.h5"),
    "no flats": ("./flatless.h5", "data_white"),
    "NaN": ("./nan.npy", "NaN"),
    "infinite": ("./inf.npy", "infinite"),
    "zeros": ("./zeros.npy", "only zeros"),
    "five axes": ("./five.npy", "shape (1, 3, 4, 24, 20)"),
    "dead coil": ("./dead.npy", "coils [0]"),
    "no middle": ("./regular.npy", "give the coil maps"),
    "NaN view": ("./view_nan.npy", "NaN"),
    "one view": ("./view_line.npy", "shape (20,)"),
    "empty views": ("./view_zeros.npy", "zeros"),
    "real k-space": (f"{P} --operator cartesian-mri", "float32, it should be complex"),
    "complex views": (f"{K} --operator parallel-beam", "complex64, a sinogram is real"),
    "operator": (f"{K} --operator mri", "--operator"),
    "no maps": (f"{K} --maps nowhere.npy", "maps: "),
    "maps shape": (f"{K} --maps ./maps_small.npy", "complex64 of shape (4, 12, 20)"),
    "maps coils": (f"{K} --maps ./maps_three.npy", "(3, 24, 20)"),
    "maps real": (f"{K} --maps ./maps_real.npy", "maps is torch.float32"),
    "maps NaN": (f"{K} --maps ./maps_nan.npy", "maps has NaN"),
    "maps text": (f"{K} --maps ./text.txt", "maps: "),
    "mask shape": (f"{K} --mask ./mask_wide.npy", "mask has shape (30,)"),
    "mask empty": (f"{K} --mask ./mask_none.npy", "mask has no True"),
    "mask too full": (f"{K} --mask ./mask_more.npy", "mask claims"),
    "noise shape": (f"{K} --noise ./noise_flat.npy", "noise is"),
    "slices beyond": ("slices.npy --slices 1:9", "slices = '1:9'"),
    "slices reversed": ("slices.npy --slices 2:1", "slices"),
    "slices of letters": ("slices.npy --slices a:b", "slices"),
    "view slices": (f"{P} --slices 7", "slices"),
    "view slices of letters": (f"{P} --slices a", "--slices 'a'"),
    "spacing of letters": (f"{K} --spacing wide", "--spacing wide"),
    "spacing of two": (f"{K} --spacing 1,2", "--spacing 1,2"),
    "negative spacing": (f"{K} --spacing=-1,1,1", "--spacing -1,1,1"),
    "infinite spacing": (f"{K} --spacing inf,1,1", "--spacing inf,1,1"),
    "hold out all": (f"{K} --hold-out 1", "--hold-out 1"),
    "hold out none": (f"{K} --hold-out 0", "--hold-out 0"),
    "hold out NaN": (f"{K} --hold-out nan", "--hold-out nan"),
    "no draws": (f"{K} -n 0", "-n"),
    "no threads": (f"{K} --threads 0", "--threads"),
    "no steps": (f"{K} --sampler ddpm --steps 0", "--steps"),
    "negative seed": (f"{K} --seed -1", "seed"),
    "sampler": (f"{K} --sampler ddppm", "did you mean 'ddpm'"),
    "sampler's flag": (f"{K} --zeta 1", "--zeta"),
    "sampler's word": (f"{K} --sampler dps --zeta much", "zeta"),
    "TDS": (f"{K} --sampler tds", "TDS"),
    "prior": (
        f"{K} --prior gaussian-feld",
        "gaussian-feld is not a folder of a diffusers UNet2DModel; give one, or gaussian-field",
    ),
    "prior folder": (f"{K} --prior ./folder", "config.json does not exist"),
    "exact draws of a network": (f"{K} --sampler exact-draws --prior ./folder", "folder"),
    "angles for k-space": (f"{K} --angles angles.txt", "--angles does not go with k-space"),
    "maps for views": (f"{P} --maps maps.npy", "--maps does not go with a sinogram"),
    "angles missing": (f"{P} --angles nowhere.txt", "nowhere.txt"),
    "angles few": (f"{P} --angles ./angles_few.npy", "7 entries"),
    "angles NaN": (f"{P} --angles ./angles_nan.npy", "finite"),
    "angles of letters": (f"{P} --angles ./words.txt", "words.txt"),
    "centre": (f"{P} --centre nan", "centre = nan"),
    "no width": (f"{P} --detector-spacing 0", "spacing = 0"),
    "bin": (f"{P} --bin 99", "bin = 99"),
    "no such flag": (f"{K} --sliced 1", "--sliced"),
}


def placed(word, scans, wrong):
    """The word with its path, if it is the name of a file."""
    if word.startswith("./"):
        return str(wrong / word[2:])
    return str(scans / word) if word.endswith((".npy", ".h5", ".txt")) else word


def refused(capsys, folder, *words, said):
    """`reconstruct WORDS` leaves one sentence with `said`, status 2, and nothing in the folder."""
    before = names(folder)
    status, _, err = run(capsys, "reconstruct", *words)
    assert status == 2 and said in err, err
    assert err.count("\n") == 1 and err.startswith("workbench reconstruct: ") and "Traceback" not in err
    assert names(folder) == before


@pytest.mark.parametrize("case", WRONG)
def test_one_line_and_status_2(case, scans, wrong, tmp_path, capsys, words_only):
    words, said = WRONG[case]
    words = [placed(word, scans, wrong) for word in words.split()]
    refused(
        capsys,
        tmp_path,
        *words,
        *([] if "-n" in words else QUICK[:2]),
        "--out",
        tmp_path / "a.nii.gz",
        said=said,
    )


@pytest.mark.parametrize(
    "flags, said",
    [
        ([], "--out"),
        (["--out", "a.png"], "--out a.png should end in"),
        (["--out", "{}/.npz"], "should end in"),
        (["--out", "{}/no/a.npz"], "does not exist"),
        (["--out", "{}/a.npz", "--report", "{}/no/a.html"], "--report"),
    ],
)
def test_names_that_cannot_be_written(flags, said, scans, tmp_path, capsys):
    refused(capsys, tmp_path, scans / K, *[f.format(tmp_path) for f in flags], said=said)


def test_a_read_only_folder(scans, tmp_path, capsys, monkeypatch):
    def denied(**where):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)  # the administrator may write wherever he likes
    refused(
        capsys, tmp_path, scans / K, "--out", tmp_path / "a.npz", said="cannot be written (Permission denied)"
    )


def test_no_scan_at_all(capsys):
    status, _, err = run(capsys, "reconstruct")
    assert status == 2 and "SCAN" in err and err.count("\n") == 1


def test_not_enough_memory(scans, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_job, "free_memory", lambda device: 1e5)
    refused(capsys, tmp_path, scans / K, "--out", tmp_path / "a.npz", said="not enough memory: -n 200")
    monkeypatch.undo()
    monkeypatch.setattr(workbench.run, "free_memory", lambda device: 1e5)
    words = ["--sampler", "ddpm", "--out", tmp_path / "a.npz"]
    refused(capsys, tmp_path, scans / K, *words, said="not enough memory: one sample")


def test_a_file_of_another_kind_is_not_replaced(scans, tmp_path, capsys):
    (tmp_path / "a.npz").write_text("years of work")
    refused(capsys, tmp_path, scans / K, *QUICK, "--out", tmp_path / "a.npz", said="--overwrite")
    assert (tmp_path / "a.npz").read_text() == "years of work"


def test_a_refused_run_does_not_bind_the_next(scans, wrong, tmp_path, capsys, words_only):
    words = [wrong / "regular.npy", "--posterior-only", *QUICK, "--out", tmp_path / "a.npz"]
    refused(capsys, tmp_path, *words, said="give the coil maps")
    assert run(capsys, "reconstruct", *words, "--maps", scans / "maps.npy")[0] == 0


# --- as real commands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scan, flags, said",
    [
        ("./short_fastmri.h5", [], "short_fastmri.h5"),
        (K, ["--maps", "./maps_small.npy"], "maps"),
        (P, ["--sampler", "heuns"], "did you mean 'heun'"),
    ],
)
def test_a_command_that_is_refused(scan, flags, said, scans, wrong, tmp_path):
    words = [placed(word, scans, wrong) for word in (scan, *flags)]
    call = [sys.executable, "-m", "workbench", "reconstruct", *words, "--out", str(tmp_path / "a.npz")]
    made = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 2 and made.stdout == "" and said in made.stderr
    assert made.stderr.count("\n") == 1 and names(tmp_path) == []
