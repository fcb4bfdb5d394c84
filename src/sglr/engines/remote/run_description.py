"""What server and clients must agree on before they train together.

The server describes the run; a client builds its segment from code of its own and compares hashes. No code comes
over the wire, and no name in a description is imported that the client did not choose (`sglr.sites.join`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from itertools import chain
from typing import Any, Self

import grpc
import torch
from torch import nn

from sglr.core.cuts.client_cuts import ClientCuts
from sglr.core.data import ClientData, Samples
from sglr.core.errors import SglrError, UsageError
from sglr.core.task import Targets, Task
from sglr.engines.remote.described import MOST_TEXT, CutEnd, MalformedFieldError, cuts_of, shape_of, targets_of
from sglr.engines.remote.segment_hash import network_hash
from sglr.engines.remote.wire.frames import shown
from sglr.runs.config import Experiment, told_to_clients
from sglr.version import __version__

PROTOCOL = 3
"""Version of the protocol; peers of another version are refused."""

INPUT_TYPES = {
    str(kind).removeprefix("torch."): kind
    for kind in (torch.float32, torch.float64, torch.float16, torch.uint8, torch.int32, torch.int64, torch.bool)
}
"""Types that inputs may have, by torch's name."""

MOST_CLIENTS = 100_000
"""Most clients that a client accepts in a description."""

MOST_SETTING = 1000
"""Characters of a text among a run's settings."""

MOST_ENCODING = 1 << 20
"""Characters of a run's encoding, as JSON."""

CONNECTION: tuple[tuple[str, Any], ...] = (
    # Both sides notice that the other is gone, though its connection looks open.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A compressed message could be a small one that becomes huge.
    ("grpc.compression_enabled_algorithms_bitset", 1),
)
"""gRPC options of both sides."""

DIVERGED = grpc.StatusCode.OUT_OF_RANGE
"""How streams end when the training can't go on, because its numbers are not finite or too large."""


@dataclass(frozen=True)
class RunDescription:
    """A run, as its server describes it to clients.

    Parameters
    ----------
    run
        The run's id.
    settings
        Plain settings of the experiment that clients need, by name.
    clients
        |C|.
    input_shape, input_type, targets
        Of the data; the type is torch's name of it.
    encoding
        How what sites have becomes inputs, as in `sglr.core.data.Dataset`; empty if it is not known.
    cut_shape
        Shape of one sample's smashed data.
    segment
        Hash of the client segment's code and shapes.
    frozen
        SHA-256 of the client segment's frozen weights; empty if it has none.
    least_batch
        Fewest samples of a batch, as in `sglr.data.batches.Batching`.
    places, ends
        Where clients are cut at several places: the number of each client's cut, and the shape and hashes of every cut,
        in the place of ``cut_shape``, ``segment`` and ``frozen``, which are of the largest. Empty where all are cut at
        one place. `at` gives a client's own.
    served
        SHA-256 of the server's trained segment, where it answers predictions; empty where it trains.
    sglr, torch, protocol
        Versions.
    time
        The server's clock, seconds since 1970.
    """

    run: str
    settings: dict[str, Any]
    clients: int
    input_shape: tuple[int, ...]
    targets: Targets
    cut_shape: tuple[int, ...]
    segment: str
    encoding: dict[str, Any] = field(default_factory=dict)
    input_type: str = "float32"
    frozen: str = ""
    least_batch: int = 1
    places: tuple[int, ...] = ()
    ends: tuple[CutEnd, ...] = ()
    served: str = ""
    sglr: str = __version__
    torch: str = torch.__version__
    protocol: int = PROTOCOL
    time: float = 0.0

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        task: Task,
        data: ClientData,
        segments: Sequence[nn.Module],
        cuts: ClientCuts | None = None,
        *,
        least_batch: int = 1,
    ) -> Self:
        """Describe a run whose id is not known yet, whose clients have segments like these, one of each cut."""
        given = data.train.inputs
        inputs = tuple(given.shape[1:])
        ends = [CutEnd.of(segment, inputs, given.dtype) for segment in segments]
        largest = max(ends, key=lambda end: math.prod(end.cut_shape))
        return cls(
            run="",
            settings=_printable_settings(experiment.flat() | _fitted(experiment, task)),
            clients=len(data.indices),
            input_shape=inputs,
            targets=data.targets,
            **asdict(largest),
            encoding=_printable_encoding(data.encoding),
            input_type=str(given.dtype).removeprefix("torch."),
            least_batch=least_batch,
            places=() if cuts is None else cuts.places,
            ends=() if cuts is None else tuple(ends),
        )

    def at(self, client: int) -> Self:
        """Return the description with the shape and hashes of a client's own cut."""
        return replace(self, **asdict(self.ends[self.places[client]])) if self.ends else self

    @property
    def largest_cut(self) -> tuple[int, ...]:
        """Shape of one sample's smashed data, of the largest cut."""
        return max((end.cut_shape for end in self.ends), key=math.prod, default=self.cut_shape)

    @property
    def some_of_each_cut(self) -> list[int]:
        """A client of each cut."""
        return list({place: client for client, place in reversed([*enumerate(self.places)])}.values()) or [0]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty where samples don't each have one."""
        return self.targets.names if self.targets.are_classes else ()

    @property
    def network(self) -> str:
        """What clients must tell of their network."""
        return network_hash(self.segment, self.frozen)

    def no_samples(self) -> Samples:
        """Return an empty set of samples of the run's shape and type."""
        targets = torch.zeros(0, *self.targets.shape, dtype=self.targets.torch_dtype)
        return Samples(torch.zeros(0, *self.input_shape, dtype=INPUT_TYPES[self.input_type]), targets)

    def encode(self) -> bytes:
        """Return it as it goes over the wire, with the time of now."""
        return json.dumps({**asdict(self), "time": time.time()}).encode()

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Read what a server sent.

        Raises
        ------
        SglrError
            If it is malformed, or of another version of the protocol.
        """
        try:
            found = json.loads(content)
            if found["protocol"] != PROTOCOL:
                spoken, version = (shown(str(found.get(name)), 20) for name in ("protocol", "sglr"))
                told = f"the server speaks version {spoken} of the protocol (sglr {version})"
                raise SglrError(f"{told}, this sglr {__version__} version {PROTOCOL}: install the same version of sglr")
            known = {field.name: found[field.name] for field in fields(cls)}
            _check_fields(known)
            shapes = {name: shape_of(name, known[name]) for name in ("input_shape", "cut_shape")}
            cuts = cuts_of(known["places"], known["ends"], known["clients"])
            return cls(**{**known, **shapes, **cuts, "targets": targets_of(known["targets"])})
        except MalformedFieldError as error:
            raise SglrError(f"the server's description of the run cannot be read ({error})") from error
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise SglrError(f"the server's description of the run cannot be read ({type(error).__name__})") from error


def _check_fields(found: Mapping[str, Any]) -> None:
    """Raise MalformedFieldError if a field is of another type than any server writes, or without bound."""
    for name in ("run", "segment", "frozen", "served", "sglr", "torch"):
        text = found[name]
        if not (isinstance(text, str) and len(text) <= MOST_TEXT and text.isprintable()):
            raise MalformedFieldError(name)
    _check_encoding(found["encoding"])
    sound = {
        "input_type": isinstance(found["input_type"], str) and found["input_type"] in INPUT_TYPES,
        "settings": isinstance(found["settings"], dict),
        "targets": isinstance(found["targets"], dict),
        "clients": type(found["clients"]) is int and 0 < found["clients"] <= MOST_CLIENTS,
        "least_batch": type(found["least_batch"]) is int and found["least_batch"] in (1, 2),
        "time": type(found["time"]) in (int, float) and math.isfinite(found["time"]),
    }
    for name, right in sound.items():
        if not right:
            raise MalformedFieldError(name)
    _check_settings(found["settings"])


def _check_settings(found: Mapping[str, Any]) -> None:
    """Raise MalformedFieldError if a text among settings is too long, or has characters that can't be printed."""
    if not all(len(text) <= MOST_SETTING and text.isprintable() for text in _texts(found)):
        problem = f"a text of more than {MOST_SETTING} characters, or with some that can't be printed"
        raise MalformedFieldError("settings", problem)


