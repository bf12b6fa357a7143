"""Being asked to stop: once to stop in good order, twice to stop now.

Ctrl-C, SIGTERM and SIGHUP (the terminal has gone) are the same request. What is finished is on
disk already, so none loses it. While Tune runs, the first request ends Tune's loop (its own signal
for that is SIGUSR1) and the second raises KeyboardInterrupt. What would be left in pieces if it
were cut short, such as Ray's start and its end, is completed first (`Stop.completed`). Otherwise
the first one raises.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from study.display.console import say_error
from study.execution.exit_status import ExitStatus

# Beyond this even leaving in order is cut short.
MOST_REQUESTS = 3
_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Return whether the run was asked to stop, and why.

    Parameters
    ----------
    reason : str or None
        None while nobody asked.
    is_error : bool
        Whether something went wrong, rather than a person or a scheduler asking.
    ray_died : bool
        Whether that is the end of a Ray process, which another one may replace.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.is_error = False
        self.ray_died = False
        self._in_tune = False
        self._asked_tune = False
        self._n_requests = 0
        self._n_open = 0
        self._is_waiting = False

    def request(self, reason: str, *, is_error: bool = False, ray_died: bool = False) -> None:
        """Ask for a stop in good order, from any thread; the first reason is kept."""
        if self.reason is None:
            self.reason, self.is_error, self.ray_died = reason, is_error, ray_died
        if self._in_tune:
            self._asked_tune = True
            os.kill(os.getpid(), signal.SIGUSR1)

    def forget(self) -> None:
        """Go on after Ray died."""
        self.reason, self.is_error, self.ray_died = None, False, False
        self._asked_tune = False

    def interrupt(self, reason: str) -> None:
        """Ask as a scheduler would by SIGTERM, from any thread, because something went wrong."""
        if self.reason is None:
            self.reason, self.is_error = reason, True
        os.kill(os.getpid(), signal.SIGTERM)

    def leave(self) -> None:
        """End the process from any thread: its main thread hears no signal any more."""
        say_error(f"error: {self.reason}. What was finished is kept; run the same command again.")
        os._exit(ExitStatus.FAILED)

    @contextlib.contextmanager
    def in_tune(self) -> Iterator[None]:
        """Declare that a request now has to end Tune's loop."""
        before = signal.getsignal(signal.SIGUSR1)
        if threading.current_thread() is threading.main_thread():
            # Until Tune takes this signal, it would end the process.
            signal.signal(signal.SIGUSR1, self._before_the_loop)
        self._in_tune = True
        try:
            yield
        finally:
            self._in_tune = False
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGUSR1, before)

    def _before_the_loop(self, number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def completed(self) -> Iterator[None]:
        """Complete this block before a request is heard, which raises at its end.

        Raises
        ------
        KeyboardInterrupt
            A request came.
        """
        self._n_open += 1
        try:
            yield
        finally:
            self._n_open -= 1
            # Ray may have taken them.
            self.install()
            if self._is_waiting and not self._n_open:
                self._is_waiting = False
                raise KeyboardInterrupt

    def on_signal(self, number: int, frame: Any) -> None:
        """Handle a signal that asks to stop."""
        self._n_requests += 1
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if self._in_tune and not self._asked_tune:
            self.request(name)
            return
        self.reason = self.reason or name
        if self._n_requests > MOST_REQUESTS:
            os._exit(ExitStatus.STOPPED)
        if self._n_open:
            self._is_waiting = True
            return
        raise KeyboardInterrupt

    def install(self) -> None:
        """Take the signals; Ray takes them too when it starts, so it is done again then.

        One that is ignored stays ignored: Ray jobs, nohup and shells that run us in the background
        want it so.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _HANDLED:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self.on_signal)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Handle the signals inside, and as before afterwards."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in _HANDLED}
    stop.install()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
