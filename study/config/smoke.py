"""The smoke version of a sweep: the same questions, small enough to run in about a minute."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from study.config.blocks import Axis, Block
from study.config.cells import Cell, Sweep, is_excluded, make_cell
from study.config.checks import min_points
from study.config.sections import Replicates

SMOKE_CELLS = 6
SMOKE_TRIALS = 12
SMOKE_CAPS = {
    "training.epochs": 3,
    "mixture.n_samples": 2_000,
    "detection.n_samples": 2_000,
    "detection.k_max": 16,
    "detection.k_min": 16,
    "detection.restarts": 1,
}


def shrink(sweep: Sweep) -> Sweep:
    """Make a sweep of about a minute: few cells, seeds, epochs and points; name ends in -smoke.

    Cells are taken from the ends of the axes, and each becomes a block of its own; at most 2 data
    seeds and 1 init seed, 12 trials in all.
    """
    if sweep.search is not None:
        return _shrink_search(sweep)
    chosen = _spread(_corners(sweep) or list(_points(sweep)), SMOKE_CELLS)
    blocks = tuple(dict.fromkeys(_smoke_block(block, values) for block, values in chosen))
    n_data = min(2, SMOKE_TRIALS // len(blocks))
    seeds = sweep.replicates
    return replace(
        sweep,
        name=_smoke_name(sweep),
        blocks=blocks,
        exclude=(),
        replicates=Replicates(
            data=seeds.seeds("data")[:n_data],
            init=seeds.seeds("init")[:1],
            sample=seeds.seeds("sample")[:1],
            detection=seeds.seeds("detection")[:1],
        ),
    )


def _shrink_search(sweep: Sweep) -> Sweep:
    """Keep the space, with few trials of small trainings."""
    assert sweep.search is not None
    (block,) = sweep.blocks
    values = dict(block.fixed)
    searched = {dimension.name for dimension in sweep.search.space}
    most = {
        dimension.name: max(dimension.choices or (int(dimension.high),))
        for dimension in sweep.search.space
        if dimension.name in ("mixture.dim", "detection.k_min")
    }
    capped = _capped(make_cell({**values, **most}), skip=searched)
    options = replace(
        sweep.search.options,
        trials=SMOKE_TRIALS,
        first_replicates=1,
        remeasure=1,
        hours=None,
        stop_after=None,
    )
    return replace(
        sweep,
        name=_smoke_name(sweep),
        blocks=(replace(block, fixed=tuple({**values, **capped}.items())),),
        replicates=Replicates(data=sweep.replicates.seeds("data")[:2]),
        search=replace(sweep.search, options=options),
    )


def _capped(cell: Cell, *, skip: Collection[str]) -> dict[str, Any]:
    """Cap the fields that make a cell large, as far as its modes can still be counted."""
    capped = {
        name: min(cell.get(name), cap) for name, cap in SMOKE_CAPS.items() if name not in skip
    }
    name = "detection.n_samples"
    if name in capped:
        needed = min_points(cell.detection.k_min, cell.mixture.dim)
        capped[name] = min(cell.get(name), max(capped[name], needed))
    return capped


def _smoke_name(sweep: Sweep) -> str:
    return f"{sweep.name[: 64 - len('-smoke')]}-smoke"


def _points(sweep: Sweep) -> Iterator[tuple[Block, dict[str, Any]]]:
    for block in sweep.blocks:
        for values in block.points():
            if not any(is_excluded(make_cell(values), entry) for entry in sweep.exclude):
                yield block, values


def _corners(sweep: Sweep) -> list[tuple[Block, dict[str, Any]]]:
    ends = [
        replace(
            block,
            axes=tuple(replace(axis, rows=_ends(axis.rows)) for axis in block.axes),
        )
        for block in sweep.blocks
    ]
    return list(_points(replace(sweep, blocks=tuple(ends))))


def _ends(rows: tuple[Any, ...]) -> tuple[Any, ...]:
    return rows if len(rows) < 3 else (rows[0], rows[-1])


def _spread(items: list[Any], n_max: int) -> list[Any]:
    if len(items) <= n_max:
        return items
    return [items[round(i * (len(items) - 1) / (n_max - 1))] for i in range(n_max)]


def _smoke_block(block: Block, values: dict[str, Any]) -> Block:
    """Fix a cell, capped; its swept fields stay axes, of one value each."""
    cell = make_cell(values)
    replayed = cell.mixture.training_points == "original"
    capped = _capped(cell, skip=("mixture.n_samples",) if replayed else ())
    if isinstance(cell.training.checkpoints, tuple):
        capped["training.checkpoints"] = capped["training.epochs"]
    values = {**values, **capped}
    swept = block.swept
    return Block(
        label=block.label,
        fixed=tuple((name, value) for name, value in values.items() if name not in swept),
        axes=tuple(Axis(names=(name,), rows=((values[name],),)) for name in swept),
    )
