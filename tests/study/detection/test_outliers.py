"""Points that a mixture leaves out are found, with what they are worth."""

from __future__ import annotations

import numpy as np
import pytest

from study.detection.cloud import Cloud, Mixture, pseudo_count_of
from study.detection.moves import add_component
from study.detection.outliers import outlier_components


def test_outlier_component_is_found() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(2000, 2)), rng.normal(12, 0.5, (6, 2))])
    cloud = Cloud(points, pseudo_count=pseudo_count_of(len(points)))
    one = Mixture(np.ones(1), -cloud.centre[None], np.eye(2)[None])
    gain, addition = outlier_components(cloud, one)[0]
    np.testing.assert_allclose(addition.means[0] + cloud.centre, 12, atol=1.0)
    after = cloud.score(add_component(one, addition)).objective
    assert after - cloud.score(one).objective == pytest.approx(gain, rel=0.02)
