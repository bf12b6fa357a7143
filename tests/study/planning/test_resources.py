"""Units counted on this machine and on nodes; what there is no room for is refused."""

from __future__ import annotations

import math
from pathlib import Path

import joblib
import pytest

import study.planning.resources
from study.config import ResourcesConfig, SweepError
from study.planning.resources import (
    _n_processors,
    _quota,
    count_workers,
    fill_cpus,
    local_resources,
    require_room,
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this a machine of 16 processors and 2 GPUs."""
    monkeypatch.setattr(study.planning.resources, "_n_processors", lambda: 16)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("given", "cpus", "workers"),
    [
        ({}, 1, 16),
        ({"cpus": 0.5}, 0.5, 32),
        ({"cpus": 5}, 5, 3),
        ({"gpus": 1}, 8, 2),
        ({"gpus": 0.1}, 1, 16),
        ({"gpus": 0.25}, 2, 8),
        ({"gpus": 2}, 16, 1),
        ({"gpus": 1, "cpus": 1}, 1, 2),
        ({"gpus": 1, "cpus": 12}, 12, 1),
        ({"device": "cuda"}, 1, 16),
    ],
)
def test_units_share_a_machine(given: dict, cpus: float, workers: int) -> None:
    resources = ResourcesConfig(**given)
    assert local_resources(resources).cpus == cpus
    assert count_workers(resources) == workers
    require_room(resources)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpus": 17}, r"resources.cpus: must be at most 16, .* got 17"),
        ({"gpus": 3}, r"resources.gpus: must be at most 2, .* got 3"),
    ],
)
def test_a_unit_that_does_not_fit_is_refused(given: dict, message: str) -> None:
    assert count_workers(ResourcesConfig(**given)) == 1
    with pytest.raises(SweepError, match=message):
        require_room(ResourcesConfig(**given))


def test_without_a_gpu_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(SweepError, match=r"resources.gpus: must be at most 0, .* got 1"):
        require_room(ResourcesConfig(gpus=1))
    with pytest.raises(SweepError, match=r"resources.device: .* no GPU on this machine, got cuda"):
        require_room(ResourcesConfig(device="cuda"))
    require_room(ResourcesConfig(gpus=0))


def test_the_smallest_node_with_a_gpu_says_what_a_share_is() -> None:
    nodes = [{"CPU": 64.0}, {"CPU": 32.0, "GPU": 4.0}, {"CPU": 10.0, "GPU": 2.0}]
    assert fill_cpus(ResourcesConfig(gpus=1), nodes).cpus == 5
    assert fill_cpus(ResourcesConfig(gpus=0.5), nodes).cpus == 2
    assert fill_cpus(ResourcesConfig(), nodes).cpus == 1
    assert fill_cpus(ResourcesConfig(gpus=1, cpus=3), nodes).cpus == 3


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ({"cpu.max": "nonsense"}, math.inf),
        ({}, math.inf),
    ],
)
def test_a_containers_quota_is_read(tmp_path: Path, files: dict[str, str], quota: float) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert _quota(tmp_path) == quota


@pytest.mark.parametrize(("quota", "n"), [(0.1, 1), (1.5, 2), (2.0, 2), (64.0, 8), (math.inf, 8)])
def test_a_container_gets_no_more_workers_than_processors(
    quota: float, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(study.planning.resources, "_quota", lambda: quota)
    assert count_workers(ResourcesConfig()) == n


def test_processors_are_counted_as_joblib_counts_them() -> None:
    assert _n_processors() == joblib.cpu_count()
