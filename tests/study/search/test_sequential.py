"""Stopping rules against simulations whose truth is known, and against fixed designs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from study.search.sequential import (
    fixed_width_level,
    fixed_width_look,
    half_width_of,
    judge_looks,
    seeds_for_difference,
    seeds_for_half_width,
    spent_alpha,
)

LOOKS = tuple(range(8, 61, 4))


@pytest.mark.parametrize("spending", ["even", "late"])
def test_the_whole_level_is_spent_at_the_end(spending: str) -> None:
    shares = [spent_alpha(share, 0.05, spending) for share in (0.1, 0.4, 0.7, 1.0)]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.05, rel=1e-12)


def test_late_spending_is_a_normal_tail() -> None:
    # A quarter of the seeds: the bound of 1.96 standard errors is 3.92 of theirs.
    assert spent_alpha(0.25, 0.05, "late") == pytest.approx(8.857e-5, rel=1e-3)


def test_one_look_is_the_sign_flip_test() -> None:
    differences = np.array([0.3, 0.9, -0.2, 0.7, 1.1, 0.4, 0.8, 0.2, -0.1, 0.6])
    (look,) = judge_looks(differences, [10])
    exact = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert look.p_value == pytest.approx(exact.pvalue, abs=0.002)
    assert look.is_rejected == (exact.pvalue <= 0.05)


@pytest.mark.parametrize("looks", [(20,), (10, 20), (8, 12, 16, 20), (8, 10, 12, 14, 16, 20)])
def test_looking_does_not_raise_the_level(looks: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    # Symmetric, with long tails: as differences of alike cells are.
    draws = rng.exponential(size=(200, looks[-1])) - rng.exponential(size=(200, looks[-1]))
    n_found = sum(judge_looks(row, looks)[-1].is_rejected for row in draws)
    assert n_found <= scipy.stats.binom.ppf(0.999, len(draws), 0.05)
    # Looking after every seed without spending is what it guards against.
    counts = np.arange(5, 101)
    naive = rng.standard_normal((400, 100)).cumsum(axis=1)[:, counts - 1] / np.sqrt(counts)
    assert (np.abs(naive) > 1.96).any(axis=1).mean() > 0.25


def test_decisions_are_those_of_the_seeds_so_far() -> None:
    rng = np.random.default_rng(2)
    differences = rng.normal(0.5, 1.0, 40)
    whole = judge_looks(differences, (10, 20, 40))
    for n in (10, 19, 20, 39):
        assert judge_looks(differences[:n], (10, 20, 40)) == [
            look for look in whole if look.n <= n
        ]


def test_an_effect_is_found_with_fewer_seeds_than_planned() -> None:
    rng = np.random.default_rng(3)
    n = seeds_for_difference(1.0, 0.6)
    assert n == 24  # as statsmodels' TTestPower gives: 23.8
    looks, n_used = (8, 12, 16, 20, 24, 28), []
    for _ in range(100):
        found = judge_looks(rng.normal(0.6, 1.0, 28), looks)
        n_used.append(found[-1].n)
    assert np.mean(n_used) < 0.85 * n


@pytest.mark.slow
def test_fixed_widths_hold_what_they_say() -> None:
    nominal = fixed_width_level(LOOKS)
    assert 0.95 < nominal < 0.985
    rng = np.random.default_rng(4)
    for sd in (0.11, 0.16):
        rows = rng.normal(0.0, sd, (1000, LOOKS[-1]))
        stops = [_stop(row, nominal) for row in rows]
        assert 12 < np.mean([n for n, _ in stops]) < 60
        held = [
            abs(row[:n].mean()) <= reached for row, (n, reached) in zip(rows, stops, strict=True)
        ]
        assert np.mean(held) > 0.935  # 2 standard errors below 0.95
        ours = [fixed_width_look(row, LOOKS, 0.05) for row in rows[:50]]
        assert ours == [stop if stop[1] <= 0.05 else None for stop in stops[:50]]
        plain = [_stop(row, 0.95) for row in rows]
        naive = [
            abs(row[:n].mean()) <= reached for row, (n, reached) in zip(rows, plain, strict=True)
        ]
        assert np.mean(naive) < np.mean(held)


def _stop(row: np.ndarray, nominal: float) -> tuple[int, float]:
    """Return the look at which a run stops, the last at the latest, and the half-width there."""
    widths = [half_width_of(float(row[:n].std(ddof=1)), n, nominal) for n in LOOKS]
    at = next((i for i, width in enumerate(widths) if width <= 0.05), len(LOOKS) - 1)
    return LOOKS[at], widths[at]


def test_what_a_sweep_still_needs() -> None:
    n = seeds_for_half_width(0.2, 0.05)
    assert n is not None
    assert half_width_of(0.2, n) <= 0.05 < half_width_of(0.2, n - 1)
    assert seeds_for_half_width(0.0, 0.05) == 2
    assert seeds_for_half_width(1000.0, 0.001) is None
    assert seeds_for_difference(1000.0, 0.001) is None
    assert seeds_for_difference(1e-6, 1.0) == 2 or seeds_for_difference(1e-6, 1.0) == 3


@pytest.mark.parametrize("looks", [(), (1, 5), (5, 5), (8, 4)])
def test_impossible_looks_are_refused(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="looks: must be ascending and begin at 2 or more, got"):
        judge_looks([0.1] * 10, looks)


def test_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="differences: must be finite"):
        judge_looks([0.1, math.nan], (2,))
    with pytest.raises(ValueError, match="share: must be above 0"):
        spent_alpha(0.0, 0.05)
