"""What counts is compiled beforehand, for the types that all calls have."""

import numpy as np

from study.detection.compiling import SIGNATURES, compile_detection, is_detection_compiled
from study.detection.modes import detect_modes


def test_counts_need_nothing_else() -> None:
    compile_detection()
    assert is_detection_compiled()
    rng = np.random.default_rng(0)
    for dim in (1, 3, 4):
        centres = rng.uniform(-10.0, 10.0, (3, dim))
        points = np.concatenate([centre + rng.normal(size=(60, dim)) for centre in centres])
        for protocol in ("original", "calibrated"):
            detect_modes(points, protocol=protocol, k_max=5)
    assert {function.__name__: len(function.signatures) for function in SIGNATURES} == {
        function.__name__: 1 for function in SIGNATURES
    }
