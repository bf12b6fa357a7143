"""What each stage computes, pinned by its version: a silent change of numbers fails here.

A change that gives other numbers raises `DATA_VERSION`, `TRAINING_VERSION` or `SCORING_VERSION` in
`study/planning/trials.py`; the new version's numbers are then added by

    python tests/study/test_versions.py

It refuses to change the numbers of a version that has some; `--replace` does, for a version that
no results were made with yet. Whole numbers are compared exactly, others within `TOLERANCE`, which
allows for the last bits of other processors and libraries, and for no change of method.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.config import DetectionConfig, MixtureConfig, ModelConfig, TrainingConfig, load_sweep
from study.data.data_set import draw_data_set
from study.planning import trials
from study.planning.units import Control, ControlBatch, Trial
from study.results.endpoints import RECORDS
from study.training.fitted import Member
from study.training.train import train
from study.training.vae import parameter_shapes
from study.trial.measure import score_state
from study.trial.stack import run_controls

SWEEPS = Path(__file__).parents[2] / "sweeps"
GOLDEN = Path(__file__).with_name("golden_versions.json")
COMMAND = "python tests/study/test_versions.py"
# Relative, of sums in float64, of float32 losses, and of endpoints of points drawn in float32.
TOLERANCE = {"data": 1e-9, "training": 1e-4, "scoring": 2e-3}
# Of the results of a classifier and of nearest neighbours: a few points of 400 may change sides.
COARSE = {
    **{"c2st": 0.02, "prdc_density": 0.02, "prdc_coverage": 0.02},
    # Of the least certain of 400 densities, which hangs on the encoder's last bits.
    **{"fkl_unmet_share": 0.02, "fkl_ess_min": 100.0, "fkl_mc_se": 0.02, "fkl_nats": 0.1},
}
Numbers = dict[str, float | int]

MIXTURES = {
    "default": MixtureConfig(n_samples=400),
    "dense": MixtureConfig(n_components=20, dim=2, box="density", alpha=5.0, n_samples=300),
    "given": MixtureConfig(
        n_components=2,
        dim=2,
        means=((0.0, 0.0), (8.0, 0.0)),
        variances=((1.0, 1.0), (0.5, 2.0)),
        weights=(0.5, 0.5),
        n_samples=200,
    ),
    "original": next(load_sweep(SWEEPS / "original.yaml").cells()).mixture,
}
SHAPES = {
    "default": (ModelConfig(), TrainingConfig(epochs=2)),
    "deep": (
        ModelConfig(latent_dim=3, hidden=(16, 24), activation="silu"),
        TrainingConfig(epochs=2, batch_size=50, learning_rate=3e-3, kl_weight=0.25),
    ),
    "learned": (
        ModelConfig(latent_dim=1, hidden=(8,), activation="tanh", decoder_variance="learned"),
        TrainingConfig(epochs=2, batch_size=64, standardize=True),
    ),
    "linear": (ModelConfig(hidden=()), TrainingConfig(epochs=2, batch_size=100)),
}
SCORED = MixtureConfig(n_components=3, dim=2, box=20.0, alpha=50.0, n_samples=400)
DETECTION = DetectionConfig(n_samples=400, k_max=8)
KNOBS = ("k_min", "k_max")


def data_numbers() -> Numbers:
    """Sum the points of a few mixtures, by draw."""
    numbers: Numbers = {}
    for name, mixture in MIXTURES.items():
        data = draw_data_set(mixture, 1 if mixture.training_points == "fresh" else 0, 100)
        for part in ("training", "heldout", "control"):
            points = getattr(data, part)
            numbers[f"{name} {part} sum of squares"] = float((points**2).sum())
            numbers[f"{name} {part} first"] = float(points[0, 0])
    return numbers


def training_numbers() -> Numbers:
    """Train a few shapes for two epochs."""
    numbers: Numbers = {}
    points = draw_data_set(MIXTURES["default"], 1, 100).training[None]
    for name, (model, training) in SHAPES.items():
        member = Member(
            data_seed=1,
            init_seed=2,
            kl_weight=training.kl_weight,
            learning_rate=training.learning_rate,
            standardize=training.standardize,
        )
        done = train(points, [member], model=model, training=training)
        for epoch in range(2):
            numbers[f"{name} epoch {epoch + 1} recon"] = float(done.train_recon[0, epoch])
            numbers[f"{name} epoch {epoch + 1} kl_nats"] = float(done.train_kl_nats[0, epoch])
        numbers[f"{name} active_units"] = int(done.checkpoints[-1].active_units[0])
    return numbers


def scored_trial() -> Trial:
    return Trial(
        mixture=SCORED,
        model=ModelConfig(hidden=(8,)),
        training=TrainingConfig(kl_weight=1.0),
        detection=DETECTION,
        data_seed=3,
    )


def fixed_network(trial: Trial) -> dict[str, np.ndarray]:
    """Draw a network whose decoder reaches as far as the data: it depends on no training."""
    shapes = parameter_shapes(trial.model, trial.mixture.dim)
    rng = np.random.default_rng(5)
    scales = {name: 12.0 if name.startswith("decoder.1") else 0.5 for name in shapes}
    state = {
        name: (scales[name] * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }
    units = {"shift": np.zeros(trial.mixture.dim), "scale": np.ones(trial.mixture.dim)}
    return state | units


def scoring_numbers() -> Numbers:
    """Measure a network, and count a control."""
    trial = scored_trial()
    (columns,) = score_state(trial, fixed_network(trial))["trials"]
    control = Control(
        mixture=SCORED,
        detection=DETECTION,
        data_seed=3,
        data_id=trial.data_id,
        control_id=trial.control_id,
    )
    (row,) = run_controls(ControlBatch(controls=(control,)))["controls"]
    return measured(columns) | measured(row)


def measured(row: dict[str, Any]) -> Numbers:
    """Keep what was measured: counts and endpoints."""
    names = ["control_gap", *RECORDS]
    names += [name for name in row if name.startswith(("k_", "at_ceiling_")) and name not in KNOBS]
    found = {name: row[name] for name in names if row.get(name) is not None}
    return {k: v.item() if hasattr(v, "item") else v for k, v in found.items()}


STAGES: dict[str, Callable[[], Numbers]] = {
    "data": data_numbers,
    "training": training_numbers,
    "scoring": scoring_numbers,
}


def version_name(stage: str) -> str:
    return f"{stage.upper()}_VERSION"


def differences(stage: str, old: Numbers, new: Numbers) -> list[str]:
    """Say which numbers differ; a number that one side lacks is new, and no difference."""
    lines = []
    for name in [name for name in old if name in new]:
        if not is_close(stage, name, old[name], new[name]):
            lines.append(f"{name}: {old[name]} is now {new[name]}")
    lines += [f"{name}: {old[name]} is no longer computed" for name in old if name not in new]
    return lines


def is_close(stage: str, name: str, old: float, new: float) -> bool:
    """Compare whole numbers exactly and others within the stage's tolerance."""
    if isinstance(old, int) and isinstance(new, int):
        return old == new
    tolerance = TOLERANCE[stage]
    return math.isclose(old, new, rel_tol=tolerance, abs_tol=COARSE.get(name, tolerance))


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_stage_computes_what_its_version_says(stage: str) -> None:
    version = str(getattr(trials, version_name(stage)))
    golden = json.loads(GOLDEN.read_text())[stage]
    if version not in golden:
        pytest.fail(f"{version_name(stage)} {version} has no golden numbers yet: run `{COMMAND}`")
    changed = differences(stage, golden[version], STAGES[stage]())
    if changed:
        pytest.fail(
            f"the {stage} stage gives other numbers than its version {version}: raise "
            f"{version_name(stage)} in study/planning/trials.py, then run `{COMMAND}`\n"
            + "\n".join(changed)
        )


