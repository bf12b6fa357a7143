"""The journal of a search in optuna-dashboard, as a person would open it."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from study.config.objective import Objective
from study.config.search_space import Dimension, SearchConfig, SearchOptions
from study.config.sections import Replicates
from study.search.optuna_copy import JOURNAL, write_journal
from study.search.replay import replay
from study.search.state import Search

START_S = 60.0


def _search() -> Search:
    config = SearchConfig(
        space=(Dimension(name="model.latent_dim", kind="int", low=1, high=40),),
        objectives=(Objective(expression="loss"),),
        options=SearchOptions(trials=30, remeasure=0, stop_after=10),
    )

    def answer(point: dict, seeds: tuple[int, int, int], *epoch: int) -> dict[str, float]:
        return {"loss": abs(point["model.latent_dim"] - 7) + 0.1 * seeds[0]}

    return replay(config, Replicates(data=2), answer, at_rung=answer, n_epochs=100)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _ask(url: str, process: subprocess.Popen) -> dict:
    """Ask until the server has started."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            assert process.poll() is None, "optuna-dashboard ended"
            assert time.monotonic() < deadline, "optuna-dashboard does not answer"
            time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("optuna_dashboard") is None,
    reason="optuna-dashboard is not installed (pip install -c constraints.txt '.[dashboard]')",
)
def test_the_dashboard_serves_the_journal(tmp_path: Path) -> None:
    search = _search()
    journal = tmp_path / JOURNAL
    write_journal(search, journal, name="tiny")
    port = _free_port()
    program = [sys.executable, "-c", "from optuna_dashboard._cli import main; main()"]
    options = [str(journal), "--host", "127.0.0.1", "--port", str(port)]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([*program, *options], stdout=log, stderr=log) as process,
    ):
        try:
            base = f"http://127.0.0.1:{port}/api/studies"
            (study,) = _ask(base, process)["study_summaries"]
            found = _ask(f"{base}/{study['study_id']}?after=0", process)
        finally:
            process.terminate()
    assert study["study_name"] == "tiny"
    assert len(found["trials"]) == len(search.suggestions)
    states = [trial["state"] for trial in found["trials"]]
    assert states.count("Pruned") == sum(cell.is_stopped for cell in search.suggestions) > 0
