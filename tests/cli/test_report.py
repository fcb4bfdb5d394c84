"""Stories of ``sglr report``, and of the command that every report shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sglr.runs.folder import Run


@pytest.mark.charts
def test_a_run_is_reported_anew_and_its_path_printed(call, run_folder):
    (run_folder / "report.html").unlink()
    answer = call("report", run_folder)
    assert (answer.code, answer.out, answer.err) == (0, f"{run_folder / 'report.html'}\n", "")
    assert "report of a run" in (run_folder / "report.html").read_text(encoding="utf-8")


def test_runs_that_differ_by_their_seed_are_one_row(call, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, words in {
        "a": ("--method", "sglr", "--seed", "0"),
        "b": ("--method", "sglr", "--seed", "1"),
        "c": ("--method", "sglr", "--lr", "0.01"),
        "d": ("--method", "psl"),
    }.items():
        assert call("train", *tiny, *words, "--quiet", "--out", name).code == 0
    assert call("report", "a", "b", "c", "d", "a").out == "report.html\n"
    page = Path("report.html").read_text(encoding="utf-8")
    assert "4 runs of 3 methods" in page
    for label in ("sglr (lr=0.001)", "sglr (lr=0.01)", "psl (lr=0.001)"):
        assert f"<span>{label}</span>" in page, label
    assert '<a href="a/report.html">' in page
    assert "sglr report a b c d a" in page.replace('<span class="word">', "").replace("</span>", "")
    assert not Path("accuracy.svg").exists()


def test_a_folder_of_runs_and_a_page_elsewhere(call, run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "several" / "one")
    answer = call("report", tmp_path / "several", "--out", tmp_path / "pages" / "all.html")
    assert answer.out == f"{tmp_path / 'pages' / 'all.html'}\n"
    assert 'href="../several/one/report.html"' in (tmp_path / "pages" / "all.html").read_text(encoding="utf-8")
    assert (
        call("report", tmp_path / "several", "--out", tmp_path / "pages").out == f"{tmp_path / 'pages/report.html'}\n"
    )


@pytest.mark.charts
def test_a_comparison_is_reported_as_compare_did_it(call, tiny, tmp_path):
    words = ("compare", "--methods", "psl,sglr", *tiny, "--out", tmp_path / "c", "--quiet")
    call(*words)
    page = (tmp_path / "c" / "report.html").read_bytes()
    assert call("report", tmp_path / "c").code == 0
    assert (tmp_path / "c" / "report.html").read_bytes() == page
    assert "compare" in page.decode()
    for run in (tmp_path / "c", tmp_path / "c" / "psl-seed0"):
        assert (run / "command.txt").read_text(encoding="utf-8") == f"sglr {' '.join(map(str, words))}\n"


def test_an_unfinished_run_is_reported_as_far_as_it_got(call, run_folder):
    (run_folder / "summary.json").unlink()
    assert call("report", run_folder).code == 0
    assert "This run is not finished" in (run_folder / "report.html").read_text(encoding="utf-8")


def test_a_reproduction_is_reported_from_its_record(call, tmp_path):
    artefact = {"name": "table1", "title": "Table 1: made up", "scale": "small"}
    record = {"command": "sglr reproduce table1", "artefacts": [artefact]}
    (tmp_path / "reproduction.json").write_text(json.dumps(record), encoding="utf-8")
    assert call("report", tmp_path).code == 0
    assert "Table 1: made up" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_report_shows_the_command_as_it_was_typed(call, tiny, tmp_path):
    call("train", *tiny, "--name", "two words", "--quiet", "--out", tmp_path / "r")
    assert Run.open(tmp_path / "r").command.startswith("sglr train ")
    assert "--name 'two words'" in Run.open(tmp_path / "r").command
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert (
        '<span class="word">--name</span> <span class="word">&#39;two</span> <span class="word">words&#39;</span>'
        in page
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "does not exist"),
        (["file"], "is a file"),
        (["empty"], "not a run"),
        (["run", "several"], "is a folder of several runs"),
        (["run", "empty"], "not a run"),
        (["damaged"], "is damaged"),
        (["reproduction"], "cannot be read"),
        (["run", "--out", "file/x.html"], "cannot be written"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_line(call, run_folder, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("empty").mkdir()
    for name in ("several/one", "damaged"):
        shutil.copytree(run_folder, tmp_path / name)
    Path("damaged/summary.json").write_text('{"test": 5}')
    Path("reproduction").mkdir()
    Path("reproduction/reproduction.json").write_text("[]")
    answer = call("report", *words)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert told in answer.err
