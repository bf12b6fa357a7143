"""The worker's trainable of the scheduling benchmark; apart, since importing it imports Ray."""

from __future__ import annotations

from typing import Any

import study.execution.trainable
from benchmarks.scheduling import no_op_events
from study.execution.trainable import UnitTrainable


class NoOpUnit(UnitTrainable):
    """The real trainable, whose stacks do nothing."""

    def setup(self, *arguments: Any, **named: Any) -> None:
        """Replace the work in this process, which runs no-op units alone."""
        study.execution.trainable.stack_events = no_op_events
        super().setup(*arguments, **named)
