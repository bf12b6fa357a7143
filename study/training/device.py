"""What a stack may use of its device."""

from __future__ import annotations

import torch

from study.config import ResourcesConfig
from study.training.memory import models_that_fit


def stack_memory_bytes(resources: ResourcesConfig) -> int | None:
    """Return the memory that one stack has on this machine's GPU.

    Parameters
    ----------
    resources : ResourcesConfig
        Stacks share a GPU if each takes a part of one.

    Returns
    -------
    int or None
        None on a CPU, or where this machine has no GPU to ask.
    """
    if resources.torch_device == "cpu" or not torch.cuda.is_available():
        return None
    total: int = torch.cuda.get_device_properties(0).total_memory
    return int(total * min(1.0, resources.gpus or 1.0))


def require_memory(n_models: int, needed_bytes: int, device: torch.device) -> None:
    """Refuse a stack that would not fit, before any of it is built.

    Parameters
    ----------
    n_models : int
    needed_bytes : int
        By one model.
    device : torch.device
        A CPU is never refused: its memory can be lent out twice.

    Raises
    ------
    torch.OutOfMemoryError
        If the device has no room for this many models; half of them may fit.
    """
    if device.type == "cpu":
        return
    free_bytes, _ = torch.cuda.mem_get_info(device)
    fitting = models_that_fit(needed_bytes, free_bytes)
    if n_models > fitting:
        raise torch.OutOfMemoryError(
            f"{n_models} models of {needed_bytes / 1e6:.1f} MB do not fit into the "
            f"{free_bytes / 1e9:.1f} GB that are free; {fitting} would: lower resources.stack_size"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a smaller stack might not raise this error.

    Parameters
    ----------
    error : BaseException
        PyTorch's CPU allocator raises a plain RuntimeError, known by its text.
    """
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
