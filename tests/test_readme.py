"""A README and tutorials that are true: parts exist, commands run, and the numbers that are claimed come out."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from statistics import mean

import pytest
from PIL import Image
from sklearn.datasets import load_digits

import sglr
from sglr.core.registry import DATASETS, ENGINES, METHODS, MODELS, NAMED_MODELS, PARTITIONERS

ROOT = Path(__file__).parents[1]
PAGES = (
    *("first-run", "compare-methods", "sweeps", "own-model-and-data", "different-data", "plan-a-training", "reproduce"),
    *("between-sites", "stop-and-resume"),
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOLD = "\n".join([README, *((ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in PAGES)])
"""README, and the pages whose commands follow one upon another in one folder."""

DATA_DIR = os.environ.get("SGLR_DATA_DIR")
POINTS = 2.0
"""How far a mean over seeds may be from what README claims: another processor rounds otherwise."""


def test_readme_names_only_parts_that_exist() -> None:
    tables = README[README.index("## Compare methods") : README.index("## Your own model")]
    methods = {
        name
        for row in tables.splitlines()
        if row.startswith("| [`")
        for name in re.findall("`([a-z0-9-]+)`", row.split("|")[1])
    }
    assert methods == set(METHODS.names())
    parts = {
        "--model": MODELS,
        "--dataset": DATASETS,
        "--partition": PARTITIONERS,
        "--engine": ENGINES,
        "--method": METHODS,
    }
    for flag, name in re.findall(r"(--[a-z-]+) ([a-z0-9_-]+)(?=[\s:`])", TOLD):
        if flag in parts and name not in ("my_model", *NAMED_MODELS.names()):
            assert name in parts[flag].names(), f"{flag} {name}"
    listed = re.search(r"Partitions: (.*?);", TOLD, re.DOTALL)
    assert listed is not None
    assert set(re.findall("`([a-z]+)`", listed[1])) == set(PARTITIONERS.names())


def test_readme_is_short_and_begins_with_a_picture() -> None:
    lines = README.splitlines()
    assert len(lines) < 200
    assert lines[2] == "<picture>"


def blocks(language: str, text: str = TOLD) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str = TOLD) -> list[list[str]]:
    """Every command that README and tutorials show, in order, once."""
    lines = dict.fromkeys("".join(blocks("sh", text)).replace("\\\n", "").splitlines())
    return [shlex.split(line) for line in lines]


def test_readme_shows_what_there_is() -> None:
    shown = {words[0] for words in commands()}
    assert shown == {"make", "source", "sglr"}
    made = {words[1] for words in commands() if words[0] == "make"}
    targets = re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert made <= {name for names in targets for name in names.split()}


BETWEEN_SITES = [words for words in commands(README) if words[1] in ("serve", "join", "doctor", "status")]
"""They need one another, and places that README can only stand for."""

TRAININGS = [words for words in commands() if words[1] in ("train", "compare")]


@pytest.mark.parametrize("words", TRAININGS, ids=lambda words: " ".join(words[1:4]))
def test_readme_command_is_understood(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All flags and values are accepted: what stops it is the file where its folder should be."""
    from sglr.cli.main import main

    taken = tmp_path / "taken"
    taken.write_text("")
    assert main([*words[1:], "--out", str(taken)]) == 2
    assert "is a file; choose a folder" in capsys.readouterr().err


def claims() -> list[tuple[str, str, float]]:
    """Every accuracy that README claims of a comparison: its folder, the method, percent.

    A table's columns of numbers are the comparisons of its section, in their order.
    """
    found = []
    for section in re.split("\n##? ", TOLD):
        folders = re.findall(r"sglr compare [^`]*?--out (\S+)", section.replace("\\\n", " "))
        rows = re.findall(r"^\| `([^`]+)` \|((?: \d+\.\d % \|)+)$", section, re.MULTILINE)
        for method, cells in rows:
            numbers = [float(number) for number in re.findall(r"(\d+\.\d) %", cells)]
            assert len(numbers) == len(folders), (method, folders)
            found += [(folder, method, number) for folder, number in zip(folders, numbers, strict=True)]
    return found


