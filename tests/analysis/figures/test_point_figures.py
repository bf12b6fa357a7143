import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.figures import latent_plane, point_marks, tsne
from analysis.figures.points import plot_points_3d
from analysis.frames import embed
from analysis.load import Results


@pytest.fixture(scope="module")
def points(results: Results) -> pd.DataFrame:
    """One trial's gallery: 400 points of each source, ten components."""
    trial = results.trials.query("latent_dim == 2")["trial_id"].iloc[0]
    return results.points[results.points["trial_id"] == trial]


def test_points_in_three_dimensions(points: pd.DataFrame) -> None:
    ax = Figure().add_subplot(projection="3d")
    limits = [(-30.0, 30.0)] * 3
    plot_points_3d(points, source="samples", limits=limits, ax=ax)
    # matplotlib sorts the colours by depth when it draws.
    ax.figure.draw_without_rendering()
    cloud = ax.collections[0]
    assert len(cloud.get_facecolor()) == 400
    assert cloud.get_rasterized()
    assert (ax.get_xlim3d(), ax.get_zlim3d()) == ((-30, 30), (-30, 30))
    assert (ax.elev, ax.azim) == (22, -60)


def test_latent_plane_has_equal_units(points: pd.DataFrame) -> None:
    plane, names = embed.as_plane(points[points["source"] == "codes"])
    ax = Figure().subplots()
    labels = embed.label_positions(plane)
    latent_plane.plot_latent_plane(plane, labels=labels, names=names, ax=ax)
    assert ax.get_aspect() == 1
    assert {text.get_text() for text in ax.texts} == {str(c + 1) for c in labels["component"]}


def test_one_code_is_a_strip_without_height() -> None:
    codes = pd.DataFrame({"x0": [0.0, 1.0, 2.0], "component": [0, 1, 1]})
    codes = codes.assign(x1=np.nan, x2=np.nan, x3=np.nan)
    plane, names = embed.as_plane(codes)
    assert list(plane["u"]) == [0, 1, 2]
    assert names == ["code 1", ""]
    ax = Figure().subplots()
    latent_plane.plot_latent_plane(plane, names=names, ax=ax)
    assert len(ax.get_yticks()) == 0


def test_principal_components_of_wide_codes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4)) * [1, 5, 3, 0.1]
    codes = pd.DataFrame(x, columns=["x0", "x1", "x2", "x3"]).assign(component=0)
    plane, names = embed.as_plane(codes)
    assert abs(np.corrcoef(plane["u"], codes["x1"])[0, 1]) > 0.99
    assert abs(np.corrcoef(plane["v"], codes["x2"])[0, 1]) > 0.99
    assert names[0].startswith("principal component 1 (68%")


def test_tsne_separates_far_clusters_and_repeats() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[-20.0, 0, 0], [20.0, 0, 0]])
    labels = rng.integers(0, 2, 60)
    frame = pd.DataFrame(centres[labels] + rng.normal(size=(60, 3)), columns=["x0", "x1", "x2"])
    points = frame.assign(x3=np.nan, component=labels, source=["data", "samples"] * 30)
    first = embed.tsne(points)
    assert first.equals(embed.tsne(points))
    middles = first.groupby("component")[["u", "v"]].mean()
    spread = first.groupby("component")[["u", "v"]].std().to_numpy().max()
    assert np.linalg.norm(middles.iloc[0] - middles.iloc[1]) > 2 * spread


def test_tsne_of_one_code() -> None:
    codes = pd.DataFrame({"x0": np.linspace(-1, 1, 30), "component": 0, "source": "codes"})
    frame = embed.tsne(codes.assign(x1=np.nan, x2=np.nan, x3=np.nan))
    assert len(frame) == 30
    assert np.isfinite(frame[["u", "v"]].to_numpy()).all()


def test_tsne_shows_one_source(points: pd.DataFrame) -> None:
    frame = pd.DataFrame(
        {"source": ["data", "data", "codes"], "u": [0.0, 1, 2], "v": 0.0, "component": [0, 1, 0]}
    )
    ax = Figure().subplots()
    tsne.plot_tsne(frame, source="data", limits=[(-3, 3), (-2, 2)], ax=ax)
    assert len(ax.collections[0].get_offsets()) == 2
    assert (ax.get_xlim(), ax.get_ylim()) == ((-3, 3), (-2, 2))
    assert len(ax.get_xticks()) == 0


def test_labels_stand_on_points_of_their_component(points: pd.DataFrame) -> None:
    plane, _ = embed.as_plane(points[points["source"] == "codes"])
    labels = embed.label_positions(plane)
    merged = labels.merge(plane, on=["u", "v", "component"])
    assert len(merged) >= len(labels) > 3


def test_points_without_a_component_are_grey() -> None:
    frame = pd.DataFrame({"u": [0.0], "v": [0.0], "component": pd.array([None], dtype="Int64")})
    ax = Figure().subplots()
    point_marks.plot_plane(frame, ax=ax)
    red, green, blue, _ = ax.collections[0].get_facecolor()[0]
    assert red == green == blue
