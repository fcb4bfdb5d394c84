"""Several defences in a row: what engines and the server call, with random numbers keyed by client, epoch and step.

Draws are made on the CPU, client by client, so that they are the same wherever a client lives (law 2), and from no
generator that a checkpoint would have to keep (law 5). Secret ones follow from 256 bits of the system's entropy instead
of the seed, which a checkpoint keeps.
"""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from secrets import token_bytes
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.defence import Defence
from sglr.core.errors import UsageError, refuse_long
from sglr.core.random import key
from sglr.core.registry import DEFENCES
from sglr.core.spec import Spec, options_of
from sglr.core.weights import Weights, below
from sglr.splitting import ClientSegments, Crossing, crossing_of
from sglr.splitting.input_layout import InputLayout

SCORED = 64
"""Held-out samples that are disguised with one generator, so that they may be scored in portions of any size."""


SECRET = "secret"
"""The tensor of a checkpoint that holds what secret draws follow from."""


class DefenceChain:
    """The defences of a training, in their order; without any it changes nothing.

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
        self._learned: int | None = None
        self._layout: InputLayout | None = None
        self.parts = tuple(part for _, part in parts)
        self._seed = seed
        self._memories: defaultdict[tuple[int, int], dict[str, Any]] = defaultdict(dict)
        self._secret = token_bytes(32)
        self.privatizes_smashed = self._any("privatize_smashed")
        self.adds_gradient = self._any("extra_gradient")
        self.privatizes_gradient = self._any("privatize_gradient")
        self.inspects_gradient = self._any("inspect_gradient")

    def _any(self, hook: str) -> bool:
        return any(has(part, hook) for part in self.parts)

    def over(self, crossing: Crossing | None) -> DefenceChain:
        """Return the defences of what crosses a cut: they change what is learned, and nothing beside it."""
        if crossing is None or not crossing.beside:
            return self
        chain = copy.copy(self)
        chain._learned = crossing.learned_size
        return chain

    def of_inputs(self, layout: InputLayout | None) -> DefenceChain:
        """Return the defences of samples with several inputs: those that compare inputs leave tokens out."""
        chain = copy.copy(self)
        chain._layout = layout
        return chain

    def covered(self, client: nn.Module) -> nn.Module:
        """Return a client's segments with the defences' layers behind the lower one."""
        layers = [layer for part in self.parts if (layer := part.layer()) is not None]
        if not layers:
            return client
        crossing = crossing_of(client)
        if crossing is not None and crossing.beside:
            layers = [OnLearned(layer, crossing.learned_size) for layer in layers]
        if isinstance(client, ClientSegments):
            return ClientSegments(_in_turn(client.lower, layers), client.tail, client.features)
        return _in_turn(client, layers)

    def send(self, smashed: Tensor, clients: Sequence[int], sizes: Sequence[int], epoch: int, step: int) -> Tensor:
        """Return what clients send in a step instead of their smashed data ``[C, b, ...]``; rows are those of sizes."""
        if not self.privatizes_smashed:
            return smashed
        sent = smashed.clone()
        for place, (client, size) in enumerate(zip(clients, sizes, strict=True)):
            rng = self._rng("defence", client, epoch, step)
            sent[place, :size] = self.privatized_smashed(smashed[place, :size], rng)
        return sent

    def scored(self, smashed: Tensor, clients: Sequence[int], first: int) -> Tensor:
        """Return what clients send of held-out samples, ``[n, m, ...]``, the first of which is number ``first``."""
        if not self.privatizes_smashed:
            return smashed
        sent = smashed.clone()
        last = first + smashed.shape[1]
        for place, client in enumerate(clients):
            for start in range(first - first % SCORED, last, SCORED):
                begin, end = max(start, first), min(start + SCORED, last)
                whole = smashed.new_zeros(SCORED, *smashed.shape[2:])
                whole[begin - start : end - start] = smashed[place, begin - first : end - first]
                whole = self.privatized_smashed(whole, self._rng("defence of scores", client, start))
                sent[place, begin - first : end - first] = whole[begin - start : end - start]
        return sent

    def privatized_smashed(self, smashed: Tensor, rng: torch.Generator) -> Tensor:
        """Return what one client sends instead of ``smashed`` ``[b, ...]``."""
        sent = self._of_learned(smashed)
        for part in self.parts:
            if part.draws_secretly:
                sent = part.privatize_secretly(sent, self._secrets(sent, rng))
            else:
                sent = part.privatize_smashed(sent, rng)
        return sent if self._learned is None else torch.cat([sent, smashed[:, self._learned :]], 1)

    def _secrets(self, smashed: Tensor, rng: torch.Generator) -> list[bytes]:
        """Return what secret draws follow from, for each sample of ``smashed`` ``[b, ...]``.

        They differ where values do, even in a step that is run again: the same draws beside other values would tell how
        these differ.
        """
        rows = smashed.detach().cpu().flatten(1).contiguous().view(torch.uint8).numpy()
        purpose = rng.initial_seed(), int(torch.randint(1 << 62, (), generator=rng))
        return [
            blake2b(repr((*purpose, place)).encode() + row.tobytes(), key=self._secret).digest()
            for place, row in enumerate(rows)
        ]

    def _of_learned(self, smashed: Tensor) -> Tensor:
        """Return what is learned of smashed data ``[..., b, L + 2 M]``, or all of them."""
        return smashed if self._learned is None else smashed[..., : self._learned]

    def extra_gradient(self, inputs: Tensor, smashed: Tensor) -> Tensor:
        """Return the gradients of clients' own further losses by their smashed data, ``[n, b, ...]``."""
        total = torch.zeros_like(smashed)
        for part in self.parts:
            if has(part, "extra_gradient"):
                compared = self._quantities(inputs) if part.compares_inputs else inputs
                for row, (own, its) in enumerate(zip(compared, smashed, strict=True)):
                    self._of_learned(total[row]).add_(part.extra_gradient(own, self._of_learned(its)))
        return total

    def _quantities(self, inputs: Tensor) -> Tensor:
        """Return what has distances of inputs ``[n, b, ...]``."""
        if self._layout is None:
            return inputs
        told = self._layout.of_quantities(inputs.flatten(0, 1)).to(torch.get_default_dtype())
        return torch.unflatten(told, 0, inputs.shape[:2])

    def privatize_gradient(
        self,
        gradients: Tensor,
        labels: Tensor,
        clients: Sequence[int],
        sizes: Sequence[int],
        epoch: int,
        step: int,
    ) -> Tensor:
        """Return what is sent instead of gradients ``[C, b, ...]``, by who knows the labels ``[C, b]``."""
        if not self.privatizes_gradient:
            return gradients
        sent = gradients.clone()
        for place, (client, size) in enumerate(zip(clients, sizes, strict=True)):
            rng = self._rng("defence of labels", client, epoch, step)
            sent[place, :size] = self.privatized_gradient(gradients[place, :size], labels[place, :size], rng)
        return sent

    def privatized_gradient(self, gradients: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Return what is sent instead of one client's gradients ``[b, ...]`` for samples of ``labels`` ``[b]``."""
        for part in self.parts:
            gradients = part.privatize_gradient(gradients, labels, rng)
        return gradients

    def inspect_gradient(self, gradients: Tensor, labels: Tensor, clients: Sequence[int], sizes: Sequence[int]) -> None:
        """Let clients' defences inspect the received cut-layer gradients ``[C, b, ...]`` and the labels ``[C, b]``."""
        for number, part in enumerate(self.parts):
            if has(part, "inspect_gradient"):
                for place, (client, size) in enumerate(zip(clients, sizes, strict=True)):
                    memory = self._memories[number, client]
                    part.inspect_gradient(gradients[place, :size], labels[place, :size], client, memory)

    def memory(self, name: str, client: int) -> dict[str, Any]:
        """Return what the watching defence called ``name`` remembers of a client."""
        for number, (known, _) in enumerate(self.named):
            if known == name:
                return self._memories[number, client]
        return {}

    def state(self, clients: Collection[int]) -> dict[str, Tensor]:
        """Return what a checkpoint keeps: the secret, and what defences remember of these clients."""
        secret = any(part.draws_secretly for part in self.parts)
        kept = {SECRET: torch.frombuffer(bytearray(self._secret), dtype=torch.uint8)} if secret else {}
        # Chains of several cuts share what they remember.
        own = {*clients} if self._memories else set[int]()
        for (number, client), memory in self._memories.items():
            told = self.parts[number].memory_state(memory) if client in own else {}
            kept |= {f"{number}.{client}.{name}": tensor for name, tensor in told.items()}
        return kept

    def restore(self, tensors: Weights) -> None:
        """Restore what `state` returned, as far as a checkpoint of an earlier version has it.

        What defences remember already stays: a server that sends clients back to an earlier step makes none forget.
        """
        if SECRET in tensors:
            self._secret = bytes(tensors[SECRET].tolist())
        for number, client in {tuple(map(int, name.split(".")[:2])) for name in tensors.keys() - {SECRET}}:
            if not self._memories[number, client]:
                told = below(f"{number}.{client}.", tensors)
                self._memories[number, client] = self.parts[number].memory_from(told)

    def _rng(self, purpose: str, *indices: int) -> torch.Generator:
        return torch.Generator().manual_seed(key(self._seed, purpose, *indices))


@dataclass(frozen=True)
class DefendedStep:
    """A step of clients side by side.

    Parameters
    ----------
    defences
        Their defences.
    clients, sizes
        Who is in the step, C of them, and how many samples each has.
    labels
        Theirs, ``[C, b]``.
    inputs
        Those of every forward pass, ``[n, b, ...]``, kept only where a defence adds a gradient.
    """

    defences: DefenceChain
    clients: tuple[int, ...]
    sizes: tuple[int, ...]
    labels: Tensor
    inputs: list[Tensor] = field(default_factory=list)

    def note_inputs(self, inputs: Tensor) -> None:
        """Keep the inputs of a forward pass, if a defence needs them."""
        if self.defences.adds_gradient:
            self.inputs.append(inputs)

    def inspect(self, gradients: Tensor) -> None:
        """Look at the cut-layer gradients ``[C, b, ...]`` that came."""
        self.defences.inspect_gradient(gradients, self.labels, self.clients, self.sizes)

    def with_extra(self, number: int, smashed: Tensor, gradients: Tensor) -> Tensor:
        """Return the gradients ``[n, b, ...]`` that a pass goes back with, given those that came for it."""
        if not self.defences.adds_gradient:
            return gradients
        return gradients + self.defences.extra_gradient(self.inputs[number], smashed)


class OnLearned(nn.Module):
    """A defence's layer on what is learned of rows, without what is beside it.

    Parameters
    ----------
    layer
        The layer.
    learned
        L, the learned numbers of a row.
    """

    def __init__(self, layer: nn.Module, learned: int) -> None:
        super().__init__()
        self.layer, self.learned = layer, learned

    def forward(self, rows: Tensor) -> Tensor:
        """Return rows ``[b, L + 2 M]`` with the layer's outputs."""
        return torch.cat([self.layer(rows[:, : self.learned]), rows[:, self.learned :]], 1)

    def extra_repr(self) -> str:
        """Say how much of a row is learned, on which both sides must agree."""
        return f"learned={self.learned}"


def has(part: Defence, hook: str) -> bool:
    """Return True if a defence overrides a hook."""
    return getattr(type(part), hook) is not getattr(Defence, hook)


def _in_turn(lower: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    named = {f"defence{number}": layer for number, layer in enumerate(layers)}
    return nn.Sequential(OrderedDict(segment=lower, **named))


def parse(text: str, seed: int = 0) -> DefenceChain:
    """Read ``"nopeek:weight=0.5"``, or several defences: ``"clip:norm=10+noise:sigma=0.5"``.

    Raises
    ------
    UsageError
        If there is no such defence, or it has no such option.
    """
    refuse_long("defence", text)
    if text == "none":
        return DefenceChain()
    parts: list[tuple[str, Defence]] = []
    for word in text.split("+"):
        spec = Spec.parse("defence", word.strip())
        name = spec.name.replace("_", "-")
        if any(name == known for known, _ in parts):
            raise UsageError("defence", text, f"{name} is there twice", "name each defence once")
        kind: type[Defence] = DEFENCES.load(name)
        known = options_of(kind)
        parts.append((name, kind(**spec.options(known, first=next(iter(known), None)))))
    return DefenceChain(parts, seed)
