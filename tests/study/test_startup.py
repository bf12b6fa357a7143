"""What the sweep command imports: --help nothing heavy, --dry-run no torch, Ray or pandas."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROBE = """
import contextlib, io, json, sys
from study.sweep import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main({arguments!r})
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
NEVER = {"torch", "ray", "sklearn", "scipy", "pandas", "optuna", "numba", "matplotlib"}


def imported(*arguments: str) -> set[str]:
    """Run the command in a fresh process and return the packages that it imported."""
    code = PROBE.format(arguments=list(arguments))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_imports_only_the_standard_library() -> None:
    outside = imported("--help") & (NEVER | {"numpy", "pyarrow", "pydantic", "rich", "yaml"})
    assert outside == set()


@pytest.mark.parametrize("sweep", ["latent_dims", "factorial"])
def test_a_dry_run_imports_neither_torch_nor_ray_nor_pandas(tmp_path: Path, sweep: str) -> None:
    arguments = [f"sweeps/{sweep}.yaml", "--dry-run", "--results", str(tmp_path)]
    assert imported(*arguments) & NEVER == set()


def test_the_driver_of_ray_loads_no_torch() -> None:
    code = "import sys, study.execution.executor; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert {"torch", "sklearn", "scipy"} & set(done.stdout.split()) == set()
