"""Ray for one run: a cluster of our own that leaves nothing behind, or one that exists."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import ray

import study
from study.config import ResourcesConfig
from study.execution import ray_private
from study.execution.ray_environment import SessionError, check_address_form
from study.results.folder import first_line
from study.results.process import Process
from study.results.provenance import provenance, write_dirty

WATCH_S = 1.0
# A head that fails to answer this many times in a row is gone.
MOST_SILENCES = 5
# In a temporary folder: which process made it.
OWNER_NOTE = "study-owner.json"
# Paths of sockets have at most 107 bytes, and Ray puts its sessions' names below the folder.
MOST_PARENT = 28
DASHBOARD_URL = "http://127.0.0.1:8265"
# How long Ray's processes may take to end by themselves.
AGENTS_END_S = 1.0
# What makes a block complete although somebody asks to stop (`study.execution.stopping`).
Completed = Callable[[], AbstractContextManager[None]]


@contextlib.contextmanager
def ray_session(
    address: str | None,
    *,
    n_workers: int,
    resources: ResourcesConfig,
    dashboard: bool = False,
    wait_s: float = 0.0,
    say: Callable[[str], None] = lambda _: None,
    completed: Completed = nullcontext,
) -> Iterator[None]:
    """Start a local Ray of our own, or join the one at `address`, and leave it clean.

    Parameters
    ----------
    address : str or None
        None starts a local cluster in a temporary folder that is removed at the end.
    n_workers : int
        Units that the local cluster has room for.
    resources : ResourcesConfig
        Of one unit; the local cluster offers the GPUs that Ray finds only if it wants any.
    dashboard : bool
        Whether the local cluster has Ray's dashboard, on this machine only.
    wait_s : float
        How long to wait for the head at `address`.
    say : callable
        Told where the dashboard is.
    completed : callable
        Returns the context in which Ray starts and ends, neither of which can be cut short: it
        would abort, or leave processes.

    Raises
    ------
    SessionError
        Ray did not start, or there is none at `address`.
    """
    ray_private.read_authentication_anew()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if address is not None:
        check_address(address, wait_s=wait_s)
        with (
            ray_private.silent_raylet(),
            _connected(completed, address=address, runtime_env=_sent_along(), **quiet),
        ):
            yield
        return
    parent, passed_over = temporary_parent()
    for reason in passed_over:
        say(f"not used for temporary files: {reason}; {parent} is")
    options: dict[str, Any] = {} if resources.gpus else {"num_gpus": 0}
    if dashboard:
        options |= {"dashboard_host": "127.0.0.1"}
    with (
        own_folder("ray-", completed) as folder,
        _nothing_left(folder),
        _drivers_code(),
        ray_private.silent_raylet(),
        nullcontext() if dashboard else ray_private.minimal_ray(),
        ray_private.ready_workers(),
        _connected(
            completed,
            address="local",
            num_cpus=math.ceil(n_workers * resources.n_cpus),
            include_dashboard=dashboard,
            # Ray opens its own folder to everybody; the one around it stays ours alone.
            _temp_dir=str(folder / "r"),
            **options,
            **quiet,
        ),
    ):
        if dashboard:
            say(_dashboard_note(folder))
        yield


@contextlib.contextmanager
def _drivers_code() -> Iterator[None]:
    """Let workers of a Ray that starts now import the code that the driver runs.

    They load it before they know the driver's path, and then it is what is installed: with an
    editable install of another copy of the project, that copy.
    """
    before = os.environ.get("PYTHONPATH")
    here = str(Path(study.__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def check_address(address: str, *, wait_s: float = 0.0) -> None:
    """Make sure that something answers where a cluster is said to be; Ray itself waits long.

    Raises
    ------
    SessionError
        Nothing does, or the address is of a kind that cannot be joined.
    """
    check_address_form(address)
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    give_up_at = time.monotonic() + wait_s
    while not (answering := answers(host, int(port))) and time.monotonic() < give_up_at:
        time.sleep(1.0)
    if not answering:
        raise SessionError(
            f"--address {address}: nothing answers there; is the head running (ray start --head), "
            "and is this the port that it printed?"
        )


def answers(host: str, port: int, *, timeout_s: float = 5.0) -> bool:
    """Return whether something listens at an address."""
    try:
        with socket.create_connection((host.strip("[]"), port), timeout=timeout_s):
            return True
    except OSError:
        return False


def _sent_along() -> dict[str, Any]:
    """Set the code of an existing cluster's workers; for a Ray job it was set on submission.

    The code itself they find where the driver does: a copy would be compiled anew by each worker.
    """
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return {}
    made_by = provenance()
    return {
        "env_vars": {
            "OMP_NUM_THREADS": "1",
            "STUDY_COMMIT": str(made_by["commit"]),
            "STUDY_DIRTY": write_dirty(made_by["dirty"]),
        },
    }


@contextlib.contextmanager
def own_folder(prefix: str, completed: Completed = nullcontext) -> Iterator[Path]:
    """Make a temporary folder that is removed at the end, or by the next run if we are killed.

    Parameters
    ----------
    prefix : str
        How its name begins.
    completed : callable
        As in `ray_session`.

    Raises
    ------
    SessionError
        No temporary folder can be written.
    """
    parent, _ = temporary_parent()
    for note in parent.glob(f"{prefix}*/{OWNER_NOTE}"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            if Process.parse(note.read_text()).has_ended:
                shutil.rmtree(note.parent, ignore_errors=True)
    folder = None
    try:
        with completed():
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            (folder / OWNER_NOTE).write_text(Process.current().text())
        yield folder
    finally:
        if folder is not None:
            with completed():
                shutil.rmtree(folder, ignore_errors=True)


def temporary_parent() -> tuple[Path, list[str]]:
    """Choose where temporary folders go: RAY_TMPDIR, else TMPDIR, else /tmp.

    Returns
    -------
    parent : Path
    passed_over : list of str
        The places before it, each with the reason why it cannot hold Ray's folder.

    Raises
    ------
    SessionError
        None of them can be written.
    """
    tried: list[str] = []
    for name in ("RAY_TMPDIR", "TMPDIR", ""):
        place = os.environ.get(name, "") if name else "/tmp"
        if not place:
            continue
        why = _unfit(Path(place))
        if not why:
            return Path(place).absolute(), tried
        tried.append(f"{name}={place} ({why})" if name else f"{place} ({why})")
    raise SessionError(
        f"there is no temporary folder for Ray: {', '.join(tried)}; set RAY_TMPDIR to a folder "
        f"that can be written, of at most {MOST_PARENT} characters"
    )


def _unfit(place: Path) -> str:
    """Say why a folder cannot hold Ray's; empty if it can."""
    if len(os.fsencode(place.absolute())) > MOST_PARENT:
        return f"longer than {MOST_PARENT} characters, which sockets do not allow"
    try:
        with tempfile.TemporaryDirectory(prefix="ray-", dir=place):
            return ""
    except OSError as error:
        return str(error.strerror or error).lower()


