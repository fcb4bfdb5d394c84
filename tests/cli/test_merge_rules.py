"""``--merge-rule``: rules compared, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_a_comparison_of_rules(call, tiny: tuple[str, ...], tmp_path: Path) -> None:
    methods = "sfl,sfl:merge_rule=trimmed-mean,trimmed_share=0.2"
    answer = call("compare", "--methods", methods, *tiny, "--clients", 6, "--quiet", "--json", "--out", tmp_path / "c")
    assert answer.code == 0, answer.err
    summaries = [json.loads(path.read_text()) for path in tmp_path.glob("c/*/summary.json")]
    assert {one["settings"]["merge_rule"] for one in summaries} == {"mean", "trimmed-mean"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            "--method psl --merge-rule median",
            "merge_rule = median: method psl merges no weights of clients; leave it out",
        ),
        (
            "--method cl --merge-rule median",
            "merge_rule = median: method cl merges no weights of clients; leave it out",
        ),
        (
            "--method ssl --merge-rule norm-bound",
            "method ssl passes weights from client to client and averages none",
        ),
        ("--method sfl --merge-rule medain", "merge_rule = medain: no such merge_rule; did you mean 'median'?"),
        (
            "--method sfl --trimmed-share 0.1",
            "merge_rule mean has no such parameter; leave it out, or choose merge_rule",
        ),
        ("--method sfl --merge-rule trimmed-mean --trimmed-share 0.5", "trimmed_share = 0.5: trims everything"),
        ("--method sfl --merge-rule trimmed-mean --clients 4", "clients = 4: 4 of them are merged at a time"),
        ("--method fl --merge-rule median --participation 0.2", "clients = 10: 2 of them are merged at a time"),
        ("--method fl --merge-rule median --min-clients 2", "min_clients = 2: median needs 3; give 3 or more"),
        ("--method fl --merge-rule norm-bound --norm-bound 0", "norm_bound = 0.0: is not a positive number"),
        ("--method fl --merge-rule norm-bound --norm-bound x", "norm_bound = x: input should be a valid number"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(call, flags: str, said: str, tmp_path: Path) -> None:
    answer = call("train", *flags.split(), "--out", tmp_path / "run")
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
