"""EM: from the truth it misses what estimation costs, p / 2n, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from study.config import MixtureConfig, TrainingConfig, load_sweep
from study.config.yaml_source import SweepError
from study.data.data_set import draw_data_set
from study.training.generators import Seeds, fit_generator
from study.training.kinds.em import EM, EMOptions


@pytest.mark.slow
def test_from_the_truth_the_forward_kl_is_half_the_parameters_over_n() -> None:
    kls = []
    mixture = MixtureConfig(n_components=10, dim=3, n_samples=10_000, alpha=100)
    for seed in range(12):
        data = draw_data_set(mixture, seed, 5000)
        options = EMOptions(n_components="truth")
        seeds = Seeds(data=seed, init=0)
        state = fit_generator(EM, data, seeds, options, TrainingConfig())
        gap = EM.log_prob(state, data.heldout) - data.truth.log_prob(data.heldout)
        # Its mean is the KL, since both densities integrate to 1, with a far smaller error.
        kls.append(np.mean(np.exp(gap) - 1 - gap))
    error = np.std(kls, ddof=1) / np.sqrt(len(kls))
    # 4 standard errors, and 3 % for the terms of order 1 / n^2.
    assert abs(np.mean(kls) - 99 / 20_000) < 4 * error + 0.03 * 0.00495
    assert error < 3e-4


def test_starts_are_refused_where_em_starts_at_the_truth(tmp_path: Path) -> None:
    file = tmp_path / "em.yaml"
    file.write_text(
        "name: em\nfixed: {model.kind: em, em.n_components: truth}\ngrid: {em.starts: [1, 2]}\n"
    )
    with pytest.raises(SweepError, match=r"em.yaml:3: em.starts: must be 1 with em.n_components"):
        load_sweep(file)
    file.write_text("name: em\nfixed: {model.kind: em}\ngrid: {em.n_components: [truth, 3]}\n")
    (first, second) = load_sweep(file).cells()
    assert (first.columns["em_start"], first.columns["em_n_components"]) == ("truth", None)
    assert (second.columns["em_start"], second.columns["em_n_components"]) == ("kmeans", 3)
