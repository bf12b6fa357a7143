"""Sweeps of generative models on Gaussian mixtures, and the modes that are counted in them.

`import study` is quick: a name loads what it needs when it is first used, so that neither torch
nor Ray is imported before something asks for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.opened import open_results as open
    from study.config import load_sweep as load_sweep
    from study.detection.estimator import ModeSearch as ModeSearch
    from study.detection.modes import detect_modes as detect_modes
    from study.measuring.measure import measure_points as measure_points
    from study.sweep import run_sweep as run_sweep

# Name: the module that defines it, and its name there. The only way from here to `analysis`.
_NAMES = {
    "ModeSearch": ("study.detection.estimator", "ModeSearch"),
    "detect_modes": ("study.detection.modes", "detect_modes"),
    "load_sweep": ("study.config", "load_sweep"),
    "measure_points": ("study.measuring.measure", "measure_points"),
    "open": ("analysis.opened", "open_results"),
    "run_sweep": ("study.sweep", "run_sweep"),
}
__all__ = ["ModeSearch", "detect_modes", "load_sweep", "measure_points", "open", "run_sweep"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _NAMES:
        raise AttributeError(f"module 'study' has no attribute {name!r}")
    module, defined = _NAMES[name]
    return getattr(importlib.import_module(module), defined)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
