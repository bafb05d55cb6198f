"""Races of the suite `speed` in tomography: stored and marching projectors against their peers and the memory."""

from math import ceil, pi

from workbench.cli._race import Race, optional


def tomography(size=256, views=180, detectors=384):
    """Parallel beam, float32, a disc: skimage, deepinv and ASTRA's CPU projectors, each on a detector of its own width."""
    import torch

    from workbench.operators.radon import ParallelBeam
    from workbench.operators.rays import siddon

    angles = torch.arange(views, dtype=torch.float64) * pi / views
    A, x = ParallelBeam(angles, (size, size), detectors), disc(size)
    B, y = ParallelBeam(angles, (size, size), detectors, model=siddon), torch.ones(views, detectors)
    name = f"CT {size}x{size}, {views} views"
    ours = lambda P: misfit(P(x).mT, size)
    for against, least, forward, adjoint in (skimage(x, views), deepinv(x, views)):
        errors = lambda forward=forward: (ours(A), forward and misfit(as_tensor(forward()), size))
        yield Race(f"{name} forward", lambda: A(x), against, forward, least[0], errors=errors)
        yield Race(f"{name} adjoint", lambda: A.H(y), against, adjoint, least[1])
    for kind, P in (("line", B), ("linear", A)):
        forward, adjoint = astra(x, y, kind)
        errors = lambda P=P, forward=forward: (ours(P), forward and misfit(as_tensor(forward()).mT, size))
        least, which = (5, "Siddon") if kind == "line" else (None, "Joseph")
        yield Race(
            f"{name} forward, {which}", lambda P=P: P(x), f"ASTRA CPU {kind}", forward, least, errors=errors
        )
        yield Race(f"{name} adjoint, {which}", lambda P=P: P.H(y), f"ASTRA CPU {kind}", adjoint, least)
    yield from memory(name, A, x, y)


def memory(name, A, x, y):
    """A stored pair against the least it must do: read its numbers once (and at most 1.4 times as long)."""
    import torch

    M = A.projector.matrices[0]
    half = torch.ones((M.values().nbytes + M.col_indices().nbytes) // 8)
    other = half.clone()
    for part, run in dict(forward=lambda: A(x), adjoint=lambda: A.H(y)).items():
        read = lambda: torch.dot(half, other)
        yield Race(f"{name} {part}", run, "reading the matrix", read, least=1 / 1.4)


def cone(size=128, views=180, detector=192):
    """Cone beam, float32, no matrix: no installable CPU peer; against a goal in seconds."""
    import torch

    from workbench.operators.cone_beam import ConeBeam

    angles = torch.arange(views, dtype=torch.float64) * 2 * pi / views
    A = ConeBeam(angles, (size,) * 3, (detector,) * 2, dso=4 * size, dsd=6 * size, spacing=1.1)
    x = torch.ones(size, size, size)
    y = A(x)
    name = f"cone beam {size}^3, {views} views of {detector}x{detector}"
    yield Race(f"{name} forward", lambda: A(x), "no CPU peer", None, most=10000)
    yield Race(f"{name} adjoint", lambda: A.H(y), "no CPU peer", None, most=20000)


def disc(size, fine=8):
    """A disc of radius 0.4 size, each pixel the mean over fine x fine points: (size, size) float32."""
    import torch

    at = (torch.arange(size * fine) + 0.5) / fine - size / 2
    inside = (at**2 + at[:, None] ** 2 < (0.4 * size) ** 2).float()
    return inside.reshape(size, fine, size, fine).mean((1, 3))


def misfit(sinogram, size):
    """The relative error of a disc's sinogram (columns, views), whose columns are one pixel apart."""
    import torch

    n = sinogram.shape[0]
    s = torch.arange(n) - (n - 1) / 2
    s = s - round(float((sinogram.double().mean(1) * s).sum() / sinogram.double().mean(1).sum()) * 2) / 2
    want = 2 * ((0.4 * size) ** 2 - s**2).clamp_min(0).sqrt()[:, None]
    return float(
        torch.linalg.vector_norm(sinogram - want) / torch.linalg.vector_norm(want.expand_as(sinogram))
    )


def as_tensor(array):
    """What a peer gives, as (rows, columns)."""
    import torch

    return torch.as_tensor(array).squeeze()


def skimage(x, views):
    """skimage's radon and unfiltered iradon: (name, goals, forward, adjoint)."""
    import numpy as np

    transform = optional("skimage.transform")
    if transform is None:
        return "skimage", (5, 5), None, None
    size, image, degrees = len(x), x.numpy(), np.arange(views) * 180 / views
    columns = np.ones((ceil(2**0.5 * size), views), np.float32)
    forward = lambda: transform.radon(image, degrees, circle=False)
    return (
        "skimage",
        (5, 5),
        forward,
        lambda: transform.iradon(columns, degrees, size, filter_name=None, circle=False),
    )


def deepinv(x, views):
    """deepinv's Tomography and its A_adjoint."""
    import torch

    physics = optional("deepinv.physics")
    if physics is None:
        return "deepinv", (3, 10), None, None
    A = physics.Tomography(
        torch.arange(views) * 180.0 / views, img_width=len(x), circle=False, normalize=False
    )
    image = x[None, None]
    y = A(image)
    return "deepinv", (3, 10), lambda: A(image), lambda: A.A_adjoint(y)


def astra(x, y, kind):
    """ASTRA's projector on the CPU and its transpose: forward, adjoint."""
    import numpy as np

    astra = optional("astra")
    if astra is None:
        return None, None
    (views, detectors), image, sinogram = y.shape, x.numpy(), y.numpy()
    geometry = astra.create_proj_geom("parallel", 1.0, detectors, np.arange(views) * np.pi / views)
    projector = astra.create_projector(kind, geometry, astra.create_vol_geom(*x.shape))

    def run(make, data):
        place, array = make(data, projector)
        astra.data2d.delete(place)
        return array

    return lambda: run(astra.create_sino, image), lambda: run(astra.create_backprojection, sinogram)
