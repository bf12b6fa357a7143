"""The search against functions whose truth is known; noise as measured for mode counts."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest

from study.config.objective import Objective
from study.config.search_space import Dimension, Point, SearchConfig, SearchOptions
from study.config.sections import Replicates
from study.search.replay import replay, table_answer
from study.search.state import Search, Work

WIDTHS = (1, 2, 3, 4, 8)
WEIGHTS = tuple(float(f"{w:.3g}") for w in np.geomspace(0.03, 100, 12))
TEN = Replicates(data=10)
# Standard deviations of a count: over data sets, and within one (see docs/study.md).
DATA_SD, NOISE_SD = 0.5, 2.0
GRID = (
    Dimension(name="model.latent_dim", kind="choice", choices=WIDTHS),
    Dimension(name="training.kl_weight", kind="choice", choices=WEIGHTS),
)
CONTINUOUS = (
    Dimension(name="model.latent_dim", kind="int", low=1, high=8),
    Dimension(name="training.kl_weight", kind="float", low=0.03, high=100, log=True),
)
LOSS = Objective(expression="loss")


def _config(space=GRID, objectives=(LOSS,), **options) -> SearchConfig:
    return SearchConfig(space=space, objectives=objectives, options=SearchOptions(**options))


def _surplus(point: Point) -> float:
    """Surplus components, least at width 3 and above, and at a KL weight of 2.5."""
    width, weight = point["model.latent_dim"], point["training.kl_weight"]
    return 14 / width + 4 * (math.log10(weight) - 0.4) ** 2


class _Noisy:
    """Answers with the truth plus noise of its data set and its own."""

    def __init__(self, truth, seed: int, *, data_sd: float = DATA_SD, noise_sd: float = NOISE_SD):
        self.truth, self.seed, self.noise_sd = truth, seed, noise_sd
        self.data = np.random.default_rng(seed).normal(0, data_sd, 100)

    def __call__(self, point: Point, seeds: tuple[int, int, int]) -> dict[str, float]:
        place = [int(1e4 * abs(value)) for value in point.values()]
        noise = np.random.default_rng([self.seed, *place, *seeds]).normal(0, self.noise_sd)
        return {"loss": self.truth(point) + self.data[seeds[0]] + noise}


def _points(search: Search) -> list[tuple]:
    return [tuple(s.point.items()) for s in search.suggestions]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_racing_finds_the_best_cell_with_a_third_of_the_grid() -> None:
    # 60 cells x 10 seeds = 600 trainings in full. Seeds are fixed, so this cannot fail by chance.
    values = [
        _surplus({"model.latent_dim": q, "training.kl_weight": w})
        for q, w in itertools.product(WIDTHS, WEIGHTS)
    ]
    regrets = []
    for seed in range(20):
        config = _config(trials=200, remeasure=0, seed=seed)
        search = replay(config, TEN, _Noisy(_surplus, seed))
        assert search.n_asked <= 200
        (best,) = search.best()
        regrets.append(_surplus(search.suggestions[best].point) - min(values))
    assert np.median(regrets) <= 0.02 * (max(values) - min(values))


N_EPOCHS = 300


def _learning(point: Point, epoch: int) -> float:
    """Surplus components on the way: the more the wider, and not gone at the end of a rung."""
    return _surplus(point) + (2 + 0.5 * point["model.latent_dim"]) * math.exp(-epoch / 30)


def _epochs(search: Search) -> int:
    """Epochs that the search's trainings took."""
    return sum(
        len(cell.asked) * (max(cell.rungs) if cell.is_stopped else N_EPOCHS)
        for cell in search.suggestions
    )


@pytest.mark.timeout(900)
@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_early_stopping_saves_epochs_and_finds_as_good_a_cell(sampler: str) -> None:
    # Rungs at 10, 30, 90 and 270 of 300 epochs; noise of its own at each, sd 2 components.
    values = [
        _surplus({"model.latent_dim": q, "training.kl_weight": w})
        for q, w in itertools.product(WIDTHS, WEIGHTS)
    ]
    regrets, ratios = [], []
    for seed in range(20):
        end = _Noisy(_surplus, seed)

        def at_rung(point: Point, seeds: tuple[int, int, int], epoch: int, seed=seed) -> dict:
            return _Noisy(lambda p: _learning(p, epoch), 1000 * epoch + seed)(point, seeds)

        plain = replay(_config(trials=200, remeasure=0, seed=seed, sampler=sampler), TEN, end)
        config = _config(trials=200, remeasure=0, seed=seed, sampler=sampler, stop_after=10)
        search = replay(config, TEN, end, at_rung=at_rung, n_epochs=N_EPOCHS)
        assert search.n_asked <= 200
        (best,) = search.best()
        assert not search.suggestions[best].is_stopped
        regrets.append(_surplus(search.suggestions[best].point) - min(values))
        ratios.append(_epochs(search) / _epochs(plain))
    print(f"{sampler}: {np.median(ratios):.2f} of the epochs, regret {np.median(regrets):.3f}")
    assert np.median(regrets) <= 0.02 * (max(values) - min(values))
    assert np.median(ratios) <= 0.75


