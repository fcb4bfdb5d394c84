"""A client that may take part and does what no honest client does harms itself, and nobody else's run by one bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest
import torch
from torch import Tensor

from sglr.core.events import Event, StepDone
from sglr.engines.remote.wire.frames import encode
from sglr.runs.folder import Run

from .attacker import Act, Attacker, Gang, Line, envelope
from .federation import Federation

BASE: dict[str, Any] = {"min_clients": 2, "step_deadline": 10.0, "checkpoint_every": 1, "method": "sglr"}
"""Two honest clients are enough to go on; a checkpoint after each step."""


def undisturbed(settings: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Train with the two honest clients alone; the others' places stay empty."""
    return _undisturbed(tuple(sorted(settings.items())))


@cache
def _undisturbed(settings: tuple[tuple[str, Any], ...]) -> tuple[str, list[Any]]:
    with TemporaryDirectory() as folder:
        federation = Federation(Path(folder), dict(settings), groups=[(0, 1)])
        return result(federation, federation.train())


def result(federation: Federation, run: Run) -> tuple[str, list[Any]]:
    """Return the weights' hash and the history, without what took time and what was sent to anyone in vain."""
    assert federation.problems == []
    kept = [
        {name: v for name, v in record.items() if not name.endswith(("seconds", "bytes"))} for record in run.history
    ]
    return run.summary["weights_sha256"], kept


def attacked(
    folder: Path, acts: Sequence[Act | Attacker], after: tuple[int, int] = (0, 1), **settings: Any
) -> tuple[Federation, Gang]:
    """Train with two honest clients, and attackers that come after a step; nothing is to differ."""
    told = {**BASE, **settings, "clients": 2 + len(acts)}
    federation = Federation(folder, told, groups=[(0, 1)])
    gang = Gang(federation, acts)

    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == after:
            gang.begin()

    found = result(federation, federation.train(observe=observe))
    gang.end()
    assert found == undisturbed(told)
    return federation, gang


