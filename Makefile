# Two commands for a newcomer: `make quickstart`, then `make test`. Every target sets itself up.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
export OMP_NUM_THREADS ?= 1
TOGETHER := --numprocesses auto --maxprocesses 4 --dist worksteal
# Clusters and trained networks are shared by the tests of one file.
FILES_TOGETHER := --numprocesses auto --maxprocesses 2 --dist loadfile

.PHONY: quickstart test test-all test-faults lint type claims docs bench audit

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(VENV)/.installed  ## one small sweep and its report, about two minutes
	$(RUN) -m study.sweep sweeps/quickstart.yaml
	$(RUN) -m analysis.report results/quickstart

test: $(VENV)/.installed  ## the fast tests, under 3 minutes on 2 cores
	$(RUN) -m pytest -m "not slow" $(TOGETHER)

test-all: test  ## every test but the faults
	# A real browser and a real Slurm are tested where they are or can be installed; else skipped.
	{ command -v chromium && command -v slurmctld; } > /dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get install --yes --quiet chromium slurmctld slurmd; } || true
	$(RUN) -m pytest -m "slow and not faults" $(FILES_TOGETHER) --durations 40

test-faults: $(VENV)/.installed  ## kills, full disks, outages, poison; FAULTS=200 is the full number
	$(RUN) -m pytest -m faults $(FILES_TOGETHER) --durations 10

lint: $(VENV)/.installed  ## style, import rules, stale schema
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(RUN) -m study.schema --check

type: $(VENV)/.installed  ## static types
	$(RUN) -m mypy

claims: $(VENV)/.installed  ## are README.md, docs/findings.md and results/README.md what their templates give?
	$(RUN) -m analysis.claims --check

docs: $(VENV)/.installed  ## the documentation as a site, in site/; fails at a dead link
	$(RUN) -m mkdocs build --strict

audit: $(VENV)/.installed  ## sanity checks of every metric, about two hours; writes docs/metrics.md
	$(RUN) -m benchmarks.audit

bench: $(VENV)/.installed  ## every benchmark, about an hour; adds to benchmarks/history.csv
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	$(RUN) -m benchmarks
