"""Score draws of the truth as a trial's samples are: `python -m benchmarks.truth_draws`.

A generator that is the truth is the negative control of the whole analysis
(`tests/analysis/test_controls.py`). Its rows take minutes to count and score, so they are kept in
benchmarks/truth_draws.csv; a test makes some of them again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from study.config import DetectionConfig, MixtureConfig
from study.data.data_set import draw_data_set
from study.data.seeds import numpy_generator
from study.detection.counting import count_possible
from study.endpoints.scores import score_likelihood, score_points

ROWS = Path(__file__).with_name("truth_draws.csv")
N_DATA, N_DRAWS, N_POINTS = 20, 12, 2000
# Held-out points of each draw: the error of the forward KL is theirs.
HELD_OUT = 500


def score_draw(data_seed: int, draw: int, n_points: int = N_POINTS) -> dict[str, float]:
    """Count and score one draw of the truth.

    Parameters
    ----------
    data_seed, draw : int
    n_points : int

    Returns
    -------
    dict
        data_seed, draw, k_samples_original, k_samples_calibrated, and the endpoints.
    """
    data = draw_data_set(MixtureConfig(n_samples=n_points), data_seed, n_points)
    rng = numpy_generator("null", data_seed, 100 + draw)
    points = data.truth.sample(n_points, rng)[0]
    counted = count_possible(points, DetectionConfig(n_samples=n_points, k_max=20)).found
    scores = score_points(
        points,
        truth=data.truth,
        control=data.control,
        rng=rng,
        fitted=counted["calibrated"].fitted,
    ).columns
    # Its density is the truth's; the error of a held-out draw of its own is all that is left.
    few = data.truth.sample(HELD_OUT, rng)[0]
    entropy = score_likelihood(data.truth, data.heldout)["entropy_nats"]
    scores["fkl_nats"] = abs(entropy + float(data.truth.log_prob(few).mean()))
    k = {f"k_samples_{name}": float(count.k) for name, count in counted.items()}
    return {"data_seed": data_seed, "draw": draw} | k | scores


def main(argv: Sequence[str] | None = None) -> int:
    """Score every draw and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROWS, help="where rows are written")
    options = parser.parse_args(argv)
    rows = [score_draw(d, i) for d in range(N_DATA) for i in range(N_DRAWS)]
    pd.DataFrame(rows).to_csv(options.out, index=False, float_format="%.9g")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
