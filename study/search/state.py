"""Adaptive sweeps: which cell to measure next, and which to measure better.

`Search` is a state machine without files, Ray or clock: `next_work` says what to run, `finish`
takes the answers. Every proposal depends on the finished works and its own number alone, never on
hidden state of a sampler, so a search continues from its record after any interruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.stats import qmc

from study.config.early_stopping import Rung, rung_limit
from study.config.search_space import MAX_GRID, Point, SearchConfig
from study.config.sections import Replicates
from study.search.boundary import Surface, fit_surface, propose
from study.search.race import (
    CellEstimates,
    best_cell,
    estimate_cells,
    next_contender,
    pareto_front,
)
from study.search.sampler import ATTEMPTS, PastCell, ask

Seeds = tuple[int, int, int]
Values = tuple[float | None, ...]
Purpose = Literal["explore", "race", "remeasure"]

# Cells of a low-discrepancy sequence before the sampler has something to learn from.
N_STARTUP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One cell and the replicates that are to be run of it, as one stack.

    Parameters
    ----------
    work : int
        Number of the work, in the order of asking.
    suggestion : int
        Number of the cell.
    point : dict
        What the search sets, by dotted field name.
    seeds : tuple of (data seed, init seed, sample seed)
    purpose : "explore", "race" or "remeasure"
        A new cell; more replicates of a contender; fresh seeds for a winner.
    rungs : tuple of Rung
        Where it is stopped if it has no hope.
    """

    work: int
    suggestion: int
    point: Point
    seeds: tuple[Seeds, ...]
    purpose: Purpose
    rungs: tuple[Rung, ...] = ()


@dataclass(slots=True)
class Suggestion:
    """One cell of the search: what is asked and known of it.

    `rungs` holds its mean objective at the rungs that it reached.
    """

    number: int
    point: Point
    asked: set[Seeds] = field(default_factory=set)
    values: dict[Seeds, Values] = field(default_factory=dict)
    fresh: dict[Seeds, Values] = field(default_factory=dict)
    remeasured: bool = False
    rungs: dict[int, float] = field(default_factory=dict)
    is_stopped: bool = False


