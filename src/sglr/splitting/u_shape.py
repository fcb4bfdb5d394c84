"""Cut a model in three, so that labels stay at the client: lower segment, server's segment, tail (U-shape).

Vepakomma, Gupta, Swedish, Raskar: *Split learning for health* (arXiv 1812.00564), the configuration without label
sharing: the client has the first and the last layers, the server the middle.
"""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.splitting.boundary import cut_at_boundary, stopped_behind
from sglr.splitting.check import Split, check_segments, tried
from sglr.splitting.cut import cut_points, raw_split
from sglr.splitting.fit import ended, joined_at
from sglr.splitting.graph import UntraceableError
from sglr.splitting.heads import HeadedSegment
from sglr.splitting.sequence import child_before
from sglr.splitting.transformers import Transformer
from sglr.splitting.transformers.ties import tie, trained_ties, untied


class Thirds(NamedTuple):
    """The segments of a model: ``tail(upper(lower(x)))`` is its output for ``x``.

    Parameters
    ----------
    lower
        The client's lower segment w_c: inputs ``[b, ...]`` to smashed data.
    upper
        The server's segment w_s: smashed data to features, or to logits without a tail.
    tail
        The client's last layers: features to logits ``[b, K]``; the identity if the server has these layers.
    """

    lower: nn.Module
    upper: nn.Module
    tail: nn.Module


class ClientSegments(nn.Module):
    """Both segments of a client as one module, to train, merge and store them together; it runs the lower one.

    Parameters
    ----------
    lower, tail
        The segments.
    features
        Shape of the tail's input for one sample.
    """

    def __init__(self, lower: nn.Module, tail: nn.Module, features: tuple[int, ...]) -> None:
        super().__init__()
        self.lower, self.tail, self.features = lower, tail, features

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the smashed data of ``inputs`` ``[b, ...]``."""
        smashed: Tensor = self.lower(inputs)
        return smashed

    def extra_repr(self) -> str:
        """Store the shape of the features, on which both sides must agree."""
        return f"features={self.features}"


def split_in_three(module: nn.Module, cut: int | str, tail: int | str, example: Tensor) -> Thirds:
    """Cut ``module`` behind ``cut`` and behind ``tail``; the segments are copies and share nothing.

    Parameters
    ----------
    module
        Any module that takes one input.
    cut
        The client's last layer before the server's, as in `sglr.splitting.cut.split`.
    tail
        The server's last layer, named in the same way; the layers after it are the client's.
    example
        Inputs ``[b, ...]`` to try all segments on.

    Raises
    ------
    UsageError
        If the place does not exist, is not behind the cut, or no layer with trained weights follows it: the
        server knows the frozen ones.
    """
    if isinstance(module, Transformer) and (ties := trained_ties(module)):
        thirds = split_in_three(untied(module, ties), cut, tail, example)
        tie(thirds.lower, thirds.tail, ties)
        return thirds
    lower, rest = raw_split(module, cut, example)
    upper, last = with_tail(module, lower, rest, cut, tail, example)
    (lower, upper), _ = joined_at(Split(lower, upper), example)
    (upper, last), features = joined_at(Split(upper, last), example, before=lower)
    last = ended(last, features)
    check_segments(Split(lower, nn.Sequential(upper, last)), example)
    return Thirds(lower, upper, last)


def with_tail(
    module: nn.Module, lower: nn.Module, rest: nn.Module, cut: int | str, tail: int | str, example: Tensor
) -> Split:
    """Cut what is behind a cut once more: return the server's raw segment, and the client's last layers.

    Parameters
    ----------
    module
        The whole model.
    lower, rest
        Its raw segments.
    cut, tail, example
        As in `split_in_three`.

    Raises
    ------
    UsageError
        As `split_in_three` does.
    """
    name = _named(module, tail)
    if name in ("", "output"):
        raise _nothing_left(tail, rest)
    try:
        upper, last = cut_again(module, lower, rest, name, example)
    except UsageError as error:
        places = [place for place in cut_points(rest)[:-1] if place not in ("", "output")]
        if not places:
            problem = f"behind the cut ({cut}) is no layer for the server and one for a tail"
            raise UsageError("tail", tail, problem, "cut earlier, or leave --tail out") from error
        before = name in dict(module.named_modules()) and name not in dict(rest.named_modules())
        problem = f"it is not behind the cut ({cut})" if before else error.problem
        raise UsageError("tail", tail, problem, f"give one of: {', '.join(places)}") from error
    if not any(weight.requires_grad for weight in last.parameters()):
        raise _nothing_left(tail, rest)
    return Split(upper, last)


def cut_again(module: nn.Module, lower: nn.Module, rest: nn.Module, name: str, example: Tensor) -> Split:
    """Return what is behind a cut up to and behind a second one; the first segments are raw.

    Parameters
    ----------
    module
        The whole model.
    lower, rest
        Its raw segments of the first cut.
    name
        The second cut.
    example
        Inputs ``[b, ...]`` of the model.
    """
    try:
        return raw_split(rest, name)
    except UntraceableError:
        arrived = tried(lower, example[:2], "cut", "the client's segment", "one input")
        if not isinstance(arrived, Tensor):
            raise
        return Split(stopped_behind(rest, name, arrived.detach()), cut_at_boundary(module, name, example)[1])


def features_of(thirds: Thirds, example: Tensor) -> tuple[int, ...]:
    """Return the shape of the features that the server sends for one sample, by a trial with inputs ``[b, ...]``."""
    whole = deepcopy(nn.Sequential(thirds.lower, thirds.upper)).eval()
    with torch.no_grad(), torch.random.fork_rng([]):
        return tuple(whole(example[:2]).shape[1:])


def parts_of(client: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return a client's lower segment and its tail, the identity if it has none."""
    if isinstance(client, HeadedSegment):
        return client.lower, nn.Identity()
    return (client.lower, client.tail) if isinstance(client, ClientSegments) else (client, nn.Identity())


def _named(module: nn.Module, tail: int | str) -> str:
    if isinstance(tail, str):
        return tail
    try:
        return module.place(tail) if isinstance(module, Transformer) else child_before(module, tail)
    except UsageError as error:
        raise UsageError("tail", tail, error.problem, error.remedy) from error


def _nothing_left(tail: int | str, rest: nn.Module) -> UsageError:
    problem = "no layer with trained weights follows it, so the server could compute every label"
    places = ", ".join(cut_points(rest)[:-1])
    return UsageError("tail", tail, problem, f"name an earlier layer, one of: {places}")
