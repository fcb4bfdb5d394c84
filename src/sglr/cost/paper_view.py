"""What a run would have sent by the paper's Table 6, to compare with what was counted."""

from __future__ import annotations

from typing import Any

from sglr.core.method import Method
from sglr.core.split_avg import SplitAvg
from sglr.core.trainer import Trainer
from sglr.core.weights import Weights, state_of
from sglr.cost.closed_forms import METHODS, SAME_AS, Sizes, paper
from sglr.cost.training_flops import samples_in

FORMULAS = {
    "fl": "2|C|S(w)",
    "psl": "2|D|S(L)",
    "sfl": "2|D|S(L) + 2|C|S(w_c)",
    "sglr": "(2−φ)|D|S(L) + S(L)",
}
"""Table 6, total per epoch, by its rows."""

LIKE_SFL = ("ssl", "sflv1", "sflv2")
"""Methods without a row of their own that send what SFL sends."""


def paper_view(name: str, trainer: Trainer, sample_bytes: int, *, labels_stay: bool = False) -> dict[str, Any]:
    """Evaluate Table 6 for a run, from its sizes alone.

    |C| and |D| are the clients that take part in an epoch and the samples that they train on, S(w) and S(w_c) bytes of
    trained weights and of buffers. In
    epochs without SplitAvg (φ = 0, or outside its phase) SGL and SGLR are PSL, and have its row. The paper counts
    both directions together, and no labels.

    Parameters
    ----------
    name
        The method's name.
    trainer
        The run.
    sample_bytes
        S(L), bytes of one sample's smashed data as they were sent: after compression, where there was any.
    labels_stay
        True if labels stay with the clients (U-shape).

    Returns
    -------
    dict
        ``total_bytes`` of all epochs, ``per_epoch_bytes`` (mean), ``per_client_bytes`` (the total divided by all
        registered clients; the paper's are alike, so that maximum and mean are one) and ``formula`` of one epoch. Where
        the paper has no formula they are None and ``reason`` says why.
    """
    reason = _no_row(name, trainer.method)
    if trainer.cuts is not None:
        reason = "Table 6 is for clients that are all cut at one place"
    if trainer.sharing.sent_bytes is not None:
        reason = "Table 6 is for weights that are sent as they are"
    if trainer.engine.codec.of_cut(0).each_way:
        reason = "Table 6 is for gradients as large as smashed data"
    if labels_stay:
        reason = "Table 6 has no row for labels that stay with the clients"
    if reason is not None:
        figures = ("total_bytes", "per_client_bytes", "per_epoch_bytes", "formula")
        return {**dict.fromkeys(figures), "reason": reason}
    total = _total(SAME_AS.get(name, name), trainer, sample_bytes)
    each = total / len(trainer.sizes)
    return {
        "total_bytes": total,
        "per_client_bytes": {"mean": each, "max": each},
        "per_epoch_bytes": total / trainer.epochs,
        "formula": FORMULAS[SAME_AS.get(name, name)],
        "reason": None,
    }


def _no_row(name: str, method: Method) -> str | None:
    if name == "cl":
        return "nothing is sent while training"
    if name in LIKE_SFL:
        return f"Table 6 has no row for {name}; it moves the same data as sfl"
    if name not in (*METHODS, *SAME_AS):
        return f"Table 6 has no row for {name}"
    if method.shares != type(method).shares:
        return f"Table 6 has no row for {name} whose weights are merged otherwise"
    if method.merges_inside_epoch or not method.begins_round(1):
        return "Table 6 is for weights that are averaged once an epoch"
    return None


def _total(row: str, trainer: Trainer, sample_bytes: int) -> float:
    """Add up the row's form over all epochs, each with its own participants."""
    client = _bytes(trainer.engine.segment)
    model = client + _bytes(state_of(trainer.server.segment))
    split_avg: SplitAvg | None = getattr(trainer.method, "split_avg", None)
    total = 0.0
    for epoch in range(trainer.epochs):
        present = trainer.participants(epoch)
        samples = int(samples_in(trainer, epoch).sum())
        # FL has no cut, and its form no S(L).
        sizes = Sizes(clients=len(present), samples=samples, cut=sample_bytes or 1, model=model, client=client)
        if split_avg is None:
            total += paper(row, sizes).total
        elif split_avg.applies(epoch, trainer.plan.epochs):
            total += paper(row, sizes, split_avg.phi).total
        else:
            total += paper("psl", sizes).total
    return total


def _bytes(weights: Weights) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
