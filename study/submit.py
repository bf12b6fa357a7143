"""Submit a sweep to a cluster: `python -m study.submit sweeps/latent_dims.yaml --to ray`.

`status`, `logs` and `stop` with a job's name manage a job on a Ray cluster. Exit status: that of
the sweep when its log is followed to the end, 0 when it was submitted or shown, 2 when it was not.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from study.cluster.command import Command, JobError
from study.display.command_parser import CommandParser
from study.display.console import guard_output, say, say_error
from study.execution.exit_status import ExitStatus
from study.plugins import PluginError, add_option, load_plugins

if TYPE_CHECKING:
    from study.cluster.code_copy import Package
    from study.cluster.ray_jobs import JobServer
    from study.config import Sweep

VERBS = ("status", "logs", "stop")
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
# Files that stay here, by name.
MOST_NAMED = 8


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line that submits."""
    parser = CommandParser(
        prog="python -m study.submit",
        description="Run a sweep on a cluster. Later, 'submit status|logs|stop JOB' manages a "
        "job on a Ray cluster.",
    )
    add = parser.add_argument
    add("file", type=Path, help="sweep file, such as sweeps/latent_dims.yaml")
    add("--to", choices=("ray", "slurm", "kubernetes"), required=True, help="where the job runs")
    add("--print", action="store_true", help="print what would be submitted, submit nothing")
    add("--set", dest="overrides", metavar="FIELD=VALUE", action="append", default=[],
        help="fix a field for this run, such as training.epochs=20 (repeatable)")  # fmt: skip
    add_option(parser)
    add("--smoke", action="store_true", help="shrink the sweep to about a minute")
    add("--limit", type=int, metavar="N", help="start at most N trials")
    add("--retry-failed", action="store_true", help="run failed and timed-out trials again")
    add(
        "--results",
        metavar="DIR",
        help="path that all nodes share, or s3:// URI (default: ./results, if the job runs "
        "on this machine or its shared disks)",
    )
    add("--python", help="Python interpreter on the nodes (default: python; slurm: this one)")
    add("--cpus", type=int, default=4, help="CPUs per task or worker (default: 4)")
    add("--gpus", type=int, default=0, help="GPUs per task or worker (default: 0)")
    add(
        "--memory-gb",
        type=int,
        help="memory in GB per task or worker (default: the cluster's; kubernetes: 8)",
    )
    add("--include", action="append", default=[], metavar="FILE", help="send this file of the "
        "project's folder, too, although git does not track it (repeatable)")  # fmt: skip
    _add_ray(parser)
    _add_slurm(parser)
    _add_kubernetes(parser)
    return parser


