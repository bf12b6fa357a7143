import numpy as np
import pytest

from study.endpoints.design import fewest_data_seeds, smallest_p


def test_smallest_p_is_that_of_two_patterns() -> None:
    np.testing.assert_allclose(smallest_p([2, 5, 10]), [1 / 2, 1 / 16, 1 / 512])


@pytest.mark.parametrize("alpha", [0.5, 0.25, 0.1, 0.05, 0.01, 0.001])
def test_fewest_data_seeds_are_the_fewest(alpha: float) -> None:
    n = fewest_data_seeds(alpha)
    assert smallest_p(n) <= alpha < smallest_p(n - 1)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, float("nan")])
def test_levels_outside_their_range_are_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must be in"):
        fewest_data_seeds(alpha)
