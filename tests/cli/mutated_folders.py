"""Folders of runs as a stranger, a bad disk or a clumsy hand may leave them: seeded mutations of real ones."""

from __future__ import annotations

import json
import math
import os
import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w
import torch
from safetensors import SafetensorError, safe_open

from sglr.storage.checkpoint import write_checkpoint

VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**30, 0.5, 1e308, -1e308, math.nan, math.inf, "", "x", "none"),
    *("\x1b[2J\r\n", "‮abc\x00", "9" * 5000, "../../etc/passwd", "os:system", [], {}, [[]], ["a"], {"a": 1}),
]
"""What stands in the place of a value."""


def leaves(found: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where values are in what JSON or TOML holds, those that hold others included."""
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    own = [path] if path else []
    return own + [place for key, value in items for place in leaves(value, (*path, key))]


def changed(found: Any, rng: random.Random) -> Any:
    """Change a value, take one away, or add one."""
    places = leaves(found)
    if not places:
        return rng.choice(VALUES)
    *way, last = rng.choice(places)
    holder = found
    for key in way:
        holder = holder[key]
    if rng.random() < 0.2:
        del holder[last]
    else:
        holder[last] = rng.choice(VALUES)
    return found


def in_text(path: Path, rng: random.Random) -> None:
    """Change values of a JSON, JSON lines or TOML file; leave it alone if it is damaged already."""
    try:
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            path.write_text(tomli_w.dumps(changed(tomllib.loads(content), rng)), encoding="utf-8")
        elif path.suffix == ".jsonl":
            lines = [json.loads(line) for line in content.splitlines()]
            path.write_text("".join(json.dumps(line) + "\n" for line in changed(lines, rng)), encoding="utf-8")
        else:
            path.write_text(json.dumps(changed(json.loads(content), rng)), encoding="utf-8")
    except (ValueError, TypeError, AttributeError):
        flip(path, rng)


def in_tensors(path: Path, rng: random.Random) -> None:
    """Change tensors or state of a checkpoint, with digests that fit: nobody but its author could."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        state = json.loads(file.metadata()["state"])
    names = sorted(tensors)
    one, other = rng.choice(names), rng.choice(names)
    act = rng.randrange(7)
    if act == 0:
        tensors[one], tensors[other] = tensors[other], tensors[one]
    elif act == 1:
        del tensors[one]
    elif act == 2:
        tensors[one] = tensors[one].double()
    elif act == 3:
        tensors[one] = torch.full_like(tensors[one], rng.choice([0, 1]))
    elif act == 4 and tensors[one].is_floating_point():
        tensors[one] = torch.full_like(tensors[one], rng.choice([math.nan, math.inf, 3e38]))
    elif act == 5:
        tensors[one] = torch.zeros(*tensors[one].shape, 2)
    else:
        state = changed(state, rng)
    write_checkpoint(path, tensors, state if isinstance(state, dict) else {"state": state})


def flip(path: Path, rng: random.Random) -> None:
    """Flip bits, mostly near the beginning, where what is said of the rest stands."""
    content = bytearray(path.read_bytes() or b"\0")
    for _ in range(rng.choice([1, 1, 3, 20])):
        content[rng.randrange(min(len(content), rng.choice([64, 4096, 1 << 30])))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) + 1)])


def grown(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    place = rng.randrange(len(content) + 1)
    path.write_bytes(content[:place] + rng.randbytes(rng.choice([1, 100])) + content[place:])


def gone(path: Path, rng: random.Random) -> None:
    del rng
    path.unlink()


def replaced(path: Path, rng: random.Random) -> None:
    """Put what is no file in its place."""
    path.unlink()
    rng.choice(
        [
            path.mkdir,
            lambda: os.mkfifo(path),
            lambda: path.symlink_to("/dev/zero"),
            lambda: path.symlink_to(path),
            lambda: path.symlink_to("/nowhere/at/all"),
            lambda: path.write_bytes(b""),
            lambda: path.write_bytes(b"[" * 200_000),
            lambda: path.write_bytes(b"a = " + b"[" * 200_000),
            lambda: path.write_bytes(b"a." * 50_000 + b"a = 1"),
            lambda: path.write_bytes(b"\xff" * 1000),
            lambda: path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}"),
            lambda: path.write_text('{"a": "\\ud800", "rows": "\\ud800"}', encoding="utf-8"),
            lambda: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 100 << 30),
        ]
    )()


ACTS: list[Callable[[Path, random.Random], None]] = [flip, cut, grown, gone, replaced]


def mutate(folder: Path, rng: random.Random, *, forged: bool = True) -> str:
    """Change one file in a folder, or several; return what was done. Digests are adjusted only if ``forged``."""
    done = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        there = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "report.html")
        files = [path for path in there if path.stat().st_size < 1 << 26]
        if not files:
            break
        path = rng.choice(files)
        act = rng.choice(ACTS)
        if rng.random() < 0.6 and path.suffix in (".json", ".jsonl", ".toml"):
            act = in_text
        elif forged and rng.random() < 0.6 and path.suffix == ".safetensors":
            act = in_tensors
        try:
            act(path, rng)
        except (OSError, ValueError, KeyError, SafetensorError) as error:  # what an earlier act did is in the way
            done.append(f"{act.__name__} of {path.name} failed ({error})")
        else:
            done.append(f"{act.__name__} {path.relative_to(folder)}")
    return "; ".join(done)
