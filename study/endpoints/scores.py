"""A trial's endpoints against the known truth, under the names that the tables give them.

What the numbers mean is said where they are computed: `matching` (recall, spurious mass, total
variation, fragments, bridges), `fidelity` (density, coverage, classifier accuracy), `literature`
(modes captured and the like) and `bounds` (entropy, forward KL, rate bound, loss floor).

Spurious mass is hq(control) - hq(generated): the share of generated points outside the 99 %
ellipsoids of all true components, beyond the share that a fresh draw of the truth has there.
Negative if the model stays closer to the components than the truth does. Half of it may be flanks:
`between_mass` is the same at 1 - 10^-6, where none are (`study.endpoints.outside`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from study.data.mixture import TrueMixture
from study.detection.modes import FittedMixture
from study.endpoints.bounds import (
    entropy_after_scaling,
    forward_kl,
    learned_variance_loss_floor,
    loss_floor,
    rate_bound,
)
from study.endpoints.fidelity import neighbor_fidelity, two_sample_accuracy
from study.endpoints.literature import literature_columns
from study.endpoints.matching import (
    RECALL_THRESHOLDS,
    ComponentMatch,
    PointMatch,
    match_components,
    match_points,
)
from study.endpoints.outside import between_mass, outside_rows

Row = dict[str, Any]

# Held-out points of the likelihood: a standard error of 0.02 to 0.03 nats at beta = 1 and widths
# from 2 on, and of nats at beta = 0.1, where few points far from the model decide (`fkl_se`).
LIKELIHOOD_POINTS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PointScores:
    """What a trial's point sets say about the truth.

    Parameters
    ----------
    columns : dict
        Columns of the `trials` table; a measure that was not asked for is absent.
    components : list of dict
        Rows of the `components` table, one for each true component, without the trial's id.
    recall : list of dict
        Rows of the `recall` table: source, threshold, recall; without the trial's id.
    outside : list of dict
        Rows of the `outside` table: source, level, outside; without the trial's id.
    """

    columns: dict[str, float]
    components: list[Row] = field(default_factory=list)
    recall: list[Row] = field(default_factory=list)
    outside: list[Row] = field(default_factory=list)


def score_points(
    samples: Float64[np.ndarray, "samples features"],
    *,
    truth: TrueMixture,
    control: Float64[np.ndarray, "control features"],
    rng: np.random.Generator,
    means: Float64[np.ndarray, "means features"] | None = None,
    fitted: FittedMixture | None = None,
) -> PointScores:
    """Score what a model generates against the truth.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features)
        Draws from the model, decoder noise included.
    truth : TrueMixture
    control : ndarray of shape (n_control, n_features)
        A fresh draw of the truth, as large as the samples and not the training points.
    rng : numpy.random.Generator
        Draws the classifier's split.
    means : ndarray of shape (n_means, n_features), optional
        Decoder means of prior draws.
    fitted : FittedMixture, optional
        The mixture that was fitted to these samples; without it there is no fragmentation.

    Returns
    -------
    PointScores
        mode_recall and weighted_recall are NaN if no component is eligible, fragmentation if none
        is recalled.

    Raises
    ------
    ValueError
        If a point set is empty, holds NaN or infinity, or is not of the truth's dimension.
    """
    sets = {"data": control, "samples": samples}
    if means is not None:
        sets["means"] = means
    matches = {source: match_points(points, truth) for source, points in sets.items()}
    fragments = None if fitted is None else match_components(fitted, samples, truth)
    near = neighbor_fidelity(samples, control)
    columns = _match_columns(matches)
    columns |= _fragment_columns(fragments, matches["samples"])
    columns |= {
        "prdc_density": near.density,
        "prdc_coverage": near.coverage,
        "c2st": two_sample_accuracy(samples, control, rng=rng),
        "between_mass": between_mass(samples, control, truth),
        **literature_columns(samples, control, truth),
    }
    return PointScores(
        columns=columns,
        components=_component_rows(matches["samples"], fragments),
        recall=_recall_rows(matches),
        outside=outside_rows(sets, truth),
    )


def score_likelihood(
    truth: TrueMixture,
    heldout: Float64[np.ndarray, "samples features"],
    *,
    model_log_prob: Float64[np.ndarray, " samples"] | None = None,
) -> dict[str, float]:
    """Score a model's density at held-out points, and describe the truth there.

    Parameters
    ----------
    truth : TrueMixture
    heldout : ndarray of shape (n_samples, n_features)
        Draws of the truth that the model was not trained on.
    model_log_prob : ndarray of shape (n_samples,), optional
        The model's log density at these points, in nats and in the points' own units.

    Returns
    -------
    dict
        entropy_nats, estimated at these points; lambda_1, the largest eigenvalue of the truth's
        covariance; fkl_nats and fkl_se if model_log_prob is given. The standard error is that of a
        mean over so many held-out points, with the error of each density in it.

    Raises
    ------
    ValueError
        If model_log_prob does not hold one value for each point.
    """
    truth_log_prob = truth.log_prob(heldout)
    columns = {
        "entropy_nats": -float(truth_log_prob.mean()),
        "lambda_1": float(np.linalg.eigvalsh(truth.covariance())[-1]),
    }
    if model_log_prob is not None:
        columns["fkl_nats"] = forward_kl(model_log_prob, truth_log_prob)
        difference = truth_log_prob - model_log_prob
        columns["fkl_se"] = float(difference.std() / np.sqrt(len(heldout)))
    return columns


def score_bounds(
    recon: float,
    *,
    entropy_nats: float,
    kl_weight: float,
    dim: int,
    decoder_variance: Literal["implied", "learned"] = "implied",
    scale: Float64[np.ndarray, " features"] | None = None,
) -> dict[str, float]:
    """Return the values that theory keeps a trial's held-out KL and loss above.

    Parameters
    ----------
    recon : float
        Held-out squared error, summed over axes, in the units that the model was trained in.
    entropy_nats : float
        Of the truth at the same held-out points, in the data's units.
    kl_weight : float
        beta.
    dim : int
        D.
    decoder_variance : "implied" or "learned"
        Which loss the floor is of.
    scale : ndarray of shape (n_features,), optional
        What each axis was divided by before training.

    Returns
    -------
    dict
        rate_bound_nats and loss_floor, both in the units that the model was trained in.

    Raises
    ------
    ValueError
        If recon is negative or kl_weight or a scale is not positive.
    """
    trained_on = entropy_nats if scale is None else entropy_after_scaling(entropy_nats, scale)
    if decoder_variance == "learned":
        floor = learned_variance_loss_floor(trained_on, kl_weight)
    else:
        floor = loss_floor(trained_on, kl_weight, dim=dim)
    return {"rate_bound_nats": rate_bound(trained_on, recon, dim=dim), "loss_floor": floor}


def _match_columns(matches: dict[str, PointMatch]) -> dict[str, float]:
    control, samples = matches["data"], matches["samples"]
    columns = {
        "hq_control": control.hq,
        "hq_samples": samples.hq,
        "spurious_mass": control.hq - samples.hq,
        "mode_recall": samples.mode_recall(),
        "weighted_recall": samples.weighted_recall(),
        "tv": samples.total_variation,
        "rkl_modes": samples.reverse_kl,
    }
    if "means" in matches:
        means = matches["means"]
        columns |= {
            "hq_means": means.hq,
            "spurious_mass_means": control.hq - means.hq,
            "mode_recall_means": means.mode_recall(),
            "tv_means": means.total_variation,
            "rkl_modes_means": means.reverse_kl,
        }
    return columns


def _fragment_columns(fragments: ComponentMatch | None, samples: PointMatch) -> dict[str, float]:
    if fragments is None:
        return {}
    recalled = samples.eligible & samples.recalled()
    return {
        "fragmentation": fragments.fragmentation(recalled),
        "bridges": float(fragments.bridges),
        "fragment_sum": fragments.fragment_sum,
        "bridge_sum": fragments.bridge_sum,
        "fragment_mass": fragments.fragment_mass,
    }


def _component_rows(samples: PointMatch, fragments: ComponentMatch | None) -> list[Row]:
    recalled, eligible = samples.recalled(), samples.eligible
    return [
        {
            "component": component,
            "weight": float(samples.weights[component]),
            "mass": float(samples.mass[component]),
            "fragments": None if fragments is None else int(fragments.fragments[component]),
            "recalled": bool(recalled[component]),
            "eligible": bool(eligible[component]),
        }
        for component in range(len(samples.weights))
    ]


def _recall_rows(matches: dict[str, PointMatch]) -> list[Row]:
    return [
        {"source": source, "threshold": threshold, "recall": match.mode_recall(threshold)}
        for source, match in matches.items()
        for threshold in RECALL_THRESHOLDS
    ]
