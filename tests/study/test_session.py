"""Ray for one run."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray._private import utils

from study.session import _minimal_ray, worker_log_tail

# A process of its own: what a first import of Ray did cannot be undone in this one.
RAY_FIRST = """
import ray
from study.ray_environment import set_ray_environment
set_ray_environment()
from study.session import ray_session
with ray_session(None, n_workers=1, gpus=0):
    print(ray.get(ray.remote(lambda: 6 * 7).remote()))
"""


@pytest.mark.slow
@pytest.mark.ray
def test_ray_that_was_imported_before_starts_with_our_token() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", RAY_FIRST]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "42", done.stderr


def test_ray_starts_without_the_dashboards_libraries_unless_they_are_asked_for() -> None:
    """Ray decides by this function; if it is renamed, every sweep starts later."""
    check = utils.get_dashboard_dependency_error
    with _minimal_ray(unless=False):
        assert isinstance(utils.get_dashboard_dependency_error(), ImportError)
    with _minimal_ray(unless=True):
        assert utils.get_dashboard_dependency_error is check
    assert utils.get_dashboard_dependency_error is check


def test_the_last_words_of_a_worker_that_was_kept_ready_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = SimpleNamespace(get_logs_dir_path=lambda: str(tmp_path))
    monkeypatch.setattr("ray._private.worker._global_node", node)
    for age_s, job, text in ((2, "ffffffff", "ready"), (1, "01000000", "SIGSEGV received")):
        file = tmp_path / f"worker-a-{job}-7.err"
        file.write_text(text)
        os.utime(file, (100 - age_s, 100 - age_s))
    assert worker_log_tail(7) == "readySIGSEGV received"
    assert worker_log_tail(7, n_chars=8) == "received"
    assert worker_log_tail(8) == ""
