"""A run folder that may only be read is shown; what would write into it says so before any work, with the cause."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sglr.runs.folder import SUMMARY

CODE = """
import json, sys
from sglr.cli.main import main

for words in json.loads(sys.argv[1]):
    print(words[0], main(words), flush=True)
    print(flush=True, file=sys.stderr)
"""


def unprivileged(commands: list[list[str]]) -> tuple[list[str], list[str]]:
    """Run commands as a user whom permissions stop; return the codes, and what each said of errors."""
    before: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and setpriv is not there to take that away")
        before = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    words = [*before, sys.executable, "-c", CODE, json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    names = {command[0] for command in commands}
    codes = [line for line in done.stdout.splitlines() if line.partition(" ")[0] in names and line[-1:].isdigit()]
    return codes, [line for line in done.stderr.splitlines() if line]


@pytest.mark.slow
def test_what_may_only_be_read(run_folder: Path, tmp_path: Path) -> None:
    rest = Path(shutil.copytree(run_folder, tmp_path / "rest"))
    (rest / SUMMARY).unlink()
    places = [folder for root in (run_folder, rest) for folder in (root, *root.rglob("*"))]
    for place in places:
        place.chmod(place.stat().st_mode & ~0o222)
    page = tmp_path / "page.html"
    try:
        codes, said = unprivileged(
            [
                ["show", str(run_folder), "--json"],
                ["report", str(run_folder), "--out", str(page)],
                ["resume", str(run_folder), "--quiet"],
                ["report", str(run_folder)],
                ["leak", str(run_folder), "--quiet"],
                ["resume", str(rest), "--quiet"],
                ["train", "--out", str(run_folder / "new")],
                ["serve", "--dataset", "digits", "--out", str(run_folder / "new"), "--listen", "127.0.0.1:7443"],
            ]
        )
    finally:
        for place in places:
            place.chmod(place.stat().st_mode | 0o200)
    ends = ("show 0", "report 0", "resume 0", "report 2", "leak 2", "resume 2", "train 2", "serve 2")
    assert codes == [*ends], said
    assert page.is_file()
    errors = [line for line in said if line.startswith("error: ")]
    assert len(errors) == 5
    assert all("cannot be written (Permission denied)" in line for line in errors), errors
    assert not any("partial" in line or "--debug" in line for line in errors), errors
