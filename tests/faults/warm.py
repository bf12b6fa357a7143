"""Runs of the command without Ray in children of a warm process: cheap enough to kill hundreds.

Each line of standard input is a JSON object with `argv`, `env` and `log`. The answer is a line
with the child's process id and, when it has ended, one with its wait status.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

import sitecustomize

import study.execution.run
import study.execution.trainable
from study.execution.run import PlannedWork, SweepRun
from study.sweep import main


def execute(current: SweepRun, work: PlannedWork, known: Any) -> None:
    """Run units in this process, in turn."""
    for unit in work.units:
        for _ in study.execution.trainable.unit_events(unit, folder=current.folder, device="cpu"):
            pass


def child(spec: dict[str, Any]) -> None:
    os.environ.update(spec["env"])
    log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if spec["env"].get("FAULT_CALL"):
        sitecustomize.kill_in_call(spec["env"]["FAULT_CALL"], "driver")
    try:
        status = main(spec["argv"])
    except BaseException:
        traceback.print_exc()
        status = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    study.execution.run._execute = execute
    sitecustomize.watch_trainable(study.execution.trainable)
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            child(json.loads(line))
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)
