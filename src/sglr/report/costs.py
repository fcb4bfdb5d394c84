"""What a run cost, as its report shows it: the ledger of bytes, operations, energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sglr.report import numbers

MEANINGS = {
    "smashed": "activations at the cut",
    "beside": "masks and numbers of tokens beside them",
    "labels": "labels or other targets of the samples",
    "gradients": "gradients at the cut, each client's own",
    "average": "gradient at the cut, averaged over active clients",
    "weights": "weights of the clients' segment",
    "features": "the server's activations, to tails that hold the labels",
    "feature_gradients": "gradients of the clients' own loss by them",
}
VIEWS = {"point_to_point": "On the wire", "broadcast": "Broadcast", "paper": "Paper"}
UNCOUNTED_SHOWN = 6
PHASES = {
    "forward": "Forward at the client",
    "up": "From the client",
    "server": "At the server",
    "down": "To the client",
    "backward": "Backward at the client",
    "waiting": "Waiting",
}
"""Parts of modelled time, in the order of a step."""

LEAST_SHARE = 1e-6
"""Of the whole: what takes less is rounding."""


@dataclass(frozen=True)
class CostPart:
    """A kind of message within the bytes of one direction; ``share`` is of the busier direction's total."""

    kind: str
    meaning: str
    number: int
    share: float
    messages: int | None = None


@dataclass(frozen=True)
class CostTable:
    """A small table of figures: what each column is, and rows of a name with its figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...] = ()


def ledger(communication: Mapping[str, Any]) -> dict[str, list[CostPart]]:
    """Split each direction's bytes by kind, largest first, as shares of the busier direction."""
    by_kind: Mapping[str, Mapping[str, int]] = communication.get("by_kind", {})
    messages = communication.get("messages", {})
    busiest = max((sum(one.values()) for one in by_kind.values()), default=0)
    return {
        direction: [
            CostPart(
                kind,
                MEANINGS.get(kind, ""),
                number,
                number / busiest * 100,
                messages.get(direction, {}).get(kind),
            )
            for kind, number in sorted(one.items(), key=lambda item: -item[1])
        ]
        for direction, one in by_kind.items()
        if busiest
    }


