"""Standard streams: what is written to files is UTF-8 in every locale, and a poor terminal is no error."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tomllib

import pytest

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
"""A locale of ASCII alone, which Python would otherwise take for UTF-8."""


def ran(words, folder, environment=None, stdout=subprocess.PIPE):
    command, settings = [sys.executable, "-m", "sglr", *words], os.environ | ASCII | (environment or {})
    return subprocess.run(command, cwd=folder, env=settings, check=False, stdout=stdout, stderr=subprocess.PIPE)


def test_what_is_written_to_a_file_is_utf8_in_every_locale(tmp_path):
    (tmp_path / "sizes.csv").write_text("größe,outcome\n1,ja\n2,nein\n3,ja\n", encoding="utf-8")
    with (tmp_path / "schema.toml").open("wb") as schema:
        assert ran(["schema", "sizes.csv", "--label-column", "outcome"], tmp_path, stdout=schema).returncode == 0
    told = tomllib.loads((tmp_path / "schema.toml").read_text(encoding="utf-8"))
    assert "größe" in str(told)


def test_an_encoding_that_was_asked_for_is_obeyed(tmp_path):
    done = ran(["list", "methods"], tmp_path, {"PYTHONIOENCODING": "utf-16"})
    assert done.returncode == 0
    assert "sglr" in done.stdout.decode("utf-16")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of its own")
def test_a_terminal_that_lacks_a_character_shows_another(tmp_path):
    mine, its = pty.openpty()
    command = [sys.executable, "-m", "sglr", "plan", "--advise"]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | ASCII, stdout=its, stderr=subprocess.PIPE) as process:
        os.close(its)
        shown = b"".join(parts(mine))
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert shown.isascii()
    assert b"sglr2" in shown


def parts(terminal):
    """Yield what a terminal shows until its process ends."""
    with open(terminal, "rb", buffering=0) as screen:  # noqa: PTH123 - no file
        while True:
            try:
                yield screen.read(1024)
            except OSError:
                return


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_a_folder_whose_name_is_no_text_is_refused_before_any_work(tmp_path):
    done = ran(["train", "--epochs", "1", "--out", b"runs\xff"], tmp_path, {"LC_ALL": "C.UTF-8"})
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"error: out = runs?: isn't UTF-8; rename the file or folder\n"
    assert list(tmp_path.iterdir()) == []
