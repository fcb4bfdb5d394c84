"""Several defences at work: what engines and the server call, with random numbers keyed by client, epoch and step.

Draws are made on the CPU, client by client, so that they are the same wherever a client lives (law 2), and from no
generator that a checkpoint would have to keep (law 5).
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from sglr.core.defence import Defence
from sglr.core.errors import UsageError, refuse_long
from sglr.core.random import key
from sglr.core.registry import DEFENCES
from sglr.splitting import ClientSegments

SCORED = 64
"""Held-out samples that are disguised with one generator, so that they may be scored in portions of any size."""


class Guard:
    """The defences of a training, in their order; without any, all that it does is nothing.

    Parameters
    ----------
    parts
        The defences by name.
    seed
        The experiment's.

    Attributes
    ----------
    disguises, pulls, perturbs, watches
        True if a defence has this hook of its own: else nobody needs to call it.
    """

    def __init__(self, parts: Sequence[tuple[str, Defence]] = (), seed: int = 0) -> None:
        self.named = tuple(parts)
        self.parts = tuple(part for _, part in parts)
        self._seed = seed
        self._memories: defaultdict[tuple[int, int], dict[str, Any]] = defaultdict(dict)
        self.disguises, self.pulls, self.perturbs, self.watches = (
            any(has(part, hook) for part in self.parts) for hook in ("disguise", "pull", "perturb", "watch")
        )

    def covered(self, client: nn.Module) -> nn.Module:
        """Return a client's segments with the defences' layers behind the lower one."""
        layers = [layer for part in self.parts if (layer := part.layer()) is not None]
        if not layers:
            return client
        if isinstance(client, ClientSegments):
            return ClientSegments(_in_turn(client.lower, layers), client.tail, client.features)
        return _in_turn(client, layers)

    def send(self, smashed: Tensor, clients: Sequence[int], sizes: Sequence[int], epoch: int, step: int) -> Tensor:
        """Return what clients send in a step instead of their smashed data ``[C, b, ...]``; rows are those of sizes."""
        if not self.disguises:
            return smashed
        sent = smashed.clone()
        for place, (client, size) in enumerate(zip(clients, sizes, strict=True)):
            rng = self._rng("defence", client, epoch, step)
            sent[place, :size] = self.disguised(smashed[place, :size], rng)
        return sent

    def scored(self, smashed: Tensor, clients: Sequence[int], first: int) -> Tensor:
        """Return what clients send of held-out samples, ``[n, m, ...]``, the first of which is number ``first``."""
        if not self.disguises:
            return smashed
        sent = smashed.clone()
        last = first + smashed.shape[1]
        for place, client in enumerate(clients):
            for start in range(first - first % SCORED, last, SCORED):
                begin, end = max(start, first), min(start + SCORED, last)
                whole = smashed.new_zeros(SCORED, *smashed.shape[2:])
                whole[begin - start : end - start] = smashed[place, begin - first : end - first]
                whole = self.disguised(whole, self._rng("defence of scores", client, start))
                sent[place, begin - first : end - first] = whole[begin - start : end - start]
        return sent

    def disguised(self, smashed: Tensor, rng: torch.Generator) -> Tensor:
        """Return what one client sends instead of ``smashed`` ``[b, ...]``."""
        for part in self.parts:
            smashed = part.disguise(smashed, rng)
        return smashed

    def pull(self, inputs: Tensor, smashed: Tensor) -> Tensor:
        """Return the gradients of clients' own further losses by their smashed data, ``[n, b, ...]``."""
        total = torch.zeros_like(smashed)
        for part in self.parts:
            if has(part, "pull"):
                for row, (own, its) in enumerate(zip(inputs, smashed, strict=True)):
                    total[row] += part.pull(own, its)
        return total

    def perturb(
        self,
        gradients: Tensor,
        labels: Tensor,
        clients: Sequence[int],
        sizes: Sequence[int],
        epoch: int,
        step: int,
    ) -> Tensor:
        """Return what is sent instead of gradients ``[C, b, ...]``, by who knows the labels ``[C, b]``."""
        if not self.perturbs:
            return gradients
        sent = gradients.clone()
        for place, (client, size) in enumerate(zip(clients, sizes, strict=True)):
            rng = self._rng("defence of labels", client, epoch, step)
            sent[place, :size] = self.perturbed(gradients[place, :size], labels[place, :size], rng)
        return sent

    def perturbed(self, gradients: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Return what is sent instead of one client's gradients ``[b, ...]`` for samples of ``labels`` ``[b]``."""
        for part in self.parts:
            gradients = part.perturb(gradients, labels, rng)
        return gradients

    def watch(self, gradients: Tensor, labels: Tensor, clients: Sequence[int], sizes: Sequence[int]) -> None:
        """Show clients' defences the cut-layer gradients ``[C, b, ...]`` that arrived, and the labels ``[C, b]``."""
        for number, part in enumerate(self.parts):
            if has(part, "watch"):
                for place, (client, size) in enumerate(zip(clients, sizes, strict=True)):
                    memory = self._memories[number, client]
                    part.watch(gradients[place, :size], labels[place, :size], client, memory)

    def memory(self, name: str, client: int) -> dict[str, Any]:
        """Return what the watching defence called ``name`` remembers of a client."""
        for number, (known, _) in enumerate(self.named):
            if known == name:
                return self._memories[number, client]
        return {}

    def _rng(self, purpose: str, *indices: int) -> torch.Generator:
        return torch.Generator().manual_seed(key(self._seed, purpose, *indices))


def has(part: Defence, hook: str) -> bool:
    """Say whether a defence has a hook of its own."""
    return getattr(type(part), hook) is not getattr(Defence, hook)


def _in_turn(lower: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    named = {f"defence{number}": layer for number, layer in enumerate(layers)}
    return nn.Sequential(OrderedDict(segment=lower, **named))


def parse(text: str, seed: int = 0) -> Guard:
    """Read ``"nopeek:weight=0.5"``, or several defences: ``"clip:norm=10+noise:sigma=0.5"``.

    Raises
    ------
    UsageError
        If there is no such defence, or it has no such option.
    """
    refuse_long("defence", text)
    if text == "none":
        return Guard()
    parts: list[tuple[str, Defence]] = []
    for word in text.split("+"):
        name, _, tail = word.strip().partition(":")
        name = name.replace("_", "-")
        if any(name == known for known, _ in parts):
            raise UsageError("defence", text, f"{name} is there twice", "name each defence once")
        parts.append((name, _read(text, name, tail)))
    return Guard(parts, seed)


def _read(text: str, name: str, tail: str) -> Defence:
    kind: type[Defence] = DEFENCES.load(name)
    known = {field.name: str(field.metadata.get("help", "")) for field in dataclasses.fields(kind) if field.init}
    hints = get_type_hints(kind)
    options: dict[str, Any] = {}
    for place, word in enumerate(tail.split(",") if tail else []):
        option, equals, value = word.strip().partition("=")
        if not equals and place == 0 and known:
            option, value = next(iter(known)), word.strip()
        read = _value(value, hints[option]) if option in known and option not in options else None
        if read is None:
            remedy = " or ".join(f"{option}=... ({about})" for option, about in known.items()) or "no option"
            raise UsageError("defence", text, f"{word!r} says nothing to {name}", f"give {remedy}")
        options[option] = read
    return kind(**options)


def _value(text: str, kind: Any) -> float | int | bool | str | None:
    if kind is bool:
        return {"true": True, "false": False}.get(text)
    if kind is str:
        return text or None
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        return None
