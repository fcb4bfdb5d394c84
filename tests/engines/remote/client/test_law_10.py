"""Law 10: with a tail no target leaves a client, for every task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.some_targets import Lower, clients_for, make_task, upper_for

from sglr.core.data import Samples
from sglr.core.optim import OptimizerSpec
from sglr.core.registry import TASKS
from sglr.data.batches import Batching
from sglr.engines.remote.client.handlers import RequestHandlers
from sglr.engines.remote.client.job import Job
from sglr.engines.remote.client.snapshots import Snapshots
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.engines.remote.told import told_names
from sglr.engines.remote.wire.frames import Frame, decode, encode
from sglr.engines.remote.wire.messages_pb2 import Envelope
from sglr.splitting import ClientSegments

KINDS = frozenset(("smashed", "scores", "tally", "feature_gradients", "weights", "done", "refusal"))


class Site:
    """A client with a tail, asked whatever a server can ask."""

    def __init__(self, name: str, folder: Path, *, other: bool) -> None:
        task = make_task(name)
        data = clients_for(task, (9,))
        segment = ClientSegments(Lower(data)(0), upper_for(task, data), (3,))
        samples = [
            Samples(part.inputs, part.targets.flip(0) if other else part.targets) for part in (data.train, data.test)
        ]
        job = Job(
            0, segment, samples[0], {"test": samples[1]}, task, data.targets, Batching(4), OptimizerSpec.parse("sgd")
        )
        self.trainer = LocalTrainer(job)
        snapshots = Snapshots(folder / f"{other}", "run", 2)
        self.handlers = RequestHandlers(self.trainer, snapshots, lambda _: None, lambda: False)

    def ask(self, kind: str, tensors: Any = None, **told: Any) -> Frame:
        request = Envelope(seq=1)
        body = getattr(request, kind)
        body.SetInParent()
        for name, value in told.items():
            setattr(body, name, value)
        frame = decode(encode(request, tensors or {}), 1 << 30, frozenset({kind}))
        answer = self.handlers.carry_out(frame)
        assert answer is not None
        return decode(answer, 1 << 30, KINDS)


@pytest.mark.parametrize("name", TASKS.names())
def test_with_a_tail_no_target_leaves_a_client(name: str, tmp_path: Path) -> None:
    """What is sent before any feature came does not depend on targets; afterwards, only gradients and sums do."""
    one, other = Site(name, tmp_path, other=False), Site(name, tmp_path, other=True)
    assert not torch.equal(one.trainer.job.train.targets, other.trainer.job.train.targets)
    before = [
        [site.ask("forward"), site.ask("evaluate", part="test", first=0, count=512), site.ask("collect")]
        for site in (one, other)
    ]
    for ours, theirs in zip(*before, strict=True):
        assert ours.kind != "refusal"
        assert ours.payloads == theirs.payloads
        assert "labels" not in {tensor.name for tensor in ours.envelope.tensors}
    one.ask("forward")
    step = one.ask("features", {"values": torch.ones(4, 3)})
    assert [(tensor.name, list(tensor.shape)) for tensor in step.envelope.tensors] == [("values", [4, 3])]
    held = one.ask("features", {"values": torch.ones(7, 3)}, part="test", first=0, count=512)
    assert (held.kind, held.payloads) == ("tally", ())
    assert one.ask("features", {"values": torch.ones(1, 3)}, part="test", first=0, count=1).kind == "refusal"
    names = told_names(one.trainer.job.task, one.trainer.job.targets)
    assert {*held.envelope.tally.scores} == {*names}
