"""CONTRIBUTING.md as it stands: its files work as plug-ins, and pass what the repository asks of its own."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sglr
from sglr.core import registry
from sglr.core.data import Samples
from sglr.core.merging import Merging

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- file: (\S+)\.py -->\n```python\n(.*?)```", re.DOTALL)
FILES = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
PARTS = {
    "methods/blend": ("sglr.methods", "Blend"),
    "models/funnel": ("sglr.models", "Funnel"),
    "datasets/rings": ("sglr.data.datasets", "Rings"),
    "partitioners/growing": ("sglr.data.partitioners", "Growing"),
    "tasks/poisson": ("sglr.tasks", "Poisson"),
    "merge_rules/midrange": ("sglr.merge_rules", "Midrange"),
    "defences/grid": ("sglr.privacy.defences", "Grid"),
    "attacks/nearest": ("sglr.privacy.attacks", "Nearest"),
    "engines/slow": ("sglr.engines", "Slow"),
}
SMALL: dict[str, Any] = {"model": "funnel", "dataset": "rings", "clients": 4, "epochs": 1, "batch_size": 25}


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
    path = os.pathsep.join(filter(None, [str(plugins), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, cwd=ROOT)


def test_every_shown_file_is_tested() -> None:
    assert FILES.keys() == PARTS.keys()


@pytest.fixture
def installed(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let this process find the installed parts."""
    monkeypatch.syspath_prepend(plugins)
    return plugins


def weights(method: str | sglr.Method, out: Path, **settings: Any) -> str:
    """Train, and return the hash of all final weights."""
    digest: str = sglr.train(method, out=out, **{**SMALL, **settings}).summary["weights_sha256"]
    return digest


def test_the_method_trains_and_is_what_it_says(installed: Path, tmp_path: Path) -> None:
    """At strength 0 it is PSL and at 1 it is SGL at φ = 1, to the last bit."""
    assert weights("blend", tmp_path / "0", strength=0.0) == weights("psl", tmp_path / "psl")
    assert weights("blend", tmp_path / "1", strength=1.0) == weights(sglr.SGL(phi=1), tmp_path / "sgl")
    run = sglr.Run.open(tmp_path / "1")
    assert run.summary["method"] == {"name": "blend", "strength": 1.0}
    assert (run.summary["model"], run.summary["dataset"]) == ("funnel", "rings")
    assert run.summary["weights_sha256"] != sglr.Run.open(tmp_path / "0").summary["weights_sha256"]


def test_a_training_with_every_other_part_has_the_weights_of_the_engine_local(installed: Path, tmp_path: Path) -> None:
    """The attack finds more labels than who names the most frequent class."""
    parts = {"partition": "growing", "merge_rule": "midrange", "defence": "grid:step=0.5"}
    assert weights("sfl", tmp_path / "slow", engine="slow", **parts) == weights("sfl", tmp_path / "local", **parts)
    sglr.leak(tmp_path / "local", clients=1, measures=(), attacks=["nearest:samples=50"])
    found = json.loads((tmp_path / "local" / "leakage.json").read_text(encoding="utf-8"))["attacks"]
    assert [(one["attack"], one["options"]) for one in found] == [("nearest", {"samples": 50})]
    assert found[0]["score"]["value"] > found[0]["baseline"]["value"]
    run = sglr.train("psl", task="poisson", out=tmp_path / "counts", **SMALL)
    assert run.summary["test"]["headline"] == "mae"
    assert run.history[-1]["validation_mae"] < 1


def test_the_parts_do_what_their_equations_say(installed: Path) -> None:
    samples = Samples(torch.zeros(10, 2), torch.zeros(10, dtype=torch.int64))
    rows = registry.PARTITIONERS.load("growing")().partition(samples, 4, seed=0)
    assert [len(own) for own in rows] == [1, 2, 3, 4]
    assert sorted(np.concatenate(rows)) == list(range(10))
    losses = registry.TASKS.load("poisson")().losses(torch.tensor([[0.5], [-1.0]]), torch.tensor([2, 0]))
    assert losses.tolist() == pytest.approx([math.exp(0.5) - 1, math.exp(-1)])
    merging = Merging(rule := registry.MERGE_RULES.load("midrange")(), (0, 1, 2), torch.ones(3) / 3, {})
    assert rule.merge({"w": torch.tensor([[1.0], [5.0], [2.0]])}, merging)["w"].tolist() == [3.0]
    sent = registry.DEFENCES.load("grid")(step=0.25).privatize_smashed(torch.tensor([0.3, -0.4]), torch.Generator())
    assert sent.tolist() == [0.25, -0.5]


def test_the_flag_comes_from_the_field(installed: Path, plugins: Path, tmp_path: Path) -> None:
    (strength,) = fields(registry.METHODS.outline("blend"))
    assert (strength.name, strength.default) == ("strength", 0.5)
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
    package, _ = PARTS[place]
    name = str(ROOT / "src" / Path(*package.split(".")) / Path(place).name) + ".py"
    for task in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *task, "--stdin-filename", name, "-"]
        done = subprocess.run(command, input=FILES[place], capture_output=True, text=True, encoding="utf-8", cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_shown_files_are_typed(plugins: Path) -> None:
    done = run(plugins, "mypy", "--strict", plugins / "shown")
    assert done.returncode == 0, done.stdout
