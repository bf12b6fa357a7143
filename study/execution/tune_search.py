"""Units of an adaptive sweep as Ray Tune asks for them: a searcher that proposes programs to run.

Tune asks when a worker is free. No more units are given out than there are workers, so with one
worker every proposal knows all that was finished before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ray.tune.search import Searcher

from study.planning.units import Unit


class UnitSource(Protocol):
    """Where units come from, and who is told that their rows have landed."""

    @property
    def is_over(self) -> bool:
        """Return whether nothing is left to be proposed or waited for."""

    def next_unit(self) -> Unit | None:
        """Return the next unit; None when nothing should start now."""

    def finish(self, unit: Unit) -> None:
        """Take note that a unit's rows have landed."""


@dataclass(frozen=True, slots=True, repr=False)
class Payload:
    """A unit on its way to a worker; Tune puts the text of every setting into names."""

    unit: Unit

    def __repr__(self) -> str:
        return self.unit.unit_id


class UnitSearcher(Searcher):
    """Hand Tune the units of a source, and pieces of those whose worker was lost.

    Parameters
    ----------
    source : UnitSource
    n_workers : int
        Units that run at once.
    give : callable
        Takes a unit, notes it as given out, returns its index.
    settle : callable
        Returns what runs instead of units lost since the last call: (index of the lost unit,
        units), without units when rows say that it failed.
    """

    def __init__(
        self,
        source: UnitSource,
        *,
        n_workers: int,
        give: Callable[[Unit], int],
        settle: Callable[[], list[tuple[int, list[Unit]]]],
    ) -> None:
        super().__init__(metric="done", mode="max")
        self._source, self._n_workers = source, n_workers
        self._give, self._settle = give, settle
        self._roots: dict[int, Unit] = {}  # by index: the source's unit that it is a piece of
        self._waiting: list[tuple[Unit, Unit]] = []
        self._indices: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune saves its searcher; our record is elsewhere.
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next unit, None to be asked again, or the end."""
        self._take_losses()
        if len(self._roots) >= self._n_workers:
            return None
        if self._waiting:
            unit, root = self._waiting.pop(0)
        else:
            proposed = self._source.next_unit()
            if proposed is None:
                over = self._source.is_over and not self._roots
                return Searcher.FINISHED if over else None
            unit = root = proposed
        index = self._give(unit)
        self._roots[index], self._indices[trial_id] = root, index
        return {"unit": index, "payload": Payload(unit)}

    def _take_losses(self) -> None:
        for index, pieces in self._settle():
            root = self._roots.pop(index)
            self._waiting += [(piece, root) for piece in pieces]
            self._close(root)

    def _close(self, root: Unit) -> None:
        """Tell the source, unless pieces of the unit still run or wait."""
        pending = [*self._roots.values(), *(other for _, other in self._waiting)]
        if all(other is not root for other in pending):
            self._source.finish(root)

    def on_trial_complete(
        self, trial_id: str, result: dict | None = None, error: bool = False
    ) -> None:
        """Pass on that a unit's rows have landed; lost ones are settled when Tune asks again."""
        index = self._indices.pop(trial_id, None)
        if index is None or error:
            return
        if result is None or result.get("statuses") is None:
            return  # stopped before its rows were written
        self._close(self._roots.pop(index))

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: our record is elsewhere."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing."""
