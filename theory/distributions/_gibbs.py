"""Gibbs sampling of Gaussian scale mixtures, compiled: a random walk seen point by point, or any linear data.

An increment is u_i = s_i sqrt(v_i) n_i with n_i standard normal. A sweep draws the switches s given the variances v with
every u marginalised, then all u at once given both, then each v given its u; means and covariances are those of the
Gaussian given s and v, averaged (Rao and Blackwell). A variance of 0 is an ordinary case: nothing is divided by it.
"""

from math import cos, log, pi, sqrt

import numpy as np
from numba import njit

GAUSS, LAPLACE, BERNOULLI_LAPLACE, STUDENT = range(4)
COLD = 1e-4  # the power of the likelihood at the first sweep of `linear`
TINY = 1e-100  # of an increment that is exactly 0, where its variance is drawn


def compiled(function):
    """The function as machine code, kept for the next process where there is a folder to keep it in."""
    try:
        return njit(cache=True)(function)
    except RuntimeError:
        return njit(function)


@compiled
def uniform(state):
    """The next number in (0, 1) of SplitMix64 (Steele, Lea and Flood 2014); state: (1,) uint64."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (float(z >> np.uint64(11)) + 0.5) * 2.0**-53


@compiled
def normal(state):
    return sqrt(-2 * log(uniform(state))) * cos(2 * pi * uniform(state))


@compiled
def gamma(shape, state):
    """A gamma variable of scale 1 (Marsaglia and Tsang 2000)."""
    boost = 1.0
    if shape < 1:
        boost = uniform(state) ** (1 / shape)
        shape += 1
    d = shape - 1 / 3
    while True:
        z = normal(state)
        w = (1 + z / sqrt(9 * d)) ** 3
        if w > 0 and log(uniform(state)) < 0.5 * z * z + d - d * w + d * log(w):
            return boost * d * w


@compiled
def laplace_variance(u, b, state):
    """v given u: 1 / v inverse Gaussian of mean 1 / (b |u|), shape 1 / b^2 (Michael, Schucany and Haas 1976)."""
    size = max(abs(u), TINY * b)
    w = 0.5 * normal(state) ** 2 * b / size
    root = 1 + w + sqrt(w * (2 + w))
    return b * size * root if uniform(state) * (1 + 1 / root) < 1 else b * size / root


@compiled
def variance(code, p, u, on, state):
    """v given u of one increment; from its prior where the increment is switched off.  p: see the increments."""
    if code == GAUSS:
        return p[0]
    if code == STUDENT:
        return 0.5 * (p[0] * p[1] ** 2 + u * u) / gamma(0.5 * (p[0] + 1), state)
    if not on:
        return -2 * p[0] ** 2 * log(uniform(state))
    return laplace_variance(u, p[0], state)


@compiled
def start(code, p, v, s, state):
    """Variances, and switches, from the prior."""
    for i in range(len(v)):
        if code == GAUSS:
            v[i] = p[0]
        elif code == STUDENT:
            v[i] = 0.5 * p[0] * p[1] ** 2 / gamma(0.5 * p[0], state)
        else:
            v[i] = -2 * p[0] ** 2 * log(uniform(state))
        s[i] = code != BERNOULLI_LAPLACE or uniform(state) < p[1]


@compiled
def weigh(m, P, precision, shift):
    """log of the integral of N(x; m, P) exp(-precision x^2 / 2 + shift x)."""
    one = 1 + precision * P
    return (shift * m + 0.5 * P * shift**2 - 0.5 * precision * m**2) / one - 0.5 * log(one)


@compiled
def messages(w, q, b, precision, shift):
    """What the data from i on say of x_i, i = L-1, ..., 0: exp(-precision_i x^2 / 2 + shift_i x)."""
    L = len(w)
    precision[L - 1], shift[L - 1] = q[L - 1], b[L - 1]
    for i in range(L - 2, -1, -1):
        one = 1 + w[i + 1] * precision[i + 1]
        precision[i], shift[i] = q[i] + precision[i + 1] / one, b[i] + shift[i + 1] / one


@compiled
def walk(seeds, code, p, q, b, burn_in, draws, second):
    """x = cumulative sum of u, data exp(-q x^2 / 2 + b x) at each point; q, b: (n, L).

    E[x] (n, L), Cov[x] (n, L, L) if `second`, and the last draw (n, L), each row from a chain of its own.
    """
    n, L = b.shape
    mean, last = np.zeros((n, L)), np.zeros((n, L))
    cov = np.zeros((n, L, L) if second else (n, 0, 0))
    v, w, s = np.empty(L), np.empty(L), np.empty(L, np.bool_)
    m, P, x, c = np.empty(L), np.empty(L), np.empty(L), np.empty(L)
    precision, shift, C = np.empty(L), np.empty(L), np.empty((L, L))
    state = np.empty(1, np.uint64)
    for r in range(n):
        state[0] = seeds[r]
        start(code, p, v, s, state)
        for sweep in range(burn_in + draws):
            for i in range(L):
                w[i] = v[i] if s[i] else 0.0
            if code == BERNOULLI_LAPLACE:
                messages(w, q[r], b[r], precision, shift)
            before, spread = 0.0, 0.0
            for i in range(L):  # forward: the filter, and the switch of each increment on its way
                if code == BERNOULLI_LAPLACE:
                    odds = weigh(before, spread + v[i], precision[i], shift[i])
                    odds += log(p[1] / (1 - p[1])) - weigh(before, spread, precision[i], shift[i])
                    s[i] = log(1 / uniform(state) - 1) < odds
                    w[i] = v[i] if s[i] else 0.0
                ahead = spread + w[i]
                one = 1 + q[r, i] * ahead
                before, spread = (before + ahead * b[r, i]) / one, ahead / one
                m[i], P[i] = before, spread
            if sweep >= burn_in:
                smooth(m, P, w, c, C, second)
                for i in range(L):
                    mean[r, i] += c[i]
                if second:
                    for i in range(L):
                        for j in range(L):
                            cov[r, i, j] += C[i, j] + c[i] * c[j]
            x[L - 1] = m[L - 1] + sqrt(P[L - 1]) * normal(state)
            for i in range(L - 1, -1, -1):  # backward: u_i given x_i, then x_{i-1} = x_i - u_i
                before, spread = (m[i - 1], P[i - 1]) if i else (0.0, 0.0)
                total = spread + w[i]
                share = w[i] / total if total > 0 else 0.0
                u = share * (x[i] - before)
                if i:
                    u += sqrt(share * spread) * normal(state)
                    x[i - 1] = x[i] - u
                v[i] = variance(code, p, u, s[i], state)
        last[r] = x
    finish(mean, cov, draws)
    return mean, cov, last


@compiled
def smooth(m, P, w, c, C, second):
    """The means c and covariances C of x given all data (Rauch, Tung and Striebel 1965)."""
    L = len(m)
    c[L - 1], C[L - 1, L - 1] = m[L - 1], P[L - 1]
    for i in range(L - 2, -1, -1):
        total = P[i] + w[i + 1]
        J = P[i] / total if total > 0 else 1.0
        c[i] = m[i] + J * (c[i + 1] - m[i])
        if second:
            C[i, i] = (1 - J) * P[i] + J * J * C[i + 1, i + 1]
            for j in range(i + 1, L):
                C[i, j] = J * C[i + 1, j]
                C[j, i] = C[i, j]


@compiled
def finish(mean, cov, draws):
    """Sums over draws into averages, second moments into covariances."""
    if draws == 0:
        return
    mean /= draws
    if cov.shape[1]:
        cov /= draws
        for r in range(len(mean)):
            for i in range(mean.shape[1]):
                for j in range(mean.shape[1]):
                    cov[r, i, j] -= mean[r, i] * mean[r, j]


@compiled
def factor(K, w, active, R):
    """The lower Cholesky factor of I + w^{1/2} K w^{1/2} on the active increments."""
    for a in range(len(active)):
        for e in range(a + 1):
            total = sqrt(w[active[a]] * w[active[e]]) * K[active[a], active[e]]
            for k in range(e):
                total -= R[a, k] * R[e, k]
            if a == e:
                R[a, a] = sqrt(1 + total)
            else:
                R[a, e] = total / R[e, e]


@compiled
def switch(K, k, v, s, logit, state):
    """Each switch given the others and v, all increments marginalised, in place: rank-one changes of B^T S^{-1} B."""
    L = len(k)
    H, g = K.copy(), k.copy()
    for i in range(L):
        if s[i]:
            change(H, g, i, v[i])
    for i in range(L):
        out = 1 - v[i] * H[i, i] if s[i] else 1.0
        h, c = H[i, i] / out, g[i] / out
        one = 1 + v[i] * h
        on = log(1 / uniform(state) - 1) < logit - 0.5 * log(one) + 0.5 * v[i] * c * c / one
        if on != s[i]:
            change(H, g, i, v[i] if on else -v[i])
            s[i] = on


@compiled
def change(H, g, i, delta):
    """H and g as the variance of increment i grows by delta (Sherman and Morrison 1950)."""
    share = delta / (1 + delta * H[i, i])
    row, top = H[i].copy(), g[i]
    for a in range(len(g)):
        g[a] -= share * row[a] * top
        for e in range(len(g)):
            H[a, e] -= share * row[a] * row[e]


@compiled
def linear(seeds, code, p, K, k, burn_in, draws, second):
    """Data exp(-u^T K u / 2 + k^T u): K: (L, L), k: (n, L).

    In the first half of the burn-in the data enter to a power that grows from 1e-4 to 1: one large increment that
    stands beside its place is given up only while the noise still seems large.
    E[u] (n, L), Cov[u] (n, L, L) if `second`, and the last draw (n, L), each row from a chain of its own.
    """
    n, L = k.shape
    mean, last = np.zeros((n, L)), np.zeros((n, L))
    cov = np.zeros((n, L, L) if second else (n, 0, 0))
    v, w, s = np.empty(L), np.empty(L), np.empty(L, np.bool_)
    R, u, c, z = np.zeros((L, L)), np.empty(L), np.empty(L), np.empty(L)
    state, warm = np.empty(1, np.uint64), burn_in // 2
    for r in range(n):
        state[0] = seeds[r]
        start(code, p, v, s, state)
        for sweep in range(burn_in + draws):
            power = COLD ** (1 - sweep / warm) if sweep < warm else 1.0
            if code == BERNOULLI_LAPLACE:
                switch(power * K, power * k[r], v, s, log(p[1] / (1 - p[1])), state)
            for i in range(L):
                w[i] = v[i] if s[i] else 0.0
            active = np.nonzero(s)[0]
            factor(power * K, w, active, R)
            gaussian(R, w, active, power * k[r], c, z, state)
            for i in range(L):
                u[i] = c[i] + z[i]
            if sweep >= burn_in:
                mean[r] += c
                if second:
                    spread(R, w, active, c, cov[r])
            for i in range(L):
                v[i] = variance(code, p, u[i], s[i], state)
        last[r] = u
    finish(mean, cov, draws)
    return mean, cov, last


@compiled
def gaussian(R, w, active, k, c, z, state):
    """The mean c of u and a draw z of what is about it: w^{1/2} R^{-T} (R^{-1} w^{1/2} k) and w^{1/2} R^{-T} n."""
    c[:], z[:] = 0.0, 0.0
    a = len(active)
    half, n = np.empty(a), np.empty(a)
    for i in range(a):
        total = sqrt(w[active[i]]) * k[active[i]]
        for j in range(i):
            total -= R[i, j] * half[j]
        half[i], n[i] = total / R[i, i], normal(state)
    for i in range(a - 1, -1, -1):
        for j in range(i + 1, a):
            half[i] -= R[j, i] * half[j]
            n[i] -= R[j, i] * n[j]
        half[i], n[i] = half[i] / R[i, i], n[i] / R[i, i]
        root = sqrt(w[active[i]])
        c[active[i]], z[active[i]] = root * half[i], root * n[i]


@compiled
def spread(R, w, active, c, cov):
    """Adds c c^T + w^{1/2} (R R^T)^{-1} w^{1/2}."""
    a = len(active)
    inverse = np.zeros((a, a))
    for j in range(a):
        inverse[j, j] = 1 / R[j, j]
        for i in range(j + 1, a):
            total = 0.0
            for m in range(j, i):
                total -= R[i, m] * inverse[m, j]
            inverse[i, j] = total / R[i, i]
    inside = inverse.T @ inverse
    for i in range(a):
        for j in range(a):
            cov[active[i], active[j]] += sqrt(w[active[i]] * w[active[j]]) * inside[i, j]
    for i in range(len(c)):
        for j in range(len(c)):
            cov[i, j] += c[i] * c[j]
