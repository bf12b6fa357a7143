"""What rows say of the machine that made them."""

from __future__ import annotations

import llvmlite.binding
import pytest

from study.results.provenance import cpu_model


def test_two_processors_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_name", lambda: "znver3")
    older = cpu_model()
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_name", lambda: "znver5")
    newer = cpu_model()
    assert older.endswith(" (znver3)")
    assert newer == older.replace("znver3", "znver5")
    assert len(newer) > len(" (znver5)")
