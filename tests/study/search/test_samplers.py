"""Every sampler, every kind of dimension, whatever is measured: to the end of the budget."""

from __future__ import annotations

import logging
import math
import warnings
import zlib
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.config import Sweep, SweepError, load_sweep
from study.config.search_space import Point
from study.search.replay import replay

SAMPLERS = ("tpe", "gp", "cmaes", "nsga2", "qmc", "random", "grid")
WORKERS = (1, 2, 4, 8)
# Kinds of dimension; the conditional ones name a field above them.
DIMENSIONS = {
    "number": "training.learning_rate: {log: [0.0001, 0.1]}",
    "narrow": "mixture.alpha: {uniform: [0.5, 0.50001]}",
    "whole": "model.latent_dim: {uniform: [1, 8]}",
    "log whole": "training.epochs: {log: [1, 1000]}",
    "numbers": "training.kl_weight: {choice: [0.1, 1, 10]}",
    "one value": "training.batch_size: [64]",
    "names": "model.activation: [relu, tanh]",
    "switch": "training.standardize: [true, false]",
    "lists": "model.hidden: [[], [16], [32, 32]]",
    "mixed": "mixture.box: [5, density]",
}
CONDITIONAL = {
    "number, sometimes": (
        "whole",
        "mixture.n_components: {uniform: [2, 20], when: {model.latent_dim: [1, 2]}}",
    ),
    "names, sometimes": (
        "numbers",
        "model.decoder_variance: {choice: [implied, learned], when: {training.kl_weight: 1}}",
    ),
    "never, nearly": (
        "names",
        "mixture.n_samples: {log: [100, 10000], when: {model.activation: tanh}}",
    ),
}
ALL_DIMENSIONS = {**{k: (None, v) for k, v in DIMENSIONS.items()}, **CONDITIONAL}


def _load(
    folder: Path, names: tuple[str, ...], sampler: str, *, aim: str = "objective: loss"
) -> Sweep:
    """Read a sweep over the named dimensions, those that others depend on first."""
    needed = dict.fromkeys(
        name for kind in names for name in (ALL_DIMENSIONS[kind][0], kind) if name is not None
    )
    ordered = sorted(needed, key=lambda name: ALL_DIMENSIONS[name][0] is not None)
    lines = "\n".join(f"    {ALL_DIMENSIONS[name][1]}" for name in ordered)
    path = folder / "sweep.yaml"
    path.write_text(
        f"name: any\nreplicates: {{data: 2, init: 2}}\nfixed: {{detection.k_max: 5}}\n"
        f"search:\n  {aim}\n  sampler: {sampler}\n  trials: 34\n  space:\n{lines}\n"
    )
    return load_sweep(path)


def _load_or_refuse(
    folder: Path, names: tuple[str, ...], sampler: str, *, aim: str = "objective: loss"
) -> Sweep | None:
    """Read a sweep; None if it is refused, in one line about the sampler or a grid's size."""
    try:
        return _load(folder, names, sampler, aim=aim)
    except SweepError as error:
        message = str(error)
    assert "search.sampler: " in message or "search.space: has " in message
    assert "\n" not in message
    return None


def _drive(sweep: Sweep, answer, *, n_workers: int, order: int = 0) -> None:
    """Run a search without trainings; nothing may be warned of, and the budget is its end."""
    assert sweep.search is not None
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("optuna")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            search = replay(
                sweep.search, sweep.replicates, answer, n_workers=n_workers, order=order
            )
    finally:
        logger.removeHandler(handler)
    assert not heard
    options = sweep.search.options
    spent = search.n_asked + search.n_reserved
    all_asked = len(search.suggestions) >= sweep.search.n_points
    assert spent >= options.trials or (all_asked and spent <= options.trials)
    for suggestion in search.suggestions:
        for dimension in sweep.search.space:
            held = dimension.name in suggestion.point
            assert held == dimension.is_active(suggestion.point)
            if held and dimension.kind == "choice":
                assert suggestion.point[dimension.name] in dimension.choices
            elif held:
                assert dimension.low <= suggestion.point[dimension.name] <= dimension.high


def _smooth(point: Point, seeds: tuple[int, int, int]) -> dict[str, float]:
    numbers = [v for v in point.values() if isinstance(v, float | int)]
    return {"loss": sum(math.log1p(v) for v in numbers) + 0.1 * seeds[0], "c2st": 0.5}


BAD = (None, {"loss": None}, {"loss": math.nan}, {"loss": math.inf}, {"c2st": 1.0})


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", ALL_DIMENSIONS)
def test_every_sampler_takes_every_dimension_or_refuses_it(
    sampler: str, kind: str, tmp_path: Path
) -> None:
    sweep = _load_or_refuse(tmp_path, (kind, "numbers"), sampler)
    if sweep is None:
        assert sampler in ("cmaes", "grid")
    else:
        _drive(sweep, _smooth, n_workers=2)


@pytest.mark.parametrize(("sampler", "n_workers"), [*product(SAMPLERS, WORKERS)])
def test_failures_among_the_first_cells_end_no_search(
    sampler: str, n_workers: int, tmp_path: Path
) -> None:
    sweep = _load(tmp_path, ("whole", "numbers"), sampler)

    def answer(point: Point, seeds: tuple[int, int, int]):
        width = point["model.latent_dim"]
        return BAD[width - 1] if width <= len(BAD) else _smooth(point, seeds)

    _drive(sweep, answer, n_workers=n_workers)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_without_a_value_ends_no_search(sampler: str, tmp_path: Path) -> None:
    """The best cell then has no replicates left, and not as many values as a cell can have."""
    sweep = _load(tmp_path, ("whole", "numbers"), sampler)

    def answer(point: Point, seeds: tuple[int, int, int]):
        return None if seeds[:2] == (1, 1) else _smooth(point, seeds)

    _drive(sweep, answer, n_workers=1)


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_search_runs_to_its_budget_or_is_refused_before(
    tmp_path: Path, data: st.DataObject
) -> None:
    sampler = data.draw(st.sampled_from(SAMPLERS))
    names = data.draw(
        st.lists(st.sampled_from(list(ALL_DIMENSIONS)), min_size=1, max_size=4, unique=True)
    )
    aim = data.draw(
        st.sampled_from(
            [
                "objective: loss",
                "objective: max(loss, c2st)",
                "objectives: {loss: minimize, c2st: maximize}",
            ]
        )
    )
    kind = data.draw(st.sampled_from(["fine", "some bad", "all bad", "equal", "huge", "one"]))
    bad = data.draw(st.lists(st.sampled_from(BAD), min_size=1, max_size=5))
    sweep = _load_or_refuse(tmp_path, tuple(names), sampler, aim=aim)
    if sweep is None:
        return
    n_answered = 0

    def answer(point: Point, seeds: tuple[int, int, int]):
        nonlocal n_answered
        n_answered += 1
        is_bad = kind == "all bad" or (kind == "one" and n_answered != 7)
        if is_bad or (kind == "some bad" and zlib.crc32(repr((point, seeds)).encode()) % 3 == 0):
            return bad[n_answered % len(bad)]
        row = _smooth(point, seeds)
        scale = {"equal": 0.0, "huge": 1e150}.get(kind, 1.0)
        return {name: scale * value for name, value in row.items()}

    _drive(
        sweep,
        answer,
        n_workers=data.draw(st.sampled_from(WORKERS)),
        order=data.draw(st.integers(0, 5)),
    )
