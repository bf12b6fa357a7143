"""An existing cluster: how many units fit on it, and whether every node can run them.

Each node is asked once, by a task of its own, before any work starts: which packages of which
versions it has, whether its `study` is the driver's, whether it sees the results. The task is sent
by value, so it runs on a node that cannot import this project.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.config import ResourcesConfig
from study.execution.ray_environment import SessionError
from study.planning.resources import count_units, fill_cpus
from study.results.folder import ResultsFolder
from study.results.provenance import code_version

WriteFrom = Literal["auto", "nodes", "driver"]
# A first task on a node starts a process and may unpack the code there.
ANSWER_S = 180.0
WAIT_FOR_NODES_S = 300.0
# Modules that a worker imports, by the name of the package that has them.
NEEDED = {
    "numba": "numba",
    "numpy": "numpy",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "torch": "torch",
}
# Packages whose versions decide a trial's numbers.
SAME = ("numba", "numpy", "scipy", "scikit-learn", "torch")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What one node says.

    Parameters
    ----------
    name : str
        Host and address, for people.
    problems : tuple of str
        Why units cannot run there.
    sees_results : bool
        Whether a file that the driver put into the results folder is there.
    gpu_bytes : int or None
        Memory of its smallest GPU.
    """

    name: str
    problems: tuple[str, ...] = ()
    sees_results: bool = True
    gpu_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFit:
    """How a sweep fits on a cluster.

    Parameters
    ----------
    n_slots : int
        Units that run at once.
    resources : ResourcesConfig
        Resources of one unit, with `cpus` a number.
    location : str
        What workers open to write rows.
    stack_memory_bytes : int or None
        Memory that one stack has on the smallest GPU; None without GPUs.
    """

    n_slots: int
    resources: ResourcesConfig
    location: str
    stack_memory_bytes: int | None = None


@contextlib.contextmanager
def fit_to_cluster(
    folder: ResultsFolder,
    resources: ResourcesConfig,
    *,
    location: str,
    write_from: WriteFrom,
    n_nodes: int,
    say: Callable[[str], None],
) -> Iterator[ClusterFit]:
    """Look at the joined cluster before work starts: how much fits, and who writes rows.

    Parameters
    ----------
    folder, location : ResultsFolder, str
        Where rows go, as the driver sees it and as a worker would open it.
    resources : ResourcesConfig
        Resources of one unit.
    write_from : "auto", "nodes" or "driver"
    n_nodes : int
        Nodes to wait for.
    say : callable
        Told what was found.

    Yields
    ------
    ClusterFit

    Raises
    ------
    SessionError
        The cluster cannot run the sweep.
    """
    wait_for_nodes(n_nodes)
    nodes = alive_nodes()
    resources = fill_cpus(resources, [node["Resources"] for node in nodes])
    n_slots = count_slots(nodes, resources)
    reports = check_nodes(folder, resources, write_from=write_from, location=location)
    nodes_write = write_from != "driver" and all(report.sees_results for report in reports)
    writer = None
    if not nodes_write:
        # Not at the top: this is the rarer case.
        from study.execution.driver_writer import start_writer

        writer, location = start_writer(folder.path)
    who = "rows are written by the nodes" if nodes_write else "rows go through this node's writer"
    say(f"{len(nodes)} nodes, room for {n_slots} stacks at once; {who}")
    n_gpus = sum(node["Resources"].get("GPU", 0) for node in nodes)
    if n_gpus and not resources.gpus:
        say(f"{n_gpus:g} GPUs stay idle: --set resources.gpus=1 gives each stack one")
    try:
        memory = _stack_memory_bytes(reports, resources)
        yield ClusterFit(
            n_slots=n_slots, resources=resources, location=location, stack_memory_bytes=memory
        )
    finally:
        del writer


def _stack_memory_bytes(reports: Sequence[NodeReport], resources: ResourcesConfig) -> int | None:
    sizes = [report.gpu_bytes for report in reports if report.gpu_bytes]
    if not resources.gpus or not sizes:
        return None
    return int(min(sizes) * min(1.0, resources.gpus))


def wait_for_nodes(n_nodes: int, *, timeout_s: float = WAIT_FOR_NODES_S) -> None:
    """Wait until the cluster has this many nodes.

    Raises
    ------
    SessionError
        It has fewer after `timeout_s`.
    """
    give_up_at = time.monotonic() + timeout_s
    while (found := len(alive_nodes())) < n_nodes:
        if time.monotonic() > give_up_at:
            raise SessionError(
                f"--wait-for-nodes {n_nodes}: the cluster has {found} after {timeout_s:.0f} s"
            )
        time.sleep(1.0)


def alive_nodes() -> list[dict[str, Any]]:
    """List the nodes that live."""
    return [node for node in ray.nodes() if node["Alive"]]


def count_slots(nodes: Sequence[Mapping[str, Any]], resources: ResourcesConfig) -> int:
    """Count the units that fit on some nodes at once.

    Parameters
    ----------
    nodes : sequence of mapping
        As `ray.nodes()` lists them.
    resources : ResourcesConfig
        Resources of one unit, with `cpus` a number.

    Raises
    ------
    SessionError
        None fits; the message says what the largest node has.
    """
    slots = sum(count_units(resources, node["Resources"]) for node in nodes)
    if not slots:
        most = {
            name: max((node["Resources"].get(name, 0) for node in nodes), default=0)
            for name in ("CPU", "GPU")
        }
        raise SessionError(
            f"no node has room for a stack of {resources.n_cpus:g} processors and "
            f"{resources.gpus:g} GPUs: the most on one node are {most['CPU']:g} and "
            f"{most['GPU']:g}; change resources.cpus or resources.gpus"
        )
    return slots


