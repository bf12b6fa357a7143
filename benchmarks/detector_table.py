"""Tables of the detector's benchmark, from its rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

TOLERANCE_BIC = 2.0
METHODS = {
    "search": "calibrated search",
    "sklearn": "scikit-learn default",
    "sklearn_n_init": "scikit-learn n_init=10",
    "mclust": "mclust VVV",
    "truth": "EM from the truth",
}
DATA_SET = ["n_components", "dim", "n_samples", "data_seed"]


def print_tables(rows: pd.DataFrame) -> None:
    """Print calibration, time, noise and dimension tables."""
    calibration = rows[rows.group == "calibration"]
    if len(calibration):
        print("\nCalibration: D = 3, n = 10,000; shares of data sets in percent\n")
        print(calibration_table(calibration).to_markdown(index=False))
    noise = rows[rows.group == "noise"]
    if len(noise):
        print("\nNoise: ten detector seeds on one set of autoencoder samples\n")
        print(noise_table(noise).to_markdown(index=False))
    dims = rows[rows.group == "dims"]
    if len(dims):
        print("\nOther dimensions and sizes (k* is not to be compared across rows)\n")
        by = ["n_components", "dim", "n_samples"]
        print(calibration_table(dims, by=by).to_markdown(index=False))
    networks = rows[rows.group == "networks"]
    if len(networks):
        print("\nNetworks: BIC above the best that any method or seed found; the cap is 40\n")
        print(network_table(networks).to_markdown(index=False))
    missing = [METHODS[m] for m in METHODS if not (rows.method == m).any()]
    if missing:
        print("\nNot measured:", ", ".join(missing))


def calibration_table(rows: pd.DataFrame, *, by: list[str] | None = None) -> pd.DataFrame:
    """Return one line per group and method.

    Parameters
    ----------
    rows : DataFrame
        Columns of the benchmark's rows.
    by : list of str
        What a group is; K by default.

    Returns
    -------
    DataFrame
        data_sets; no_worse: share with BIC at most 2 above EM from the truth; beats: share more
        than 2 below it; over_10: share more than 10 above; best_k: share where k* is that of the
        lowest BIC of all methods and the truth; k_is_K; seconds: median CPU time of one data set;
        ratio: median over data sets of the time divided by scikit-learn default's.
    """
    by = by or ["n_components"]
    measured = rows[rows.method == "truth"].set_index(DATA_SET).index
    rows = rows[rows.set_index(DATA_SET).index.isin(measured)]
    if not len(rows):
        return pd.DataFrame()
    wide_bic = rows.pivot_table(index=DATA_SET, columns="method", values="bic")
    wide_k = rows.pivot_table(index=DATA_SET, columns="method", values="k")
    wide_s = rows.pivot_table(index=DATA_SET, columns="method", values="cpu_s")
    best = wide_bic.idxmin(axis=1)
    best_k = pd.Series([wide_k.loc[key, method] for key, method in best.items()], index=best.index)
    lines = []
    for name, keys in wide_bic.groupby(by).groups.items():
        name = name if isinstance(name, tuple) else (name,)
        for method, label in METHODS.items():
            if method not in wide_bic or wide_bic.loc[keys, method].isna().all():
                continue
            done = wide_bic.loc[keys, method].dropna().index
            gap = wide_bic.loc[done, method] - wide_bic.loc[done, "truth"]
            ratio = wide_s.loc[done, method] / wide_s.loc[done, "sklearn"]
            lines.append(
                dict(zip(by, name, strict=True))
                | {
                    "method": label,
                    "data_sets": len(done),
                    "no_worse": _percent(gap <= TOLERANCE_BIC),
                    "beats": _percent(gap < -TOLERANCE_BIC),
                    "over_10": _percent(gap > 10),
                    "best_k": _percent(wide_k.loc[done, method] == best_k.loc[done]),
                    "k_is_K": _percent(
                        wide_k.loc[done, method] == done.get_level_values("n_components")
                    ),
                    "seconds": round(float(wide_s.loc[done, method].median()), 2),
                    "ratio": round(float(ratio.median()), 2),
                }
            )
    return pd.DataFrame(lines)


def _percent(flags: pd.Series) -> float:
    return round(100.0 * float(np.mean(flags)), 1)


def noise_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean, standard deviation and range of k* over detector seeds, per method."""
    lines = []
    for method, part in rows.groupby("method"):
        lines.append(
            {
                "method": METHODS[str(method)],
                "seeds": len(part),
                "k_mean": round(float(part.k.mean()), 2),
                "k_sd": round(float(part.k.std()), 2),
                "k_range": f"{part.k.min()}-{part.k.max()}",
                "bic_mean": round(float(part.bic.mean()), 1),
                "bic_sd": round(float(part.bic.std()), 1),
                "seconds": round(float(part.cpu_s.median()), 2),
            }
        )
    return pd.DataFrame(lines)


def network_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one line per network and source: the search's seeds against the best of all.

    Parameters
    ----------
    rows : DataFrame

    Returns
    -------
    DataFrame
        seeds: of the search; best_k: k of the lowest BIC; k: seed 0's; gap: seed 0's BIC above the
        lowest; worst: that of the worst seed; k_means: that of the best k-means start; seconds:
        median of a search.
    """
    lines = []
    for key, part in rows.groupby(["source", "latent_dim", "kl_weight"], sort=False):
        search, best = part[part.method == "search"], part.loc[part.bic.idxmin()]
        first = search[search.detector_seed == 0].iloc[0]
        others = part[part.method == "k_means"]
        lines.append(
            dict(zip(["source", "width", "kl_weight"], key, strict=True))
            | {
                "seeds": len(search),
                "best_k": int(best.k),
                "k": int(first.k),
                "gap": round(float(first.bic - best.bic), 1),
                "worst": round(float(search.bic.max() - best.bic), 1),
                "k_means": round(float(others.bic.min() - best.bic), 1),
                "seconds": round(float(search.cpu_s.median()), 2),
            }
        )
    return pd.DataFrame(lines)
