"""Careless settings and options: refused in one line, or of no effect."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from study import status, submit, sweep
from study.config import SweepError, load_sweep, yaml_source
from study.display.console import MIN_COLUMNS, make_console, say_error
from study.execution.run import _print_summary
from study.results import to_table

QUICK = "sweeps/quickstart.yaml"


@pytest.mark.parametrize("place", ["", "  ", "s3:/typo", "gs:typo", "S3:/typo"])
def test_results_are_not_written_to_a_typo(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_file = Path(QUICK).absolute()
    monkeypatch.chdir(tmp_path)
    assert sweep.main([str(sweep_file), "--results", place]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert status.main([place]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", [QUICK, "sweeps/search_full_coverage.yaml"])
def test_a_dry_run_with_json_prints_one_object(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main([file, "--dry-run", "--json", "--results", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dry_run"]
    assert list(tmp_path.iterdir()) == []


def test_a_limit_of_none_is_refused_before_anything_is_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for limit in ("0", "-3"):
        arguments = [QUICK, "--to", "slurm", "--print", f"--limit={limit}"]
        assert submit.main(arguments) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "--limit: must be at least 1" in printed.err


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("results/a b", "analysis.report 'results/a b'"),
        ("results/$(x)", "analysis.report 'results/$(x)'"),
        ("s3://bucket/x", "analysis.report s3://bucket/x --out reports/x"),
    ],
)
def test_the_next_step_can_be_pasted(
    path: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = to_table("trials", [{"trial_id": "a", "status": "done"}]).to_pandas()
    _print_summary(trials, path, n_left=0, by_cell=False, elapsed_s=1.0)
    assert re.search(rf"Next: \S*python -m {re.escape(wanted)}\n", capsys.readouterr().out)


@pytest.mark.parametrize("columns", ["0", "1", "x", "-3", ""])
def test_a_screen_of_no_width_shows_everything(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    make_console().print("what there is to say")
    assert capsys.readouterr().out.strip() == "what there is to say"
    assert make_console().width >= MIN_COLUMNS


def test_an_error_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    say_error("error: \x1b[2J\x07 ü\nsecond")
    assert capsys.readouterr().err == "error: \\x1b[2J\\x07 ü\nsecond\n"


@pytest.mark.parametrize(
    "text",
    [
        f"fixed:\n  model.hidden: {[1 + i % 100 for i in range(190_000)]}",
        f"grid:\n  training.kl_weight: {list(range(1, 120_000))}",
        f"fixed:\n  mixture.means: {[[1]] * 180_000}",
    ],
    ids=["hidden", "grid", "means"],
)
def test_a_long_list_is_refused_soon(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: x\n{text}\n")
    # PyYAML's own scanner takes seventeen seconds for a megabyte, libyaml one.
    assert yaml_source._loader(path.read_text()) is not yaml.SafeLoader
    with pytest.raises(SweepError) as refused:
        load_sweep(path)
    assert "at most" in str(refused.value) or "must" in str(refused.value)
