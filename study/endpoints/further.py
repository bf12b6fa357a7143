"""Endpoints of plug-ins: numbers that are computed from what a trial generated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from study.data.mixture import TrueMixture
from study.plugins import ENDPOINTS

FloatArray = np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What a trial generated, beside the truth.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features)
    means : ndarray or None
        Points without observation noise, if the generator has them.
    control : ndarray of shape (n_samples, n_features)
        A fresh draw of the truth.
    truth : TrueMixture
    log_prob : callable
        Points to log densities in nats, or to None if the generator has no density.
    rng : numpy.random.Generator
        By the trial's seeds.
    """

    samples: FloatArray
    means: FloatArray | None
    control: FloatArray
    truth: TrueMixture
    log_prob: Callable[[FloatArray], FloatArray | None]
    rng: np.random.Generator


def compute_endpoints(
    generated: Generated, names: Iterable[str] | None = None
) -> dict[str, float | None]:
    """Compute the endpoints that plug-ins have added.

    Parameters
    ----------
    generated : Generated
    names : iterable of str, optional
        Only these.

    Raises
    ------
    TypeError
        One is not a number.
    """
    columns: dict[str, float | None] = {}
    for name in ENDPOINTS if names is None else names:
        value = ENDPOINTS[name].compute(generated)
        try:
            columns[name] = None if value is None else float(value)
        except (TypeError, ValueError):
            raise TypeError(f"endpoint {name}: must be a number; found {value!r}") from None
    return columns
