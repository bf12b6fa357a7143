"""What a sweep file may say: typed, frozen, with the original report's settings as the defaults.

The dataclasses below are the only configuration objects in the project; functions take one of
them or plain arguments, never a dict. Their annotations carry the bounds, which `study.config`
checks where a file is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from annotated_types import Interval, Len

from study.config.fields import NOT_A_FIELD, Column, NameIn
from study.plugins import GENERATORS, MIXTURES, PROTOCOLS

MAX_SEED = 2**32 - 1

Source = Literal["data", "means", "samples", "codes"]
# The numbers of components that the original report tried, both ends among them.
ORIGINAL_RANGE = (5, 14)
Protocol = Annotated[str, NameIn(PROTOCOLS)]
# Covariances of the mixtures that the calibrated protocol fits (`study.detection.families`).
Family = Literal["full", "diagonal", "spherical", "tied"]
Activation = Literal["relu", "tanh", "gelu", "silu", "elu", "softplus"]

Components = Annotated[int, Interval(ge=1, le=10_000)]
Points = Annotated[int, Interval(ge=2, le=10_000_000)]
Epochs = Annotated[int, Interval(ge=1, le=100_000)]
# Outermost first: each is nested in those before it.
SeedKind = Literal["data", "init", "sample", "detection"]
SEED_KINDS: tuple[SeedKind, ...] = get_args(SeedKind)
Seed = Annotated[int, Interval(ge=0, le=MAX_SEED)]
Seeds = Annotated[tuple[Seed, ...], Len(1, 100_000)]
Positive = Annotated[float, Interval(gt=0, le=1e6)]
Coordinate = Annotated[float, Interval(ge=-1e9, le=1e9)]
Probability = Annotated[float, Interval(gt=0, le=1)]
Width = Annotated[int, Interval(ge=1, le=8192)]
Table = Annotated[tuple[Annotated[tuple[Coordinate, ...], Len(1, 256)], ...], Len(1, 10_000)]
PositiveTable = Annotated[tuple[Annotated[tuple[Positive, ...], Len(1, 256)], ...], Len(1, 10_000)]
# Values of a generator's or mixture family's own options that differ from their defaults.
Options = Annotated[tuple[tuple[str, Any], ...], NOT_A_FIELD]


def box_half_width(mixture: MixtureConfig) -> float | None:
    """Return the half-width of the box that holds the means; None if the mixture is given."""
    if mixture.means is not None:
        return None
    if mixture.box == "density":
        return 10.0 * (mixture.n_components / 10) ** (1 / mixture.dim)
    return float(mixture.box)


def box_rule(mixture: MixtureConfig) -> str:
    """Say where the box's half-width comes from."""
    if mixture.means is not None:
        return "given"
    return "density" if mixture.box == "density" else "fixed"


def _variance_low(mixture: MixtureConfig) -> float | None:
    return None if mixture.means is not None else mixture.variance[0]


def _variance_high(mixture: MixtureConfig) -> float | None:
    return None if mixture.means is not None else mixture.variance[1]


def _alpha(mixture: MixtureConfig) -> float | None:
    return None if mixture.means is not None else mixture.alpha


def _noise_variance(cell: Any) -> float | None:
    """Return the variance of what is sampled, in the units of the training; None if learned."""
    given = cell.detection.noise_variance
    if given != "implied":
        return float(given)
    return cell.training.kl_weight / 2 if cell.model.decoder_variance == "implied" else None


def _noise_rule(detection: DetectionConfig) -> str:
    return "implied" if detection.noise_variance == "implied" else "given"


def _sampler_components(detection: DetectionConfig) -> int | None:
    return None if detection.sampler == "prior" else detection.sampler_components


def _families(detection: DetectionConfig) -> str:
    return " ".join(name for name in get_args(Family) if name in detection.families)


