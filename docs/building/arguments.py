"""What the command line of a build asks for."""

from __future__ import annotations

import argparse
from pathlib import Path

SETTINGS = "zensical.toml"
"""The settings of the generator of the site, in the folder where pages are laid out."""


def folder_of(words: list[str]) -> Path:
    """Return the folder that a command line asks for.

    Raises
    ------
    SystemExit
        If it asks for help or for something that there is not, or if the folder holds what no build has made.
    """
    parser = argparse.ArgumentParser("python docs/building", description="Build the documentation site.")
    parser.add_argument(
        "folder",
        type=Path,
        help="where to lay out the pages and build the site, in FOLDER/site; what an earlier build left there goes",
    )
    folder: Path = parser.parse_args(words).folder
    if folder.exists() and not folder.is_dir():
        parser.error(f"{folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SETTINGS).is_file():
        parser.error(f"{folder} holds other files, which a build would remove; name a new folder")
    return folder
