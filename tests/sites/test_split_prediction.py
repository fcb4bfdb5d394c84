"""A trained network between a site and a server: its answers, and whom the server answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from torch import nn

import sglr
from sglr.core.errors import SglrError, UsageError
from sglr.engines.remote.client.predictions import AGAIN
from sglr.engines.remote.server.predictions import PredictionLimits
from sglr.engines.remote.trust.identity import Identity
from sglr.engines.remote.trust.peers import Unreachable, Untrusted
from sglr.engines.remote.trust.token import Token
from sglr.engines.remote.trust.token_holder import TokenHolder
from sglr.engines.remote.wire.frames import encode
from sglr.engines.remote.wire.messages_pb2 import Envelope
from sglr.inference.evaluate import evaluate
from sglr.inference.network import trained_network
from sglr.parties.defences import parse
from sglr.runs.folder import Run
from sglr.sites.build_client import SiteConfig
from sglr.sites.client_weights import WeightSource
from sglr.sites.connect import SiteOptions, connect
from sglr.sites.join import join
from sglr.sites.own_data import Source

from .federation import local_twin
from .serving import Served, serving

INPUTS = torch.rand(150, 1, 8, 8, generator=torch.Generator().manual_seed(0))
NOISE = "noise:sigma=0.5"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose clients have weights of their own, trained in one place."""
    return local_twin({"method": "sglr", "epochs": 1}, tmp_path_factory.mktemp("own") / "run").path


@pytest.fixture(scope="module")
def served(run: Path):
    with serving(run) as found:
        yield found


def with_weights_of(run: Path, client: int | None = None) -> SiteOptions:
    return SiteOptions(WeightSource(run=run, client=client), device="cpu")


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "sfl"},
        {"method": "psl", "tail": "relu2", "compression": "int8"},
        {"method": "sglr", "defence": NOISE},
    ],
    ids=["shared", "tail and codec", "defence"],
)
def test_answers_are_those_of_the_joined_network(tmp_path: Path, settings: dict[str, Any]) -> None:
    run = local_twin({"epochs": 1, **settings}, tmp_path / "run").path
    with serving(run) as served:
        shared = settings["method"] == "sfl"
        site = served.site(1, tmp_path / "site", SiteOptions(device="cpu") if shared else with_weights_of(run))
        assert site.whose == ("shared" if shared else "client 1")
        found = site.outputs(INPUTS, 40)
    whole = sglr.load_model(run, 1)
    lower, others = whole[0], whole[1:]
    with torch.no_grad():
        smashed = lower(INPUTS)
        if "defence" in settings:  # by the same keys as in the scores of the training
            smashed = parse(NOISE, Run.open(run).experiment.seed).scored(smashed[None], (1,), 0)[0]
        wanted = others(smashed)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_site_scores_its_samples_as_where_the_whole_network_is(tmp_path: Path) -> None:
    run = local_twin({"epochs": 1, "method": "psl", "tail": "relu2"}, tmp_path / "run").path
    labelled = INPUTS, torch.arange(len(INPUTS)) % 10
    with serving(run) as served:
        site = served.site(2, tmp_path / "site", with_weights_of(run))
        found = evaluate(site, labelled, 40)
        with pytest.raises(UsageError, match="no targets"):
            evaluate(site, INPUTS)
        with pytest.raises(UsageError, match="give data with targets: --data"):
            evaluate(site)
        assert served.server.describe()["samples"] == len(INPUTS), "nothing is asked for what can't be scored"
    wanted = evaluate(trained_network(run, 2), labelled)
    assert (found["run"], found["client"], found["confusion"]) == (served.address, "client 2", wanted["confusion"])
    assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
    for name, score in wanted["scores"].items():
        known = {key: value for key, value in score.items() if value is not None}
        assert {key: found["scores"][name][key] for key in known} == pytest.approx(known, rel=1e-4), name


