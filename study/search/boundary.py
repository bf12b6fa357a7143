"""Where an endpoint crosses a level: a Gaussian process that knows where it is least certain.

The next cell is the one with the largest straddle, 1.96 sd - |mean - level|: near the level and
poorly known. A map of the boundary comes of it, not a best point.

References
----------
Bryan, Schneider, Nichol, Miller, Genovese, Wasserman 2005, "Active learning for identifying
function threshold boundaries", https://papers.nips.cc/paper/2940
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from study.config.search_space import Point, SearchConfig

FloatArray = np.ndarray
CANDIDATES_LOG2 = 10
Z = 1.96


@dataclass(frozen=True, slots=True)
class Surface:
    """A fitted map of the endpoint over the unit cube.

    Parameters
    ----------
    process : GaussianProcessRegressor
    center, scale : float
        Mean and spread by which the endpoint's values are standardised.
    """

    process: GaussianProcessRegressor
    center: float
    scale: float

    def predict(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Predict mean and standard deviation at positions of shape (n, n_dimensions)."""
        mean, sd = self.process.predict(positions, return_std=True)
        return mean * self.scale + self.center, sd * self.scale


def fit_surface(positions: FloatArray, means: FloatArray, errors: FloatArray) -> Surface:
    """Fit the map to cell means with their standard errors.

    Parameters
    ----------
    positions : ndarray, shape (n_cells, n_dimensions)
        Cells as positions in the unit cube.
    means, errors : ndarray, shape (n_cells,)

    Returns
    -------
    Surface
    """
    center, scale = float(means.mean()), float(means.std()) or 1.0
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(
        np.full(positions.shape[1], 0.3), (0.05, 10.0), nu=2.5
    )
    process = GaussianProcessRegressor(
        kernel, alpha=(errors / scale) ** 2 + 1e-6, n_restarts_optimizer=0, random_state=0
    )
    with warnings.catch_warnings():
        # A length scale at its bound says that a dimension does not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(positions, (means - center) / scale)
    return Surface(process, center, scale)


def propose(
    config: SearchConfig, surface: Surface, *, seed: int, taken: FloatArray
) -> list[Point]:
    """List cells to be measured next, the least certain about the level first.

    Parameters
    ----------
    config : SearchConfig
        Search for a boundary.
    surface : Surface
    seed : int
        Seed for the candidates.
    taken : ndarray, shape (n_running, n_dimensions)
        Positions being measured: candidates near them come later.

    Returns
    -------
    list of dict
    """
    cube = qmc.Sobol(len(config.space), seed=seed).random_base2(CANDIDATES_LOG2)
    points = {tuple(point.values()): point for point in map(config.point, cube)}
    positions = np.array([config.positions(point) for point in points.values()])
    mean, sd = surface.predict(positions)
    assert config.options.level is not None
    straddle = Z * sd - np.abs(mean - config.options.level)
    for position in taken:
        near = np.exp(-0.5 * ((positions - position) ** 2).sum(1) / 0.1**2)
        straddle = straddle - near * Z * sd
    order = np.argsort(-straddle, kind="stable")
    return [list(points.values())[i] for i in order[:20]]
