"""Full disks are waited out, by clients and by the server."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .federation import Federation
from .undisturbed import (
    SHORT,
    at_steps,
    ends_as_undisturbed,
    later,
    until,
)


class SmallDisks:
    """Disks of a few MiB, put in the place of folders, with what was in them."""

    def __init__(self) -> None:
        self.folders: list[Path] = []

    def put(self, folder: Path) -> None:
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "none", str(folder)], check=True)
        self.folders.append(folder)
        for name, content in before.items():
            (folder / name).write_bytes(content)

    def fill(self) -> None:
        for folder in self.folders:
            with pytest.raises(OSError), (folder / "filler").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass

    def free(self) -> None:
        for folder in self.folders:
            (folder / "filler").unlink(missing_ok=True)

    def remove(self) -> None:
        for folder in self.folders:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisks]:
    monkeypatch.setattr("sglr.storage.retry.FIRST_WAIT", 0.1)
    found, trial = SmallDisks(), tmp_path / "trial"
    trial.mkdir()
    try:
        found.put(trial)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here: it needs root")
    try:
        yield found
    finally:
        found.remove()


def test_full_disks_are_waited_out(disks, tmp_path, caplog):
    federation = Federation(tmp_path, SHORT, groups=[(0, 1), (2,)])

    def fill() -> None:
        disks.put(tmp_path / "server" / "checkpoints")
        disks.put(tmp_path / "site-1" / "snapshots")
        disks.fill()
        later(1.2, disks.free)

    run = federation.train(observe=at_steps(((0, 3), fill)))
    assert sum("No space left" in line and "free some disk space" in line for line in federation.said) == 1
    ends_as_undisturbed(federation, run)


@pytest.mark.slow
def test_a_server_waits_out_a_full_disk(disks, tmp_path, caplog):
    federation = Federation(tmp_path, SHORT)

    def fill() -> None:
        disks.put(tmp_path / "server" / "checkpoints")
        disks.fill()
        later(1.0, disks.free)

    run = federation.train(observe=at_steps(((0, 1), fill)))
    told = [record.getMessage() for record in caplog.records if "No space left" in record.getMessage()]
    assert len(told) == 1
    assert "the checkpoint could not be written" in told[0]
    ends_as_undisturbed(federation, run)


@pytest.mark.slow
def test_a_client_whose_disk_is_full_can_leave_and_come_back(disks, tmp_path):
    federation = Federation(tmp_path, SHORT, groups=[(0, 1), (2,)])

    def fill() -> None:
        disks.put(tmp_path / "site-1" / "snapshots")
        disks.fill()
        threading.Thread(target=leave).start()

    def leave() -> None:
        until(lambda: any("No space left" in line for line in federation.said))
        federation.end()
        disks.free()
        for number in (0, 1):
            federation.again(number)

    run = federation.train(observe=at_steps(((0, 3), fill)))
    assert any("can't be saved" in line for line in federation.said)
    ends_as_undisturbed(federation, run)
