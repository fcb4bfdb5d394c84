"""Random draws that depend on what they are for, never on where or when they are made.

Every draw (data order, active clients, initial weights) is keyed by (seed, purpose, client, epoch, step), so
that a run gives the same numbers on every engine, and again after it was stopped and resumed (laws 2 and 5).
"""

from __future__ import annotations

from hashlib import blake2b, shake_256

import numpy as np
import torch
from torch import Tensor


def key(seed: int, purpose: str, *indices: int) -> int:
    """Return a 63-bit number that depends on all arguments and on nothing else."""
    text = ":".join([str(seed), purpose, *map(str, indices)])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Return a generator of random numbers for one purpose."""
    return np.random.Generator(np.random.PCG64(key(seed, purpose, *indices)))


def normals_of(secret: bytes, count: int) -> Tensor:
    """Return standard normal draws, double ``[count]``, that nobody can predict or search for who lacks the secret.

    Generators of simulations, such as torch's, are seeded with 32 bits, and their draws tell the next ones.
    """
    words = np.frombuffer(shake_256(secret).digest(8 * count), dtype="<u8")
    # The middle of one of 2^52 equal parts of (0, 1), exact in double precision.
    drawn: Tensor = torch.special.ndtri(torch.from_numpy(((words >> 12) + 0.5) * 2.0**-52))
    return drawn


def seed_layers(seed: int) -> None:
    """Seed torch's own generators, which dropout and the like draw from.

    Unlike ``torch.manual_seed`` it leaves alone a CUDA that is not in use, for which torch would format a stack trace
    in every step.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
