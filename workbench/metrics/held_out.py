"""Prediction of measurements that were held out, scored: a judge of samplers where no truth is known."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from workbench._errors import BadInput
from workbench._rng import Rng
from workbench.metrics.scoring import crps
from workbench.operators.dense import Dense
from workbench.operators.mask import Mask
from workbench.problem import Problem


@dataclass(frozen=True)
class Split:
    """rest: the Problem whose data are those where `kept` is True.  whole: the Problem with all data.  kept: (*m) bool."""

    rest: Problem
    whole: Problem
    kept: Tensor

    def score(self, post, seed):
        """The CRPS of the held-out data under noise(A(x)), x the draws of `post`, a Posterior of `rest`: lower is better.

        Noise is drawn with `seed`, the same for any two posteriors of as many draws. Proper for the predictive law of each
        measurement, for any noise that can be drawn; in the units of y.
        """
        clean = torch.cat([self.whole.A(x) for x in post.samples.to(self.kept.device).split(64)])
        again = self.whole.noise.draw(clean, Rng(seed, "predicted"))
        return crps(again[:, ~self.kept], self.whole.y[~self.kept], post.weights)


def hold_out(problem, share=0.1, seed=0):
    """`problem` without a random `share` of its measurements, at least one, and what judges its draws by them: a Split.

    The operator of the rest is a row choice after A. Raises BadInput for fewer than two measurements, and for noise that
    is correlated between them.
    """
    count = problem.y.numel()
    if count < 2:
        raise BadInput(
            f"hold_out: the problem has {count} measurement, so none can be held out; give its truth"
        )
    if not 0 < share < 1:
        raise BadInput(f"hold_out: share = {share} should lie between 0 and 1, for example 0.1")
    hidden = min(max(1, round(share * count)), count - 1)
    kept = torch.ones(count, dtype=torch.bool)
    kept[Rng(seed, "held out").uniform(1, count)[0].argsort()[:hidden]] = False
    kept = kept.reshape(problem.y.shape).to(problem.y.device)
    rest = replace(
        problem, A=rows(problem.A, kept), noise=noise_of(problem, kept), y=problem.y[kept].flatten()
    )
    return Split(rest, problem, kept)


def rows(A, kept):
    """The measurements of A where `kept` is True: (kept.sum(),). Dense and Mask stay what they are, and keep their SVD."""
    if type(A) is Dense:
        return replace(A, matrix=A.matrix[kept])
    if type(A) is Mask:
        mask = torch.zeros_like(A.mask)
        mask[A.mask] = kept
        return replace(A, mask=mask)
    return Mask(kept, A.out_dtype) @ A


def noise_of(problem, kept):
    """The law of the kept measurements: parameters that broadcast to y lose the entries that y loses."""
    noise, narrow = problem.noise, {}
    for f in fields(noise):
        value = getattr(noise, f.name)
        if isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.ndim == 0):
            continue
        if f.type != float | Tensor:
            raise BadInput(
                f"hold_out: noise.{type(noise).__name__} is correlated between measurements; whiten the problem first, "
                f"or give its truth"
            )
        narrow[f.name] = value.expand(problem.y.shape)[kept]
    return replace(noise, **narrow) if narrow else noise
