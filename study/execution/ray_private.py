"""Everything that touches Ray's private parts, so that a new release of Ray breaks one file.

Each part says what is lost without it. None is needed for right results: a name that this version
of Ray lacks is passed over, and `STUDY_PLAIN_RAY=1` in the environment turns all of them off.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import ray
import ray._private.node
import ray._private.utils
import ray._private.worker

SWITCH = "STUDY_PLAIN_RAY"
# Without them the raylet or the head is gone for good.
_NEEDED = ("raylet", "gcs_server")


def is_plain() -> bool:
    """Return whether only Ray's public interface may be used."""
    return os.environ.get(SWITCH, "0") not in ("", "0")


def read_authentication_anew() -> None:
    """Let Ray read its authentication settings again.

    It reads them when it is imported, which in a notebook or a test is before ours are made.
    Without this, such a driver cannot start a cluster that asks for a token.
    """
    if is_plain():
        return
    raylet: Any = ray._raylet
    with contextlib.suppress(AttributeError):
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def silent_raylet() -> AbstractContextManager[None]:
    """Keep the raylet's own lines off stdout. Without this they break the live display."""
    return _replaced(ray._private.worker, "print_to_stdstream", lambda *_, **__: None)


@contextlib.contextmanager
def minimal_ray() -> Iterator[None]:
    """Start fewer and smaller processes beside the workers. Without this Ray starts later.

    Ray's dashboard process loads the dashboard's libraries, on the same cores and before Ray is
    up, also when no dashboard is asked for; it decides by whether these can be imported. The
    monitor would add nodes, which a local cluster does not do, and takes a second to end.
    """
    with (
        _replaced(
            ray._private.utils,
            "get_dashboard_dependency_error",
            lambda: ImportError("no dashboard was asked for"),
        ),
        _replaced(ray._private.node.Node, "start_monitor", lambda _: None),
    ):
        yield


def ready_workers() -> AbstractContextManager[None]:
    """Let Tune use the workers that Ray keeps ready. Without this it starts others.

    It sets an environment variable for PyTorch Lightning in its workers, for which Ray would
    start new processes.
    """
    try:
        from ray.tune.execution import class_cache
    except ImportError:
        return nullcontext()
    return _replaced(class_cache, "DEFAULT_ENV_VARS", {})


def drivers_signals() -> AbstractContextManager[None]:
    """Leave SIGTERM to the driver while Ray starts. Without this Ray ends the process on it."""
    return _replaced(ray._private.utils, "set_sigterm_handler", lambda *_: None)


def dashboard_url() -> str | None:
    """Return where the dashboard listens; None if unknown."""
    ask = getattr(ray._private.worker, "get_dashboard_url", None)
    return None if ask is None or is_plain() else ask()


def dead_processes() -> list[str]:
    """Return the processes of a local cluster that have ended.

    Without this a driver whose raylet was killed waits for ever.
    """
    node = _node()
    if node is None or not hasattr(node, "dead_processes"):
        return []
    return [str(name) for name, _ in node.dead_processes() if str(name) in _NEEDED]


def head_address() -> str:
    """Return HOST:PORT of the head of a joined cluster; empty for a local one, or if unknown.

    Without this a driver whose head has gone waits for ever.
    """
    node = _node()
    if node is None or getattr(node, "all_processes", None):
        return ""
    return str(getattr(node, "gcs_address", ""))


def logs_folder() -> Path | None:
    """Return where workers' logs are; None if unknown. Without this a crash has no trace."""
    folder = getattr(_node(), "get_logs_dir_path", lambda: "")()
    return Path(folder) if folder else None


def _node() -> Any:
    return None if is_plain() else getattr(ray._private.worker, "_global_node", None)


@contextlib.contextmanager
def _replaced(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """Put something in the place of one of Ray's own, if this version has it."""
    original = None if is_plain() else getattr(owner, name, None)
    if original is not None:
        setattr(owner, name, replacement)
    try:
        yield
    finally:
        if original is not None:
            setattr(owner, name, original)
