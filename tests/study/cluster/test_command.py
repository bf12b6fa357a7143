"""Text of jobs: whole-file equality, the schemas of Slurm's shell and Kubernetes, no secrets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from study.cluster.command import Command, JobError
from study.cluster.kubernetes import KubernetesJob, kubernetes_name, rayjob_manifest
from study.cluster.slurm import SlurmJob, _follow, slurm_script
from study.config import Sweep

GOLDEN = Path(__file__).parent / "golden"
SWEEP = Sweep(name="latent_dims")
COMMAND = Command(
    file="sweeps/latent_dims.yaml",
    results="/shared/me/results",
    arguments=("--set", "training.epochs=20"),
    environment=(("STUDY_COMMIT", "abc123"), ("STUDY_DIRTY", "0")),
    python=".venv/bin/python",
)
SLURM = SlurmJob(folder="/shared/me/my study", n_tasks=4, cpus=8, memory_gb=16, partition="cpu")
KUBERNETES = KubernetesJob(
    image="registry.example/study:abc123",
    ray_version="2.60.0",
    name="latent-dims",
    namespace="research",
    n_workers=4,
    cpus=8,
    memory_gb=16,
    gpus=1,
    secrets=("object-store",),
)
REMOTE = replace(COMMAND, results="s3://bucket/results", python="python")


def scripts() -> dict[str, str]:
    return {
        layout: slurm_script(SWEEP, COMMAND, replace(SLURM, layout=layout))
        for layout in ("array", "symmetric", "apart")
    }


@pytest.mark.parametrize("layout", ["array", "symmetric", "apart"])
def test_a_script_is_as_agreed(layout: str) -> None:
    assert scripts()[layout] == (GOLDEN / f"slurm_{layout}.sh").read_text()


def test_the_manifest_is_as_agreed() -> None:
    assert rayjob_manifest(SWEEP, REMOTE, KUBERNETES) == (GOLDEN / "rayjob.yaml").read_text()


@pytest.mark.parametrize("layout", ["array", "symmetric", "apart"])
def test_a_script_is_bash(layout: str) -> None:
    done = subprocess.run(["bash", "-n"], input=scripts()[layout], text=True, capture_output=True)
    assert done.stderr == ""


def test_options_of_slurm_stand_before_the_first_command() -> None:
    for text in scripts().values():
        lines = text.splitlines()
        first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
        assert any(line.startswith("#SBATCH --requeue") for line in lines[:first])
        assert not any(line.startswith("#SBATCH") for line in lines[first:])


def manifests() -> list[str]:
    claimed = replace(KUBERNETES, claim=("results", "/shared"), gpus=0, secrets=())
    return [
        rayjob_manifest(SWEEP, REMOTE, KUBERNETES),
        rayjob_manifest(SWEEP, COMMAND, claimed),
        rayjob_manifest(SWEEP, REMOTE, replace(KUBERNETES, code="s3://bucket/code.zip")),
    ]


@pytest.mark.parametrize("index", range(3))
def test_the_manifest_fits_the_documented_fields_and_kubernetes(index: int) -> None:
    manifest = yaml.safe_load(manifests()[index])
    schema = json.loads((Path(__file__).parent / "rayjob_fields.json").read_text())
    jsonschema.validate(manifest, schema)
    for template in pod_templates(manifest):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}}
        kubernetes_validate.validate({**pod, "template": template}, "1.34", strict=True)


def pod_templates(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = manifest["spec"]["rayClusterSpec"]
    return [
        group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"entrypoints": "x"}},
        {"spec": {"rayClusterSpec": {"authOptions": {"mode": "none"}}}},
        {"spec": {"submissionMode": "HttpMode"}},
    ],
)
def test_the_check_of_fields_notices_mistakes(change: dict[str, Any]) -> None:
    manifest = yaml.safe_load(manifests()[0])
    schema = json.loads((Path(__file__).parent / "rayjob_fields.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(merge(manifest, change), schema)


def merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        merged[key] = merge(base.get(key, {}), value) if isinstance(value, dict) else value
    return merged


def test_no_token_is_written() -> None:
    manifest = yaml.safe_load(manifests()[0])
    assert manifest["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert "RAY_AUTH_TOKEN" not in manifests()[0]
    for text in scripts().values():
        assert "RAY_AUTH_TOKEN=$(od" in text
        assert "get-auth-token" not in text


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "my_token", "DB_PASSWORD"])
def test_a_variable_that_looks_like_a_secret_is_refused(name: str) -> None:
    with pytest.raises(JobError, match=f"{name} looks like a secret"):
        replace(COMMAND, environment=((name, "x"),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(SLURM, n_tasks=0), "--tasks"),
        (lambda: replace(SLURM, time_limit="four hours"), "04:00:00"),
        (lambda: replace(KUBERNETES, name="Latent Dims"), "lower-case"),
        (lambda: rayjob_manifest(SWEEP, COMMAND, KUBERNETES), "vanish with the pods"),
        (lambda: replace(COMMAND, environment=(("A B", "x"),)), "not a name for a variable"),
    ],
)
def test_options_that_make_no_job_are_refused(make: Any, message: str) -> None:
    with pytest.raises(JobError, match=message):
        make()


@pytest.mark.parametrize("name", ["Latent_dims", "a" * 64, "x.y-z_"])
def test_names_fit_kubernetes(name: str) -> None:
    replace(KUBERNETES, name=kubernetes_name(Sweep(name=name)))


FAKE_SWEEP = """
import signal, sys, time
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
print("ready", flush=True)
while not ended:
    time.sleep(0.05)
