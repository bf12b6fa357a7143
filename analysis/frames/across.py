"""Several sweeps together: which networks they share, and their primary families as one."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.frames.cells import done_trials
from analysis.frames.contrasts import Comparison, judge_comparisons, primary_comparisons
from analysis.load import Results


def shared_networks(sweeps: Mapping[str, Results]) -> pd.DataFrame:
    """Count the trainings that several sweeps have in common.

    Parameters
    ----------
    sweeps : mapping of name to Results

    Returns
    -------
    pandas.DataFrame
        sweeps (tuple of names) and n_networks: trainings that are in all of these sweeps and in no
        other one; those of a single sweep included. Most shared first.
    """
    homes: dict[str, list[str]] = {}
    for name, results in sweeps.items():
        for training in done_trials(results.trials)["training_id"].unique():
            homes.setdefault(training, []).append(name)
    counts = pd.Series([tuple(names) for names in homes.values()], dtype=object).value_counts()
    frame = counts.rename_axis("sweeps").reset_index(name="n_networks")
    order = frame["sweeps"].map(len).sort_values(ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def joint_family(sweeps: Mapping[str, Results]) -> pd.DataFrame:
    """Judge the primary families of several sweeps as one, each comparison once.

    A comparison of networks that another sweep compares too is a copy: it stands in the frame and
    is not judged again. Data seeds of the same number are flipped together, so that what the
    sweeps have in common is no evidence that they agree.

    Parameters
    ----------
    sweeps : mapping of name to Results

    Returns
    -------
    pandas.DataFrame
        sweep, cell, reference, endpoint, copy_of (the sweep whose comparison it repeats, else ""),
        p_own (adjusted over the sweep's own family), and the columns of `contrasts.judged` over
        all sweeps (missing for copies).
    """
    listed = [(name, one) for name in sweeps for one in primary_comparisons(sweeps[name])]
    if not listed:
        return pd.DataFrame()
    names = [name for name, _ in listed]
    tests = [one for _, one in listed]
    copy_of = _copies(tests)
    kept = [i for i, original in enumerate(copy_of) if original is None]
    own = [
        judge_comparisons([one for name, one in listed if name == sweep])["p_adjusted"]
        for sweep in dict.fromkeys(names)
    ]
    judged = judge_comparisons([tests[i] for i in kept]).set_axis(kept)
    frame = pd.DataFrame(
        {
            "sweep": names,
            "cell": [one.cell for one in tests],
            "reference": [one.reference for one in tests],
            "endpoint": [one.endpoint for one in tests],
            "copy_of": ["" if i is None else names[i] for i in copy_of],
            "p_own": pd.concat(own, ignore_index=True),
        }
    )
    return frame.join(judged.drop(columns=["cell", "reference", "endpoint"]))


def _copies(tests: list[Comparison]) -> list[int | None]:
    """Point each comparison to the one that it repeats; the one of most networks is kept."""
    copy_of: list[int | None] = [None] * len(tests)
    kept: list[int] = []
    ranked = sorted(range(len(tests)), key=lambda i: -sum(len(side) for side in tests[i].networks))
    for i in ranked:
        copy_of[i] = next((j for j in kept if tests[i].is_copy_of(tests[j])), None)
        if copy_of[i] is None:
            kept.append(i)
    return copy_of
