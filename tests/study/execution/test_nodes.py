"""Existing clusters: room, what each node is asked, rows through the driver; nodes that die."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

import study.execution.nodes
from study.config import ResourcesConfig
from study.execution.driver_writer import RowWriter, WriterHandler
from study.execution.nodes import NEEDED, _look, _report, count_slots
from study.execution.ray_environment import SessionError
from study.execution.ray_session import check_address
from study.results import finished_ids, write_tables
from study.results.folder import ResultsFolder, open_folder
from study.results.provenance import code_version

HARNESS = Path(__file__).parent / "cluster_harness.py"
NODE = {"NodeManagerHostname": "node7", "NodeManagerAddress": "10.0.0.7"}


def nodes(*amounts: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"Resources": {"CPU": cpus, "GPU": gpus}} for cpus, gpus in amounts]


@pytest.mark.parametrize(
    ("cpus", "gpus", "slots"), [(1, 0, 13), (3, 0, 3), (0.5, 0, 26), (1, 1, 2), (1, 0.5, 4)]
)
def test_units_are_counted_node_by_node(cpus: float, gpus: float, slots: int) -> None:
    resources = ResourcesConfig(cpus=cpus, gpus=gpus)
    assert count_slots(nodes((0, 0), (5, 2), (8, 0)), resources) == slots


def test_a_unit_that_fits_nowhere_is_refused_with_what_there_is() -> None:
    with pytest.raises(SessionError, match="the most on one node are 8 and 2"):
        count_slots(nodes((5, 2), (8, 0)), ResourcesConfig(cpus=9))


def answer(**changes: Any) -> dict[str, Any]:
    good = {
        "python": "Python 3.11.7 (/usr/bin/python3)",
        "missing": [],
        "versions": {"torch": "2.13.0"},
        "code": code_version(),
        "why": "",
        "unwritten": "",
        "sees_results": True,
        "gpu_bytes": None,
    }
    return {**good, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"missing": ["torch", "numba"], "code": None}, "lacks torch numba"),
        ({"code": None, "why": "No module named 'study'"}, "cannot import the project"),
        ({"code": "other"}, "its copy of the project differs"),
        ({"versions": {"torch": "2.12.0"}}, "torch 2.12.0 there, 2.13.0 here"),
        ({"unwritten": "Access Denied"}, "results cannot be written from there: Access Denied"),
        ({"error": "no answer within 180 s"}, "no answer"),
    ],
)
def test_each_problem_of_a_node_is_one_line(changes: dict[str, Any], message: str) -> None:
    report = _report(NODE, answer(**changes), {"torch": "2.13.0"})
    (problem,) = report.problems
    assert message in problem
    assert report.name == "node node7 (10.0.0.7)"


def test_a_good_node_has_no_problem() -> None:
    assert _report(NODE, answer(), {"torch": "2.13.0"}).problems == ()


def test_a_node_looks_at_itself(tmp_path: Path) -> None:
    seen = _look(NEEDED, ("numpy", "no-such"), str(tmp_path / "absent"), "")
    assert seen["missing"] == []
    assert seen["code"] == code_version()
    assert set(seen["versions"]) == {"numpy"}
    assert not seen["sees_results"]
    assert _look({"that": "no_such_module"}, (), "", "")["missing"] == ["that"]


def test_all_broken_nodes_are_named_before_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [{**node, **NODE} for node in nodes((1, 0), (1, 0))]
    reports = [_report(NODE, answer(missing=["torch"]), {}) for _ in listed]
    monkeypatch.setattr(study.execution.nodes, "alive_nodes", lambda: listed)
    monkeypatch.setattr(study.execution.nodes, "_ask", lambda *_: reports)
    with pytest.raises(SessionError) as caught:
        study.execution.nodes.check_nodes(
            open_folder(tmp_path), ResourcesConfig(), write_from="auto", location=str(tmp_path)
        )
    assert str(caught.value).count("lacks torch") == 2
    blind = [replace(reports[0], problems=(), sees_results=False)]
    monkeypatch.setattr(study.execution.nodes, "_ask", lambda *_: blind)
    options: Any = {"location": str(tmp_path)}
    folder, resources = open_folder(tmp_path), ResourcesConfig()
    assert (
        study.execution.nodes.check_nodes(folder, resources, write_from="auto", **options) == blind
    )
    with pytest.raises(SessionError, match="a path that all nodes share"):
        study.execution.nodes.check_nodes(folder, resources, write_from="nodes", **options)
    assert list(tmp_path.iterdir()) == []


def test_stacks_are_cut_for_the_smallest_gpu() -> None:
    reports = [_report(NODE, answer(gpu_bytes=size), {}) for size in (80, None, 40)]
    shared = ResourcesConfig(gpus=0.5)
    assert study.execution.nodes._stack_memory_bytes(reports, shared) == 20
    assert study.execution.nodes._stack_memory_bytes(reports, ResourcesConfig(gpus=2)) == 40
    assert study.execution.nodes._stack_memory_bytes(reports, ResourcesConfig()) is None


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://10.0.0.7:10001", "study.submit"),
        ("somewhere", "HOST:PORT"),
        ("127.0.0.1:9", "nothing answers there"),
    ],
)
def test_an_address_without_a_head_is_refused_at_once(address: str, message: str) -> None:
    with pytest.raises(SessionError, match=message):
        check_address(address)


class Direct(WriterHandler):
    """Asks the writer without Ray between them."""

    def _ask(self, method: str, *arguments: Any) -> Any:
        sent = pickle.loads(pickle.dumps(arguments))
        return pickle.loads(pickle.dumps(getattr(self._actor, method)(*sent)))


def test_rows_through_the_driver_are_those_of_the_folder(tmp_path: Path) -> None:
    place = str(tmp_path / "results")
    through = ResultsFolder(pafs.PyFileSystem(Direct(RowWriter(place))), place)
    rows = [{"trial_id": f"t{i}", "status": "done"} for i in range(3)]
    write_tables(through, "part", {"trials": rows, "curves": [{"trial_id": "t0", "epoch": 1}]})
    here = open_folder(place)
    assert set(finished_ids(here)) == {"t0", "t1", "t2"}
    assert finished_ids(through) == finished_ids(here)
    assert through.read_raw("curves").equals(here.read_raw("curves"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("path", ["/etc/passwd", "{place}/../other", "{place}-other/x"])
def test_the_writer_touches_its_own_folder_only(tmp_path: Path, path: str) -> None:
    place = str(tmp_path / "results")
    with pytest.raises(PermissionError):
        RowWriter(place).put(path.format(place=place), b"x")


def play(folder: Path, *events: str, results: str, options: str = "") -> list[dict[str, Any]]:
    """Run the sweep on a cluster of two nodes; the harness's lines."""
    command = [sys.executable, str(HARNESS), str(folder), results, options, *events]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def one_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of the same sweep on one machine."""
    folder = tmp_path_factory.mktemp("cluster")
    lines = play(folder, "local", results="alone", options="--workers 2")
    assert lines[-1]["status"] == 0
    return folder


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1000)
def test_a_node_dies_and_another_comes(
    one_node: Path, assert_same_tables: Callable[[Path, Path], None]
) -> None:
    lines = play(
        one_node, "kill-worker", "add-worker", results="moved", options="--write-from driver"
    )
    assert lines[-1]["status"] == 0
    assert any("this node's writer" in line.get("message", "") for line in lines)
    raw = open_folder(one_node / "moved" / "tiny").read_raw("trials")
    assert raw.num_rows == len(set(raw["trial_id"].to_pylist())) == 12
    assert_same_tables(one_node / "alone" / "tiny", one_node / "moved" / "tiny")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1000)
def test_a_head_dies_and_the_same_command_continues(
    one_node: Path, assert_same_tables: Callable[[Path, Path], None]
) -> None:
    lines = play(one_node, "kill-head", results="headless")
    assert lines[-1]["status"] != 0
    before = finished_ids(open_folder(one_node / "headless" / "tiny"))
    assert 0 < len(before) < 12
    lines = play(one_node, results="headless")
    assert lines[-1]["status"] == 0
    assert_same_tables(one_node / "alone" / "tiny", one_node / "headless" / "tiny")
