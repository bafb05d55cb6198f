"""Multi-coil MRI of a real head slice: 8 simulated coils, a quarter of the phase encodes, complex noise."""

import torch

from problems._head import head_slice
from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.noise.gaussian import Gaussian
from workbench.operators.cartesian_mri import CartesianMRI
from workbench.operators.coils import simulate_coils
from workbench.operators.sampling import cartesian_mask
from workbench.problem import Problem

card = dict(
    family="MRI",
    operator="cartesian-mri",
    prior="gaussian-field",
    exact=True,
    source="matplotlib s1045.ima.gz",
)


def problem(seed=0, size=256, acceleration=4.0, coils=8, sigma=0.01):
    """truth: (size, size) complex64, |truth| in [0, 1] with a smooth phase.  sigma: noise of each real component of
    k-space, in the same unit.  The prior is a stationary field with the spectrum of natural images (1 / k^2 in power,
    variance 0.1 of the squared maximum), which knows nothing of the truth; `fit_field` gives a better one."""
    truth = head_slice(size) * torch.exp(1j * smooth_phase(size))
    mask = cartesian_mask((size, size), acceleration, calibration=max(4, size * 24 // 256), seed=seed)
    A, noise = CartesianMRI(simulate_coils((size, size), coils), mask), Gaussian(sigma)
    prior = GaussianField(power_law((size, size), exponent=1.2, scale=0.05**0.5), dtype=torch.complex64)
    return Problem(
        prior,
        A,
        noise,
        y=noise.sample(A(truth), seed),
        truth=truth,
        view=torch.abs,
        name="mri/brain-cartesian-4x",
    )


def smooth_phase(size):
    """A slowly varying phase in rad, as an imperfect shim gives."""
    r = torch.linspace(-1, 1, size)
    v, u = torch.meshgrid(r, r, indexing="ij")
    return 0.8 * u - 0.5 * v + 0.6 * u * v + 0.4 * torch.cos(2 * v)
