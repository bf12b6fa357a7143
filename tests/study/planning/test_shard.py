"""Shares of a sweep: together they are the sweep, and their locks go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.config import Sweep, load_sweep
from study.planning.packing import plan_units
from study.planning.shard import Shard
from study.planning.units import expand
from study.results.folder import ResultsFolder, open_folder
from study.results.lock import LockedError, hold

SWEEP = """
name: shares
grid: {model.latent_dim: [1, 2, 3], detection.k_max: [20, 30]}
replicates: {data: 5, init: 2, sample: 2}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    (tmp_path / "shares.yaml").write_text(SWEEP)
    return load_sweep(tmp_path / "shares.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return open_folder(tmp_path / "results")


@pytest.mark.parametrize("n_shards", [1, 3, 7, 1000])
def test_every_trial_and_control_is_in_one_share(sweep: Sweep, n_shards: int) -> None:
    trials = expand(sweep)
    shards = [Shard(i + 1, n_shards) for i in range(n_shards)]
    parts = [shard.trials(trials) for shard in shards]
    ids = [trial.trial_id for part in parts for trial in part]
    assert sorted(ids) == sorted(trial.trial_id for trial in trials)
    sizes = [len({trial.training_id for trial in part}) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    controls = {trial.control_id for trial in trials}
    own = [controls - shard.foreign_controls(trials) for shard in shards]
    assert sorted(key for part in own for key in part) == sorted(controls)


def test_trials_of_one_training_stay_together(sweep: Sweep) -> None:
    trials = expand(sweep)
    parts = [Shard(i, 4).trials(trials) for i in range(1, 5)]
    homes = [{trial.training_id for trial in part} for part in parts]
    assert sum(map(len, homes)) == len(set.union(*homes))


def test_a_share_counts_its_controls_whoever_trains_their_trials(sweep: Sweep) -> None:
    trials = expand(sweep)
    counted = []
    for index in (1, 2):
        shard = Shard(index, 2)
        units = plan_units(
            shard.trials(trials),
            n_workers=2,
            recorded=trials,
            recorded_controls=shard.foreign_controls(trials),
        )
        counted += [c.control_id for unit in units for c in getattr(unit, "controls", ())]
    assert sorted(counted) == sorted({trial.control_id for trial in trials})


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "a/b", "1/-1", ""])
def test_a_wrong_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 2/4"):
        Shard.parse(text)


def test_shares_of_one_cut_write_together_and_others_do_not(folder: ResultsFolder) -> None:
    with hold(folder, name=Shard(1, 3).lock_name), hold(folder, name=Shard(2, 3).lock_name):
        for name in (Shard(1, 3).lock_name, Shard(2, 4).lock_name, "lock.json"):
            with pytest.raises(LockedError, match="another process writes here"):
                hold(folder, name=name).__enter__()
    with hold(folder), pytest.raises(LockedError):
        hold(folder, name=Shard(1, 3).lock_name).__enter__()
    assert folder.list_files() == []
