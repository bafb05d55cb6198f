"""What comes out of a run: samples, log-weights, cost and provenance."""

import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from workbench._cost import Cost
from workbench._errors import BadInput
from workbench._rng import Rng


@dataclass(frozen=True, eq=False)
class Posterior:
    """Samples of p(x | y): (n, *shape), with log_weights (n,) float64 that sum to 1 in probability, or None if even.

    log_evidence: log p(y) estimated by the sampler, or None.  cost: counts and seconds.  provenance: what made it.
    trajectory: (k, n, *shape) states kept along the way, or None.  view: how samples are shown.  y: the data, or None.
    """

    samples: Tensor
    log_weights: Tensor | None = None
    log_evidence: float | None = None
    cost: Cost = field(default_factory=Cost)
    provenance: dict = field(default_factory=dict)
    trajectory: Tensor | None = None
    view: Callable | None = None
    y: Tensor | None = None

    def __len__(self):
        return len(self.samples)

    @property
    def weights(self):
        """Normalised weights, (n,) float64."""
        if self.log_weights is None:
            return torch.full((len(self),), 1 / len(self), dtype=torch.float64)
        return torch.softmax(self.log_weights, 0)

    @property
    def ess(self):
        """The effective sample size (sum w)^2 / sum w^2."""
        return 1 / (self.weights**2).sum().item()

    def _weights_like(self, x):
        return self.weights.to(x.device, x.dtype).reshape(-1, *[1] * (x.ndim - 1))

    def mean(self):
        """The weighted mean, (*shape)."""
        return (self._weights_like(self.samples) * self.samples).sum(0)

    def std(self):
        """The weighted standard deviation, (*shape), real: sqrt(E |x - mean|^2), unbiased in the even case.

        For complex samples that is the total over both real components.
        """
        w = self._weights_like(self.samples.abs())
        spread = (w * (self.samples - self.mean()).abs() ** 2).sum(0)
        return torch.sqrt(spread / max(1 - (self.weights**2).sum().item(), 1e-12))

    def quantile(self, q):
        """The weighted q-quantile of each entry, q in [0, 1]: (*shape). Complex samples have none: map them first."""
        x = self.samples
        if x.is_complex():
            raise BadInput(
                "quantile: complex samples have no order; use post.map(torch.abs).quantile(q) or .map(torch.angle)"
            )
        if not 0 <= q <= 1:
            raise BadInput(f"quantile: q = {q} should lie in [0, 1]")
        if self.log_weights is None:
            return _even_quantile(x, q)
        x, order = x.sort(0)
        level = self.weights.to(x.device)[order].cumsum(0)
        index = (level < q - 1e-12).sum(0, keepdim=True).clamp_max(len(x) - 1)
        return x.gather(0, index)[0]

    def map(self, f):
        """The posterior of f(x), for example torch.abs or torch.angle; weights, cost and provenance stay."""
        return replace(self, samples=f(self.samples), trajectory=None, view=None)

    def resampled(self, n, seed):
        """n evenly weighted samples drawn from these by systematic resampling, shuffled."""
        rng = Rng(seed, "resampled")
        u = (torch.arange(n, dtype=torch.float64) + rng.uniform(1)) / n
        edges = self.weights.cumsum(0)
        index = torch.searchsorted(edges / edges[-1], u, right=True).clamp_max(len(self) - 1)
        index = index[rng.uniform(n).argsort()].to(self.samples.device)
        return replace(self, samples=self.samples[index], log_weights=None, trajectory=None)

    def show(self):
        """The samples as the problem shows them."""
        return self if self.view is None else self.map(self.view)

    def save(self, path, overwrite=False):
        """Write a run folder: run.json and samples.zarr, a DataTree with the groups ArviZ expects (posterior,
        sample_stats, observed_data). It is written beside and renamed; an existing folder is refused without `overwrite`."""
        path = Path(path)
        if path.exists() and not overwrite:
            raise BadInput(f"path = {path} exists; give another, or overwrite=True (--overwrite)")
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            beside.mkdir(parents=True)
        except OSError as error:
            raise BadInput(
                f"path = {path} cannot be written ({error.strerror}); give a folder that can be"
            ) from None
        with (
            warnings.catch_warnings()
        ):  # zarr's, that consolidated metadata, which xarray wants, are an extension
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            self._tree().to_zarr(beside / "samples.zarr")
        note = dict(
            log_evidence=self.log_evidence, ess=self.ess, cost=asdict(self.cost), provenance=self.provenance
        )
        (beside / "run.json").write_text(json.dumps(note, indent=1))
        if path.exists():
            shutil.rmtree(path)
        os.replace(beside, path)
        return path

    def _tree(self):
        import xarray

        axes = [f"axis_{i}" for i in range(self.samples.ndim - 1)]
        x = self.samples.detach().cpu().numpy()[None]
        groups = {"posterior": xarray.Dataset({"x": (["chain", "draw", *axes], x)})}
        if self.log_weights is not None:
            weights = self.log_weights.cpu().numpy()[None]
            groups["sample_stats"] = xarray.Dataset({"log_weight": (["chain", "draw"], weights)})
        if self.y is not None:
            y = self.y.detach().cpu().numpy()
            groups["observed_data"] = xarray.Dataset({"y": ([f"y_axis_{i}" for i in range(y.ndim)], y)})
        if self.trajectory is not None:
            groups["trajectory"] = xarray.Dataset(
                {"x": (["kept", "draw", *axes], self.trajectory.cpu().numpy())}
            )
        for data in groups.values():
            if "draw" in data.dims:
                data.coords["draw"] = range(len(self))
        return xarray.DataTree.from_dict(groups)

    @classmethod
    def load(cls, path):
        """The Posterior that `save` wrote."""
        import xarray

        path = Path(path)
        if not (path / "run.json").is_file() or not (path / "samples.zarr").is_dir():
            raise BadInput(
                f"path = {path} is not a run folder (run.json and samples.zarr); give the folder of --out"
            )
        try:
            note = json.loads((path / "run.json").read_text())
            with xarray.open_datatree(path / "samples.zarr", engine="zarr") as tree:
                read = lambda group, name: (
                    torch.from_numpy(tree[group][name].values.copy()) if group in tree else None
                )  # noqa: E731
                x, weights = read("posterior", "x")[0], read("sample_stats", "log_weight")
                kept, y = read("trajectory", "x"), read("observed_data", "y")
            weights = None if weights is None else weights[0]
            return cls(x, weights, note["log_evidence"], Cost(**note["cost"]), note["provenance"], kept, y=y)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"path = {path} is damaged ({error}); run it again") from None

    def __repr__(self):
        name = self.provenance.get("sampler", "")
        return f"Posterior({tuple(self.samples.shape)}, {self.samples.dtype}, ess={self.ess:.0f}, {name})"

    def _repr_html_(self):
        from workbench.viz.panel import posterior_html

        return posterior_html(self)


def _even_quantile(x, q):
    """The q-quantile over the first axis with linear interpolation (torch.quantile refuses large arrays)."""
    place = q * (len(x) - 1)
    low = int(place)
    ordered = x.sort(0).values
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(x) - 1)] - ordered[low])
