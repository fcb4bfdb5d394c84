"""Answers at the client where its head is sure, and of the server elsewhere."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sglr
from sglr.cli.main import main
from sglr.core.errors import UsageError
from sglr.inference.early_exit import EarlyExit

DIGITS: dict[str, Any] = {"dataset": "digits", "clients": 3, "samples_per_client": 48, "epochs": 2, "threads": 1}


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> sglr.Run:
    """A run whose clients have heads, and whose smashed data are rounded on their way."""
    out = tmp_path_factory.mktemp("headed") / "run"
    return sglr.train("cse-fsl", h=1, model="cnn", compression="int8", lr=0.01, out=out, **DIGITS)


def test_by_hand() -> None:
    """Two classes: entropies of (0, 0) and (0, ln 3) are ln 2 and 0.5623."""
    head = nn.Linear(2, 2, bias=False)
    head.weight = nn.Parameter(torch.eye(2))
    network = EarlyExit(nn.Identity(), head, nn.Linear(2, 2), 0.6).eval()
    inputs = torch.tensor([[0.0, 0.0], [0.0, math.log(3)], [math.nan, 0.0], [0.0, 1000.0]])
    with torch.inference_mode():
        found = network(inputs)
        assert torch.equal(found[[1, 3]], inputs[[1, 3]])
        torch.testing.assert_close(found[[0, 2]], network.server(inputs)[[0, 2]], equal_nan=True)
    assert (network.alone, network.asked) == (2, 4)


def test_each_sample_is_answered_for_by_the_head_or_by_the_server(headed: sglr.Run) -> None:
    network, inputs = headed.network(), torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    heads, server = network.alone().outputs(inputs), network.outputs(inputs)
    entropy = torch.special.entr(heads.softmax(-1)).sum(-1)
    most = float(entropy.median())
    both = network.early_exit(most)
    sure = entropy <= most
    torch.testing.assert_close(both.outputs(inputs), torch.where(sure[:, None], heads, server), atol=1e-5, rtol=1e-4)
    assert both.whose == f"shared; heads answered for {int(sure.sum())} of 40"
    assert network.whose == "shared"
    torch.testing.assert_close(network.early_exit(0.0).outputs(inputs), server)
    torch.testing.assert_close(network.early_exit(3.0).outputs(inputs), heads)


def test_predictions_and_scores_tell_who_answered(headed: sglr.Run, capsys: pytest.CaptureFixture[str]) -> None:
    network, told = headed.network(), []
    heads = network.alone().outputs(network.own_test().inputs)
    median = float(torch.special.entr(heads.softmax(-1)).sum(-1).median())
    for entropy in (0, median, 5):
        assert main(["evaluate", str(headed.path), "--head-entropy", str(entropy), "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    samples = told[0]["samples"]
    counts = [int(one["client"].partition("answered for ")[2].split()[0].replace(",", "")) for one in told]
    assert counts[0] == 0
    assert 0 < counts[1] < counts[2] == samples
    assert len({one["loss"] for one in told}) == 3
    assert main(["evaluate", str(headed.path), "--head", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(told[2]["loss"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--head-entropy", "0.2", "--head"], "heads answer for all samples"),
        (["--head-entropy", "-1"], "-1"),
        (["--head-entropy", "nan"], "is no entropy"),
    ],
)
def test_what_makes_no_sense_is_refused(
    headed: sglr.Run, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(["evaluate", str(headed.path), *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--head-entropy", "0.2", "--head"], "head_entropy = 0.2: heads answer for all samples"),
        (["--head-entropy", "-1"], "head_entropy = -1.0: is no entropy"),
    ],
)
def test_a_server_elsewhere_is_not_asked_what_makes_no_sense(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(["predict", "localhost:1", "digits", *words]) == 2
    assert told in capsys.readouterr().err


def test_networks_without_heads_or_classes_are_refused(tmp_path: Path) -> None:
    plain = sglr.train("psl", model="mlp", out=tmp_path / "plain", **DIGITS)
    with pytest.raises(UsageError, match=r"head_entropy = 0\.2: clients of method psl have no heads"):
        plain.network().early_exit(0.2)
    inputs = torch.randn(60, 4)
    numbers = sglr.train(
        "cse-fsl",
        h=1,
        task="regression",
        dataset=(inputs, inputs.sum(1)),
        model="mlp",
        clients=2,
        epochs=1,
        out=tmp_path / "numbers",
    )
    with pytest.raises(UsageError, match="not one logit for each class"):
        numbers.network().early_exit(0.2)
