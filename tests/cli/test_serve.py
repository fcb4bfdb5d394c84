"""``sglr serve``, ``join``, ``token`` and ``revoke``: what they print, what they keep, what they refuse."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sglr.cli.join import read_share
from sglr.cli.serve import waiting_line
from sglr.core.errors import UsageError
from sglr.runs.folder import Run
from sglr.sites.build_client import SiteConfig
from sglr.sites.join import join
from sglr.sites.own_data import Source

from ..sites.test_own_data import pictures
from ..sites.test_serve import free_address

SETTINGS = """
model = "mlp"
dataset = "sites"
input_shape = [1, 8, 8]
classes = ["zebra", "yak"]
clients = 2
epochs = 2
batch_size = 8
device = "cpu"
"""


class Joining:
    """Sites that join as soon as their tokens are there, each with pictures of its own."""

    def __init__(self, folder: Path, address: str, tokens: Path) -> None:
        self.problems: list[BaseException] = []
        self._folder, self._address, self._tokens = folder, address, tokens
        self._threads = [threading.Thread(target=self._join, args=(client,)) for client in range(2)]

    def __enter__(self) -> Joining:
        for client, thread in enumerate(self._threads):
            pictures(self._folder / f"data{client}", {"zebra": 20 + 10 * client, "yak": 10})
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)
        assert self.problems == []

    def _join(self, client: int) -> None:
        file = self._tokens / f"client-{client}.token"
        until = time.monotonic() + 60
        while not file.is_file() and time.monotonic() < until:
            time.sleep(0.05)
        own = SiteConfig(Source(path=self._folder / f"data{client}"), device="cpu")
        try:
            assert join(self._address, [file.read_text()], own, self._folder / f"site{client}", patience=30) == [True]
        except BaseException as problem:
            self.problems.append(problem)


@pytest.fixture
def restored():
    logger = logging.getLogger("sglr")
    before = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


def test_from_settings_to_a_result_with_logs_that_tell_no_secrets(call, tmp_path, restored):
    (tmp_path / "run.toml").write_text(SETTINGS)
    out, tokens, address = tmp_path / "run", tmp_path / "tokens", free_address()
    with Joining(tmp_path, address, tokens):
        answer = call(
            *("serve", tmp_path / "run.toml", "--listen", address, "--out", out, "--tokens", tokens),
            *("--log-json", "--json"),
        )
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == Run.open(out).summary
    lines = [json.loads(line) for line in answer.err.splitlines()]
    events = [line.get("event") for line in lines]
    assert events.count("joined") == 2
    assert events.count("epoch") == 2
    files = sorted(tokens.iterdir())
    assert [file.name for file in files] == ["client-0.token", "client-1.token"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    for secret in (*(file.read_text() for file in files), "zebra", "yak", "PRIVATE KEY", "tensor("):
        assert secret not in answer.err


def test_every_setting_and_flag_of_train_is_taken(call, tmp_path):
    (tmp_path / "file").write_text("")
    answer = call("serve", "--listen", "nonsense", "--out", tmp_path / "run", "--clients", 3, "--alpha", 0.5)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "not HOST:PORT" in answer.err
    answer = call("serve", "--listen", free_address(), "--out", tmp_path / "file", "--method", "psl")
    assert (answer.code, "is a file; choose a folder" in answer.err) == (2, True)


def test_metrics_for_everyone_are_refused(call, tmp_path):
    words = ("serve", "--listen", free_address(), "--out", tmp_path / "run", "--prometheus", "0.0.0.0:9743")
    answer = call(*words, "--clients", "2", "--samples-per-client", "16", "--model", "mlp")
    assert answer.code == 2
    assert "served to this machine only" in answer.err
    assert not (tmp_path / "run").exists()
    answer = call(*words[:-2], "--metrics", "127.0.0.1:9743")
    assert answer.code == 2
    assert "give --prometheus 127.0.0.1:9743" in answer.err


def test_data_at_the_sites_can_be_trained_on_by_serve_only(call, tmp_path):
    (tmp_path / "run.toml").write_text(SETTINGS)
    for engine in ("local", "remote"):
        answer = call("train", "--config", tmp_path / "run.toml", "--engine", engine, "--out", tmp_path / "run")
        assert answer.code == 2
        assert "start a server: sglr serve" in answer.err


def test_a_new_line_and_an_end_for_a_client(call, tmp_path):
    from sglr.engines.remote.trust.authority import Authority
    from sglr.sites.join_commands import keep_address

    run = tmp_path / "run"
    Authority.open(run / "trust")
    (run / "config.toml").write_text(SETTINGS + 'engine = "remote"\n')
    keep_address(run, "hub.example.org:7443")
    answer = call("token", run, "--client", 1)
    assert answer.out.startswith("sglr join hub.example.org:7443 --token sglr1-")
    assert answer.out.endswith(" --data PATH\n")
    assert call("token", run, "--client", 1, "--token-only").out.startswith("sglr1-")
    assert "has no access any more (2 revoked)" in call("revoke", run, "--client", 1).out
    assert "had no valid credentials" in call("revoke", run, "--client", 1).out
    for command in ("token", "revoke"):
        assert "this run has 2 clients; give 0 to 1" in call(command, run, "--client", 2).err
        assert call(command, tmp_path, "--client", 0).code == 2
    for days in ("0", "-1", "nan", "1e12"):
        answer = call("token", run, "--client", 1, "--days", days)
        assert (answer.code, answer.err.startswith("error: days = ")) == (2, True)
        assert "is no lifetime of a token; give days above 0, up to 366" in answer.err
    answer = call("resume", run)
    assert (answer.code, "was started by sglr serve" in answer.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("serve", "--listen", "127.0.0.1:7443", "--out", "run", "--token-days", "nan"),
            "token_days = nan: is no lifetime of a token",
        ),
        (("doctor", "127.0.0.1:7443", "--timeout", "nan"), "timeout = nan: is no time to answer in"),
        (("doctor", "127.0.0.1:7443", "--timeout", "-1"), "timeout = -1.0: is no time to answer in"),
        (("join", "127.0.0.1:7443", "--patience", "nan"), "patience = nan: is no time to wait"),
        (("join", "127.0.0.1:7443", "--patience", "-5"), "patience = -5.0: is no time to wait"),
    ],
)
def test_times_that_are_none_are_refused_by_the_name_of_their_flag(call, words, told):
    answer = call(*words)
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("join", "127.0.0.1:7443", "--dataset", "digits"), "paste the whole line"),
        (("join", "127.0.0.1:7443", "--token", "sglr1-abc", "--dataset", "digits"), "a join token has 102 characters"),
        (("join", "127.0.0.1:7443", "--out", "nowhere", "--dataset", "digits"), "no identity in it"),
        (("join", "127.0.0.1:7443", "--token", "@nowhere"), "cannot be read"),
        (("join", "h:1", "--dataset", "digits", "--partition", "3"), "write it like 0/5"),
    ],
)
def test_misuse_of_join_is_told_before_anything_is_sent(call, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    answer = call(*words)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert told in answer.err


@pytest.mark.parametrize("text", ["", "3", "5/5", "1/0", "-1/5", "0/5/6", "x/y", "0/99999999999"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(UsageError, match="write it like 0/5"):
        read_share(text)
    assert read_share("4/5") == (4, 5)


def status_of(folder, state, *clients, why=""):
    rows = [{"client": number, "state": one} for number, one in enumerate(clients)]
    (folder / "status.json").write_text(json.dumps({"state": state, "why": why, "clients": rows}))


def test_whom_a_server_waits_for_is_told_in_one_line(tmp_path):
    assert waiting_line(tmp_path) == ""
    status_of(tmp_path, "training", "here", "here")
    assert waiting_line(tmp_path) == ""
    status_of(tmp_path, "waiting", "here", "never", "away")
    assert waiting_line(tmp_path) == "1 of 3 clients are here; waiting for 1, 2"
    status_of(tmp_path, "waiting", *["never"] * 30)
    assert waiting_line(tmp_path) == "0 of 30 clients are here; waiting for 0, 1, 2, 3, 4, 5, 6, 7 …"
    status_of(tmp_path, "waiting", "here", why="waiting for client 0")
    assert waiting_line(tmp_path) == "waiting for client 0"
    (tmp_path / "status.json").write_text("{")
    assert waiting_line(tmp_path) == ""


@pytest.mark.slow
def test_in_a_terminal_lines_stand_by_themselves_above_the_bar(tmp_path):
    (tmp_path / "run.toml").write_text(SETTINGS)
    leader, follower = pty.openpty()
    words = ("serve", "run.toml", "--listen", free_address(), "--out", "run")
    command = [sys.executable, "-m", "sglr", *words]
    server = subprocess.Popen(command, cwd=tmp_path, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    try:
        while b"are here; waiting for 0, 1" not in shown:
            shown += os.read(leader, 4096)
    finally:
        server.kill()
        server.wait()
        os.close(leader)
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode().replace("\r\n", "\n")
    lines = [line.rpartition("\r")[2].strip() for line in plain.split("\n")]
    joins = [line for line in lines if line.startswith("sglr join")]
    assert len(joins) == 2
    assert all(re.fullmatch(r"sglr join \S+ --token sglr1-[a-z2-7]{96} --data PATH", line) for line in joins)
