"""Text of jobs: whole-file equality, the schemas of Slurm's shell and Kubernetes, no secrets."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from study.cluster.command import Command, JobError
from study.cluster.kubernetes import KubernetesJob, kubernetes_name, rayjob_manifest
from study.cluster.slurm import SlurmJob, slurm_script
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
        (lambda: replace(KUBERNETES, name="Latent Dims"), "lower case"),
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
