"""Fixtures of the analysis tests: results folders with known truths, from `synthetic`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.load import Results, load_results
from tests.analysis.synthetic import build_many, build_results, jittered


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five latent widths x 10 data seeds x 3 init seeds; two trials diverged, one timed out."""
    bad = {4: "diverged", 33: "diverged", 70: "timeout"}
    return build_results(tmp_path_factory.mktemp("results") / "widths", failed=bad.get)


@pytest.fixture(scope="session")
def results(results_folder: Path) -> Results:
    """The folder's tables."""
    return load_results(results_folder)


@pytest.fixture(scope="session")
def many_trials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9,900 trials with their curves."""
    return build_many(tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="session")
def jitter() -> Callable[..., Results]:
    """Give tests `jittered`."""
    return jittered


@pytest.fixture(scope="session")
def build() -> Callable[..., Path]:
    """Give tests the builder itself."""
    return build_results
