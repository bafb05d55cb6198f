"""Random numbers keyed by (seed, stream, step, sample index), from the counter-based generator Philox 4x64-10.

A row's draws depend on its index alone: neither on the batch it runs in, nor on the number of ranks, nor on what was
drawn before an interruption. Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from dataclasses import dataclass, replace
from hashlib import blake2b
from math import pi, prod

import numpy as np
import torch

from workbench._errors import BadInput

TINY = 2.0**-54  # half the spacing of the uniforms, so that their logarithm is finite


@dataclass
class Rng:
    """Draws for the rows `first, first + 1, ...` of one step of one stream.

    Equal seeds in different streams are independent. Successive draws within a step differ; a fresh `at(step)` starts
    over, which is what makes a resumed run draw what it would have drawn.
    """

    seed: int
    stream: str = "run"
    step: int = 0
    first: int = 0
    drawn: int = 0

    def __post_init__(self):
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**64:
            raise BadInput(f"seed = {self.seed!r} should be an integer from 0 to 2**64 - 1")

    def at(self, step):
        """The generator of another step."""
        return replace(self, step=step, drawn=0)

    def rows(self, first):
        """The generator of the batch whose first sample has index `first`."""
        return replace(self, first=first, drawn=0)

    def fork(self, stream):
        """An independent generator with the same seed, step and rows."""
        return replace(self, stream=f"{self.stream}/{stream}", drawn=0)

    def normal(self, like):
        """Standard normal rows of the shape, dtype and device of `like`: (n, *signal); complex rows have unit variance
        in each real component. Box and Muller 1958: two uniforms make two normals."""
        n, width = len(like), prod(like.shape[1:]) * (1 + like.is_complex())
        u = self._uniform(n, width).to(like.real.dtype)
        half = u.shape[1] // 2
        radius = (u[:, :half] + TINY).log_().mul_(-2).clamp_min_(0).sqrt_()
        angle = u[:, half:] * (2 * pi)
        z = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :width].to(like.device)
        if like.is_complex():
            return torch.view_as_complex(z.reshape(*like.shape, 2))
        return z.reshape(like.shape)

    def uniform(self, *shape):
        """Uniform float64 numbers in [0, 1) of `shape`, its first axis counting the rows."""
        width = prod(shape[1:])
        return self._uniform(shape[0], width)[:, :width].reshape(shape).contiguous()

    def _uniform(self, n, width):
        """(n, words) uniforms, one 64-bit word each, with words >= width the next multiple of Philox's four."""
        blocks = -(-width // 4)
        stream = int.from_bytes(blake2b(self.stream.encode(), digest_size=8).digest(), "little")
        key = np.array([self.seed, stream], dtype=np.uint64)
        counter = np.array([self.first * blocks, self.drawn, self.step, 0], dtype=np.uint64)
        self.drawn += 1
        words = np.random.Generator(np.random.Philox(key=key, counter=counter)).random((n, 4 * blocks))
        return torch.from_numpy(words)
