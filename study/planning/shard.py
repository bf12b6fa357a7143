"""A share of a sweep: what one of several independent runs in one results folder does.

Shares are cut by position, so they need no agreement at run time: trainings one by one in turn,
and controls likewise. A control may belong to another share than its trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from study.planning.trials import Trial


@dataclass(frozen=True, slots=True)
class Shard:
    """The share `index` of `count`.

    Parameters
    ----------
    index : int
        Number of the share, from 1 to `count`.
    count : int
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "2/4".

        Raises
        ------
        ValueError
            It is something else, or the index is not in 1 to count.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise ValueError(f"{text!r} is not a share; write 2/4 for the second of four")
        return cls(int(index), int(count))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def lock_name(self) -> str:
        """The file that says who runs this share."""
        return f"lock-{self.index}-of-{self.count}.json"

    def trials(self, trials: Sequence[Trial]) -> list[Trial]:
        """Choose this share's trials; those of one training stay together."""
        return self._every_nth(trials, lambda trial: trial.training_id)

    def foreign_controls(self, trials: Sequence[Trial]) -> frozenset[str]:
        """List the controls that other shares count."""
        own = {trial.control_id for trial in self._every_nth(trials, lambda t: t.control_id)}
        return frozenset(trial.control_id for trial in trials) - own

    def _every_nth(self, trials: Sequence[Trial], key: Callable[[Trial], str]) -> list[Trial]:
        order = {name: i for i, name in enumerate(dict.fromkeys(map(key, trials)))}
        return [t for t in trials if order[key(t)] % self.count == self.index - 1]
