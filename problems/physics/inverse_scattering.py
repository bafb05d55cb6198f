"""Weak scatterers lit from all around, seen by a ring of receivers: linear inverse scattering."""

from theory.distributions.gaussian_field import GaussianField, power_law
from workbench.noise.gaussian import Gaussian
from workbench.operators.inverse_scattering import InverseScattering
from workbench.problem import Problem

card = dict(
    family="physics",
    operator="inverse-scattering",
    prior="gaussian-field",
    exact=True,
    source="Zheng et al. 2025",
)


def problem(seed=0, size=32, transmitters=20, receivers=90, level=0.05):
    """truth: (size, size) contrast of the squared refractive index, on 18 cm, at a wavelength of 2 cm, standard
    deviation 0.05.  level: standard deviation of the noise, per real component, as a share of the field's rms."""
    prior = GaussianField(power_law((size, size), exponent=1.5, scale=0.05))
    truth = prior.sample(1, seed)[0]
    A = InverseScattering.ring((size, size), 0.18 / size, 0.02, transmitters, receivers, radius=0.3)
    clean = A(truth)
    noise = Gaussian(level * clean.abs().square().mean().sqrt().item())
    y = noise.sample(clean, seed)
    return Problem(prior, A, noise, y=y, truth=truth, name="physics/inverse-scattering")
