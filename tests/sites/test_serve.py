"""A server and its sites: data that stay there, stopping and going on, and who needs a line."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sglr
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone
from sglr.engines.remote.trust.authority import Authority
from sglr.runs.config import Experiment
from sglr.runs.folder import Run
from sglr.sites.build_client import SiteConfig
from sglr.sites.join import join
from sglr.sites.join_commands import keep_address, line, missing, new_lines, renew, revoke, told_address
from sglr.sites.own_data import Source
from sglr.sites.serve import serve, served
from sglr.sites.serve_options import ServeOptions

from .federation import SETTINGS, local_twin
from .test_own_data import idx

HOUR = timedelta(hours=1)


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Sites:
    """Sites that join as soon as a server listens, in threads of this process."""

    def __init__(self, folder: Path, source: Callable[[int], Source], experiment: Experiment) -> None:
        self.folder, self.source, self.experiment = folder, source, experiment
        self.address = free_address()
        self.over = threading.Event()
        self.threads: list[threading.Thread] = []
        self.problems: list[BaseException] = []
        self.ends: dict[int, list[bool]] = {}

    def opened(self, port: int, authority: Authority) -> None:
        if self.threads:  # they are waiting for the server to come back
            return
        for client in missing(authority, self.experiment):
            token = authority.issue_token(client, HOUR)
            self.threads.append(threading.Thread(target=self._join, args=(client, token)))
            self.threads[-1].start()

    def _join(self, client: int, token: str) -> None:
        own = SiteConfig(self.source(client), device="cpu")
        try:
            self.ends[client] = join(
                self.address, [token], own, self.folder / str(client), patience=60, stop=self.over.is_set
            )
        except BaseException as problem:
            self.problems.append(problem)

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        assert self.problems == []

    def serve(self, out: Path, **hooks: Any) -> Run:
        return serve(self.experiment, out, ServeOptions(self.address, opened=self.opened), **hooks)


@pytest.fixture
def sites(tmp_path):
    made: list[Sites] = []

    def make(source: Callable[[int], Source], **settings: Any) -> Sites:
        experiment = served(Experiment.from_flat({**SETTINGS, **settings}))
        made.append(Sites(tmp_path / "sites", source, experiment))
        return made[-1]

    yield make
    for one in made:
        one.end()


def digits(_: int) -> Source:
    return Source(dataset="digits")


@pytest.mark.charts
@pytest.mark.parametrize("method", ["sglr", "sfl"])
def test_data_that_stay_at_the_sites_are_trained_on(sites, tmp_path, method):
    rng = np.random.default_rng(0)
    for client, count in enumerate((30, 50)):
        idx(tmp_path / f"data{client}", rng.integers(0, 3, count).tolist())
    run_sites = sites(
        lambda client: Source(path=tmp_path / f"data{client}"),
        method=method,
        dataset="sites",
        input_shape=[1, 8, 8],
        classes=["0", "1", "2"],
        clients=2,
        samples_per_client=None,
        validation=None,
        test_samples=None,
        epochs=2,
    )
    out = tmp_path / "run"
    run = run_sites.serve(out)
    assert run_sites.problems == []
    run_sites.end()
    assert run_sites.ends == {0: [True], 1: [True]}
    summary = run.summary
    assert summary is not None
    # Of 30 and 50 samples a fifth is for the test, and a tenth of the rest for validation.
    assert run.history[-1]["samples"] == 2 * (22 + 36)
    assert summary["validation"] is not None
    assert summary["communication"]["views"]["paper"]["total_bytes"] > 0
    assert summary["computation"]["total_flops"] > 0
    assert (out / "report.html").is_file()
    assert not (out / "classes.json").exists(), "nobody told the server"
    status = json.loads((out / "status.json").read_text())
    assert (status["state"], [one["samples"] for one in status["clients"]]) == ("done", [22, 36])
    again = serve(run_sites.experiment, out, ServeOptions(run_sites.address))
    assert again.summary == summary, "a finished run is left as it is"
    files = sorted(tmp_path.rglob("segment.safetensors"))
    assert len(files) == 2
    network = sglr.load_model(out, segment=files[0])
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.slow
def test_stopped_and_started_again_it_ends_with_the_weights_of_a_run_in_one_process(sites, tmp_path):
    settings = {"epochs": 3, "checkpoint_every": 2}
    run_sites = sites(digits, **settings)
    asked = threading.Event()

    def stop_soon(event: object) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == (1, 2):
            asked.set()

    with pytest.raises(Interrupted, match="run the same command to continue, clients wait for it"):
        run_sites.serve(tmp_path / "run", observe=stop_soon, stop=asked.is_set)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "stopped"
    run = run_sites.serve(tmp_path / "run")
    alone = local_twin(settings, tmp_path / "local")
    assert run.summary["weights_sha256"] == alone.summary["weights_sha256"]


def test_a_folder_with_another_run_is_refused_but_patience_may_change(sites, tmp_path):
    run_sites = sites(digits)
    run_sites.serve(tmp_path / "run")
    other = run_sites.experiment.model_copy(update={"seed": 1})
    with pytest.raises(UsageError, match=r"another configuration \(seed is 0 there, 1 here\)"):
        serve(other, tmp_path / "run", ServeOptions(free_address()))
    patient = run_sites.experiment.model_copy(update={"step_deadline": 9.0, "min_clients": 2})
    serve(patient, tmp_path / "run", ServeOptions(free_address()))
    assert Run.open(tmp_path / "run").experiment.step_deadline == 9.0


def test_a_port_that_is_taken_is_told(sites, tmp_path):
    run_sites = sites(digits)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match="listen"):
            serve(run_sites.experiment, tmp_path / "run", ServeOptions(address))


# Lines


def experiment(**settings: Any) -> Experiment:
    return served(Experiment.from_flat({**SETTINGS, **settings}))


def test_a_line_says_what_a_site_has_to_do():
    assert line(experiment(), "h:1", 2, "T") == "sglr join h:1 --token T --dataset digits --partition 2/3"
    assert line(experiment(method="cl"), "h:1", 0, "T") == "sglr join h:1 --token T --dataset digits"
    own = experiment(dataset="sites", input_shape=[4], classes=2, model="my_model:make", cut=3)
    assert line(own, "h:1", 0, "T") == "sglr join h:1 --token T --data PATH --model my_model:make"


def test_the_address_that_clients_are_told():
    assert told_address("10.0.0.7:7443", None) == "10.0.0.7:7443"
    assert told_address("0.0.0.0:7443", "hub.example.org:443") == "hub.example.org:443"
    assert told_address("0.0.0.0:7443", None) == f"{socket.getfqdn()}:7443"
    with pytest.raises(UsageError, match="not HOST:PORT"):
        told_address("0.0.0.0:7443", "hub.example.org")


def test_lines_are_for_those_without_a_certificate(tmp_path):
    run, authority = tmp_path / "run", Authority.open(tmp_path / "run" / "trust")
    run_settings = experiment()
    (run / "config.toml").write_text(run_settings.to_toml())
    lines = new_lines(authority, run_settings, "h:1", missing(authority, run_settings), HOUR)
    assert list(lines) == [0, 1, 2]
    assert len({text.split()[4] for text in lines.values()}) == 3
    with pytest.raises(UsageError, match="give --address"):
        renew(run, 1, None, HOUR)
    keep_address(run, "hub:7443")
    assert renew(run, 1, None, HOUR).startswith("sglr join hub:7443 --token sglr1-")
    assert revoke(run, 1) == 2, "both lines of client 1"
    assert revoke(run, 1) == 0
    for wrong in (-1, 3):
        with pytest.raises(UsageError, match="this run has 3 clients; give 0 to 2"):
            revoke(run, wrong)


def test_lines_of_a_run_that_was_never_served_are_refused(tmp_path):
    (tmp_path / "config.toml").write_text(experiment().to_toml())
    with pytest.raises(UsageError, match="no authority in it"):
        renew(tmp_path, 0, "h:1", HOUR)
    assert not (tmp_path / "trust").exists()