time.sleep(0.5)
sys.exit(130)
"""


@pytest.mark.parametrize(
    ("signals", "environment", "requeued"),
    [
        # The time is up: this task goes back into the queue, and no other.
        (["USR1"], {"SLURM_JOB_ID": "7"}, "requeue 7"),
        (
            ["USR1"],
            {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"},
            "requeue 7_2",
        ),
        # Cancelled, also just after the warning: it stays away.
        (["TERM"], {"SLURM_JOB_ID": "7"}, ""),
        (["USR1", "TERM"], {"SLURM_JOB_ID": "7"}, ""),
        # Put back often enough.
        (["USR1"], {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "20"}, ""),
    ],
)
def test_only_a_job_whose_time_is_up_is_put_back(
    tmp_path: Path, signals: list[str], environment: dict[str, str], requeued: str
) -> None:
    log = tmp_path / "scontrol.log"
    (tmp_path / "scontrol").write_text(f'#!/bin/bash\necho "$*" >> {log}\n')
    (tmp_path / "scontrol").chmod(0o755)
    (tmp_path / "sweep.py").write_text(FAKE_SWEEP)
    script = f"set -euo pipefail\n{sys.executable} {tmp_path}/sweep.py &\n{_follow(SLURM)}"
    job = subprocess.Popen(
        ["bash", "-c", script],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    with job.stdout:
        assert job.stdout.readline() == "ready\n"
        # bash handles a signal that comes while it still sets its traps by ending.
        time.sleep(0.3)
        for name in signals:
            job.send_signal(getattr(signal, f"SIG{name}"))
            time.sleep(0.05)
        assert job.wait(timeout=20) == 130
    assert (log.read_text().strip() if log.exists() else "") == requeued


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("/home/me/study", "#SBATCH --output=/home/me/study/latent_dims-%A_%a.log"),
        ("/home/me/my study", '#SBATCH --output="/home/me/my study/latent_dims-%A_%a.log"'),
        ("/home/me/50%", "#SBATCH --output=/home/me/50%%/latent_dims-%A_%a.log"),
        ("/home/o'neil", '#SBATCH --output="/home/o\'neil/latent_dims-%A_%a.log"'),
    ],
)
def test_the_log_is_where_the_job_was_submitted(folder: str, line: str) -> None:
    text = slurm_script(SWEEP, COMMAND, replace(SLURM, log_folder=folder))
    assert line in text.splitlines()


@pytest.mark.parametrize("change", ["log_folder", "partition", "account"])
@pytest.mark.parametrize("value", ['a"b', "a\nb", "a\x1bb"])
def test_options_that_would_leave_their_line_are_refused(change: str, value: str) -> None:
    with pytest.raises(JobError, match="quote or a control character"):
        replace(SLURM, **{change: value})


def test_colleagues_may_read_the_results_and_nobody_rays_folder() -> None:
    for layout, text in scripts().items():
        assert "umask" not in text
        assert ("install -d -m 700" in text) == (layout != "array")


@pytest.mark.parametrize("name", ["2nd", "9", "-x", "Latent", "a" * 48, "a_b"])
def test_names_that_kubernetes_refuses_are_refused_here(name: str) -> None:
    with pytest.raises(JobError, match="must begin with a lower-case letter"):
        replace(KUBERNETES, name=name)


@pytest.mark.parametrize(
    ("limit", "warning_s"),
    [("1", 30), ("3:00", 90), ("04:00:00", 120), ("1-0", 120), ("0-00:01", 30), ("0:90", 45)],
)
def test_a_short_job_is_warned_at_half_its_time(limit: str, warning_s: int) -> None:
    assert SlurmJob(folder="/x", time_limit=limit).warning_s == warning_s
