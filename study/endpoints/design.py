"""What a number of data seeds can show at all, known before anything runs.

Two cells are compared data seed by data seed, by flipping the signs of their differences: n data
seeds have 2^n sign patterns, and a pattern and its opposite say the same. However large the
differences are, p is not below 2^(1-n); adjusting for a family by step-down maxima adds no floor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

ALPHA = 0.05


def smallest_p(n_data: ArrayLike) -> NDArray[np.floating[Any]]:
    """Return the smallest p-value that sign flips of so many data seeds can give.

    Parameters
    ----------
    n_data : array-like of int
        Data seeds of a comparison.
    """
    return np.asarray(2.0 ** (1.0 - np.asarray(n_data, dtype=np.float64)))


def fewest_data_seeds(alpha: float = ALPHA) -> int:
    """Return the fewest data seeds with which a comparison can be significant.

    Parameters
    ----------
    alpha : float
        The level of the tests, in (0, 1).

    Raises
    ------
    ValueError
        `alpha` is not in (0, 1).

    Examples
    --------
    >>> fewest_data_seeds(), fewest_data_seeds(0.01)
    (6, 8)
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), not {alpha}; 0.05 is usual")
    return 1 + math.ceil(-math.log2(alpha) - 1e-12)
