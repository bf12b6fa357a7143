"""Importance sampling of the integral of p(x, z) over z, drawn on until it can be trusted.

Symbols: x a point, z latents, w importance weights p(x, z) / proposal(z), n draws of a point.

A point's latents are drawn from a mixture made for it: Gaussians like the posterior at the ends of
climbs from several starts, which find each sheet of the decoder that passes near the point; the
encoder's Gaussian, widened; and the prior, so that no weight is without bound. The encoder alone
puts its Gaussian on the wrong sheet for a few points, which no number of draws mends.

A point whose weights do not meet the diagnostics is drawn for again, four times as often and also
around the latent that weighed most, until they do or the rounds are over. Earlier draws, which
chose the new proposal, are left out, so every estimate of the density is unbiased. Its logarithm
is low by half the relative variance, which is added.

References
----------
Burda, Grosse, Salakhutdinov 2016, "Importance Weighted Autoencoders",
https://arxiv.org/abs/1509.00519.
Hesterberg 1995, "Weighted Average Importance Sampling and Defensive Mixture Distributions",
Technometrics 37, https://doi.org/10.1080/00401706.1995.10484303.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from study.data.seeds import numpy_generator
from study.endpoints.pareto import pareto_k
from study.endpoints.posterior import Bank, Joint
from study.endpoints.proposals import Diagonal, Local, Proposal, sum_of_squares

# Draws of a point, by round.
ROUNDS = (128, 512, 2_048, 8_192)
# What the weights of a point must meet: a standard error of its log density, in nats, and a tail
# index below which sums of weights can be trusted (`study.endpoints.pareto`).
MAX_ERROR = 0.25
MAX_PARETO_K = 0.7
# Points that share a stream, and numbers that are in memory at once.
BATCH_POINTS = 250
MAX_NUMBERS = 2**24
# Latents of each of three kinds that the first starts are chosen from.
N_BANK = 2_048
# Starts of climbs of a turn, beside the encoder's mean in the first.
N_STARTS = 2
N_EXCHANGES = 2
# Ends that are kept of a point, and the squared distance below which two are one.
N_LOCAL = 4
SAME_PLACE_SQ = 4.0
# The encoder's Gaussian is widened by these, but no coordinate beyond the prior.
ENCODER_WIDTHS = (1.5, 4.0)
MIN_PART_DRAWS = 4
# Share of the draws for the encoder's Gaussians and the prior, and of the first climb's.
_DEFENSIVE_SHARE = 0.3
_FIRST_SHARE = 0.35


# Where a climb ended, and the evidence there.
_End = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Log integrals of points, in the units of the joint density.

    Parameters
    ----------
    log_prob, standard_error, ess : ndarray of shape (n_points,)
        In nats; effective number of draws.
    met : ndarray of shape (n_points,)
        Whether the diagnostics were met.
    """

    log_prob: Float64[np.ndarray, " points"]
    standard_error: Float64[np.ndarray, " points"]
    ess: Float64[np.ndarray, " points"]
    met: Bool[np.ndarray, " points"]


def integrate(
    joint: Joint,
    points: Float64[Tensor, "points features"],
    mu: Float64[Tensor, "points latent"],
    deviation: Float64[Tensor, "points latent"],
    *,
    seeds: tuple[int, ...],
) -> Estimate:
    """Integrate p(x, z) over z for each point.

    Parameters
    ----------
    joint : Joint
    points : Tensor of shape (n_points, n_features)
    mu, deviation : Tensor of shape (n_points, latent_dim)
        Of the encoder's Gaussian of each point.
    seeds : tuple of int
        Name the streams.

    Returns
    -------
    Estimate
    """
    rng = numpy_generator("importance", *seeds, 0)
    centres = _search(joint, points, mu, _bank_latents(mu, deviation, rng))
    found = []
    for batch, rows in enumerate(torch.arange(len(points)).split(BATCH_POINTS), start=1):
        local = [joint.expand(points[rows], centre[rows])[0] for centre in centres]
        mixture = _Mixture(local, _wide(mu[rows], deviation[rows]))
        rng = numpy_generator("importance", *seeds, batch)
        found.append(_draw_until_met(joint, points[rows], mixture, rng))
    names = ("log_prob", "standard_error", "ess", "met")
    return Estimate(**{n: np.concatenate([getattr(part, n) for part in found]) for n in names})


