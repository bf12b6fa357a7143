"""Submitting: what is sent, what is refused in one line, and a job's log shown as a run's own."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import study.cluster.code_copy
from study.cluster.code_copy import check_size, list_tree, pack, project_root
from study.cluster.command import JobError
from study.cluster.ray_jobs import check_address, check_server, leave_proxies_out
from study.display.job_log import last_state, show_log
from study.display.progress import QuietDisplay, SweepProgress
from study.execution.exit_status import ExitStatus
from study.submit import main

IN_TREE = str(project_root() / "sweeps" / "quickstart.yaml")
SWEEP = "name: tiny\ngrid: {model.latent_dim: [1, 2]}\n"


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in (
        "study/a.py",
        "study/__pycache__/a.pyc",
        "sweeps/x.yaml",
        "results/x/trials.parquet",
        "weights/w.bin",
        "env/pyvenv.cfg",
        "env/lib/big.py",
        ".env",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == ExitStatus.USAGE
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize("has_git", [False, True])
def test_results_weights_and_environments_stay_here(tree: Path, has_git: bool) -> None:
    if has_git:
        subprocess.run(["git", "init", "-q", str(tree)], check=True)
        (tree / ".gitignore").write_text("env/\n")
    assert list_tree(tree) == (["study/a.py", "sweeps/x.yaml"], [])


SECRETS = (".env.local", ".netrc", "id_rsa", ".aws/credentials", "notes.txt")


def write_all(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_what_git_does_not_track_is_named_and_stays_unless_it_is_code(tree: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    (tree / ".gitignore").write_text("env/\nignored.py\n")
    write_all(tree, *SECRETS, "study/new.py", "ignored.py", "tracked.txt")
    subprocess.run(["git", "-C", str(tree), "add", "tracked.txt"], check=True)
    sent, kept = list_tree(tree)
    assert sent == ["study/a.py", "study/new.py", "sweeps/x.yaml", "tracked.txt"]
    assert set(SECRETS) <= set(kept)
    assert not {"ignored.py", "env/lib/big.py"} & {*sent, *kept}
    assert "notes.txt" in list_tree(tree, ["notes.txt"])[0]
    with pytest.raises(JobError, match=r"--include nothing\.txt: there is no such file"):
        list_tree(tree, ["nothing.txt"])


def test_links_that_lead_out_of_the_tree_are_not_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("secret")
    (tree / "study/link.py").symlink_to(tmp_path / "secret.py")
    (tree / "study/inside.py").symlink_to(tree / "study/a.py")
    for has_git in (False, True):
        if has_git:
            subprocess.run(["git", "init", "-q", str(tree)], check=True)
            subprocess.run(["git", "-C", str(tree), "add", "study"], check=True)
        sent, kept = list_tree(tree)
        assert "study/inside.py" in sent
        assert "study/link.py" not in sent
        assert "study/link.py" in kept
    with pytest.raises(JobError, match="--include study/link"):
        list_tree(tree, ["study/link.py"])


def test_without_git_nothing_is_sent_that_git_would_keep(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        with pytest.raises(JobError, match="install git"):
            list_tree(tree)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(JobError, match=r"git config --global --add safe\.directory"):
        list_tree(tree)


def test_a_copy_is_named_by_its_content(tree: Path, tmp_path: Path) -> None:
    first, file = pack(tree, tmp_path / "copies", tree / "sweeps/x.yaml")
    again, _ = pack(tree, tmp_path / "copies", tree / "sweeps/x.yaml")
    assert file == "sweeps/x.yaml"
    assert first.root == again.root
    (tree / "study/a.py").write_text("changed")
    later, _ = pack(tree, tmp_path / "copies", tree / "sweeps/x.yaml")
    assert later.root != first.root
    assert (first.root / "study/a.py").read_text() == "study/a.py"


def test_a_sweep_file_from_elsewhere_is_sent_along(tree: Path, sweep_file: Path) -> None:
    package, file = pack(tree, tree.parent / "copies", sweep_file)
    assert (package.root / file).read_text() == SWEEP


def test_the_project_itself_is_small() -> None:
    files, _ = list_tree(project_root())
    assert "study/sweep.py" in files
    assert check_size(project_root(), files) < 20


def test_a_tree_of_600_mb_is_refused_by_name(
    tree: Path,
    sweep_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (tree / "data.py").open("wb") as stream:
        stream.truncate(600_000_000)
    monkeypatch.setattr(study.cluster.code_copy, "project_root", lambda: tree)
    text = error_of(capsys, str(sweep_file), "--to", "ray")
    assert "600 MB to send" in text
    assert "data.py (600 MB)" in text


@pytest.mark.parametrize("host", ["10.0.0.7", "head.example", "[2001:db8::1]"])
def test_plain_http_goes_to_this_machine_only(host: str) -> None:
    with pytest.raises(JobError, match="ssh -L"):
        check_address(f"http://{host}:8265", insecure=False)
    check_address(f"http://{host}:8265", insecure=True)
    check_address(f"https://{host}", insecure=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machine_may_be_spoken_to_plainly(host: str) -> None:
    check_address(f"http://{host}:8265", insecure=False)


@pytest.mark.parametrize("address", ["127.0.0.1:8265", "ray://127.0.0.1:10001", "http://"])
def test_an_address_that_is_no_url_is_refused(
    address: str, sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = error_of(capsys, str(sweep_file), "--to", "ray", "--address", address)
    assert "write http://127.0.0.1:8265" in text


def test_a_dead_head_is_said_at_once(sweep_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        text = error_of(capsys, str(sweep_file), "--to", "ray", "--address", address)
    assert "is the head running with its dashboard" in text


@pytest.fixture
def server() -> Iterator[Any]:
    """Serve one fixed answer; `answer` is its status and body, `asked` the last headers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked = dict(self.headers)  # type: ignore[attr-defined]
            status, body = self.server.answer  # type: ignore[attr-defined]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, b""), "wants a token"),
        ((403, b""), "wants a token"),
        ((404, b""), "not a Ray job server"),
        ((200, b"<html>"), "not a Ray job server"),
        ((200, b"[]"), "not a Ray job server"),
    ],
)
def test_what_answers_must_be_a_job_server(
    server: Any, answer: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abc")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    server.answer = answer
    with pytest.raises(JobError, match=message) as caught:
        check_server(f"http://127.0.0.1:{server.server_port}")
    assert server.asked["Authorization"] == "Bearer abc"
    assert "abc" not in str(caught.value)


def only_git(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave git on the path and nothing else."""
    (tools / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(tools))


def test_print_shows_and_sends_nothing(
    sweep_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    only_git(tmp_path_factory.mktemp("tools"), monkeypatch)
    monkeypatch.chdir(sweep_file.parent)
    common = [str(sweep_file), "--print", "--smoke", "--set", "training.epochs=5"]
    assert main([*common, "--to", "ray", "--results", "s3://bucket/results"]) == 0
    assert "study.sweep sweeps/sent-tiny.yaml --results s3://" in capsys.readouterr().out
    assert main([*common, "--to", "slurm", "--tasks", "3"]) == 0
    text = capsys.readouterr().out
    assert "#SBATCH --array=1-3" in text
    # The script changes folder, so a file from elsewhere has its whole path.
    assert f"study.sweep {sweep_file} " in text
    assert main([IN_TREE, *common[1:], "--to", "slurm"]) == 0
    assert "study.sweep sweeps/quickstart.yaml " in capsys.readouterr().out
    options = ["--image", "image:1", "--results", "s3://bucket/results", "--secret", "store"]
    assert main([IN_TREE, *common[1:], "--to", "kubernetes", *options]) == 0
    text = capsys.readouterr().out
    assert "kind: RayJob" in text
    assert "/app/sweeps/quickstart.yaml" in text
    assert list(sweep_file.parent.iterdir()) == [sweep_file]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "kubernetes"], "--image"),
        (["--to", "kubernetes", "--image", "x"], "--results"),
        (["--to", "kubernetes", "--image", "x", "--results", "/tmp/r"], "neither an image nor"),
        (["--to", "ray", "--address", "https://far.example"], "--results"),
        (["--to", "ray", "--set", "training.epoch=3"], "training.epochs"),
    ],
)
def test_what_is_missing_is_named(
    sweep_file: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_of(capsys, str(sweep_file), *words)


def fake_command(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)


def test_systems_that_are_there_get_the_text(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = sweep_file.parent / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.chdir(sweep_file.parent)
    fake_command(tools, "sbatch", f"cat > {tools}/given.sh; echo 17")
    assert main([str(sweep_file), "--to", "slurm"]) == 0
    assert "17" in capsys.readouterr().out
    given = (tools / "given.sh").read_text()
    copy = next((sweep_file.parent / "results" / ".code").iterdir())
    assert f"cd {copy}" in given
    assert (copy / "study/sweep.py").exists()
    fake_command(tools, "kubectl", 'echo "Error: rayjobs \\"tiny\\" already exists" >&2; exit 1')
    text = error_of(capsys, IN_TREE, "--to", "kubernetes", "--image", "x", "--results", "s3://b/r")
    assert "use another --name" in text


def test_without_the_system_the_text_can_be_printed(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    words = [IN_TREE, "--to", "kubernetes", "--image", "x", "--results", "s3://b/r"]
    assert "--print" in error_of(capsys, *words)


def test_a_python_without_the_packages_says_so_in_one_line(sweep_file: Path) -> None:
    # -S leaves out the folder of installed packages, as on a node that lacks them.
    command = [sys.executable, "-S", "-m", "study.sweep", str(sweep_file)]
    environment = {**os.environ, "PYTHONPATH": str(project_root())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == ExitStatus.USAGE
    assert "is not installed in" in done.stderr
    assert "--pip" in done.stderr
    assert done.stderr.count("\n") == 1


def state(event: str, n_finished: int, **more: Any) -> str:
    base = {"event": event, "sweep": "tiny", "n_trials": 4, "n_failed": 0, "elapsed_s": 60.0}
    return json.dumps({**base, "n_finished": n_finished, **more})


def test_a_log_is_shown_as_progress() -> None:
    notes: list[str] = []

    class Display(QuietDisplay):
        def note(self, message: str) -> None:
            notes.append(message)

    row = {"label": "latent_dim=2", "n_trials": 2, "phase": "training", "epoch": 3, "n_epochs": 6}
    display = Display(SweepProgress("?"))
    lines = [
        "plain text",
        '{"torn": ',
        state("note", 1, message="joined"),
        state("report", 1, running=[row]),
        state("finish", 3, running=[]),
    ]
    show_log(lines[:4], display)
    assert display.progress.running[0].fraction == pytest.approx(0.2)
    show_log(lines[4:], display)
    assert notes == ["plain text", '{"torn": ', "joined"]
    assert (display.progress.n_finished, display.progress.n_finished_before) == (3, 1)
    assert display.progress.trials_per_minute == pytest.approx(2.0, rel=0.05)
    found = last_state("\n".join(lines))
    assert found is not None
    assert found["n_finished"] == 3


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "[::1]"])
def test_no_proxy_sees_the_token(
    variable: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.setenv("NO_PROXY", "")
    address = f"http://{host}:8265"
    leave_proxies_out(address)
    assert requests.utils.get_environ_proxies(address) == {}
    assert requests.utils.should_bypass_proxies("http://example.org", None)
    leave_proxies_out(address)
    assert os.environ["no_proxy"].count("example.org") == 1


def test_an_https_server_is_reached_as_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    leave_proxies_out("https://ray.example.org")
    assert os.environ["no_proxy"] == ""
