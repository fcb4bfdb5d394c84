"""The trainings of the paper's length: recorded, taken up anywhere, judged, and on a page whose words are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ttest_rel

ROOT = Path(__file__).parent.parent
SMALL = ["--scale", "smoke", "--grids", "table4-cnn", "--seeds", "1"]


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import paper_length

    return paper_length


def test_every_claim_names_methods_of_its_grid(lengths: Any, tmp_path: Path) -> None:
    from paper_length_figures import CLAIMS, PAPER

    sweeps = lengths.planned_sweeps(lengths.ORDER, tmp_path)
    labels = {sweep.folder.name: {one.label for one in sweep.configurations} for sweep in sweeps}
    for claim in CLAIMS:
        assert {claim.above, claim.below} <= labels[claim.grid]
    for grid, figures in PAPER.items():
        assert figures.keys() == {label.partition(":")[0] for label in labels[grid]} - ({"sfl"} - figures.keys())


@pytest.mark.charts
def test_runs_are_trained_once_and_what_the_record_has_is_never_lost(
    lengths: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, page = tmp_path / "runs", tmp_path / "page/long.md"
    lengths.main(["train", "--out", str(runs), "--hours", "0", *SMALL])
    assert not list(runs.glob("*/cells/*/summary.json"))
    lengths.main(["train", "--out", str(runs), *SMALL])
    assert "[7/7] table4-cnn" in capsys.readouterr().out.replace("runs/", "")
    lengths.main(["train", "--out", str(runs), *SMALL])
    assert capsys.readouterr().out == "7 of 7 runs were done before\n"
    lengths.main(["page", "--out", str(runs), "--page", str(page), *SMALL])
    text = page.read_text(encoding="utf-8")
    assert "| 4, CNN | independent | SGLR is above PSL | +4.6 |" in text
    assert "| one seed: no test |" in text
    assert "7 of 7 trainings are done." in text
    assert "<svg" in (page.parent / "long-table4-cnn.svg").read_text(encoding="utf-8")
    record = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    (run,) = [one for one in record["cells"] if one["method"] == "psl"]
    assert [point[0] for point in run["curve"]] == [1, 2]
    assert run["start"] == "common"
    assert all(run[name] is not None for name in ("accuracy", "sent", "client_flops", "server_flops", "joules", "took"))
    _check_other_folder(lengths, page, tmp_path / "elsewhere")


def _check_other_folder(lengths: Any, page: Path, folder: Path) -> None:
    """On another machine the record alone stands for the runs; words by hand and runs of other grids stay."""
    from paper_length_figures import read_long_record
    from paper_length_page import write_page

    known = read_long_record(page.with_suffix(".json"))
    (sweep,) = lengths.planned_sweeps(["table4-cnn"], folder, "smoke", 1)
    own = next(iter(known.values()))
    strange = {("table4-cnn", "iid", "0" * 16): type(own)(**own.record() | {"fingerprint": "0" * 16})}
    text = page.read_text(encoding="utf-8")
    begins = "<!-- by hand: in short -->\n"
    page.write_text(text.replace(begins, f"{begins}- *Ours.*\n"), encoding="utf-8")
    write_page([sweep], {**known, **strange}, page)
    assert page.read_text(encoding="utf-8") == text.replace(begins, f"{begins}- *Ours.*\n")
    assert read_long_record(page.with_suffix(".json")).keys() == {**known, **strange}.keys()


def test_a_claim_holds_fails_or_is_undecided_by_the_paired_test(lengths: Any) -> None:
    from paper_length_figures import Claim, LongRun, judged
    from which_method_figures import rows

    above, below = "sglr:alpha=0.5,phi=0.75", "fl"
    fields = {"weights": "kept", "sent": 1.0, "client_flops": 1.0, "seconds": 1.0, "fingerprint": "f"}

    def runs(method: str, *scores: float) -> list[Any]:
        own = {"data": "table4-cnn", "division": "iid", "method": method}
        return [LongRun(**own, **fields, seed=seed, accuracy=score) for seed, score in enumerate(scores)]

    def verdict(ours: tuple[float, ...], theirs: tuple[float, ...]) -> Any:
        found = judged(rows([*runs(above, *ours), *runs(below, *theirs)]), ["table4-cnn"])
        (one,) = [
            own for own in found if own.claim == Claim("table4-cnn", "common", own.claim.says, above, below, -0.4, -1.0)
        ]
        return one

    held = verdict((80.0, 81.0, 82.1), (80.4, 81.3, 82.5))  # behind, but by less than a point
    assert held.verdict == "**holds**"
    assert held.gap.mean == pytest.approx(-1.1 / 3)
    assert held.gap.p == pytest.approx(ttest_rel([81.0, 82.0, 83.1], [80.4, 81.3, 82.5]).pvalue)
    assert verdict((70.0, 71.0, 72.1), (80.4, 81.3, 82.5)).verdict == "**fails**"
    assert verdict((80.0, 85.0, 82.1), (80.4, 81.3, 82.5)).verdict == "undecided"
    assert verdict((80.0,), (80.4,)).verdict == "one seed: no test"
    assert {own.verdict for own in judged({}, ["table4-cnn"])} == {"not run yet"}


def test_the_committed_record_has_the_page(lengths: Any) -> None:
    from paper_length_figures import read_long_record
    from paper_length_page import PAGE, RECORD

    known = read_long_record(RECORD)
    assert known
    text = PAGE.read_text(encoding="utf-8")
    for grid, _, _ in known:
        assert f"(paper-length-{grid}.svg)" in text
        assert (PAGE.parent / f"paper-length-{grid}.svg").is_file()
