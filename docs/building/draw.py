"""Draw the diagrams of the documents again: ``python docs/building/draw.py``, where npm and Chromium are.

Code hosts draw Mermaid's text themselves; the site shows drawings that are kept in docs/pictures/diagrams, each under
the digest of its text, so that no page needs a script of several megabytes.
"""

from __future__ import annotations

import html
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from diagrams import BLOCK, DRAWINGS, name_of

DOCS = Path(__file__).resolve().parents[1]
SETTINGS = "{startOnLoad: true, htmlLabels: false, flowchart: {htmlLabels: false}, fontFamily: 'sans-serif'}"


def draw(text: str, folder: Path) -> str:
    """Return a diagram as SVG."""
    page = folder / "page.html"
    script = next(folder.rglob("dist/mermaid.min.js"))
    parts = (f'<pre class="mermaid">{html.escape(text)}</pre>', f'<script src="{script}"></script>')
    page.write_text(f"<meta charset='utf-8'>{''.join(parts)}<script>mermaid.initialize({SETTINGS})</script>")
    command = ["chromium", "--headless", "--no-sandbox", "--virtual-time-budget=20000", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    svg = re.search(r"<svg.*</svg>", dom, re.DOTALL)
    assert svg is not None, dom
    width, height = re.findall(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', svg[0])[0]
    return re.sub(r'width="100%"', f'width="{width}" height="{height}"', svg[0].replace("<br>", "<br/>"), count=1)


def main() -> None:
    """Draw what has no drawing, and remove drawings of texts that are gone."""
    texts = [text for path in DOCS.rglob("*.md") for text in BLOCK.findall(path.read_text(encoding="utf-8"))]
    DRAWINGS.mkdir(parents=True, exist_ok=True)
    for path in {*DRAWINGS.glob("*.svg")} - {DRAWINGS / name_of(text) for text in texts}:
        path.unlink()
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["npm", "pack", "--silent", "mermaid@11"], cwd=place, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(next(Path(place).glob("*.tgz"))) as package:
            package.extractall(place, filter="data")
        for text in texts:
            (DRAWINGS / name_of(text)).write_text(draw(text, Path(place)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
