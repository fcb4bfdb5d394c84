"""Every check of the doctor, against a real server that waits for its clients, and against what is none."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from sglr.cli.main import main
from sglr.core.errors import Interrupted, UsageError
from sglr.engines.remote.trust.authority import Authority
from sglr.engines.remote.trust.identity import Identity
from sglr.runs.config import Experiment
from sglr.sites.doctor import CHECKS, OK, PROBLEM, UNKNOWN, Check, Patient
from sglr.sites.serve import serve, served
from sglr.sites.serve_options import ServeOptions

from .federation import SETTINGS
from .test_serve import free_address

HOUR = timedelta(hours=1)


class Waiting(NamedTuple):
    """A server that waits for clients, one of which has enrolled."""

    address: str
    authority: Authority
    folder: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waiting]:
    run, address = tmp_path_factory.mktemp("run"), free_address()
    asked, opened = threading.Event(), threading.Event()
    experiment = served(Experiment.from_flat(SETTINGS))

    def train() -> None:
        told = ServeOptions(address, opened=lambda port, authority: opened.set())
        with pytest.raises(Interrupted):
            serve(experiment, run / "out", told, stop=asked.is_set)

    thread = threading.Thread(target=train)
    thread.start()
    assert opened.wait(60)
    authority = Authority.open(run / "out" / "trust")
    Identity.enrol(address, authority.issue_token(1, HOUR), run / "site")
    yield Waiting(address, authority, run / "site")
    asked.set()
    thread.join(30)
    assert not thread.is_alive()


def examined(patient: Patient) -> dict[str, Check]:
    found = list(patient.examine())
    assert tuple(check.name for check in found) == CHECKS
    assert all(check.remedy for check in found if check.state == PROBLEM)
    return {check.name: check for check in found}


def test_who_has_joined_gets_everything_checked(server):
    found = examined(Patient(server.address, folder=server.folder))
    assert {name: check.state for name, check in found.items()} == dict.fromkeys(CHECKS, OK)
    assert found["model"].found.startswith("mlp, the same segment here")
    assert "client 1" in found["credentials"].found
    assert abs(float(found["clock"].found.split()[0])) < 5
    assert "bit/s up" in found["bandwidth"].found


def test_a_token_is_checked_without_using_it_up(server, tmp_path):
    token = server.authority.issue_token(2, HOUR)
    for _ in range(2):
        found = examined(Patient(server.address, token=token))
        assert {name: check.state for name, check in found.items()} == dict.fromkeys(CHECKS, OK)
        assert found["credentials"].found.startswith("the join token is valid until")
    assert Identity.enrol(server.address, token, tmp_path / "site").client == 2


def test_with_nothing_the_way_is_checked_and_what_could_not_be_is_said(server):
    found = examined(Patient(server.address))
    assert [check.state for check in found.values()] == [OK, OK] + [UNKNOWN] * 7
    assert "--token or --folder" in found["server"].remedy
    assert sum("or your folder" in check.remedy for check in found.values()) == 1


def test_a_revoked_token_and_a_replaced_certificate_are_problems(server, tmp_path):
    token = server.authority.issue_token(0, HOUR)
    server.authority.revoke(0)
    assert examined(Patient(server.address, token=token))["credentials"].state == PROBLEM
    Identity.enrol(server.address, server.authority.issue_token(0, HOUR), tmp_path / "old")
    Identity.enrol(server.address, server.authority.issue_token(0, HOUR), tmp_path / "new")
    found = examined(Patient(server.address, folder=tmp_path / "old"))
    assert found["credentials"].state == PROBLEM
    assert "replaced" in found["credentials"].found
    assert examined(Patient(server.address, folder=tmp_path / "new"))["credentials"].state == OK


def test_another_runs_server_is_noticed_before_anything_is_said(server, tmp_path):
    other = Authority.open(tmp_path / "other")
    found = examined(Patient(server.address, token=other.issue_token(0, HOUR)))
    assert found["server"].state == PROBLEM
    assert "send nothing" in found["server"].remedy
    assert found["credentials"].state == UNKNOWN


def test_a_name_without_an_address_and_a_port_that_is_closed():
    found = examined(Patient("nowhere.invalid:7443"))
    assert (found["name"].state, found["port"].state) == (PROBLEM, UNKNOWN)
    found = examined(Patient(free_address()))
    assert (found["port"].state, found["server"].state) == (PROBLEM, UNKNOWN)
    assert "nothing listens there" in found["port"].found


def test_a_port_that_is_no_server_of_ours():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_say_nothing_sensible, args=(listening,), daemon=True).start()
        found = examined(Patient(f"127.0.0.1:{listening.getsockname()[1]}", timeout=2))
    assert (found["port"].state, found["server"].state) == (OK, PROBLEM)


def _say_nothing_sensible(listening: socket.socket) -> None:
    for _ in range(2):
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(0.2)
            connection.sendall(b"220 mail.example.org ESMTP\r\n")
            time.sleep(0.1)


@pytest.mark.parametrize(("seconds", "told"), [(90, "90.0 s ahead of"), (-90, "90.0 s behind")])
def test_a_clock_that_is_wrong_is_told(server, seconds, told):
    patient = Patient(server.address, folder=server.folder, clock=lambda: time.time() + seconds)
    found = examined(patient)["clock"]
    assert found.state == PROBLEM
    assert told in found.found


def test_a_mistyped_token_is_misuse():
    with pytest.raises(UsageError, match="token"):
        Patient("127.0.0.1:1", token="sglr1-abc")


def test_the_command_says_it_all_and_its_exit_code_says_whether_there_is_a_problem(server, capsys):
    assert main(["doctor", server.address, "--folder", str(server.folder)]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in CHECKS)
    assert main(["doctor", free_address(), "--json"]) == 1
    states = [check["state"] for check in json.loads(capsys.readouterr().out)]
    assert states == [OK, PROBLEM] + [UNKNOWN] * 7
    assert main(["doctor", "nonsense"]) == 2


def test_status_over_the_network_is_for_those_who_joined(server, capsys):
    assert main(["status", server.address, "--folder", str(server.folder)]) == 0
    assert "0 of 3 here" in capsys.readouterr().out
