"""Cut one model at several places, one behind the other: a lower segment for each cut, and one trunk behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cmp_to_key
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.weights import state_of
from sglr.splitting.check import Split, tried
from sglr.splitting.crossing import Crossing
from sglr.splitting.cut import raw_split
from sglr.splitting.fit import ended, find_crossing, joined_at, varied
from sglr.splitting.nest import Nest, leaves_of
from sglr.splitting.packed import PackedSegment, UnpackedSegment
from sglr.splitting.sequence import child_before
from sglr.splitting.transformers import Transformer
from sglr.splitting.transformers.ties import tie, trained_ties, untied
from sglr.splitting.trunk import Trunk
from sglr.splitting.u_shape import cut_again, with_tail


class Several(NamedTuple):
    """A model that is cut at several places.

    Parameters
    ----------
    lowers
        The client's lower segment of each cut.
    trunk
        The server's segment.
    tails
        The client's last layers, a copy for each cut; identities if the server has these layers.
    """

    lowers: tuple[nn.Module, ...]
    trunk: Trunk
    tails: tuple[nn.Module, ...]


def split_at_several(module: nn.Module, cuts: Sequence[str], tail: int | str | None, example: Tensor) -> Several:
    """Cut a model behind several layers; all segments are copies and share nothing with each other.

    Parameters
    ----------
    module
        Any module that takes one input.
    cuts
        The client's last layers, from the one nearest to the input: see `nested`.
    tail
        The server's last layer, where the layers behind it stay with the clients; else None.
    example
        Inputs ``[b, ...]``, b >= 2, to try all segments on.

    Raises
    ------
    UsageError
        If a place does not exist, the layers of a cut are not all among those of the next, the server would have no
        layers, or what crosses a cut differs when it is computed from the cut before.
    """
    ties = trained_ties(module) if tail is not None and isinstance(module, Transformer) else []
    if ties and isinstance(module, Transformer):
        module = untied(module, ties)
    raw, stages = _stages(module, cuts, example)
    last: nn.Module = nn.Identity()
    if tail is not None:
        stages[-1], last = with_tail(module, raw[-1], stages[-1], cuts[-1], tail, example)
    layers = [list(state_of(stage)) for stage in stages]
    stages = _in_order(raw, stages, cuts, example)
    lowers, crossings = _packed(raw, example)
    whole = [_between(stage, crossings[at : at + 2]) for at, stage in enumerate(stages)]
    sent = [tried(lower, example[:2], "cuts", "the client's segment", "one input").detach() for lower in lowers]
    if tail is None:
        whole[-1] = ended(whole[-1], sent[-1])
    else:
        joined, features = joined_at(Split(whole[-1], last), sent[-1])
        whole[-1], last = joined.lower, ended(joined.upper, features)
    names = [_named(layer, at, stage) for at, (layer, stage) in enumerate(zip(layers, whole, strict=True))]
    trunk = Trunk(whole, [tuple(one.shape[1:]) for one in sent], names)
    _check(lowers, trunk, cuts, example)
    tails = tuple(deepcopy(last) for _ in cuts)
    if ties:
        for lower, own in zip(lowers, tails, strict=True):
            tie(lower, own, ties)
    return Several(tuple(lowers), trunk, tails)


def place_of(module: nn.Module, cut: str | int) -> str:
    """Return the name of a cut that may be given as a number.

    Raises
    ------
    UsageError
        If there is no such place.
    """
    try:
        if isinstance(module, Transformer):
            return module.place(cut)
        return cut if isinstance(cut, str) else child_before(module, cut)
    except UsageError as error:
        raise _of_cuts(error) from error


class Nested(NamedTuple):
    """Cuts of which each is behind the one before.

    Parameters
    ----------
    names
        One of each, from the one nearest to the input.
    numbers
        The number of the cut that every name is of; two names may be of one place.
    """

    names: tuple[str, ...]
    numbers: Mapping[str, int]


def nested(module: nn.Module, names: Sequence[str], example: Tensor) -> Nested:
    """Return cuts (`place_of`) in their order.

    Raises
    ------
    UsageError
        If a place does not exist, two of them are not one behind the other, or the server would have no layers.
    """
    lowers: dict[str, Split] = {}
    first: dict[str, str] = {}
    for name in names:
        segments = _divided(module, name, example)
        first[name] = next(
            (one for one in lowers if _one_place(module, one, lowers[one], name, segments, example)), name
        )
        if first[name] == name:
            lowers[name] = segments
    held = {name: state_of(segments.lower).keys() for name, segments in lowers.items()}

    def before(one: str, other: str) -> int:
        if len(held[one]) != len(held[other]):
            return -1 if len(held[one]) < len(held[other]) else 1
        return -1 if _is_behind(module, lowers[one], other, example) else 1

    ordered = tuple(sorted(lowers, key=cmp_to_key(before)))
    for one, other in pairwise(ordered):
        if not held[one] <= held[other] or not _is_behind(module, lowers[one], other, example):
            problem = "neither cut has all layers of the other: clients that hold more must hold all that others hold"
            raise UsageError("cuts", f"{one} and {other}", problem, "choose cuts of which one is behind the other")
    return Nested(ordered, {name: ordered.index(own) for name, own in first.items()})


def _divided(module: nn.Module, name: str, example: Tensor) -> Split:
    try:
        segments = raw_split(module, name, example)
    except UsageError as error:
        raise _of_cuts(error) from error
    if type(segments.upper) is nn.Identity:
        raise UsageError("cuts", name, "the server would have no layers", "name an earlier layer")
    return segments


def _one_place(module: nn.Module, name: str, at: Split, other: str, at_other: Split, example: Tensor) -> bool:
    """Return whether two names are of one place, as a block's and that of its last layer."""
    if state_of(at.lower).keys() != state_of(at_other.lower).keys():
        return False
    if _is_behind(module, at, other, example) or _is_behind(module, at_other, name, example):
        return False
    inputs = varied(at.lower, example[:2])
    for training in (False, True):
        one, same = (_ran(each.lower, inputs, training=training) for each in (at, at_other))
        if len(one) != len(same) or not all(map(_equal, one, same)):
            return False
    return True


