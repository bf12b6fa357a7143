"""The sbatch script of a sweep: a pure function of the sweep and the options.

The job makes Ray's token itself, in its environment. Its ports and its temporary folder come from
its number, so that two jobs on a node do not meet.

References
----------
sbatch, https://slurm.schedmd.com/sbatch.html
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from study.cluster.command import GRACE_S, Command, JobError
from study.config import Sweep

Layout = Literal["array", "symmetric", "apart"]
# A job that is stopped again and again by its time limit is put back in the queue this often.
MOST_REQUEUES = 20
FIRST_PORT, PORTS_A_JOB, N_PORT_RANGES = 20_000, 10, 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmJob:
    """Where and how long a Slurm job runs.

    Parameters
    ----------
    folder : str
        The project's folder on the cluster's shared filesystem.
    layout : "array", "symmetric" or "apart"
        Independent tasks with a shard each; one allocation under `ray symmetric-run`, which needs
        its nodes alone; one allocation with Ray's head and workers started apart.
    n_tasks : int
        Tasks of the array, or nodes of the allocation.
    cpus, gpus : int
        CPUs and GPUs per task.
    memory_gb : int or None
        Memory per task in GB; None takes the cluster's default.
    time_limit : str
        Time limit as Slurm writes it: hours:minutes:seconds.
    log_folder : str
        Folder of the job's output; empty for the folder that the job is submitted from.
    partition, account : str or None
    """

    folder: str
    layout: Layout = "array"
    n_tasks: int = 1
    cpus: int = 1
    gpus: int = 0
    memory_gb: int | None = None
    time_limit: str = "04:00:00"
    log_folder: str = ""
    partition: str | None = None
    account: str | None = None

    def __post_init__(self) -> None:
        if self.n_tasks < 1 or self.cpus < 1 or self.gpus < 0:
            raise JobError("slurm: --tasks and --cpus must be at least 1, --gpus at least 0")
        if not re.fullmatch(r"(\d+-)?\d{1,3}(:\d\d){0,2}", self.time_limit):
            raise JobError(f"slurm: --time {self.time_limit!r} is not a time; write 04:00:00")
        for name, value in (
            ("log folder", self.log_folder),
            ("--partition", self.partition or ""),
            ("--account", self.account or ""),
        ):
            # A line of options ends at a line's end, whatever is quoted.
            if not value.isprintable() or '"' in value:
                raise JobError(f"slurm: {name} {value!r} has a quote or a control character in it")

    @property
    def warning_s(self) -> int:
        """Seconds before the end of its time at which a task is told: at most half of it.

        Slurm would warn a task at once whose whole time is shorter than that.
        """
        return min(GRACE_S, _seconds(self.time_limit) // 2)


def _seconds(limit: str) -> int:
    """Return the seconds of a time as Slurm writes it; after days the first part is hours."""
    days, dash, rest = limit.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if not dash and len(parts) < 3:
        parts.insert(0, 0)
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return ((24 * int(days or 0) + hours) * 60 + minutes) * 60 + seconds


def slurm_script(sweep: Sweep, command: Command, job: SlurmJob) -> str:
    """Write the sbatch script of a sweep.

    Parameters
    ----------
    sweep : Sweep
    command : Command
    job : SlurmJob

    Returns
    -------
    str
        A bash script that ends with the sweep's own exit status, and that puts itself back in the
        queue when its time ends before the sweep's.
    """
    body = {"array": _array_body, "symmetric": _symmetric_body, "apart": _apart_body}[job.layout]
    head = [_slurm_header(sweep, job), _slurm_setup(command, job)]
    parts = [*head, body(command, job), _follow(job)]
    return "\n".join(parts)


def _slurm_header(sweep: Sweep, job: SlurmJob) -> str:
    is_array = job.layout == "array"
    options = [
        f"job-name={sweep.name}",
        *([f"array=1-{job.n_tasks}"] if is_array else []),
        f"nodes={1 if is_array else job.n_tasks}",
        "ntasks-per-node=1",
        f"cpus-per-task={job.cpus}",
        *([f"gpus-per-task={job.gpus}"] if job.gpus else []),
        *([f"mem={job.memory_gb}G"] if job.memory_gb else []),
        *(["exclusive"] if job.layout == "symmetric" else []),
        *([f"partition={job.partition}"] if job.partition else []),
        *([f"account={job.account}"] if job.account else []),
        f"time={job.time_limit}",
        f"output={_log_name(sweep, job)}",
        "open-mode=append",
        "requeue",
        # The end of its time is told apart from scancel, which sends SIGTERM.
        f"signal=B:USR1@{job.warning_s}",
    ]
    head = [f"# Sweep {sweep.name}. The same script again continues: what is recorded is skipped."]
    return "\n".join(["#!/bin/bash", *head, *(f"#SBATCH --{option}" for option in options), ""])


def _log_name(sweep: Sweep, job: SlurmJob) -> str:
    """Write the log's file so that Slurm fills in the numbers and nothing else."""
    number = "%A_%a" if job.layout == "array" else "%j"
    # sbatch reads % as the start of a number's name, and blanks as the end of an option.
    folder = f"{job.log_folder.replace('%', '%%')}/" if job.log_folder else ""
    name = f"{folder}{sweep.name}-{number}.log"
    return f'"{name}"' if re.search(r"[\s'\\#]", name) else name


