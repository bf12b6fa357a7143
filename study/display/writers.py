"""Who writes to a results folder: a run of the whole sweep, or runs of several shares at once.

A process of this machine is looked up. Any other one is said to run only if it gives a sign of
life while it is watched: clocks of two machines are never compared for that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from study.display.heartbeat import read_state, state_name
from study.results.folder import ResultsFolder
from study.results.lock import LOOK_S, RENEW_S, lock_names, read_holder

# A lock that is alive is renewed in this time, with room for a slow store.
WATCH_S = 1.5 * RENEW_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """A run that holds a lock of the folder.

    Parameters
    ----------
    share : str or None
        Its share of the sweep, such as "2/4"; None if it runs all of it.
    holder : str
        Process, user, host, start and command.
    state : str
        "running", "silent" (no sign of life while it was watched) or "stopped" (it died).
    silent_s : float or None
        Seconds since its lock was renewed, as far as the clocks agree; None if that is later than
        now.
    running : list of dict
        What it was doing, as of `running_age_s` seconds ago.
    running_age_s : float or None
    seconds_left : float or None
        By the run's own rate; None unless it is running.
    """

    share: str | None
    holder: str
    state: str
    silent_s: float | None
    running: list[dict[str, Any]]
    running_age_s: float | None
    seconds_left: float | None


def read_writers(folder: ResultsFolder, *, watch_s: float | None = None) -> list[Writer]:
    """Read who writes to a folder; those of other machines are watched.

    Parameters
    ----------
    folder : ResultsFolder
    watch_s : float or None
        Seconds to watch for, at most; None for `WATCH_S`.

    Raises
    ------
    OSError
        A lock cannot be read.
    """
    shares = lock_names(folder)
    found = {name: held for name in shares if (held := read_holder(folder, name)) is not None}
    # Read before the watch, as what is compared with what comes later.
    signs = {name: _sign(folder, name) for name in found}
    states = {
        name: "stopped" if holder.process.has_ended else "running"
        for name, (holder, _) in found.items()
        if holder.process.is_here
    }
    unknown = found.keys() - states.keys()
    give_up_at = time.monotonic() + (WATCH_S if watch_s is None else watch_s)
    while unknown and time.monotonic() < give_up_at:
        time.sleep(LOOK_S)
        for name in sorted(unknown):
            sign = _sign(folder, name)
            if sign[0] is None:
                # Given back while we looked.
                del found[name]
                unknown -= {name}
            elif sign != signs[name]:
                states[name] = "running"
                unknown -= {name}
    return [
        _writer(folder, name, shares[name], found[name], states.get(name, "silent"))
        for name in found
    ]


def _sign(folder: ResultsFolder, name: str) -> tuple[object, object]:
    """Return what changes while a writer lives: its lock, and what it says of itself."""
    held, state = read_holder(folder, name), read_state(folder, state_name(name))
    return None if held is None else (held[0].token, held[1]), (state or {}).get("updated")


def _writer(
    folder: ResultsFolder, name: str, share: str | None, held: tuple[Any, float], state: str
) -> Writer:
    holder, renewed_at = held
    told = read_state(folder, state_name(name)) or {}
    age_s = time.time() - renewed_at
    return Writer(
        share=share,
        holder=str(holder),
        state=state,
        silent_s=age_s if age_s >= 0 else None,
        running=list(told.get("running", [])),
        running_age_s=_age_s(told),
        seconds_left=told.get("seconds_left") if state == "running" else None,
    )


def _age_s(told: Mapping[str, Any]) -> float | None:
    try:
        written = datetime.fromisoformat(str(told["updated"]))
        return max((datetime.now(UTC) - written).total_seconds(), 0.0)
    except (KeyError, ValueError, TypeError):
        return None
