"""Compiled code may use the widest vectors that there are."""

from __future__ import annotations

import subprocess
import sys

import pytest
from numba.core import config

from study.training import vector_width

NARROW = "-prefer-256-bit"
# Whatever is measured or trained first in a process, its vectors have one width.
PRINT_FEATURES = """
import {module}
from numba.core.registry import cpu_target
print(cpu_target.target_context.codegen().magic_tuple()[2])
"""


@pytest.mark.parametrize(
    ("given", "host", "expected"),
    [
        (None, "+avx2,+avx512f", f"+avx2,+avx512f,{NARROW}"),
        (None, "+avx2,-avx512f", None),
        (None, "", None),
        ("+avx2", "+avx2,+avx512f", "+avx2"),
    ],
)
def test_wide_vectors_are_asked_for_where_there_are_any(
    given: str | None, host: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CPU_NAME", None)
    monkeypatch.setattr(config, "CPU_FEATURES", given)
    monkeypatch.setattr(vector_width, "get_host_cpu_features", lambda: host)
    vector_width.prefer_wide_vectors()
    assert expected == config.CPU_FEATURES
    # Code for another processor has its width.
    monkeypatch.setattr(config, "CPU_NAME", "haswell")
    monkeypatch.setattr(config, "CPU_FEATURES", None)
    vector_width.prefer_wide_vectors()
    assert config.CPU_FEATURES is None


@pytest.mark.slow
@pytest.mark.parametrize("module", ["study.detection.modes", "study.training.train"])
def test_numba_compiles_for_them_whatever_comes_first(module: str) -> None:
    has_wide = "+avx512f" in vector_width.get_host_cpu_features().split(",")
    code = PRINT_FEATURES.format(module=module)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip().endswith(NARROW) == has_wide
