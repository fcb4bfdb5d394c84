"""The repository around the code: public names, versions, dependencies, and a README that is true."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from sklearn.datasets import load_digits

import sglr
from sglr.core.registry import DATASETS, ENGINES, METHODS, MODELS, PARTITIONERS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    ROOT / name
    for name in (
        *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
        *(
            f"docs/{name}.md"
            for name in (
                "architecture",
                "attacks",
                "costs",
                "data",
                "defences",
                "models",
                "privacy",
                "security",
                "sites",
            )
        ),
    )
]
MINE = ("src", "tests", "examples", "benchmarks", "docs", ".ci")


def own_files() -> Iterator[Path]:
    """Every text file of the repository: those that git tracks, for a user may have any others beside them."""
    git = shutil.which("git")
    listed = git and subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout
    if listed:
        yield from (ROOT / name for name in listed.split("\0") if (ROOT / name).is_file())
        return
    # In a copy without git.
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in MINE:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def in_fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


# Public names


def test_all_is_the_public_namespace() -> None:
    declared = {name for names in sglr._HOMES.values() for name in names} | {"__version__"}
    assert set(sglr.__all__) == set(dir(sglr)) == declared
    assert len(sglr.__all__) == len(declared)
    for name in sglr.__all__:
        assert getattr(sglr, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "src/sglr/__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {line.module: tuple(name.name for name in line.names) for line in guarded.body}
    assert seen == sglr._HOMES


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = sglr.nonsense


@pytest.mark.parametrize("module", ["sglr", "sglr.config", "sglr.core.registry", "sglr.cli.main"])
def test_importing_costs_no_torch(module: str) -> None:
    assert in_fresh_python(f"import sys, {module}; print('torch' in sys.modules or 'numpy' in sys.modules)") == "False"


# Versions and dependencies


def test_versions_agree() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert "version" in PROJECT["dynamic"]
    assert newest is not None
    assert newest[1] == sglr.__version__


def test_every_imported_package_is_a_declared_dependency() -> None:
    extras = [line for extra, lines in PROJECT["optional-dependencies"].items() if extra != "dev" for line in lines]
    declared = {canonicalize_name(Requirement(line).name) for line in (*PROJECT["dependencies"], *extras)}
    homes = packages_distributions()
    imported: dict[str, str] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update((alias.name.partition(".")[0], path.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported[node.module.partition(".")[0]] = path.name
    foreign = imported.keys() - sys.stdlib_module_names - {"sglr"}
    origins = {name: set(map(canonicalize_name, homes.get(name, [name]))) for name in foreign}
    missing = {name: imported[name] for name in foreign if not declared & origins[name]}
    assert foreign
    assert not missing


def test_constraints_pin_every_dependency_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {pin.name: pin for pin in map(Requirement, filter(lambda line: line[:1] not in ("", "#"), lines))}
    versions = {canonicalize_name(name): str(pin.specifier).removeprefix("==") for name, pin in pins.items()}
    extras = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    for line in (*PROJECT["dependencies"], *extras):
        wanted = Requirement(line)
        assert versions[canonicalize_name(wanted.name)] in wanted.specifier, line
    assert versions["torch"] == "2.13.0"


# Files


def test_no_file_names_a_machine() -> None:
    places = re.compile("|".join(["/" + "home/", "/" + "root/", "/" + "work/", "/" + "Users/", r"C:\\Users"]))
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in own_files()
        for line in _lines(path)
        if places.search(line)
    ]
    assert not found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if "://" not in link]
    assert local or document.name in ("CHANGELOG.md", "costs.md")
    assert [link for link in local if not (document.parent / link).exists()] == []


def test_contract_layers_are_those_that_the_architecture_tells() -> None:
    """Every package and module of the layers is in the table of docs/architecture.md, in the same order."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [re.findall(r"[a-z]+", layer) for layer in tool["contracts"][0]["layers"] if layer != "__main__"]
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text[text.index("| layer |") : text.index("Files in `methods/`")]
    told = re.findall(r"`([a-z]+)(?:/|\.py)`", "\n".join(row.split("|")[1] for row in table.splitlines() if row))
    assert told == [name for layer in layers for name in layer]


