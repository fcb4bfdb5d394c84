"""``sglr watch`` and ``sglr serve --page`` as users call them, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sglr.cli.serve_page import with_page
from sglr.live.server import bind
from sglr.storage.lock import is_locked

SITES = ("--dataset", "sites", "--input-shape", "1,8,8", "--classes", "10", "--clients", "2", "--model", "mlp")


def address_of(process: subprocess.Popen[str]) -> str:
    """Return the page's address as it was printed."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"page    (http://\S+)", line):
            return found[1]
    raise AssertionError(process.stderr and process.stderr.read())


def told(address: str) -> dict[str, Any]:
    """Return the first event of a page."""
    with urllib.request.urlopen(address.partition("?")[0] + "events", timeout=20) as answer:
        lines = iter(answer.readline, b"")
        found: dict[str, Any] = json.loads(next(line for line in lines if line.startswith(b"data: "))[6:])
        return found


def refused(address: str, seconds: float = 20) -> bool:
    """Return whether nobody answers there, within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address.partition("?")[0] + "session", timeout=5).close()
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_it_shows_a_run_until_ctrl_c(start, run_folder: Path) -> None:
    process = start("watch", run_folder, "--listen", "127.0.0.1:0")
    assert told(address_of(process))["run"]["state"] == "finished"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "Ctrl-C ends the page, and not the run.\n")


def test_as_json_it_is_what_the_page_shows(call, run_folder: Path, tmp_path: Path) -> None:
    shown = json.loads(call("watch", run_folder, "--json").out)
    assert (shown["run"]["state"], len(shown["history"])) == ("finished", 3)
    assert [row["name"] for row in json.loads(call("watch", tmp_path, "--json").out)["runs"]] == ["run"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("nowhere",), "place = nowhere: there is no such folder"),
        ((".",), "place = .: is no run, and holds none"),
        (("localhost:7443",), "give your folder as a client with --folder"),
        (("localhost:7443", "--folder", "nowhere"), "no identity in it"),
        (("run", "--listen", "8765"), "listen = 8765: is not HOST:PORT"),
        (("run", "--listen", "127.0.0.1:99999"), "listen = 127.0.0.1:99999: is not HOST:PORT"),
        (("run", "--listen", "192.0.2.1:1"), "listen = 192.0.2.1:1: can't listen there"),
    ],
)
def test_misuse(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words, problem: str) -> None:
    monkeypatch.chdir(tmp_path)
    if words[0] == "run":
        Path("run").mkdir()
        Path("run/config.toml").touch()
    answer = call("watch", *words)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert problem in answer.err


def test_a_port_that_is_taken_is_told_where_it_was_asked_for(call, run_folder: Path) -> None:
    with bind("127.0.0.1", 0, "listen") as taken:
        answer = call("watch", run_folder, "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert answer.code == 2
    assert "can't listen there (Address already in use); free it, or give another address" in answer.err


@pytest.mark.parametrize("words", [("watch", "run"), ("serve", *SITES, "--out", "new", "--page")])
def test_a_missing_package_is_named_with_its_extra(call, tmp_path: Path, monkeypatch, words) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/config.toml").touch()
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    answer = call(*words)
    assert answer.code == 2
    assert "pip install 'sglr[watch]'" in answer.err
    assert not Path("new").exists()


def test_the_page_of_a_server_needs_no_address() -> None:
    assert with_page(["run.toml", "--page", "--out", "x"]) == ["run.toml", "--page=", "--out", "x"]
    assert with_page(["--page", "0.0.0.0:80", "run.toml"]) == ["--page", "0.0.0.0:80", "run.toml"]
    assert with_page(["--out", "x", "--page"]) == ["--out", "x", "--page="]
    assert with_page(["--page", "run.toml"]) == ["--page=", "run.toml"]


def test_nothing_that_trains_is_shown_where_a_trained_run_answers(call, run_folder: Path) -> None:
    answer = call("serve", run_folder, "--predict", "--page")
    assert (answer.code, "page = on: shows a run that trains" in answer.err) == (2, True)


def stop_by_page(address: str) -> int:
    """Ask to stop after this step, as the page does."""
    page, _, token = address.partition("/?token=")
    cookie = f"sglr_page_{page.rpartition(':')[2]}={token}"
    session = urllib.request.Request(f"{page}/session", headers={"Cookie": cookie})
    with urllib.request.urlopen(session, timeout=20) as answer:
        secret = json.load(answer)["page"]
    headers = {"Cookie": cookie, "Origin": page, "X-Sglr-Page": secret, "Content-Type": "application/json"}
    body = json.dumps({"run": "", "after": "step"}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{page}/stop", body, headers), timeout=20) as answer:
        return int(answer.status)


def wait(what: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def serve(start: Callable[..., subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """Start a server, with a page, that nobody joins."""
    with bind("127.0.0.1", 0, "listen") as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ("serve", *SITES, "--listen", address, "--out", "served", "--quiet", "--device", "cpu")
    return start(*words, "--page", "127.0.0.1:0")


@pytest.mark.slow
def test_the_page_of_a_server_that_waits_stops_it_and_ends_with_it(start, tmp_path: Path) -> None:
    process = serve(start)
    address = address_of(process)
    wait(lambda: told(address)["run"]["state"] == "waiting")
    assert [row[:2] for row in told(address)["clients"]] == [[0, "never"], [1, "never"]]
    assert stop_by_page(address) == 202
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "run the same command to continue" in err
    assert refused(address)


@pytest.mark.slow
def test_the_page_of_a_server_that_is_killed_ends_too(start, tmp_path: Path) -> None:
    process = serve(start)
    address = address_of(process)
    wait(lambda: is_locked(tmp_path / "served"))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    assert refused(address)