@dataclass(frozen=True, slots=True)
class _Mixture:
    """A proposal for each point: local Gaussians, the best ones first, and wide ones."""

    local: list[Local]
    wide: list[Diagonal]

    def parts(self) -> list[tuple[Proposal, float]]:
        """Return proposals with their shares of the draws, which sum to 1."""
        first, *others = self.local
        share = (1 - _DEFENSIVE_SHARE - _FIRST_SHARE) / max(1, sum(range(len(self.local))))
        ranked = [
            (part.widened(1.3), share * (len(others) - rank)) for rank, part in enumerate(others)
        ]
        main = 1 - _DEFENSIVE_SHARE - sum(weight for _, weight in ranked)
        return [
            (first, 0.6 * main),
            (first.widened(2.0), 0.4 * main),
            *ranked,
            *((part, _DEFENSIVE_SHARE / len(self.wide)) for part in self.wide),
        ]

    def counts(self, n_draws: int) -> list[int]:
        """Return the draws of each part: n_draws or a few more in all."""
        return [max(MIN_PART_DRAWS, round(share * n_draws)) for _, share in self.parts()]

    def select(self, rows: Tensor) -> _Mixture:
        """Keep some points."""
        return _Mixture(
            [part.select(rows) for part in self.local], [part.select(rows) for part in self.wide]
        )


def _search(joint: Joint, points: Tensor, mu: Tensor, latents: Tensor) -> list[Tensor]:
    """Climb from several starts of each point; return the best ends, the best one first.

    What one point's climbs have found serves its neighbours: the ends are starts of the next turn.
    """
    starts = [mu, *_starts(Bank(joint, latents), points, N_STARTS)]
    ends = _best(joint, _climb(joint, points, starts))
    for _ in range(N_EXCHANGES):
        shared = Bank(joint, ends[0][0])
        ends = _best(joint, ends + _climb(joint, points, _starts(shared, points, 1)))
    return [end for end, _ in ends]


def _climb(joint: Joint, points: Tensor, starts: list[Tensor]) -> list[_End]:
    ends = []
    for start in starts:
        pairs = zip(points.split(BATCH_POINTS), start.split(BATCH_POINTS), strict=True)
        climbs = [joint.climb(few, few_starts) for few, few_starts in pairs]
        centres, heights = zip(*((local.mean, height) for local, height in climbs), strict=True)
        ends.append((torch.cat(centres), torch.cat(heights)))
    return ends


