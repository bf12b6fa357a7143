"""The same function on many arguments, by as many processes as a unit of work has processors.

Processes and not threads, as much of what is measured holds Python's lock. They are kept for the
next call, load what a call needs by themselves, and end with the process that made them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from importlib import import_module
from itertools import islice
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from study.plugins import Plugin, install, loaded

Result = TypeVar("Result")
# Calls that wait for each process: enough that none is idle while results are taken in order.
AHEAD = 2
PARENT_POLL_S = 1.0


class LostProcessError(RuntimeError):
    """A call ended its process twice, the second time alone in it."""


def map_in_processes(
    function: Callable[..., Result],
    arguments: Iterable[tuple[Any, ...]],
    *,
    n_processes: int,
    lost: Callable[..., Result] | None = None,
) -> Iterator[Result]:
    """Call a function on each of many arguments and yield the results in their order.

    Parameters
    ----------
    function : callable
        A function of a module, so that another process finds it.
    arguments : iterable of tuple
        Taken as they are needed, a few ahead.
    n_processes : int
        1 calls it in this process.
    lost : callable, optional
        Given the arguments of a call that ended its process, and then another one in which it was
        alone; what it returns stands for the result.

    Yields
    ------
    object
        What the function returns.

    Raises
    ------
    LostProcessError
        A call ended its process twice, and there is no `lost`.
    """
    if n_processes == 1:
        for given in arguments:
            yield function(*given)
        return
    waiting = iter(arguments)
    running: deque[tuple[tuple[Any, ...], Future[Result]]] = deque()
    try:
        while True:
            more = islice(waiting, AHEAD * n_processes - len(running))
            running.extend((given, _submit(function, given, n_processes)) for given in more)
            if not running:
                return
            given, future = running.popleft()
            try:
                result = future.result()
            except BrokenProcessPool:
                _pool.cache_clear()
                result = _alone(function, given, lost)
                # Which other one ended its process is not known: all without a result run again.
                running = deque(
                    (g, f if _has_result(f) else _submit(function, g, n_processes))
                    for g, f in running
                )
            yield result
    finally:
        for _, future in running:
            future.cancel()


def start_processes(n_processes: int, *, module: str) -> None:
    """Start what `map_in_processes` will need while something else runs; 1 needs none.

    Parameters
    ----------
    n_processes : int
    module : str
        What each of them loads.
    """
    if n_processes > 1:
        for _ in range(n_processes):
            _submit(import_module, (module,), n_processes)


def _submit(
    function: Callable[..., Result], given: tuple[Any, ...], n_processes: int
) -> Future[Result]:
    try:
        return _pool(n_processes).submit(function, *given)
    except BrokenProcessPool:
        _pool.cache_clear()
        return _pool(n_processes).submit(function, *given)


def _has_result(future: Future[Any]) -> bool:
    return future.done() and not isinstance(future.exception(), BrokenProcessPool)


def _alone(
    function: Callable[..., Result],
    given: tuple[Any, ...],
    lost: Callable[..., Result] | None,
) -> Result:
    with _new_pool(1) as pool:
        try:
            return pool.submit(function, *given).result()
        except BrokenProcessPool:
            if lost is None:
                raise LostProcessError("a process that measured was killed, twice") from None
            return lost(*given)


@cache
def _pool(n_processes: int) -> ProcessPoolExecutor:
    return _new_pool(n_processes)


def _new_pool(n_processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        n_processes,
        # A copy of a process that has threads may start with a lock that nobody holds.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(os.getpid(), loaded()),
    )


def _begin(parent: int, plugins: tuple[Plugin, ...]) -> None:
    """Begin a process: it ignores Ctrl-C, ends with its parent, and computes by one thread."""
    install(plugins)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # Libraries read the variable when they are loaded; a script may have loaded some already.
    os.environ["OMP_NUM_THREADS"] = "1"
    threadpool_limits(limits=1)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os._exit(1)
