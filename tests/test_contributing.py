"""CONTRIBUTING.md as it stands: its files work as plug-ins, and pass what the repository asks of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- file: (\S+)\.py -->\n```python\n(.*?)```", re.DOTALL)
FILES = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
PARTS = {
    "methods/blend": ("sglr.methods", "Blend"),
    "models/funnel": ("sglr.models", "Funnel"),
    "datasets/rings": ("sglr.data.datasets", "Rings"),
}


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the shown files as a package that names them in entry points."""
    folder = tmp_path_factory.mktemp("site")
    points = ""
    for place, (group, part) in PARTS.items():
        path = folder / "shown" / f"{place}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES[place], encoding="utf-8")
        points += f"[{group}]\n{path.stem} = shown.{place.replace('/', '.')}:{part}\n"
    about = folder / "shown-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shown\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(points, encoding="utf-8")
    return folder


def run(plugins: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(plugins), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, cwd=ROOT)


def test_every_shown_file_is_tested() -> None:
    assert FILES.keys() == PARTS.keys()


def test_the_method_trains_and_is_what_it_says(plugins: Path, tmp_path: Path) -> None:
    """At strength 0 it is PSL and at 1 it is SGL at φ = 1, to the last bit."""
    methods = "psl,blend:strength=0,sgl:phi=1,blend:strength=1"
    settings = ("--model", "funnel", "--dataset", "rings", "--clients", 4, "--epochs", 1, "--batch-size", 25)
    done = run(plugins, "sglr", "compare", "--methods", methods, *settings, "--quiet", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    summaries = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("*/summary.json")}
    weights = {name: summary["weights_sha256"] for name, summary in summaries.items()}
    assert weights["blend-strength=0-seed0"] == weights["psl-seed0"]
    assert weights["blend-strength=1-seed0"] == weights["sgl-phi=1-seed0"]
    assert len(set(weights.values())) == 2
    assert summaries["blend-strength=1-seed0"]["method"] == {"name": "blend", "strength": 1.0}
    assert {(summary["model"], summary["dataset"]) for summary in summaries.values()} == {("funnel", "rings")}


def test_the_flag_comes_from_the_field(plugins: Path, tmp_path: Path) -> None:
    listed = json.loads(run(plugins, "sglr", "list", "methods", "--verbose", "--json").stdout)
    blend = next(part for part in listed if part["name"] == "blend")
    assert [(entry["flag"], entry["default"]) for entry in blend["parameters"]] == [("--strength", 0.5)]
    refused = run(plugins, "sglr", "train", "--method", "blend", "--strength", "2", "--out", tmp_path / "refused")
    assert refused.returncode == 2
    assert refused.stderr == "error: strength = 2.0: is outside [0, 1]; give a fraction, such as 0.5\n"


@pytest.mark.slow
def test_the_method_obeys_the_laws(plugins: Path) -> None:
    done = run(plugins, "pytest", "tests/test_laws.py", "-k", "blend", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d\d passed", done.stdout), done.stdout


@pytest.mark.parametrize("place", FILES)
def test_the_shown_file_is_in_the_house_style(place: str) -> None:
    """As a file of this repository would be, in its place."""
    name = str(ROOT / "src" / "sglr" / place.replace("datasets/", "data/datasets/")) + ".py"
    for task in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *task, "--stdin-filename", name, "-"]
        done = subprocess.run(command, input=FILES[place], capture_output=True, text=True, encoding="utf-8", cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_shown_files_are_typed(plugins: Path) -> None:
    done = run(plugins, "mypy", "--strict", plugins / "shown")
    assert done.returncode == 0, done.stdout
