"""Kinds of processors: what rows call theirs, and whether two of them run the same code.

A row names the processor as it calls itself and, in brackets, as LLVM names its kind, because a
brand name can stand for several kinds: "AMD EPYC (znver3)". Settings that choose other code than
the processor's own follow in the same brackets: "AMD EPYC (znver3; NUMBA_CPU_NAME=haswell)". Rows
made before the brackets were introduced have the brand name alone.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Settings by which numba, PyTorch, its libraries and NumPy's are told to use other code.
CODE_SETTINGS = (
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "ATEN_CPU_CAPABILITY",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)
_VENDORS = ("AMD", "Intel", "ARM", "Apple", "Ampere", "Neoverse")
# What a row says comes from a file: nothing else reaches an environment.
_VALUE = re.compile(r"[\w.,+-]{1,2000}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A kind of processor, and the code that ran on it.

    Parameters
    ----------
    vendor : str
    kind : str
        As LLVM names it; empty if the row does not say.
    settings : tuple of (str, str)
        Of `CODE_SETTINGS`, those that were set.
    """

    vendor: str
    kind: str
    settings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Processor:
        """Read what a row says.

        Examples
        --------
        >>> Processor.parse("AMD EPYC (znver3)").is_like(Processor.parse("AMD EPYC 7763 (znver3)"))
        True
        >>> Processor.parse("AMD EPYC").kind
        ''
        """
        brand, bracket, rest = text.rpartition(" (")
        if not bracket or not rest.endswith(")"):
            return cls(vendor=_vendor(text), kind="")
        kind, *words = rest[:-1].replace(";", " ").split()[:10] or [""]
        pairs = (word.partition("=")[::2] for word in words)
        settings = {
            name: value
            for name, value in pairs
            if name in CODE_SETTINGS and _VALUE.fullmatch(value)
        }
        return cls(vendor=_vendor(brand), kind=kind, settings=tuple(sorted(settings.items())))

    def is_like(self, other: Processor) -> bool:
        """Return whether both are known to be of one kind, whatever the settings."""
        return bool(self.kind) and (self.vendor, self.kind) == (other.vendor, other.kind)

    def runs_the_code_of(self, other: Processor) -> bool:
        """Return whether both are known to run the same code: the same kind and settings."""
        return self.is_like(other) and self.settings == other.settings


def _vendor(brand: str) -> str:
    named = (vendor for vendor in _VENDORS if vendor.lower() in brand.lower())
    return next(named, brand.split(" ")[0])


def code_settings(kind: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that choose other code than a kind of processor's own."""
    found = {name: environ[name] for name in CODE_SETTINGS if environ.get(name)}
    if found.get("NUMBA_CPU_NAME") == kind:
        del found["NUMBA_CPU_NAME"]
    return found


def cpu_model() -> str:
    """Return the processor's name, its kind and what chooses other code, as rows have it."""
    # Not at the top: results are read where nothing is installed that makes any.
    import llvmlite.binding

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    kind = llvmlite.binding.get_host_cpu_name()
    settings = code_settings(kind, os.environ)
    words = "; ".join([kind, *(f"{key}={value}" for key, value in settings.items())])
    return f"{name} ({words})"
