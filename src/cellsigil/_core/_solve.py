"""Shares of profiles in a mixture: non-negative least squares, EM, and robust log residuals.

Everywhere ``mixtures`` is samples x genes, ``profiles`` genes x types, ``weight`` one number per gene
(1, or how often a bootstrap drew it), ``out`` samples x types; a sample is solved on its own.
"""

from __future__ import annotations

import numpy as np

from cellsigil._core._copy import copy_values
from cellsigil._core._jit import inner, kernel

HUBER = 1.345  # 95 % efficient with normal residuals
TUKEY = 4.685  # the same
SCALE_TOLERANCE = 1e-4  # of the loss, where only the scale is wanted
SMALLEST_SCALE = 0.02  # in log units: residuals below 2 % tell nothing


@inner
def solve_free(gram, rhs, free, x):
    """Solve gram x = rhs over the free variables by Cholesky; dependent ones become 0."""
    n = 0
    at = np.empty(rhs.size, np.int64)
    for k in range(rhs.size):
        x[k] = 0.0
        if free[k]:
            at[n] = k
            n += 1
    low = np.zeros((n, n))
    z = np.zeros(n)
    for i in range(n):
        for j in range(i + 1):
            s = gram[at[i], at[j]]
            for m in range(j):
                s -= low[i, m] * low[j, m]
            if j < i:
                low[i, j] = s / low[j, j]
            else:
                low[i, i] = np.sqrt(s) if s > 1e-12 * gram[at[i], at[i]] else np.inf
        s = rhs[at[i]]
        for m in range(i):
            s -= low[i, m] * z[m]
        z[i] = s / low[i, i]
    for i in range(n - 1, -1, -1):
        s = z[i]
        for m in range(i + 1, n):
            s -= low[m, i] * x[at[m]]
        x[at[i]] = s / low[i, i]


@inner
def nnls_gram(gram, rhs, x):
    """Minimise x'Gx / 2 - h'x over x >= 0 by Lawson and Hanson's active set."""
    n = rhs.size
    free = np.zeros(n, np.bool_)
    z = np.empty(n)
    x[:] = 0.0
    for _ in range(6 * n):
        pick, steepest = -1, 1e-11
        for k in range(n):
            if not free[k] and gram[k, k] > 0:
                slope, size = rhs[k], abs(rhs[k])
                for j in range(n):
                    slope -= gram[k, j] * x[j]
                    size += gram[k, j] * x[j]
                if size > 0 and slope / size > steepest:
                    pick, steepest = k, slope / size
        if pick < 0:
            return
        free[pick] = True
        while True:
            solve_free(gram, rhs, free, z)
            step, blocked = 1.0, -1
            for k in range(n):
                if free[k] and z[k] <= 0 and x[k] / (x[k] - z[k] + 1e-300) < step:
                    step, blocked = x[k] / (x[k] - z[k] + 1e-300), k
            for k in range(n):
                x[k] += step * (z[k] - x[k])
            if blocked < 0:
                break
            x[blocked] = 0.0
            free[blocked] = False


@inner
def add_normal(profiles, y, weight, gram, rhs):
    """Write the normal equations Σ w s s' and Σ w s y over genes."""
    gram[:] = 0.0
    rhs[:] = 0.0
    for g in range(y.size):
        if weight[g] > 0:
            for k in range(rhs.size):
                ws = weight[g] * profiles[g, k]
                rhs[k] += ws * y[g]
                for j in range(k + 1):
                    gram[k, j] += ws * profiles[g, j]
    for k in range(rhs.size):
        for j in range(k):
            gram[j, k] = gram[k, j]


@inner
def mix(profiles, beta, fitted):
    """Write the mixture of profiles with coefficients ``beta``."""
    for g in range(fitted.size):
        s = 0.0
        for k in range(beta.size):
            s += profiles[g, k] * beta[k]
        fitted[g] = s


