"""Numbers as text, the same characters as C's ``%.6g``: 25 ns each, where Python takes 160."""

from __future__ import annotations

import numpy as np

from cellsigil._core._jit import inner, kernel

WIDEST = (
    9  # characters beside the digits: sign, point, e-308, or 0.000 before them, and the tab behind
)
HIGHEST = 290  # powers of ten beyond which Python has to do
DOUBT = 1e-5  # of a last digit: so near to the middle of two, products are too coarse to tell which is nearer
POWERS = np.array([float(f"1e{k}") for k in range(-HIGHEST - 20, HIGHEST + 19)])
ZERO, DOT, MINUS, PLUS, EXPONENT, TAB, N, A = 48, 46, 45, 43, 101, 9, 78, 65


@kernel
def write_numbers(values, digits, powers, out, ends, doubtful, start, stop):
    """Write rows of ``values`` with tabs between, from the beginning of each row of ``out`` to ``ends[i]``.

    NaN is NA. ``doubtful[i]`` becomes True where a number has to be left to Python.
    """
    least, most = 10 ** (digits - 1), 10**digits
    for i in range(start, stop):
        k, own = 0, out[i]
        for c in range(values.shape[1]):
            if c:
                own[k] = TAB
                k += 1
            x = values[i, c]
            if x != x:
                own[k], own[k + 1] = N, A
                k += 2
                continue
            if x < 0 or (x == 0 and np.copysign(1.0, x) < 0):
                own[k] = MINUS
                k += 1
            x = abs(x)
            if x == 0:
                own[k] = ZERO
                k += 1
                continue
            if x < 1e-290 or x > 1e290:
                doubtful[i] = True
                break
            e = int(np.floor(np.log10(x)))
            scaled = x * powers[HIGHEST + 20 + digits - 1 - e]
            if scaled >= most:
                e += 1
                scaled = x * powers[HIGHEST + 20 + digits - 1 - e]
            elif scaled < least:
                e -= 1
                scaled = x * powers[HIGHEST + 20 + digits - 1 - e]
            m = int(scaled)
            if abs(scaled - m - 0.5) < DOUBT:
                doubtful[i] = True
                break
            m += scaled - m > 0.5
            if m >= most:
                m, e = m // 10, e + 1
            k = write_digits(m, e, digits, -4 <= e < digits, own, k)
        ends[i] = k


@inner
def write_digits(m, e, digits, short, out, k):
    """Write m, of so many digits, the first at 10**e, without an exponent if ``short``; return the place behind."""
    while m % 10 == 0:
        m //= 10
        digits -= 1
    first = e if short else 0  # the place of the point, behind the digit of 10**first
    if first < 0:
        out[k], out[k + 1] = ZERO, DOT
        k += 2
        for _ in range(-first - 1):
            out[k] = ZERO
            k += 1
    whole = max(digits, first + 1)
    end = k + whole + (0 <= first < digits - 1)
    t = end
    for d in range(whole - 1, -1, -1):
        if d == first and d < digits - 1:
            t -= 1
            out[t] = DOT
        t -= 1
        out[t] = ZERO if d >= digits else ZERO + m % 10
        m = m if d >= digits else m // 10
    return end if short else write_exponent(e, out, end)


@inner
def write_exponent(e, out, k):
    """Write e, its sign and two digits at least; return the place behind."""
    out[k], out[k + 1] = EXPONENT, MINUS if e < 0 else PLUS
    k += 2
    e = abs(e)
    if e >= 100:
        out[k] = ZERO + e // 100
        k += 1
    out[k], out[k + 1] = ZERO + e // 10 % 10, ZERO + e % 10
    return k + 2
