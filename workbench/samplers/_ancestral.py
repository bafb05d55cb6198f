"""The Gaussian step q(x_s | x_t, x_0) that DDPM, DDIM, DPS and SMC share."""

import torch

from workbench.priors._prior import needs_gaussian


def moments(process, x, x0, t, s, eta=1.0):
    """Mean and standard deviation of x_s: alpha_s x0 + sqrt(sigma_s^2 - tau^2) eps, tau.

    eps = (x - alpha_t x0) / sigma_t, tau^2 = eta^2 sigma_s^2 (1 - (alpha_t sigma_s / (alpha_s sigma_t))^2).
    Ho et al. 2020 at eta = 1 (the exact posterior), Song et al. 2021a at eta = 0. At s = 0 the mean is x0 and tau 0.
    """
    if eta != 0:
        needs_gaussian(process)
    a, b, alpha, sigma = process.alpha(t), process.sigma(t), process.alpha(s), process.sigma(s)
    tau = eta * sigma * torch.sqrt((1 - (a * sigma / (alpha * b)) ** 2).clamp_min(0))
    keep = torch.sqrt((sigma**2 - tau**2).clamp_min(0))
    return alpha * x0 + keep * ((x - a * x0) / b), tau


def ancestral(process, x, x0, t, s, rng, eta=1.0):
    """A draw of x_s given x_t = x and the denoised x0."""
    mean, tau = moments(process, x, x0, t, s, eta)
    return mean + tau * rng.normal(x) if tau > 0 else mean
