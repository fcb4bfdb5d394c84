"""What an epoch sends in closed form: the paper's Table 6, and the same counted over two kinds of network.

Both directions are counted, labels are not: a label is a few bytes beside a sample's smashed data. Sizes are in any
unit, the same for all, and results are in that unit. |D| samples are spread evenly over |C| clients that all take part.

Three views of one epoch stand side by side:

- `paper`: Table 6 as it is printed.
- `broadcast`: one shared medium (radio) of rate R. What is the same for several clients is sent once: SplitAvg's
  average in every step, and the merged weights of FL and SFL.
- `point_to_point`: every client has a link of its own of rate R, all at once; every client gets its own copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

from sglr.core.errors import UsageError, unknown

METHODS = ("fl", "psl", "sfl", "sglr")
"""The rows of Table 6."""

SAME_AS: Mapping[str, str] = {"slr": "psl", "sgl": "sglr"}
"""Methods that send the same as another: SplitLr changes no traffic."""

NOT_IN_TABLE_6 = ("epsl", "mix2sfl")
"""Methods that the paper does not count, and the two other views do; φ of EPSL is its ``averaged_share``."""


@dataclass(frozen=True)
class Sizes:
    """What Table 6 is computed from.

    Parameters
    ----------
    clients
        |C|, the number of clients.
    samples
        |D|, training samples of all clients together.
    cut
        S(L), one sample's smashed data; its gradient is as large.
    model
        S(w), the weights of the whole model.
    client
        S(w_c), the weights of the client segment; 0 if it has none.
    beside
        What goes up beside one sample's smashed data, such as its mask; no gradient comes back for it.

    Raises
    ------
    UsageError
        If a number is not positive, or the client segment is larger than the model.
    """

    clients: int
    samples: int
    cut: float
    model: float
    client: float
    beside: float = 0.0

    def __post_init__(self) -> None:
        for name in ("clients", "samples", "cut", "model"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise UsageError(name, value, "is not above zero", "give a positive number")
        if not (isfinite(self.beside) and self.beside >= 0):
            raise UsageError("beside", self.beside, "is below zero", "give the size of what goes beside a sample")
        if not (isfinite(self.client) and self.client >= 0):
            raise UsageError("client", self.client, "is below zero", "give the size of the client segment's weights")
        if self.client > self.model:
            problem = f"the client segment is larger than the whole model ({self.model:g})"
            raise UsageError("client", f"{self.client:g}", problem, "give the size of the client's part of the model")


@dataclass(frozen=True)
class Volume:
    """What one epoch sends, in the unit of the sizes.

    Parameters
    ----------
    per_client
        A client's share: the total divided by |C|.
    total
        What all clients and the server send.
    in_turn
        What has to be sent one after another: divided by R it is the time spent sending.
    """

    per_client: float
    total: float
    in_turn: float

    def seconds(self, rate: float, compute: float = 0.0) -> float:
        """Return T + volume/R, the time of one epoch.

        Parameters
        ----------
        rate
            R, in the sizes' unit per second.
        compute
            T, seconds that an epoch's forward and backward passes take.

        Raises
        ------
        UsageError
            If the rate is not positive, or the time is negative.
        """
        if not rate > 0:
            raise UsageError("rate", rate, "is not above zero", "give a positive rate")
        if not compute >= 0:
            raise UsageError("compute", compute, "is below zero", "give the seconds of computation in an epoch")
        return compute + self.in_turn / rate


def paper(method: str, sizes: Sizes, phi: float = 0.0) -> Volume:
    """Return Table 6 as printed.

    It has nothing for what goes beside smashed data. Two of its entries are kept as printed, though they do not follow
    from the others. SGLR's S(L), the average that is broadcast, is one sample's for a whole epoch, and stays at φ = 0,
    where there is no average: SGLR at φ = 0 then sends S(L) more than PSL, which it equals. PSL's time lacks the 1/|C|
    that SFL's and SGLR's have.

    Parameters
    ----------
    method
        A name of `METHODS`, or of `SAME_AS`.
    sizes
        Sizes in any unit.
    phi
        φ of SplitAvg, in [0, 1]; other methods have none.

    Raises
    ------
    UsageError
        If there is no such method here, or φ is outside [0, 1].
    """
    total = _pick(method, phi, _PAPER)(sizes, phi)
    per_client = total / sizes.clients
    return Volume(per_client, total, in_turn=total if _row(method) == "psl" else per_client)


def broadcast(method: str, sizes: Sizes, phi: float = 0.0) -> Volume:
    """Return what one shared medium carries, where a message to several clients is sent once.

    A step's average has b samples, b·S(L), and an epoch |D|/(|C| b) steps, together |D| S(L)/|C|, whatever b is. It
    replaces the own gradients of φ|C| clients; with one active client or none there is nothing to save. FL and SFL
    are given the same advantage: |C| uploads of weights and one download. EPSL's average is for a share φ of every
    client's batch, φ|D| S(L)/|C| in an epoch where φb is whole. Parameters and errors are those of `paper`, and methods
    are also those of `NOT_IN_TABLE_6`.
    """
    total = _pick(method, phi, _BROADCAST)(sizes, phi)
    return Volume(total / sizes.clients, total, in_turn=total)


def point_to_point(method: str, sizes: Sizes, phi: float = 0.0) -> Volume:
    """Return what separate links carry: an active client gets its own copy of the average, so φ saves nothing.

    Parameters and errors are those of `paper`, and methods are also those of `NOT_IN_TABLE_6`.
    """
    total = _pick(method, phi, _POINT_TO_POINT)(sizes, phi)
    per_client = total / sizes.clients
    return Volume(per_client, total, in_turn=per_client)


def own_heads(sizes: Sizes, h: int, handed_out: float = 0.0, *, once: bool = False) -> Volume:
    """Return what an epoch sends where clients train by heads of their own and upload every h-th batch (CSE-FSL).

    Up go |D| S(L) / h and |C| S(w_c), down |C| S(w_c) and no gradients. A head that is averaged is part of S(w_c). With
    FSL-SAGE it is not: each client's own goes down in an epoch that begins with an alignment. It is exact where h
    divides the steps of an epoch, and all batches are whole.

    Parameters
    ----------
    sizes
        Sizes in any unit.
    h
        Steps from one upload to the next.
    handed_out
        S(a), the weights of the head that each client is sent in this epoch.
    once
        Count one shared medium, as `broadcast` does, not separate links as `point_to_point`.
    """
    weights = _weights_down_once if once else _weights_both_ways
    total = sizes.samples * (sizes.cut + sizes.beside) / h + weights(sizes.client, sizes) + sizes.clients * handed_out
    return Volume(total / sizes.clients, total, in_turn=total if once else total / sizes.clients)


def _row(method: str) -> str:
    return SAME_AS.get(method, method)


def _pick(method: str, phi: float, forms: Mapping[str, _Form]) -> _Form:
    if not 0 <= phi <= 1:
        raise UsageError("phi", phi, "is outside [0, 1]", "give a fraction of clients, such as 0.75")
    if _row(method) not in forms:
        raise unknown("method", method, (*forms, *SAME_AS))
    return forms[_row(method)]


def _weights_both_ways(weights: float, sizes: Sizes) -> float:
    return 2 * sizes.clients * weights


def _weights_down_once(weights: float, sizes: Sizes) -> float:
    return (sizes.clients + 1) * weights


def _smashed_and_gradients(sizes: Sizes) -> float:
    return 2 * sizes.samples * sizes.cut


def _with_beside(form: _Form) -> _Form:
    return lambda sizes, phi: form(sizes, phi) + sizes.samples * sizes.beside


def _sglr_paper(sizes: Sizes, phi: float) -> float:
    return (2 - phi) * sizes.samples * sizes.cut + sizes.cut


def _sglr_broadcast(sizes: Sizes, phi: float) -> float:
    copies_saved = max(phi * sizes.clients - 1, 0)
    return _smashed_and_gradients(sizes) - copies_saved * sizes.samples * sizes.cut / sizes.clients


def _epsl_broadcast(sizes: Sizes, phi: float) -> float:
    copies_saved = sizes.clients - 1
    return _smashed_and_gradients(sizes) - copies_saved * phi * sizes.samples * sizes.cut / sizes.clients


_Form = Callable[[Sizes, float], float]

_TABLE_6: Mapping[str, _Form] = {
    "fl": lambda sizes, _: _weights_both_ways(sizes.model, sizes),
    "psl": lambda sizes, _: _smashed_and_gradients(sizes),
    "sfl": lambda sizes, _: _smashed_and_gradients(sizes) + _weights_both_ways(sizes.client, sizes),
}
_PAPER: Mapping[str, _Form] = {**_TABLE_6, "sglr": _sglr_paper}
_PSL, _SFL = _with_beside(_TABLE_6["psl"]), _with_beside(_TABLE_6["sfl"])
_POINT_TO_POINT: Mapping[str, _Form] = {
    "fl": _TABLE_6["fl"],
    "psl": _PSL,
    "sfl": _SFL,
    "sglr": _PSL,
    "epsl": _PSL,
    "mix2sfl": _SFL,
}
_BROADCAST: Mapping[str, _Form] = {
    "fl": lambda sizes, _: _weights_down_once(sizes.model, sizes),
    "psl": _PSL,
    "sfl": _with_beside(lambda sizes, _: _smashed_and_gradients(sizes) + _weights_down_once(sizes.client, sizes)),
    "sglr": _with_beside(_sglr_broadcast),
    "epsl": _with_beside(_epsl_broadcast),
    "mix2sfl": _with_beside(lambda sizes, phi: _sglr_broadcast(sizes, phi) + _weights_down_once(sizes.client, sizes)),
}