def _dashboard_note(folder: Path) -> str:
    """Print where the dashboard is; its token goes to a file that only its owner can read."""
    url = ray_private.dashboard_url()
    place = f"http://{url}" if url else DASHBOARD_URL
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    file = folder / f"dashboard-token-{secrets.token_hex(4)}"
    file.touch(mode=0o600)
    file.write_text(token)
    return f"dashboard at {place}, its token in {file} (removed at the end)"


@contextlib.contextmanager
def _connected(completed: Completed, **options: Any) -> Iterator[None]:
    try:
        with completed(), ray_private.drivers_signals():
            try:
                ray.init(**options)
            except Exception as error:  # Ray raises bare ones, as when a process of its dies here.
                raise SessionError(f"Ray did not start: {_reason(error)}") from error
        yield
    finally:
        with completed():
            _shut_down()


@contextlib.contextmanager
def _nothing_left(folder: Path) -> Iterator[None]:
    """End the processes of a cluster in this folder that outlive it: its agents notice late."""
    try:
        yield
    finally:
        deadline = time.monotonic() + AGENTS_END_S
        while (left := processes_of(folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def processes_of(folder: Path) -> list[int]:
    """List the processes, besides this one, whose command line names a folder."""
    mark = os.fsencode(folder)
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark in entry.read_bytes() and int(entry.parent.name) != os.getpid():
                found.append(int(entry.parent.name))
    return found


def _reason(error: BaseException) -> str:
    """Shorten what Ray says to a line; it names versions that differ on further lines."""
    if "ersion mismatch" in str(error):
        return " ".join(str(error).split())
    return first_line(error)


def _shut_down() -> None:
    """Shut Ray down while no garbage is collected.

    A reference to one of Ray's objects that is freed while Ray shuts down makes it end the whole
    process without a word; the thread that draws the live display collects garbage, too.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def watch_processes(on_death: Callable[[str], None]) -> Iterator[None]:
    """Watch the local cluster's processes, or a joined one's head: without them Tune waits on.

    Parameters
    ----------
    on_death : callable
        Told once, from another thread, the name of the process that ended.
    """
    ended = threading.Event()

    def watch() -> None:
        n_silent = 0
        while not ended.wait(WATCH_S):
            n_silent = n_silent + 1 if _is_head_silent() else 0
            dead = ["head"] if n_silent >= MOST_SILENCES else ray_private.dead_processes()
            if dead:
                on_death(dead[0])
                return

    thread = threading.Thread(target=watch, name="watch-ray", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _is_head_silent() -> bool:
    """Return whether the head of a joined cluster does not answer."""
    host, _, port = ray_private.head_address().rpartition(":")
    return bool(host) and not answers(host, int(port), timeout_s=WATCH_S)


def worker_log_tail(pid: int, *, n_chars: int = 100_000) -> str:
    """Read the end of what a local worker wrote to its standard error; empty if unknown.

    A crash's last words name every extension module that is loaded: 240 of them, 7,000 characters.
    """
    folder = ray_private.logs_folder()
    if folder is None:
        return ""
    with contextlib.suppress(OSError):
        # A worker that was kept ready has a file from before it had work, and one from then on.
        files = sorted(folder.glob(f"worker-*-{pid}.err"), key=lambda f: f.stat().st_mtime)
        return "".join(file.read_text(errors="replace") for file in files)[-n_chars:]
    return ""
