"""What processes of a disturbed run live on: a small disk, a clock that can be set, and permissions that bind root."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
from pathlib import Path

DISK_MIB = 64
SECOND = 10**9
SOURCE = Path(__file__).parent / "clock.c"


def by_the_rules() -> list[str] | None:
    """Return what stands before a command so that permissions bind it, which root is above; None where it can't be."""
    if os.geteuid() != 0:
        return []
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"] if shutil.which("setpriv") else None


class Disk:
    """A folder on a file system of its own that can be filled to the last byte; it needs root.

    Parameters
    ----------
    folder
        A folder, made here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "none", str(folder)]
        try:
            self.small = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        except OSError:
            self.small = False

    def fill(self) -> None:
        """Leave no free byte."""
        with contextlib.suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def free(self) -> None:
        """Take away what filled it."""
        (self.folder / "filler").unlink(missing_ok=True)

    def remove(self) -> None:
        """Take the file system away, with all that is on it."""
        if self.small:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


class Clock:
    """The clock of the wall as one process sees it.

    Parameters
    ----------
    file
        Holds how far it is set from the machine's.
    library
        `clock.c`, compiled; None where it can't be.
    """

    def __init__(self, file: Path, library: Path | None) -> None:
        self.file, self.library = file, library
        file.write_bytes(struct.pack("=q", 0))
        file.chmod(0o644)

    def set(self, seconds: float) -> None:
        """Set it so far from the machine's; a negative number is back."""
        with self.file.open("r+b", buffering=0) as file:
            file.write(struct.pack("=q", int(seconds * SECOND)))

    @property
    def environment(self) -> dict[str, str]:
        """What has a process live by it."""
        return {} if self.library is None else {"LD_PRELOAD": str(self.library), "CHAOS_CLOCK": str(self.file)}


def compiled_clock(folder: Path) -> Path | None:
    """Compile `clock.c` into a folder; None where there is no compiler, or no Linux."""
    library, compiler = folder / "clock.so", shutil.which("cc")
    if compiler is None:
        return None
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    return library if subprocess.run(command, capture_output=True, check=False).returncode == 0 else None
