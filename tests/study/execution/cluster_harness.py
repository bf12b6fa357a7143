"""A small cluster on this machine in a process of its own, and a sweep on it: what the tests play.

Arguments: folder, results, further options of the sweep, then events that happen once three trials
are done: kill-worker, add-worker, kill-head; or `local` for no cluster at all. Prints the sweep's
JSON lines, then its exit status.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SWEEP = """
name: tiny
fixed:
  mixture.n_samples: 300
  model.hidden: [8]
  training.epochs: 2
  detection.n_samples: 200
  detection.k_max: 4
  detection.sources: [data, means]
  resources.stack_size: 1
grid: {model.latent_dim: [1, 2, 3]}
replicates: {data: 4}
"""
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
N_DONE_FIRST = 3


def main() -> None:
    place, results, options, *events = sys.argv[1:]
    folder = Path(place)
    (folder / "tiny.yaml").write_text(SWEEP)
    command = [sys.executable, "-m", "study.sweep", str(folder / "tiny.yaml"), "--json"]
    command += ["--results", str(folder / results), *shlex.split(options)]
    if events == ["local"]:
        follow(command, lambda: None)
        return
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(16))
    temporary = tempfile.mkdtemp(prefix="rc", dir="/tmp")
    # There Ray notes the address of "the" cluster of this machine: others have their own note.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_TMPDIR=temporary)
    (Path(temporary) / "ray").mkdir()
    from ray.cluster_utils import Cluster

    head = {**NODE, "include_dashboard": False, "temp_dir": temporary}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    worker = cluster.add_node(**NODE)

    def happen() -> None:
        for event in events:
            if event == "add-worker":
                cluster.add_node(**NODE)
            else:
                node = worker if event == "kill-worker" else cluster.head_node
                cluster.remove_node(node, allow_graceful=False)

    try:
        follow([*command, "--address", cluster.address], happen)
    finally:
        cluster.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)


def follow(command: list[str], happen: Any) -> None:
    has_happened = False
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            done = json.loads(line)["n_finished"] if line.startswith("{") else 0
            if done >= N_DONE_FIRST and not has_happened:
                has_happened = True
                happen()
    print(json.dumps({"status": process.returncode}), flush=True)


if __name__ == "__main__":
    main()
