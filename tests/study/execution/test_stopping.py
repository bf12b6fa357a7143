"""Once in good order, twice at once, and never when it is ignored."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from study.execution.stopping import stop_on_signals


def test_the_first_signal_raises_while_tune_is_not_running() -> None:
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.reason == "SIGTERM"
    assert not stop.is_error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_tune_runs_the_first_ends_its_loop_and_the_second_raises(number: int) -> None:
    ended: list[int] = []

    def end_loop(got: int, frame: Any) -> None:
        ended.append(got)

    before = signal.getsignal(signal.SIGUSR1)
    # A shell lets what it starts in the background ignore interrupts.
    inherited = signal.signal(number, signal.default_int_handler)
    try:
        with stop_on_signals() as stop, stop.in_tune():
            signal.signal(signal.SIGUSR1, end_loop)
            os.kill(os.getpid(), number)
            assert ended == [signal.SIGUSR1]
            assert stop.reason in ("Ctrl-C", "SIGTERM")
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.signal(number, inherited)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_cannot_be_cut_short_is_completed_first(number: int) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    done: list[str] = []

    def work() -> None:
        with stop_on_signals() as stop, stop.completed():
            with stop.completed():
                os.kill(os.getpid(), number)
                # Ray sets handlers of its own while it starts.
                signal.signal(number, signal.SIG_DFL)
                done.append("inside")
            os.kill(os.getpid(), number)
            done.append("outside")

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert done == ["inside", "outside"]
    finally:
        signal.signal(number, before)


def test_a_signal_before_the_loop_of_tune_does_not_end_the_process() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop, stop.in_tune():
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_ignored_interrupt_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.reason is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_is_one_until_it_is_forgotten() -> None:
    with stop_on_signals() as stop:
        stop.request("the raylet ended", is_error=True, ray_died=True)
        stop.request("something later")
        assert (stop.reason, stop.is_error, stop.ray_died) == ("the raylet ended", True, True)
        stop.forget()
        assert (stop.reason, stop.is_error, stop.ray_died) == (None, False, False)
