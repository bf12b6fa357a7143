"""The command on broken sweep files: exit status 2, one line, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.execution.exit_status import ExitStatus
from study.sweep import main

BROKEN = Path(__file__).parent / "broken_sweeps"


@pytest.mark.slow
def test_command_refuses_broken_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted(BROKEN.glob("*.yaml"))
    assert len(paths) >= 50
    for path in paths:
        for options in ([], ["--dry-run"], ["--smoke"]):
            arguments = [str(path), "--results", str(tmp_path / "results"), *options]
            assert main(arguments) == ExitStatus.USAGE
            printed = capsys.readouterr()
            assert printed.out == ""
            assert len(printed.err.splitlines()) == 1, printed.err
            assert str(path) in printed.err
    assert list(tmp_path.iterdir()) == []
