"""The KubeRay RayJob manifest of a sweep: a pure function of the sweep and the options.

Secrets are named, never written; the operator makes Ray's token and its secret.

References
----------
KubeRay API reference, https://ray-project.github.io/kuberay/reference/api/
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import yaml

from study.cluster.command import GRACE_S, Command, JobError
from study.config import Sweep

# What KubeRay appends to a RayJob's name must fit, too.
MOST_NAME = 47
_OBJECT_STORES = ("s3://", "gs://", "gcs://", "abfs://")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesJob:
    """The Ray cluster that a Kubernetes job makes for itself.

    Parameters
    ----------
    image : str
        Image with the project and its packages.
    ray_version : str
        Ray of that image.
    name : str
        Name of the job, as Kubernetes allows it.
    namespace : str or None
    n_workers : int
        Pods that train; the head only drives.
    cpus, memory_gb, gpus : int
        Resources of one worker.
    secrets : tuple of str
        Names of Kubernetes secrets whose keys become environment variables.
    claim : (str, str) or None
        A persistent volume claim, and where it is mounted on every pod.
    code : str or None
        URI of a zip file of the project; None if the image holds it.
    folder : str
        The project's folder in the image.
    deadline_h : float
    """

    image: str
    ray_version: str
    name: str
    namespace: str | None = None
    n_workers: int = 1
    cpus: int = 4
    memory_gb: int = 8
    gpus: int = 0
    secrets: tuple[str, ...] = ()
    claim: tuple[str, str] | None = None
    code: str | None = None
    folder: str = "/app"
    deadline_h: float = 24.0

    def __post_init__(self) -> None:
        if min(self.n_workers, self.cpus, self.memory_gb) < 1:
            raise JobError("kubernetes: --workers, --cpus and --memory-gb must be at least 1")
        # The cluster's service is named after the job, and a service begins with a letter.
        if (
            not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", self.name)
            or len(self.name) > MOST_NAME
        ):
            raise JobError(
                f"kubernetes: --name {self.name!r} must begin with a lower-case letter, hold only "
                f"lower-case letters, digits and -, and have at most {MOST_NAME} of them"
            )
        for name in (*self.secrets, *((self.claim[0],) if self.claim else ())):
            if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name) or len(name) > 253:
                raise JobError(
                    f"kubernetes: {name!r} is not a name; lower-case letters, digits, . and - only"
                )


def kubernetes_name(sweep: Sweep) -> str:
    """Turn a sweep's name into one that Kubernetes allows for a RayJob, 47 characters at most.

    Examples
    --------
    >>> kubernetes_name(Sweep(name="Latent_dims"))
    'latent-dims'
    >>> kubernetes_name(Sweep(name="2nd_try"))
    'sweep-2nd-try'
    """
    name = re.sub(r"[^a-z0-9]+", "-", sweep.name.lower()).strip("-")
    name = name if name[:1].isalpha() else f"sweep-{name}"
    return name[:MOST_NAME].strip("-")


def rayjob_manifest(sweep: Sweep, command: Command, job: KubernetesJob) -> str:
    """Write the KubeRay RayJob manifest of a sweep.

    Parameters
    ----------
    sweep : Sweep
    command : Command
    job : KubernetesJob

    Returns
    -------
    str
        YAML. Ray's token authentication is on: the operator makes the token and its secret.

    Raises
    ------
    JobError
        The results would vanish with the cluster.
    """
    _check_results_last(command.results, job)
    metadata: dict[str, Any] = {"name": job.name}
    if job.namespace:
        metadata["namespace"] = job.namespace
    metadata["labels"] = {
        "app.kubernetes.io/name": "mode-coverage-study",
    }
    spec = {
        "entrypoint": shlex.join(_in_image(command, job).words("--address", "auto", "--json")),
        "submissionMode": "K8sJobMode",
        "runtimeEnvYAML": yaml.safe_dump(_runtime_environment(command, job), sort_keys=False),
        "metadata": {"sweep": sweep.name},
        # Each retry is a new cluster, which continues from the results.
        "backoffLimit": 2,
        "activeDeadlineSeconds": round(job.deadline_h * 3600),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 600,
        "rayClusterSpec": _ray_cluster(job),
    }
    manifest = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}
    head = f"# Sweep {sweep.name}. Needs the KubeRay operator, 1.6 or newer.\n"
    return head + yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=99)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal parts out: manifests are read by people."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _check_results_last(results: str, job: KubernetesJob) -> None:
    if results.startswith(_OBJECT_STORES):
        return
    mount = job.claim[1] if job.claim else None
    if mount is None or not PurePosixPath(results).is_relative_to(mount):
        raise JobError(
            f"kubernetes: results in {results!r} would vanish with the pods; "
            "write --results s3://BUCKET/PATH, or a path under a --claim NAME:/PATH"
        )


def _in_image(command: Command, job: KubernetesJob) -> Command:
    """Name the sweep file by its whole path, unless the job runs in its own copy of the code."""
    return command if job.code else replace(command, file=f"{job.folder}/{command.file}")


def _runtime_environment(command: Command, job: KubernetesJob) -> dict[str, Any]:
    place = {"working_dir": job.code} if job.code else {}
    return {**place, "env_vars": {"RAY_USAGE_STATS_ENABLED": "0", **dict(command.environment)}}


def _ray_cluster(job: KubernetesJob) -> dict[str, Any]:
    head = _pod(job, "ray-head", cpus=2, memory_gb=4, gpus=0)
    worker = _pod(job, "ray-worker", cpus=job.cpus, memory_gb=job.memory_gb, gpus=job.gpus)
    return {
        "rayVersion": job.ray_version,
        "authOptions": {"mode": "token"},
        # No processors on the head: it drives, and trials stay on the workers.
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0"},
            "template": head,
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": job.n_workers,
                "minReplicas": job.n_workers,
                "maxReplicas": job.n_workers,
                "rayStartParams": {},
                "template": worker,
            }
        ],
    }


def _pod(job: KubernetesJob, name: str, *, cpus: int, memory_gb: int, gpus: int) -> dict[str, Any]:
    amounts: dict[str, str] = {"cpu": str(cpus), "memory": f"{memory_gb}Gi"}
    if gpus:
        amounts["nvidia.com/gpu"] = str(gpus)
    container: dict[str, Any] = {
        "name": name,
        "image": job.image,
        "env": [
            {"name": "OMP_NUM_THREADS", "value": "1"},
            *([] if job.code else [{"name": "PYTHONPATH", "value": job.folder}]),
        ],
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if not job.code:
        container["workingDir"] = job.folder
    if job.secrets:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in job.secrets]
    # Pods of a sweep ask the Kubernetes API for nothing.
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "containers": [container],
    }
    if job.claim:
        claim, mount = job.claim
        container["volumeMounts"] = [{"name": "results", "mountPath": mount}]
        volume = {"name": "results", "persistentVolumeClaim": {"claimName": claim}}
        pod["volumes"] = [volume]
    return {"spec": pod}
