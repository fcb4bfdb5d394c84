"""Feature-space hijacking: a server makes clients send features that it can invert (Pasquini et al., 2021)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, NoReturn, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.data import Samples
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.random import key
from sglr.core.server_protocol import Server
from sglr.core.types import Downlink, StepContext, Uplink
from sglr.privacy.active import ActiveAttack, AttackOutcome, AttackSetup, Hijacked
from sglr.privacy.attack import AttackResult
from sglr.privacy.images import attacked_rows, mean_image, recovered, require_images
from sglr.privacy.measures.reconstruction import DecoderNetwork
from sglr.privacy.threat import Sees

__all__ = ["Fsha"]

LEAST = 64
"""Images of the attacker's own."""
BATCH = 64
REHEARSALS = 300
"""Steps in which the server trains its encoder and decoder, before any client is there."""
NO_LABEL = -1
"""The label of samples whose label the server does not see."""
JUDGEMENTS = 3
"""Steps of the discriminator for each of the clients'."""
PENALTY = 100.0
"""Weight of the discriminator's gradient penalty (Gulrajani et al., arXiv 1704.00028); the source's is 500."""


@dataclass(frozen=True)
class Fsha(ActiveAttack):
    """Send clients gradients that make their segments like one that the server can invert.

    The server first trains an encoder f~ and a decoder on images of its own; while clients train, it trains a
    discriminator that tells f~'s features from clients' smashed data. Clients get the gradient by which the
    discriminator would take their smashed data for f~'s, instead of the honest one, and the decoder then reads them.
    As a network that does not learn would be noticed, the server's own segment learns the task all the while.

    Differs from the source, for the sake of a few hundred steps instead of 10,000: f~ is trained beforehand rather
    than alongside, and with ``labels``, where clients upload them, the discriminator compares features of equal labels;
    without classes it compares all.
    """

    attacker: ClassVar[str] = "server"
    needs: ClassVar[frozenset[Sees]] = frozenset({Sees.SMASHED, Sees.ARCHITECTURE, Sees.AUXILIARY, Sees.ANSWERS})
    source: ClassVar[str] = "Pasquini, Ateniese and Bernaschi, CCS 2021, arXiv 2012.02670"

    samples: int = field(default=256, metadata={"help": "images to recover"})
    rate: float = field(default=3e-3, metadata={"help": "learning rate of the encoder, decoder and discriminator"})
    labels: bool = field(
        default=True, metadata={"help": "compare features of equal labels: recovers more, and is noticed less"}
    )
    averages: bool = field(
        default=False, metadata={"help": "average the gradients it sends as the method does, not to be noticed"}
    )

    def hijack(self, method: Method, setup: AttackSetup) -> Method:
        """Return the method with a server that hijacks every client.

        Raises
        ------
        UsageError
            If nothing crosses a cut, each client has a server's segment of its own, or the server has fewer than 64
            images.
        """
        name = type(method).__name__
        if method.whole_model or method.server_copies or method.head:
            problem = "this attack needs one server that answers smashed data with gradients"
            raise UsageError("method", name, problem, "attack a run of psl, sfl, sgl or sglr")
        require_images("auxiliary", setup.auxiliary, LEAST)
        labels, known = self.labels, setup.auxiliary.targets
        if known.dim() != 1 or known.is_floating_point():  # samples that have no class can't be compared by it
            labels, setup = False, replace(setup, auxiliary=_unlabelled(setup.auxiliary))
        return _Hijacking(honest=method, crew=_Crew(setup, self.rate, labels), averages=self.averages)

    def judge(self, outcome: AttackOutcome) -> AttackResult:
        """Recover images of the client's own from what it sends of them at the end."""
        attacked = outcome.attacked
        originals = attacked.own.inputs[attacked_rows(attacked, self.samples)]
        images = cast("_Hijacking", outcome.method).crew.read(attacked.send(originals))
        note = "The server sent every client false gradients from the first step on."
        return recovered(originals, images, mean_image(attacked), "hijacking", note=note)


def _unlabelled(samples: Samples) -> Samples:
    return Samples(samples.inputs, torch.zeros(len(samples), dtype=torch.int64))