def test_readme_claims_numbers_of_its_comparisons() -> None:
    told = claims()
    assert len({folder for folder, _, _ in told}) == 3
    assert len(told) >= 10


def _run(words: list[str], folder: Path) -> None:
    """Run Python with these arguments, as a user would in a folder of his."""
    paths = f"{folder}:{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-W", "error", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stderr}"


COMPARISONS = {words[words.index("--out") + 1]: words for words in commands() if words[1] == "compare"}
"""Commands that train what README claims numbers of, by their folder: minutes each, so workers share them."""


@pytest.mark.first
@pytest.mark.slow
@pytest.mark.parametrize("folder", COMPARISONS)
def test_numbers_of_a_comparison_in_readme_come_out(folder: str, tmp_path: Path) -> None:
    _run(["-m", *COMPARISONS[folder]], tmp_path)
    told = [(method, claimed) for place, method, claimed in claims() if place == folder]
    assert told
    for method, claimed in told:
        place = re.sub("[:,]", "-", method)
        summaries = sorted((tmp_path / folder).glob(f"{place}-seed*/summary.json"))
        assert summaries, method
        measured = mean(100 * json.loads(path.read_bytes())["test"]["accuracy"] for path in summaries)
        assert measured == pytest.approx(claimed, abs=POINTS), method


SHORTER = {"train": ("--epochs", "1"), "compare": ("--epochs", "1", "--seeds", "0")}
"""What follows a command's own words, and counts instead of them."""

FEWER = ("--samples-per-client", "50", "--test-samples", "500", "--test-clients", "1", "--validation", "100")


@pytest.mark.first
@pytest.mark.slow
def test_readme_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """All commands but those between sites; trainings are shorter: their numbers are held against longer ones above."""
    model, *scripts = dict.fromkeys(blocks("python"))
    (tmp_path / "my_model.py").write_text(model, encoding="utf-8")
    for number, script in enumerate(scripts):
        (tmp_path / f"script{number}.py").write_text(script, encoding="utf-8")
    # No number is claimed of the grid's runs.
    grid = re.sub(r"^epochs = \d+$", "epochs = 1", blocks("toml")[0], flags=re.MULTILINE)
    (tmp_path / "grid.toml").write_text(grid, encoding="utf-8")
    _own_data(tmp_path)
    # Fashion-MNIST would be downloaded where its files are not at hand.
    mine = [
        words
        for words in commands()
        if words[0] == "sglr" and words not in BETWEEN_SITES and (DATA_DIR or "fashion-mnist" not in words)
    ]
    for words in mine:
        smaller = FEWER if "--samples-per-client" in words else ()
        _run(["-m", *words, *SHORTER.get(words[1], ()), *smaller], tmp_path)
    for number in range(len(scripts)):
        _run([f"script{number}.py"], tmp_path)
    assert (tmp_path / "runs/rates/report.html").is_file()


def _own_data(folder: Path) -> None:
    """Lay out what README calls the user's own: pictures by class, patients of several rows each, a model and texts."""
    digits = load_digits()
    for number in range(60):
        place = folder / "pictures" / str(digits.target[number] % 3)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[number] * 255 / 16).astype("uint8")).save(place / f"{number}.png")
    _minilm(folder / "minilm")
    for number in range(90):
        place = folder / "news" / ("tech", "sports")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.txt").write_text(" ".join(f"w{4 + (7 * number + word) % 50}" for word in range(8)))
    rows = ["patient,age,sex,outcome"]
    rows += [
        f"{n // 3},{30 + n % 41 if n % 17 else ''},{'fm'[n % 2]},{'ill' if n % 41 > 20 else 'well'}" for n in range(180)
    ]
    (folder / "patients.csv").write_text("\n".join(rows), encoding="utf-8")


