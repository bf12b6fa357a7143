"""Random streams: determined by purpose and seeds alone, and independent."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from study.data.seeds import PURPOSES, numpy_generator, seed_sequence, torch_generator


def test_same_purpose_and_seeds_give_the_same_stream() -> None:
    first = numpy_generator("heldout", 4).standard_normal(5)
    again = numpy_generator("heldout", 4).standard_normal(5)
    np.testing.assert_array_equal(first, again)


def test_every_purpose_and_seed_has_its_own_stream() -> None:
    names = [(purpose, i, j) for purpose in PURPOSES for i in range(5) for j in range(5)]
    starts = {tuple(numpy_generator(p, i, j).integers(0, 2**63, 2)) for p, i, j in names}
    assert len(starts) == len(names)


def test_streams_are_uncorrelated() -> None:
    # 55 correlations of 4,000 pairs: |r| > 4.5 / sqrt(4000) by chance with probability 4e-4.
    draws = np.stack([numpy_generator(p, 0, 0).standard_normal(4000) for p in PURPOSES])
    off_diagonal = np.corrcoef(draws) - np.eye(len(PURPOSES))
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(4000)


def test_an_index_more_is_another_stream() -> None:
    assert seed_sequence("prior", 1).spawn_key != seed_sequence("prior", 1, 0).spawn_key


def test_streams_ignore_global_random_state() -> None:
    torch.manual_seed(0)
    first = torch.randn(4, generator=torch_generator("noise", 1, 2))
    torch.manual_seed(1)
    again = torch.randn(4, generator=torch_generator("noise", 1, 2))
    assert torch.equal(first, again)


def test_streams_are_frozen() -> None:
    """Stored results name their seeds: changing what a seed draws would orphan them."""
    assert numpy_generator("mixture", 0).integers(0, 1000, 3).tolist() == [532, 430, 680]
    assert torch_generator("noise", 0, 0).initial_seed() == 10_631_434_978_236_944_593


def test_unknown_purpose_is_refused() -> None:
    with pytest.raises(ValueError, match="purpose must be one of mixture"):
        seed_sequence("training", 0)  # type: ignore[arg-type]


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        seed_sequence("init", -1)
