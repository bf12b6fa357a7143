"""A gallery of points that is small enough for version control."""

from __future__ import annotations

from pathlib import Path

from analysis.frames import summary
from analysis.load import Results
from study.results import frame_to_table, open_folder, read_table

KEPT_POINTS = 300


def keep_gallery(results: Results, *, n_points: int = KEPT_POINTS) -> Path | None:
    """Keep a thinned gallery beside the tables, which `load_points` reads when points are gone.

    Of each cell's first trial with points, the first `n_points` of every source; of the trial
    that the figures show, all.

    Returns
    -------
    Path or None
        The file; None where the folder holds no points of its own, or is not a local one.
    """
    folder = open_folder(results.location)
    points = read_table(folder, "points")
    chosen = summary.representative_trial(results)
    if points.empty or chosen is None or not folder.is_local:
        return None
    first = summary.first_trials_with_points(results, points)["trial_id"]
    thin = points["trial_id"].isin(first) & (points["index"] < n_points)
    kept = points[thin | (points["trial_id"] == chosen["trial_id"])].reset_index(drop=True)
    folder.write_table("gallery.parquet", frame_to_table("gallery", kept))
    return Path(folder.path) / "gallery.parquet"
