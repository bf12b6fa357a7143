"""Independent random streams: one for each purpose and set of seeds, derived from one root.

A stream depends on its purpose and its seeds alone, never on the order in which trials run or on
the stack a trial is in. Every draw in the project takes its generator from here.

The seeds that name a stream, by purpose:

- ``mixture``, ``training_points``, ``heldout``, ``control``: (data_seed,);
- ``init``, ``shuffle``, ``noise``: (data_seed, init_seed);
- ``importance``: (data_seed, init_seed, which batch of points);
- ``prior``, ``sample_noise``: (data_seed, init_seed, sample_seed);
- ``classifier``: whatever its caller scores;
- ``null``: (data_seed, which null model);
- ``fit``: (data_seed, init_seed), and ``draw``: (data_seed, init_seed, sample_seed, which point
  set), of generators other than the autoencoder;
- ``sampler``: (data_seed, init_seed, sample_seed), of latents that no prior gives;
- ``endpoint``: (data_seed, init_seed, sample_seed), of endpoints that plug-ins compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    import torch

Purpose = Literal[
    "mixture",
    "training_points",
    "heldout",
    "control",
    "init",
    "shuffle",
    "noise",
    "prior",
    "sample_noise",
    "importance",
    "classifier",
    "null",
    "fit",
    "draw",
    "endpoint",
    "sampler",
]

# The position of a purpose is part of its streams: append new ones, never reorder.
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
ROOT_ENTROPY = 20_240_513


def seed_sequence(purpose: Purpose, *indices: int) -> np.random.SeedSequence:
    """Return the seed sequence of one purpose and its seeds.

    Parameters
    ----------
    purpose : str
        What the stream is for; one of `PURPOSES`.
    *indices : int
        The seeds that name the stream, each at least 0.

    Returns
    -------
    numpy.random.SeedSequence
        Streams with different purposes or indices are independent.

    Raises
    ------
    ValueError
        If the purpose is unknown or an index is negative.

    Examples
    --------
    >>> seed_sequence("noise", 3, 1).spawn_key
    (6, 3, 1)
    """
    if purpose not in PURPOSES:
        raise ValueError(f"purpose must be one of {', '.join(PURPOSES)}; got {purpose!r}")
    if any(index < 0 for index in indices):
        raise ValueError(f"seeds must be at least 0; got {indices} for the {purpose} stream")
    spawn_key = (PURPOSES.index(purpose), *(int(index) for index in indices))
    return np.random.SeedSequence(entropy=ROOT_ENTROPY, spawn_key=spawn_key)


def numpy_generator(purpose: Purpose, *indices: int) -> np.random.Generator:
    """Return a fresh NumPy generator at the start of a stream.

    Parameters
    ----------
    purpose, *indices
        As in `seed_sequence`.

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.default_rng(seed_sequence(purpose, *indices))


def torch_generator(
    purpose: Purpose, *indices: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a fresh PyTorch generator at the start of a stream.

    Torch's CPU generator keeps 32 bits of its seed, so among 10,000 streams two coincide with
    probability 1 %. They then belong to unrelated trials, which biases nothing.

    Parameters
    ----------
    purpose, *indices
        As in `seed_sequence`.
    device : torch.device or str
        Where the generator draws. CPU and CUDA draw different numbers from one seed.

    Returns
    -------
    torch.Generator
    """
    # Not at the top: data are drawn where nothing is trained, too.
    import torch

    generator = torch.Generator(device=device)
    seed = seed_sequence(purpose, *indices).generate_state(1, np.uint64)[0]
    return generator.manual_seed(int(seed))
