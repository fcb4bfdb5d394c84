"""docs/results/speed.md says what benchmarks/results say, and the Makefile calls benchmarks as they can be called."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CALLED = sorted(set(re.findall(r"benchmarks/\w+\.py(?: --?[a-z-]+(?: [\w.$()/]+)?)*", MAKEFILE)))
"""Command lines of the Makefile, with their options."""


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import speed_page

    return speed_page


def test_the_page_is_what_the_kept_results_say(page: Any) -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.text(), "a result has changed: run make bench-page"


def test_every_goal_is_measured_by_a_target_that_keeps_its_result(page: Any) -> None:
    from speed_goals import GOALS

    for goal in GOALS:
        target = goal.command.removeprefix("make ")
        (rule,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
        assert f"benchmarks/{goal.record.replace('-', '_')}.py" in rule
        assert "--write" in rule


def test_results_that_are_not_there_are_no_error_and_goals_are_judged_by_their_figures(
    page: Any, tmp_path: Path
) -> None:
    assert page.text(tmp_path).count("not measured yet") == len([*page.goal_rows(tmp_path)])
    result = {"least_processor_seconds": {"import torch": 1.0, "sglr train, to its first step": 1.6}}
    result["least_processor_seconds"]["sglr train --help"] = 0.5
    (tmp_path / "startup-cpu.json").write_text(json.dumps(result), encoding="utf-8")
    assert "| 1.60 ×; 0.50 s | **no** |" in page.text(tmp_path)
    result["least_processor_seconds"]["sglr train, to its first step"] = 1.4
    (tmp_path / "startup-cpu.json").write_text(json.dumps(result), encoding="utf-8")
    assert "| 1.40 ×; 0.50 s | yes |" in page.text(tmp_path)


def test_split_learning_is_judged_by_its_fastest_setting_that_all_seeds_reached_the_score_with(page: Any) -> None:
    from speed_goals import time_to_accuracy

    def row(method: str, lr: float, phone: float | None) -> dict[str, Any]:
        return {"settings": {"method": method, "lr": lr}, "seconds": {"phone": phone}}

    small = [row("fl", 1, 8), row("fl", 1, 12), row("fl", 2, 11), row("fl", 2, 11)]
    small += [row("psl", 1, 14), row("psl", 1, 16), row("sglr", 1, 5), row("sglr", 1, None)]
    result = {"devices": {"phone": "phone/wan"}, "models": {"small": {"final": small}}}
    found = time_to_accuracy(result)
    assert (found.text, found.met) == ("0.4 MB: phone 1.50", True)
    result["models"]["large"] = {"final": [row("fl", 1, 8), row("psl", 1, 4.1)]}
    found = time_to_accuracy(result)
    assert (found.text, found.met) == ("0.4 MB: phone 1.50; 50 MB: phone 0.51", False)
    result["models"]["large"] = {"final": [row("fl", 1, None), row("psl", 1, 4.1)]}
    assert time_to_accuracy(result).text.endswith("50 MB: phone –")


@pytest.mark.charts
def test_the_page_is_written_with_its_charts(page: Any, tmp_path: Path) -> None:
    page.write_page(tmp_path / "speed.md")
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")
    charts = re.findall(r"\]\((speed-\w+\.svg)\)", text)
    assert charts
    for chart in charts:
        assert (tmp_path / chart).read_text(encoding="utf-8").startswith("<?xml")
        assert (page.PAGE.parent / chart).is_file()


HELP = """
import contextlib, io, json, runpy, sys
told = {}
for script in sys.argv[1:]:
    sys.path[0], sys.argv = script.rpartition("/")[0], [script, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    told[script] = text.getvalue()
print(json.dumps(told))
"""
"""Asks all in one process, which imports torch once."""


@pytest.mark.slow
def test_benchmarks_of_the_makefile_have_the_options_that_they_are_given() -> None:
    scripts = {str(ROOT / line.split()[0]) for line in CALLED}
    command = [sys.executable, "-c", HELP, *scripts]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for line in CALLED:
        script, *options = line.split()
        text = told[str(ROOT / script)]
        assert "usage:" in text, script
        assert [option for option in options if option.startswith("--") and option not in text] == [], script


def test_the_makefile_names_benchmarks_that_exist() -> None:
    assert len(CALLED) > 20
    assert all((ROOT / line.split()[0]).is_file() for line in CALLED)
    if shutil.which("make"):
        for target in ("bench", "bench-neighbour", "bench-remote", "bench-flower", "bench-page", "bench-gpu"):
            subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)
