"""The benchmark of measuring goes through every part and its shares add up."""

from __future__ import annotations

import pytest

from benchmarks.scoring import measure


@pytest.mark.slow
def test_shares_of_a_small_run_add_up() -> None:
    rows = {row["name"]: row for row in measure(latent_dims=(2,), n_models=1, n_epochs=1)}
    assert rows["q=2 total"]["ratio"] == 1.0
    both = rows["q=2 training"]["ratio"] + rows["q=2 measuring"]["ratio"]
    assert both == pytest.approx(1.0, abs=2e-3)
    assert rows["once a mixture, null models"]["value"] > 0