@kernel
def nnls(mixtures, profiles, weight, out, start, stop):
    """Minimise Σ w (y - Sβ)² over β >= 0."""
    n_types = profiles.shape[1]
    gram, rhs = np.empty((n_types, n_types)), np.empty(n_types)
    for i in range(start, stop):
        add_normal(profiles, mixtures[i], weight, gram, rhs)
        nnls_gram(gram, rhs, out[i])


@kernel
def relative_nnls(mixtures, profiles, weight, floor, rounds, out, start, stop):
    """Minimise Σ w ((y - Sβ) / (Sβ_before + floor))² over β >= 0, ``rounds`` times over.

    The first round divides by the mean over the profiles: dividing by y would favour genes that are low
    by chance.
    """
    n_genes, n_types = profiles.shape
    gram, rhs = np.empty((n_types, n_types)), np.empty(n_types)
    fitted, relative = np.empty(n_genes), np.empty(n_genes)
    for i in range(start, stop):
        out[i, :] = 1.0 / n_types
        for _ in range(rounds):
            mix(profiles, out[i], fitted)
            for g in range(n_genes):
                relative[g] = weight[g] / (fitted[g] + floor) ** 2
            add_normal(profiles, mixtures[i], relative, gram, rhs)
            nnls_gram(gram, rhs, out[i])


@kernel
def em(mixtures, profiles, weight, tolerance, rounds, out, start, stop):
    """Climb the multinomial likelihood from ``out``, which holds shares of all reads, not of these genes' reads.

    θ_k = β_k m_k with m_k the profile's mass on the genes: θ_k <- mean over reads of the chance that
    the read is of type k. A type of share 0 stays 0.
    """
    n_genes, n_types = profiles.shape
    mass, fresh = np.zeros(n_types), np.empty(n_types)
    for g in range(n_genes):
        for k in range(n_types):
            mass[k] += weight[g] * profiles[g, k]
    for i in range(start, stop):
        for _ in range(rounds):
            fresh[:] = 0.0
            for g in range(n_genes):
                s = 0.0
                for k in range(n_types):
                    s += profiles[g, k] * out[i, k]
                if s > 0:
                    share = weight[g] * mixtures[i, g] / s
                    for k in range(n_types):
                        fresh[k] += share * profiles[g, k] * out[i, k]
            change, total = 0.0, 0.0
            for k in range(n_types):
                fresh[k] = fresh[k] / mass[k] if mass[k] > 0 else 0.0
                total += fresh[k]
                change = max(change, abs(fresh[k] - out[i, k]))
            copy_values(fresh, out[i])
            if change <= tolerance * total:
                break


@inner
def rho(x, redescend):
    """Return Huber's loss, or Tukey's biweight scaled to the same curvature."""
    if redescend:
        u = min(1.0, (x / TUKEY) ** 2)
        return TUKEY**2 / 6.0 * (1.0 - (1.0 - u) ** 3)
    return 0.5 * x * x if abs(x) <= HUBER else HUBER * (abs(x) - 0.5 * HUBER)


@inner
def rho_weight(x, redescend):
    """Return ρ'(x) / x."""
    if redescend:
        u = min(1.0, (x / TUKEY) ** 2)
        return (1.0 - u) ** 2
    return 1.0 if abs(x) <= HUBER else HUBER / abs(x)


@inner
def log_loss(log_y, profiles, weight, floor, scale, redescend, beta, residual):
    """Return Σ w ρ(r / s); write r = log(y + c) - log(Sβ + c)."""
    mix(profiles, beta, residual)
    loss = 0.0
    for g in range(log_y.size):
        residual[g] = log_y[g] - np.log(residual[g] + floor)
        loss += weight[g] * rho(residual[g] / scale, redescend)
    return loss