def until(over: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not over():
        assert time.monotonic() < end
        time.sleep(0.02)


def states(federation: Federation, gang: Gang) -> dict[int, Any]:
    assert federation.engine is not None
    return {one.client: federation.engine.connections.states[one.client] for one in gang.attackers}


# ---- what comes as the answer to a request for smashed data


def answers(change: Callable[[dict[str, Tensor]], Any]) -> Act:
    """Answer the first request for smashed data with something changed."""

    async def act(line: Line) -> None:
        await line.hello()
        frame = await line.asked("forward")
        tensors = line.smashed()
        change(tensors)
        await line.send("smashed", tensors, seq=frame.envelope.seq)

    return act


def sends(data: Callable[[Line, int], bytes]) -> Act:
    """Answer the first request for smashed data with bytes."""

    async def act(line: Line) -> None:
        await line.hello()
        frame = await line.asked("forward")
        await line.raw(data(line, frame.envelope.seq))

    return act


def whole(line: Line, seq: int) -> bytes:
    return encode(envelope("smashed", seq), line.smashed())


def values(tensors: dict[str, Tensor], value: float) -> None:
    tensors["values"].view(-1)[3] = value


ANSWERS: dict[str, tuple[Act, str]] = {
    "wrong dtype": (answers(lambda t: t.update(values=t["values"].double())), "expected torch.float32"),
    "wrong shape": (answers(lambda t: t.update(values=t["values"][:, 1:])), "expected torch.float32"),
    "wrong rank": (answers(lambda t: t.update(values=t["values"].flatten())), "expected torch.float32"),
    "too many samples": (
        answers(lambda t: t.update({name: part.repeat_interleave(2, 0) for name, part in t.items()})),
        "expected torch.float32",
    ),
    "label below": (answers(lambda t: t["labels"].fill_(-1)), "a label is outside 0 to 9"),
    "label above": (answers(lambda t: t["labels"].fill_(10)), "a label is outside 0 to 9"),
    "no labels": (answers(lambda t: t.pop("labels")), "missing 'labels'"),
    "NaN and a label above": (
        answers(lambda t: (t["labels"].fill_(10), values(t, float("nan")))),
        "a label is outside 0 to 9",
    ),
    "another tensor": (answers(lambda t: t.update(more=torch.zeros(1))), "unknown 'more'"),
    "another kind": (sends(lambda _, seq: encode(envelope("done", seq))), "a done message answers no request"),
    "the server's kind": (sends(lambda _, seq: encode(envelope("gradient", seq))), "is not expected here"),
    "refusal": (
        sends(lambda _, seq: encode(envelope("refusal", seq, reason="no\n\x1b[2Jno"))),
        "the client refused: no  [2Jno",
    ),
    "truncated": (sends(lambda line, seq: whole(line, seq)[:-1]), "bytes, "),
    "one byte more": (sends(lambda line, seq: whole(line, seq) + b"!"), "bytes, "),
    "half a header": (sends(lambda *_: b"SGLR\x01"), "a header alone has 12"),
    "no frame": (sends(lambda *_: b"GET / HTTP/1.1\r\n\r\n"), "not a frame of sglr"),
    "empty": (sends(lambda *_: b""), "a header alone has 12"),
    "oversize": (sends(lambda *_: bytes(2 << 20)), "bytes, at most"),
}


def test_an_answer_that_is_none_ends_its_sender_and_nothing_else(tmp_path: Path) -> None:
    federation, gang = attacked(tmp_path, [act for act, _ in ANSWERS.values()])
    are_quarantined(federation, gang, {name: reason for name, (_, reason) in ANSWERS.items()})


def are_quarantined(federation: Federation, gang: Gang, reasons: Mapping[str, str]) -> None:
    """Each is out with a reason that names what was wrong, told of it, and counted."""
    assert federation.engine is not None
    found = states(federation, gang)
    for attacker, (name, reason) in zip(gang.attackers, reasons.items(), strict=True):
        state = found[attacker.client]
        assert (state.presence, state.rejected) == ("out", 1), name
        assert state.reason.startswith("quarantined: ")
        assert reason in state.reason, name
        assert state.reason.isprintable()
        assert (attacker.code, attacker.details) == (grpc.StatusCode.PERMISSION_DENIED, state.reason), name
        count = federation.engine.connections.metrics.registry.get_sample_value
        labels = {"client": str(attacker.client), "reason": "quarantined"}
        assert count("sglr_rejected_total", labels) == 1


# ---- what comes as the answer to other requests


def scores(change: Callable[[dict[str, Tensor]], Any]) -> Act:
    """Answer the first request for held-out samples with something changed."""

    async def act(line: Line) -> None:
        await line.hello()
        frame = await line.asked("evaluate")
        tensors = {"values": torch.zeros(30, *line.description.cut_shape), "labels": torch.zeros(30).long()}
        change(tensors)
        await line.send("scores", tensors, seq=frame.envelope.seq, samples=2**63)

    return act


SCORES: dict[str, tuple[Act, str]] = {
    "label": (scores(lambda t: t["labels"].fill_(10)), "a label is outside 0 to 9"),
    "fewer": (scores(lambda t: t.update({name: part[:-1] for name, part in t.items()})), "expected torch."),
}


@pytest.mark.slow
def test_scores_that_are_none_count_for_nobody(tmp_path: Path) -> None:
    federation, gang = attacked(tmp_path, [act for act, _ in SCORES.values()], after=(0, 3))
    are_quarantined(federation, gang, {name: reason for name, (_, reason) in SCORES.items()})


def tally(weights: dict[str, Tensor] | None = None, **told: Any) -> Act:
    async def act(line: Line) -> None:
        await line.hello()
        frame = await line.asked("alone")
        assert frame.envelope.alone.collect
        honest = {"samples": 20, "correct": 0, "loss": 0.0, "bad_step": -1}
        await line.send("tally", weights or {}, seq=frame.envelope.seq, **(honest | told))

    return act


TALLIES: dict[str, tuple[Act, str]] = {
    "samples": (tally(samples=2**64 - 1), "impossible metrics of a pass"),
    "correct": (tally(correct=21), "impossible metrics of a pass"),
    "fewer samples and no loss": (tally(samples=19, loss=float("nan")), "impossible metrics of a pass"),
}


@pytest.mark.slow
def test_a_pass_that_can_not_be_ends_no_training(tmp_path: Path) -> None:
    acts = [act for act, _ in TALLIES.values()]
    federation, gang = attacked(tmp_path, acts, after=(0, 3), method="fl")
    are_quarantined(federation, gang, {name: reason for name, (_, reason) in TALLIES.items()})


# ---- what is said before or beside all requests


async def hello(line: Line) -> None:
    await line.hello()


def says(**told: Any) -> Act:
    async def act(line: Line) -> None:
        await line.hello(**told)

    return act


async def something_else_first(line: Line) -> None:
    await line.send("done", seq=1)


async def hello_twice(line: Line) -> None:
    await line.hello()
    await line.hello()


async def flood(line: Line) -> None:
    await line.hello()
    for _ in range(2000):
        await line.send("done", seq=10**9)


async def replays(line: Line) -> None:
    await line.hello()
    frame = await line.asked("snapshot")
    for _ in range(200):
        await line.send("done", seq=frame.envelope.seq, digest="ab" * 32)


async def wrong_digest(line: Line) -> None:
    await line.hello()
    frame = await line.asked("snapshot")
    await line.send("done", seq=frame.envelope.seq, digest="ab" * 31)


async def refuses(line: Line) -> None:
    await line.hello()
    while (frame := await line.next()) is not None:
        await line.send("refusal", seq=frame.envelope.seq, reason="never")


async def huge(line: Line) -> None:
    await line.hello()
    await line.raw(bytes(40 << 20))


TURNED_AWAY: dict[str, tuple[Act | Attacker, grpc.StatusCode, str]] = {
    "samples": (says(samples=2**63), grpc.StatusCode.FAILED_PRECONDITION, "the division of the data gives it 20"),
    "validation": (says(validation=2**32 - 1), grpc.StatusCode.FAILED_PRECONDITION, "where the run has 30"),
    "test": (says(test=0), grpc.StatusCode.FAILED_PRECONDITION, "where the run has 40"),
    "another run": (says(run="0" * 32), grpc.StatusCode.FAILED_PRECONDITION, "another run"),
    "another segment": (says(segment="0" * 64), grpc.StatusCode.FAILED_PRECONDITION, "differs from the server's"),
    "no hello": (something_else_first, grpc.StatusCode.PERMISSION_DENIED, "expected hello"),
    "hello twice": (hello_twice, grpc.StatusCode.PERMISSION_DENIED, "a hello message is not expected here"),
    "flood": (flood, grpc.StatusCode.PERMISSION_DENIED, "too many messages that answer no request"),
    "replays": (replays, grpc.StatusCode.PERMISSION_DENIED, "too many messages that answer no request"),
    "digest": (wrong_digest, grpc.StatusCode.PERMISSION_DENIED, "malformed SHA-256"),
    "refuses": (refuses, grpc.StatusCode.ABORTED, "the client refused: never"),
    "huge": (huge, grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"),
    "compressed": (
        Attacker(0, hello, grpc.Compression.Gzip),
        grpc.StatusCode.UNIMPLEMENTED,
        "'gzip' is disabled",
    ),
}


STILL_WRITING = ("flood", "replays", "refuses", "huge", "compressed")


@pytest.mark.slow
def test_whoever_says_what_nobody_asked_for_is_turned_away(tmp_path: Path) -> None:
    # Who was cut off by gRPC itself may come back, and is waited for as long as anyone.
    federation, gang = attacked(tmp_path, [act for act, _, _ in TURNED_AWAY.values()], max_misses=1)
    found = states(federation, gang)
    for attacker, (name, (_, code, reason)) in zip(gang.attackers, TURNED_AWAY.items(), strict=True):
        # Who still writes when the server ends the stream may miss its last word.
        if name not in STILL_WRITING or attacker.details != "Internal error from Core":
            assert attacker.code == code, (name, attacker.details)
            assert reason in attacker.details, name
        assert name != "compressed" or not attacker.here.is_set()
        if name not in ("refuses", "huge", "compressed"):
            assert found[attacker.client].rejected == 1, name


@pytest.mark.slow
def test_who_is_quarantined_comes_back_with_a_new_certificate_only(tmp_path: Path) -> None:
    codes: list[tuple[grpc.StatusCode | None, str]] = []
    acts = [ANSWERS["label above"][0], something_else_first]
    told = {**BASE, "clients": 4}
    federation = Federation(tmp_path, told, groups=[(0, 1)])
    gang = Gang(federation, acts)

    def observe(event: Event) -> None:
        if not isinstance(event, StepDone):
            return
        if (event.epoch, event.step) == (0, 1):
            gang.begin()
        if (event.epoch, event.step) == (1, 1):
            gang.end()
            codes.extend(gang.comes_back())
            # The operator lets that site back in: now it behaves.
            federation.start(1, (2,))
            until(lambda: federation.engine.connections.states[2].presence == "here")  # type: ignore[union-attr]

    run = federation.train(observe=observe)
    assert codes == [
        (grpc.StatusCode.UNAUTHENTICATED, f"the certificate of client {client} was revoked; a new token is needed")
        for client in (2, 3)
    ]
    assert federation.problems == []
    assert run.history[-1]["samples"] > 2 * 2 * 20
    states = [state.presence for state in federation.engine.connections.states]  # type: ignore[union-attr]
    assert states == ["done", "done", "done", "out"]
