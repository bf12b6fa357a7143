"""A Slurm of our own on this machine: two tasks of an array, one preempted and put back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.results import open_folder
from study.submit import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") is None
        or os.geteuid() != 0,
        reason="needs slurmctld and slurmd, and to be root",
    ),
]
# Trials of two seconds or more: the preemption must find the tasks at work on a fast machine too.
SWEEP = """
name: slurm
fixed:
  mixture.n_samples: 500
  model.hidden: [8]
  training.epochs: 2000
  training.checkpoints: 500
  detection.n_samples: 200
  detection.k_max: 4
  detection.sources: [data, means]
  resources.stack_size: 1
grid: {model.latent_dim: [1, 2, 3]}
replicates: {data: 4}
"""
CONFIG = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=10
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL State=UP PriorityTier=2 PreemptMode=OFF
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def slurm() -> Iterator[None]:
    """Daemons of our own: own ports, own folder, ended by process id."""
    folder = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    ports = (free_port(), free_port())
    text = CONFIG.format(host=socket.gethostname(), folder=folder, ports=ports)
    (folder / "slurm.conf").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon], check=True, capture_output=True)
        wait_for(lambda: "idle" in shell("sinfo -h -o %T"))
        try:
            yield
        finally:
            for job in shell("squeue -h -o %A").split():
                subprocess.run(["scancel", "--signal=KILL", "--full", job])
            for daemon in ("slurmd", "slurmctld"):
                with contextlib.suppress(OSError):
                    os.kill(int((folder / f"{daemon}.pid").read_text()), signal.SIGTERM)
    shutil.rmtree(folder, ignore_errors=True)


def shell(command: str, text: str = "") -> str:
    done = subprocess.run(command, shell=True, input=text, capture_output=True, text=True)
    return done.stdout


def wait_for(condition: Callable[[], object], timeout_s: float = 900.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.5)


def test_a_preempted_task_is_put_back_and_the_sweep_is_whole(
    tmp_path: Path,
    slurm: None,
    monkeypatch: pytest.MonkeyPatch,
    assert_same_tables: Callable[[Path, Path], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slurm.yaml").write_text(SWEEP)
    options = ["--tasks", "2", "--cpus", "1", "--partition", "low", "--results", "results"]
    assert main(["slurm.yaml", "--to", "slurm", *options]) == 0
    folder = open_folder(tmp_path / "results" / "slurm")
    wait_for(lambda: len(folder.part_files("trials")) >= 2)
    shell("sbatch -p high -c 1 -o /dev/null", "#!/bin/bash\nsleep 2\n")
    wait_for(lambda: "BeginTime" in shell("squeue -h -o %r") or not shell("squeue -h"))
    # Slurm itself waits two minutes before it starts a job again.
    wait_for(lambda: not update_begin() and not shell("squeue -h"))
    logs = "".join(path.read_text() for path in tmp_path.glob("slurm-*.log"))
    assert "DUE TO PREEMPTION" in logs
    raw = folder.read_raw("trials")
    assert raw.num_rows == len(set(raw["trial_id"].to_pylist())) == 12
    command = [sys.executable, "-m", "study.sweep", "slurm.yaml", "--quiet", "--results", "alone"]
    subprocess.run(command, check=True, timeout=600)
    assert_same_tables(tmp_path / "alone" / "slurm", tmp_path / "results" / "slurm")


def update_begin() -> None:
    """Let a job that was put back start now."""
    for job in shell("squeue -h -t PENDING -o %A").split():
        shell(f"scontrol update JobId={job} StartTime=now")


def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> str:
    """Submit the sweep as an array of two tasks; return the job's number."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slurm.yaml").write_text(SWEEP)
    fixed = ["--tasks", "2", "--cpus", "1", "--partition", "low", "--results", "results"]
    assert main(["slurm.yaml", "--to", "slurm", *fixed, *options]) == 0
    (job,) = set(shell("squeue -h -o %F").split())
    return job


def tasks(job: str) -> dict[str, str]:
    """Map the tasks of an array that are in the queue to their states."""
    rows = shell(f"squeue -h -r -j {job} -o '%K %T'").splitlines()
    return dict(row.split() for row in rows)


def test_what_is_cancelled_stays_away(
    tmp_path: Path, slurm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "SWEEP", SWEEP.replace("2000", "50000"))
    job = submitted(tmp_path, monkeypatch)
    logs = [tmp_path / f"slurm-{job}_{task}.log" for task in (1, 2)]
    wait_for(lambda: all(log.exists() and "starting Ray" in log.read_text() for log in logs))
    time.sleep(10)
    shell(f"scancel {job}_1")
    wait_for(lambda: set(tasks(job)) == {"2"}, timeout_s=90)
    time.sleep(5)
    assert tasks(job) == {"2": "RUNNING"}
    shell(f"scancel {job}")
    wait_for(lambda: not tasks(job), timeout_s=90)
    time.sleep(5)
    assert not shell("squeue -h")
    # Not the locks: a task that takes longer than KillWait to stop is killed and leaves its own,
    # which the next run replaces.
    for log in logs:
        assert "back in the queue" not in log.read_text()
        assert "Traceback" not in log.read_text()
