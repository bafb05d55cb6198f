"""Log-densities by change of variables, along a model's own path or one that is given."""

from itertools import pairwise

import torch

from theory.claims._reverse import velocity
from theory.diagnostics.fokker_planck import divergence


def own(model, x, process, times, log_end):
    """log p(x) that `model` says along its own path from t_0 to T: times increase; Heun, exact divergence."""
    return external(model, model, x, process, times, log_end)


def external(model, driver, x, process, times, log_end):
    """log_end(x_T) + int div v dt with v the model's velocity and the path that of `driver`, both of scores."""
    v, path = velocity(model.score, process), velocity(driver.score, process)
    spread = lambda x, t: divergence(v, x, t)
    total = torch.zeros(len(x), dtype=torch.float64)
    slope, rate = path(x, times[0]), spread(x, times[0])
    for t, s in pairwise(times):
        ahead = path(x + (s - t) * slope, s)
        x = x + 0.5 * (s - t) * (slope + ahead)
        slope, later = path(x, s), spread(x, s)
        total, rate = total + 0.5 * (s - t) * (rate + later), later
    return log_end(x) + total
