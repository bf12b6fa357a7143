"""How one model's parameters lie in memory; no torch, so that plans can be made without it."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from study.config import ModelConfig

# Numbers of float32 in a cache line, which is also the widest vector register of a CPU.
ALIGNMENT = 16
LOG_VARIANCE = "log_variance"


def parameter_shapes(model: ModelConfig, dim: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each parameter of one model, in storage order.

    Parameters
    ----------
    model : ModelConfig
    dim : int

    Returns
    -------
    dict of str to tuple of int
        ``encoder.0.weight`` (inputs, outputs), ``encoder.0.bias`` (1, outputs) and so on, then
        ``log_variance`` (1, 1) if the decoder's variance is learned.
    """
    widths = {
        "encoder": (dim, *model.hidden, 2 * model.latent_dim),
        "decoder": (model.latent_dim, *reversed(model.hidden), dim),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for part, sizes in widths.items():
        for index, (n_in, n_out) in enumerate(pairwise(sizes)):
            shapes[f"{part}.{index}.weight"] = (n_in, n_out)
            shapes[f"{part}.{index}.bias"] = (1, n_out)
    if model.decoder_variance == "learned":
        shapes[LOG_VARIANCE] = (1, 1)
    return shapes


def padded(size: int) -> int:
    """Round a number of numbers up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def padded_size(model: ModelConfig, dim: int) -> int:
    """Count the numbers that one model's parameters take up, padding included."""
    return sum(padded(prod(shape)) for shape in parameter_shapes(model, dim).values())