def test_a_change_of_one_number_is_seen() -> None:
    assert differences("training", {"a": 1.0, "k": 3}, {"a": 1.00001, "k": 3}) == []
    assert differences("training", {"a": 1.0}, {"a": 1.001}) == ["a: 1.0 is now 1.001"]
    assert differences("scoring", {"k": 3}, {"k": 4}) == ["k: 3 is now 4"]
    assert differences("scoring", {"k": 3}, {"k": 3, "new": 1.0}) == []
    assert differences("scoring", {"k": 3}, {}) == ["k: 3 is no longer computed"]


def test_every_stage_version_changes_the_ids_that_follow_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = ("data_id", "training_id", "trial_id")
    before = [getattr(scored_trial(), name) for name in ids]
    for position, stage in enumerate(STAGES):
        with monkeypatch.context() as patch:
            patch.setattr(trials, version_name(stage), 10_000)
            after = [getattr(scored_trial(), name) for name in ids]
        same = [left == right for left, right in zip(before, after, strict=True)]
        assert same == [i < position for i in range(3)]


def update(*, replace: bool) -> int:
    """Write the numbers of the stages' present versions."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for stage, compute in STAGES.items():
        version = str(getattr(trials, version_name(stage)))
        versions = golden.setdefault(stage, {})
        numbers = compute()
        old = versions.get(version)
        if old is not None and differences(stage, old, numbers) and not replace:
            print(
                f"{version_name(stage)} {version} has other numbers already; raise it in "
                "study/planning/trials.py first (or --replace, if no results were made with it)"
            )
            return 1
        # Numbers that agree stay as they are: the file changes only where something is new.
        versions[version] = {
            name: value
            if old is None or name not in old or not is_close(stage, name, old[name], value)
            else old[name]
            for name, value in numbers.items()
        }
        print(f"{version_name(stage)} {version}: {len(numbers)} numbers")
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(update(replace="--replace" in sys.argv[1:]))
