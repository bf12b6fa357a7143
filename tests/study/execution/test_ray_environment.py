"""Addresses of clusters: what is refused, and under the name by which it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.execution.exit_status import ExitStatus
from study.execution.ray_environment import SessionError, known_address
from study.rescore import main as rescore
from study.sweep import main as sweep

REFUSED = {
    "http://127.0.0.1:8265": "python -m study.submit FILE --to ray --address http://127",
    "https://ray.example.org": "python -m study.submit FILE --to ray",
    "ray://10.0.0.7:10001": "run on a node of the cluster",
    "somewhere": "write auto, or HOST:PORT",
    "host:": "write auto, or HOST:PORT",
    ":6379": "write auto, or HOST:PORT",
}


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_is_refused_as_it_was_given(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SessionError, match=REFUSED[address]) as error:
        known_address(address)
    assert str(error.value).startswith(f"--address {address}: ")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(SessionError, match=REFUSED[address]) as error:
        known_address(None)
    assert str(error.value).startswith(f"RAY_ADDRESS={address}: ")
    assert known_address("auto") == "auto"


@pytest.mark.parametrize("address", ["", None])
def test_no_address_is_none(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    assert known_address(None) is None


def test_nothing_is_written_before_an_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.yaml").write_text("name: x\n")
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.chdir(tmp_path)
    for command, words in ((sweep, ["x.yaml"]), (rescore, ["results/x"])):
        assert command(words) == ExitStatus.USAGE
        assert "RAY_ADDRESS=http://127.0.0.1:8265" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
