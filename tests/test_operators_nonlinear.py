"""Phase retrieval, sensors that clip and round, JPEG, and counts through matter: against formulas and other programs."""

import io

import numpy as np
import pytest
import torch
from laws import close, signals

from workbench import BadInput, Rng
from workbench.noise import Poisson
from workbench.operators import (
    DCT,
    JPEG,
    AsComplex,
    BeerLambert,
    CodedDiffraction,
    Dense,
    Fourier,
    Hartley,
    Intensity,
    Magnitude,
    MidRiseQuantiser,
    MidTreadQuantiser,
    OneBit,
    Ptychography,
    Saturation,
    TotalFlux,
    Wavelet,
    disc_probe,
    dot_test,
    gaussian_probe,
    line_integral_weights,
    line_integrals,
    octanary_masks,
    oversampled_fourier,
    quaternary_masks,
    raster_positions,
    subpixel_probes,
    ternary_masks,
)
from workbench.operators.adjointness import inner
from workbench.operators.jpeg import CHROMINANCE, LUMINANCE, quantisation

C, R = torch.complex128, torch.float64
SIZES = [(4, 6), (5, 7), (8, 3)]


def normal(*shape, dtype=R, seed=0):
    return Rng(seed, "test").normal(torch.empty(1, *shape, dtype=dtype))[0]


def fft(x):
    """The centred unitary transform, by numpy."""
    axes = (-2, -1)
    shifted = np.fft.fftn(np.fft.ifftshift(x.numpy(), axes), axes=axes, norm="ortho")
    return torch.from_numpy(np.fft.fftshift(shifted, axes))


# Magnitude and oversampling.


def test_magnitude():
    A = Magnitude((2, 2), C)
    x = torch.tensor([[3 + 4j, 1j], [-2, 0]], dtype=C)
    assert close(A(x), torch.tensor([[5.0, 1.0], [2.0, 0.0]], dtype=R))
    assert close(A(x) ** 2, Intensity((2, 2), C)(x))
    assert close(A(x * np.exp(0.7j)), A(x))