def test_rungs_need_answers() -> None:
    with pytest.raises(ValueError, match="at_rung"):
        replay(_config(stop_after=10), TEN, _Noisy(_surplus, 0))


def test_a_search_without_rungs_asks_for_none() -> None:
    def at_rung(*_: object) -> None:
        raise AssertionError

    replay(_config(trials=20), Replicates(data=2), _Noisy(_surplus, 0), at_rung=at_rung)


def _crossings(surface, level: float, width: int, space: tuple[Dimension, ...]) -> list[float]:
    """Find the weights where the map of a width crosses the level, to a 400th of the range."""
    steps = np.linspace(0.0, 1.0, 401)
    positions = np.column_stack([np.full_like(steps, space[0].to_unit(width)), steps])
    above = surface.predict(positions)[0] > level
    return [space[1].from_unit(steps[i]) for i in np.flatnonzero(above[:-1] != above[1:])]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_boundary_is_placed_with_a_quarter_of_the_grid() -> None:
    # A recall that falls off around a weight that grows with the width; full grid: 5 x 12 x 10.
    def edge(width: int) -> float:
        return 0.6 + 0.15 * width  # log10 of the weight

    def recall(point: Point) -> float:
        distance = math.log10(point["training.kl_weight"]) - edge(point["model.latent_dim"])
        return 1 / (1 + math.exp(4 * distance))

    space = (
        Dimension(name="model.latent_dim", kind="int", low=1, high=4),
        Dimension(name="training.kl_weight", kind="float", low=0.03, high=100, log=True),
    )
    errors = []
    for seed in range(20):
        config = _config(space=space, goal="boundary", level=0.5, trials=150, seed=seed)
        search = replay(config, TEN, _Noisy(recall, seed, data_sd=0.02, noise_sd=0.08))
        assert search.n_asked <= 150
        surface = search.surface()
        assert surface is not None
        for width in (1, 2, 3, 4):
            found = _crossings(surface, 0.5, width, space)
            misses = [abs(math.log10(w) - edge(width)) for w in found] or [math.inf]
            errors.append(min(misses) / math.log10(100 / 0.03))
    assert np.median(errors) <= 0.05


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2", "qmc", "random"])
def test_a_search_continues_from_its_record(sampler: str) -> None:
    answer = _Noisy(_surplus, 3)
    config = _config(space=CONTINUOUS, trials=60, sampler=sampler, remeasure=1)
    replicates = Replicates(data=4)
    whole = replay(config, replicates, answer)
    search, record = Search(config, replicates), []
    rng = np.random.default_rng(0)
    while (work := search.next_work()) is not None:
        record.append(work)
        if rng.random() < 0.3:  # killed while it ran: the work was asked for, not finished
            search = _rebuilt(config, replicates, record, answer)
            work = search.running[work.work]
        search.finish(work, {seeds: answer(work.point, seeds) for seeds in work.seeds})
    assert _points(search) == _points(whole)
    assert [s.values for s in search.suggestions] == [s.values for s in whole.suggestions]
    assert len({work.work for work in record}) == len(record)


def _rebuilt(config: SearchConfig, replicates: Replicates, record: list[Work], answer) -> Search:
    search = Search(config, replicates)
    *finished, running = record
    for work in finished:
        search.start(work)
        search.finish(work, {seeds: answer(work.point, seeds) for seeds in work.seeds})
    search.start(running)
    return search


def test_several_works_at_once_are_all_different() -> None:
    search = Search(_config(trials=40, remeasure=0), Replicates(data=2))
    running = [search.next_work() for _ in range(6)]
    keys = [(tuple(work.point.items()), seeds) for work in running for seeds in work.seeds]
    assert len(set(keys)) == len(keys)


def test_budget_holds_and_the_winner_is_measured_on_fresh_seeds() -> None:
    asked = []

    def answer(point: Point, seeds: tuple[int, int, int]) -> dict[str, float]:
        asked.append((tuple(point.items()), seeds))
        return {"loss": _surplus(point)}

    search = replay(_config(trials=50, remeasure=2), Replicates(data=5), answer)
    assert len(asked) == len(set(asked)) <= 50
    winners = [s for s in search.suggestions if s.remeasured]
    assert len(winners) == 2
    assert all(set(s.fresh) == {(d, 0, 0) for d in range(5, 10)} for s in winners)


