"""Optuna's samplers, and CMA-ES, on a history that is known anew each time.

No sampler object lives from one proposal to the next: it is made from a seed and the cells
measured so far, so a proposal can be repeated from the record alone.

"gp" and "cmaes" know no conditional fields. They see every field in every cell: one that is not
active has the middle of its range there, and is left out of what they propose.

References
----------
Nomura, Watanabe, Akimoto, Ozaki, Onishi, "Warm Starting CMA-ES for Hyperparameter Optimization",
https://arxiv.org/abs/2012.06932
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cmaes
import numpy as np
import optuna

from study.config.search_space import Dimension, Point, SearchConfig

# Proposals of one asking: later ones serve when the first are cells that are known already.
ATTEMPTS = 10
POPULATION = 20  # of NSGA-II
# CMA-ES starts from the normal distribution of this share of the cells, the best ones.
PROMISING = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCell:
    """A cell that was asked for before.

    Parameters
    ----------
    point : dict
    means : ndarray, shape (n_objectives,)
        Values to be minimized; NaN where there is none.
    is_running : bool
    rungs : mapping of int to float, or None
        Of a cell that was stopped: its objective by epoch, to be minimized.
    """

    point: Point
    means: np.ndarray
    is_running: bool
    rungs: Mapping[int, float] | None = None

    @property
    def is_known(self) -> bool:
        """Return whether every objective has a value."""
        return bool(np.isfinite(self.means).all())


def ask(config: SearchConfig, past: Sequence[PastCell], *, seed: int) -> Iterator[Point]:
    """Propose cells, the best first.

    Parameters
    ----------
    config : SearchConfig
    past : sequence of PastCell
        Cells in the order of asking; at least one has a value.
    seed : int

    Yields
    ------
    dict
        A point of the space.
    """
    if config.options.sampler == "cmaes":
        yield from _ask_cmaes(config, past, seed=seed)
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    whole = config.options.sampler == "gp"
    study = optuna.create_study(
        directions=["minimize"] * len(config.objectives), sampler=_sampler(config, seed=seed)
    )
    study.add_trials([_past_trial(config, i, cell, whole=whole) for i, cell in enumerate(past)])
    for _ in range(ATTEMPTS):
        trial = study.ask()
        point: Point = {}
        for dimension in config.space:
            if whole or dimension.is_active(point):
                point[dimension.name] = dimension.tidy(_suggest(trial, dimension))
        yield config.active(point)


def _ask_cmaes(config: SearchConfig, past: Sequence[PastCell], *, seed: int) -> Iterator[Point]:
    """Draw from CMA-ES as it starts from the best cells so far, however few have a value."""
    known = [
        (np.array([d.to_unit(v) for d, v in config.completed(cell.point)]), float(cell.means[0]))
        for cell in past
        if cell.is_known
    ]
    share = max(PROMISING, 1.0 / len(known))
    mean, sigma, covariance = cmaes.get_warm_start_mgd(known, gamma=share)
    bounds = np.tile([0.0, 1.0], (len(mean), 1))
    optimizer = cmaes.CMA(mean=mean, sigma=sigma, cov=covariance, bounds=bounds, seed=seed)
    for _ in range(ATTEMPTS):
        yield config.point(optimizer.ask().tolist())


def _past_trial(
    config: SearchConfig, number: int, cell: PastCell, *, whole: bool
) -> optuna.trial.FrozenTrial:
    held = [
        (dimension, value)
        for dimension, value in config.completed(cell.point)
        if whole or dimension.name in cell.point
    ]
    states = optuna.trial.TrialState
    unknown = states.RUNNING if cell.is_running else states.FAIL
    if cell.rungs is not None:
        unknown = states.PRUNED  # TPE takes it as worse than every measured cell
    return optuna.trial.create_trial(
        params={d.name: _parameter(d, value) for d, value in held},
        distributions={d.name: _distribution(d) for d, _ in held},
        values=cell.means.tolist() if cell.is_known else None,
        state=states.COMPLETE if cell.is_known else unknown,
        intermediate_values=dict(cell.rungs or {}),
        system_attrs={"NSGAIISampler:generation": number // POPULATION},
    )


def _sampler(config: SearchConfig, *, seed: int) -> optuna.samplers.BaseSampler:
    kind = config.options.sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if kind == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)
        if kind == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
        conditional = any(dimension.when for dimension in config.space)
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=1,
            multivariate=True,
            group=conditional,
            constant_liar=True,
        )


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    if dimension.kind == "choice":
        if dimension.is_ordered:
            # Numbers are ordered: their ranks are searched, not unrelated names.
            return optuna.distributions.IntDistribution(0, len(dimension.choices) - 1)
        return optuna.distributions.CategoricalDistribution(
            [repr(value) for value in dimension.choices]
        )
    if dimension.kind == "int":
        return optuna.distributions.IntDistribution(
            int(dimension.low), int(dimension.high), log=dimension.log
        )
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _parameter(dimension: Dimension, value: Any) -> Any:
    if dimension.kind != "choice":
        return value
    return dimension.choices.index(value) if dimension.is_ordered else repr(value)


def _suggest(trial: optuna.Trial, dimension: Dimension) -> Any:
    name, low, high = dimension.name, dimension.low, dimension.high
    if dimension.kind == "float":
        return trial.suggest_float(name, low, high, log=dimension.log)
    if dimension.kind == "int":
        return trial.suggest_int(name, int(low), int(high), log=dimension.log)
    if dimension.is_ordered:
        return dimension.choices[trial.suggest_int(name, 0, len(dimension.choices) - 1)]
    chosen = trial.suggest_categorical(name, [repr(value) for value in dimension.choices])
    return next(choice for choice in dimension.choices if repr(choice) == chosen)
