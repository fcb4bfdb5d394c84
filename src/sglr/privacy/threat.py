"""The threat model: who attacks, and what each attacker sees. Every attack is checked against it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

from sglr.core.errors import UsageError


class Sees(StrEnum):
    """Something that an attacker may know or do."""

    SMASHED = "smashed data"
    LABELS = "labels of the smashed data"
    CUT_GRADIENTS = "cut-layer gradients"
    UPPER = "the server's segment"
    ARCHITECTURE = "the architecture of the clients' segment"
    LOWER = "the weights of a client's segment"
    UPDATES = "what a client's weights become in a step"
    QUERIES = "what a client would send of inputs of the attacker's choice"
    AUXILIARY = "inputs of the same kind as the clients'"
    ANSWERS = "free choice of what the server sends"
    DATA = "free choice of one client's data"
    MODEL = "the whole trained network, to be asked"


ATTACKERS: Mapping[str, frozenset[Sees]] = {
    "server": frozenset(
        {Sees.SMASHED, Sees.LABELS, Sees.CUT_GRADIENTS, Sees.UPPER, Sees.ARCHITECTURE, Sees.QUERIES, Sees.AUXILIARY}
        | {Sees.ANSWERS, Sees.MODEL}
    ),
    "client": frozenset({Sees.ARCHITECTURE, Sees.AUXILIARY, Sees.DATA, Sees.MODEL}),
    "outsider": frozenset({Sees.SMASHED, Sees.LABELS, Sees.CUT_GRADIENTS, Sees.AUXILIARY}),
}
"""What each attacker sees of plain split learning.

The server may ask a client what it would send of the server's own inputs (`Sees.QUERIES`), as the paper's decoder
(Table 5) takes for granted: any client in league with it can tell where segments are shared, and any that offers
inference can be asked. With its own segment it so asks the whole network (`Sees.MODEL`), unless the last layers are
with the clients. The outsider reads a wire without TLS.
"""


def seen_by(
    attacker: str, *, shares: bool, whole_model: bool, keeps_labels: bool, answered: bool = True
) -> frozenset[Sees]:
    """Return what an attacker sees of a training.

    Parameters
    ----------
    attacker
        ``"server"``, ``"client"`` or ``"outsider"``.
    shares
        True if clients' weights are merged: whoever merges sees them, and every client gets them.
    whole_model
        True if clients hold the whole model: nothing but weights crosses the network.
    keeps_labels
        True if labels never leave the client (U-shaped split).
    answered
        False if clients with heads of their own get no gradients.

    Raises
    ------
    UsageError
        If there is no such attacker.
    """
    if attacker not in ATTACKERS:
        raise UsageError("attacker", attacker, "there is no such attacker", f"give one of: {', '.join(ATTACKERS)}")
    seen = ATTACKERS[attacker]
    if shares:
        seen |= {Sees.LOWER, Sees.UPDATES}
    if whole_model:
        seen -= {Sees.SMASHED, Sees.LABELS, Sees.CUT_GRADIENTS, Sees.QUERIES}
    if not answered:
        seen -= {Sees.CUT_GRADIENTS, Sees.ANSWERS}
    if keeps_labels:
        seen -= {Sees.LABELS} if attacker != "server" else {Sees.LABELS, Sees.MODEL}
    return seen


def require(attack: object, attacker: str, needs: Collection[Sees], seen: Collection[Sees]) -> None:
    """Refuse an attack, which is called as its file is, that needs what the attacker does not see.

    Raises
    ------
    UsageError
        If it does, naming what is missing.
    """
    missing = sorted(set(needs) - set(seen))
    if missing:
        problem = f"{attacker} needs {' and '.join(missing)}, which this training does not show it"
        name = type(attack).__module__.rpartition(".")[2].replace("_", "-")
        raise UsageError("attack", name, problem, "choose another attacker or attack, or leave it out")
