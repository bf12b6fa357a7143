import numpy as np
import pytest

from study.data.moments import mixture_covariance


def test_covariance_of_two_components_by_hand() -> None:
    means = np.array([[-1.0, 0.0], [3.0, 0.0]])
    variances = np.array([[0.5, 1.0], [1.5, 2.0]])
    weights = np.array([0.75, 0.25])
    # Between: 16 w (1 - w) on the first axis; within: the mean variance.
    assert mixture_covariance(means, variances, weights) == pytest.approx(
        np.diag([3.0 + 0.75, 1.25])
    )
