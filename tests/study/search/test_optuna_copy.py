from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from study.config import SweepError
from study.config.objective import Objective
from study.config.search_space import Dimension, SearchConfig, SearchOptions
from study.config.sections import Replicates
from study.search.optuna_copy import DatabaseCopy, build_study, write_journal
from study.search.replay import replay
from study.search.state import Search

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


def _ignore(message: str) -> None:
    raise AssertionError(message)


def test_a_stopped_cell_is_pruned_with_its_values_at_rungs() -> None:
    config = SearchConfig(
        space=SPACE, objectives=(RECALL,), options=SearchOptions(trials=60, stop_after=10)
    )
    answer = lambda point, seeds, *_: {"mode_recall": point["model.latent_dim"] + seeds[0]}  # noqa: E731
    search = replay(config, Replicates(data=2), answer, at_rung=answer, n_epochs=100)
    study = build_study(search, name="x")
    pruned = [t for t in study.trials if t.state == optuna.trial.TrialState.PRUNED]
    stopped = [cell for cell in search.suggestions if cell.is_stopped]
    assert [trial.number for trial in pruned] == [cell.number for cell in stopped] != []
    for trial, cell in zip(pruned, stopped, strict=True):
        assert trial.intermediate_values == cell.rungs
    assert any(t.intermediate_values.keys() == {10, 30, 90} for t in study.trials)


def test_a_database_is_opened_written_and_written_again(search: Search, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    for _ in range(2):
        copy = DatabaseCopy(url, name="x", warn=_ignore)
        copy.write(search)
        copy.write(search)
    assert len(optuna.load_study(study_name="x", storage=url).trials) == len(search.suggestions)


def test_a_study_that_is_no_copy_is_not_touched(search: Search, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/optuna.db"
    theirs = optuna.create_study(study_name="x", storage=url)
    theirs.optimize(lambda trial: 1.0, n_trials=3)
    with pytest.raises(SweepError, match="holds a study x that is not a copy"):
        DatabaseCopy(url, name="x", warn=_ignore)
    DatabaseCopy(url, name="y", warn=_ignore).write(search)
    assert len(optuna.load_study(study_name="x", storage=url).trials) == 3


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////no/such/folder/x.db",
        "nosuchdatabase://me:secret@host/x",
        "not a url:secret@",
        "postgresql://me:${NO_SUCH_NAME}@host/x",
    ],
)
def test_a_database_that_cannot_be_opened_is_said_in_a_line(url: str) -> None:
    with pytest.raises(SweepError, match="--storage: ") as error:
        DatabaseCopy(url, name="x", warn=_ignore)
    assert len(str(error.value).splitlines()) == 1
    assert "secret" not in str(error.value) or "not a url" in url


def test_the_environment_gives_what_is_not_written_down(
    search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE_OF_DATABASE", str(tmp_path / "named.db"))
    DatabaseCopy("sqlite:///${PLACE_OF_DATABASE}", name="x", warn=_ignore).write(search)
    assert (tmp_path / "named.db").exists()


def test_a_database_that_fails_is_said_once_and_harms_nothing(
    search: Search, tmp_path: Path
) -> None:
    warnings: list[str] = []
    url = f"sqlite:///{tmp_path}/optuna.db"
    copy = DatabaseCopy(url, name="x", warn=warnings.append)
    copy.write(search)
    (tmp_path / "optuna.db").write_bytes(b"no database" * 1000)
    for _ in range(3):
        copy.write(search)
    (warning,) = warnings
    assert "the search continues without this copy" in warning
    assert len(warning.splitlines()) == 1
