"""One writer for a results folder: a lease that names its holder and outlives no dead process.

`lock.json` says who writes. Locally and on NFS it is created by a hard link, which succeeds for
one process alone; on an object store, which has no such operation here, it is put, and read again
after `SETTLE_S`: the last of several that start at once holds it. The holder renews it every
`RENEW_S`. It is taken over at once if its process on this machine is gone, else when it was not
renewed while it was watched for `LEASE_S`: clocks are never compared, since those of two machines
may differ by any amount. Reading never asks for it.

Runs of different shares of a sweep write to one folder at once: each has a lock of its own, and
none of them goes together with a run of the whole sweep, or with shares cut otherwise.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow.fs as pafs

from study.results.address import shown_command
from study.results.folder import ResultsError, ResultsFolder, first_line, parse_object
from study.results.process import Process
from study.results.provenance import timestamp

LOCK_NAME = "lock.json"
RENEW_S, LEASE_S, SETTLE_S = 15.0, 120.0, 2.0
# Seconds between two looks at a lock that is watched.
LOOK_S = 1.0
_MOST_TRIES = 10
_LOCK_FILE = re.compile(r"lock(-(\d+)-of-(\d+))?\.json")


class LockedError(ResultsError):
    """Another process writes to the folder; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who writes to a folder.

    Parameters
    ----------
    token : str
        Random, different for each run.
    host, user, command, since : str
    machine, pid, born
        As in `Process`.
    """

    token: str
    host: str
    machine: str
    pid: int
    born: str
    user: str
    since: str
    command: str

    @property
    def process(self) -> Process:
        """The process that writes."""
        return Process(machine=self.machine, pid=self.pid, born=self.born)

    def __str__(self) -> str:
        return (
            f"process {self.pid} of {self.user} on {self.host}, since {self.since[:19]} UTC: "
            f"{self.command}"
        )


def _myself() -> Holder:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    process = Process.current()
    return Holder(
        token=secrets.token_hex(8),
        host=socket.gethostname(),
        machine=process.machine,
        pid=process.pid,
        born=process.born,
        user=user,
        since=timestamp(),
        command=shown_command(sys.argv)[:500],
    )


def read_holder(folder: ResultsFolder, name: str = LOCK_NAME) -> tuple[Holder, float] | None:
    """Read who writes to a folder and when that was renewed last, in seconds since 1970.

    The time is by the clock of whoever keeps the file: it tells whether the lock has been renewed
    since an earlier look, not how long ago. None if nobody writes.
    """
    place = f"{folder.path}/{name}"
    try:
        # Opened first: over NFS that asks the server again, and the time below is then fresh.
        holder = _parse(folder.read_small(name))
        info = folder.filesystem.get_file_info(place)
    except FileNotFoundError:
        return None
    return holder, info.mtime.timestamp() if info.mtime is not None else 0.0


def lock_names(folder: ResultsFolder) -> dict[str, str | None]:
    """Map the folder's lock files to the shares whose runs they name: "2/4", or None for all."""
    found = {}
    for info in folder.list_files():
        match = _LOCK_FILE.fullmatch(info.base_name)
        if match:
            found[info.base_name] = f"{match[2]}/{match[3]}" if match[1] else None
    return dict(sorted(found.items()))


def find_living(
    folder: ResultsFolder, name: str, *, on_wait: Callable[[Holder], None] = lambda holder: None
) -> Holder | None:
    """Return who holds a lock, or None if it is nobody who lives.

    A process of this machine is looked up. Any other one lives if it renews the lock while that
    is watched, for `LEASE_S` at most.

    Parameters
    ----------
    folder : ResultsFolder
    name : str
        The lock's file.
    on_wait : callable
        Told the holder before it is watched.
    """
    found = read_holder(folder, name)
    if found is None:
        return None
    holder, _ = found
    if holder.process.is_here:
        return None if holder.process.has_ended else holder
    on_wait(holder)
    give_up_at = time.monotonic() + LEASE_S
    while time.monotonic() < give_up_at:
        time.sleep(LOOK_S)
        now = read_holder(folder, name)
        if now is None:
            return None
        if (now[0].token, now[1]) != (holder.token, found[1]):
            return now[0]
    return None


def _parse(content: bytes) -> Holder:
    """Read a lock file; an unreadable one has no known owner, and can only be watched."""
    names = [field.name for field in fields(Holder) if field.name != "pid"]
    try:
        raw = parse_object(content)
        return Holder(pid=int(raw["pid"]), **{name: str(raw[name])[:500] for name in names})
    except (ValueError, KeyError, TypeError, OverflowError):
        return Holder(pid=0, **{**dict.fromkeys(names, ""), "command": "unreadable lock"})


