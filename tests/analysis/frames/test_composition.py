"""Parts of k*: they add up, by quality where rows have it and by the cut where not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.figures.composition import caption
from analysis.frames import composition
from analysis.load import Results


def test_parts_add_up_with_and_without_the_cut(results: Results) -> None:
    older = replace(results, trials=results.trials.assign(bridge_sum=float("nan")))
    for each, has_cut in ((results, False), (older, True)):
        assert composition.has_cut(each) is has_cut
        frame = composition.composition_by_trial(each)
        np.testing.assert_allclose(frame[list(composition.PARTS)].sum(axis=1), frame["k"])
        text = caption(each, composition.composition_by_cell(each))
        assert ("less than half" in text) is has_cut
    whole, cut = (composition.composition_by_trial(each) for each in (results, older))
    np.testing.assert_allclose(whole["bridges"] - cut["bridges"], 0.5)
    np.testing.assert_allclose(whole["fragments"] - cut["fragments"], -0.25)
