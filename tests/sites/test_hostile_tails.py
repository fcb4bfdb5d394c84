"""A client that keeps its labels answers features with what no honest client finds: it is out, the others train on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sglr.core.events import Event, StepDone
from sglr.engines.remote.wire.frames import Frame, encode

from .attacker import Act, Gang, Line, envelope
from .federation import Federation
from .test_hostile import BASE, are_quarantined, attacked, states

TAIL = {**BASE, "tail": "relu2"}
FEATURES = 64
"""Width of the network at its tail."""

FLOOD = 200


async def features(line: Line) -> Frame:
    """Take part honestly until the server's features of a step have come."""
    await line.hello()
    frame = await line.asked("forward")
    await line.send("smashed", {"values": line.smashed()["values"]}, seq=frame.envelope.seq)
    return await line.asked("features")


def honest() -> dict[str, Tensor]:
    return {"values": torch.zeros(8, FEATURES)}


def answers(change: Callable[[dict[str, Tensor]], Any], **told: Any) -> Act:
    """Answer the first features with something changed."""

    async def act(line: Line) -> None:
        frame, tensors = await features(line), honest()
        change(tensors)
        await line.send("feature_gradients", tensors, seq=frame.envelope.seq, **({"loss": 8.0} | told))

    return act


def sends(data: Callable[[int], bytes]) -> Act:
    """Answer the first features with bytes."""

    async def act(line: Line) -> None:
        frame = await features(line)
        await line.raw(data(frame.envelope.seq))

    return act


def written(seq: int) -> bytes:
    return encode(envelope("feature_gradients", seq, loss=8.0), honest())


async def before_features(line: Line) -> None:
    """Answer the request for smashed data with gradients by features that never came."""
    await line.hello()
    frame = await line.asked("forward")
    await line.send("feature_gradients", honest(), seq=frame.envelope.seq)


async def unasked(line: Line) -> None:
    """Send gradients of steps that are not due."""
    await line.hello()
    for ahead in range(FLOOD):
        await line.send("feature_gradients", honest(), seq=10**9 + ahead)


async def again_and_again(line: Line) -> None:
    """Send the same answer, well made, many times."""
    frame = await features(line)
    for _ in range(FLOOD):
        await line.raw(written(frame.envelope.seq))


def nothing(tensors: dict[str, Tensor]) -> None:
    del tensors


ANSWERS: dict[str, tuple[Act, str]] = {
    "wrong dtype": (answers(lambda t: t.update(values=t["values"].double())), "expected torch.float32"),
    "wrong shape": (answers(lambda t: t.update(values=t["values"][:, 1:])), "expected torch.float32"),
    "shape of the cut": (answers(lambda t: t.update(values=torch.zeros(8, 128))), "expected torch.float32"),
    "fewer samples": (answers(lambda t: t.update(values=t["values"][1:])), "expected torch.float32"),
    "nothing": (answers(lambda t: t.clear()), "missing 'values'"),
    "labels too": (answers(lambda t: t.update(labels=torch.zeros(8))), "unknown 'labels'"),
    "more right than there are": (answers(nothing, correct=9), "more correct samples than there are"),
    "too many bytes": (sends(lambda seq: written(seq) + b"!"), "bytes, "),
    "oversize": (sends(lambda _: bytes(2 << 20)), "bytes, at most"),
    "another kind": (sends(lambda seq: encode(envelope("done", seq))), "a done message answers no request"),
    "refusal": (sends(lambda seq: encode(envelope("refusal", seq, reason="never"))), "the client refused: never"),
    "no features yet": (before_features, "a feature_gradients message answers no request"),
}

FLOODS = {"steps that are not due": unasked, "the same again and again": again_and_again}


def trained_with(folder: Path, acts: Sequence[Act]) -> tuple[Federation, Gang]:
    """Train with two honest clients, and attackers that come after a step; the two are to end it.

    What attackers sent before they were found out is in the weights, so these are not those of a run without them.
    """
    federation = Federation(folder, {**TAIL, "clients": 2 + len(acts)}, groups=[(0, 1)])
    gang = Gang(federation, acts)

    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == (0, 1):
            gang.begin()

    run = federation.train(observe=observe)
    gang.end()
    assert federation.problems == []
    assert [record["epoch"] for record in run.history] == [1, 2]
    assert all(math.isfinite(record["loss"]) for record in run.history)
    # By then they are alone.
    assert run.history[1]["samples"] - run.history[0]["samples"] == 2 * 20
    return federation, gang


def test_answers_to_features_that_are_none_end_their_sender_alone(tmp_path: Path) -> None:
    federation, gang = trained_with(tmp_path, [act for act, _ in ANSWERS.values()])
    are_quarantined(federation, gang, {name: reason for name, (_, reason) in ANSWERS.items()})


@pytest.mark.slow
def test_answers_to_features_that_nobody_asked_for_end_their_sender_alone(tmp_path: Path) -> None:
    federation, gang = trained_with(tmp_path, list(FLOODS.values()))
    # Who still writes when the server ends the stream may miss its last word.
    for state in states(federation, gang).values():
        assert (state.presence, state.reason) == (
            "out",
            "quarantined: too many messages that answer no request",
        )


def tally(**told: Any) -> Act:
    """Send held-out samples as an honest client does, and tell what can't be of their scores."""

    async def act(line: Line) -> None:
        await line.hello()
        frame = await line.asked("evaluate")
        held_out = {"values": torch.zeros(30, *line.description.cut_shape)}
        await line.send("scores", held_out, seq=frame.envelope.seq, samples=30)
        frame = await line.asked("features")
        honest = {"samples": 30, "correct": 3, "loss": 60.0, "bad_step": -1}
        await line.send("tally", seq=frame.envelope.seq, **(honest | told))

    return act


TALLIES: dict[str, Act] = {
    "more right than there are": tally(correct=31),
    "more than there are": tally(samples=2**64 - 1, correct=2**64 - 1),
    "fewer": tally(samples=29),
    "diverged": tally(bad_step=0, loss=math.nan),
    "stopped somewhere": tally(bad_step=2**63 - 1),
}


@pytest.mark.slow
def test_scores_told_by_clients_that_can_not_be_count_for_nobody(tmp_path: Path) -> None:
    federation, gang = attacked(tmp_path, list(TALLIES.values()), after=(0, 3), tail="relu2")
    are_quarantined(federation, gang, dict.fromkeys(TALLIES, "impossible metrics of held-out samples"))