class Lease:
    """The right to write to a folder, renewed by a thread of its own.

    Parameters
    ----------
    folder : ResultsFolder
    on_lost : callable
        Called from that thread once another holder is found in our place.
    name : str
        The lock's file.
    on_wait : callable
        Told the holder of a lock that has to be watched first, which takes up to `LEASE_S`.
    """

    def __init__(
        self,
        folder: ResultsFolder,
        on_lost: Callable[[], None],
        name: str = LOCK_NAME,
        on_wait: Callable[[Holder], None] = lambda holder: None,
    ) -> None:
        # The lock's own files are tried once: a caller that waits learns nothing.
        self._folder = ResultsFolder(folder.filesystem, folder.path, 0.0)
        self._on_lost = on_lost
        self._name = name
        self._on_wait = on_wait
        self._me = _myself()
        self._ended = threading.Event()
        self.lost_to: Holder | None = None
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def _place(self) -> str:
        return f"{self._folder.path}/{self._name}"

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        LockedError
            Somebody holds it.
        ResultsError
            The folder cannot be written.
        """
        try:
            for _ in range(_MOST_TRIES):
                if self._create():
                    self._thread.start()
                    self._refuse_others()
                    return
                found = read_holder(self._folder, self._name)
                if found is None:
                    continue
                living = find_living(self._folder, self._name, on_wait=self._on_wait)
                if living is not None:
                    raise LockedError(self._refusal(living))
                self._remove(found[0])
        except OSError as error:
            raise ResultsError(
                f"{self._folder.path}: cannot write results here: {first_line(error)}"
            ) from None
        raise LockedError(
            f"{self._folder.path}: many processes are taking the lock at once; try again"
        )

    def _refuse_others(self) -> None:
        """Release our lock if a run that cannot share the folder with ours holds another one."""
        names = [info.base_name for info in self._folder.list_files()]
        for name in filter(self._is_foreign, names):
            living = find_living(self._folder, name, on_wait=self._on_wait)
            if living is not None:
                self.release()
                raise LockedError(self._refusal(living))
            with contextlib.suppress(FileNotFoundError):
                self._folder.filesystem.delete_file(f"{self._folder.path}/{name}")

    def _is_foreign(self, name: str) -> bool:
        """Return whether a file is the lock of a run that must not go on beside ours."""
        if name == self._name or not _LOCK_FILE.fullmatch(name):
            return False
        # Shares of one cut go together: lock-2-of-4.json and lock-3-of-4.json.
        return LOCK_NAME in (name, self._name) or name.split("-")[2:] != self._name.split("-")[2:]

    def _refusal(self, holder: Holder) -> str:
        return (
            f"{self._folder.path}: another process writes here: {holder}. Wait for it, or end it "
            "and run this again; a dead writer is replaced at once on its own machine, elsewhere "
            f"after {LEASE_S:.0f} s without a heartbeat"
        )

    def _content(self) -> bytes:
        return json.dumps(asdict(self._me), indent=1).encode()

    def _create(self) -> bool:
        """Put the lock file if there is none; True if it is ours."""
        if self._folder.is_local:
            return self._create_local()
        if self._folder.filesystem.get_file_info(self._place).type != pafs.FileType.NotFound:
            return False
        self._folder.write_bytes(self._name, self._content())
        time.sleep(SETTLE_S)
        found = read_holder(self._folder, self._name)
        return found is not None and found[0].token == self._me.token

    def _create_local(self) -> bool:
        os.makedirs(self._folder.path, exist_ok=True)
        temporary = f"{self._place}.{self._me.token}.tmp"
        try:
            with open(temporary, "wb") as stream:
                stream.write(self._content())
                stream.flush()
                os.fsync(stream.fileno())
            try:
                os.link(temporary, self._place)
            except FileExistsError:
                # Over NFS a link whose answer got lost is reported as failed though it was made.
                return os.stat(temporary).st_nlink == 2
            except OSError:
                return self._create_exclusively()
            return True
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _create_exclusively(self) -> bool:
        """Create the lock on a filesystem without hard links."""
        try:
            with open(self._place, "xb") as stream:
                stream.write(self._content())
        except FileExistsError:
            return False
        return True

    def _remove(self, holder: Holder) -> None:
        """Remove a dead holder's lock, and only that one."""
        if not self._folder.is_local:
            found = read_holder(self._folder, self._name)
            if found is not None and found[0].token == holder.token:
                self._folder.filesystem.delete_file(self._place)
            return
        aside = f"{self._place}.{self._me.token}.tmp"
        try:
            os.rename(self._place, aside)
        except FileNotFoundError:
            return
        try:
            if _parse(Path(aside).read_bytes()).token != holder.token:
                # Somebody was quicker and holds it by now: give it back.
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self._place)
        finally:
            Path(aside).unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_S):
            # An outage is no loss: whoever takes over writes its name, and we read it later.
            with contextlib.suppress(OSError):
                self._renew()
            if self.lost_to is not None:
                self._on_lost()
                return

    def _renew(self) -> None:
        found = read_holder(self._folder, self._name)
        if found is None:
            self._create()
            found = read_holder(self._folder, self._name)
        if found is not None and found[0].token != self._me.token:
            self.lost_to = found[0]
        elif self._folder.is_local:
            os.utime(self._place)
        else:
            self._folder.write_bytes(self._name, self._content())

    def check(self) -> None:
        """Make sure that the lock is still ours.

        Raises
        ------
        LockedError
            Another process has taken it over.
        """
        with contextlib.suppress(OSError):
            self._renew()
        if self.lost_to is not None:
            raise LockedError(
                f"{self._folder.path}: taken over by {self.lost_to}; this run has stopped, and "
                "what it finished is kept"
            )

    def release(self) -> None:
        """Release the lock, if it is still ours."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=RENEW_S)
        with contextlib.suppress(OSError):
            found = read_holder(self._folder, self._name)
            if found is not None and found[0].token == self._me.token:
                self._folder.filesystem.delete_file(self._place)


@contextlib.contextmanager
def hold(
    folder: ResultsFolder,
    *,
    on_lost: Callable[[], None] = lambda: None,
    name: str = LOCK_NAME,
    on_wait: Callable[[Holder], None] = lambda holder: None,
) -> Iterator[Lease]:
    """Hold the right to write to a folder.

    Parameters
    ----------
    folder : ResultsFolder
    on_lost, name, on_wait
        As in `Lease`.

    Raises
    ------
    LockedError
        Another process holds it; the message names host, process, user, start and command.
    ResultsError
        The folder cannot be written.
    """
    lease = Lease(folder, on_lost, name, on_wait)
    lease.acquire()
    try:
        yield lease
    finally:
        lease.release()
