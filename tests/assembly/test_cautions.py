"""What is known to fail is told at the start, and nothing else is."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sglr
from sglr.assembly.cautions import FAST, FEW, SKEWED, cautions, label_skew
from sglr.assembly.method import build_method
from sglr.cli.main import main
from sglr.core.data import ClientData, Samples
from sglr.core.task import Targets
from sglr.experiment.describe import describe

CLASSES = 4


def divided(per_client: list[list[int]]) -> ClientData:
    """Give each client so many samples of each class."""
    counts = np.array(per_client)
    targets = torch.cat([torch.arange(counts.shape[1]).repeat_interleave(torch.tensor(row)) for row in per_client])
    samples = Samples(torch.zeros(len(targets), 1), targets)
    rows = torch.arange(len(targets)).split(counts.sum(axis=1).tolist())
    return ClientData(
        samples, tuple(rows), samples, samples, Targets.of_classes(tuple("abcdefghij"[: counts.shape[1]]))
    )


ALIKE = divided([[250] * CLASSES] * CLASSES)
APART = divided([[1000 * (client == label) for label in range(CLASSES)] for client in range(CLASSES)])


def told(data: ClientData = ALIKE, method: Any = "sglr", **settings: Any) -> list[str]:
    experiment, given = describe(method, **{"clients": len(data.sizes), **settings})
    return cautions(experiment, given.method or build_method(experiment), data)


def test_the_defaults_are_told_nothing() -> None:
    assert told() == []


@pytest.mark.parametrize("method", ["psl", "slr", "sgl", "sglr", "sflv1", "fl", sglr.SGLR(phi=1.0, average="class")])
def test_clients_with_different_labels_and_no_remedy(method: Any) -> None:
    (line,) = told(APART, method)
    assert "--method sglr2 or sfl" in line
    assert "--label-prior own" in line
    assert "docs/results/non-iid.md" in line
    assert told(APART, method, label_prior="own") == []


@pytest.mark.parametrize("method", ["sfl", "sflv2", "ssl", "cl", sglr.SGLR(phi=1.0)])
def test_methods_that_bring_client_segments_together_need_none(method: Any) -> None:
    assert told(APART, method) == []


@pytest.mark.parametrize("method", ["sfl", "sflv2", "ssl"])
def test_correcting_what_needs_no_correction(method: Any) -> None:
    (line,) = told(APART, method, label_prior="own")
    assert "--label-prior ignore" in line
    assert told(ALIKE, method, label_prior="own") == told(APART, "cl", label_prior="own") == []


def test_skew_is_that_of_the_labels_whatever_the_division_is_called() -> None:
    assert told(APART, "psl", partition="iid") != []
    assert told(ALIKE, "psl", partition="dirichlet", concentration=0.01) == []


def test_skew_by_hand() -> None:
    """Two clients, two classes, 50 samples of one class each: ½(½ + ½) = ½, by chance √(2 · ¼ / 50π)."""
    assert label_skew(np.array([[50, 0], [0, 50]])) == pytest.approx(0.5 - np.sqrt(0.5 / (50 * np.pi)))
    assert label_skew(np.array([[50, 50], [50, 50]])) == 0


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(10, 300), st.integers(2, 20))
def test_chance_alone_is_no_skew(seed: int, clients: int, size: int, classes: int) -> None:
    counts = np.random.default_rng(seed).multinomial(size, np.full(classes, 1 / classes), clients)
    assert label_skew(counts) < SKEWED / 2


def test_clients_without_samples_count_for_nothing() -> None:
    counts = np.array([[50, 0], [0, 50], [0, 0]])
    assert label_skew(counts) == label_skew(counts[:2])


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"alpha": 2.0, "clients": 8}, True),  # 0.064: collapsed in the paper's Table 1 and in ours
        ({"alpha": 1.5, "clients": 15}, False),  # 0.058: did not
        ({"alpha": 2.0, "clients": 8, "server_lr": 1e-4}, False),
        ({"alpha": 2.0, "clients": 8, "participation": 0.5}, False),
        ({"alpha": 2.0, "clients": 8, "optimizer": "sgd"}, False),  # not measured
        ({"alpha": 0.0, "lr": 0.1}, False),  # no matter of SplitLr
    ],
)
def test_a_server_too_fast_for_adam(settings: dict[str, Any], warned: bool) -> None:
    lines = told(**settings)
    assert len(lines) == warned
    assert not lines or ("--alpha" in lines[0] and f"{FAST:g}" in lines[0])


def test_a_start_apart_with_few_samples() -> None:
    few = divided([[FEW // CLASSES] * CLASSES] * 3)
    (line,) = told(few, "psl", init="independent")
    assert "--init common" in line
    assert told(few, "psl") == told(few, "sfl", init="independent") == []
    assert told(ALIKE, "psl", init="independent") == []


def test_data_that_are_elsewhere_are_not_spoken_of() -> None:
    empty = Samples(torch.zeros(0, 1), torch.zeros(0, dtype=torch.long))
    elsewhere = dataclasses.replace(
        APART, train=empty, indices=tuple(torch.zeros(0, dtype=torch.long) for _ in range(3))
    )
    assert told(elsewhere, "psl", init="independent") == []


def test_the_command_line_warns_in_a_line_and_json_stays_json(tmp_path, capsys) -> None:
    flags = [
        "--method",
        "sglr",
        "--clients",
        "5",
        "--samples-per-client",
        "40",
        "--epochs",
        "1",
        "--model",
        "mlp",
        "--partition",
        "shards",
    ]
    assert main(["train", *flags, "--out", str(tmp_path / "r"), "--json"]) == 0
    answer = capsys.readouterr()
    assert json.loads(answer.out)["test"]
    assert [line for line in answer.err.splitlines() if line.startswith("warning: labels differ much")]
    assert main(["train", *flags, "--out", str(tmp_path / "q"), "--quiet"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_comparison_warns_once_for_a_method_and_a_sweep_not_at_all(tmp_path, capsys) -> None:
    settings = {"clients": 5, "samples_per_client": 40, "epochs": 1, "model": "mlp", "partition": "shards"}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    assert main(["compare", "--methods", "psl,sfl", "--seeds", "0,1", *flags, "--out", str(tmp_path / "c")]) == 0
    assert capsys.readouterr().err.count("warning: labels differ much") == 1
    (tmp_path / "grid.toml").write_text('[grid]\nmethod = ["psl"]\n')
    assert main(["sweep", str(tmp_path / "grid.toml"), *flags, "--jobs", "1", "--out", str(tmp_path / "s")]) == 0
    assert "labels differ" not in capsys.readouterr().err
