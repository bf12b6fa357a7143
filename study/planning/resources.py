"""What a unit of work may use, and how many units a machine has room for.

`resources.cpus: auto` is one processor, and for a unit with a GPU its share of the machine's: a
GPU should train more networks than one processor can measure.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from study.config import ResourcesConfig, SweepError

_SLACK = 1e-9  # ten tenths of a GPU are one


def local_resources(resources: ResourcesConfig) -> ResourcesConfig:
    """Return the resources with `cpus` as a number, for this machine.

    Parameters
    ----------
    resources : ResourcesConfig
    """
    return fill_cpus(resources, [_this_machine(resources)])


def fill_cpus(resources: ResourcesConfig, nodes: Sequence[Mapping[str, float]]) -> ResourcesConfig:
    """Return the resources with `cpus` as a number that every node with room for a unit has.

    Parameters
    ----------
    resources : ResourcesConfig
        Resources of one unit.
    nodes : sequence of mapping
        What each has: "CPU" and "GPU".
    """
    if resources.cpus != "auto":
        return resources
    shares = [
        max(1, int(node.get("CPU", 0) // n_units))
        for node in nodes
        if resources.gpus and (n_units := int(node.get("GPU", 0) / resources.gpus + _SLACK))
    ]
    return replace(resources, cpus=min(shares, default=1))


def count_units(resources: ResourcesConfig, node: Mapping[str, float]) -> int:
    """Count the units that a node has room for at once.

    Parameters
    ----------
    resources : ResourcesConfig
        Resources of one unit, with `cpus` a number.
    node : mapping
        What it has: "CPU" and "GPU".
    """
    limits = [node.get("CPU", 0) / resources.n_cpus]
    if resources.gpus:
        limits.append(node.get("GPU", 0) / resources.gpus)
    return int(min(limits) + _SLACK)


def count_workers(resources: ResourcesConfig) -> int:
    """Count the units that this machine has room for at once; 1 where `require_room` would refuse.

    Parameters
    ----------
    resources : ResourcesConfig
    """
    resources = local_resources(resources)
    return max(1, count_units(resources, _this_machine(resources)))


def require_room(resources: ResourcesConfig) -> None:
    """Make sure that this machine has room for a unit; Ray would wait for ever.

    Parameters
    ----------
    resources : ResourcesConfig

    Raises
    ------
    SweepError
        It has fewer processors or GPUs than one unit asks for.
    """
    resources = local_resources(resources)
    has = _this_machine(resources)
    if resources.n_cpus > has["CPU"]:
        raise SweepError(
            f"resources.cpus: must be at most {has['CPU']:g}, the CPUs that this machine "
            f"offers, got {resources.n_cpus:g}"
        )
    if resources.gpus > has["GPU"]:
        raise SweepError(
            f"resources.gpus: must be at most {has['GPU']:g}, the GPUs that PyTorch finds on this "
            f"machine, got {resources.gpus:g}"
        )
    if resources.torch_device != "cpu" and not has["GPU"]:
        raise SweepError(
            "resources.device: must be auto or cpu, as PyTorch finds no GPU on this machine, got "
            f"{resources.device}"
        )


def _this_machine(resources: ResourcesConfig) -> dict[str, float]:
    has = {"CPU": float(_n_processors()), "GPU": 0.0}
    if resources.gpus or resources.torch_device != "cpu":
        # Only a GPU needs PyTorch here, which takes seconds to import.
        import torch

        has["GPU"] = float(torch.cuda.device_count())
    return has


def _n_processors() -> int:
    """Count the processors that this process may use, a container's quota included."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(n, _quota())))


def _quota(place: Path = Path("/sys/fs/cgroup")) -> float:
    """Return how many processors' time a container may take; infinite without a limit.

    joblib counts the same, and takes longer to import than a plan takes to make.

    References
    ----------
    Control group v2, https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    try:
        quota, period = (place / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (place / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (place / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    # "max" and -1 stand for no limit.
    limited = quota.isdecimal() and period.isdecimal() and int(quota) and int(period)
    return int(quota) / int(period) if limited else math.inf
