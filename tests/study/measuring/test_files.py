"""Files of points: every format gives the same points, and wrong ones one line with the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.measuring import files
from study.measuring.files import PointsError, check_cloud, read_points

POINTS = np.random.default_rng(0).standard_normal((30, 2))


def write_csv(path: Path, points: np.ndarray, *, header: bool = True) -> Path:
    pd.DataFrame(points, columns=["x", "y"]).to_csv(path, index=False, header=header)
    return path


def test_every_format_gives_the_same_points(tmp_path: Path) -> None:
    frame = pd.DataFrame(POINTS, columns=["x", "y"])
    np.save(tmp_path / "a.npy", POINTS)
    np.savez(tmp_path / "b.npz", POINTS)
    np.savez(tmp_path / "c.npz", samples=POINTS, labels=np.arange(30))
    frame.to_parquet(tmp_path / "d.parquet")
    frame.to_feather(tmp_path / "e.feather")
    write_csv(tmp_path / "f.csv", POINTS)
    write_csv(tmp_path / "g.csv", POINTS, header=False)
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_allclose(read_points(path), POINTS, err_msg=path.name, atol=1e-12)
    np.save(tmp_path / "h.npy", POINTS.astype(np.float32))
    assert read_points(tmp_path / "h.npy").dtype == np.float64


class Harmful:
    """What an unpickled file could do."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (pytest.fail, ("a file of points was executed",))


def spoil(kind: str, folder: Path) -> Path:
    """Write a file that cannot be measured."""
    path = folder / f"{kind}.npy"
    if kind == "pickled":
        np.save(path, np.array([Harmful()] * 30, dtype=object), allow_pickle=True)
    elif kind == "nan":
        np.save(path, np.where(np.arange(30)[:, None] == 3, np.nan, POINTS))
    elif kind == "flat":
        np.save(path, POINTS[:, 0])
    elif kind == "empty":
        np.save(path, POINTS[:0])
    elif kind == "complex":
        np.save(path, POINTS.astype(complex))
    elif kind == "garbage":
        path.write_bytes(b"no array")
    elif kind == "text":
        path = folder / "text.csv"
        pd.DataFrame({"x": POINTS[:, 0], "colour": "red"}).to_csv(path, index=False)
    elif kind == "blank":
        path = folder / "blank.csv"
        path.write_text("")
    elif kind == "several":
        path = folder / "several.npz"
        np.savez(path, a=POINTS, b=POINTS)
    elif kind == "suffix":
        path = folder / "points.pkl"
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pickled", "holds pickled objects, which are never loaded"),
        ("nan", r"1 of 30 points hold NaN or infinity \(first in row 3\); remove them"),
        ("flat", r"must have shape .*; found \(30,\); for one dimension save points\[:, None\]"),
        ("empty", "must have at least 20 points .* found 0 in 2"),
        ("complex", "must hold real numbers; found complex128"),
        ("garbage", "cannot be read"),
        ("text", r"column 'colour' must hold numbers; found 'red'; remove it"),
        ("blank", "cannot be read: No columns"),
        ("several", "holds the arrays 'a', 'b'; one must be alone or called 'points'"),
        ("suffix", r"must be one of .npy, .npz, .csv, .parquet, .feather"),
        ("absent", "cannot be read: .*No such file"),
    ],
)
def test_what_cannot_be_measured_is_one_line(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(PointsError, match=message) as raised:
        read_points(spoil(kind, tmp_path))
    assert "\n" not in str(raised.value)


def test_a_large_file_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", POINTS)
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    monkeypatch.setattr(np, "load", lambda *_: pytest.fail("it was read"))
    with pytest.raises(PointsError, match=r"0\.0 GB; at most .* write every tenth point"):
        read_points(tmp_path / "a.npy")


def test_frames_and_lists_are_points() -> None:
    np.testing.assert_array_equal(check_cloud(pd.DataFrame(POINTS), "frame"), POINTS)
    np.testing.assert_array_equal(check_cloud(POINTS.tolist(), "list"), POINTS)
    with pytest.raises(PointsError, match="must have at least 20 points in 1 to 256 dimensions"):
        check_cloud(np.zeros((30, 300)), "wide")
