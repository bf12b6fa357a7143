"""Compiling what counts, once per machine and user, before the first count.

`python -m study.detection.compiling` does it in two processes; whoever wants it meanwhile shares
the work. Nothing is done where an earlier run, of whatever copy of the code, has done it.
"""

from __future__ import annotations

import os
from functools import cache, partial
from pathlib import Path
from typing import Any

from numba import float64, int64

from study.detection.compiled import em, merge_costs, split
from study.training.compiled_cache import are_compiled, compile_parts

_PACKAGE = Path(em.__file__).parent
_VECTOR, _MATRIX, _BLOCKS = float64[::1], float64[:, ::1], float64[:, :, ::1]
_MIXTURE = (_VECTOR, _MATRIX, _BLOCKS)
_CLOUD = (_BLOCKS, _BLOCKS, int64)
# The arguments of every compiled function; all calls have these types.
SIGNATURES: dict[Any, tuple[Any, ...]] = {
    em.climb: (*_CLOUD, *_MIXTURE, float64, float64, int64, float64, int64, float64),
    em.score: (*_CLOUD, *_MIXTURE),
    em.judge: (*_CLOUD, *_MIXTURE, _VECTOR, int64[::1], _VECTOR),
    split.grow_parts: (_MATRIX, _MATRIX, int64, float64, _VECTOR),
    merge_costs.cost_matrix: (*_MIXTURE, float64),
}
# What shares its inner functions is compiled together: the first takes half of the time or more.
_PARTS = {
    "mixtures": (em.climb, em.score, em.judge),
    "splits": (split.grow_parts, merge_costs.cost_matrix),
}


@cache
def compile_detection() -> None:
    """Compile what counts, or wait until another process of this machine has done so."""
    compile_parts(_PACKAGE, {name: partial(_compile, part) for name, part in _PARTS.items()})


def is_detection_compiled() -> bool:
    """Return whether the first count of a new process waits for no compiler."""
    return are_compiled(_PACKAGE, _PARTS)


def _compile(functions: tuple[Any, ...]) -> None:
    for function in functions:
        function.compile(SIGNATURES[function])


def _main() -> None:
    """Compile in two processes, which end together with their session."""
    if is_detection_compiled():
        return
    child = os.fork()
    compile_detection()
    if child:
        os.waitpid(child, 0)


if __name__ == "__main__":
    _main()
