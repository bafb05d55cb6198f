"""Multi-coil MRI of a stationary complex field: the truth is a draw of the prior, so the posterior is calibrated."""

import torch

from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.noise.gaussian import Gaussian
from workbench.operators.cartesian_mri import CartesianMRI
from workbench.operators.coils import simulate_coils
from workbench.operators.sampling import cartesian_mask
from workbench.problem import Problem

card = dict(family="MRI", operator="cartesian-mri", prior="gaussian-field", exact=True, source="")


def problem(seed=0, size=64, acceleration=4.0, coils=4, sigma=0.1):
    """truth: (size, size) complex64, unit variance of each real component.  An eighth of the phase encodes in the middle,
    the others at random.  sigma: noise of each real component of k-space, in the same unit."""
    shape = (size, size)
    prior = GaussianField(power_law(shape, exponent=1.2), dtype=torch.complex64)
    truth = prior.sample(1, seed)[0]
    mask = cartesian_mask(shape, acceleration, calibration=size // 8, seed=seed)
    A, noise = CartesianMRI(simulate_coils(shape, coils), mask), Gaussian(sigma)
    return Problem(
        prior, A, noise, y=noise.sample(A(truth), seed), truth=truth, view=torch.abs, name="field/mri"
    )
