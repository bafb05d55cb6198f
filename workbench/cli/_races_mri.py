"""Races of the suite `speed` in MRI: Cartesian and radial sampling, and calibration."""

from workbench.cli._race import Race, optional


def sense(size=256, coils=8, acceleration=1 / 0.3):
    """SENSE with a mask of lines: forward, adjoint, normal, complex64, against sigpy.mri.linop.Sense."""
    import torch

    from workbench._rng import Rng
    from workbench.operators.cartesian_mri import CartesianMRI
    from workbench.operators.coils import simulate_coils
    from workbench.operators.sampling import cartesian_mask

    mask = cartesian_mask((size, size), acceleration, calibration=size // 16)
    A = CartesianMRI(simulate_coils((size, size), coils), mask)
    x = Rng(0, "bench").normal(torch.empty(1, size, size, dtype=torch.complex64))[0]
    y, B = A(x), A.to(torch.float64)
    ours = dict(forward=lambda: A(x), adjoint=lambda: A.H(y), normal=lambda: A.normal(x))
    exact = dict(
        forward=B(x.to(B.in_dtype)), adjoint=B.H(y.to(B.in_dtype)), normal=B.normal(x.to(B.in_dtype))
    )
    peers = dict.fromkeys(ours)
    if linop := optional("sigpy.mri.linop"):
        weights = mask.expand(size, size).to(torch.float32).numpy()
        S, image, kspace = linop.Sense(A.maps.numpy(), weights=weights), x.numpy(), A.grid(y).numpy()
        SH, N = S.H, S.N
        peers = dict(forward=lambda: S(image), adjoint=lambda: SH(kspace), normal=lambda: N(image))

    def errors(part):
        theirs = peers[part] and torch.from_numpy(peers[part]())
        if part == "forward" and theirs is not None:
            theirs = A.sample(theirs)
        return gap(ours[part](), exact[part]), None if theirs is None else gap(theirs, exact[part])

    least = 2 if torch.get_num_threads() > 1 else 1.7
    for part, run in ours.items():
        name = f"SENSE {coils}x{size}x{size} {part}"
        yield Race(name, run, "sigpy Sense", peers[part], least, errors=lambda part=part: errors(part))


def gap(found, exact):
    """||found - exact|| / ||exact||: a float."""
    import torch

    return float(torch.linalg.vector_norm(found - exact) / torch.linalg.vector_norm(exact))


def calibration(size=256, coils=8, width=24):
    """ESPIRiT from the middle of k-space, complex64, against sigpy.mri.app.EspiritCalib."""
    import torch

    from workbench._rng import Rng
    from workbench.operators.coils import espirit, simulate_coils
    from workbench.operators.fourier import Fourier

    maps = simulate_coils((size, size), coils)
    image = 1 + 0.1 * Rng(0, "bench").normal(torch.empty(1, size, size, dtype=torch.complex64))[0]
    kspace = Fourier((size, size), torch.complex64)(maps * image)
    low = size // 2 - width // 2
    block, peer = kspace[:, low : low + width, low : low + width], None
    if app := optional("sigpy.mri.app"):
        array = kspace.numpy()
        peer = lambda: app.EspiritCalib(array, calib_width=width, show_pbar=False).run()
    truth = maps * torch.sgn(maps[:1]).conj()  # the phase of coil 0 is the reference
    off = lambda found: float((found - truth).abs().median() / truth.abs().median())
    errors = lambda: (off(espirit(block, (size, size))), peer and off(torch.from_numpy(peer())))
    name = f"ESPIRiT {coils}x{size}x{size}"
    yield Race(name, lambda: espirit(block, (size, size)), "sigpy EspiritCalib", peer, least=5, errors=errors)


def radial(size=256, coils=8, spokes=64, samples=512):
    """Golden-angle NUFFT of several coils, forward plus adjoint, complex64: sigpy, torchkbnufft and finufft, each beside a
    setting of ours that is at least as accurate. The errors are against the exact sum at 400 of the points."""
    import torch

    from workbench._rng import Rng
    from workbench.operators.nufft import NUFFT
    from workbench.operators.trajectories import golden_angle

    points = golden_angle(spokes, samples).flatten(0, 1)
    x = Rng(0, "bench").normal(torch.empty(coils, size, size, dtype=torch.complex64))
    error = exact_sum(points, x)
    for against, least, setting, peer in radial_peers(points, (size, size)):
        A = NUFFT(points, (size, size), *setting)
        y, (forward, adjoint) = A(x), peer or (None, None)
        both = peer and (lambda f=forward, a=adjoint, y=y: (f(x), a(y)))
        errors = lambda A=A, f=forward: (error(A(x)), f and error(f(x)))
        name = f"NUFFT {coils}x{size}x{size}, {spokes} spokes of {samples}, oversampling {setting[0]}, width {setting[1]}"
        yield Race(name, lambda A=A, y=y: (A(x), A.H(y)), against, both, least, errors=errors)


def exact_sum(points, x, count=400):
    """y -> the relative error of the transform y of the images x, (coils, m), at `count` of its points."""
    import torch

    where = torch.linspace(0, len(points) - 1, count).long()
    place = torch.arange(x.shape[-1], dtype=torch.float64) - x.shape[-1] // 2
    rows, columns = (torch.exp(-1j * w[:, None] * place) for w in points[where].unbind(-1))
    exact = torch.einsum("ka,cab,kb->ck", rows, x.to(torch.complex128), columns) / x.shape[-1]
    return lambda y: gap(y[:, where], exact)


def radial_peers(points, shape):
    """(name, goal, oversampling and width of ours, (forward, adjoint) or None) of the packages' usual settings."""
    low, high = (1.25, 6), (1.375, 8)
    yield "sigpy, oversampling 1.25, width 4", 3, low, sigpy_nufft(points, shape, oversamp=1.25, width=4)
    yield "sigpy, oversampling 2, width 4", 3, low, sigpy_nufft(points, shape, oversamp=2, width=4)
    yield "torchkbnufft, table", 5, low, torchkbnufft(points, shape, table)
    yield "torchkbnufft, sparse", 5, high, torchkbnufft(points, shape, sparse)
    yield "finufft, eps 1e-5, upsampfac 1.25", None, high, finufft_plans(points, shape)


def sigpy_nufft(points, shape, **options):
    """sigpy's NUFFT and its adjoint, on tensors; None where it is not installed."""
    import torch

    if (sigpy := optional("sigpy")) is None:
        return None
    k = (points * torch.tensor(shape) / (2 * torch.pi)).float().numpy()
    return (
        lambda x: torch.from_numpy(sigpy.nufft(x.numpy(), k, **options)),
        lambda y: sigpy.nufft_adjoint(y.numpy(), k, (len(y), *shape), **options),
    )


def table(kb, omega, shape):
    """torchkbnufft's default interpolation: nothing precomputed."""
    return None


def sparse(kb, omega, shape):
    """torchkbnufft's precomputed interpolation matrices."""
    return kb.calc_tensor_spmatrix(omega, shape)


def torchkbnufft(points, shape, interpolation):
    """torchkbnufft's pair by `table` or `sparse` interpolation, unitary; None where it is not installed."""
    if (kb := optional("torchkbnufft")) is None:
        return None
    omega, scale = points.T.float().contiguous(), 1 / shape[0]
    mats, A, AH = interpolation(kb, omega, shape), kb.KbNufft(shape), kb.KbNufftAdjoint(shape)
    return (
        lambda x: scale * A(x[None], omega, interp_mats=mats)[0],
        lambda y: scale * AH(y[None], omega, interp_mats=mats)[0],
    )


def finufft_plans(points, shape, eps=1e-5, upsampfac=1.25):
    """finufft's planned pair with as many threads as torch has; None where it is not installed."""
    import torch

    if (finufft := optional("finufft")) is None:
        return None
    coordinates = [w.float().contiguous().numpy() for w in points.unbind(-1)]
    plans = {}

    def run(kind, sign, v):
        if kind not in plans:
            options = dict(
                eps=eps, isign=sign, dtype="complex64", upsampfac=upsampfac, nthreads=torch.get_num_threads()
            )
            plans[kind] = finufft.Plan(kind, shape, n_trans=len(v), **options)
            plans[kind].setpts(*coordinates)
        return torch.from_numpy(plans[kind].execute(v.contiguous().numpy())) / shape[0]

    return lambda x: run(2, -1, x), lambda y: run(1, 1, y)
