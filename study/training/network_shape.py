"""What a kind's options say of its networks: widths, numbers to store, GFLOP to train and run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from study.config.fields import Column

if TYPE_CHECKING:
    from study.config import TrainingConfig

Widths = tuple[Annotated[int, Interval(ge=1, le=8192)], ...]
# Numbers that tell a network the time (`study.training.perceptron.time_features`).
N_TIME_FEATURES = 9
# What a step of PyTorch takes beside its products: about 0.5 ms at the 40 GFLOP/s of a core.
_GFLOP_PER_STEP = 0.02
_COUNTED_POINTS = 10_000


def widths_column(kind: str, field: str = "hidden") -> Column:
    """Declare the column of a field of widths: such as "128x128".

    Parameters
    ----------
    kind, field : str
        Which make the column's name, KIND_FIELD.
    """

    def read(options: Any) -> str:
        return "x".join(map(str, getattr(options, field)))

    return Column(f"{kind}_{field}", "str", read)


def n_parameters(sizes: Sequence[int]) -> int:
    """Count the weights and biases of a perceptron.

    Parameters
    ----------
    sizes : sequence of int
        Widths from input to output.

    Examples
    --------
    >>> n_parameters([2, 8, 1])
    33
    """
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))


def training_gflop(n_weights: int, training: TrainingConfig, n_samples: int) -> float:
    """Estimate a training by gradients: forward and twice that backward, step by step.

    Parameters
    ----------
    n_weights : int
    training : TrainingConfig
    n_samples : int
        Training points.
    """
    n_steps = training.epochs * math.ceil(n_samples / training.batch_size)
    products = 6e-9 * n_weights * n_samples * training.epochs
    return products + _GFLOP_PER_STEP * n_steps


def sampling_gflop(n_weights: int, steps: int) -> float:
    """Estimate the draw of as many points as are usually counted, in steps of a network."""
    return 2e-9 * n_weights * steps * _COUNTED_POINTS
