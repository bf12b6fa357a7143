"""How much memory a training takes, before it is built; pure."""

from __future__ import annotations

from study.config import ModelConfig
from study.training.layout import padded_size

BYTES = 4  # of a float32
# Activations whose derivative needs the inputs keep them beside the outputs.
SAVES_INPUTS = ("gelu", "silu", "softplus")
CHECKPOINT_POINTS = 2_000
# Left for the allocator's own needs, matrix products and the sums at the end of an epoch.
USABLE = 0.8


def bytes_per_model(model: ModelConfig, *, dim: int, n_samples: int, batch_size: int) -> int:
    """Count the bytes that every model adds to a program.

    Parameters
    ----------
    model : ModelConfig
    dim : int
        Features of a point.
    n_samples : int
        Training points.
    batch_size : int

    Returns
    -------
    int
        Parameters, gradients, Adam's state, points, noise, what batches leave behind and the
        scratch of a step. What an epoch's end and a checkpoint take for a moment is less than
        `models_that_fit` leaves free.
    """
    latent = model.latent_dim
    parameters = 4 * padded_size(model, dim)
    # Points as given, samples last, shuffled; residual; noise, heads; points of the checkpoints.
    epoch = n_samples * (4 * dim + 3 * latent) + min(n_samples, CHECKPOINT_POINTS) * dim
    copies = 5 if model.activation in SAVES_INPUTS else 3
    per_row = copies * sum(model.hidden) + 7 * latent + dim
    n_full, n_last = divmod(n_samples, batch_size)
    rows = (batch_size if n_full else 0) + n_last
    return BYTES * (parameters + epoch + rows * per_row)


def models_that_fit(needed_bytes: int, free_bytes: int) -> int:
    """Return how many models a device has room for.

    Parameters
    ----------
    needed_bytes : int
        By one model, as `bytes_per_model` counts.
    free_bytes : int

    Returns
    -------
    int
        At least 1: a model that does not fit alone fails when it runs.
    """
    return max(1, int(USABLE * free_bytes / needed_bytes))
