"""What is known to be measured before work starts is what trials then hold."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from study.config import (
    DetectionConfig,
    MixtureConfig,
    ModelConfig,
    SweepError,
    TrainingConfig,
    load_sweep,
)
from study.config.cells import Cell
from study.config.measured import is_known_at_rungs, why_unmeasured
from study.planning.units import Control, ControlBatch, Stack, Trial
from study.results.tables import PROTOCOLS, SCHEMAS, SOURCES
from study.trial.measure import measure_brief
from study.trial.stack import run_controls, run_stack

NUMERIC = [f.name for f in SCHEMAS["trials"] if str(f.type) in ("int64", "double", "bool")]
GIVEN = MixtureConfig(
    n_components=2,
    dim=2,
    n_samples=200,
    means=((-4.0, 0.0), (4.0, 0.0)),
    variances=((1.0, 1.0), (1.0, 1.0)),
    weights=(0.5, 0.5),
)
RECIPE = MixtureConfig(n_components=2, dim=2, n_samples=200)
SUBSETS = [
    (sources, protocols)
    for sources in (*combinations(SOURCES, 1), *combinations(SOURCES, 2), SOURCES)
    for protocols in (*combinations(PROTOCOLS, 1), PROTOCOLS)
]


def _trial(mixture: MixtureConfig, sources, protocols) -> Trial:
    return Trial(
        mixture=mixture,
        model=ModelConfig(hidden=(8,), latent_dim=1),
        training=TrainingConfig(epochs=2, checkpoints=1),
        detection=DetectionConfig(
            n_samples=100, k_max=2, sources=tuple(sources), protocols=tuple(protocols)
        ),
    )


def _measured(trial: Trial) -> set[str]:
    """Train, count, and list the columns that have a value."""
    (row,) = run_stack(Stack(trials=(trial,)))["trials"]
    assert row["status"] == "done"
    if "data" in trial.detection.sources:
        control = Control(
            mixture=trial.mixture,
            detection=trial.detection,
            data_seed=0,
            data_id=trial.data_id,
            control_id=trial.control_id,
        )
        (counted,) = run_controls(ControlBatch(controls=(control,)))["controls"]
        row = {**counted, **row}
    return {name for name in NUMERIC if row.get(name) is not None}


def _expected(trial: Trial) -> set[str]:
    cell = Cell(
        mixture=trial.mixture,
        model=trial.model,
        training=trial.training,
        detection=trial.detection,
    )
    return {name for name in NUMERIC if why_unmeasured(name, cell) is None}


@pytest.mark.parametrize("mixture", [RECIPE, GIVEN], ids=["recipe", "given"])
def test_predicted_columns_are_those_that_trials_hold(mixture: MixtureConfig) -> None:
    for sources, protocols in (SUBSETS[0], SUBSETS[7], SUBSETS[-1]):
        trial = _trial(mixture, sources, protocols)
        assert _measured(trial) == _expected(trial)


@pytest.mark.slow
@pytest.mark.parametrize(("sources", "protocols"), SUBSETS)
def test_every_combination_of_sources_and_protocols(sources, protocols) -> None:
    trial = _trial(RECIPE, sources, protocols)
    assert _measured(trial) == _expected(trial)


def test_columns_known_at_rungs_are_those_measured_there() -> None:
    trial = _trial(RECIPE, SOURCES, PROTOCOLS)
    trial = replace(trial, detection=replace(trial.detection, gap_restarts=1))
    weights = run_stack(Stack(trials=(trial,)))["weights"]
    state = {
        row["name"]: np.frombuffer(row["values"], row["dtype"]).reshape(row["shape"])
        for row in weights
    }
    row, _ = measure_brief(trial, state, NUMERIC)
    # The stack adds what the training itself says at that epoch.
    row |= {"train_recon": 1.0, "train_kl_nats": 1.0, "active_units": 1}
    known = {name for name in NUMERIC if row.get(name) is not None} - {"count_s", "endpoints_s"}
    # A forward KL that is integrated, as with one latent coordinate, has no sample size, and the
    # prior no components.
    absent = {"fkl_ess_min", "sampler_components"}
    drawn = {name for name in NUMERIC if is_known_at_rungs(name)} - absent
    assert known == drawn


SEARCH = """
name: x
replicates: {{data: 2}}
fixed: {{{fixed}}}
search:
  trials: 20
  space: {{training.kl_weight: {{log: [0.1, 10]}}}}
  {aim}
"""
DATA_AND_MEANS = "detection.sources: [data, means]"


@pytest.mark.parametrize(
    ("fixed", "aim", "message"),
    [
        (
            DATA_AND_MEANS,
            "objective: coverage_samples_calibrated",
            "coverage_samples_calibrated is not measured: detection.sources lacks samples",
        ),
        (
            DATA_AND_MEANS,
            "objective: loss + 0 * fragmentation",
            "fragmentation is not measured: detection.sources lacks samples",
        ),
        (
            "detection.protocols: [original]",
            "objectives: {loss: minimize, control_gap: minimize}",
            "control_gap is not measured: detection.protocols lacks calibrated",
        ),
        (
            "detection.sources: [samples]",
            "goal: boundary\n  level: 1\n  endpoint: coverage_data_original",
            "coverage_data_original is not measured: detection.sources lacks data",
        ),
        (
            "detection.protocols: [calibrated], training.checkpoints: 10",
            "objective: at_ceiling_means_original\n  stop_after: 10",
            "at_ceiling_means_original is not measured: detection.protocols lacks original",
        ),
        (
            "training.checkpoints: 10",
            "objective: loss + dirty\n  stop_after: 10",
            "dirty is not known before a training ends",
        ),
        (
            "detection.k_max: 10",
            "objective: sample_gap",
            "sample_gap is not measured: detection.gap_restarts is 0",
        ),
        (
            DATA_AND_MEANS,
            "objective: sbic_k_samples",
            "sbic_k_samples is not measured: detection.sources lacks samples",
        ),
        (
            "detection.sources: [samples]",
            "objective: modal_modes_data",
            "modal_modes_data is not measured: detection.sources lacks data",
        ),
        (
            "detection.at_checkpoints: true, detection.sources: [data, codes]",
            "objective: loss",
            "detection.sources has neither",
        ),
        (
            "mixture.means: [[0.0], [9.0]], mixture.variances: [[1.0], [1.0]], "
            "mixture.weights: [0.5, 0.5]",
            "objective: alpha + loss",
            "alpha is not measured: mixture.means gives the mixture",
        ),
    ],
)
def test_what_nothing_measures_is_refused_at_load(
    tmp_path: Path, fixed: str, aim: str, message: str
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(SEARCH.format(fixed=fixed, aim=aim))
    with pytest.raises(SweepError, match=message) as refused:
        load_sweep(path)
    assert "\n" not in str(refused.value)