def _add_ray(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("--to ray").add_argument
    _add_server(add)
    add("--name", help="name of the job (default: the sweep's, with the time)")
    add("--detach", action="store_true", help="do not follow the log")
    add(
        "--pip",
        action="store_true",
        help="install constraints.txt on the nodes (needs a network there)",
    )


def _add_server(add: Any) -> None:
    add(
        "--address", default=None, help=f"address of Ray's job server (default: {DEFAULT_ADDRESS})"
    )
    add("--insecure", action="store_true", help="allow plain http to another machine")


def _add_slurm(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("--to slurm").add_argument
    add("--layout", choices=("array", "symmetric", "apart"), default="array",
        help="independent tasks, or one Ray over all nodes (default: array)")  # fmt: skip
    add("--tasks", type=int, default=1, help="tasks of the array, or nodes (default: 1)")
    add("--time", default="04:00:00", help="time limit per task (default: 04:00:00)")
    add("--partition", help="Slurm partition to run in")
    add("--account", help="Slurm account to charge")


def _add_kubernetes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("--to kubernetes").add_argument
    add("--image", help="container image with the project and its packages")
    add("--folder", default="/app", help="folder of the project in the image (default: /app)")
    add("--code", metavar="URI", help="zip file of the project, if the image does not contain it")
    add("--namespace", help="Kubernetes namespace (default: that of kubectl)")
    add("--workers", type=int, default=1, help="number of pods that train (default: 1)")
    add("--secret", action="append", default=[], metavar="NAME", help="Kubernetes secret whose "
        "keys become environment variables (repeatable)")  # fmt: skip
    add("--claim", metavar="NAME:/PATH", help="volume claim to mount on every pod")
    add(
        "--deadline-h",
        type=float,
        default=24.0,
        help="hours after which the job is ended (default: 24)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments; None takes the process's.

    Returns
    -------
    int
        The exit status.
    """
    guard_output()
    words = list(sys.argv[1:] if argv is None else argv)
    # Not at the top: --help need not wait for it.
    from study.config import SweepError

    try:
        if words and words[0] in VERBS:
            return _look_after(words)
        return _submit(build_parser().parse_args(words))
    except (JobError, SweepError, PluginError) as error:
        say_error(f"error: {error}")
        return ExitStatus.USAGE
    except KeyboardInterrupt:
        say_error("\nThe job continues; stop it with: python -m study.submit stop JOB")
        return ExitStatus.STOPPED


def _look_after(words: Sequence[str]) -> int:
    parser = CommandParser(prog="python -m study.submit")
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("job", help="the job's name")
    _add_server(parser.add_argument)
    options = parser.parse_args(words)
    server = _server(options)
    if options.verb == "stop":
        say(f"{options.job}: {server.stop(options.job)}; what was finished is kept")
        return ExitStatus.DONE
    if options.verb == "logs":
        return _follow(server, options.job, options.job)
    return _print_status(server, options.job)


def _server(options: argparse.Namespace) -> JobServer:
    from study.cluster.ray_jobs import JobServer

    address = options.address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    return JobServer(address, insecure=options.insecure)


def _print_status(server: JobServer, job: str) -> int:
    from study.display.job_log import last_state, update_progress
    from study.display.progress import SweepProgress

    info = server.info(job)
    say(f"{job}: {server.status(job)}")
    state = last_state(server.logs(job))
    if state is not None:
        progress = SweepProgress(job)
        update_progress(progress, state)
        say(f"{progress.n_finished}/{progress.n_trials} trials, {progress.n_failed} failed")
    if server.status(job) == "FAILED" and info.message:
        say(str(info.message).strip().splitlines()[0])
    return ExitStatus.DONE


def _follow(server: JobServer, job: str, sweep_name: str) -> int:
    from study.display.job_log import show_log
    from study.display.progress import SweepProgress, make_display

    progress = SweepProgress(sweep_name)
    with make_display(progress, quiet=False, as_json=False) as display:
        show_log(server.follow(job), display)
    status = server.status(job)
    say(f"{job}: {status}; {progress.n_finished}/{progress.n_trials} trials")
    if status == "STOPPED":
        return ExitStatus.STOPPED
    code = server.info(job).driver_exit_code
    if code is not None:
        return int(code)
    return ExitStatus.DONE if status == "SUCCEEDED" else ExitStatus.FAILED


def _submit(options: argparse.Namespace) -> int:
    from study.config import SweepError, load_sweep, shrink
    from study.results.folder import ResultsError, check_location

    if options.limit is not None and options.limit < 1:
        raise SweepError(f"--limit: must be at least 1; found {options.limit}")
    for name in ("results", "code"):
        try:
            check_location(getattr(options, name) or "", name=f"--{name}")
        except ResultsError as error:
            raise JobError(str(error)) from None
    load_plugins(options.plugins)
    sweep = load_sweep(options.file, overrides=tuple(options.overrides))
    sweep = shrink(sweep) if options.smoke else sweep
    send = {"ray": _to_ray, "slurm": _to_slurm, "kubernetes": _to_kubernetes}[options.to]
    return send(sweep, options)


def _arguments(options: argparse.Namespace, *, sent: bool = True) -> tuple[str, ...]:
    """List the options of `study.sweep` that were given here; files go under their sent names."""
    from study.cluster.code_copy import plugin_name

    plugins = [plugin_name(Path(name)) if sent else name for name in options.plugins]
    given = [word for name in plugins for word in ("--plugin", name)]
    given += [word for override in options.overrides for word in ("--set", override)]
    given += ["--smoke"] if options.smoke else []
    given += ["--limit", str(options.limit)] if options.limit is not None else []
    given += ["--retry-failed"] if options.retry_failed else []
    return tuple(given)


def _say_kept(kept: Sequence[str]) -> None:
    """Return the files that stay here and that a run might need."""
    if kept:
        few = ", ".join(kept[:MOST_NAMED]) + ", ..." * (len(kept) > MOST_NAMED)
        say_error(
            f"note: {len(kept)} files are not sent, as git does not track them: {few}; "
            "add one with --include FILE"
        )


def _environment() -> tuple[tuple[str, str], ...]:
    """Return the commit that is sent, which every row will name."""
    from study.results.provenance import provenance, write_dirty

    made_by = provenance()
    return (("STUDY_COMMIT", made_by["commit"]), ("STUDY_DIRTY", write_dirty(made_by["dirty"])))


def _to_ray(sweep: Sweep, options: argparse.Namespace) -> int:
    from study.cluster.code_copy import check_size, list_tree, pack, project_root
    from study.cluster.ray_jobs import check_address, is_loopback

    address = options.address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    check_address(address, insecure=options.insecure)
    results = options.results
    if results is None:
        import urllib.parse

        if not is_loopback(urllib.parse.urlsplit(address).hostname or ""):
            raise JobError("--results: name a path on the cluster, or an s3:// URI")
        results = "results"
    if "://" not in results:
        results = str(Path(results).absolute())
    root, plugins = project_root(), [Path(name) for name in options.plugins]
    files, kept = list_tree(root, options.include)
    check_size(root, files)
    _say_kept(kept)
    job = options.name or f"{sweep.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    server = None if options.print else _server(options)
    with tempfile.TemporaryDirectory(prefix="study-submit-") as scratch:
        package, file = pack(root, Path(scratch), options.file, options.include, plugins)
        command = Command(
            file=file,
            results=results,
            arguments=_arguments(options),
            environment=_environment(),
            python=options.python or "python",
        )
        entrypoint = shlex.join(command.words("--json"))
        sent = f"{len(package.files)} files, {package.size_mb:.1f} MB, content {package.content}"
        if server is None:
            say(f"# {address}, job {job}: {sent}\n{entrypoint}")
            return ExitStatus.DONE
        server.submit(job, entrypoint, _runtime_env(command, package, options), sweep=sweep.name)
    say(f"{job}: submitted to {address} ({sent}); results in {results}/{sweep.name}")
    if options.detach:
        say(f"Follow it with: python -m study.submit logs {job} --address {address}")
        return ExitStatus.DONE
    return _follow(server, job, sweep.name)


def _runtime_env(
    command: Command, package: Package, options: argparse.Namespace
) -> dict[str, Any]:
    env: dict[str, Any] = {
        "working_dir": str(package.root),
        "env_vars": {"OMP_NUM_THREADS": "1", **dict(command.environment)},
    }
    if options.pip:
        lines = (package.root / "constraints.txt").read_text().splitlines()
        # Ray itself is the cluster's, and pip cannot change it under its feet.
        pins = [line for line in lines if "==" in line and not line.startswith(("ray==", "#"))]
        env["pip"] = {"packages": pins}
    return env


def _file_from(root: Path, file: Path) -> str:
    """Name a file as a job finds it that runs in the project's folder: a job changes there."""
    whole = file.resolve()
    return str(whole.relative_to(root) if whole.is_relative_to(root) else whole)


def _to_slurm(sweep: Sweep, options: argparse.Namespace) -> int:
    from study.cluster.code_copy import list_tree, pack, project_root
    from study.cluster.slurm import SlurmJob, slurm_script

    results = str(options.results or Path("results").absolute())
    if "://" not in results:
        results = str(Path(results).absolute())
    root, plugins = project_root(), [Path(name) for name in options.plugins]
    copies = Path(results if "://" not in results else "results").absolute() / ".code"
    if options.print:
        folder, file = str(root), _file_from(root, options.file)
    else:
        # A copy on the shared disks: the tree may change while the job waits in the queue.
        _say_kept(list_tree(root, options.include)[1])
        package, file = pack(root, copies, options.file, options.include, plugins)
        folder = str(package.root)
    command = Command(
        file=file,
        results=results,
        arguments=_arguments(options, sent=not options.print),
        environment=_environment(),
        python=options.python or sys.executable,
    )
    job = SlurmJob(
        folder=folder,
        layout=options.layout,
        n_tasks=options.tasks,
        cpus=options.cpus,
        gpus=options.gpus,
        memory_gb=options.memory_gb,
        time_limit=options.time,
        log_folder=str(Path.cwd()),
        partition=options.partition,
        account=options.account,
    )
    text = slurm_script(sweep, command, job)
    return _give(text, ("sbatch", "--parsable"), options, what="sbatch")


def _to_kubernetes(sweep: Sweep, options: argparse.Namespace) -> int:
    import importlib.metadata

    from study.cluster.code_copy import project_root
    from study.cluster.kubernetes import KubernetesJob, kubernetes_name, rayjob_manifest

    if not options.image:
        raise JobError("kubernetes: --image names the container image with the project")
    if not options.results:
        raise JobError("kubernetes: --results s3://BUCKET/PATH, or a path under --claim")
    claim = tuple(options.claim.split(":", 1)) if options.claim else None
    if claim is not None and len(claim) != 2:
        raise JobError(f"kubernetes: --claim {options.claim!r}; write NAME:/PATH")
    root = project_root()
    file = _file_from(root, options.file)
    if PurePosixPath(file).is_absolute():
        raise JobError(
            f"kubernetes: {options.file} is not in {root}, so neither an image nor a zip file of "
            "the project holds it; move it there"
        )
    command = Command(
        file=file,
        results=options.results,
        arguments=_arguments(options, sent=False),
        environment=_environment(),
        python=options.python or "python",
    )
    job = KubernetesJob(
        image=options.image,
        ray_version=importlib.metadata.version("ray"),
        name=options.name or kubernetes_name(sweep),
        namespace=options.namespace,
        n_workers=options.workers,
        cpus=options.cpus,
        memory_gb=options.memory_gb or 8,
        gpus=options.gpus,
        secrets=tuple(options.secret),
        claim=claim,
        code=options.code,
        folder=options.folder,
        deadline_h=options.deadline_h,
    )
    text = rayjob_manifest(sweep, command, job)
    # `create`, not `apply`: a job of this name that exists is not changed under way.
    return _give(text, ("kubectl", "create", "-f", "-"), options, what="kubectl")


def _give(text: str, command: Sequence[str], options: argparse.Namespace, *, what: str) -> int:
    """Hand a job's text to its system, or print it."""
    if options.print:
        if not say(text, end=""):
            raise JobError("--print: the text could not be written whole")
        return ExitStatus.DONE
    if shutil.which(command[0]) is None:
        raise JobError(
            f"{what} is not installed on this machine; print the text with --print instead"
        )
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        if "AlreadyExists" in done.stderr or "already exists" in done.stderr:
            reason = f"{reason}; use another --name, or delete the old job"
        raise JobError(f"{what} refused the job: {reason}")
    say(done.stdout.strip())
    return ExitStatus.DONE


if __name__ == "__main__":
    sys.exit(main())