class _Discriminator(nn.Module):
    """Scores smashed data ``[n, ...]`` with labels ``[n]``, high for those of the server's encoder."""

    def __init__(self, shape: torch.Size, classes: int) -> None:
        super().__init__()
        maps = shape if len(shape) == 3 else torch.Size((int(shape.numel()), 1, 1))
        self.unfold = nn.Unflatten(1, maps) if len(shape) != 3 else nn.Identity()
        self.layers = nn.Sequential(
            nn.Conv2d(maps[0], 64, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 64, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.LazyLinear(classes),
        )

    def forward(self, smashed: Tensor, labels: Tensor) -> Tensor:
        flat = smashed.flatten(1) if isinstance(self.unfold, nn.Unflatten) else smashed
        scores: Tensor = self.layers(self.unfold(flat))
        return scores.gather(1, labels.clamp(0, scores.shape[1] - 1)[:, None]).squeeze(1)


class _Crew:
    """The server's trained encoder and decoder, and a discriminator that is trained at every step."""

    def __init__(self, setup: AttackSetup, rate: float, by_label: bool) -> None:
        self._own, self._by_label = setup.auxiliary, by_label
        self._draws = torch.Generator().manual_seed(key(setup.seed, "hijacking"))
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(key(setup.seed, "hijackers"))
            self._encoder = setup.fresh(setup.seed).eval()
            with torch.no_grad():
                features = self._encoder(self._own.inputs[:2])
            self._decoder = DecoderNetwork(tuple(features.shape[1:]), tuple(self._own.inputs.shape[1:]))
            self._judge = _Discriminator(features.shape[1:], int(self._own.targets.max()) + 1)
            self._judge(features, self._own.targets[:2])
        self._judging = torch.optim.Adam(self._judge.parameters(), rate, betas=(0.5, 0.9))
        self._rehearse(rate)

    def mislead(self, smashed: Tensor, labels: Tensor | None) -> Tensor:
        """Learn from clients' smashed data ``[N, ...]``; return the gradients that lead them on, ``[N, ...]``."""
        if labels is None or not self._by_label:
            labels = torch.full((len(smashed),), NO_LABEL)
        for _ in range(JUDGEMENTS):
            rows = torch.randint(len(smashed), (BATCH,), generator=self._draws)
            self._learn_to_judge(smashed.detach()[rows], labels[rows])
        inputs = smashed.detach().clone().requires_grad_()
        (gradients,) = torch.autograd.grad(-self._judge(inputs, labels).sum(), inputs)
        return gradients

    def read(self, smashed: Tensor) -> Tensor:
        """Return the images ``[n, channels, height, width]`` in ±1 that the decoder takes smashed data for."""
        with torch.no_grad():
            images: Tensor = self._decoder(smashed).sigmoid() * 2 - 1
        return images

    def _rehearse(self, rate: float) -> None:
        """Train the encoder and the decoder on the server's own images."""
        optimizer = torch.optim.Adam([*self._encoder.parameters(), *self._decoder.parameters()], rate)
        for _ in range(REHEARSALS):
            chosen = torch.randint(len(self._own.inputs), (BATCH,), generator=self._draws)
            images = self._own.inputs[chosen]
            loss = F.binary_cross_entropy_with_logits(self._decoder(self._encoder(images)), (images + 1) / 2)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    def _wanted(self, labels: Tensor) -> Tensor:
        """Return features ``[n, ...]`` of images of its own of the same labels, or of any where it has or sees none."""
        alike = labels[:, None] == self._own.targets
        alike |= ~alike.any(1, keepdim=True)
        chosen = torch.multinomial(alike.float(), 1, generator=self._draws).squeeze(1)
        with torch.no_grad():
            features: Tensor = self._encoder(self._own.inputs[chosen])
        return features

    def _learn_to_judge(self, sent: Tensor, labels: Tensor) -> None:
        wanted = self._wanted(labels)
        mixed = torch.rand(len(sent), generator=self._draws).reshape(-1, *(1,) * (sent.dim() - 1))
        between = torch.lerp(wanted, sent, mixed).requires_grad_()
        (slopes,) = torch.autograd.grad(self._judge(between, labels).sum(), between, create_graph=True)
        penalty = (slopes.flatten(1).norm(dim=1) - 1).square().mean()
        loss = self._judge(sent, labels).mean() - self._judge(wanted, labels).mean() + PENALTY * penalty
        self._judging.zero_grad()
        torch.autograd.backward(loss)
        self._judging.step()


@dataclass(frozen=True)
class _Hijacking(Hijacked):
    """A method whose server sends the hijacker's gradients."""

    crew: _Crew = field(kw_only=True)
    averages: bool = field(kw_only=True)

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Let the server learn the task, and answer with hijacking gradients."""
        masked = _Masked(server, self.crew, type(self.honest).__name__)
        downlink = self.honest.exchange(cast("Server", masked), uplink, context)
        return downlink if self.averages else Downlink(masked.sent)


class _Masked:
    """The server as the honest method sees it: it learns, and gives other gradients."""

    def __init__(self, server: Server, crew: _Crew, method: str) -> None:
        self._server, self._crew, self._method = server, crew, method

    def __getattr__(self, call: str) -> NoReturn:
        problem = f"the method's server makes steps of its own ({call}), and the attack answers plain ones"
        raise UsageError("method", self._method, problem, "attack a run of psl, sfl, sgl or sglr")

    def learn(self, uplink: Uplink, context: StepContext, rate: float) -> Tensor:
        """Take a joint step; return hijacking gradients ``[C, b, ...]``, each of the client's own mean."""
        self._server.learn(uplink, context, rate)
        labels = None if uplink.told is None else uplink.flatten(uplink.told)
        found = uplink.unflatten(self._crew.mislead(uplink.flatten(uplink.smashed), labels))
        sizes = torch.tensor(uplink.sizes, dtype=found.dtype).reshape(-1, *(1,) * (found.dim() - 1))
        self.sent = found / sizes
        return self.sent