def check_nodes(
    folder: ResultsFolder,
    resources: ResourcesConfig,
    *,
    write_from: WriteFrom,
    location: str,
) -> list[NodeReport]:
    """Ask every node that would run units whether it can.

    Parameters
    ----------
    folder : ResultsFolder
        Location as the driver opens it.
    resources : ResourcesConfig
    write_from : "auto", "nodes" or "driver"
        Who writes rows; "auto" lets the nodes do it if all see the folder.
    location : str
        What a worker would open.

    Returns
    -------
    list of NodeReport

    Raises
    ------
    SessionError
        Some node cannot run them; one line for each.
    """
    nodes = [node for node in alive_nodes() if count_units(resources, node["Resources"])]
    with _probe(folder) as probe:
        reports = _ask(nodes, probe, "" if folder.is_local else location)
    broken = [f"{report.name}: {text}" for report in reports for text in report.problems]
    blind = [report.name for report in reports if not report.sees_results]
    if write_from == "nodes":
        broken += [
            f"{name}: {folder.path} is not the driver's folder there; give --results a path that "
            "all nodes share, an s3:// or gs:// URI, or leave --write-from out"
            for name in blind
        ]
    if broken:
        raise SessionError("\n  ".join(["this cluster cannot run the sweep:", *broken]))
    return reports


@contextlib.contextmanager
def _probe(folder: ResultsFolder) -> Iterator[str]:
    """Put a small file into a local results folder, for the nodes to find; its path."""
    if not folder.is_local:
        yield ""
        return
    name = f"probe-{secrets.token_hex(4)}.tmp"
    folder.write_bytes(name, b"")
    try:
        yield f"{folder.path}/{name}"
    finally:
        Path(f"{folder.path}/{name}").unlink(missing_ok=True)


def _ask(nodes: Sequence[Mapping[str, Any]], probe: str, location: str) -> list[NodeReport]:
    expected = {name: importlib.metadata.version(name) for name in SAME}
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        task = ray.remote(_look)
        asked = []
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            question = task.options(num_cpus=0, max_retries=0, scheduling_strategy=there)
            asked.append(question.remote(NEEDED, tuple(expected), probe, location))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    ready, _ = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_S)
    return [
        _report(node, _answer(ref, ref in ready), expected)
        for node, ref in zip(nodes, asked, strict=True)
    ]


def _answer(ref: Any, is_ready: bool) -> dict[str, Any]:
    if not is_ready:
        return {"error": f"no answer within {ANSWER_S:.0f} s; is it overloaded?"}
    try:
        return dict(ray.get(ref))
    except Exception as error:
        return {"error": (str(error).strip().splitlines() or [type(error).__name__])[-1]}


def _report(
    node: Mapping[str, Any], answer: dict[str, Any], expected: Mapping[str, str]
) -> NodeReport:
    name = f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
    if "error" in answer:
        return NodeReport(name=name, problems=(answer["error"],))
    problems = []
    if answer["missing"]:
        packages = " ".join(answer["missing"])
        problems.append(
            f"{answer['python']} lacks {packages}; install on the node what constraints.txt "
            f"names, or submit with --pip"
        )
    elif answer["code"] is None:
        problems.append(
            f"{answer['python']} cannot import the project ({answer['why']}); "
            "put it where all nodes see it, or use python -m study.submit"
        )
    elif answer["code"] != code_version():
        problems.append("its copy of the project differs from the driver's; bring both to one")
    if answer["unwritten"]:
        problems.append(f"results cannot be written from there: {answer['unwritten']}")
    problems += [
        f"{package} {answer['versions'][package]} there, {version} here; numbers would differ"
        for package, version in expected.items()
        if answer["versions"].get(package) not in (None, version)
    ]
    return NodeReport(
        name=name,
        problems=tuple(problems),
        sees_results=answer["sees_results"],
        gpu_bytes=answer["gpu_bytes"],
    )


def _look(
    needed: Mapping[str, str], same: Sequence[str], probe: str, location: str
) -> dict[str, Any]:
    """Run on a node: say what it has. Nothing of this project is imported before it is tried."""
    import importlib.metadata
    import importlib.util
    import os
    import platform
    import subprocess
    import sys

    versions = {}
    for package in same:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    missing = [p for p, module in needed.items() if importlib.util.find_spec(module) is None]
    code, why, unwritten = None, "", ""
    if not missing:
        try:
            from study.results.provenance import code_version

            code = code_version()
        except Exception as error:
            why = str(error)
    if code and location:
        try:
            from study.results.folder import open_folder

            open_folder(location).write_bytes("probe.tmp", b"")
        except Exception as error:
            unwritten = str(error).splitlines()[0]
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        sizes = subprocess.run(query, capture_output=True, text=True, timeout=30).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        sizes = []
    return {
        "python": f"Python {platform.python_version()} ({sys.executable})",
        "missing": missing,
        "versions": versions,
        "code": code,
        "why": why,
        "unwritten": unwritten,
        "gpu_bytes": min((int(size) * 2**20 for size in sizes if size.isdecimal()), default=None),
        "sees_results": not probe or (os.path.exists(probe) and os.access(probe, os.W_OK)),
    }
