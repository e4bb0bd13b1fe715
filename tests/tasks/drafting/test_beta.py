"""The Beta distribution: as scipy has it, over every shape that a belief may take."""

from itertools import product

import numpy as np
import pytest
from scipy.special import betaincinv, betaln

from imagewave.tasks.drafting.beta import log_pmf, quantile

SHAPES = [1e-3, 0.01, 0.1, 0.3, 0.5, 1, 1.5, 2, 3.7, 5, 10, 33, 64, 100, 250.5, 1e3, 1e4, 1e5]
SHARES = [0.001, 0.05, 0.25, 0.5, 0.95, 0.999]
DRAFTS = [1, 3, 10, 100, 1000]


@pytest.mark.parametrize("a", SHAPES)
def test_quantiles_are_those_of_scipy(a: float) -> None:
    for b, share in product(SHAPES, SHARES):
        found = quantile(share, a, b)
        assert found == pytest.approx(float(betaincinv(a, b, share)), abs=1e-9), (b, share)


@pytest.mark.parametrize("a", SHAPES)
def test_probabilities_are_those_of_scipy(a: float) -> None:
    for b, n in product(SHAPES, DRAFTS):
        k = np.unique(np.linspace(0, n, 12).astype(int))
        ways = -betaln(1.0 + n - k, 1.0 + k) - np.log(n + 1)
        expected = ways + betaln(k + a, n - k + b) - betaln(a, b)
        np.testing.assert_allclose(log_pmf(k, n, a, b), expected, rtol=0, atol=1e-9)


def test_many_counts_and_beliefs_at_once_are_each_as_alone() -> None:
    k, n = np.array([0, 2, 5]), np.array([0, 4, 5])
    spread = np.array([[1.0], [4.0]])

    found = log_pmf(k, n, 0.3 * spread, 0.7 * spread)

    assert found.shape == (2, 3)
    for row, column in product(range(2), range(3)):
        alone = log_pmf(
            k[column : column + 1], int(n[column]), 0.3 * spread[row, 0], 0.7 * spread[row, 0]
        )
        assert found[row, column] == pytest.approx(alone[0], abs=1e-12)


def test_where_nothing_is_known_every_rate_and_count_is_as_likely() -> None:
    assert quantile(0.05, 1, 1) == pytest.approx(0.05, abs=1e-12)
    assert np.exp(log_pmf(np.arange(5), 4, 1, 1)) == pytest.approx([0.2] * 5, abs=1e-12)