def _bank_latents(mu: Tensor, deviation: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw latents of the prior, around it, and near the codes of the points."""
    n_latents = mu.shape[1]
    n_each = min(N_BANK, max(64, MAX_NUMBERS // (8 * n_latents**2)))
    chosen = torch.tensor(rng.integers(len(mu), size=n_each))
    near = mu[chosen] + 2 * deviation[chosen] * _normal(rng, n_each, n_latents)
    around = torch.tensor(rng.uniform(1, 5, size=(n_each, 1))) * _normal(rng, n_each, n_latents)
    return torch.cat([_normal(rng, n_each, n_latents), around, near])


def _starts(bank: Bank, points: Tensor, n_starts: int) -> list[Tensor]:
    parts = [bank.starts(few, n_starts) for few in points.split(BATCH_POINTS)]
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _best(joint: Joint, ends: list[_End]) -> list[_End]:
    """Keep the best ends of each point that are not the same place."""
    centres, heights = (torch.stack(column, dim=1) for column in zip(*ends, strict=True))
    places = joint.places(centres.flatten(0, 1)).unflatten(0, heights.shape)
    rows = torch.arange(len(heights))
    left, kept = heights, []
    for _ in range(N_LOCAL):
        best = left.argmax(dim=1)
        kept.append((centres[rows, best], heights[rows, best]))
        near = sum_of_squares(places - places[rows, best][:, None]) < SAME_PLACE_SQ
        left = torch.where(near, -torch.inf, left)
    return kept


def _wide(mu: Tensor, deviation: Tensor) -> list[Diagonal]:
    """Return the prior, and the encoder's Gaussians widened to the prior at most."""
    widths = [torch.minimum(width * deviation, deviation.clamp(min=1)) for width in ENCODER_WIDTHS]
    prior = Diagonal(torch.zeros_like(mu), torch.ones_like(mu))
    return [*(Diagonal(mu, width) for width in widths), prior]


def _normal(rng: np.random.Generator, *shape: int) -> Float64[Tensor, ...]:
    return torch.tensor(rng.standard_normal(shape))


def _draw_until_met(
    joint: Joint, points: Tensor, mixture: _Mixture, rng: np.random.Generator
) -> Estimate:
    n_points = len(points)
    log_prob, error, ess, tail = (np.full(n_points, np.nan) for _ in range(4))
    left = np.arange(n_points)
    for n_draws in ROUNDS:
        log_weights, heaviest = _draw(joint, points[left], mixture, n_draws, rng)
        log_prob[left], error[left], ess[left] = summarize(log_weights, mixture.counts(n_draws))
        tail[left] = pareto_k(log_weights)
        unmet = np.flatnonzero(~_is_met(error[left], tail[left]))
        if not unmet.size:
            break
        left, rows = left[unmet], torch.tensor(unmet)
        mixture = mixture.select(rows)
        heaviest_end, _ = joint.climb(points[left], heaviest[rows])
        mixture = _Mixture([heaviest_end, *mixture.local], mixture.wide)
    met = _is_met(error, tail)
    return Estimate(log_prob=log_prob, standard_error=error, ess=ess, met=met)


def _is_met(error: np.ndarray, tail: np.ndarray) -> np.ndarray:
    return (error <= MAX_ERROR) & (tail <= MAX_PARETO_K)


def _draw(
    joint: Joint, points: Tensor, mixture: _Mixture, n_draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, Tensor]:
    """Return about n_draws log weights of each point, and the latent that weighs most."""
    n_latents = mixture.wide[0].mean.shape[1]
    n_points = max(1, MAX_NUMBERS // (n_draws * n_latents))
    parts = [
        _draw_few(joint, points[rows], mixture.select(rows), n_draws, rng)
        for rows in torch.arange(len(points)).split(n_points)
    ]
    log_weights, heaviest = zip(*parts, strict=True)
    return torch.cat(log_weights).numpy(), torch.cat(heaviest)


def _draw_few(
    joint: Joint, points: Tensor, mixture: _Mixture, n_draws: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    parts = [part for part, _ in mixture.parts()]
    counts = mixture.counts(n_draws)
    n_latents = mixture.wide[0].mean.shape[1]
    drawn = [
        part.draw(_normal(rng, len(points), count, n_latents))
        for part, count in zip(parts, counts, strict=True)
    ]
    latents = torch.cat(drawn, dim=1)
    log_counts = torch.full(latents.shape[:2], -torch.inf, dtype=latents.dtype)
    for part, count in zip(parts, counts, strict=True):
        log_counts = torch.logaddexp(log_counts, part.log_prob(latents) + np.log(count))
    log_proposal = log_counts - np.log(latents.shape[1])
    log_weights = joint.log_prob(points, latents) - log_proposal
    return log_weights, latents[torch.arange(len(points)), log_weights.argmax(dim=1)]


def summarize(
    log_weights: Float64[np.ndarray, "points draws"], counts: Sequence[int]
) -> tuple[
    Float64[np.ndarray, " points"], Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]
]:
    """Estimate the log of each point's mean weight.

    Parameters
    ----------
    log_weights : ndarray of shape (n_points, n_draws)
    counts : sequence of int
        Draws of each part of the mixture, in the order of the draws; at least 2 each. Their
        numbers are fixed, so that weights vary within parts only.

    Returns
    -------
    log_mean : ndarray of shape (n_points,)
        Half the relative variance of the mean is added: to first order what it is low by.
    standard_error : ndarray of shape (n_points,)
    ess : ndarray of shape (n_points,)
        (sum w)^2 / sum w^2.
    """
    top = log_weights.max(axis=1)
    weights = np.exp(log_weights - top[:, None])
    total = weights.sum(axis=1)
    parts = np.split(weights, np.cumsum(counts)[:-1], axis=1)
    variance = sum(part.shape[1] * part.var(axis=1, ddof=1) for part in parts) / total**2
    log_mean = top + np.log(total / weights.shape[1]) + variance / 2
    return log_mean, np.sqrt(variance), total**2 / np.square(weights).sum(axis=1)
