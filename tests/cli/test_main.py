"""The root: exit codes, errors in one line, and what a start costs."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sglr.cli import list as list_command
from sglr.core.errors import DivergedError
from sglr.version import __version__


def test_version_is_told_both_ways(call):
    assert call("version").out == call("--version").out == f"sglr {__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_names_every_command_and_shows_examples(call, words):
    answer = call(*words)
    assert (answer.code, answer.err) == (0, "")
    assert all(f" {name} " in answer.out for name in ("train", "compare", "resume", "show", "list", "version"))
    assert answer.out.count("$ sglr") == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["list"], "Missing argument 'KIND'"),
        (["list", "nonsense"], "'methods'"),
        (["--nonsense"], "--nonsense"),
        (["show"], "RUN"),
        (["compare"], "--methods"),
    ],
)
def test_misuse_ends_with_code_2_and_one_line(call, words, told):
    answer = call(*words)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert told in answer.err


def test_a_defect_is_told_in_one_line_with_its_type(call, monkeypatch):
    def fail(*_):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(list_command, "_describe", fail)
    answer = call("list", "methods")
    assert answer.code == 1
    assert answer.err == "error: RuntimeError: two lines; run again with --debug to see where\n"
    assert "Traceback" in call("list", "methods", "--debug").err


def test_an_explained_failure_ends_with_code_1(call, monkeypatch):
    def fail(*_):
        raise DivergedError("the loss stopped being a number")

    monkeypatch.setattr(list_command, "_describe", fail)
    answer = call("list", "methods")
    assert (answer.code, answer.err) == (1, "error: the loss stopped being a number\n")


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("<built-in function compile> returned NULL without setting an exception", "error: out of memory (<built-in"),
        ("bad argument to internal function", "error: SystemError: bad argument"),
    ],
)
def test_an_interpreter_that_fails_without_a_cause_lacks_memory(problem, told, call, monkeypatch):
    def fail(*_):
        raise SystemError(problem)

    monkeypatch.setattr(list_command, "_describe", fail)
    answer = call("list", "methods")
    assert answer.code == 1
    assert answer.err.startswith(told)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _least_seconds(*words):
    times = []
    for _ in range(3):
        before = _children_seconds()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        times.append(_children_seconds() - before)
    return min(times)


@pytest.mark.parametrize(
    ("words", "times"), [(["--help"], 2.5), pytest.param(["train", "--help-all"], 7, marks=pytest.mark.slow)], ids=str
)
def test_help_answers_at_once(words, times):
    """In processor time, a quarter of a second being what typer and rich take to be imported on a usual machine."""
    assert _least_seconds("-m", "sglr", *words) < times * _least_seconds("-c", "import typer.rich_utils")


def imported(commands, modules):
    """Run commands one after another in a process of their own; return what was printed, and which modules it has."""
    code = f"import sys; from sglr.cli.main import main\nfor words in {commands}: main(words)\n"
    code += f"print([name for name in {modules} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[-1], done.stderr


def test_what_trains_nothing_imports_nothing_heavy():
    heavy = ("torch", "numpy", "sglr.runs.config", "pandas", "matplotlib", "rich.progress")
    assert imported([["--help"], ["list", "methods"], ["version"]], heavy) == ("[]", "")


def test_flags_are_known_without_torch():
    commands = [
        ["train", "--help"],
        ["serve", "--help-all"],
        ["compare", "--help"],
        ["train", "--epoch", "3"],
        ["train", "--method", "sglrr"],
        ["serve", "--model", "mpl", "--out", "none"],
        ["list", "datasets", "--verbose"],
    ]
    found, told = imported(commands, ("torch", "numpy", "pandas", "matplotlib"))
    assert found == "[]"
    assert "Possible options: --epochs" in told


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_is_full_is_told_and_one_that_is_closed_is_no_error(unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    command = f"{sys.executable} -m sglr list methods --json"
    if Path("/dev/full").exists():
        full = subprocess.run(f"{command} > /dev/full", shell=True, capture_output=True, text=True)
        assert (full.returncode, full.stderr.count("\n")) == (1, 1)
        assert "the output can't be written (No space left on device)" in full.stderr
    closed = subprocess.run(f"{command} >&-", shell=True, capture_output=True, text=True)
    assert (closed.returncode, closed.stderr) == (0, "")


def test_a_closed_pipe_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "sglr", "list", "methods"], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 1


def test_no_color_is_respected(monkeypatch, call):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1;36m" in call("list", "methods").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;36m" not in call("list", "methods").out


LITTLE_MEMORY = """
import resource, sys
import sglr
from sglr.cli.main import main
# Imports come first: a library that lacks memory while it is loaded may crash, whoever loads it.
sglr.train("psl", model="mlp", dataset="digits", clients=2, samples_per_client=10, epochs=1, out="small")
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + int(sys.argv[1]) * 2**20,) * 2)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("mebibytes", [15, 150])
def test_want_of_memory_is_told_as_such(mebibytes, tmp_path):
    # Where it strikes depends on the machine: NumPy and torch raise different errors, and sglr counts beforehand.
    words = ("train", "--clients", "1000", "--partition", "resample", "--samples-per-client", "20", "--model", "mlp")
    command = [sys.executable, "-c", LITTLE_MEMORY, str(mebibytes), *words, "--device", "cpu", "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert re.match(r"error: (out of memory \(.*files written before are intact|.* GB of memory)", done.stderr)
