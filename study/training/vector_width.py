"""The width of the vectors in what numba compiles.

LLVM keeps to 256 bits on Intel's processors even where they have 512: older ones lowered their
clock for wider vectors. PyTorch's products use 512 bits in the same process, so that clock is paid
for already, and an iteration of EM is a fifth quicker with them.
"""

from __future__ import annotations

from numba.core import config
from numba.core.codegen import get_host_cpu_features


def prefer_wide_vectors() -> None:
    """Let numba use the widest vectors of the processor, unless it is told which to use.

    It must run before the first function of the process is declared to numba: later it does
    nothing, and the last digits of sums are those of narrower vectors.
    """
    if config.CPU_NAME is not None or config.CPU_FEATURES is not None:
        return
    features = get_host_cpu_features()
    if "+avx512f" in features.split(","):
        config.CPU_FEATURES = f"{features},-prefer-256-bit"