def _ran(lower: nn.Module, inputs: Tensor, *, training: bool) -> list[Any]:
    """Return what a copy of a segment returns, with the same random draws each time."""
    with torch.no_grad(), torch.random.fork_rng([]):
        torch.manual_seed(0)
        return list(leaves_of(deepcopy(lower).train(training)(inputs.clone())))


def _of_cuts(error: UsageError) -> UsageError:
    """Return an error of ``cut`` as one of ``cuts``."""
    return UsageError("cuts", error.value, error.problem, error.remedy)


def _is_behind(module: nn.Module, segments: Split, cut: str, example: Tensor) -> bool:
    """Return whether a cut is behind that of the segments."""
    try:
        cut_again(module, segments.lower, segments.upper, cut, example)
    except UsageError:
        return False
    return True


def _stages(module: nn.Module, cuts: Sequence[str], example: Tensor) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the raw lower segment of each cut, and the raw stages: from each cut to the next, and the rest."""
    lowers: list[nn.Module] = []
    stages: list[nn.Module] = []
    rest: nn.Module | None = None
    for cut in cuts:
        segments = raw_split(module, cut, example)
        if rest is None:
            rest = segments.upper
        else:
            stage, rest = cut_again(module, lowers[-1], rest, cut, example)
            stages.append(stage)
        lowers.append(segments.lower)
    assert rest is not None, "there are cuts"
    return lowers, [*stages, rest]


def _packed(raw: Sequence[nn.Module], example: Tensor) -> tuple[list[nn.Module], list[Crossing | None]]:
    """Return the lower segments, all packed if several values cross one of the cuts, and what crosses each."""
    sent = [tried(lower, example[:2], "cuts", "the client's segment", "one input") for lower in raw]
    if all(isinstance(one, Tensor) for one in sent):
        return list(raw), [None] * len(raw)
    crossings = [find_crossing(lower, example) for lower in raw]
    packed: list[nn.Module] = [PackedSegment(lower, crossing) for lower, crossing in zip(raw, crossings, strict=True)]
    return packed, list(crossings)


def _between(stage: nn.Module, crossings: Sequence[Crossing | None]) -> nn.Module:
    """Return a raw stage that takes and returns rows: of what crosses before it and, but for the last, behind it."""
    before, behind = crossings[0], crossings[1] if len(crossings) > 1 else None
    segment = stage if before is None else UnpackedSegment(stage, before)
    return segment if behind is None else PackedSegment(segment, behind)


def _named(layers: Sequence[str], at: int, stage: nn.Module) -> dict[str, str]:
    """Return the name in a trunk of each weight of a stage, which may be wrapped, by its name in the model."""
    own = list(state_of(stage))
    depth = len(own[0]) - len(layers[0]) if own else 0
    return {name[depth:]: f"stages.{at}.{name}" for name in own}


class _Picks(NamedTuple):
    """Which values of a nest another one has, in its order."""

    nest: Nest
    places: tuple[int, ...]

    def of(self, values: Any) -> Any:
        leaves = leaves_of(values)
        return self.nest.filled(iter([leaves[place] for place in self.places]))


class _Rearranged(nn.Module):
    """A stage that takes and returns values in the order in which clients send them, where it has another."""

    def __init__(self, segment: nn.Module, before: _Picks | None, behind: _Picks | None) -> None:
        super().__init__()
        self.segment, self.before, self.behind = segment, before, behind
        self.training = segment.training

    def forward(self, values: Any) -> Any:
        output = self.segment(values if self.before is None else self.before.of(values))
        return output if self.behind is None else self.behind.of(output)


def _in_order(
    lowers: Sequence[nn.Module], stages: Sequence[nn.Module], cuts: Sequence[str], example: Tensor
) -> list[nn.Module]:
    """Return stages between which values cross in the order in which clients' segments return them.

    Two trials tell which value is which; they differ in their samples and in how many these are.
    """
    two = example[:2]
    trials = [two.clone(), torch.cat([two.flip(0), two[:1].flip(-1)])]
    with torch.no_grad(), torch.random.fork_rng([]):
        below = [deepcopy(lower).eval() for lower in lowers]
        values = [below[0](trial.clone()) for trial in trials]
        sent = [[lower(trial.clone()) for trial in trials] for lower in below[1:]]
        before: list[_Picks | None] = [None]
        behind: list[_Picks | None] = []
        for at, wanted in enumerate(sent):
            stage = deepcopy(stages[at]).eval()
            values = [stage(value) for value in values]
            behind.append(_picks(wanted, values))
            before.append(_picks(values, wanted))
            if behind[-1] is None and not isinstance(wanted[0], Tensor):
                raise _differing(cuts[at : at + 2])
    found = zip(stages, before, [*behind, None], strict=True)
    return [stage if one is two is None else _Rearranged(stage, one, two) for stage, one, two in found]


def _picks(wanted: Sequence[Any], given: Sequence[Any]) -> _Picks | None:
    """Return where each wanted value is among those given, by what both were in two trials; None if one is not."""
    if all(isinstance(one, Tensor) for one in (*wanted, *given)):
        return None
    theirs = list(zip(*map(leaves_of, given), strict=True))
    places = []
    for pair in zip(*map(leaves_of, wanted), strict=True):
        same = [place for place, other in enumerate(theirs) if all(map(_equal, pair, other))]
        if not same:
            return None
        places.append(same[0])
    return _Picks(Nest.of(wanted[0]), tuple(places))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


def _differing(cuts: Sequence[str]) -> UsageError:
    problem = "what crosses the second is another when it is computed from what crosses the first"
    remedy = "choose cuts that one tensor crosses (sglr cuts lists what crosses)"
    return UsageError("cuts", " and ".join(cuts), problem, remedy)


def _check(lowers: Sequence[nn.Module], trunk: Trunk, cuts: Sequence[str], example: Tensor) -> None:
    """Refuse cuts where what a stage makes of the cut before is not, bit for bit, what clients of the next send."""
    with torch.no_grad(), torch.random.fork_rng([]):
        sent = [deepcopy(lower).eval()(example[:2].clone()) for lower in lowers]
        for at, stage in enumerate(list(trunk.stages)[:-1]):
            made = deepcopy(stage).eval()(sent[at].clone())
            if made.shape != sent[at + 1].shape or not torch.equal(made, sent[at + 1]):
                raise _differing(cuts[at : at + 2])