def test_a_larger_budget_extends_a_search() -> None:
    answer = _Noisy(_surplus, 5)
    small = replay(_config(trials=40, remeasure=1), Replicates(data=4), answer)
    search = Search(_config(trials=80, remeasure=1), Replicates(data=4))
    search.suggestions = small.suggestions
    search.n_works = small.n_works
    n_before = len(search.suggestions)
    while (work := search.next_work()) is not None:
        search.finish(work, {seeds: answer(work.point, seeds) for seeds in work.seeds})
    assert len(search.suggestions) > n_before
    n_fresh = sum(len(s.fresh) for s in search.suggestions)
    assert search.n_asked + n_fresh <= 80
    (best,) = search.best()
    assert search.suggestions[best].remeasured


def test_hours_stop_the_proposals() -> None:
    config = _config(trials=1000, hours=1.0, remeasure=0)
    search = Search(config, Replicates(data=2))
    for _ in range(2):
        work = search.next_work()
        search.finish(work, {seeds: {"loss": 1.0} for seeds in work.seeds}, worker_s=2000.0)
    assert search.next_work() is None


@pytest.mark.parametrize("value", [None, {"loss": 1.0}, {"loss": math.nan}, {}])
def test_failed_equal_and_missing_values_behave(value: dict | None) -> None:
    search = replay(_config(trials=60, remeasure=1), Replicates(data=2), lambda *_: value)
    assert search.n_asked <= 58
    found = search.best()
    assert (found != []) == (value == {"loss": 1.0})


def test_a_finite_space_is_exhausted_without_repetition() -> None:
    space = (Dimension(name="model.latent_dim", kind="choice", choices=(1, 2, 3)),)
    for sampler in ("grid", "tpe", "qmc"):
        config = _config(space=space, trials=500, sampler=sampler, remeasure=0)
        search = replay(config, Replicates(data=3), _Noisy(lambda p: 0.0, 0))
        assert len(search.suggestions) == 3
        assert search.n_asked <= 9


def test_conditional_fields_are_absent_where_they_do_not_apply() -> None:
    space = (
        Dimension(name="model.latent_dim", kind="choice", choices=(2, 3)),
        Dimension(
            name="training.kl_weight",
            kind="float",
            low=0.1,
            high=10,
            log=True,
            when=(("model.latent_dim", (3,)),),
        ),
    )
    config = _config(space=space, trials=60, remeasure=0)
    answer = lambda point, _: {"loss": point.get("training.kl_weight", 5.0)}  # noqa: E731
    search = replay(config, Replicates(data=2), answer)
    for suggestion in search.suggestions:
        assert ("training.kl_weight" in suggestion.point) == (
            suggestion.point["model.latent_dim"] == 3
        )
    assert len({tuple(s.point.items()) for s in search.suggestions}) == len(search.suggestions)


def test_several_objectives_give_a_front() -> None:
    objectives = (
        Objective(expression="mode_recall", direction="maximize"),
        Objective(expression="spurious_mass"),
    )

    def answer(point: Point, seeds: object) -> dict[str, float]:
        weight = math.log10(point["training.kl_weight"])
        return {"mode_recall": -abs(weight), "spurious_mass": abs(weight - 1)}

    config = _config(objectives=objectives, trials=120, remeasure=0, sampler="nsga2")
    search = replay(config, Replicates(data=2), answer)
    for number in search.best():
        weight = search.suggestions[number].point["training.kl_weight"]
        assert 0.6 <= weight <= 12  # between the two optima, 1 and 10


def test_a_table_answers_a_search() -> None:
    frame = pd.DataFrame(
        [
            {
                "latent_dim": q,
                "kl_weight": w,
                "data_seed": d,
                "init_seed": 0,
                "sample_seed": 0,
                "status": "failed" if (q, d) == (1, 0) else "done",
                "loss": _surplus({"model.latent_dim": q, "training.kl_weight": w}),
            }
            for q, w, d in itertools.product(WIDTHS, WEIGHTS, range(3))
        ]
    )
    config = _config(trials=80, remeasure=0)
    search = replay(config, Replicates(data=3), table_answer(frame, config))
    (best,) = search.best()
    assert search.suggestions[best].point["model.latent_dim"] == 8


def test_a_table_cannot_answer_what_has_no_single_column() -> None:
    space = (Dimension(name="mixture.box", kind="choice", choices=(10, "density")),)
    config = dataclasses.replace(_config(), space=space)
    with pytest.raises(ValueError, match=r"mixture\.box"):
        table_answer(pd.DataFrame(), config)
