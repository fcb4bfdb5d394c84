"""A base install trains, reports and helps; what needs a package of an extra names it, and writes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sglr.cli.list import REGISTRIES
from sglr.system.extras import EXTRAS

WITHOUT = """
import contextlib, io, json, sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if any(f"{name}.".startswith(f"{package}.") for package in missing):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

missing = json.loads(sys.argv[1])
sys.meta_path.insert(0, Missing())
from sglr.cli.main import main
for words in json.loads(sys.argv[2]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, err.getvalue()]))
"""


def run(folder: Path, *commands: list[str]) -> list[tuple[int, str]]:
    """Return exit codes and errors of commands in a process that can import no package of an extra."""
    missing = sorted({package for packages in EXTRAS.values() for package in packages})
    given = [json.dumps(missing), json.dumps(commands)]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *given], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [(code, error) for code, error in map(json.loads, done.stdout.splitlines())]


TRAIN = ["train", "--epochs", "1", "--clients", "2", "--samples-per-client", "32", "--threads", "1", "--quiet"]
NEEDS = {
    "sites": [*TRAIN, "--engine", "remote", "--out", "new"],
    "ray": [*TRAIN, "--engine", "ray", "--out", "new"],
    "energy": [*TRAIN, "--energy", "--out", "new"],
    "privacy": [*TRAIN, "--leakage", "every=1", "--out", "new"],
    "data": [*TRAIN, "--dataset", "table:table.csv", "--out", "new"],
    "hf": [*TRAIN, "--dataset", "hf:owner/name", "--out", "new"],
    "audio": [*TRAIN, "--dataset", "audio:.", "--out", "new"],
    "medical": [*TRAIN, "--dataset", "volumes:.", "--out", "new"],
    "text": [*TRAIN, "--dataset", "text:words.txt", "--tokenizer", "t.json", "--task", "language", "--out", "new"],
    "transformers": [*TRAIN, "--model", "hf:bert", "--no-pretrained", "--out", "new"],
    "track": [*TRAIN, "--track", "tensorboard", "--out", "new"],
    "trackio": [*TRAIN, "--track", "trackio", "--out", "new"],
    "reproduce": ["reproduce", "table6", "--out", "new"],
    "watch": ["watch", "run"],
    "export": ["export", "run", "--format", "onnx", "--out", "new"],
}


@pytest.mark.slow
def test_a_base_install_trains_and_names_the_extra_of_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,label\n" + "1,x\n2,y\n" * 50)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "words.txt").write_text("some words of text\n" * 500)
    works = [
        [*TRAIN, "--out", "run"],
        ["show", "run"],
        ["report", "run"],
        ["resume", "run"],
        *(["list", kind, "--verbose"] for kind in REGISTRIES),
        ["train", "--help-all"],
        ["join", "--help"],
    ]
    sites = [["join", "localhost:1", "--token", "sglr1-x", "--data", "."], ["doctor", "localhost:1"]]
    found = run(tmp_path, *works, *NEEDS.values(), *sites)
    for words, (code, error) in zip(works, found, strict=False):
        assert code == 0, (words, error)
    assert (tmp_path / "run" / "report.html").is_file() and (tmp_path / "run" / "summary.json").is_file()
    for extra, (code, error) in zip([*NEEDS, "sites", "sites"], found[len(works) :], strict=True):
        assert code == 2 and f"pip install 'sglr[{extra}]'" in error, (extra, error)
    assert not (tmp_path / "new").exists()
