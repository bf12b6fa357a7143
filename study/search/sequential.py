"""How many data seeds are enough: fixed widths, planned looks, and what a sweep still needs.

Symbols: n data seeds, looked at when n is n_1 < ... < n_m (the *looks*, planned before the runs);
one number per data seed, its mean over training seeds. Decisions are functions of these numbers in
the order of the seeds, so a run that was killed, continued or spread over machines decides alike.

*Estimation.* Stop at the first look at which Student's interval is as narrow as wanted. Looking
until it happens to be narrow makes the interval too short: it stops where the spread was
underestimated. The interval's level is therefore raised until, by simulation with normal numbers,
it holds the mean often enough for every spread (`fixed_width_level`).

*Comparison.* Signs of the differences are flipped, as without looks; but of the patterns only so
many may have crossed a bound by look j as the share alpha(n_j / n_m) allows (`judge_looks`). This
holds the level for any law that is symmetric where nothing differs, however many looks there are.

References
----------
Chow, Robbins, On the asymptotic theory of fixed-width sequential confidence intervals, Ann. Math.
Statist. 36 (1965). Lan, DeMets, Discrete sequential boundaries for clinical trials, Biometrika 70
(1983). Jennison, Turnbull, Group Sequential Methods (2000), section 7.2, on flexible spending.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Spending = Literal["even", "late"]

N_RUNS = 20_000
N_PATTERNS = 50_000
# Most data seeds that are searched for an answer; beyond, "more" is the answer.
N_SEARCHED = 100_000
# Half-widths over the standard deviation at which the level is calibrated, between those of the
# first and of the last look.
_N_RATIOS = 24
# A pattern that ties with the observed one must not be lost to rounding.
_TIE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a comparison found.

    Parameters
    ----------
    n : int
        Data seeds so far.
    mean : float
        Of the differences.
    bound : float
        A mean at least as far from zero as this is a rejection; infinite where none can be.
    p_value : float
        Share of sign patterns that cross a bound at an earlier look, or lie as far from zero as
        the observed one at this look.
    is_rejected : bool
    """

    n: int
    mean: float
    bound: float
    p_value: float
    is_rejected: bool


def spent_alpha(share: float, alpha: float, spending: Spending = "even") -> float:
    """Return how much of the level may be spent when a share of the planned seeds is in.

    Parameters
    ----------
    share : float
        In (0, 1].
    alpha : float
        The whole level.
    spending : "even" or "late"
        "even" spends about alike at each look (Pocock's form), "late" hardly anything at the
        first ones (O'Brien and Fleming's form), whose bounds few data seeds cannot reach.

    Raises
    ------
    ValueError
        If the share is not in (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share: must be above 0 and at most 1, got {share}")
    if spending == "even":
        return alpha * math.log1p((math.e - 1.0) * share)
    return float(2.0 * scipy.stats.norm.sf(scipy.stats.norm.isf(alpha / 2.0) / math.sqrt(share)))


def judge_looks(
    differences: ArrayLike,
    looks: Sequence[int],
    *,
    alpha: float = 0.05,
    spending: Spending = "even",
    seed: int = 0,
) -> list[Look]:
    """Test paired differences at planned looks, up to the first rejection.

    Parameters
    ----------
    differences : array of shape (n,)
        One for each data seed, in the order of the seeds; may be shorter than the last look.
    looks : sequence of int
        All planned looks, ascending.
    alpha : float
        Level of the whole, two-sided.
    spending : "even" or "late"
    seed : int
        Seed of the sign patterns.

    Returns
    -------
    list of Look
        One for each look that the differences reach; the last one is rejected, or none is.

    Raises
    ------
    ValueError
        If looks are not ascending, or differences are not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    _check_looks(looks)
    if not np.isfinite(values).all():
        raise ValueError("differences: must be finite; leave out data seeds without a value")
    signs = _patterns(looks[-1], seed)
    alive = np.ones(len(signs), dtype=bool)
    sums, before = np.zeros(len(signs)), 0
    found: list[Look] = []
    for n in looks:
        if n > len(values):
            break
        sums += signs[:, before:n] @ values[before:n]
        means, before = np.abs(sums) / n, n
        observed = abs(values[:n].mean())
        n_crossed = int((~alive).sum())
        n_allowed = math.floor(len(signs) * spent_alpha(n / looks[-1], alpha, spending) + _TIE)
        bound = _bound(means[alive], n_allowed - n_crossed)
        as_far = alive & (means >= observed * (1.0 - _TIE))
        is_rejected = bool(observed >= bound * (1.0 - _TIE))
        found.append(
            Look(
                n=n,
                mean=float(values[:n].mean()),
                bound=bound,
                p_value=(n_crossed + int(as_far.sum())) / len(signs),
                is_rejected=is_rejected,
            )
        )
        if is_rejected:
            break
        alive &= means < bound * (1.0 - _TIE)
    return found


def fixed_width_look(
    values: ArrayLike, looks: Sequence[int], half_width: float, *, level: float = 0.95
) -> tuple[int, float] | None:
    """Find the first look whose interval is narrow enough.

    Parameters
    ----------
    values : array of shape (n,)
        One for each data seed, in the order of the seeds.
    looks : sequence of int
    half_width : float
        What is wanted, in the values' unit.
    level : float
        What the interval is to hold when the run has stopped.

    Returns
    -------
    n : int
        Data seeds at that look.
    reached : float
        The half-width there.
        None in place of both if no look so far is narrow enough.
    """
    numbers = np.asarray(values, dtype=np.float64)
    nominal = fixed_width_level(tuple(looks), level)
    for n in looks:
        if n > len(numbers):
            return None
        reached = half_width_of(float(numbers[:n].std(ddof=1)), n, nominal)
        if reached <= half_width:
            return n, reached
    return None