class Search:
    """The state of an adaptive sweep.

    Parameters
    ----------
    config : SearchConfig
    replicates : Replicates
        Seeds that a cell is measured on at most.
    rungs : sequence of int
        Epochs at which new cells without hope are stopped.
    """

    def __init__(
        self, config: SearchConfig, replicates: Replicates, *, rungs: Sequence[int] = ()
    ) -> None:
        self.config = config
        self.rungs = tuple(rungs)
        self.seeds = _ordered(replicates)
        self.fresh_seeds = _ordered(_fresh(replicates))
        self.suggestions: list[Suggestion] = []
        self.running: dict[int, Work] = {}
        self.n_works = 0
        self.worker_s = 0.0

    @property
    def n_asked(self) -> int:
        """Trainings asked for so far, re-measuring left out."""
        return sum(len(suggestion.asked) for suggestion in self.suggestions)

    @property
    def n_reserved(self) -> int:
        """Trainings kept for re-measuring the winners, and spent on those of a smaller budget."""
        if self.config.options.goal == "boundary":
            return 0
        n_before = sum(suggestion.remeasured for suggestion in self.suggestions)
        return (n_before + self.config.options.remeasure) * len(self.fresh_seeds)

    def next_work(self) -> Work | None:
        """Choose what to run next and count it as running.

        Returns
        -------
        Work or None
            None when nothing is to be started now: wait for what runs, or, if nothing runs, the
            search is over.
        """
        if self._may_explore():
            work = self._race_or_explore()
            if work is not None:
                return self.start(work)
        if self.running:
            return None
        work = self._remeasure()
        return None if work is None else self.start(work)

    def start(self, work: Work) -> Work:
        """Count a work as running: one just chosen, or one of the record that did not finish."""
        while len(self.suggestions) <= work.suggestion:
            self.suggestions.append(Suggestion(len(self.suggestions), dict(work.point)))
        suggestion = self.suggestions[work.suggestion]
        if work.purpose == "remeasure":
            suggestion.remeasured = True
        else:
            suggestion.asked |= set(work.seeds)
        self.running[work.work] = work
        self.n_works = max(self.n_works, work.work + 1)
        return work

    def finish(
        self,
        work: Work,
        answers: Mapping[Seeds, Mapping[str, Any] | None],
        worker_s: float = 0.0,
        *,
        rungs: Mapping[int, float] | None = None,
        is_stopped: bool = False,
    ) -> None:
        """Take the answers of a work that runs.

        Parameters
        ----------
        work : Work
        answers : mapping of seeds to row or None
            Columns of the trials table; None for a trial that failed.
        worker_s : float
            Time it took on one worker, seconds.
        rungs : mapping of int to float, optional
            Its mean objective at the rungs that it reached, by epoch.
        is_stopped : bool
            Whether it was stopped at the last of them.
        """
        del self.running[work.work]
        self.worker_s += worker_s
        suggestion = self.suggestions[work.suggestion]
        suggestion.rungs |= rungs or {}
        suggestion.is_stopped |= is_stopped
        target = suggestion.fresh if work.purpose == "remeasure" else suggestion.values
        for seeds in work.seeds:
            row = answers.get(seeds)
            target[seeds] = tuple(
                None if row is None else objective.evaluate(row)
                for objective in self.config.objectives
            )

    def estimates(self, objective: int = 0, *, fresh: bool = False) -> CellEstimates:
        """Estimate every cell's objective, signed so that lower is better.

        Parameters
        ----------
        objective : int
            Which one.
        fresh : bool
            Use the fresh seeds of re-measuring instead.
        """
        sign = self.config.objectives[objective].sign
        listed = [s.fresh if fresh else s.values for s in self.suggestions]
        return estimate_cells(
            [
                {seeds: _signed(values[objective], sign) for seeds, values in cell.items()}
                for cell in listed
            ]
        )

    def best(self) -> list[int]:
        """Return the indices of the best suggestions: one, or the Pareto front of the means."""
        if not self.suggestions:
            return []
        if len(self.config.objectives) == 1:
            chosen = best_cell(self.estimates())
            return [] if chosen is None else [chosen]
        return np.flatnonzero(pareto_front(self._means())).tolist()

    def surface(self) -> Surface | None:
        """Fit the map of a boundary's endpoint; None before there are two cells."""
        estimates = self.estimates()
        known = np.flatnonzero(np.isfinite(estimates.mean))
        if len(known) < 2:
            return None
        positions = np.array([self._position(i) for i in known.tolist()])
        errors = np.nan_to_num(estimates.se[known], nan=0.1 * float(estimates.mean[known].std()))
        sign = self.config.objectives[0].sign
        return fit_surface(positions, sign * estimates.mean[known], errors)

    def _position(self, number: int) -> tuple[float, ...]:
        return self.config.positions(self.suggestions[number].point)

    def _means(self) -> np.ndarray:
        columns = [self.estimates(i).mean for i in range(len(self.config.objectives))]
        return np.stack(columns, axis=1)

    def _may_explore(self) -> bool:
        options = self.config.options
        spent = options.hours is not None and self.worker_s > 3600 * options.hours
        return not spent and self.n_asked + self.n_reserved < options.trials

    def _race_or_explore(self) -> Work | None:
        explored = len(self.suggestions) * min(
            self.config.options.first_replicates, len(self.seeds)
        )
        raced = self.n_asked - explored
        contender = self._contender() if raced < explored else None
        if contender is not None:
            return self._more(contender)
        return self._explore() or self._more(self._contender())

    def _contender(self) -> int | None:
        if self.config.options.goal == "boundary" or not self.suggestions:
            return None
        busy = {work.suggestion for work in self.running.values()}
        if len(self.config.objectives) == 1:
            # A trial without a value has used its seed, too.
            exhausted = [
                i for i, cell in enumerate(self.suggestions)
                if len(cell.asked) >= len(self.seeds) and i not in busy
            ]  # fmt: skip
            chosen = next_contender(self.estimates(), n_max=len(self.seeds), exhausted=exhausted)
            return None if chosen in busy else chosen
        front = pareto_front(self._means())
        counts = {
            i: len(self.suggestions[i].asked)
            for i in np.flatnonzero(front).tolist()
            if i not in busy and len(self.suggestions[i].asked) < len(self.seeds)
        }
        return min(counts, key=lambda i: counts[i]) if counts else None

    def _more(self, number: int | None) -> Work | None:
        """Double the replicates of a cell, as far as seeds and budget go."""
        if number is None:
            return None
        suggestion = self.suggestions[number]
        left = [seeds for seeds in self.seeds if seeds not in suggestion.asked]
        wanted = max(len(suggestion.asked), 1)
        return self._work(suggestion.point, number, left[:wanted], "race")

    def _explore(self) -> Work | None:
        number = len(self.suggestions)
        known = {_key(suggestion.point): suggestion.number for suggestion in self.suggestions}
        for point in self._proposals(number):
            held = known.get(_key(point))
            if held is None:
                first = self.seeds[: self.config.options.first_replicates]
                return self._work(point, number, first, "explore")
            if self._has_seeds_left(held):
                return self._more(held)
        return None

    def _has_seeds_left(self, number: int) -> bool:
        suggestion = self.suggestions[number]
        if suggestion.is_stopped or self._is_busy(number):
            return False
        return len(suggestion.asked) < len(self.seeds)

    def _is_busy(self, number: int) -> bool:
        return any(work.suggestion == number for work in self.running.values())

    def _work(
        self, point: Point, suggestion: int, seeds: Sequence[Seeds], purpose: Purpose
    ) -> Work | None:
        left = self.config.options.trials - self.n_reserved - self.n_asked
        chosen = tuple(seeds[:left])
        if not chosen:
            return None
        return Work(
            work=self.n_works,
            suggestion=suggestion,
            point=point,
            seeds=chosen,
            purpose=purpose,
            rungs=self._rungs() if purpose == "explore" else (),
        )

    def _rungs(self) -> tuple[Rung, ...]:
        """Fix the limits of a new cell by what is known at each rung now."""
        sign, factor = self.config.objectives[0].sign, self.config.options.stop_factor
        known = (
            (epoch, [s.rungs[epoch] for s in self.suggestions if epoch in s.rungs])
            for epoch in self.rungs
        )
        return tuple(
            Rung(epoch=epoch, limit=rung_limit(values, factor=factor, sign=sign))
            for epoch, values in known
        )

    def _proposals(self, number: int) -> Iterable[Point]:
        """Propose cells, the best first; later ones serve when the first are known already."""
        config = self.config
        if config.options.sampler == "grid":
            order = _generator(config.options.seed).permutation(len(config.grid()))
            points = config.grid()
            yield from (points[i] for i in order)
            return
        n_known = int(np.isfinite(self.estimates().mean).sum()) if self.suggestions else 0
        if config.options.goal == "boundary":
            if number >= N_STARTUP and (surface := self.surface()) is not None:
                seed = _seed(config.options.seed, number)
                busy = [self._position(work.suggestion) for work in self.running.values()]
                yield from propose(config, surface, seed=seed, taken=np.array(busy))
        elif config.options.sampler not in ("qmc", "random") and number >= N_STARTUP and n_known:
            past = [
                PastCell(
                    point=cell.point,
                    means=mean,
                    is_running=self._is_busy(cell.number),
                    rungs=self._signed_rungs(cell) if cell.is_stopped else None,
                )
                for cell, mean in zip(self.suggestions, self._means(), strict=True)
            ]
            yield from ask(config, past, seed=_seed(config.options.seed, number))
        yield from self._spread(number)

    def _signed_rungs(self, cell: Suggestion) -> dict[int, float]:
        sign = self.config.objectives[0].sign
        return {epoch: sign * value for epoch, value in cell.rungs.items()}

    def _spread(self, number: int) -> Iterable[Point]:
        """Fill the space evenly, then list the rest of a finite one."""
        config = self.config
        if config.options.sampler == "random":
            rng = _generator(config.options.seed, number)
            yield from (
                config.point(rng.random(len(config.space)).tolist()) for _ in range(ATTEMPTS)
            )
        else:
            sobol = qmc.Sobol(len(config.space), seed=config.options.seed)
            n_bits = (number + ATTEMPTS).bit_length()
            yield from map(config.point, sobol.random_base2(n_bits)[number : number + ATTEMPTS])
        if config.n_points <= MAX_GRID:
            yield from config.grid()

    def _remeasure(self) -> Work | None:
        """Measure the winners again on seeds that had no part in choosing them."""
        options = self.config.options
        if options.goal == "boundary":
            return None
        for number in self._ranking()[: options.remeasure]:
            suggestion = self.suggestions[number]
            if not suggestion.remeasured:
                return Work(
                    work=self.n_works,
                    suggestion=number,
                    point=suggestion.point,
                    seeds=self.fresh_seeds,
                    purpose="remeasure",
                )
        return None

    def _ranking(self) -> list[int]:
        if len(self.config.objectives) > 1:
            return self.best()
        estimates = self.estimates()
        upper = estimates.mean + np.nan_to_num(estimates.se)
        return [int(i) for i in np.argsort(upper) if np.isfinite(upper[i])]


def _ordered(replicates: Replicates) -> tuple[Seeds, ...]:
    """List replicates so that the first ones differ in their data, which tells most."""
    return tuple(
        (data, init, sample)
        for sample in replicates.seeds("sample")
        for init in replicates.seeds("init")
        for data in replicates.seeds("data")
    )


def _fresh(replicates: Replicates) -> Replicates:
    data = replicates.seeds("data")
    first = max(data) + 1
    return Replicates(
        data=tuple(range(first, first + len(data))), init=replicates.init, sample=replicates.sample
    )


def _signed(value: float | None, sign: float) -> float | None:
    return None if value is None else sign * value


def _key(point: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(point.items(), key=lambda pair: pair[0]))


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _generator(*parts: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(parts))
