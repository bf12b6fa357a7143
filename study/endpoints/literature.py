"""Numbers by which the literature on mode collapse compares generators, and what they are worth.

A point is *near* a mode if it lies within 3 standard deviations of one of its components
(Mahalanobis). Papers count a mode as captured when one of 2,500 samples is near it, so every
number here rests on the first 2,500 points of a set. One Gaussian with the data's covariance
captures 4.5 of PacGAN's ring of 8 and 17.7 of its grid of 25, level with published networks:
such a count means something only beside the share of points that are near (`hq_3sd`), and beside
the same numbers of the control and of the null models, which every table here has.

"Within 3 sd" is not the same in every dimension: a share of .989 of the truth's own points is near
in two, .971 in three, .087 in sixteen.

Symbols: w_j the weight of mode j, K modes; m_j the share of points that falls to it; sigma the
bandwidth of the kernel exp(-|x - y|^2 / (2 sigma^2)).

References
----------
Srivastava, Valkov, Russell, Gutmann, Sutton, "VEEGAN", https://arxiv.org/abs/1705.07761
Lin, Khetan, Fanti, Oh, "PacGAN", https://arxiv.org/abs/1712.04086
Blessing, Jia, Esslinger, Vargas, Neumann, "Beyond ELBOs: a large-scale evaluation of variational
methods for sampling" (EMC), https://arxiv.org/abs/2406.07423
Jalali, Li, Farnia, "An information-theoretic evaluation of generative models in learning
multi-modal distributions" (RKE), NeurIPS 2023, https://openreview.net/forum?id=PdZhf6PiAb
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float64
from scipy.spatial.distance import pdist
from scipy.special import entr, rel_entr

from study.data.mixture import TrueMixture
from study.endpoints.fidelity import check_points

EVAL_SAMPLES = 2_500
NEAR_SD = 3.0
# The bandwidth is this many times the root mean squared distance of the truth's points from the
# mean of their component.
BANDWIDTH_FACTOR = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteratureScores:
    """The literature's numbers of one point set.

    Parameters
    ----------
    modes_captured : int
        Modes that at least one point is near.
    hq_3sd : float
        Share of points that are near a mode.
    rkl_captured : float
        KL(m || w) in nats, m_j the share of the near points whose nearest mode is j: what PacGAN's
        code counts. NaN if no point is near.
    rkl_nearest : float
        The same over all points, each given to its nearest mode, however far: the papers' text.
    emc : float
        Entropy of the modes' shares by posterior probability, over log K: 1 if all modes get the
        same. NaN with one mode.
    """

    modes_captured: int
    hq_3sd: float
    rkl_captured: float
    rkl_nearest: float
    emc: float


def score_literature(
    points: Float64[np.ndarray, "samples features"], truth: TrueMixture
) -> LiteratureScores:
    """Compute what the literature reads off the first 2,500 points and the truth's modes.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_features)
    truth : TrueMixture

    Returns
    -------
    LiteratureScores

    Raises
    ------
    ValueError
        If there is no point, or one is not finite.
    """
    points = check_points(points, "points")[:EVAL_SAMPLES]
    distances = truth.mahalanobis_sq(points)
    nearest = mode_of_components(truth)[distances.argmin(axis=1)]
    is_near = distances <= NEAR_SD**2
    captured = mode_of_components(truth)[is_near.any(axis=0)]
    near_points = is_near.any(axis=1)
    shares = truth.by_mode(truth.posterior(points)).mean(axis=0)
    return LiteratureScores(
        modes_captured=len(np.unique(captured)),
        hq_3sd=float(near_points.mean()),
        rkl_captured=_reverse_kl(nearest[near_points], truth),
        rkl_nearest=_reverse_kl(nearest, truth),
        emc=entropic_coverage(shares),
    )


def literature_columns(
    samples: Float64[np.ndarray, "samples features"],
    control: Float64[np.ndarray, "control features"],
    truth: TrueMixture,
) -> dict[str, float]:
    """Make the columns of the literature's numbers: of samples and, with `_control`, of the truth.

    Parameters
    ----------
    samples, control : ndarray of shape (n_samples, n_features)
    truth : TrueMixture

    Returns
    -------
    dict
        Columns of the `trials` table, the kernel's bandwidth among them.
    """
    bandwidth = rke_bandwidth(truth)
    columns: dict[str, float] = {"rke_bandwidth": bandwidth}
    for points, suffix in ((samples, ""), (control, "_control")):
        found = asdict(score_literature(points, truth))
        found["rke_modes"] = rke_modes(points[:EVAL_SAMPLES], bandwidth)
        columns |= {f"{name}{suffix}": value for name, value in found.items()}
    return columns


def mode_of_components(truth: TrueMixture) -> np.ndarray:
    """Return the mode that each component belongs to, shape (n_components,)."""
    return np.arange(truth.n_components) if truth.groups is None else truth.groups


def _reverse_kl(modes: np.ndarray, truth: TrueMixture) -> float:
    """Return KL(shares of the modes || weights) in nats; NaN without a point."""
    if not len(modes):
        return math.nan
    shares = np.bincount(modes, minlength=truth.n_modes) / len(modes)
    return float(rel_entr(shares, truth.mode_weights).sum())


def entropic_coverage(shares: Float64[np.ndarray, " modes"]) -> float:
    """Return the entropy of the modes' shares over its largest value, log K.

    Parameters
    ----------
    shares : ndarray of shape (n_modes,)
        They sum to 1.

    Returns
    -------
    float
        NaN with one mode.

    Examples
    --------
    >>> round(entropic_coverage(np.array([0.5, 0.5, 0.0, 0.0])), 3)
    0.5
    """
    return float(entr(shares).sum() / math.log(len(shares))) if len(shares) > 1 else math.nan


def rke_bandwidth(truth: TrueMixture) -> float:
    """Return the bandwidth at which modes are counted by kernel entropy, in data units.

    Three times the root mean squared distance of the truth's points from the mean of their
    component, so sqrt(D) times wider in D dimensions, as distances are.

    Parameters
    ----------
    truth : TrueMixture
    """
    return BANDWIDTH_FACTOR * math.sqrt(truth.weights @ truth.variances.sum(axis=1))


def rke_modes(points: Float64[np.ndarray, "samples features"], bandwidth: float) -> float:
    """Count modes by Renyi's kernel entropy of order 2: 1 / E k(x, y)^2.

    The mean is over pairs of different points, so that the number does not grow with how many
    there are; the authors' includes each point with itself.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_features)
        Memory and time are quadratic in their number: 25 MB for 2,500.
    bandwidth : float
        sigma, positive, in data units.

    Returns
    -------
    float
        At most the number of points; NaN for a single one.

    Raises
    ------
    ValueError
        If the bandwidth is not positive.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be above 0; got {bandwidth}")
    n_points = len(points)
    if n_points < 2:
        return math.nan
    kernel_sq = np.exp(-pdist(points / bandwidth, "sqeuclidean"))
    return 1.0 / max(float(kernel_sq.mean()), 1.0 / n_points)


def true_rke_modes(truth: TrueMixture, bandwidth: float) -> float:
    """Return the number of modes by kernel entropy of the truth itself, in closed form.

    Parameters
    ----------
    truth : TrueMixture
    bandwidth : float
        sigma, positive, in data units.

    Returns
    -------
    float
        1 / sum_ij w_i w_j prod_d (1 + 2 s_d / sigma^2)^(-1/2) exp(-m_d^2 / (sigma^2 + 2 s_d)),
        with m the difference of the means and s = v_i + v_j.
    """
    total = 0.0
    for weight, mean, variance in zip(truth.weights, truth.means, truth.variances, strict=True):
        spread = bandwidth**2 + 2 * (truth.variances + variance)
        exponent = -((truth.means - mean) ** 2 / spread).sum(axis=1)
        exponent -= 0.5 * np.log(spread / bandwidth**2).sum(axis=1)
        total += float(weight * (truth.weights @ np.exp(exponent)))
    return 1.0 / total
