"""Run folders that a stranger, a bad disk or a clumsy hand left: a clear message, bounded memory, never a hang."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from sglr.core.errors import DamagedCheckpoint, NotRead
from sglr.runs.folder import BEST, CHECKPOINTS, SUMMARY, Run
from sglr.storage.checkpoint import read_checkpoint
from sglr.storage.files import read_if_there
from sglr.storage.json_files import parse, read_object

from .conftest import Answer
from .mutated_folders import mutate

pytestmark = pytest.mark.charts
Call = Callable[..., Answer]
SECONDS = 30


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """End a test that waits for ever, as one that opens a pipe would."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError("it takes for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS * 4)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def check(answer: Answer, did: str) -> None:
    """See that a command ended in plain words."""
    assert answer.code in (0, 1, 2), did
    for sign in ("Traceback", "run again with --debug", "\x1b[2J"):
        assert sign not in answer.err + answer.out, (did, answer.err)
    if answer.code:
        assert answer.err.splitlines()[-1].startswith("error: "), did
        assert len(answer.err) < 5000, did


def unfinished(folder: Path) -> str:
    """Take away what a finished run has more than one that was killed in its last epoch; return its weights' hash."""
    wanted = str(json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["weights_sha256"])
    (folder / SUMMARY).unlink()
    run = Run(folder)
    run.checkpoints[-1].unlink()
    best = folder / CHECKPOINTS / BEST
    best.unlink()
    os.link(run.checkpoints[-1], best)
    run.keep_records(2)
    return wanted


def test_damaged_folders_are_shown_or_refused_in_plain_words(finished: Path, tmp_path: Path, call: Call) -> None:
    for seed in range(40):
        folder = Path(shutil.copytree(finished, tmp_path / str(seed)))
        did = f"{seed}: {mutate(folder, random.Random(seed))}"
        check(call("show", folder, "--json"), did)
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 8, 4))
def test_damaged_folders_are_reported_attacked_and_resumed_or_refused(
    first: int, finished: Path, tmp_path: Path, call: Call
) -> None:
    for seed in range(first, first + 4):
        folder = Path(shutil.copytree(finished, tmp_path / str(seed)))
        rest = Path(shutil.copytree(folder, tmp_path / f"{seed}-rest"))
        wanted = unfinished(rest)
        did = f"{seed}: {mutate(folder, random.Random(seed))}"
        check(call("show", folder), did)
        check(call("report", folder), did)
        check(call("leak", folder, "--clients", 1, "--measures", "distance_correlation"), did)
        did = f"{seed}: {mutate(rest, random.Random(seed), forged=False)}"
        answer = call("resume", rest, "--quiet", "--json")
        check(answer, did)
        if answer.code == 0:
            assert json.loads(answer.out)["weights_sha256"] == wanted, did


NAMES = ("config.toml", "metrics.jsonl", "summary.json", "data.json", "choices.json", "command.txt", "classes.json")
STRANGE: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path),
    "folder": Path.mkdir,
    "holes": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 100 << 30),
    "nested": lambda path: path.write_bytes(b"[" * 10**6),
    "nested table": lambda path: path.write_bytes(b"a = " + b"[" * 10**5),
    "dots": lambda path: path.write_bytes(b"a." * 10**5 + b"a = 1"),
    "a lone surrogate": lambda path: path.write_bytes(b'{"epoch": "\\ud800", "a": "\\ud800"}'),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe" * 999),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_file_or_a_bomb_is_refused_by_name(kind: str, run_folder: Path, call: Call) -> None:
    for name in NAMES:
        path = run_folder / name
        path.rename(run_folder / "kept")
        STRANGE[kind](path)
        check(call("show", run_folder), f"{kind} as {name}")
        if name in ("metrics.jsonl", "summary.json") and kind in ("pipe", "device", "loop", "folder", "holes"):
            answer = call("report", run_folder)
            assert answer.code == 1
            assert name in answer.err
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        (run_folder / "kept").rename(path)


def test_checkpoints_that_are_bombs_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "step-000000001.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [25 << 30], "data_offsets": [0, 100 << 30]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + (100 << 30))
    with pytest.raises(DamagedCheckpoint, match="sparse file"):
        read_checkpoint(path)
    for content in ((1 << 62).to_bytes(8, "little") + b"{}", b"", b"\xff" * 99):
        path.write_bytes(content)
        with pytest.raises(DamagedCheckpoint, match="cannot be read as a checkpoint"):
            read_checkpoint(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(NotRead, match="a pipe or a device"):
        read_checkpoint(path)


def test_a_flipped_bit_in_the_state_of_a_checkpoint_is_noticed(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / BEST
    content = (finished / CHECKPOINTS / BEST).read_bytes()
    for word, other in ((b'\\"epoch\\": 3', b'\\"epoch\\": 2'), (b'\\"records\\": ', b'\\"recordz\\": ')):
        if word in content:
            path.write_bytes(content.replace(word, other))
            with pytest.raises(DamagedCheckpoint, match="not what was written"):
                read_checkpoint(path)
            break
    else:
        raise AssertionError("the state is written otherwise now")


def test_files_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(11))
    assert read_if_there(path, 11) == bytes(11)
    with pytest.raises(NotRead, match="larger than 10 bytes"):
        read_if_there(path, 10)
    for text in (b"[" * 10**6, b'"\\ud800"', b"1" * 5000):
        with pytest.raises(ValueError, match=r"nested|surrogate|limit"):
            parse(text)
    assert parse(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"
    path.write_bytes(b"[1]")
    with pytest.raises(ValueError, match="it is not an object"):
        read_object(path)


CHILD = """
import resource, sys
from pathlib import Path
from sglr.cli.main import main

folder = Path(sys.argv[1])
main(["show", str(folder)])
pages = int(Path("/proc/self/statm").read_text().split()[0])
most = pages * resource.getpagesize() + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
for name, line in (("metrics.jsonl", b'{"epoch": 1}\\n'), ("summary.json", b"[],"), ("config.toml", b"a=1\\n")):
    path = folder / name
    kept = path.read_bytes()
    with path.open("wb") as file:
        for _ in range(300):
            file.write(line * 10**5)
    print(name, main(["show", str(folder)]))
    path.write_bytes(kept)
"""


@pytest.mark.slow
def test_hundreds_of_megabytes_of_records_take_no_memory(run_folder: Path) -> None:
    child = [sys.executable, "-c", CHILD, str(run_folder)]
    done = subprocess.run(child, capture_output=True, text=True, timeout=SECONDS * 3)
    codes = [line for line in done.stdout.splitlines() if line.split()[0] in NAMES]
    assert codes == ["metrics.jsonl 1", "summary.json 1", "config.toml 2"], done.stderr
    assert done.stderr.count("larger than") == 3
