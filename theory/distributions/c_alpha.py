"""Images smooth of order alpha but for a contour smooth of order alpha: what denoising can gain is known."""

import torch

from workbench._errors import BadInput
from workbench._rng import Rng

F64 = torch.float64


class CAlpha:
    """x = b_1 above the contour v = c(u), b_2 below it; b_1, b_2 and c periodic Gaussian fields, Hoelder below alpha.

    Amplitudes fall as |k|^-(alpha + 1) in b and |k|^-(alpha + 1/2) in c, so E |f(u + h) - f(u)|^2 ~ h^(2 alpha) for
    alpha < 1 in both. b_1 has mean 0.7, b_2 0.3, standard deviation 0.1 each; c has mean N/2 and deviation N/10. The
    mask is drawn at twice the resolution and averaged. No score is known; the error of the best denoiser falls as
    sigma^(2 alpha / (alpha + 1)), a slope of PSNR of alpha / (alpha + 1).  Korostelev and Tsybakov 1993; Kadkhodaie et
    al. 2024.
    """

    card = dict(engine="sampler", exact=False, source="Kadkhodaie et al. 2024")
    stream = "prior"

    def __init__(self, alpha=1.0, N=64, dtype=F64):
        if not alpha > 0 or N < 8 or N % 2:
            raise BadInput(f"CAlpha: alpha = {alpha} should be positive and N = {N} even and at least 8")
        self.alpha, self.N, self.shape, self.dtype = float(alpha), N, (N, N), dtype

    @classmethod
    def example(cls, rng, dtype=F64):
        if dtype.is_complex:
            raise BadInput("CAlpha is a law of real signals")
        return cls(1.0, 16, dtype)

    def backgrounds(self, n, rng):
        """Two fields of mean 0 and variance 1, (n, 2, N, N)."""
        z = torch.fft.fft2(rng.normal(torch.empty(n, 2, self.N, self.N, dtype=F64)))
        k = self.N * torch.fft.fftfreq(self.N, dtype=F64)
        return torch.fft.ifft2(z * _amplitude(torch.hypot(k[:, None], k), self.alpha + 1)).real

    def contours(self, n, rng):
        """Curves of mean 0 and variance 1 at 2 N places, (n, 2 N)."""
        z = torch.fft.fft(rng.normal(torch.empty(n, 2 * self.N, dtype=F64)))
        k = 2 * self.N * torch.fft.fftfreq(2 * self.N, dtype=F64)
        return torch.fft.ifft(z * _amplitude(k.abs(), self.alpha + 0.5)).real

    def sample(self, n, seed, stream=None, first=0):
        """n independent draws, (n, N, N): rows are v, columns u."""
        rng, N = Rng(seed, stream or self.stream, first=first), self.N
        b, c = self.backgrounds(n, rng), N * (0.5 + 0.1 * self.contours(n, rng))
        height = (torch.arange(2 * N, dtype=F64) + 0.5) / 2
        mask = (height[:, None] < c[:, None]).double().unflatten(2, (N, 2)).unflatten(1, (N, 2)).mean((2, 4))
        above, below = 0.7 + 0.1 * b[:, 0], 0.3 + 0.1 * b[:, 1]
        return (mask * above + (1 - mask) * below).to(self.dtype)


def _amplitude(k, power):
    """k^-power without k = 0, of mean square 1, so that white noise of variance 1 keeps its variance."""
    a = torch.where(k > 0, k.clamp_min(1.0) ** -power, 0.0)
    return a / a.square().mean().sqrt()