def kinds_of(ledgers: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Return the kinds of messages in ledgers by direction and kind, most bytes first."""
    sizes: dict[str, float] = {}
    for kinds in (kinds for by_kind in ledgers for kinds in by_kind.values()):
        for kind, number in kinds.items():
            sizes[kind] = sizes.get(kind, 0) + number
    return sorted(sizes, key=lambda kind: -sizes[kind])


def cost_tables(summary: Mapping[str, Any]) -> list[CostTable]:
    """Return the tables of a run's costs; an empty list where none were recorded."""
    energy = summary.get("energy") or {}
    found = (
        _views(summary.get("communication", {}).get("views")),
        _computation(summary.get("computation")),
        _modelled_time(summary.get("modelled_time")),
        _modelled(energy.get("modelled")),
        _measured(energy.get("measured")),
    )
    return [table for table in found if table is not None]


def _views(views: Mapping[str, Any] | None) -> CostTable | None:
    """Return the table of the three ways of counting bytes."""
    shown = [view for view in VIEWS if views and view in views]
    if not views or not shown or not any(within(views[view], "total_bytes") for view in shown):
        return None
    figures = {
        "All clients": ("total_bytes",),
        "sent": ("up_bytes",),
        "received": ("down_bytes",),
        "One client, mean": ("per_client_bytes", "mean"),
        "One client, most": ("per_client_bytes", "max"),
        "One epoch, mean": ("per_epoch_bytes",),
    }
    rows = _rows(figures, [views[view] for view in shown], numbers.size)
    notes = [
        "On the wire every client gets a copy of its own; with broadcast, what is the same for several is sent once."
    ]
    paper = views.get("paper", {})
    if paper.get("formula"):
        notes.append(f"The paper's Table 6 has for one epoch {paper['formula']}, both directions, without labels.")
    if paper.get("reason"):
        notes.append(f"The paper's formula: {paper['reason']}.")
    return CostTable("Bytes, counted three ways", tuple(VIEWS[view] for view in shown), rows, tuple(notes))


def _computation(computation: Mapping[str, Any] | None) -> CostTable | None:
    if not computation or within(computation, "total_flops") is None:
        return None
    paper = dict(computation.get("paper") or {})
    if not isinstance(paper.get("client_flops"), Mapping):
        paper["client_flops"] = {"mean": paper.get("client_flops")}
    figures = {
        "One client, mean": ("client_flops", "mean"),
        "One client, most": ("client_flops", "max"),
        "Server": ("server_flops",),
        "All together": ("total_flops",),
    }
    rows = _rows(figures, [computation, paper], numbers.operations)
    notes = ["Training only, add-multiplies × 2. The paper takes a backward pass for two forward passes."]
    notes += _uncounted(computation.get("uncounted_ops") or {})
    return CostTable("Computation", ("Counted", "Paper"), rows, tuple(notes))


def _modelled_time(modelled: Mapping[str, Any] | None) -> CostTable | None:
    """Return the table of what a training waits for on simulated clocks."""
    if not modelled:
        return None
    seconds = modelled["seconds"] or 1.0
    rows = [("All", (numbers.clock(modelled["seconds"]), ""))]
    for phase, meaning in PHASES.items():
        if phase in modelled["phases"] and modelled["phases"][phase] >= seconds * LEAST_SHARE:
            took = modelled["phases"][phase]
            rows.append((meaning, (numbers.clock(took), numbers.percent(took / seconds))))
    held_up = modelled["clients"]["last"]
    notes = ["What the training waits for, of the client that everyone waits for; modelled, not measured."]
    if max(held_up, default=0):
        number = held_up.index(max(held_up))
        notes.append(f"Others wait for client {number} most often: {numbers.count(held_up[number])} times.")
    return CostTable("Time, modelled", ("Takes", "Share"), tuple(rows), tuple(notes))


def _uncounted(operations: Any) -> list[str]:
    """List the operations that have no formula, of both segments."""
    if not isinstance(operations, Mapping):
        names = {str(name) for name in operations}
    else:
        parts = [part for part in operations.values() if isinstance(part, Mapping)]
        names = {str(name) for part in parts or [operations] for name in part}
    if not names:
        return []
    first = ", ".join(sorted(names)[:UNCOUNTED_SHOWN])
    more = len(names) - UNCOUNTED_SHOWN
    return [f"Not counted, as they have no formula: {first}{f' and {more} more' if more > 0 else ''}."]


def _modelled(modelled: Mapping[str, Any] | None) -> CostTable | None:
    if not modelled:
        return None
    figures = {
        "One client, mean": ("client_joules", "mean"),
        "One client, most": ("client_joules", "max"),
        "Server": ("server_joules",),
        "Network": ("communication_joules",),
        "All together": ("total_joules",),
    }
    rows = _rows(figures, [modelled], numbers.joules)
    profile = modelled.get("profile") or {}
    notes = ["Modelled, not measured: operations and bytes times the figures of a kind of device."]
    if profile:
        notes.append(f"Profile {profile.get('name', '?')}: {profile.get('source', '')}")
    return CostTable("Energy, modelled", ("On such devices",), rows, tuple(notes))


def _measured(measured: Mapping[str, Any] | None) -> CostTable | None:
    """Return the table of this machine's energy; each part is measured by a counter in the hardware, or estimated."""
    if not measured:
        return None
    parts: Mapping[str, Any] = measured.get("parts") or {}
    rows = [(_part_name(name), (numbers.joules(part.get("joules")), str(part["how"]))) for name, part in parts.items()]
    rows.append(("All together", (numbers.joules(measured.get("joules")), "")))
    notes = [f"{_part_name(name)}: {part['by']}." for name, part in parts.items() if part.get("by")]
    missed = measured.get("unmeasured_seconds")
    if missed:
        notes.append(f"{numbers.duration(missed)} of the run were not measured.")
    return CostTable("Energy of this machine", ("Used", "Source"), tuple(rows), tuple(notes))


def _part_name(name: str) -> str:
    return {"cpu": "Processor", "gpu": "GPU", "ram": "Memory"}.get(name, name)


def _rows(
    figures: Mapping[str, tuple[str, ...]], columns: Sequence[Mapping[str, Any]], write: Callable[[float | None], str]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Write the figures of every column; rows that no column has are left out."""
    found = [(name, [within(column, *keys) for column in columns]) for name, keys in figures.items()]
    return tuple(
        (name, tuple(write(value) for value in values))
        for name, values in found
        if any(value is not None for value in values)
    )


def within(content: Mapping[str, Any], *keys: str) -> Any:
    """Return what is under one key after another; None where there is nothing."""
    value: Any = content
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
