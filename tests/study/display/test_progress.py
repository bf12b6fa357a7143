"""The state of a running sweep and what the displays make of it."""

from __future__ import annotations

import json
import time

import pytest
from rich.console import Console

from study.display.progress import (
    TRAINING_SHARE,
    JsonDisplay,
    PlainDisplay,
    RunningStack,
    SweepProgress,
    format_duration,
    make_display,
    plan_progress,
    render,
    status_line,
)


@pytest.fixture
def progress() -> SweepProgress:
    states = [("q=1", "done"), ("q=1", None), ("q=2", "failed"), ("q=2", None)]
    return plan_progress("demo", states)


def test_earlier_trials_count_as_finished_but_not_as_speed(progress: SweepProgress) -> None:
    assert (progress.n_trials, progress.n_finished, progress.n_failed) == (4, 2, 1)
    assert progress.trials_per_minute is None
    assert "2/4 trials" in status_line(progress)
    assert "1 failed" in status_line(progress)


def test_time_left_follows_from_the_throughput(progress: SweepProgress) -> None:
    progress.started_at -= 60
    progress.finish("q=1", failed=False)
    assert progress.trials_per_minute == pytest.approx(1, rel=0.05)
    assert progress.seconds_left == pytest.approx(60, rel=0.05)


def test_the_screen_shows_cells_stacks_epoch_and_loss(progress: SweepProgress) -> None:
    progress.running[0] = RunningStack("q=1 x 1", 1, "training", 20, 100, 5.4321)
    console = Console(width=120, record=True, force_terminal=False)
    console.print(render(progress))
    text = console.export_text()
    for expected in ("demo", "q=1", "1/2", "1 failed", "training epoch 20/100", "loss 5.432"):
        assert expected in text


def test_a_stack_counts_by_its_share(progress: SweepProgress) -> None:
    stack = RunningStack("q=1", 4, "training", epoch=50, n_epochs=100)
    assert stack.fraction == pytest.approx(TRAINING_SHARE / 2)
    stack.epoch, stack.phase, stack.n_counted = 100, "counting", 2
    assert stack.fraction == pytest.approx((1 + TRAINING_SHARE) / 2)
    progress.running[0] = stack
    progress.started_at -= 60
    assert progress.trials_per_minute == pytest.approx(4 * stack.fraction, rel=0.05)


def test_many_cells_are_cut_and_said_to_be() -> None:
    progress = plan_progress("wide", [(f"q={i}", None) for i in range(100)])
    console = Console(width=120, record=True)
    console.print(render(progress))
    assert "and 88 more cells" in console.export_text()


def test_plain_lines_come_now_and_then_and_at_the_end(
    progress: SweepProgress, capsys: pytest.CaptureFixture[str]
) -> None:
    display = PlainDisplay(progress, Console())
    display.update("report")
    display.update("finish")
    assert capsys.readouterr().out == ""
    display._last_s -= 20
    display.update("report")
    assert capsys.readouterr().out == ""
    display.update("finish")
    assert capsys.readouterr().out.startswith("demo: 2/4 trials")
    for cell in ("q=1", "q=2"):
        progress.finish(cell, failed=False)
    display.update("finish")
    assert capsys.readouterr().out.startswith("demo: 4/4 trials")


def test_json_lines_parse(progress: SweepProgress, capsys: pytest.CaptureFixture[str]) -> None:
    JsonDisplay(progress).update("finish")
    row = json.loads(capsys.readouterr().out)
    assert (row["event"], row["n_trials"], row["n_finished"]) == ("finish", 4, 2)


def test_a_pipe_gets_plain_lines(progress: SweepProgress) -> None:
    assert isinstance(make_display(progress, quiet=False, as_json=False), PlainDisplay)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "?"), (3, "3 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_names_are_whole_at_any_width(width: int) -> None:
    names = [f"latent_dim={q}, kl_weight=0.1485, hidden=128x128x128" for q in (1, 2)]
    progress = plan_progress("wide", [(name, None) for name in names])
    progress.measure(names[0], 1.5)
    progress.running[0] = RunningStack(f"{names[1]} x 2", 2, "training", 20, 100, 5.4)
    console = Console(width=width, record=True)
    console.print(render(progress, width))
    lines = console.export_text().splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    text = "".join("".join(lines).split())
    assert all("".join(name.split()) in text for name in names)
    assert "150%(n=1)" in text


def test_the_bar_moves_with_the_share_of_the_work(progress: SweepProgress) -> None:
    progress.running[0] = RunningStack("q=1", 1, "training", epoch=50, n_epochs=100)
    assert progress.done_share == pytest.approx((2 + TRAINING_SHARE / 2) / 4)


def test_the_time_left_is_within_a_factor_of_two_after_a_fifth() -> None:
    """A forecast that is three times off either way, and a start-up that no speed tells of."""
    for true_s, forecast_s in ((100, 300), (300, 100), (100, 33)):
        progress = plan_progress("demo", [("q=1", None)] * 20)
        progress.forecast_s = forecast_s
        assert progress.seconds_left is None
        for n_done in range(1, 20):
            progress.finish("q=1", failed=False)
            progress.started_at = time.monotonic() - true_s * n_done / 20
            if n_done >= 4:
                left = true_s * (1 - n_done / 20)
                assert progress.seconds_left is not None
                assert 0.5 < progress.seconds_left / left < 2


def test_what_is_waited_for_is_said() -> None:
    progress = plan_progress("demo", [("q=1", None)])

    def shown() -> str:
        console = Console(width=100, record=True)
        console.print(render(progress, 100))
        return console.export_text()

    progress.running[0] = RunningStack("q=1", 1)
    assert "starting a worker process" in shown()
    progress.running[0].phase = "importing"
    assert "importing PyTorch" in shown()
    progress.running[0].phase = "counting"
    assert "counting modes of 1/1" in shown()
