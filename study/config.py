"""What a sweep file may say: typed, frozen, with the original report's settings as the defaults.

The dataclasses below are the only configuration objects in the project; functions take one of
them or plain arguments, never a dict. `load_sweep` is the only reader of YAML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["data", "means", "samples", "codes"]
Protocol = Literal["original", "calibrated"]
Activation = Literal["relu", "tanh", "gelu", "silu", "elu", "softplus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureConfig:
    """The true Gaussian mixture (diagonal covariances) and the points drawn from it.

    Parameters
    ----------
    n_components : int
        K, at least 1.
    dim : int
        Dimension D of a point.
    box : float or "density"
        Component means are uniform in [-box, box]^D. "density" means half-width
        10 (K / 10)^(1/D), which keeps the number of components per unit volume at the original's.
    variance : (float, float)
        Each component's variance along each axis is uniform between the two.
    alpha : float
        Concentration of the symmetric Dirichlet that draws the weights.
    n_samples : int
        Training points.
    means, variances, weights : nested tuples or None
        A given mixture, shapes (K, D), (K, D) and (K,), in place of the recipe; all three or none.
    training_points : "fresh" or "original"
        "fresh" draws the training points by the data seed. "original" replays the original
        report's own 10,000 points (numpy's legacy generator); it needs the report's mixture.
    """

    n_components: int = 10
    dim: int = 3
    box: float | Literal["density"] = 10.0
    variance: tuple[float, float] = (0.5, 2.0)
    alpha: float = 1.0
    n_samples: int = 10_000
    means: tuple[tuple[float, ...], ...] | None = None
    variances: tuple[tuple[float, ...], ...] | None = None
    weights: tuple[float, ...] | None = None
    training_points: Literal["fresh", "original"] = "fresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The variational autoencoder's shape.

    Parameters
    ----------
    latent_dim : int
        q, the number of latent coordinates.
    hidden : tuple of int
        Widths of the encoder's hidden layers; the decoder's are the same, reversed. Empty: linear.
    activation : str
        Between hidden layers.
    decoder_variance : "implied" or "learned"
        "implied": sigma^2 = kl_weight / 2, what the squared-error loss means. "learned": one scalar.
    """

    latent_dim: int = 2
    hidden: tuple[int, ...] = (128, 128)
    activation: Activation = "relu"
    decoder_variance: Literal["implied", "learned"] = "implied"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The optimisation: Adam on mean over the batch of (squared error summed + beta KL).

    Parameters
    ----------
    epochs, batch_size : int
        The last short batch of an epoch is kept.
    learning_rate : float
        Adam's.
    kl_weight : float
        beta.
    standardize : bool
        Train on points divided by their standard deviation and centred; samples are mapped back.
    checkpoints : int or tuple of int
        Every so many epochs, or these epochs; the last epoch is always one.
    timeout_min : float or None
        A trial that trains longer is stopped and recorded as such.
    """

    epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 1e-3
    kl_weight: float = 1.0
    standardize: bool = False
    checkpoints: int | tuple[int, ...] = 10
    timeout_min: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionConfig:
    """How modes are counted.

    Parameters
    ----------
    sources : tuple of str
        Point sets that are counted: "data" (fresh draw of the truth: the control), "means"
        (decoder means of prior draws), "samples" (with decoder noise), "codes" (encoder means).
    protocols : tuple of str
        "original": scikit-learn's mixture, k = 5..14. "calibrated": the detector of study.modes.
    n_samples : int
        Points drawn from each source.
    k_min, k_max : int
        Range of the calibrated protocol; k_max is a cap that flags the count when it is reached.
    restarts : int
        Independent starts of the calibrated protocol.
    seed : int
        The detector's own seed (calibrated protocol).
    at_checkpoints : bool
        Count means and samples at every training checkpoint too.
    """

    sources: tuple[Source, ...] = ("data", "means", "samples", "codes")
    protocols: tuple[Protocol, ...] = ("original", "calibrated")
    n_samples: int = 10_000
    k_min: int = 1
    k_max: int = 40
    restarts: int = 1
    seed: int = 0
    at_checkpoints: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcesConfig:
    """What one stack may use; never part of a trial's identity.

    Parameters
    ----------
    cpus, gpus : float
        Ray resources of one stack.
    device : "auto", "cpu" or "cuda"
        "auto" takes CUDA when the stack has a GPU.
    stack_size : int or "auto"
        Models trained together as one program.
    """

    cpus: float = 1
    gpus: float = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    stack_size: int | Literal["auto"] = "auto"
