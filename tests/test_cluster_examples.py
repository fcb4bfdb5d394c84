"""Examples for clusters: their files are read, and every command in them is one that Ray or sglr understands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from sglr.cli.main import app

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "cluster"


def lines() -> list[str]:
    """Return what the files tell to type: the guide's shell lines, and the comments and values of examples."""
    guide = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    typed = [line for block in re.findall(r"```sh\n(.*?)```", guide, re.S) for line in block.splitlines()]
    for path in EXAMPLES.glob("*.yaml"):
        text = path.read_text(encoding="utf-8").replace("\\\n#", "")
        typed += [line.lstrip("# ") for line in text.splitlines() if line.startswith("#   ")]
        typed += re.findall(r"^\s+(?:- |entrypoint: )(.*)$", text, re.M)
    return typed


def commands(program: str) -> list[list[str]]:
    """Return the commands of a program, without what stands before it on the line."""
    found = []
    for line in lines():
        words = [word for part in shlex.split(line, comments=True, posix=True) for word in part.split()]
        if program in words[:2] and len(words) > 2:
            found.append(words[words.index(program) :])
        if words[:2] == ["ray", "exec"] and program == "sglr":
            found.append(words[words.index(program) :])
    return found


@pytest.mark.parametrize("words", commands("sglr"), ids=" ".join)
def test_commands_of_sglr_are_understood(words: list[str]) -> None:
    group: Any = typer.main.get_command(app)
    context = group.make_context("sglr", words[1:])
    name, command, arguments = group.resolve_command(context, [*context._protected_args, *context.args])
    assert name == "train"
    assert command.make_context(name, list(arguments), parent=context).params["engine"] == "ray"


def until_quoted(words: list[str]) -> list[str]:
    """Leave out what `ray exec` is to run elsewhere."""
    return words[: words.index("sglr")] if "sglr" in words else words


@cache
def help_of(command: str) -> str:
    ray = str(Path(sys.executable).with_name("ray"))
    return subprocess.run([ray, command, "--help"], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted({words[1] for words in commands("ray")}))
def test_options_of_ray_exist(command: str) -> None:
    used = {
        word.partition("=")[0] for words in commands("ray") if words[1] == command for word in until_quoted(words[2:])
    }
    assert {option for option in used if option.startswith("--")} - set(
        re.findall(r"--[\w-]+", help_of(command))
    ) == set()


def test_the_job_protects_its_cluster() -> None:
    job, policy = yaml.safe_load_all((EXAMPLES / "rayjob.yaml").read_text(encoding="utf-8"))
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert policy["spec"]["policyTypes"] == ["Ingress"] and policy["spec"]["ingress"][0]["from"]
    assert policy["spec"]["podSelector"]["matchExpressions"] == [{"key": "ray.io/cluster", "operator": "Exists"}]


def test_the_version_of_ray_is_one_that_is_allowed() -> None:
    job = next(yaml.safe_load_all((EXAMPLES / "rayjob.yaml").read_text(encoding="utf-8")))
    pinned = re.search(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert pinned is not None and job["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


def test_the_cluster_of_machines_starts_ray_with_a_token() -> None:
    cluster = yaml.safe_load((EXAMPLES / "ray-cluster.yaml").read_text(encoding="utf-8"))
    for commands_of in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [line for line in cluster[commands_of] if " start " in line]
        assert starts and all(line.startswith("RAY_AUTH_MODE=token ray start ") for line in starts)