def _slurm_setup(command: Command, job: SlurmJob) -> str:
    settings = {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        **dict(command.environment),
    }
    lines = [
        "set -euo pipefail",
        f"cd {shlex.quote(job.folder)}",
        "unset RAY_ADDRESS",
        *(f"export {name}={shlex.quote(value)}" for name, value in settings.items()),
        "# A token of this job alone: in its environment, never in a file.",
        "RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \\n')",
        "export RAY_AUTH_TOKEN",
        "",
    ]
    return "\n".join(lines)


def _array_body(command: Command, job: SlurmJob) -> str:
    share = f'--shard "$SLURM_ARRAY_TASK_ID/{job.n_tasks}" --workers "$SLURM_CPUS_PER_TASK"'
    line = f"{shlex.join(command.words())} {share} &"
    return f"# Each task runs its own share, on a Ray of its own.\n{line}"


def _symmetric_body(command: Command, job: SlurmJob) -> str:
    sweep = shlex.join(command.words("--wait-for-nodes", str(job.n_tasks)))
    ray = shlex.quote(str(PurePosixPath(command.python).parent / "ray"))
    return "\n".join(
        [
            _NETWORK,
            "export RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300",
            _PRIVATE_FOLDERS.format(n_tasks=job.n_tasks),
            "trap 'rm -rf \"$RAY_TMPDIR\"' EXIT",
            "# It ends with `ray stop`, for every Ray of the user on the node: hence --exclusive.",
            f"srun --nodes={job.n_tasks} --ntasks={job.n_tasks} {ray} symmetric-run \\",
            f'  --address "$head_ip:$port" --min-nodes {job.n_tasks} --num-cpus={job.cpus}'
            f"{_gpu_option(job)} -- \\",
            f'  {sweep} --address "$head_ip:$port" &',
        ]
    )


def _apart_body(command: Command, job: SlurmJob) -> str:
    sweep = shlex.join(command.words("--wait-for-nodes", str(job.n_tasks)))
    ray = shlex.quote(str(PurePosixPath(command.python).parent / "ray"))
    # The worker ports are left to the system: a fixed range is too small for large nodes.
    ports = (
        "--node-manager-port=$((port + 1)) --object-manager-port=$((port + 2)) "
        "--dashboard-agent-listen-port=$((port + 3)) --runtime-env-agent-port=$((port + 4)) "
        "--metrics-export-port=$((port + 5)) --min-worker-port=0 --max-worker-port=0"
    )
    start = f"{ray} start --block --num-cpus={job.cpus}{_gpu_option(job)} {ports}"
    lines = [
        _NETWORK,
        "export RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID",
        _PRIVATE_FOLDERS.format(n_tasks=job.n_tasks),
        f'srun --overlap --nodes=1 --ntasks=1 -w "$head" {start} \\',
        '  --head --node-ip-address="$head_ip" --port="$port" \\',
        "  --ray-client-server-port=$((port + 6)) --include-dashboard=false &",
        "ray_pids=$!",
    ]
    if job.n_tasks > 1:
        lines += [
            f"srun --overlap --nodes={job.n_tasks - 1} --ntasks={job.n_tasks - 1} "
            f'--exclude="$head" \\',
            f'  {start} --address="$head_ip:$port" &',
            'ray_pids="$ray_pids $!"',
        ]
    lines += [
        "# Only what this job started is ended: other jobs may run a Ray on these nodes.",
        "trap 'kill $ray_pids 2>/dev/null || true; rm -rf \"$RAY_TMPDIR\"' EXIT",
        f'{sweep} --address "$head_ip:$port" &',
    ]
    return "\n".join(lines)


def _gpu_option(job: SlurmJob) -> str:
    return f" --num-gpus={job.gpus}" if job.gpus else ""


_NETWORK = f"""\
port=$(({FIRST_PORT} + SLURM_JOB_ID % {N_PORT_RANGES} * {PORTS_A_JOB}))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# srun does not take over the job's processors by itself.
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
head_ip=$(srun --overlap --nodes=1 --ntasks=1 -w "$head" hostname --ip-address)
head_ip=${{head_ip%% *}}"""

# Ray's sockets and logs are nobody else's; what the sweep writes has the user's own umask.
_PRIVATE_FOLDERS = (
    "srun --overlap --nodes={n_tasks} --ntasks={n_tasks} --ntasks-per-node=1 "
    'install -d -m 700 "$RAY_TMPDIR"'
)


def _follow(job: SlurmJob) -> str:
    warning_s = job.warning_s
    return f"""\
sweep_pid=$!
# bash waits for a child before it handles a signal, so the child runs in the background.
# USR1: the time is up, the rest is for another run. TERM: somebody cancels the job.
# At the time limit itself TERM comes, too, but {warning_s} s or more after USR1.
stopped=0
warned=0
trap 'stopped=1; warned=$SECONDS; kill -TERM $sweep_pid 2>/dev/null || true' USR1
trap '[ $((SECONDS - warned)) -ge {max(warning_s - 15, warning_s // 2)} ] || stopped=0
  kill -TERM $sweep_pid 2>/dev/null || true' TERM
status=0
wait "$sweep_pid" || status=$?
while kill -0 "$sweep_pid" 2>/dev/null; do
  status=0
  wait "$sweep_pid" || status=$?
done
runs=${{SLURM_RESTART_COUNT:-0}}
if [ "$stopped" = 1 ] && [ "$status" != 0 ] && [ "$runs" -lt {MOST_REQUEUES} ]; then
  echo "stopped before the end: back in the queue"
  # In an array this task alone: the first task's number is the whole array's, too.
  own=$SLURM_JOB_ID
  if [ -n "${{SLURM_ARRAY_TASK_ID:-}}" ]; then
    own="${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
  fi
  scontrol requeue "$own" || true
fi
exit "$status"
"""
