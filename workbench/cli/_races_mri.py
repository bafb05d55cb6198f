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
