"""The page in a real browser: with 3 and with 500 clients, of a real training, and with hostile texts.

``SGLR_SCREENSHOTS=FOLDER python -m pytest tests/live/test_browser.py`` also writes what the page looks like.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sglr.live.folder_view import FolderView
from sglr.live.run_view import RunView
from sglr.runs.stop_file import requested_stop
from sglr.storage.lock import locked

from .made_up import make_folder, progress, record, status, write

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, which the extra dev installs")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs the browser chromium, which is not installed"),
]

SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open an address in a window of its own; whatever its console says fails the test."""
    contexts, said = [], []

    def go(address: str, size: str = "wide", scheme: str = "light") -> Any:
        width, height = SIZES[size]
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        shows(page, "#link", "live")
        return page

    yield go
    for context in contexts:
        context.close()
    assert said == []


def shows(page: Any, selector: str, text: str | re.Pattern[str], seconds: float = 20) -> None:
    """Wait until an element has a text; what waits inside the page would need eval, which the page forbids."""
    page.locator(selector).filter(has_text=text).first.wait_for(timeout=1000 * seconds)


def picture(page: Any, name: str) -> None:
    if folder := os.environ.get("SGLR_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def brightness(page: Any, style: str) -> float:
    colour = page.evaluate(f"getComputedStyle(document.querySelector('.card')).{style}")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


@pytest.mark.parametrize("clients", [3, 500])
def test_nothing_overflows_and_everything_follows(open_page, visit, tmp_path: Path, clients: int) -> None:
    folder = make_folder(tmp_path / "run", clients, 17)
    with locked(folder):
        shown = open_page(RunView(folder))
        for size in SIZES:
            for scheme, bright in (("light", True), ("dark", False)):
                page = visit(shown.server.access.address, size, scheme)
                page.wait_for_selector("#table tbody tr")
                picture(page, f"{clients}-{size}-{scheme}")
                assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
                assert (brightness(page, "backgroundColor") > 128) is bright
                assert (brightness(page, "color") < 128) is bright
        assert page.locator("#table tbody tr").count() == clients
        assert page.locator("#grid i").count() == clients
        follows(page, folder, clients)


def follows(page: Any, folder: Path, clients: int) -> None:
    """Change the files, and wait until the page shows it."""
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({**record(18), "validation_accuracy": 0.9876}) + "\n")
    shows(page, "#tiles", "98.8")
    write(folder / "progress.json", json.dumps(progress(19, 77)))
    shows(page, "#where", "step 77 of 120")
    told = status(clients, 1)
    told["clients"][2] |= {"state": "out", "reason": HOSTILE}
    write(folder / "status.json", json.dumps(told))
    row = page.locator("#table tbody tr", has=page.locator("th", has_text=re.compile("^2$")))
    row.locator("td.remark", has_text="onerror").wait_for(timeout=5000)
    assert HOSTILE in row.inner_text()
    assert page.locator("#table img, #table script").count() == 0
    assert "broken" not in page.title()


def test_many_clients_are_found_sorted_and_filtered_by_keyboard(open_page, visit, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", 500, 3)
    page = visit(open_page(RunView(folder)).server.access.address)
    page.wait_for_selector("#table tbody tr")
    rows = page.locator("#table tbody tr")
    page.get_by_label("Find").first.fill("17")
    assert [row.split("\t")[0] for row in rows.all_inner_texts()] == ["17", *(str(n) for n in range(170, 180))]
    page.get_by_label("Find").first.fill("")
    chip = page.get_by_role("button", name=re.compile("^out"))
    chip.focus()
    page.keyboard.press("Enter")
    assert chip.get_attribute("aria-pressed") == "true"
    assert rows.count() == 50
    page.keyboard.press("Enter")
    head = page.get_by_role("button", name="Answers in")
    head.focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Answers in")
    times = [float(cell.split()[0]) for cell in page.locator("#table tbody tr td:nth-child(5)").all_inner_texts()]
    assert times == sorted(times, reverse=True)
    chart = page.locator("svg.chart").first
    assert "over 3 epochs" in (chart.get_attribute("aria-label") or "")
    chart.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".readout").first.inner_text().startswith("epoch 2: validation")
    unnamed = "[...document.querySelectorAll('button,input,select,[role=img],progress')].filter(one => one.checkVisibility() && !(one.textContent.trim() || one.ariaLabel || one.labels?.length || one.getAttribute('aria-labelledby'))).map(one => one.outerHTML)"  # noqa: E501
    assert page.evaluate(unnamed) == []


