"""Make the picture that README begins with: ``python docs/building/picture.py``, where Chromium is.

It trains, and shows side by side what the terminal and the report show, once in light and once in dark colours.
"""

from __future__ import annotations

import html
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PICTURES = Path(__file__).resolve().parents[1] / "pictures"
COMMAND = "sglr train --clients 10 --epochs 5 --out runs/digits"
PAGE = """<meta charset="utf-8"><style>
body {{ margin: 0; padding: 16px; width: 1248px; height: 528px; display: flex; gap: 16px; box-sizing: border-box;
  background: {background}; }}
pre, div {{ margin: 0; border-radius: 10px; border: 1px solid #8888; overflow: hidden; box-sizing: border-box; }}
pre {{ width: 610px; padding: 16px; background: #14181f; color: #d7dde6;
  font: 12.6px/1.6 "DejaVu Sans Mono", monospace; }}
b {{ color: #7fc8a9; }}
div {{ flex: 1; }}
iframe {{ border: 0; width: 1040px; height: 880px; transform: scale(.566); transform-origin: 0 0; }}
</style><pre><b>$ {command}</b>
{text}</pre><div><iframe src="{report}"></iframe></div>"""


def main() -> None:
    """Train, and write the pictures."""
    with tempfile.TemporaryDirectory() as place:
        words = [sys.executable, "-m", *COMMAND.split(), "--threads", "1"]
        done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=True)
        report = (Path(place) / "runs/digits/report.html").as_uri()
        for scheme, background in (("light", "#ffffff"), ("dark", "#0d1117")):
            page = Path(place) / f"{scheme}.html"
            text = html.escape(done.stderr + done.stdout)
            page.write_text(PAGE.format(background=background, command=COMMAND, text=text, report=report), "utf-8")
            _shoot(page, PICTURES / f"first-run-{scheme}.png", dark=scheme == "dark")


def _shoot(page: Path, picture: Path, dark: bool) -> None:
    """Take a picture of a page at twice the size, in few colours, which makes it small."""
    flags = ["--headless", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1.5"]
    flags += ["--window-size=1248,528", f"--blink-settings=preferredColorScheme={int(not dark)}"]
    flags += ["--allow-file-access-from-files", "--virtual-time-budget=5000", f"--screenshot={picture}"]
    subprocess.run(["chromium", *flags, page.as_uri()], check=True, capture_output=True)
    Image.open(picture).convert("RGB").quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    main()