@pytest.mark.parametrize("dtype", [R, C])
def test_magnitude_has_the_subgradient_zero_at_zero(dtype):
    A, x, v = Magnitude((3,), dtype), torch.zeros(3, dtype=dtype, requires_grad=True), normal(3, dtype=dtype)
    (g,) = torch.autograd.grad(A(x).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(inner(g, v) + 0 * inner(x, x), x)
    assert (g == 0).all() and (h == 0).all() and (A.linearize(x.detach())(v) == 0).all()


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("factor", [1, 1.5, 2, 3])
def test_oversampled_fourier_is_the_transform_on_a_finer_grid(shape, factor):
    A, x = oversampled_fourier(shape, factor, C), normal(*shape, dtype=C)
    m = [torch.arange(n, dtype=R) - n // 2 for n in shape]
    k = [(torch.arange(N, dtype=R) - N // 2) / N for N in A.out_shape]
    waves = [
        torch.exp(-2j * torch.pi * k_[:, None] * m_) / len(k_) ** 0.5 for k_, m_ in zip(k, m, strict=True)
    ]
    assert tuple(A.out_shape) == tuple(round(factor * n) for n in shape)
    assert close(A(x), waves[0] @ x @ waves[1].mT)
    assert close(A.H(A(x)), x) and dot_test(A) < 1e-14


@pytest.mark.parametrize("n", [4, 5])
def test_oversampled_magnitudes_are_the_autocorrelation(n):
    """Twice oversampled, the intensities hold every lag of the autocorrelation."""
    x = normal(n)
    A = Intensity((2 * n,), C) @ oversampled_fourier((n,), 2, C)
    lags = torch.fft.fftshift(torch.fft.ifft(torch.fft.ifftshift(2 * n * A(x.to(C))))).real
    assert close(lags[1:], torch.from_numpy(np.correlate(x.numpy(), x.numpy(), "full")))


# Coded diffraction.


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("dtype", [R, C])
def test_coded_diffraction_is_the_transform_of_what_each_mask_passes(shape, dtype):
    masks = octanary_masks(3, shape, seed=4, dtype=C)
    A, x = CodedDiffraction(masks, dtype), normal(2, *shape, dtype=dtype)
    assert close(A(x), torch.stack([fft(d * x) for d in masks], dim=-3))
    counts = Intensity(A.out_shape, C) @ A
    assert close(counts(x), A(x).abs() ** 2)
    assert close(counts(-x), counts(x)) and counts.in_dtype == dtype


@pytest.mark.parametrize("shape", SIZES)
def test_coded_diffraction_knows_what_no_mask_passes(shape):
    masks = ternary_masks(2, shape, seed=1, dtype=C)
    masks[:, 0, 0] = 0
    A = CodedDiffraction(masks, C)
    U, s, V = A.svd()
    x = signals(A, 2)
    assert len(s) == (A.power > 0).sum() < x[0].numel()
    assert close(U((s * V.H(x)).to(C)), A(x)) and close(U.H(U(s.to(C))), s.to(C))
    assert s.max().item() == pytest.approx(A.norm())
    with pytest.raises(BadInput, match="use rho > 0"):
        A.solve(x, 0.0)


def test_masks_have_their_moments():
    d = octanary_masks(8, (50, 50), seed=3, dtype=C).flatten()
    n = len(d)
    for got, want, spread in (
        (d.mean(), 0, 1),
        ((d**2).mean(), 0, 2**0.5),
        ((d.abs() ** 2).mean(), 1, 1),  # var |d|^2 = 2 - 1
        ((d.abs() ** 4).mean(), 2, 12.25**0.5),  # E |d|^8 = 0.8 / 16 + 0.2 * 81 = 16.25
    ):
        assert abs(got - want) < 5 * spread / n**0.5
    assert len(torch.view_as_real(d).mul(100).round().unique(dim=0)) == 8
    q = quaternary_masks(4, (6, 5), seed=0, dtype=C)
    assert set(q.flatten().tolist()) == {1, 1j, -1, -1j} and (CodedDiffraction(q).power == 4).all()
    t = ternary_masks(8, (50, 50), seed=5, dtype=C).real.flatten()
    for value, share in ((1, 0.25), (0, 0.5), (-1, 0.25)):
        assert abs((t == value).double().mean() - share) < 5 * (share * (1 - share) / n) ** 0.5


@pytest.mark.parametrize("draw", [octanary_masks, quaternary_masks, ternary_masks])
def test_masks_are_a_function_of_their_seed(draw):
    assert torch.equal(draw(2, (3, 4), seed=7), draw(2, (3, 4), seed=7))
    assert not torch.equal(draw(2, (3, 4), seed=7), draw(2, (3, 4), seed=8))
    assert torch.equal(draw(1, (3, 4), seed=7)[0], draw(2, (3, 4), seed=7)[0])
    with pytest.raises(BadInput, match="count = 0"):
        draw(0, (3, 4))


def test_coded_diffraction_refuses_real_masks_and_other_precisions():
    with pytest.raises(BadInput, match="complex tensor"):
        CodedDiffraction(torch.ones(2, 3, 3))
    with pytest.raises(BadInput, match="one precision"):
        CodedDiffraction(octanary_masks(2, (3, 3)), R)


# Ptychography.


@pytest.mark.parametrize(
    "shape, window, step", [((9, 8), (4, 4), 2), ((7, 11), (3, 5), 2), ((6, 6), (6, 5), 3)]
)
def test_ptychography_is_the_transform_of_each_patch(shape, window, step):
    probe, positions = normal(*window, dtype=C), raster_positions(shape, window, step)
    A, x = Ptychography(probe, positions, shape), normal(2, *shape, dtype=C, seed=1)
    h, w = window
    want = [fft(probe * x[..., r : r + h, c : c + w]) for r, c in positions.tolist()]
    assert close(A(x), torch.stack(want, dim=-3))
    assert (A.power > 0).all()


def test_ptychography_with_a_probe_for_each_position():
    probes, positions = normal(3, 4, 3, dtype=C), torch.tensor([[0, 0], [2, 1], [1, 3]])
    A = Ptychography(probes, positions, (8, 6))
    x = signals(A, 1)[0]
    want = [fft(P * x[r : r + 4, c : c + 3]) for P, (r, c) in zip(probes, positions.tolist(), strict=True)]
    assert close(A(x), torch.stack(want)) and dot_test(A) < 1e-14
    U, s, V = A.svd()
    assert len(s) == (A.power > 0).sum() < x.numel()
    assert close(U((s * V.H(x)).to(C)), A(x)) and close(U.H(U(s.to(C))), s.to(C))


def test_ptychography_has_a_gradient_for_its_probe():
    probe = normal(3, 3, dtype=C).requires_grad_()
    positions, dP = raster_positions((5, 5), (3, 3), 1), normal(3, 3, dtype=C, seed=1)
    x = normal(5, 5, dtype=C, seed=2)
    y = normal(len(positions), 3, 3, dtype=C, seed=3)
    (g,) = torch.autograd.grad(inner(Ptychography(probe, positions, (5, 5))(x), y), probe)
    assert inner(g, dP).item() == pytest.approx(inner(Ptychography(dP, positions, (5, 5))(x), y).item())


def test_subpixel_probes_move_the_beam():
    """A beam moved by a fraction is the same beam drawn there; by whole pixels, nothing is left to move."""
    h, w, sigma = 25, 24, 2.0
    probe = gaussian_probe((h, w), sigma, C)
    probes, corners = subpixel_probes(probe, torch.tensor([[2.25, 3.5], [1.0, 4.0]]))
    rows, columns = torch.arange(h, dtype=R) - (h - 1) / 2, torch.arange(w, dtype=R) - (w - 1) / 2
    there = torch.exp(-0.5 * ((rows[:, None] - 0.25) ** 2 + (columns - 0.5) ** 2) / sigma**2)
    assert corners.tolist() == [[2, 3], [1, 4]]
    assert (probes[0] / probes[0].abs().max() - there / there.max()).abs().max() < 1e-6
    assert close(probes[1], probe)


@pytest.mark.parametrize(
    "shape, window, step", [((9, 8), (4, 3), 2), ((10, 10), (5, 5), 4), ((5, 5), (5, 5), 1)]
)
def test_raster_covers_the_object(shape, window, step):
    positions = raster_positions(shape, window, step)
    seen = torch.zeros(shape)
    for r, c in positions.tolist():
        seen[r : r + window[0], c : c + window[1]] += 1
    assert (seen > 0).all() and len(positions.unique(dim=0)) == len(positions)
    assert positions.amax(0).tolist() == [n - w for n, w in zip(shape, window, strict=True)]


def test_probes():
    disc, beam = disc_probe((9, 9), 3.0, C), gaussian_probe((9, 8), 2.0, C)
    assert (disc.abs() > 0).sum() == 29  # the points of the grid within 3 of the middle
    assert torch.linalg.vector_norm(disc).item() == pytest.approx(1) == torch.linalg.vector_norm(beam).item()
    assert (beam[4, 4] / beam[4, 6]).abs().item() == pytest.approx(np.exp((2.5**2 - 0.5**2) / 8))
    for wrong in (lambda: disc_probe((4, 4), 0.1), lambda: gaussian_probe((4, 4), 0.0)):
        with pytest.raises(BadInput, match="larger|positive"):
            wrong()


@pytest.mark.parametrize(
    "positions, says",
    [
        (torch.tensor([[0.5, 0.0]]), "int64"),
        (torch.tensor([[0, 4]]), "off the object"),
        (torch.tensor([[-1, 0]]), "off the object"),
        (torch.zeros(0, 2, dtype=torch.int64), "int64"),
    ],
)
def test_ptychography_positions_that_do_not_fit(positions, says):
    with pytest.raises(BadInput, match=says):
        Ptychography(disc_probe((3, 3), 1), positions, (6, 6))


@pytest.mark.parametrize("make", [AsComplex, DCT, Fourier, Hartley, Intensity, Magnitude, TotalFlux, Wavelet])
def test_shapes_that_cannot_be(make):
    assert make((np.int64(3), 4)).in_shape == make([3, 4]).in_shape == (3, 4)
    for shape in (4, (-1, 4), (0,), (2.0, 3), "34", None):
        with pytest.raises(BadInput, match=f"{make.__name__}: shape = .* whole numbers"):
            make(shape)


# Sensors.


def test_saturation():
    A = Saturation((2, 3), torch.tensor([1.0, 2.0, 4.0], dtype=R), 0.0, 1.0, R)
    x = torch.tensor([[-0.5, 0.25, 0.125], [0.75, 0.75, 0.75]], dtype=R)
    assert A(x).tolist() == [[0, 0.5, 0.5], [0.75, 1, 1]]
    assert A.linearize(x)(torch.ones_like(x)).tolist() == [[0, 2, 4], [1, 0, 0]]
    for wrong, says in (
        (dict(low=1.0), "low = 1.0"),
        (dict(gain=torch.ones(2)), "broadcast"),
        (dict(gain=torch.ones(3, dtype=R)), r"gain is torch.float64, .* use .to\(torch.float32\)"),
        (dict(gain=[1.0, 2.0, 3.0]), "gain is list"),
        (dict(gain=np.ones(3)), "gain is ndarray"),
        (dict(dtype=C), "real"),
    ):
        with pytest.raises(BadInput, match=says):
            Saturation((2, 3), **wrong)


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (0.0, 1.0), (-0.3, 2.2)])
def test_quantisers_take_the_nearest_level(bits, low, high):
    x = torch.linspace(low - 1, high + 1, 997, dtype=R) + 1e-4
    n = 2**bits
    for kind, levels in (
        (MidTreadQuantiser, np.linspace(low, high, n)),
        (MidRiseQuantiser, low + (np.arange(n) + 0.5) * (high - low) / n),
    ):
        A = kind((997,), bits, low, high, R)
        want = levels[np.abs(x.numpy()[:, None] - levels).argmin(1)]
        assert np.allclose(A(x).numpy(), want, rtol=0, atol=1e-12)
        assert close(A(A(x)), A(x))
        inside = (x > low) & (x < high)
        assert ((A(x) - x)[inside].abs() <= A.step / 2 + 1e-12).all()
        assert torch.equal(A.linearize(x)(torch.ones_like(x)), inside.to(R))


def test_eight_bits_are_those_of_an_image_file():
    x = torch.linspace(0, 1, 4096, dtype=R)
    want = np.floor(x.numpy() * 255 + 0.5) / 255
    assert np.allclose(MidTreadQuantiser((4096,), 8, dtype=R)(x).numpy(), want, rtol=0, atol=1e-15)


def test_quantisers_that_cannot_be():
    for kind in (MidTreadQuantiser, MidRiseQuantiser):
        for wrong, says in (
            (dict(bits=0), "bits = 0"),
            (dict(bits=2.5), "bits"),
            (dict(low=2.0), "low"),
            (dict(dtype=C), "real"),
        ):
            with pytest.raises(BadInput, match=says):
                kind((3,), **wrong)


def test_one_bit():
    A = OneBit((4,), torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=R), R)
    assert A(torch.tensor([0.0, 0.5, -0.1, 0.0], dtype=R)).tolist() == [1, -1, -1, 1]
    B = OneBit((4,), dtype=R)
    x = normal(4)
    assert torch.equal(B(3 * x), B(x))


def test_one_bit_compressed_sensing_steps_like_binary_iterative_hard_thresholding():
    M = normal(12, 5)
    A, x, y = OneBit((12,), dtype=R) @ Dense(M), normal(5, seed=1).requires_grad_(), normal(12, seed=2).sign()
    (g,) = torch.autograd.grad((A(x) - y).square().sum() / 2, x)
    assert close(g, M.mT @ (torch.sign(M @ x.detach()) - y))


def test_a_real_object_seen_through_intensities():
    A = Intensity((4, 5), C) @ Fourier((4, 5), C) @ AsComplex((4, 5), R)
    x = normal(4, 5)
    assert close(A(x), fft(x).abs() ** 2) and A.in_dtype == R


# JPEG, beside the codec that PIL has.


def photograph(H, W, grey=False):
    from skimage import data

    image = data.astronaut()[100 : 100 + H, 150 : 150 + W]
    return image[..., 1].copy() if grey else image.copy()


def pil(image, quality, subsampling):
    """The image after PIL's JPEG, and the tables in its file."""
    from PIL import Image

    kind = {(1, 1): 0, (1, 2): 1, (2, 2): 2}[subsampling]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality, subsampling=kind)
    decoded = Image.open(file)
    return np.asarray(decoded).astype(float), decoded.quantization


