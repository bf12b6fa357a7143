"""Ten thousand trials in half of the memory that a report may take; `make bench` has the time."""

import subprocess
import sys
from pathlib import Path

import pytest

# Its own process, so that the peak of memory is that of the tables alone.
SCRIPT = """
import resource, sys
from analysis import answer, summary
from analysis.load import load_results
from analysis.tables import TABLES, NotTabulated
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
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(len(results.trials), made, peak_mb)
"""


@pytest.mark.slow
def test_ten_thousand_trials(many_trials: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(many_trials)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    trials, made, megabytes = map(float, done.stdout.split())
    assert trials == 9900
    assert made >= 9
    assert megabytes < 1000