def _minilm(folder: Path) -> None:
    """A tiny BERT in place of the one that README names."""
    from tests.some_transformers import TOKENS, model_of
    from tokenizers import Tokenizer, models, pre_tokenizers

    model_of("bert").save_pretrained(folder)
    words = {"[PAD]": 0, "[UNK]": 1} | {f"w{number}": number for number in range(2, TOKENS)}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_plain_training_reaches_what_readme_claims(seed: int, tmp_path: Path) -> None:
    claimed = re.search(r"sglr train` alone: (\d+) %", README)
    assert claimed is not None
    run = sglr.train(seed=seed, out=tmp_path / "run")
    assert run.summary is not None
    assert run.experiment.epochs == 5
    assert 100 * run.summary["test"]["accuracy"] >= float(claimed[1])


def test_the_grid_in_readme_is_that_of_the_examples_and_is_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sglr.cli.main import main

    example = ROOT / "examples" / "grid.toml"
    assert tomllib.loads(example.read_text(encoding="utf-8")) == tomllib.loads(blocks("toml")[0])
    assert main(["sweep", str(example), "--out", str(tmp_path / "rates"), "--dry-run"]) == 0
    assert "7 configurations, 14 runs (new)" in capsys.readouterr().out


class _Places:
    """What README's placeholders stand for on this machine: one port, two sites with pictures of handwritten digits."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.folder = folder
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
        digits = load_digits()
        for site in range(2):
            for number in range(site, 200, 2):
                place = folder / f"pictures-{site}" / str(digits.target[number])
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray((digits.images[number] * 255 / 16).astype("uint8")).save(place / f"{number}.png")

    def start(self, words: list[str], **standing_for: str) -> subprocess.Popen[str]:
        """Start a command of README in a process of its own."""
        here = {"0.0.0.0:7443": self.address, "server.example.org:7443": self.address, **standing_for}
        command = [sys.executable, "-m", "sglr", *(here.get(word, word) for word in words[1:])]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe, text=True, encoding="utf-8"
        )


@pytest.mark.slow
def test_readme_between_sites_is_true_over_loopback(tmp_path: Path) -> None:
    places = _Places(tmp_path)
    serve, check, join, doctor, status = BETWEEN_SITES
    assert [words[1] for words in BETWEEN_SITES] == ["serve", "join", "join", "doctor", "status"]
    started = [places.start(serve)]
    try:
        lines = _join_lines(started[0], 2)
        tokens = [line[line.index("--token") + 1] for line in lines]
        assert [line[:3] for line in lines] == [["sglr", "join", places.address]] * 2
        answer, _ = (examined := places.start(doctor, **{"sglr1-…": tokens[0]})).communicate(timeout=60)
        assert examined.returncode == 0, answer
        assert "✓ credentials the join token is valid until" in answer
        answer, _ = (examined := places.start(check, **{"sglr1-…": tokens[1], "PATH": "pictures-1"})).communicate(
            timeout=60
        )
        assert examined.returncode == 0
        assert "this was a check only" in answer
        for site, token in enumerate(tokens):
            started.append(places.start(join, **{"sglr1-…": token, "PATH": f"pictures-{site}"}))
        (result, errors), *sites = [process.communicate(timeout=400) for process in started]
        assert [process.returncode for process in started] == [0, 0, 0], errors
        assert "test accuracy" in result
        assert all("samples to train on" in told and "the training is over" in told for _, told in sites)
        answer, _ = places.start(status).communicate(timeout=60)
        assert "2 of 2" in answer or "done" in answer
    finally:
        for process in started:
            process.kill()
            process.wait()


def _join_lines(server: subprocess.Popen[str], clients: int) -> list[list[str]]:
    assert server.stdout is not None
    lines: list[list[str]] = []
    for line in server.stdout:
        if line.startswith("sglr join"):
            lines.append(shlex.split(line))
        if len(lines) == clients:
            return lines
    raise AssertionError("the server ended without a line for each client")
