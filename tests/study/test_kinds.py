"""Sweeps made by code for other kinds of processors verify here, and a changed number is found."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import study.trial.again
import study.verify
from study.results import open_folder, read_certificate
from study.results.processor import CODE_SETTINGS, Processor, cpu_model
from tests.study.test_verify import SWEEP, InlinePool, first_row, tamper

RUN = """
import sys
import study.execution.run
from study.execution.trainable import unit_events
from study.sweep import main

def execute(job, work, known):
    for unit in work.units:
        list(unit_events(unit, folder=job.folder, device="cpu"))

study.execution.run._execute = execute
sys.exit(main([sys.argv[1], "--results", sys.argv[2], "--quiet"]))
"""
# Instructions of 2008, and wide vectors without fused products.
KINDS = {
    "nehalem": {
        "NUMBA_CPU_NAME": "generic",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
    "ivybridge": {
        "NUMBA_CPU_NAME": "ivybridge",
        "NUMBA_CPU_FEATURES": "+avx,+sse4.2,+popcnt",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "AVX",
    },
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the kinds are of x86-64"),
]


@pytest.mark.parametrize("kind", ["nehalem", pytest.param("ivybridge", marks=pytest.mark.faults)])
def test_a_sweep_of_another_kind_verifies_at_all_levels_and_a_changed_number_is_found(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "tiny.yaml", tmp_path / "tiny"
    file.write_text(SWEEP)
    own = {name: value for name, value in os.environ.items() if name not in CODE_SETTINGS}
    command = [sys.executable, "-c", RUN, str(file), str(tmp_path)]
    subprocess.run(command, env={**own, **KINDS[kind]}, check=True)
    made = Processor.parse(open_folder(folder).read_raw("trials")["cpu"][0].as_py())
    assert dict(made.settings) == KINDS[kind]
    assert made.is_like(Processor.parse(cpu_model()))

    # By default, with those settings in a process of its own; at the other levels as it is here.
    assert study.verify.main([str(folder), "-n", "1"]) == 0
    assert "1 of 1 trials equal (to the bit)" in capsys.readouterr().out
    certificate = read_certificate(folder)
    assert certificate is not None
    row = first_row(folder, certificate["trials"][0]["trial_id"])
    for level, change in (("bit", 1e-12), ("counted", 1e-3), ("trained", 1e3)):
        with monkeypatch.context() as patch:
            if level != "bit":
                patch.setattr(study.trial.again, "ProcessPoolExecutor", InlinePool)
            command = [str(folder), "-n", "1", "--level", level]
            assert study.verify.main(command) == 0, level
            columns = read_certificate(folder)["columns"]
            assert any(each["n_unequal"] for each in columns.values()) == (level != "bit")
            tamper(folder, "trials", "recon", row["recon"] * (1 + change))
            assert study.verify.main(command) == 1, level
            assert "trials.recon" in capsys.readouterr().out
            tamper(folder, "trials", "recon", row["recon"])
