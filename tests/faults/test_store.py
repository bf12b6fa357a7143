"""An object store that goes away in the middle, or refuses us at the start."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from study.results.folder import ResultsError, open_folder
from study.results.lock import LockedError, hold, read_holder
from tests.faults.harness import PATIENCE_S, Bench, assert_equal, read_all, wait_for

OUTAGE_S = float(os.environ.get("FAULTS_OUTAGE_S", "20"))
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
pytestmark = [pytest.mark.faults, pytest.mark.slow]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def store_server(**env: str) -> Iterator[int]:
    """Run moto's S3 as a process of its own; yields its port."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, stdout=quiet, stderr=quiet, env={**os.environ, **env}
    ) as server:
        try:
            wait_for(lambda: _answers(port), timeout_s=60, what="the S3 server")
            yield port
        finally:
            server.terminate()
            server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Proxy:
    """A TCP proxy that can refuse everybody for a while."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []
        self.port = free_port()

    def up(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def down(self) -> None:
        assert self._listener is not None
        # A thread that waits in accept() keeps the port open until it is woken.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open = []

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def location(port: int, folder: str = "bucket/all") -> str:
    return f"s3://{folder}?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def make_bucket(port: int) -> None:
    filesystem = pafs.S3FileSystem(
        endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True
    )
    filesystem.create_dir("bucket")


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_an_outage_in_the_middle_costs_nothing(tmp_path: Path, keys: None) -> None:
    calm = Bench(tmp_path / "calm")
    assert calm.run()[0] == 0
    bench = Bench(tmp_path / "remote")
    with store_server() as port:
        make_bucket(port)
        proxy = Proxy(port)
        proxy.up()
        place = location(proxy.port)
        with bench.start(results=place) as process:
            wait_for(
                lambda: any(event.get("landed") for event in bench.events()),
                timeout_s=240,
                what="the first stack",
            )
            proxy.down()
            time.sleep(OUTAGE_S)
            proxy.up()
            out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, out + err
        assert err == ""
        sweep = location(proxy.port, "bucket/all/tiny")
        assert_equal(read_all(sweep), read_all(calm.results))
        assert bench.recomputed({}) == set()
        folder = open_folder(sweep)
        files = {info.path for info in folder.list_files(recursive=True) if info.is_file}
        assert not [file for file in files if "/parts/" in file or "lock" in file]
        proxy.down()


def test_wrong_credentials_are_refused_before_any_work(tmp_path: Path, keys: None) -> None:
    bench = Bench(tmp_path)
    with store_server(INITIAL_NO_AUTH_ACTION_COUNT="0") as port:
        started = time.monotonic()
        with bench.start(results=location(port)) as process:
            out, err = process.communicate(timeout=120)
        assert process.returncode == 2, out + err
        assert err.startswith("error: ")
        assert "ACCESS" in err.upper()
        assert err.count("\n") == 1
        assert out == ""
        assert bench.events() == []
        assert time.monotonic() - started < 60


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path, keys: None) -> None:
    bench = Bench(tmp_path)
    with store_server() as port, bench.start(results=location(port)) as process:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 2, out + err
        assert "bucket" in err
        assert err.count("\n") == 1


def test_the_lock_excludes_on_an_object_store_too(
    keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.results.lock.SETTLE_S", 0.2)
    with store_server() as port:
        make_bucket(port)
        folder = open_folder(location(port, "bucket/locked"))
        with hold(folder) as lease:
            with pytest.raises(LockedError, match="another process writes here"), hold(folder):
                pass
            lease.check()
        assert read_holder(folder) is None
        # Several that start at once: at most one goes on.
        held: list[int] = []
        barrier = threading.Barrier(4)

        def take(number: int) -> None:
            barrier.wait()
            with contextlib.suppress(ResultsError), hold(folder):
                held.append(number)
                time.sleep(2)

        threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(held) == 1
