"""Files of points: read without executing anything in them, refused in one line.

`.npy`, `.npz`, `.csv`, `.parquet` and `.feather`; a point per row, a coordinate per column.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MIN_POINTS = 20
MAX_DIM = 256
MAX_BYTES = 4 * 2**30
READABLE = (".npy", ".npz", ".csv", ".parquet", ".feather")
# Names of the array that is meant where an .npz holds several.
_POINT_ARRAYS = ("points", "samples")


class PointsError(ValueError):
    """Points that cannot be measured; the message names them and the remedy, in one line."""


def read_points(path: str | Path) -> np.ndarray:
    """Read a file of points.

    Parameters
    ----------
    path : path

    Returns
    -------
    ndarray of shape (n_points, n_features)
        float64 and finite.

    Raises
    ------
    PointsError
        The file cannot be read, is too large, or does not hold points.
    """
    path = Path(path)
    if path.suffix.lower() not in READABLE:
        raise PointsError(f"{path}: must be one of {', '.join(READABLE)}")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise PointsError(
                f"{path}: {size / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:.1f} GB are read: "
                "write every tenth point, or fewer, to a file of its own"
            )
        found = _READERS[path.suffix.lower()](path)
    except PointsError:
        raise
    except (OSError, ValueError, EOFError, KeyError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "allow_pickle" in why or "pickle" in why.lower():
            why = "holds pickled objects, which are never loaded; save a plain array of numbers"
        raise PointsError(f"{path}: cannot be read: {why}") from None
    return check_cloud(found, str(path))


def check_cloud(points: Any, name: str) -> np.ndarray:
    """Return points as float64, or say in one line what is wrong with them.

    Parameters
    ----------
    points : array-like or data frame
    name : str
        What the message calls them.

    Raises
    ------
    PointsError
        They are not a finite array of numbers with two axes, or are too few.
    """
    columns = getattr(points, "columns", None)
    if columns is not None:
        _check_columns(points, name)
    array = np.asarray(points)
    if array.dtype.kind not in "fiu":
        raise PointsError(f"{name}: must hold real numbers; found {array.dtype}")
    if array.ndim != 2:
        hint = "; for one dimension save points[:, None]" if array.ndim == 1 else ""
        raise PointsError(
            f"{name}: must have shape (n_points, n_features); found {array.shape}{hint}"
        )
    if array.shape[0] < MIN_POINTS or not 1 <= array.shape[1] <= MAX_DIM:
        raise PointsError(
            f"{name}: must have at least {MIN_POINTS} points in 1 to {MAX_DIM} dimensions, a "
            f"point per row; found {array.shape[0]:,} in {array.shape[1]:,}"
        )
    array = array.astype(np.float64, copy=False)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise PointsError(
            f"{name}: {bad.size:,} of {len(array):,} points hold NaN or infinity (first in row "
            f"{bad[0]}); remove them, and report how many there were"
        )
    return array


def _check_columns(frame: pd.DataFrame, name: str) -> None:
    strange = [column for column in frame if frame[column].dtype.kind not in "fiu"]
    if strange:
        value = frame[strange[0]].iloc[0] if len(frame) else ""
        raise PointsError(
            f"{name}: column {strange[0]!r} must hold numbers; found {str(value)[:40]!r}; remove "
            "it: every column is a coordinate"
        )


def _read_npy(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)


def _read_npz(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as held:
        names = held.files
        known = [name for name in _POINT_ARRAYS if name in names]
        if len(names) != 1 and not known:
            raise PointsError(
                f"{path}: holds the arrays {', '.join(map(repr, names)) or 'none'}; one must be "
                "alone or called 'points' or 'samples'"
            )
        array: np.ndarray = held[known[0] if known else names[0]]
        return array


def _read_csv(path: Path) -> Any:
    import pandas as pd

    frame = pd.read_csv(path)
    # A file without a head: what was taken for names are numbers.
    if len(frame.columns) and all(_is_number(name) for name in frame.columns):
        frame = pd.read_csv(path, header=None)
    return frame


def _read_parquet(path: Path) -> Any:
    import pandas as pd

    return pd.read_parquet(path)


def _read_feather(path: Path) -> Any:
    import pandas as pd

    return pd.read_feather(path)


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True


_READERS = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".feather": _read_feather,
}
