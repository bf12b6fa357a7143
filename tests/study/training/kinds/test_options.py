"""Options of the built-in generators: what an old id means, and what is refused."""

from __future__ import annotations

from study.config import all_fields
from study.plugins import GENERATORS


def test_defaults() -> None:
    """A change here changes what old ids mean: raise the training's version."""
    fields = {
        path: field.default for path, field in all_fields().items() if field.section in GENERATORS
    }
    assert fields == {
        "em.n_components": 10,
        "em.starts": 1,
        "ppca.latent_dim": 2,
        "kde.bandwidth": 1.0,
        "exact_score.steps": 50,
        "diffusion.steps": 100,
        "diffusion.beta_first": 1e-3,
        "diffusion.beta_last": 0.2,
        "diffusion.hidden": (128, 128, 128),
        "flow_matching.steps": 50,
        "flow_matching.hidden": (128, 128, 128),
        "gan.latent_dim": 2,
        "gan.hidden": (128, 128),
        "gan.critic_hidden": (64, 64),
        "gan.maxout": 5,
        "gan.packing": 1,
        "gan.beta1": 0.8,
        "flow.architecture": "nsf",
        "flow.transforms": 3,
        "flow.bins": 8,
        "flow.hidden": (64, 64),
    }


def test_every_kind_has_a_place_in_the_estimate_and_an_english_description() -> None:
    for name, generator in GENERATORS.items():
        assert generator.__class__.__doc__, name
        assert set(generator.reads) <= {
            field.leaf for field in all_fields().values() if field.section == "training"
        }
