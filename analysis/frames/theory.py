"""What theory says beside what was trained: rate and distortion, and where latents collapse.

Symbols: D data dimensions, h the entropy of the truth (nats), rec the squared error summed over
the axes (distortion), KL the divergence of the encoder from the prior (rate, nats), beta the
weight of the KL term, lambda_j the eigenvalues of the truth's covariance, largest first.

The Shannon lower bound holds for every model: KL >= h - (D/2) log(2 pi e rec / D). A linear model
at weight beta keeps the axes with lambda_j above the water level t = beta / 2, at most q of them:
rec is t for each kept axis plus the other eigenvalues, KL is the sum of log(lambda_j / t) / 2.

References
----------
Alemi et al. (2018), "Fixing a Broken ELBO", https://arxiv.org/abs/1711.00464
Lucas et al. (2019), "Don't Blame the ELBO!", https://arxiv.org/abs/1911.02469
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.frames import summary
from analysis.load import Results
from study.data.moments import mixture_covariance
from study.endpoints.bounds import linear_optimum, rate_bound

FloatArray = NDArray[np.float64]
N_POINTS = 120
_rate_bounds = np.vectorize(rate_bound, otypes=[float])


def rate_and_distortion(results: Results) -> pd.DataFrame:
    """List every finished trial's held-out rate and distortion with the entropy of its truth.

    Returns
    -------
    pandas.DataFrame
        trial_id, cell, the factors, data_seed, dim, latent_dim, kl_weight, recon, kl_nats,
        entropy (nats, in the units that the model was trained in), standardize.
    """
    done = summary.done_trials(results.trials).dropna(
        subset=["recon", "kl_nats", "rate_bound_nats"]
    )
    done = done[done["recon"] > 0]
    keys = ["trial_id", "cell", *results.manifest.factors, "data_seed", "dim", "latent_dim",
            "kl_weight", "recon", "kl_nats", "standardize"]  # fmt: skip
    # The stored bound knows the scale of standardised points; the entropy column does not.
    entropy = done["rate_bound_nats"] - rate_bounds(0.0, done["recon"], done["dim"])
    return done[list(dict.fromkeys(keys))].assign(entropy=entropy).reset_index(drop=True)


def rate_bounds(entropy: ArrayLike, recon: ArrayLike, dim: ArrayLike) -> FloatArray:
    """Return Shannon's lower bound on the rate, nats, elementwise; see `rate_bound`."""
    return np.asarray(_rate_bounds(entropy, recon, dim=np.asarray(dim, dtype=int)))


def shannon_curve(trials: pd.DataFrame) -> pd.DataFrame:
    """Trace the lowest rate at each distortion, averaged over the data sets drawn.

    Parameters
    ----------
    trials : pandas.DataFrame
        From `rate_and_distortion`, one dim.

    Returns
    -------
    pandas.DataFrame
        recon, kl_nats, and low, high: the smallest and largest over the data seeds.
    """
    dim = float(trials["dim"].iloc[0])
    entropy = trials.groupby("data_seed")["entropy"].mean().to_numpy(float)
    recon = np.geomspace(trials["recon"].min() / 1.6, trials["recon"].max() * 1.6, N_POINTS)
    rate = np.maximum(rate_bounds(entropy[:, None], recon, dim), 0)
    ends = {"low": rate.min(axis=0), "high": rate.max(axis=0)}
    return pd.DataFrame({"recon": recon, "kl_nats": rate.mean(axis=0)} | ends)


def linear_curve(eigenvalues: FloatArray, *, latent_dim: int, levels: FloatArray) -> pd.DataFrame:
    """Trace rate and distortion of the best linear model as the water level rises.

    Parameters
    ----------
    eigenvalues : array of shape (dim,)
        Eigenvalues of the truth's covariance, largest first.
    latent_dim : int
        q.
    levels : array
        Water levels t = beta / 2.

    Returns
    -------
    pandas.DataFrame
        level, recon, kl_nats.
    """
    best = [
        linear_optimum(eigenvalues, latent_dim=latent_dim, kl_weight=2 * float(level))
        for level in levels
    ]
    columns = {"recon": [b.recon for b in best], "kl_nats": [b.kl_nats for b in best]}
    return pd.DataFrame({"level": levels} | columns)


def mean_eigenvalues(results: Results) -> FloatArray | None:
    """Average the eigenvalues of the true covariances over data seeds, largest first.

    Returns
    -------
    array of shape (dim,) or None
        None where the rows do not hold them, or the data dimension is swept.
    """
    done = summary.done_trials(results.trials)
    stored = done.dropna(subset=["eigenvalues"]) if "eigenvalues" in done else done.iloc[:0]
    if len(stored) and stored["dim"].nunique() == 1:
        sets = stored.drop_duplicates("data_id")["eigenvalues"]
        return np.mean([np.asarray(values, dtype=float) for values in sets], axis=0)
    return _given_eigenvalues(results)


def _given_eigenvalues(results: Results) -> FloatArray | None:
    """Take them from the sweep file when it gives the mixture itself."""
    fixed = results.manifest.sweep.get("fixed", {})
    names = ("mixture.means", "mixture.variances", "mixture.weights")
    if any(fixed.get(name) is None for name in names):
        return None
    means, variances, weights = (np.asarray(fixed[name], dtype=float) for name in names)
    covariance = mixture_covariance(means, variances, weights)
    return np.asarray(np.linalg.eigvalsh(covariance)[::-1])


def collapse(results: Results) -> pd.DataFrame:
    """List the latents of every finished trial with the distance to the collapse threshold.

    A model that ignores its latents is stable from beta = 2 lambda_1 on. Standardised points have
    another lambda_1 than the one stored, and are left out.

    Returns
    -------
    pandas.DataFrame
        trial_id, cell, data_seed, latent_dim, ratio (beta / (2 lambda_1)), active_units, rank
        (1: the latent with the largest KL), kl_nats (of that latent, at the last checkpoint).
    """
    done = summary.done_trials(results.trials)
    done = done[~done["standardize"].fillna(False).astype(bool)]
    done = done.dropna(subset=["lambda_1", "active_units"])
    marks = results.curves.dropna(subset=["kl_per_latent"])
    marks = marks.sort_values("epoch").drop_duplicates("trial_id", keep="last")
    keys = ["trial_id", "cell", "data_seed", "latent_dim", "kl_weight", "lambda_1", "active_units"]
    latents = marks.set_index("trial_id")["kl_per_latent"].rename("kl")
    frame = done[keys].join(latents, on="trial_id", how="inner")
    frame["ratio"] = frame["kl_weight"] / (2 * frame["lambda_1"])
    rows = [
        {"trial_id": r.trial_id, "cell": r.cell, "data_seed": r.data_seed,
         "latent_dim": int(r.latent_dim), "ratio": r.ratio, "active_units": int(r.active_units),
         "rank": rank, "kl_nats": float(value)}
        for r in summary.named_rows(frame)
        for rank, value in enumerate(sorted(r.kl, reverse=True), start=1)
    ]  # fmt: skip
    return pd.DataFrame(rows)