def asked(identity: Identity | TokenHolder, served: Served, data: bytes) -> grpc.RpcError:
    """Send the server what no site of ours sends; return the error."""
    with identity.sync_channel(served.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/sglr.Split/Predict")(data, timeout=10)
    return caught.value


def request(**tensors: torch.Tensor) -> bytes:
    envelope = Envelope()
    envelope.smashed.SetInParent()
    return encode(envelope, tensors)


def test_only_who_is_enrolled_gets_an_answer_and_nobody_who_is_revoked(served: Served, run: Path, tmp_path: Path):
    token = served.token(2)
    holder = TokenHolder.of(served.address, Token.parse(token))
    smashed = request(values=torch.zeros(1, 64))
    assert asked(holder, served, smashed).code() is grpc.StatusCode.PERMISSION_DENIED
    site = served.site(2, tmp_path / "site", with_weights_of(run))
    assert len(site.outputs(INPUTS[:3])) == 3
    served.authority.revoke(2)
    with pytest.raises(Untrusted, match=r"refused this client.*revoked"):
        site.outputs(INPUTS[:3])
    assert asked(Identity.open(tmp_path / "site"), served, smashed).code() is grpc.StatusCode.UNAUTHENTICATED
    beyond = Identity.enrol(served.address, served.token(7), tmp_path / "beyond")
    assert "this run has 3 clients" in str(asked(beyond, served, smashed).details())


def test_what_no_site_of_ours_sends_is_refused_and_the_next_request_answered(served: Served, run: Path, tmp_path: Path):
    site = served.site(0, tmp_path / "site", with_weights_of(run))
    identity = Identity.open(tmp_path / "site")
    cut = tuple(site.description.cut_shape)
    for data, told in (
        (b"", "a header alone"),
        (b"x" * 100, "not a frame of sglr"),
        (request(values=torch.full((2, *cut), torch.nan)), "NaN or infinity"),
        (request(values=torch.full((2, *cut), 1e30)), "norm"),
        (request(values=torch.zeros(0, *cut)), "0 samples"),
        (request(values=torch.zeros(513, *cut)), "513 samples"),
        (request(values=torch.zeros(2, cut[0] + 1)), "expected"),
        (request(values=torch.zeros(2, *cut), labels=torch.zeros(2)), "other tensors than agreed"),
        (encode(_finish()), "a finish message is not expected"),
    ):
        error = asked(identity, served, data)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
        assert told in str(error.details())
    too_long = asked(identity, served, request(values=torch.zeros(1 << 22)))
    assert too_long.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(site.outputs(INPUTS[:3])) == 3
    assert served.server.describe()["clients"][0]["rejected"] == 10


def _finish() -> Envelope:
    envelope = Envelope()
    envelope.finish.SetInParent()
    return envelope


def test_the_site_names_a_sample_that_is_not_finite_and_sends_nothing_of_it(served: Served, run: Path, tmp_path: Path):
    site = served.site(1, tmp_path / "site", with_weights_of(run))
    inputs = INPUTS.clone()
    inputs[70, 0, 0, 0] = torch.nan
    with pytest.raises(UsageError, match=r"sample 70.*not finite"):
        site.outputs(inputs)
    with pytest.raises(UsageError, match=r"inputs are \[1, 9, 9\]"):
        site.outputs(torch.zeros(2, 1, 9, 9))


def test_each_client_has_a_bound_on_samples_a_minute(run: Path, tmp_path: Path):
    said: list[str] = []
    with serving(run, PredictionLimits(samples=100)) as served:
        first = served.site(0, tmp_path / "first", with_weights_of(run), say=said.append)
        assert len(first.outputs(INPUTS[:100])) == 100
        smashed = request(values=torch.zeros(1, *first.description.cut_shape))
        error = asked(Identity.open(tmp_path / "first"), served, smashed)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "at most 100 samples of one client" in str(error.details())
        assert 1 <= int(dict(error.trailing_metadata())[AGAIN]) <= 61
        other = served.site(1, tmp_path / "other", with_weights_of(run))
        assert len(other.outputs(INPUTS[:100])) == 100, "another client has its own"


def test_weights_of_another_run_file_or_client_are_refused(served: Served, run: Path, tmp_path: Path):
    other = local_twin({"method": "sglr", "epochs": 1, "seed": 5}, tmp_path / "other").path
    folder = tmp_path / "site"
    with pytest.raises(UsageError, match="each client of this run has weights of its own"):
        served.site(0, folder)
    for weights, told in (
        (WeightSource(run=other), "its server's layers are others"),
        (WeightSource(run=run, client=3), "there are 3 clients"),
        (WeightSource(segment=run / "config.toml"), "segment.safetensors of a client's folder"),
    ):
        with pytest.raises(UsageError, match=told):
            connect(served.address, None, folder, SiteOptions(weights, device="cpu"))
    with pytest.raises(UsageError, match="--folder, or a --token"):
        connect(served.address, None, None, SiteOptions())


def test_a_server_that_is_drained_answers_what_came_before_and_nothing_after(run: Path, tmp_path: Path):
    with serving(run) as served:
        site = served.site(0, tmp_path / "site", with_weights_of(run))
        answers = site.batches(INPUTS, 10)
        next(answers)
        served.server.drain()
    with pytest.raises(Unreachable, match="no connection"):
        site.outputs(INPUTS)


class Slow(nn.Module):
    """Takes its time."""

    def forward(self, smashed: torch.Tensor) -> torch.Tensor:
        time.sleep(0.5)
        return torch.zeros(len(smashed), 10)


def test_a_request_has_a_deadline_on_either_side(run: Path, tmp_path: Path):
    with serving(run, PredictionLimits(seconds=0.2), Slow()) as served:
        site = served.site(0, tmp_path / "site", with_weights_of(run))
        with pytest.raises(Unreachable, match=r"the server is busy.*0\.2 seconds.*--batch-size"):
            site.outputs(INPUTS)
    with serving(run, PredictionLimits(), Slow()) as served:
        hasty = SiteOptions(WeightSource(run=run), device="cpu", seconds=0.2)
        site = connect(served.address, None, tmp_path / "site", hasty)
        with pytest.raises(Unreachable, match=r"no answer within 0\.2 seconds"):
            site.outputs(INPUTS)


def test_small_batches_go_together_as_long_as_answers_come_quickly(run: Path, tmp_path: Path):
    requests = "sglr_messages_total", {"kind": "smashed", "direction": "up"}
    with serving(run) as served:
        site = served.site(0, tmp_path / "site", with_weights_of(run))
        singly = site.outputs(INPUTS, 2)
        assert served.metrics.registry.get_sample_value(*requests) < 75
        torch.testing.assert_close(singly, site.outputs(INPUTS, 150))
    with serving(run, PredictionLimits(), Slow()) as served:
        site = connect(served.address, None, tmp_path / "site", with_weights_of(run))
        site.outputs(INPUTS[:12], 2)
        assert served.metrics.registry.get_sample_value(*requests) == 6


def test_who_joins_a_server_of_predictions_is_told_that_the_training_is_over(served: Served, tmp_path: Path):
    with pytest.raises(SglrError, match=r"training of this run is over.*sglr predict"):
        join(served.address, [served.token(1)], SiteConfig(Source(dataset="digits")), tmp_path / "site", patience=1)
