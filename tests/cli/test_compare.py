"""Stories of ``sglr compare``."""

from __future__ import annotations

import json

import pytest

from sglr.runs.folder import Run


def test_compare_prints_a_line_per_run_and_one_table(call, tiny, tmp_path):
    words = ("--methods", "psl", "--method", "sglr:phi=1", "--seeds", "0,1", *tiny, "--out", tmp_path / "c")
    answer = call("compare", *words)
    assert answer.code == 0
    lines = answer.err.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["data", "classes", "model", "clients"]
    assert [line.partition(": ")[0] for line in lines[4:]] == [
        "[1/4] psl, seed 0",
        "[2/4] psl, seed 1",
        "[3/4] sglr:phi=1, seed 0",
        "[4/4] sglr:phi=1, seed 1",
    ]
    assert all(label in answer.out for label in ("psl", "sglr:phi=1", "accuracy"))
    assert f"next    sglr show {tmp_path / 'c'}\n" in answer.out
    assert call("show", tmp_path / "c").out == answer.out


def test_compare_prints_json_alone(call, tiny, tmp_path):
    answer = call("compare", "--methods", "psl", *tiny, "--out", tmp_path / "c", "--json", "--quiet")
    assert answer.err == ""
    assert json.loads(answer.out) == json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert json.loads(call("show", tmp_path / "c", "--json").out) == json.loads(answer.out)


def test_settings_of_a_file_apply_and_its_method_does_not(call, tiny, tmp_path):
    (tmp_path / "e.toml").write_text('method = "cl"\nseed = 5\nlr = 0.01\nalpha = 0.1\n')
    call("compare", "--methods", "psl,slr", "--config", tmp_path / "e.toml", *tiny, "--out", tmp_path / "c")
    run = Run.open(tmp_path / "c" / "slr-seed5").experiment
    assert (run.lr, run.method_parameters["alpha"]) == (0.01, 0.1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--methods", "psl,sgld"], "did you mean 'sgl'"),
        (["--methods", "psl", "--seeds", "one"], "seeds = one"),
        (["--methods", "psl", "--seeds", "-1"], "seed = -1"),
        (["--methods", "psl", "--alpha", "1"], "method psl has no such parameter"),
        (["--methods", "psl", "--batch-size", "0"], "batch_size = 0"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_line(call, tiny, tmp_path, words, told):
    answer = call("compare", *tiny, *words, "--out", tmp_path / "c", "--quiet")
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert told in answer.err
