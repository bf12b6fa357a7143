from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from study.mirror import build_study, write_journal
from study.objective import Objective
from study.replay import replay
from study.search import Search
from study.search_space import Dimension, SearchConfig, SearchOptions
from study.sections import Replicates

SPACE = (
    Dimension(name="model.latent_dim", kind="choice", choices=(1, 2, 3)),
    Dimension(name="model.hidden", kind="choice", choices=((8,), (8, 8))),
    Dimension(
        name="training.kl_weight",
        kind="float",
        low=0.1,
        high=10,
        log=True,
        when=(("model.latent_dim", (2, 3)),),
    ),
)


def _search(*objectives: Objective) -> Search:
    config = SearchConfig(
        space=SPACE, objectives=objectives, options=SearchOptions(trials=40, remeasure=0)
    )

    def answer(point: dict, seeds: tuple[int, int, int]) -> dict | None:
        if point["model.latent_dim"] == 1:
            return None
        return {"mode_recall": point["training.kl_weight"] + seeds[0], "spurious_mass": 0.5}

    return replay(config, Replicates(data=2), answer)


RECALL = Objective(expression="mode_recall", direction="maximize")


@pytest.fixture(scope="module")
def search() -> Search:
    return _search(RECALL)


def test_every_cell_is_a_trial_with_its_mean(search: Search) -> None:
    study = build_study(search, name="x")
    assert len(study.trials) == len(search.suggestions)
    for trial, suggestion in zip(study.trials, search.suggestions, strict=True):
        assert trial.params["model.latent_dim"] == suggestion.point["model.latent_dim"]
        failed = suggestion.point["model.latent_dim"] == 1
        assert ("training.kl_weight" in trial.params) != failed
        assert (trial.state == optuna.trial.TrialState.FAIL) == failed
    (best,) = search.best()
    assert study.best_trial.number == best
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_the_journal_is_read_by_optuna_and_can_be_written_again(
    search: Search, tmp_path: Path
) -> None:
    path = tmp_path / "optuna.journal"
    for _ in range(2):
        write_journal(search, path, name="x")
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        loaded = optuna.load_study(study_name="x", storage=storage)
        assert len(loaded.trials) == len(search.suggestions)
    assert [item.name for item in tmp_path.iterdir()] == ["optuna.journal"]


def test_a_database_is_replaced(search: Search, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    for _ in range(2):
        build_study(search, name="x", storage=url)
    assert len(optuna.load_study(study_name="x", storage=url).trials) == len(search.suggestions)


def test_several_objectives(tmp_path: Path) -> None:
    search = _search(RECALL, Objective(expression="spurious_mass"))
    study = build_study(search, name="x")
    assert {trial.number for trial in study.best_trials} == set(search.best())