def test_the_architecture_tells_the_class_attributes_of_methods() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| ((?:`[a-z0-9]+`(?:, )?)+) \|", text, re.MULTILINE)
    told = {name: set(re.findall("`([a-z0-9]+)`", methods)) for name, methods in rows}
    assert told.keys() == {"whole_model", "pooled", "shares", "server_copies"}
    for name, methods in told.items():
        assert methods == {method for method in METHODS.names() if getattr(METHODS.load(method), name)}, name


# README


def test_readme_names_only_parts_that_exist() -> None:
    tables = README[README.index("## Compare methods") : README.index("`--average class` is ours")]
    methods = {
        name
        for row in tables.splitlines()
        if row.startswith("| `")
        for name in re.findall("`([a-z0-9]+)`", row.split("|")[1])
    }
    assert methods == set(METHODS.names())
    parts = {
        "--model": MODELS,
        "--dataset": DATASETS,
        "--partition": PARTITIONERS,
        "--engine": ENGINES,
        "--method": METHODS,
    }
    for flag, name in re.findall(r"(--[a-z-]+) ([a-z0-9_-]+)(?=[\s:`])", README):
        if flag in parts and name not in ("my_model",):
            assert name in parts[flag].names(), f"{flag} {name}"
    listed = re.search(r"Partitions: (.*?);", README, re.DOTALL)
    assert listed is not None
    assert set(re.findall("`([a-z]+)`", listed[1])) == set(PARTITIONERS.names())


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Every command that README shows, in order."""
    lines = "".join(blocks("sh")).replace("\\\n", "").splitlines()
    return [shlex.split(line) for line in lines]


def test_readme_shows_what_there_is() -> None:
    shown = {words[0] for words in commands()}
    assert shown == {"make", "source", "sglr"}
    made = {words[1] for words in commands() if words[0] == "make"}
    targets = re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert made <= {name for names in targets for name in names.split()}


BETWEEN_SITES = [words for words in commands() if words[1] in ("serve", "join", "doctor", "status")]
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


@pytest.mark.slow
def test_readme_runs_from_top_to_bottom(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "error"}
    model, script = blocks("python")
    (tmp_path / "my_model.py").write_text(model, encoding="utf-8")
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    (tmp_path / "grid.toml").write_text(blocks("toml")[0].replace("epochs = 10", "epochs = 1"), encoding="utf-8")
    # Fashion-MNIST would be downloaded where its files are not at hand.
    mine = [
        _shortened(words[1:])
        for words in commands()
        if words[0] == "sglr" and "fashion-mnist" not in words and words not in BETWEEN_SITES
    ]
    for words in [*(["-m", "sglr", *words] for words in mine), ["script.py"]]:
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stderr}"
    assert (tmp_path / "runs/corrected/report.html").is_file()
    assert (tmp_path / "runs/rates/report.html").is_file()


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
    serve, join, doctor, status = BETWEEN_SITES
    assert [words[1] for words in BETWEEN_SITES] == ["serve", "join", "doctor", "status"]
    started = [places.start(serve)]
    try:
        lines = _join_lines(started[0], 2)
        tokens = [line[line.index("--token") + 1] for line in lines]
        assert [line[:3] for line in lines] == [["sglr", "join", places.address]] * 2
        answer, _ = (examined := places.start(doctor, **{"sglr1-…": tokens[0]})).communicate(timeout=60)
        assert examined.returncode == 0, answer
        assert "✓ credentials the join token counts until" in answer
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


def _shortened(words: list[str]) -> list[str]:
    """Train for one epoch instead of many."""
    return ["1" if before == "--epochs" else word for before, word in zip(["", *words], words, strict=False)]


@pytest.mark.slow
@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, example], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert list(tmp_path.glob("runs/*/report.html"))
