"""Bring points of one trial into the plane: principal components, t-SNE, label positions.

`points` below is a frame with columns source, component and coordinates x0, x1, ...; coordinates
beyond a source's dimension are missing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


def coordinates(points: pd.DataFrame) -> NDArray[np.float64]:
    """Stack the coordinates that are present, shape (n_points, dim)."""
    names = [name for name in ("x0", "x1", "x2", "x3") if points[name].notna().any()]
    return points[names].to_numpy(np.float64)


def as_plane(points: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Show points in the plane: as they are, as a strip, or by principal components.

    Parameters
    ----------
    points : pandas.DataFrame
        Points of one source.

    Returns
    -------
    (pandas.DataFrame, list of str)
        Columns u, v, component; and what u and v are. One coordinate gives a strip: v is
        uniform jitter without meaning, from a fixed seed.
    """
    x = coordinates(points)
    if x.shape[1] == 1:
        jitter = np.random.default_rng(0).uniform(-0.5, 0.5, len(x))
        plane, names = np.column_stack([x[:, 0], jitter]), ["code 1", ""]
    elif x.shape[1] == 2:
        plane, names = x, ["code 1", "code 2"]
    else:
        plane, share = _principal(x)
        names = [f"principal component {i + 1} ({share[i]:.0%})" for i in range(2)]
    frame = pd.DataFrame({"u": plane[:, 0], "v": plane[:, 1]})
    return frame.assign(component=points["component"].to_numpy()), names


def _principal(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project on the two leading principal components; give each one's share of variance."""
    centred = x - x.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    # A sign rule makes the picture independent of the linear-algebra library.
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    share = values**2 / max(float((values**2).sum()), np.finfo(float).tiny)
    return centred @ axes[:2].T, share


def tsne(points: pd.DataFrame, *, n_points: int = 400, seed: int = 0) -> pd.DataFrame:
    """Embed data, samples and codes by t-SNE.

    Data and samples share one embedding, so that their maps can be compared place by place;
    codes live in another space and get their own.

    Parameters
    ----------
    points : pandas.DataFrame
        Points of one trial.
    n_points : int
        Subsample of each source.
    seed : int

    Returns
    -------
    pandas.DataFrame
        source, u, v, component.

    References
    ----------
    van der Maaten and Hinton (2008), "Visualizing data using t-SNE",
    https://www.jmlr.org/papers/v9/vandermaaten08a.html
    """
    parts = []
    for sources in (["data", "samples"], ["codes"]):
        chosen = [
            group.sample(min(n_points, len(group)), random_state=seed)
            for name in sources
            if len(group := points[points["source"] == name])
        ]
        if chosen:
            parts.append(_embed(pd.concat(chosen, ignore_index=True), seed))
    return pd.concat(parts, ignore_index=True)


def _embed(chosen: pd.DataFrame, seed: int) -> pd.DataFrame:
    x = coordinates(chosen)
    perplexity = min(30.0, (len(x) - 1) / 3)
    # One coordinate has no second principal component to start from.
    init = "pca" if x.shape[1] > 1 else "random"
    model = TSNE(perplexity=perplexity, init=init, max_iter=500, random_state=seed)
    # Its threads wait for each other; on a busy machine one thread is several times faster.
    with threadpool_limits(1):
        plane = model.fit_transform(x)
    frame = chosen[["source", "component"]].reset_index(drop=True)
    return frame.assign(u=plane[:, 0].astype(float), v=plane[:, 1].astype(float))


def label_positions(plane: pd.DataFrame) -> pd.DataFrame:
    """Find where to write each component's number: the point nearest its median.

    Parameters
    ----------
    plane : pandas.DataFrame
        Columns u, v, component.

    Returns
    -------
    pandas.DataFrame
        u, v, component; one row for each component with at least 1 % of the points.
    """
    rows = []
    for component, group in plane.groupby("component"):
        if len(group) < 0.01 * len(plane):
            continue
        middle = group[["u", "v"]].median()
        distance = ((group[["u", "v"]] - middle) ** 2).sum(axis=1)
        nearest = group.iloc[int(np.argmin(distance.to_numpy()))]
        rows.append({"u": nearest["u"], "v": nearest["v"], "component": component})
    return pd.DataFrame(rows, columns=["u", "v", "component"])
