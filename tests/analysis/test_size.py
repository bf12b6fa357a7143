"""What a report of ten thousand trials may take of memory and disk; `make bench` has the time."""

import subprocess
import sys
from pathlib import Path

import pytest

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
# Its own process, so that the peak of memory is that of the tables alone. The resource module
# would count what the parent had in memory when it forked.
PEAK = """
import sys
def peak_mb():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
"""
SCRIPT = (
    PEAK
    + """
from analysis.page import answer
from analysis.frames import summary
from analysis.load import load_results
from analysis.tables.tables import TABLES, NotTabulated
results = load_results(sys.argv[1])
made = 0
for table in TABLES.values():
    try:
        shown = table(results)
        shown.to_markdown(), shown.to_latex("x")
        made += 1
    except NotTabulated:
        pass
answer.sentences(results)
summary.importances(results, "fkl_nats")
summary.survival(results, "samples", "calibrated")
summary.agreement(results, "trials")
print(len(results.trials), made, peak_mb())
"""
)


@linux
@pytest.mark.slow
def test_ten_thousand_trials(many_trials: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(many_trials)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    trials, made, megabytes = map(float, done.stdout.split())
    assert trials == 9900
    assert made >= 9
    assert megabytes < 1000


REPORT = (
    PEAK
    + """
from analysis.report import main
assert main([sys.argv[1], "--out", sys.argv[2]]) == 0
print(peak_mb())
"""
)


@linux
@pytest.mark.slow
def test_the_whole_report_of_ten_thousand_trials(many_trials: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", REPORT, str(many_trials), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) < 2000
    page = tmp_path / "report.html"
    assert page.stat().st_size < 10e6
    text = page.read_text(encoding="utf-8")
    # Nothing is missing: every cell has its entry, every table its rows.
    assert text.count('<details class="cell"') == 330
    assert "2640 rows, which show only where scripts run" in text
    # No figure is higher than a page, or too large a file for an editor.
    for svg in (tmp_path / "figures").glob("*.svg"):
        assert svg.stat().st_size < 1e6
