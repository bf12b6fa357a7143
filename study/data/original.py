"""The original report's own mixture and data, replayed from its notebook.

The notebook seeds NumPy's legacy generator with 123 and draws its mixture three times; the
network is trained on the third draw. One draw takes, in this order: the means, each component's
variances, the weights, the labels, and then one multivariate normal for each point.

``python -m study.data.original`` prints the mixture as the YAML that a sweep's ``fixed:`` section
carries, at full precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float64, Int64

NOTEBOOK_SEED = 123
N_COMPONENTS = 10
DIM = 3
N_SAMPLES = 10_000
N_DISCARDED_DRAWS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalDraw:
    """One draw of the notebook: a mixture and its points. Do not write into the arrays.

    Parameters
    ----------
    weights : ndarray of shape (10,)
    means, variances : ndarray of shape (10, 3)
    points : ndarray of shape (10000, 3)
    labels : ndarray of shape (10000,)
    """

    weights: Float64[np.ndarray, " components"]
    means: Float64[np.ndarray, "components features"]
    variances: Float64[np.ndarray, "components features"]
    points: Float64[np.ndarray, "samples features"]
    labels: Int64[np.ndarray, " samples"]


@cache
def original_draw() -> OriginalDraw:
    """Replay the notebook and return its third draw, the one its network is trained on.

    Returns
    -------
    OriginalDraw
    """
    rng = np.random.RandomState(NOTEBOOK_SEED)
    for _ in range(N_DISCARDED_DRAWS):
        _draw_parameters(rng)
        # The notebook's multivariate normal takes three standard normals a point from the stream.
        rng.standard_normal((N_SAMPLES, DIM))
    means, variances, weights, labels = _draw_parameters(rng)
    points = [rng.multivariate_normal(means[k], np.diag(variances[k])) for k in labels]
    return OriginalDraw(
        weights=weights,
        means=means,
        variances=variances,
        points=np.asarray(points),
        labels=labels.astype(np.int64),
    )


def _draw_parameters(
    rng: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw means, variances, weights and labels in the notebook's order."""
    means = rng.uniform(-10, 10, (N_COMPONENTS, DIM))
    variances = np.stack([rng.uniform(0.5, 2.0, DIM) for _ in range(N_COMPONENTS)])
    weights = rng.dirichlet(np.ones(N_COMPONENTS))
    labels = rng.choice(N_COMPONENTS, size=N_SAMPLES, p=weights)
    return means, variances, weights, labels


def original_yaml() -> str:
    """Return the original's mixture as the YAML of a given mixture, at full precision.

    Returns
    -------
    str
        Three keys of a sweep's ``fixed:`` section, without indentation.
    """
    draw = original_draw()
    lines = [f"# Derived by: python -m study.data.original (seed {NOTEBOOK_SEED}, third draw)."]
    for name, rows in (("means", draw.means), ("variances", draw.variances)):
        lines.append(f"mixture.{name}:")
        lines += [f"  - {_flow_list(row)}" for row in rows]
    lines.append(f"mixture.weights: {_flow_list(draw.weights)}")
    return "\n".join(lines)


def _flow_list(values: np.ndarray) -> str:
    # repr of a Python float is the shortest text that reads back as the same number.
    return "[" + ", ".join(repr(float(value)) for value in values) + "]"


if __name__ == "__main__":
    print(original_yaml())
