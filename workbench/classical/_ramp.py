"""The ramp filter of every filtered back-projection."""

from math import pi

import torch


def ramp_filtered(y, spacing, window, curve=None):
    """The views convolved with the band-limited ramp, times `window` over frequency; in 1/mm.

    curve: a factor of the ramp as a function of the distance in samples, for detectors that are curved.

    The ramp is sampled in space, spacing^2 h(n) = 1/4 at 0, -1/(pi n)^2 at odd n, else 0 (Kak and Slaney 1988,
    section 3.3.3): sampled in frequency it would vanish at frequency 0, and the image would lose its mean.
    """
    detectors = y.shape[-1]
    size = (
        1 << (2 * detectors - 1).bit_length()
    )  # long enough for the circular convolution to be the straight one
    n = torch.arange(size, dtype=torch.float64, device=y.device)
    n = torch.minimum(n, size - n)
    h = torch.where(n % 2 == 1, -1 / (pi * n.clamp_min(1)) ** 2, 0.0)
    h[0] = 0.25
    if curve is not None:
        h = torch.where((n > 0) & (n < detectors), h * curve(n.clamp(1, max(detectors - 1, 1))), h)
    nyquist = torch.fft.fftfreq(size, dtype=torch.float64, device=y.device).abs() * 2
    gain = torch.fft.fft(h).real * window(nyquist) / spacing
    q = torch.fft.ifft(torch.fft.fft(y, size) * gain.to(y.dtype.to_real()))[..., :detectors]
    return q if y.is_complex() else q.real
