"""What a stack may use of its device, without one at hand."""

from __future__ import annotations

import pytest
import torch

from study.config import ResourcesConfig
from study.training.device import is_out_of_memory, require_memory, stack_memory_bytes


def test_a_stack_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 2 * 10**9))
    require_memory(700, 10**6, torch.device("cuda"))
    with pytest.raises(torch.OutOfMemoryError, match=r"900 models of 1\.0 MB.*1\.0 GB.*800 would"):
        require_memory(900, 10**6, torch.device("cuda"))
    require_memory(10**9, 10**6, torch.device("cpu"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), True),
        (RuntimeError("shapes"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_errors_that_a_smaller_stack_may_avoid(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_a_share_of_a_gpu_has_a_share_of_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stack_memory_bytes(ResourcesConfig()) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    properties = type("Properties", (), {"total_memory": 8 * 10**9})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    assert stack_memory_bytes(ResourcesConfig(gpus=0.25)) == 2 * 10**9
    assert stack_memory_bytes(ResourcesConfig(gpus=2)) == 8 * 10**9
    assert stack_memory_bytes(ResourcesConfig(device="cpu", gpus=1)) is None
