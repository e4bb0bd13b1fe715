"""The Beta distribution of a rate, and the beta-binomial of what it brings: two figures of each.

Only what `oversample` asks for. A library with all of statistics takes longer to import than most
waves take to plan, and more memory than they need.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Reals = float | NDArray[np.float64]

# Below the smallest float that a continued fraction may divide by (Lentz's method).
_TINY = 1e-300
_PRECISE = 1e-15
# A step of Newton's method that is as small is its last.
_NEAR = 1e-13


def log_pmf(k: Counts, n: int | Counts, a: Reals, b: Reals) -> NDArray[np.float64]:
    """ln P(`k` of `n`) when the rate is Beta(`a`, `b`).

    `k` and `n` are of one shape, or `n` is one number; `a` and `b` may be columns, shape (m, 1),
    for a row of the answer each. With rising factorials x(x+1)…(x+i-1), which are summed up here as
    logarithms, it is C(n, k) · a^(k) · b^(n-k) / (a+b)^(n).
    """
    steps = np.arange(int(np.max(n, initial=0)))

    def rising(x: Reals) -> Callable[[int | Counts], NDArray[np.float64]]:
        terms = np.log(x + steps)
        none = np.zeros((*terms.shape[:-1], 1))
        sums = np.concatenate([none, np.cumsum(terms, axis=-1)], axis=-1)
        return lambda count: np.asarray(sums[..., count], np.float64)

    factorial = rising(1.0)
    ways = factorial(n) - factorial(k) - factorial(n - k)
    return ways + rising(a)(k) + rising(b)(n - k) - rising(a + b)(n)


@lru_cache(maxsize=65_536)
def quantile(share: float, a: float, b: float) -> float:
    """The rate below which Beta(`a`, `b`) lies with probability `share` (0 to 1, both excluded).

    Newton's method on the cumulative distribution, kept within what is known to hold the answer;
    exact to 1e-10.
    """
    below, above = 0.0, 1.0
    rate = a / (a + b)
    while True:
        excess = _cumulative(rate, a, b) - share
        if excess > 0:
            above = rate
        else:
            below = rate
        density = math.exp(_log_weight(rate, a, b)) / (rate * (1 - rate))
        better = rate - excess / density if density > 0 else below
        if not below < better < above:
            better = (below + above) / 2
        if abs(better - rate) <= _NEAR:
            return better
        rate = better


def _log_weight(x: float, a: float, b: float) -> float:
    """ln of x^a (1-x)^b / B(a, b)."""
    beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return a * math.log(x) + b * math.log1p(-x) - beta


def _cumulative(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for 0 < x < 1.

    By its continued fraction, which converges fast on the left of the mean, and by its symmetry on
    the right: NIST Digital Library of Mathematical Functions, 8.17.22 and 8.17.4.
    """
    weight = math.exp(_log_weight(x, a, b))
    if x < (a + 1) / (a + b + 2):
        return weight / a * _fraction(x, a, b)
    return 1 - weight / b * _fraction(1 - x, b, a)


def _fraction(x: float, a: float, b: float) -> float:
    """1 / (1 + d1 / (1 + d2 / (1 + …))) of DLMF 8.17.22, by the modified Lentz method.

    W. H. Press et al., Numerical Recipes, 3rd ed., sections 5.2 and 6.4.
    """
    upper, lower = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = lower
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            lower = 1 / _nonzero(1 + term * lower)
            upper = _nonzero(1 + term / upper)
            value *= upper * lower
        if abs(upper * lower - 1) < _PRECISE:
            return value
    raise ArithmeticError(f"The incomplete beta function does not converge at {x}, {a}, {b}.")


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
