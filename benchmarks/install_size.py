"""Bytes that an installation of sglr takes, without torch and what torch brings: of the base and of each extra.

Sizes are those of the files that each package lists of itself; caches that Python compiles do not count. Run it in an
environment that has everything: ``python benchmarks/install_size.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MB = 1e6


def closure(wanted: Iterable[str], extra: str = "") -> set[str]:
    """Return the names of the installed packages that requirements lead to, those of ``extra`` of sglr included."""
    found: set[str] = set()
    waiting = [(Requirement(text), extra) for text in wanted]
    while waiting:
        requirement, of = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": of}):
            continue
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        try:
            further = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # of another platform
        found.add(name)
        waiting += [(Requirement(text), each) for text in further for each in requirement.extras or [""]]
    return found


def size(name: str) -> int:
    """Return the bytes of a package's files."""
    files = distribution(name).files or []
    paths = [Path(str(file.locate())) for file in files if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file())


def main() -> None:
    """Print a table."""
    told = distribution("sglr")
    required, torch = told.requires or [], closure(["torch"])
    base = closure(required) - torch
    whole = sum(map(size, base))
    print(f"{'base':10} {whole / MB:7.1f} MB  {', '.join(sorted(base, key=size, reverse=True)[:8])}")
    for extra in told.metadata.get_all("Provides-Extra") or []:
        more = closure(required, extra) - base - torch
        print(f"{extra:10} {sum(map(size, more)) / MB:+7.1f} MB  {', '.join(sorted(more, key=size, reverse=True)[:8])}")


if __name__ == "__main__":
    main()
