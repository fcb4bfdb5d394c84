"""A server that does what no honest server does: the client refuses or ends with a clear message, unharmed."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import torch
from torch import Tensor, nn

from sglr.core.data import Samples
from sglr.core.errors import ExtremeValues, SglrError
from sglr.core.optim import OptimizerSpec
from sglr.core.task import Targets
from sglr.data.batches import Batching
from sglr.engines.remote.client.job import Job
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.wire.frames import Frame, encode
from sglr.tasks.classification import Classification

from .attacker import envelope
from .handmade import Line, Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    yield found
    found.close()


# ---- what the run is said to be

NESTED = b"[" * 200_000
RUBBISH: dict[str, Callable[[dict[str, Any]], bytes | dict[str, Any]]] = {
    "no JSON": lambda _: b"\x00\xff",
    "a number": lambda _: b"7",
    "nested": lambda _: NESTED,
    "nested settings": lambda d: json.dumps(d).encode().replace(b'"settings": {', b'"settings": {"x": ' + NESTED),
    "empty": lambda _: {},
    "no dictionary": lambda d: d | {"settings": [1]},
    "a run that is none": lambda d: d | {"run": 7},
    "a run of control characters": lambda d: d | {"run": "\x1b[2J"},
    "a segment that is none": lambda d: d | {"segment": None},
    "infinite": lambda d: d | {"input_shape": [float("inf")]},
    "negative": lambda d: d | {"input_shape": [-64]},
    "without measure": lambda d: d | {"input_shape": [1 << 40]},
    "many dimensions": lambda d: d | {"cut_shape": [1] * 1000},
    "no clients": lambda d: d | {"clients": 0},
    "clients without number": lambda d: d | {"clients": 10**12},
    "classes without number": lambda d: d | {"targets": d["targets"] | {"names": ["a"] * 2_000_000}},
    "targets of a type that is none": lambda d: d | {"targets": d["targets"] | {"dtype": "object"}},
    "targets without measure": lambda d: d | {"targets": d["targets"] | {"shape": [1 << 40]}},
    "fewer names than classes": lambda d: d | {"targets": d["targets"] | {"classes": 11}},
    "a task that is code": lambda d: d | {"settings": d["settings"] | {"task": "os:system"}},
    "no time": lambda d: d | {"time": float("nan")},
    "another protocol": lambda d: d | {"protocol": "\x1b[31m9" * 99},
    "code": lambda d: d | {"settings": d["settings"] | {"model": "os:system"}},
    "model of another type": lambda d: d | {"settings": d["settings"] | {"model": ["mlp"]}},
    "another method": lambda d: d | {"settings": d["settings"] | {"method": "no-such"}},
    "a partition that is none": lambda d: d | {"settings": d["settings"] | {"partition": "../../etc"}},
    "an optimizer that is none": lambda d: d | {"settings": d["settings"] | {"optimizer": "__import__"}},
    "options that are code": lambda d: d | {"settings": d["settings"] | {"optimizer": "sgd:momentum=exit()"}},
    "a setting of control characters": lambda d: d | {"settings": d["settings"] | {"defence": "\x1b[2Jclip"}},
    "a setting without end": lambda d: d | {"settings": d["settings"] | {"optimizer": "sgd:" + "-" * 10**6}},
    "a batch that is none": lambda d: d | {"settings": d["settings"] | {"batch_size": -8}},
    "another cut": lambda d: d | {"settings": d["settings"] | {"cut": 2}},
}


def test_a_run_that_can_not_be_is_joined_by_nobody(server: Server) -> None:
    async def never(line: Line) -> None:
        raise AssertionError("the client came")

    server.script = never
    for name, change in RUBBISH.items():
        changed = change(json.loads(server.told.encode()))
        server.description = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        with pytest.raises(SglrError) as told:
            server.join()
        assert str(told.value).isprintable(), name
        assert len(str(told.value)) < 1000, name
    assert server.problems == []


def test_a_description_without_end_is_not_read(server: Server) -> None:
    server.description = bytes(100 << 20)
    with pytest.raises(SglrError, match="larger than max"):
        server.join()


# ---- what it asks for


async def gradient(line: Line, change: Callable[[Tensor], Tensor], **told: Any) -> Frame:
    """Have the client take a pass; answer it with a changed gradient."""
    frame = await line.ask("forward")
    shape = next(tuple(one.shape) for one in frame.envelope.tensors if one.name == "values")
    told = {"rate": 0.1, "then_forward": True} | told
    return await line.ask("gradient", {"values": change(torch.zeros(shape))}, **told)


def with_value(value: float) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.index_fill(1, torch.tensor([0]), value)


async def publish(line: Line, change: Callable[[dict[str, Tensor]], Any]) -> Frame:
    weights = await line.weights()
    change(weights)
    return await line.ask("publish", weights)


def first(weights: dict[str, Tensor], change: Callable[[Tensor], Any]) -> None:
    change(next(iter(weights.values())))


Ask = Callable[[Line], Awaitable[Frame]]
REQUESTS: dict[str, tuple[Ask, str]] = {
    "gradient of NaN": (lambda line: gradient(line, with_value(float("nan"))), "expected finite numbers"),
    "infinite gradient": (lambda line: gradient(line, with_value(float("inf"))), "expected finite numbers"),
    "exploding gradient": (lambda line: gradient(line, with_value(1e30)), "expected a norm of at most"),
    "gradient of another shape": (lambda line: gradient(line, lambda t: t[:-1]), "expected torch.float32"),
    "gradient of another type": (lambda line: gradient(line, lambda t: t.double()), "expected torch.float32"),
    "no rate": (lambda line: gradient(line, with_value(0), rate=float("nan")), "invalid learning rate: nan"),
    "huge rate": (lambda line: gradient(line, with_value(0), rate=1e30), "invalid learning rate: 1e+30"),
    "negative rate": (lambda line: gradient(line, with_value(0), rate=-0.1), "invalid learning rate: -0.1"),
    "gradient of no step": (lambda line: line.ask("gradient", at={"epoch": 5, "step": 9}), "did not take"),
    "forward of no step": (lambda line: line.ask("forward", at={"epoch": 2**32 - 1, "step": 2**32 - 1}), "no samples"),
    "a batch that it says": (lambda line: line.ask("forward", first=2, samples=3), "cut their batches themselves"),
    "published NaN": (
        lambda line: publish(line, lambda w: first(w, lambda t: t.fill_(float("nan")))),
        "expected finite numbers",
    ),
    "published explosion": (lambda line: publish(line, lambda w: first(w, lambda t: t.fill_(1e30))), "a norm of at"),
    "published nothing": (lambda line: line.ask("publish"), "has other tensors than agreed"),
    "published more": (lambda line: publish(line, lambda w: w.update(more=torch.zeros(9))), "unknown 'more'"),
    "a head": (
        lambda line: line.ask("publish", {"head.weight": torch.zeros(2, 2)}, head=True),
        "a client that has none",
    ),
    "another part": (lambda line: line.ask("evaluate", part="train", count=10), "no such held-out samples"),
    "huge count": (lambda line: line.ask("evaluate", part="test", count=2**64 - 1), "too many at once"),
    "no count": (lambda line: line.ask("evaluate", part="test"), "no such held-out samples"),
    "far away": (
        lambda line: line.ask("evaluate", part="test", first=2**64 - 1, count=2**64 - 1),
        "no such held-out samples",
    ),
    "no shared weights": (
        lambda line: line.ask("evaluate", part="test", count=10, shared=True),
        "no shared weights were sent before",
    ),
    "alone": (lambda line: line.ask("alone", rates=[0.1]), "a part of the model"),
    "alone without rate": (lambda line: line.ask("alone", rates=[float("nan")]), "invalid learning rate: nan"),
    "restore": (lambda line: line.ask("restore", steps=2**64 - 1), "there is no such snapshot"),
    "restore another": (lambda line: line.ask("restore", steps=0, digest="../../x"), "there is no such snapshot"),
}


def test_what_no_honest_server_asks_for_is_refused_and_leaves_no_trace(server: Server) -> None:
    async def script(line: Line) -> None:
        before = await line.weights()
        for name, (ask, reason) in REQUESTS.items():
            answer = await ask(line)
            assert answer.kind == "refusal", name
            assert reason in answer.envelope.refusal.reason, (name, answer.envelope.refusal.reason)
            assert str(server.folder) not in answer.envelope.refusal.reason
            after = await line.weights()
            assert all(torch.equal(before[key], after[key]) for key in before), name

    server.serve(script)
    assert len(server.said) >= len(REQUESTS)


def test_gradients_within_all_limits_make_no_weight_nan() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(4, 4) for _ in range(4)]
    samples = Samples(torch.randn(8, 4), torch.zeros(8, dtype=torch.int64))
    trainer = LocalTrainer(
        Job(
            0,
            nn.Sequential(*layers),
            samples,
            {},
            Classification(),
            Targets(classes=2),
            Batching(8),
            OptimizerSpec.parse("sgd:momentum=0.9"),
        )
    )
    refused = 0
    for number in range(60):
        try:
            trainer.forward(number, 0)
            trainer.backward(torch.full((8, 4), (-1.0) ** number * 9e3), 9e5)
        except ExtremeValues as error:
            assert "explode" in str(error) or "not finite or too large" in str(error)
            refused += 1
        assert all(bool(torch.isfinite(tensor).all()) for tensor in trainer.state().values())
        assert trainer.passes() == []
    assert refused > 50


# ---- what is no message


FRAMES: dict[str, tuple[bytes, str]] = {
    "no frame": (b"HTTP/1.1 200 OK", "not a frame of sglr"),
    "empty": (b"", "a header alone has 12"),
    "a client's kind": (encode(envelope("hello", 1)), "a hello message is not expected here"),
    "longer than agreed": (bytes(100 << 20), "the longest of this run"),
}


@pytest.mark.parametrize(("data", "reason"), FRAMES.values(), ids=FRAMES)
def test_what_is_no_message_ends_the_client_with_a_reason(data: bytes, reason: str, server: Server) -> None:
    async def script(line: Line) -> None:
        await line.context.write(data)
        await line.read()

    server.script = script
    with pytest.raises(SglrError, match=reason):
        server.join()


def test_a_stated_batch_size_beyond_the_own_samples_allows_no_longer_messages(server: Server) -> None:
    told = json.loads(server.told.encode())
    told["settings"]["batch_size"] = 10**6
    server.description = json.dumps(told).encode()

    async def script(line: Line) -> None:
        await line.context.write(bytes(100 << 20))
        await line.read()

    server.script = script
    with pytest.raises(SglrError, match="the longest of this run"):
        server.join()


def test_no_word_of_a_server_reaches_the_terminal_unread(server: Server) -> None:
    async def script(line: Line) -> None:
        await line.context.abort(grpc.StatusCode.PERMISSION_DENIED, "go\x1b[2J\naway" * 300)

    server.script = script
    with pytest.raises(SglrError, match="refused this client") as told:
        server.join()
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 500


def test_a_server_that_only_greets_is_called_less_and_less(server: Server) -> None:
    calls: list[float] = []

    async def script(line: Line) -> None:
        calls.append(time.monotonic())
        if len(calls) < 5:
            await line.context.abort(grpc.StatusCode.ABORTED, "later")

    server.script = script
    assert server.join() == [True]
    waits = [after - before for before, after in itertools.pairwise(calls)]
    # Half of 0.2 s at least, and twice as long each time.
    assert all(wait > 0.1 * 2**number for number, wait in enumerate(waits))