def ours(image, quality, subsampling):
    x = torch.from_numpy(image).to(R) / 255
    x = x[None] if x.ndim == 2 else x.movedim(-1, 0)
    y = 255 * JPEG(tuple(x.shape), quality, subsampling, R)(x)
    assert close(y, y.round())
    return (y[0] if image.ndim == 2 else y.movedim(0, -1)).numpy()


@pytest.mark.parametrize("H, W", [(96, 104), (61, 47), (33, 50)])
@pytest.mark.parametrize("subsampling", [(1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("quality", [10, 50, 75, 100])
def test_jpeg_agrees_with_another_codec(quality, subsampling, H, W):
    """Not to the bit: that one's cosines are of whole numbers. A third of a level on average, most entries equal."""
    image = photograph(H, W)
    (want, _), got = pil(image, quality, subsampling), ours(image, quality, subsampling)
    assert np.abs(got - want).mean() < 0.35 and (got == want).mean() > 0.75
    loss, theirs = np.abs(got - image).mean(), np.abs(want - image).mean()
    assert (
        0.94 * theirs < loss < 1.02 * theirs
    )  # less where nearly all that is lost is lost in whole-number cosines


@pytest.mark.parametrize("W", [1, 2, 3, 4, 6, 40, 41])
@pytest.mark.parametrize("subsampling", [(1, 2), (2, 2)])
def test_jpeg_chroma_past_the_border_agrees_with_another_codec(subsampling, W):
    """Across, the last pixel fills the blocks before the means of chroma are taken; downwards the last mean does."""
    image = (255 * Rng(0, "test").uniform(1, 18, W, 3)[0]).to(torch.uint8).numpy()
    (want, _), got = pil(image, 10, subsampling), ours(image, 10, subsampling)
    assert np.abs(got - want).mean() < 1 and (got == want).mean() > 0.75


@pytest.mark.parametrize("quality", [5, 25, 50, 90])
def test_grey_jpeg_agrees_with_another_codec(quality):
    image = photograph(43, 66, grey=True)
    (want, _), got = pil(image, quality, (1, 1)), ours(image, quality, (1, 1))
    assert np.abs(got - want).mean() < 0.35 and (got == want).mean() > 0.75


@pytest.mark.parametrize("quality", [1, 7, 33, 49, 50, 51, 75, 92, 100])
def test_jpeg_tables_are_those_in_the_file(quality):
    _, tables = pil(photograph(16, 16), quality, (2, 2))
    for table, here in zip((LUMINANCE, CHROMINANCE), (tables[0], tables[1]), strict=True):
        assert quantisation(table, quality).flatten().tolist() == list(here)


def test_jpeg_blocks_are_rounded_cosines():
    """One block, by scipy's cosine transform."""
    from scipy.fft import dctn, idctn

    x = Rng(3, "test").uniform(1, 1, 8, 8)[0]
    steps = quantisation(LUMINANCE, 30).numpy()
    count = dctn(np.floor(255 * x[0].numpy() + 0.5) - 128, norm="ortho") / steps
    want = np.clip(np.floor(idctn(np.round(count) * steps, norm="ortho") + 128.5), 0, 255) / 255
    assert np.allclose(JPEG((1, 8, 8), 30, dtype=R)(x)[0].numpy(), want, rtol=0, atol=1e-12)


def test_jpeg_smooth_is_the_codec_where_nothing_is_rounded_away():
    """At quality 100 the rounding is all that differs; the means of chroma stay."""
    x = torch.from_numpy(photograph(31, 40)).to(R).movedim(-1, 0) / 255
    for subsampling, gap in (((1, 1), 1.5), ((1, 2), 2.0), ((2, 2), 2.0)):
        A = JPEG(tuple(x.shape), 100, subsampling, R)
        assert 255 * (A(x) - A.smooth(x)).abs().mean() < gap / 2
    assert close(JPEG(tuple(x.shape), 50, (1, 1), R).smooth(2 * x - 0.5), (2 * x - 0.5).clamp(0, 1))


def test_jpeg_of_what_it_made_changes_little():
    x = torch.from_numpy(photograph(24, 32)).to(R).movedim(-1, 0) / 255
    A = JPEG(tuple(x.shape), 40, (1, 1), R)
    once = A(x)
    assert (A(once) - once).abs().mean() < 0.05 * (once - x).abs().mean()


@pytest.mark.parametrize(
    "words, says",
    [
        (dict(shape=(4, 8, 8)), "RGB"),
        (dict(quality=0), "quality = 0"),
        (dict(quality=101), "quality = 101"),
        (dict(subsampling=(2, 1)), "subsampling"),
        (dict(dtype=C), "real"),
    ],
)
def test_jpeg_that_cannot_be(words, says):
    with pytest.raises(BadInput, match=says):
        JPEG(**{"shape": (3, 8, 8), **words})


# Counts through matter.


def test_beer_lambert():
    A = BeerLambert(Dense(torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=R)), 1e4, 7.0)
    x = torch.tensor([0.5, 0.25], dtype=R)
    assert close(A(x), torch.tensor([1e4 * np.exp(-1.0) + 7, 1e4 * np.exp(-0.25) + 7], dtype=R))
    assert close(
        A.linearize(x)(torch.tensor([1.0, 0.0], dtype=R))[0], torch.tensor(-1e4 * np.exp(-1.0), dtype=R)
    )


def test_beer_lambert_is_the_rate_of_poisson_counts():
    """The score of the likelihood is the one of the textbook: A^T (I0 exp(-p) (1 - y / mean))."""
    A = BeerLambert(Dense(normal(6, 3).abs()), 100.0, 2.0)
    x = normal(3, seed=1).abs().requires_grad_()
    y = Poisson().sample(A(x.detach()), 0)
    (g,) = torch.autograd.grad(Poisson().log_likelihood(y, A(x)).sum(), x)
    through = 100 * torch.exp(-A.A(x.detach()))
    assert close(g, A.A.H(through * (1 - y / (through + 2))), 1000)


def test_line_integrals_undo_the_counts_and_know_their_variance():
    p = torch.linspace(0.1, 3, 6, dtype=R)
    A = BeerLambert(Dense(torch.eye(6, dtype=R)), 1e5, 40.0)
    assert close(line_integrals(A(p), 1e5, 40.0), p)
    counts = torch.stack([Poisson().sample(A(p), seed) for seed in range(400)])
    variance = line_integrals(counts, 1e5, 40.0).var(0)
    assert ((line_integral_weights(A(p), 40.0) * variance - 1).abs() < 5 * (2 / 400) ** 0.5).all()
    assert close(line_integral_weights(A(p) - 40), A(p) - 40)
    assert line_integrals(torch.zeros(1, dtype=R), 100.0, floor=0.1).item() == pytest.approx(np.log(1000))
    with pytest.raises(BadInput, match="floor = 0"):
        line_integrals(A(p), 1.0, floor=0)


@pytest.mark.parametrize(
    "words, says",
    [
        (dict(I0=0.0), "I0 = 0.0"),
        (dict(background=-1.0), "background = -1.0"),
        (dict(I0=torch.ones(4)), "broadcast"),
        (dict(I0=[10.0, 10.0]), "I0 is list"),
        (dict(background=torch.ones(2, dtype=C)), "background is torch.complex128"),
        (dict(A=Dense(torch.eye(2)), I0=torch.ones(2, dtype=R)), r"I0 is .*64, .* use .to\(torch.float32\)"),
        (dict(A=Intensity((2,), R)), "linear"),
        (dict(A=Dense(torch.eye(2, dtype=C))), "real"),
    ],
)
def test_beer_lambert_that_cannot_be(words, says):
    with pytest.raises(BadInput, match=says):
        BeerLambert(**{"A": Dense(torch.eye(2, dtype=R)), "I0": 10.0, **words})
