"""Figures; matplotlib is there before any of these modules asks for it.

matplotlib refuses to be imported under settings of its user that it cannot read, such as the
backend that a notebook hands to its child processes. The figures depend on none of these settings
(`theme.style`), so it is then imported without them.
"""

import importlib
import os
import sys
import tempfile


def _import_matplotlib() -> None:
    try:
        importlib.import_module("matplotlib.pyplot")
    except (ValueError, ImportError, OSError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]
        _import_without_settings()


def _import_without_settings() -> None:
    """Import it as if its user had no settings; the environment is as before afterwards."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="matplotlib-") as empty:
        os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull, "MPLCONFIGDIR": empty}
        try:
            importlib.import_module("matplotlib.pyplot")
        finally:
            os.environ.clear()
            os.environ.update(before)


_import_matplotlib()