@inner
def weighted_scale(residual, weight):
    """Return 1.4826 x the weighted median of |r|, kept above `SMALLEST_SCALE`."""
    size = np.abs(residual)
    order = np.argsort(size)
    half, seen = 0.5 * weight.sum(), 0.0
    for t in order:
        seen += weight[t]
        if seen >= half:
            return max(SMALLEST_SCALE, 1.4826 * size[t])
    return SMALLEST_SCALE


@inner
def log_step(log_y, profiles, weight, floor, scale, redescend, residual, loss, beta):
    """Take one Gauss-Newton step with backtracking from ``beta``; return the loss after it.

    log(Sβ' + c) = log(Sβ + c) + S(β' - β) / (Sβ + c) to first order: a weighted NNLS in β'.
    """
    n_genes, n_types = profiles.shape
    design, target, bent = np.empty((n_genes, n_types)), np.empty(n_genes), np.empty(n_genes)
    for g in range(n_genes):
        per_unit = np.exp(residual[g] - log_y[g])  # = 1 / (Sβ + c)
        along = 0.0
        for k in range(n_types):
            design[g, k] = profiles[g, k] * per_unit
            along += design[g, k] * beta[k]
        target[g] = residual[g] + along
        bent[g] = weight[g] * rho_weight(residual[g] / scale, redescend)
    gram, rhs = np.empty((n_types, n_types)), np.empty(n_types)
    add_normal(design, target, bent, gram, rhs)
    goal, before, step = np.empty(n_types), beta.copy(), 1.0
    nnls_gram(gram, rhs, goal)
    for _ in range(30):
        for k in range(n_types):
            beta[k] = before[k] + step * (goal[k] - before[k])
        after = log_loss(log_y, profiles, weight, floor, scale, redescend, beta, residual)
        if after < loss:
            return after
        step *= 0.5
    copy_values(before, beta)
    return log_loss(log_y, profiles, weight, floor, scale, redescend, beta, residual)


@inner
def log_descend(log_y, profiles, weight, floor, scale, redescend, tolerance, rounds, beta):
    """Step until the loss no longer falls; return it."""
    residual = np.empty(log_y.size)
    loss = log_loss(log_y, profiles, weight, floor, scale, redescend, beta, residual)
    for _ in range(rounds):
        after = log_step(
            log_y, profiles, weight, floor, scale, redescend, residual, loss, beta
        )  # fmt: skip
        if not after < loss - tolerance * abs(loss):
            return min(loss, after)
        loss = after
    return loss


@kernel
def logrob(mixtures, profiles, weight, starts, floor, tolerance, rounds, out, scale, start, stop):
    """Minimise Σ w ρ((log(y + c) - log(Sβ + c)) / s) over β >= 0.

    First stage: Huber's loss with s the residuals' MAD, refreshed three times, from every row of
    ``starts[:, i]``. Then s is frozen at the smallest found, and Tukey's loss goes down from each end;
    the lower one is kept.
    """
    n_genes, n_types = profiles.shape
    n_starts = starts.shape[0]
    log_y, residual = np.empty(n_genes), np.empty(n_genes)
    ends = np.empty((n_starts, n_types))
    for i in range(start, stop):
        for g in range(n_genes):
            log_y[g] = np.log(mixtures[i, g] + floor)
        scale[i] = np.inf
        for t in range(n_starts):
            beta = ends[t]
            copy_values(starts[t, i], beta)
            for stage in range(4):
                log_loss(log_y, profiles, weight, floor, 1.0, False, beta, residual)
                s = weighted_scale(residual, weight)
                if stage < 3:
                    log_descend(
                        log_y, profiles, weight, floor, s, False, SCALE_TOLERANCE, 20, beta
                    )  # fmt: skip
            scale[i] = min(scale[i], s)
        lowest = np.inf
        for t in range(n_starts):
            loss = log_descend(
                log_y, profiles, weight, floor, scale[i], True, tolerance, rounds, ends[t]
            )  # fmt: skip
            if loss < lowest:
                lowest = loss
                copy_values(ends[t], out[i])
