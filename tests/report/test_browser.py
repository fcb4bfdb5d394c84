"""The reports in a real browser: nothing overflows on a phone, is fetched or complains; light and dark differ.

``SGLR_SCREENSHOTS=FOLDER python -m pytest tests/report/test_browser.py`` also writes what the pages look like.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from sglr.report.comparison import ComparisonRow, write_comparison_report
from sglr.report.leakage_comparison import leakage_page
from sglr.report.reproduction import write_reproduction_report
from sglr.report.run_report import write_run_report
from sglr.report.sweep import write_sweep_report

from .conftest import Write, by_class
from .leaking import attack, leaking, write_leakage
from .made_up import accuracies, artefact, chart, claim, computation, pictures, sweep_row, wide
from .of_tasks import binary, examples, multilabel, regression, task_summary

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--allow-file-access-from-files",
    "--enable-logging=stderr",
    "--virtual-time-budget=4000",
]
SIZES = {"wide": (1280, 4200), "narrow": (400, 7600)}
PROBE = """<!DOCTYPE html><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<body style="margin:0"><iframe id="page" src="{page}" style="border:0;width:{width}px;height:{height}px"></iframe>
<script>
document.getElementById("page").onload = event => {{
  const page = event.target.contentDocument, style = one => getComputedStyle(one);
  const measured = {{
    width: page.documentElement.scrollWidth,
    fetched: event.target.contentWindow.performance.getEntriesByType("resource").map(one => one.name)
      .filter(name => !name.startsWith("data:")),
    outside: [...page.querySelectorAll("body *")].filter(one => !one.parentElement.closest(".scroll"))
      .filter(one => one.getBoundingClientRect().right > {width} + 0.5).map(one => one.tagName),
    burst: [...page.querySelectorAll(".tile,.card")].filter(one => one.scrollWidth > one.clientWidth)
      .map(one => one.textContent.trim().slice(0, 60)),
    background: style(page.querySelector(".card")).backgroundColor,
    text: [...page.querySelectorAll("svg[role=img] text")].map(one => style(one).fill),
  }};
  const note = {{id: "measured", textContent: JSON.stringify(measured)}};
  document.body.append(Object.assign(document.createElement("pre"), note));
}};
</script>"""

pytestmark = [
    pytest.mark.charts,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs the browser chromium, which is not installed"),
]


def browse(arguments: list[str], folder: Path, *, dark: bool) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    profile = f"--user-data-dir={folder / 'profile'}"
    theme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    return subprocess.run(
        [BROWSER, *FLAGS, profile, *theme, *arguments], capture_output=True, text=True, timeout=60, check=True
    )


def look(page: Path, folder: Path, size: str, *, dark: bool) -> dict[str, object]:
    """Open a page at a width and in a theme; return what was measured, and keep a screenshot if asked to."""
    width, height = SIZES[size]
    probe = folder / f"{page.parent.name}-{size}-{'dark' if dark else 'light'}.html"
    probe.write_text(PROBE.format(page=page.as_uri(), width=width, height=height), encoding="utf-8")
    done = browse(["--dump-dom", f"--window-size={max(width, 500)},{height}", probe.as_uri()], folder, dark=dark)
    assert "CONSOLE" not in done.stderr, done.stderr
    if pictures := os.environ.get("SGLR_SCREENSHOTS"):
        picture = Path(pictures).resolve() / f"{probe.stem}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        window = f"--window-size={max(width, 500)},{height}"
        browse([f"--screenshot={picture}", window, probe.as_uri()], folder, dark=dark)
    found = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stdout[-2000:]
    measured: dict[str, object] = json.loads(unescape(found[1]))
    return measured


SWEEPS = {
    "sweep-lines": [sweep_row(0.8 + n / 100, 0.01, method=m, lr=n / 10) for m in ("psl", "sfl") for n in range(9)],
    "sweep-map": [sweep_row(0.8 + a * p / 999, 0.01, alpha=a / 7, phi=p / 7) for a in range(9) for p in range(9)],
    "sweep-points": [sweep_row(0.8, 0.1, method=f"{m}-without-any-place-to-break-it" * 3) for m in "abc"],
}


@pytest.fixture(params=["run", "run-of-a-task", "comparison", "reproduction", "leakage", "leaking-run", *SWEEPS])
def page(request: pytest.FixtureRequest, write_run: Write, tmp_path: Path) -> Path:
    """Write a report with what is hard to fit: many clients, long names, ten methods, wide tables."""
    long = "a-name-without-any-place-to-break-it-" * 3
    if request.param == "reproduction":
        (tmp_path / "a-reproduction").mkdir()
        charts = [chart("Accuracy"), chart(long, log=True, curves=7)]
        records = [
            artefact(tables=[accuracies(), wide()]),
            artefact("table4", title=long, setting=long, tables=[computation()], charts=charts, notes=[long]),
            artefact("figure4", tables=[], charts=[], pictures=[pictures()], claims=[claim("fails", long)]),
        ]
        return write_reproduction_report(tmp_path / "a-reproduction", records, "sglr reproduce " + long)
    if request.param == "leakage":
        (tmp_path / "a-leakage").mkdir()
        runs = [write_leakage(write_run(f"m{n}", alpha=n / 10, top=0.9 - n / 50), leaking(n / 99)) for n in range(1, 9)]
        runs.append(write_leakage(write_run(long, method="psl"), leaking(attacks=[attack(long, measure=long)])))
        page = tmp_path / "a-leakage" / "leakage.html"
        page.write_text(leakage_page(page.parent, runs, "sglr leak " + long), encoding="utf-8")
        return page
    if request.param == "leaking-run":
        attacks = [attack("probe", clients, measure=long) for clients in (0, 1, 2)]
        return write_run_report(write_leakage(write_run("a-leaking-run"), leaking(attacks=attacks)))
    if request.param in SWEEPS:
        runs = {"runs": [write_run(long).path.name], "seeds": [0], "accuracies": [0.8]}
        rows = [{**one, **runs} for one in SWEEPS[request.param]]
        best, keys = rows[0]["label"], list(rows[0]["values"])
        write_sweep_report(tmp_path, {"keys": keys, "best": best, "rows": rows}, "sglr sweep " + long)
        return tmp_path / "report.html"
    if request.param == "run-of-a-task":
        run = write_run("a-task", epochs=9)
        findings = [{**one, "name": long} if n == 1 else one for n, one in enumerate(multilabel(24)["per_label"])]
        test = {**regression(), **binary(clients=200), "per_label": findings}
        run.write_summary(task_summary(test, 9))
        (run.path / "examples.json").write_text(json.dumps(examples()), encoding="utf-8")
        return write_run_report(run)
    if request.param == "run":
        counts = np.random.default_rng(0).integers(0, 60, (100, 10)).tolist()
        names = [
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ]
        run = write_run("a-run", epochs=30, name=long, clients=100, classes={"classes": names, "counts": counts})
        test = run.summary["test"] | by_class(names)
        run.write_summary({**run.summary, "test": test})
        return write_run_report(run)
    rows = [
        ComparisonRow(f"sglr (alpha={number / 10}, phi=0.75)", "sglr", (write_run(f"m{number}", epochs=20).path,))
        for number in range(9)
    ]
    rows.append(ComparisonRow(long, "sglr", (write_run(long, top=0.5).path,), (long,)))
    (tmp_path / "a-comparison").mkdir()
    write_comparison_report(tmp_path / "a-comparison", rows, "sglr compare --out " + long)
    return tmp_path / "a-comparison" / "report.html"


@pytest.mark.parametrize("size", SIZES)
def test_nothing_overflows_is_fetched_or_complains(page: Path, tmp_path: Path, size: str) -> None:
    light, dark = (look(page, tmp_path, size, dark=theme) for theme in (False, True))
    for measured in (light, dark):
        assert measured["width"] == SIZES[size][0]
        assert measured["fetched"] == []
        assert measured["outside"] == []
        assert measured["burst"] == []


def test_charts_follow_the_theme(page: Path, tmp_path: Path) -> None:
    light, dark = (look(page, tmp_path, "wide", dark=theme) for theme in (False, True))
    assert brightness(light["background"]) > 240 > 50 > brightness(dark["background"])
    shown = [colour for colour in light["text"] if colour not in NUMBERS]  # type: ignore[attr-defined]
    if '<svg role="img"' not in page.read_text(encoding="utf-8"):
        return  # drawn as a table or by style alone
    assert max(map(brightness, shown)) < 135
    shown = [colour for colour in dark["text"] if colour not in NUMBERS]  # type: ignore[attr-defined]
    assert min(map(brightness, shown)) > 145


NUMBERS = {"rgb(0, 0, 0)", "rgb(255, 255, 255)"}  # on the coloured cells of the classes per client


def brightness(colour: object) -> float:
    return sum(map(int, re.findall(r"\d+", str(colour))[:3])) / 3
