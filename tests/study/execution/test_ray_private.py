"""Ray's private parts: each is still there, is put back, and can be turned off."""

from __future__ import annotations

import ast
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray._private import node, utils, worker
from ray.tune.execution import class_cache

from study.execution import ray_private

ROOT = Path(__file__).parents[3]
REPLACED = [
    # If one of these is renamed: the raylet's lines break the display, ...
    (ray_private.silent_raylet, worker, "print_to_stdstream"),
    # ... every sweep loads the dashboard's libraries, and waits for a monitor, ...
    (ray_private.minimal_ray, utils, "get_dashboard_dependency_error"),
    (ray_private.minimal_ray, node.Node, "start_monitor"),
    # ... and Tune starts workers beside those that are ready.
    (ray_private.ready_workers, class_cache, "DEFAULT_ENV_VARS"),
]
Replaced = Callable[[], AbstractContextManager[None]]


@pytest.mark.parametrize(("replaced", "owner", "name"), REPLACED)
def test_what_is_replaced_is_there_and_comes_back(
    replaced: Replaced, owner: Any, name: str
) -> None:
    original = getattr(owner, name)
    with replaced():
        assert getattr(owner, name) is not original
    assert getattr(owner, name) is original


@pytest.mark.parametrize(("replaced", "owner", "name"), REPLACED)
def test_the_switch_leaves_ray_as_it_is(
    replaced: Replaced, owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ray_private.SWITCH, "1")
    original = getattr(owner, name)
    with replaced():
        assert getattr(owner, name) is original


@pytest.mark.parametrize(("replaced", "owner", "name"), REPLACED)
def test_a_ray_without_the_part_is_left_alone(
    replaced: Replaced, owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)
    with replaced():
        assert not hasattr(owner, name)


def test_the_dashboards_libraries_are_not_to_be_had_unless_they_are_asked_for() -> None:
    with ray_private.minimal_ray():
        assert isinstance(utils.get_dashboard_dependency_error(), ImportError)


def test_authentication_can_be_read_again() -> None:
    assert callable(ray._raylet.AuthenticationTokenLoader.instance().reset_cache)
    assert callable(ray._raylet.Config.initialize)
    ray_private.read_authentication_anew()


def test_processes_and_the_head_are_read_from_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hasattr(node.Node, "dead_processes")
    assert hasattr(node.Node, "get_logs_dir_path")
    local = SimpleNamespace(
        all_processes={"raylet": []},
        gcs_address="127.0.0.1:1",
        dead_processes=lambda: [("raylet", None), ("log_monitor", None)],
        get_logs_dir_path=lambda: "/logs",
    )
    monkeypatch.setattr(worker, "_global_node", local)
    assert ray_private.dead_processes() == ["raylet"]
    assert ray_private.head_address() == ""
    assert ray_private.logs_folder() == Path("/logs")
    joined = SimpleNamespace(all_processes={}, gcs_address="127.0.0.1:1")
    monkeypatch.setattr(worker, "_global_node", joined)
    assert ray_private.head_address() == "127.0.0.1:1"
    assert ray_private.dead_processes() == []
    monkeypatch.setenv(ray_private.SWITCH, "1")
    assert ray_private.head_address() == ""
    assert ray_private.logs_folder() is None
    assert ray_private.dashboard_url() is None


def test_private_parts_are_used_nowhere_else() -> None:
    """No attribute or import of `ray._...`; strings and comments may name them."""
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in sorted((ROOT / "study").rglob("*.py"))
        if file.name != "ray_private.py"
        for line in private_uses(ast.parse(file.read_text()))
    ]
    assert found == []
    assert private_uses(ast.parse("import ray._private.worker")) == [1]
    assert private_uses(ast.parse("x = 1\nray._raylet.Config")) == [2]


def private_uses(tree: ast.AST) -> list[int]:
    """List the lines that import or read something private of Ray."""
    lines = []
    for part in ast.walk(tree):
        names: list[str] = []
        if isinstance(part, ast.Import):
            names = [alias.name for alias in part.names]
        elif isinstance(part, ast.ImportFrom):
            names = [f"{part.module}.{alias.name}" for alias in part.names]
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            names = [ast.unparse(part)]
        if any(name.startswith("ray._") and not name.startswith("ray.__") for name in names):
            lines.append(part.lineno)
    return lines
