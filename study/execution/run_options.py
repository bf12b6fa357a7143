"""How a sweep is run: what the command line, or a caller in Python, decides about one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from study.planning.shard import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What one run does; nothing in it is part of a trial's identity.

    Parameters
    ----------
    results : str
        Folder or URI that holds results folders.
    dry_run : bool
        Print what would run and write nothing.
    limit : int or None
        Start at most this many trials.
    retry_failed : bool
        Run failed and timed-out trials again.
    force : bool
        Run every trial again although it is recorded.
    weights_from : str or None
        Results folder whose trained networks are measured instead of training them again.
    address : str or None
        An existing Ray cluster; None starts a local Ray for this run.
    wait_for_nodes : int or None
        Wait until the existing cluster has this many nodes.
    write_from : "auto", "nodes" or "driver"
        Who writes rows on an existing cluster.
    shard : Shard or None
        The share of the sweep that is run.
    workers : int or None
        Units that run at once; None takes the processors.
    dashboard : bool
        Start Ray's dashboard.
    storage : str or None
        Optuna database that an adaptive sweep is copied to.
    quiet, json : bool
        Print nothing but errors; print JSON lines.

    Raises
    ------
    ValueError
        `limit`, `workers` or `wait_for_nodes` is less than 1.
    """

    results: str = "results"
    dry_run: bool = False
    limit: int | None = None
    retry_failed: bool = False
    force: bool = False
    weights_from: str | None = None
    address: str | None = None
    wait_for_nodes: int | None = None
    write_from: Literal["auto", "nodes", "driver"] = "auto"
    shard: Shard | None = None
    workers: int | None = None
    dashboard: bool = False
    storage: str | None = None
    quiet: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        if "@" in (self.address or ""):
            raise ValueError("--address: no user or password in it; Ray's token is used instead")
        for name in ("limit", "workers", "wait_for_nodes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
