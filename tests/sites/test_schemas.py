"""Tables of several sites: columns are matched by name, and a site is told beforehand what would be read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from sglr.cli.main import main
from sglr.core.errors import Interrupted
from sglr.engines.remote.trust.authority import Authority
from sglr.runs.config import Experiment
from sglr.sites.build_client import SiteConfig
from sglr.sites.join import join
from sglr.sites.own_data import Source
from sglr.sites.serve import serve, served
from sglr.sites.serve_options import ServeOptions

from .test_serve import free_address

HOUR = timedelta(hours=1)


def rows(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": rng.normal(50, 10, 60).round(1), "sex": rng.choice(["f", "m"], 60)})
    frame["bmi"] = rng.normal(25, 3, 60).round(2)
    frame["diagnosis"] = np.where(frame["age"] + 3 * frame["bmi"] > 125, "ill", "well")
    return frame


def schema_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    rows(0).to_csv(folder / "sample.csv", index=False)
    assert main(["schema", str(folder / "sample.csv"), "--label-column", "diagnosis"]) == 0
    (folder / "schema.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    return folder / "schema.toml"


def experiment_of(schema: Path) -> Experiment:
    settings = {"dataset": "sites", "schema": str(schema), "model": "mlp", "clients": 2, "epochs": 2, "device": "cpu"}
    return served(Experiment.from_flat({**settings, "method": "sfl"}))


def trained(folder: Path, schema: Path, tables: list[Path]) -> str:
    """Train between two sites; return the hash of all weights."""
    problems: list[BaseException] = []

    def take_part(address: str, token: str, number: int) -> None:
        try:
            own = SiteConfig(source=Source(path=tables[number]), device="cpu")
            join(address, [token], own, folder / f"site-{number}", patience=30)
        except BaseException as problem:
            problems.append(problem)

    threads: list[threading.Thread] = []

    def opened(port: int, authority: Authority) -> None:
        for number in range(2):
            told = (f"127.0.0.1:{port}", authority.issue_token(number, HOUR), number)
            threads.append(threading.Thread(target=take_part, args=told))
            threads[-1].start()

    run = serve(experiment_of(schema), folder / "run", ServeOptions(free_address(), opened=opened))
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert problems == []
    assert run.summary is not None
    return str(run.summary["weights_sha256"])


@pytest.mark.slow
def test_sites_whose_columns_are_in_another_order_end_with_the_same_weights(tmp_path, capsys):
    schema, ends = schema_of(tmp_path, capsys), []
    for order in (["age", "sex", "bmi", "diagnosis"], ["bmi", "diagnosis", "age", "sex"]):
        folder = tmp_path / order[0]
        folder.mkdir()
        rows(1).to_csv(folder / "first.csv", index=False)
        rows(2)[order].to_csv(folder / "second.csv", index=False, sep=";" if order[0] == "bmi" else ",")
        ends.append(trained(folder, schema, [folder / "first.csv", folder / "second.csv"]))
    assert ends[0] == ends[1]


class Waiting(NamedTuple):
    address: str
    authority: Authority
    run: Path


@pytest.fixture
def server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Waiting]:
    found: list[Waiting] = []
    asked, there = threading.Event(), threading.Event()
    experiment = experiment_of(schema_of(tmp_path, capsys))

    def opened(port: int, authority: Authority) -> None:
        found.append(Waiting(f"127.0.0.1:{port}", authority, tmp_path / "run"))
        there.set()

    def train() -> None:
        with pytest.raises(Interrupted):
            serve(experiment, tmp_path / "run", ServeOptions(free_address(), opened=opened), stop=asked.is_set)

    thread = threading.Thread(target=train)
    thread.start()
    assert there.wait(60)
    yield found[0]
    asked.set()
    thread.join(30)
    assert not thread.is_alive()


def test_a_site_is_told_what_would_be_read_before_it_joins(server, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows(1)[["bmi", "diagnosis", "age", "sex"]].to_csv("mine.csv", index=False, sep=";")
    token = server.authority.issue_token(1, HOUR)
    words = ["join", server.address, "--token", token, "--data", "mine.csv", "--check"]
    for _ in range(2):
        assert main(words) == 0
    told = capsys.readouterr().out
    assert "mine.csv: 44 samples to train on, 4 for validation, 12 for test; an input is 4" in told
    assert "sex  category: f, m" in told
    assert "labels go to the server" in told
    assert "this was a check only" in told
    assert not (tmp_path / "sites").exists()
    rows(1).rename(columns={"age": "Alter"}).to_csv("other.csv", index=False)
    assert main([*words[:5], "other.csv", "--check"]) == 2
    assert "column = age: " in capsys.readouterr().err


def test_the_schema_stands_in_the_runs_settings_not_its_path(server, tmp_path):
    told = Experiment.from_toml(server.run / "config.toml")
    assert [column["name"] for column in told.dataset_parameters["schema"]["columns"]] == ["age", "sex", "bmi"]
    assert told.fingerprint() == experiment_of(tmp_path / "schema.toml").fingerprint()


def test_a_schema_alone_means_data_of_sites(tmp_path, capsys):
    schema = schema_of(tmp_path, capsys)
    (tmp_path / "taken").write_text("")
    words = ["serve", "--schema", str(schema), "--model", "mlp", "--clients", "2", "--out", str(tmp_path / "taken")]
    assert main(words) == 2
    assert "is a file" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "run"), "--input-shape", "3"]) == 2
    assert "input_shape = 3: the schema's inputs have shape 4" in capsys.readouterr().err