def test_stopping_needs_a_choice_a_tick_and_a_click(open_page, visit, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", 3, 3)
    with locked(folder):
        address = open_page(RunView(folder)).server.access.address
        page = visit(address.partition("?")[0])  # without the token
        page.wait_for_selector("#table tbody tr")
        assert not page.locator("#stop").is_visible()
        page = visit(address, "narrow")
        assert "token" not in page.url
        page.get_by_role("button", name="Stop…").click()
        picture(page, "stop-narrow")
        confirm = page.get_by_role("button", name="Stop the run")
        assert confirm.is_disabled()
        page.keyboard.press("Escape")
        assert requested_stop(folder) is None
        page.get_by_role("button", name="Stop…").click()
        page.get_by_label("After this step").check()
        page.get_by_label("Yes, stop it").check()
        confirm.click()
        shows(page, "#state", "stopping")
        assert requested_stop(folder) == "step"
        assert not page.locator("#ask").is_visible()


def test_a_page_that_loses_its_process_says_so(open_page, visit, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", 3, 1)
    shown = open_page(RunView(folder))
    with locked(folder):
        page = visit(shown.server.access.address)
        ticks = page.locator("svg.chart").first.locator("text[text-anchor=end]").all_text_contents()
        assert len(ticks) == len(set(ticks)) > 1  # of one epoch, with values close to each other
        assert not page.locator("#lost").is_visible()
        shown.server.end()
        shows(page, "#lost", "The page's process has ended: this is what it told last, at ")
        assert page.title().startswith("ended")


def test_more_tabs_in_the_background_than_a_browser_has_connections(open_page, browser, tmp_path: Path) -> None:
    address = open_page(RunView(make_folder(tmp_path / "run", 3, 3))).server.access.address
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(document, 'hidden', { get: () => true })")
    for _ in range(8):
        page = context.new_page()
        page.goto(address)
        shows(page, "#where", "epoch 4 of 40")
    context.close()


def test_a_folder_leads_to_its_runs(open_page, visit, tmp_path: Path) -> None:
    make_folder(tmp_path / "study" / "a b&c", 2, 4, method="psl", name=HOSTILE)
    make_folder(tmp_path / "study" / "ü", 2, 2, method="sglr")
    page = visit(open_page(FolderView(tmp_path / "study")).server.access.address, "narrow", "dark")
    page.get_by_role("link", name="onerror").wait_for()
    picture(page, "folder-narrow-dark")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("link", name="onerror").click()
    shows(page, "#where", "epoch 5 of 40")
    assert page.locator("h1").inner_text() == HOSTILE
    page.get_by_role("link", name="all runs").click()
    page.get_by_role("link", name="sglr").wait_for()


def test_a_real_training_between_three_clients_is_watched_stopped_and_resumed(open_page, visit, tmp_path: Path) -> None:
    sglr = (sys.executable, "-m", "sglr")
    size = ("--clients", "3", "--samples-per-client", "200", "--epochs", "400", "--model", "mlp", "--device", "cpu")
    quiet = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*sglr, "train", "--engine", "remote", *size, "--out", "run", "--quiet"], **quiet)
    try:
        page = visit(open_page(RunView(tmp_path / "run")).server.access.address)
        page.get_by_text("3 of 3").wait_for(timeout=90_000)
        page.locator("svg.chart").nth(1).wait_for(timeout=60_000)
        shows(page, "#where", re.compile("epoch [3-9]"), 60)
        assert page.locator("#chips").inner_text().split() == ["here", "3"]
        picture(page, "real-training")
        page.get_by_role("button", name="Stop…").click()
        page.get_by_label("Yes, stop it").check()
        page.get_by_role("button", name="Stop the run").click()
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, "continue with: sglr resume run" in err) == (1, True)
    shows(page, "#state", "stopped")
    trained = len(RunView(tmp_path / "run").read()["history"])
    assert f"stopped after epoch {trained}" in page.locator("#why").inner_text().lower()
    resumed = subprocess.Popen([*sglr, "resume", "run", "--quiet"], **quiet)
    try:
        shows(page, "#state", "training", 60)
        shows(page, "#where", re.compile(rf"epoch (?!{trained} |{trained + 1} )\d"), 60)
    finally:
        resumed.terminate()
        resumed.communicate(timeout=60)
