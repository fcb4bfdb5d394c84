"""What to take, by the rows of a study: worked out by hand on small numbers, and told with the rows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sglr.cli.plan_advice import show_advice
from sglr.core.errors import UsageError
from sglr.core.spec import Spec
from sglr.planner.recommendation import Evidence, recommend
from sglr.planner.recommendation_words import basis, rows, sentences
from sglr.planner.request import Request
from sglr.planner.study import Study, StudyRow
from sglr.studies.method_specs import Variant

DATA = {"small": {"title": "Small", "model": "cnn"}, "deep": {"title": "Deep", "model": "resnet16"}}
SCORES = {  # method: weights, accuracy where data are alike and where they differ, sent
    "psl": ("kept", 80.0, 30.0, 100.0),
    "sglr:phi=1": ("kept", 79.0, 60.0, 100.0),
    "slr": ("kept", 81.0, 55.0, 100.0),
    "sglr:init=independent": ("kept", 90.0, 90.0, 100.0),
    "sfl": ("shared", 79.0, 60.2, 110.0),
    "sflv2": ("shared", 83.0, 75.0, 110.0),
    "cl": ("pooled", 95.0, 95.0, 0.0),
}
DIVISIONS = ("iid", "dirichlet-0.1")


def row(data: str, division: str, method: str, weights: str, accuracy: float, sent: float = 100.0) -> StudyRow:
    return StudyRow(data, division, method, weights, 3, accuracy, 0.5, sent, 1.0, 10.0)


def study(*more: StudyRow) -> Study:
    rows = [
        row("small", division, method, weights, scores[place], sent)
        for method, (weights, *scores, sent) in SCORES.items()
        for place, division in enumerate(DIVISIONS)
    ]
    deep = [row("deep", "iid", "psl", "kept", 50.0), row("deep", "iid", "sfl", "shared", 70.0)]
    return Study(DATA, [*rows, *deep, *more])


def test_it_is_the_method_whose_distance_to_the_best_is_smallest_over_all_rows() -> None:
    kept = recommend(study(), "kept")
    # Below the best of 81 and of 60: psl 1 and 30, sglr 2 and 0, slr 0 and 5.
    assert (kept.method, kept.behind, kept.most_behind, kept.shares) == ("sglr:phi=1", 1.0, 2.0, False)
    assert [one.best.method for one in kept.evidence] == ["slr", "sglr:phi=1"]
    assert kept.command == "sglr train --method sglr --phi 1"
    shared = recommend(study(), "shared")
    assert (shared.method, shared.behind, shared.shares) == ("sflv2", 0.0, True)


def test_only_the_rows_of_the_users_data_and_model_bear_on_it() -> None:
    assert recommend(study(), "kept", skew="iid").method == "slr"
    assert recommend(study(), "kept", skew="dirichlet:0.1").method == "sglr:phi=1"
    assert recommend(study(), "shared", model="resnet16").method == "sfl"
    assert recommend(study(), "shared", model="alexnet").method == "sflv2"


def test_among_equals_client_weights_stay_and_a_method_without_all_rows_is_not_considered() -> None:
    near = [
        row("small", division, "gas", "kept", score) for division, score in zip(DIVISIONS, (82.8, 74.5), strict=True)
    ]
    assert recommend(study(*near), "shared").method == "gas"
    assert recommend(study(near[0]), "shared").method == "sflv2"


def test_divisions_with_few_methods_and_methods_with_few_rows_are_left_out() -> None:
    begun = [row("small", "shards-2", "psl", "kept", 90.0), row("small", "iid", "gas", "kept", 99.0)]
    assert recommend(study(*begun), "kept").method == "sglr:phi=1"
    assert len(recommend(study(*begun), "kept").evidence) == 2
    assert recommend(study(*begun), "kept", skew="shards:2").method == "psl"


@pytest.mark.parametrize(
    ("skew", "division"),
    [("iid", "iid"), ("dirichlet:0.5", "dirichlet-0.5"), ("dirichlet:0.2", "dirichlet-0.1"), ("shards:4", "shards-2")],
)
def test_the_nearest_division_stands_for_a_skew(skew: str, division: str) -> None:
    more = [row("small", name, "psl", "kept", 50.0) for name in ("dirichlet-0.5", "shards-2")]
    assert study(*more).nearest(skew) == division


@pytest.mark.parametrize(
    "skew", ["", "dirichlet", "dirichlet:", "dirichlet:-1", "dirichlet:nan", "natural:3", "shards:x"]
)
def test_another_skew_is_refused(skew: str) -> None:
    with pytest.raises(UsageError, match="skew = "):
        study(row("small", "shards-2", "psl", "kept", 50.0)).nearest(skew)


def test_it_is_told_with_what_sharing_is_worth_and_what_it_sends() -> None:
    both = [recommend(study(), allows) for allows in ("kept", "shared")]
    said = " ".join(sentences(both, study(), None))
    assert "Where client weights must stay: sglr train --method sglr --phi 1" in said
    assert "On 2 rows of the study it is 1.0 points below the best allowed on average, and at most 2.0." in said
    assert "To share them is worth +9.5 points there (+4.0 to +15.0)." in said
    assert "sglr:phi=1 sent as much as psl did there. sflv2 sent 1.1 times what psl did there." in said
    half = replace(both[1], evidence=both[1].evidence[1:])
    assert "To share them is worth +15.0 points there." in sentences([both[0], half], study(), None)
    elsewhere = replace(both[1], evidence=[Evidence(*[row("deep", "iid", "sfl", "shared", 70.0)] * 2)])
    assert "No row has both." in sentences([both[0], elsewhere], study(), None)
    plan = Request(clients=10, samples=1000, cut_mb=0.01, model_mb=5, client_mb=1, rate="80Mbps").plan()
    priced = " ".join(sentences(both, study(), plan))
    assert "sglr:phi=1 sends what psl does, 20.0 MB per epoch: 200 ms over your links." in priced
    assert "sflv2 sends what sfl does, 40.0 MB per epoch: 400 ms over your links." in priced
    assert rows(both[0], study()) == [
        "Small, iid: 79.0 % ± 0.5 (3 seeds); the best allowed has 81.0 % (slr)",
        "Small, dirichlet-0.1: 60.0 % ± 0.5 (3 seeds), the best allowed",
    ]
    told = basis(study(), "dirichlet:0.2", "vgg")
    assert told.startswith("Rows: the study has none with vgg, so those of Small, in the division dirichlet-0.1, the n")
    assert told.endswith("nearest to dirichlet:0.2.")


def test_every_row_that_comes_with_sglr_is_a_method_that_can_be_trained() -> None:
    shipped = Study.read()
    assert {row.data for row in shipped.rows} <= shipped.data.keys()
    for method in {row.method for row in shipped.rows}:
        Variant.of(method).describe({})
    for allows in ("kept", "shared"):
        found = recommend(shipped, allows)
        assert Spec.parse("method", found.method).name in found.command


def test_json_holds_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    show_advice(None, None, None, True, as_json=True)
    found = json.loads(capsys.readouterr().out)
    (one,) = found["recommendations"]
    assert one["rows"][0]["best"]["accuracy"] >= one["rows"][0]["accuracy"]
    assert found["words"]["recommendation"][0].startswith("Where client weights may be shared: sglr train --method ")