def half_width_of(sd: float, n: int, level: float = 0.95) -> float:
    """Return half the width of Student's interval of a mean of n numbers."""
    return float(scipy.stats.t.ppf(0.5 + level / 2.0, n - 1) * sd / math.sqrt(n))


@lru_cache(maxsize=32)
def fixed_width_level(looks: tuple[int, ...], level: float = 0.95) -> float:
    """Return the level at which intervals hold `level` though the run stops once they are narrow.

    Parameters
    ----------
    looks : tuple of int
        Ascending, the first at least 2.
    level : float

    Returns
    -------
    float
        At least `level`: the lowest with which the worst of all spreads is held, by simulation
        of 20,000 runs of normal numbers.
    """
    _check_looks(looks)
    means, deviations = _simulated_looks(looks)
    low, high = level, 1.0 - 0.25 * (1.0 - level)
    for _ in range(12):
        nominal = 0.5 * (low + high)
        if _worst_coverage(means, deviations, looks, nominal) < level:
            low = nominal
        else:
            high = nominal
    return high


def _simulated_looks(looks: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Return means and standard deviations (runs, looks) of standard normal numbers."""
    numbers = np.random.default_rng(0).standard_normal((N_RUNS, looks[-1]))
    at = np.array(looks) - 1
    counts = np.array(looks, dtype=np.float64)
    means = np.cumsum(numbers, axis=1)[:, at] / counts
    squares = np.cumsum(numbers**2, axis=1)[:, at] - counts * means**2
    return means, np.sqrt(squares / (counts - 1.0))


def _worst_coverage(
    means: FloatArray, deviations: FloatArray, looks: tuple[int, ...], nominal: float
) -> float:
    counts = np.array(looks, dtype=np.float64)
    quantiles = scipy.stats.t.ppf(0.5 + nominal / 2.0, counts - 1.0)
    reached = quantiles * deviations / np.sqrt(counts)
    is_held = np.abs(means) <= reached
    narrow, wide = quantiles[-1] / math.sqrt(looks[-1]), quantiles[0] / math.sqrt(looks[0])
    shares = []
    for half_width in np.geomspace(narrow, wide, _N_RATIOS):
        stops = reached <= half_width
        stops[:, -1] = True
        first = stops.argmax(axis=1)
        shares.append(is_held[np.arange(len(first)), first].mean())
    return float(min(shares))


def seeds_for_half_width(sd: float, half_width: float, *, level: float = 0.95) -> int | None:
    """Return the fewest data seeds whose interval has this half-width, if their spread is `sd`.

    Returns
    -------
    int or None
        At least 2; None if more than 100,000 are needed.
    """
    counts = np.arange(2, N_SEARCHED + 1)
    reached = scipy.stats.t.ppf(0.5 + level / 2.0, counts - 1) * sd / np.sqrt(counts)
    return _first(counts, reached <= half_width)


def seeds_for_difference(
    sd: float, difference: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Return the fewest data seeds with which a paired t test finds a difference this often.

    Parameters
    ----------
    sd : float
        Standard deviation of the differences over data seeds.
    difference : float
        What is to be found, in the same unit; not zero.
    alpha, power : float

    Returns
    -------
    int or None
        None if more than 100,000 are needed.
    """
    if sd == 0.0:
        return 2
    step, low, high = 1, 1, 2
    while _power(sd, difference, high, alpha) < power:
        step *= 2
        low, high = high, high + step
        if high > N_SEARCHED:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if _power(sd, difference, middle, alpha) < power:
            low = middle
        else:
            high = middle
    return high


def _power(sd: float, difference: float, n: int, alpha: float) -> float:
    shift = abs(difference) * math.sqrt(n) / sd
    bound = float(scipy.stats.t.isf(alpha / 2.0, n - 1))
    if shift > bound + 30.0:  # the series of the noncentral law fails there
        return 1.0
    return float(scipy.stats.nct.sf(bound, n - 1, shift))


def _first(counts: NDArray[np.int64], is_enough: NDArray[np.bool_]) -> int | None:
    return int(counts[is_enough.argmax()]) if is_enough.any() else None


def _bound(means: FloatArray, n_allowed: int) -> float:
    """Return the least bound that at most so many of the means reach."""
    if n_allowed <= 0:
        return math.inf
    if n_allowed >= len(means):
        return 0.0
    descending = np.sort(means)[::-1]
    # Ties with the first mean that may not cross must not cross either.
    above = descending[descending > descending[n_allowed] * (1.0 + _TIE) + 1e-300]
    return float(above[-1]) if len(above) else math.inf


@lru_cache(maxsize=4)
def _patterns(n: int, seed: int) -> FloatArray:
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(N_PATTERNS, n))
    signs[0] = 1.0
    return np.asarray(signs, dtype=np.float64)


def _check_looks(looks: Sequence[int]) -> None:
    is_ascending = all(before < after for before, after in pairwise(looks))
    if not looks or looks[0] < 2 or not is_ascending:
        raise ValueError(f"looks: must be ascending and begin at 2 or more, got {list(looks)}")
