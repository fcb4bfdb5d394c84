"""Whom a look at leakage is about."""

from __future__ import annotations

from sglr.core.random import generator
from sglr.leakage.open_run import Opened


def drawn_clients(opened: Opened, number: int, seed: int) -> tuple[int, ...]:
    """Return the clients that are looked at, ascending, among those that have samples and took part."""
    trainer = opened.built.trainer
    there = sorted(client for client in trainer.took_part() if trainer.sizes[client])
    rng = generator(seed, "leaking clients")
    return tuple(sorted(rng.choice(there, size=min(number, len(there)), replace=False).tolist()))
