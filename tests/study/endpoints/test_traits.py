import numpy as np

from study.config import MixtureConfig
from study.data.mixture import TrueMixture, draw_mixture
from study.endpoints.traits import component_traits, recipe_traits


def test_separation_is_to_the_nearest_in_their_common_spread() -> None:
    truth = TrueMixture(
        weights=np.array([0.5, 0.3, 0.2]),
        means=np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 8.0]]),
        variances=np.array([[1.0, 4.0], [2.0, 4.0], [1.0, 4.0]]),
    )
    traits = component_traits(truth)
    np.testing.assert_allclose(traits.separation, [3 / np.sqrt(1.5), 3 / np.sqrt(1.5), 4.0])
    np.testing.assert_allclose(traits.variance, [2.0, np.sqrt(8), 2.0])


def test_units_do_not_matter() -> None:
    truth = draw_mixture(MixtureConfig(), 3)
    scaled = TrueMixture(
        weights=truth.weights, means=7 * truth.means, variances=49 * truth.variances
    )
    np.testing.assert_allclose(
        component_traits(truth).separation, component_traits(scaled).separation
    )


def test_a_recipe_draws_what_its_trials_were_trained_on() -> None:
    traits = recipe_traits(
        n_components=10, dim=3, half_width=10.0, variance=(0.5, 2.0), alpha=1.0, data_seed=4
    )
    np.testing.assert_array_equal(traits.weight, draw_mixture(MixtureConfig(), 4).weights)


def test_one_component_is_as_far_as_can_be() -> None:
    truth = TrueMixture(weights=np.ones(1), means=np.zeros((1, 2)), variances=np.ones((1, 2)))
    assert np.isinf(component_traits(truth).separation).all()
