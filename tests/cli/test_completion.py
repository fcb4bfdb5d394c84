"""What a shell is offered when the user presses Tab: commands, flags, names of parts; without torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sglr.core.registry import METHODS


def offered(shell: str, line: str) -> list[str]:
    """Return what the shell's own script would be given for a line that is being typed."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_TYPER_COMPLETE_ARGS": line}
    words |= {"_SGLR_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    code = "import sys; from sglr.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, env={**os.environ, **words}
    )
    assert "| torch\n" not in done.stderr, "a shell would wait for torch"
    return done.stdout.splitlines()


def test_bash_completes_commands_flags_and_names_of_parts() -> None:
    assert offered("bash", "sglr tra") == ["train"]
    assert offered("bash", "sglr train --meth") == ["--method"]
    assert offered("bash", "sglr train --method sg") == [name for name in METHODS.names() if name.startswith("sg")]
    assert offered("bash", "sglr serve --model mlp") == ["mlp"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_too(shell: str) -> None:
    assert any("train" in line for line in offered(shell, "sglr tra"))


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete -o"), ("zsh", "#compdef sglr"), ("fish", "complete")])
def test_a_shell_is_given_its_script(shell: str, word: str, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sglr", "--show-completion", shell],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert done.returncode == 0 and word in done.stdout, done.stdout + done.stderr
