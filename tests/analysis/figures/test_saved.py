import io
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.figures import theme
from analysis.figures.registry import FIGURES
from analysis.figures.saved import save_figure
from analysis.load import Results


def test_few_colours_look_like_all(results: Results, tmp_path: Path) -> None:
    """The figure with most colours: heat maps, their scale and text on them."""
    with theme.style():
        drawn = FIGURES["agreement"].draw(results)
        full = io.BytesIO()
        drawn.figure.savefig(full, format="png")
        path = save_figure(drawn, tmp_path / "agreement", results)
    with Image.open(path) as small, Image.open(full) as exact:
        assert len(small.getcolors()) <= 256
        assert small.info["dpi"] == exact.info["dpi"]
        off = np.abs(
            np.asarray(small.convert("RGB"), float) - np.asarray(exact.convert("RGB"), float)
        )
    assert path.stat().st_size < 0.6 * len(full.getvalue())
    assert off.mean() < 0.5
    assert np.quantile(off, 0.999) < 25