def _printable_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings as clients will be told them.

    Raises
    ------
    UsageError
        If they would refuse one.
    """
    told = told_to_clients(settings)
    for name, value in told.items():
        try:
            _check_settings({name: value})
        except MalformedFieldError as error:
            raise UsageError(name, str(value)[:60], error.problem, "write it otherwise") from None
    return told


def _check_encoding(found: Any) -> None:
    """Raise MalformedFieldError if a client may not read or show an encoding."""
    if not isinstance(found, dict):
        raise MalformedFieldError("encoding")
    if len(json.dumps(found)) > MOST_ENCODING:
        raise MalformedFieldError("encoding", "too long")
    if not all(text.isprintable() for text in _texts(found)):
        raise MalformedFieldError("encoding", "a name with characters that can't be printed")


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, Mapping):
        yield from found
        yield from chain.from_iterable(map(_texts, found.values()))
    elif isinstance(found, list | tuple):
        yield from chain.from_iterable(map(_texts, found))


def _printable_encoding(encoding: Mapping[str, Any]) -> dict[str, Any]:
    """Return the encoding as clients will be told it.

    Raises
    ------
    UsageError
        If they would refuse it.
    """
    try:
        _check_encoding(dict(encoding))
    except MalformedFieldError as error:
        remedy = "rename it in the data or the schema"
        raise UsageError("encoding", encoding.get("kind", ""), error.problem, remedy) from None
    return dict(encoding)


def _fitted(experiment: Experiment, task: Task) -> dict[str, Any]:
    """Return the parameters of a task that has a name, with what the server took from data: sites have others."""
    named = not experiment.task.startswith("<") and ":" not in experiment.task and is_dataclass(task)
    found = asdict(task) if named else {}  # type: ignore[call-overload]
    return {name: "none" if value is None else value for name, value in found.items()}


def run_id(fingerprint: str) -> str:
    """Return the id of the run whose authority has this fingerprint."""
    return fingerprint[:32]