def _hidden(model: ModelConfig) -> str:
    return "x".join(map(str, model.hidden)) or "linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureConfig:
    """The true Gaussian mixture (diagonal covariances) and the points drawn from it.

    Parameters
    ----------
    kind : str
        The family that the mixture is drawn from. "box": means in a box, as the fields below say.
        A family's own options are fields of a section of its name.
    n_components : int
        K, the number of components; of modes, where a mode is made of several Gaussians.
    dim : int
        Dimension D of a point. Families of the plane are embedded by a rotation.
    box : float or "density"
        Component means are uniform in [-box, box]^D. "density" sets the half-width to
        10 (K / 10)^(1/D), which keeps the number of components per unit volume at the original's.
    variance : (float, float)
        Each component's variance along each axis is uniform between these two.
    alpha : float
        Concentration of the symmetric Dirichlet that draws the weights.
    n_samples : int
        Number of training points.
    means, variances, weights : nested tuples or None
        A given mixture in place of the recipe, of shapes (K, D), (K, D) and (K,); all three or
        none.
    training_points : "fresh" or "original"
        "fresh" draws the training points from the data seed. "original" replays the original
        report's own 10,000 points (numpy's legacy generator) and needs the report's mixture.
    """

    kind: Annotated[str, NameIn(MIXTURES), Column("mixture_kind")] = "box"
    n_components: Annotated[Components, Column("n_components")] = 10
    dim: Annotated[int, Interval(ge=1, le=256), Column("dim")] = 3
    box: Annotated[
        Positive | Literal["density"],
        Column("box_half_width", "float", box_half_width),
        Column("box_rule", "str", box_rule),
    ] = 10.0
    variance: Annotated[
        tuple[Positive, Positive],
        Column("variance_low", "float", _variance_low),
        Column("variance_high", "float", _variance_high),
    ] = (0.5, 2.0)
    alpha: Annotated[
        float,
        Interval(ge=1e-3, le=1e6),
        Column("alpha", read=_alpha),
    ] = 1.0
    n_samples: Annotated[Points, Column("n_samples")] = 10_000
    means: Table | None = None
    variances: PositiveTable | None = None
    weights: Annotated[tuple[Probability, ...], Len(1, 10_000)] | None = None
    training_points: Annotated[Literal["fresh", "original"], Column("training_points")] = "fresh"
    options: Options = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What is trained: the kind of generator, and the variational autoencoder's shape.

    Parameters
    ----------
    kind : str
        "vae": the variational autoencoder, with the fields below. docs/generators.md has the
        others. A kind's own options are fields of a section of its name.
    latent_dim : int
        q, the number of latent coordinates.
    hidden : tuple of int
        Widths of the encoder's hidden layers; the decoder has the same in reverse order. An empty
        list makes both linear.
    activation : str
        Activation after each hidden layer.
    decoder_variance : "implied" or "learned"
        "implied" is what the squared-error loss implies, sigma^2 = kl_weight / 2. "learned" is one
        trained scalar.
    """

    kind: Annotated[str, NameIn(GENERATORS), Column("model_kind")] = "vae"
    latent_dim: Annotated[int, Interval(ge=1, le=1024), Column("latent_dim")] = 2
    hidden: Annotated[
        tuple[Width, ...],
        Len(0, 16),
        Column("hidden", "str", _hidden),
    ] = (128, 128)
    activation: Annotated[Activation, Column("activation")] = "relu"
    decoder_variance: Annotated[Literal["implied", "learned"], Column("decoder_variance_rule")] = (
        "implied"
    )
    options: Options = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The optimisation: Adam on the batch mean of (summed squared error + beta KL).

    Parameters
    ----------
    epochs : int
        Number of passes over the training points.
    batch_size : int
        Points per step; the last, shorter batch of an epoch is kept.
    learning_rate : float
        Adam's learning rate.
    kl_weight : float
        beta, the weight of the KL term.
    standardize : bool
        Train on centred points divided by their standard deviation; samples are mapped back.
    checkpoints : int or tuple of int
        An interval in epochs, or an explicit list. The last epoch is always a checkpoint.
    timeout_min : float or None
        Minutes after which a trial's training is stopped and recorded as timed out.
    """

    epochs: Annotated[Epochs, Column("epochs")] = 100
    batch_size: Annotated[int, Interval(ge=1, le=1_000_000), Column("batch_size")] = 128
    learning_rate: Annotated[float, Interval(gt=0, le=10), Column("learning_rate")] = 1e-3
    kl_weight: Annotated[float, Interval(ge=1e-6, le=1e6), Column("kl_weight")] = 1.0
    standardize: Annotated[bool, Column("standardize")] = False
    checkpoints: Epochs | Annotated[tuple[Epochs, ...], Len(1, 1000)] = 10
    timeout_min: Annotated[float, Interval(gt=0, le=100_000)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionConfig:
    """How modes are counted.

    Parameters
    ----------
    sources : tuple of str
        Point sets whose modes are counted: "data" (a fresh draw of the truth: the control),
        "means" (decoder means of prior draws), "samples" (with decoder noise), "codes" (encoder
        means).
    protocols : tuple of str
        "original" fits k = 5..14 by one start of EM each, as the report did. "calibrated" is this
        project's detector.
    n_samples : int
        Points drawn from each source.
    noise_variance : float or "implied"
        Variance of the decoder's noise in what is sampled and in the density that is scored, in
        the units of the training. "implied": the model's own, kl_weight / 2 or the learned one.
        Another value measures the same network with other noise; it trains nothing.
    sampler : "prior" or "gmm_expost"
        Where the latents of samples and means come from. "prior": the standard normal.
        "gmm_expost": a Gaussian mixture, fitted to latents of the training points after training.
        It measures the same network and trains nothing; the density of its samples is not known.
    sampler_components : int
        Components of that mixture.
    k_min, k_max : int
        Range of the calibrated protocol; a count that reaches the cap k_max is flagged.
    families : tuple of str
        Covariances of the mixtures that the calibrated protocol fits; of several, BIC chooses one
        beside k. "full": any. "diagonal": along the axes. "spherical": the same along every axis.
        "tied": one for all components.
    restarts : int
        Independent searches of the calibrated protocol, at least; it makes more where searches
        that find many components disagree.
    seed : int
        Seed for the calibrated detector's own random numbers.
    at_checkpoints : bool
        Count means and samples at every training checkpoint too.
    gap_restarts : int
        Number of further detector seeds with which the calibrated search of the samples is
        repeated, to record how far the trial's own search is from the best (`sample_gap`).
    """

    sources: Annotated[tuple[Source, ...], Len(1, 4)] = ("data", "means", "samples", "codes")
    protocols: Annotated[tuple[Protocol, ...], Len(1, 16)] = ("original", "calibrated")
    n_samples: Annotated[Points, Column("detection_n_samples")] = 10_000
    noise_variance: Annotated[
        Positive | Literal["implied"],
        Column("noise_variance", "float", of_cell=_noise_variance),
        Column("noise_rule", "str", _noise_rule),
    ] = "implied"
    sampler: Annotated[Literal["prior", "gmm_expost"], Column("sampler")] = "prior"
    sampler_components: Annotated[
        int,
        Interval(ge=1, le=1000),
        Column("sampler_components", "int", _sampler_components),
    ] = 10
    k_min: Annotated[Components, Column("k_min")] = 1
    k_max: Annotated[Components, Column("k_max")] = 40
    families: Annotated[tuple[Family, ...], Len(1, 4), Column("families", "str", _families)] = (
        "full",
    )
    restarts: Annotated[int, Interval(ge=1, le=1000), Column("restarts")] = 1
    seed: Annotated[Seed, Column("detection_seed")] = 0
    at_checkpoints: bool = False
    gap_restarts: Annotated[int, Interval(ge=0, le=1000)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcesConfig:
    """What one stack may use; never part of a trial's identity.

    Parameters
    ----------
    cpus : float or "auto"
        CPUs per stack; also the number of its models measured in parallel. "auto" is 1, or with a
        GPU the stack's share of the machine's CPUs (`study.planning.resources`).
    gpus : float
        GPUs per stack.
    device : "auto", "cpu" or "cuda"
        Device that trains. "auto" is CUDA when the stack has a GPU.
    stack_size : int or "auto"
        Models trained together as one program.
    """

    cpus: Annotated[float, Interval(gt=0, le=1024)] | Literal["auto"] = "auto"
    gpus: Annotated[float, Interval(ge=0, le=64)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    stack_size: Annotated[int, Interval(ge=1, le=4096)] | Literal["auto"] = "auto"

    @property
    def n_cpus(self) -> float:
        """CPUs per stack; 1 while "auto" has not been resolved."""
        return 1.0 if self.cpus == "auto" else float(self.cpus)

    @property
    def n_processes(self) -> int:
        """Models of a stack that are measured in parallel."""
        return max(1, int(self.n_cpus))

    @property
    def torch_device(self) -> str:
        """The torch device: CUDA when the stack has a GPU, unless one is named."""
        if self.device != "auto":
            return self.device
        return "cuda" if self.gpus > 0 else "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicates:
    """Seeds that every cell is crossed with; the same in every cell, so that cells are paired.

    Parameters
    ----------
    data : int or tuple of int
        Seeds for the mixture and its points; n means seeds 0 to n - 1.
    init : int or tuple of int
        Seeds for the training (initial weights, shuffling, noise), crossed with each data seed.
    sample : int or tuple of int
        Seeds for the samples that are counted, crossed with each training.
    detection : int or tuple of int
        Seeds for the calibrated search, crossed with each set of samples; each is added to
        detection.seed.
    """

    data: Annotated[int, Interval(ge=1, le=100_000)] | Seeds = 1
    init: Annotated[int, Interval(ge=1, le=100_000)] | Seeds = 1
    sample: Annotated[int, Interval(ge=1, le=100_000)] | Seeds = 1
    detection: Annotated[int, Interval(ge=1, le=100_000)] | Seeds = 1

    def seeds(self, kind: SeedKind) -> tuple[int, ...]:
        """List the seeds of one kind."""
        value = getattr(self, kind)
        return value if isinstance(value, tuple) else tuple(range(value))

    @property
    def n_per_cell(self) -> int:
        """Trials of each cell."""
        return math.prod(len(self.seeds(kind)) for kind in SEED_KINDS)


SECTIONS: dict[str, type] = {
    "mixture": MixtureConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "detection": DetectionConfig,
    "resources": ResourcesConfig,
}
TRIAL_SECTIONS = ("mixture", "model", "training", "detection")
RECIPE_FIELDS = ("mixture.box", "mixture.variance", "mixture.alpha")
SHAPE_FIELDS = ("mixture.n_components", "mixture.dim")
GIVEN_FIELDS = ("mixture.means", "mixture.variances", "mixture.weights")


def checkpoint_epochs(training: TrainingConfig) -> frozenset[int]:
    """Return the epochs at whose end a checkpoint is recorded.

    Parameters
    ----------
    training : TrainingConfig

    Returns
    -------
    frozenset of int
        Counted from 1; always holds the last epoch.

    Examples
    --------
    >>> sorted(checkpoint_epochs(TrainingConfig(epochs=25, checkpoints=10)))
    [10, 20, 25]
    """
    wanted = training.checkpoints
    if isinstance(wanted, int):
        wanted = tuple(range(wanted, training.epochs + 1, wanted))
    return frozenset((*wanted, training.epochs))
