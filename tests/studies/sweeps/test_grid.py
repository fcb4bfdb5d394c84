"""Grids: the product of lists, cases beside it, seeds as repetitions, and what is refused before any work."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.errors import UsageError
from sglr.studies.sweeps.grid import Grid


def labels(grid, limit: int = 1000, **overrides) -> list[str]:
    return [one.label for one in Grid.read(grid, overrides).configurations(limit)]


axes = st.fixed_dictionaries(
    {},
    optional={
        "clients": st.lists(st.integers(1, 50), min_size=1, max_size=3, unique=True),
        "lr": st.lists(st.sampled_from([0.1, 0.01, 0.001]), min_size=1, max_size=3, unique=True),
        "method": st.lists(st.sampled_from(["psl", "sfl", "sglr:phi=0.5"]), min_size=1, max_size=3, unique=True),
        "seed": st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    },
).filter(bool)


@given(axes)
def test_a_grid_is_the_product_of_its_lists_once_for_every_seed(axes):
    configurations = Grid.read({"grid": axes}, {}).configurations(1000)
    crossed = math.prod(len(values) for key, values in axes.items() if key != "seed")
    assert len(configurations) == len({one.label for one in configurations}) == crossed
    assert all(one.seeds == axes.get("seed", [0]) for one in configurations)
    trained = [experiment.fingerprint() for one in configurations for experiment in one.experiments]
    assert len(set(trained)) == len(trained) == math.prod(len(values) for values in axes.values())


@given(axes)
def test_a_grid_that_was_written_is_read_back_as_it_was(axes):
    grid = Grid.read({"epochs": 3, "grid": axes, "case": [{"method": "cl", "seed": 99}]}, {"server_lr": None})
    again = Grid.read(tomllib.loads(grid.to_toml()), {})
    assert again.configurations(1000) == grid.configurations(1000)


def test_a_configuration_is_named_by_what_it_sets():
    grid = {"clients": 4, "grid": {"method": ["psl", "sglr:phi=0.5,alpha=1"], "lr": [0.1, 0.01], "epochs": [3]}}
    assert labels(grid) == [
        "psl, lr=0.1",
        "psl, lr=0.01",
        "sglr:phi=0.5,alpha=1, lr=0.1",
        "sglr:phi=0.5,alpha=1, lr=0.01",
    ]


def test_a_list_of_methods_holds_tables_of_their_parameters_and_settings():
    table = {"method": "sglr", "phi": 1.0, "label-prior": "own"}
    configurations = Grid.read({"init": "common", "grid": {"method": ["psl", table]}}, {}).configurations(10)
    assert [one.label for one in configurations] == ["psl", "sglr:phi=1.0,label_prior=own"]
    plain, own = (one.experiments[0] for one in configurations)
    assert (plain.label_prior, own.label_prior, own.method_parameters["phi"]) == ("ignore", "own", 1.0)
    assert labels({"label_prior": "own", "grid": {"method": ["sglr:label_prior=ignore"]}}) == [
        "sglr:label_prior=ignore"
    ]


def test_cases_come_after_the_grid_with_its_seeds_or_their_own():
    grid = {
        "grid": {"phi": [0.5, 1.0], "seed": [3, 4]},
        "case": [{"method": "cl"}, {"method": "psl", "name": "baseline", "seed": 7}, {"phi": 0.25, "seed": [1, 2]}],
    }
    found = Grid.read(grid, {}).configurations(1000)
    assert [one.seeds for one in found] == [[3, 4], [3, 4], [3, 4], [7], [1, 2]]
    assert [one.label for one in found[2:]] == ["cl", "baseline", "sglr2, phi=0.25"]
    assert found[2].values == {"phi": None, "method": "cl"}
    assert {one.experiments[0].method_parameters.get("phi") for one in found[:2]} == {0.5, 1.0}


def test_cases_alone_need_no_grid_and_seeds_alone_repeat_the_shared_settings():
    assert labels({"case": [{"method": "psl"}, {"method": "cl"}]}) == ["psl", "cl"]
    assert labels({"grid": {"seed": [0, 1]}, "case": [{"method": "psl"}, {"method": "cl"}]}) == ["psl", "cl"]
    (only,) = Grid.read({"method": "psl", "grid": {"seed": [0, 1, 2]}}, {}).configurations(10)
    assert (only.label, only.seeds) == ("psl", [0, 1, 2])


def test_parameters_of_data_sets_and_partitions_are_settings_like_any():
    grid = {"partition": "dirichlet", "grid": {"concentration": [0.1, 1.0]}}
    found = Grid.read(grid, {}).configurations(10)
    assert [one.experiments[0].partition_parameters["concentration"] for one in found] == [0.1, 1.0]


def test_flags_win_over_what_is_shared_and_may_not_name_what_varies():
    (one, _) = Grid.read(
        {"epochs": 3, "cut": "tanh", "grid": {"lr": [0.1, 0.2]}}, {"epochs": "7", "cut": None}
    ).configurations(10)
    assert (one.experiments[0].epochs, one.experiments[0].cut) == (7, None)
    with pytest.raises(UsageError, match="varies it"):
        labels({"grid": {"lr": [0.1, 0.2]}}, lr="0.3")
    with pytest.raises(UsageError, match="varies it"):
        labels({"case": [{"lr": 0.1}]}, lr="0.3")


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({}, r"has neither \[grid\] nor \[\[case\]\]"),
        ({"grid": 3}, "grid: grid = 3: is not a table"),
        ({"case": {"lr": 1}}, "is not a list of tables"),
        ({"case": [{}]}, r"\[\[case\]\] 1 = : is empty"),
        ({"grid": {"lr": []}}, r"grid: \[grid\] lr = \[\]: is empty"),
        ({"grid": {"seed": []}}, r"\[grid\] seed = \[\]: is empty"),
        ({"grid": {"lr": 0.1}}, r"\[grid\] lr = 0.1: is not a list"),
        ({"grid": {"lr": [0.1, 0.1]}}, r"\[grid\] lr = 0.1: is listed twice"),
        ({"lr": 0.1, "grid": {"lr": [0.1, 0.2]}}, "is also set above the table"),
        ({"lr": [0.1, 0.2], "grid": {"epochs": [1, 2]}}, r"write lists of values under \[grid\]"),
        ({"grid": {"lrr": [0.1]}}, r"\[grid\] lrr = 0.1: there is no such setting; did you mean lr"),
        ({"lrr": 1, "grid": {"lr": [0.1]}}, "grid: lrr = 1: there is no such setting; did you mean lr"),
        ({"grid": {"lr": [0.1, -1]}}, r"\[grid\] lr = -1: input should be greater than 0"),
        ({"grid": {"phi": [0.5, 2]}}, r"\[grid\] phi = 2"),
        ({"grid": {"seed": [0, -1]}}, r"\[grid\] seed = -1"),
        ({"grid": {"method": ["psl", "sgld"]}}, "sgld"),
        ({"grid": {"method": ["psl:phi"]}}, "psl:phi"),
        (
            {"grid": {"method": ["psl", "sglr"], "phi": [0.5]}},
            r"\[grid\] phi = 0.5: method psl has no such parameter.*sg",
        ),
        (
            {"grid": {"method": ["sglr:phi=1"], "phi": [0.5]}},
            r"\[grid\] phi = 0.5: is also given with the method",
        ),
        (
            {"grid": {"method": ["psl:init=common"], "init": ["common"]}},
            r"\[grid\] init = common: is also given with the method",
        ),
        ({"grid": {"method": ["psl:lr=0.1"]}}, r"\[grid\] method = psl:lr=0.1: lr is a setting of the whole run"),
        ({"grid": {"method": [{"phi": 1.0}]}}, r"\[grid\] method method = None: is no method's name"),
        ({"grid": {"method": [{"method": "sglr", "phi": [1.0]}]}}, r"\[grid\] method phi = \[1.0\]: is not one value"),
        ({"case": [{"method": "psl", "phi": 1}]}, r"\[\[case\]\] 1, phi = 1: method psl has no such parameter"),
        ({"case": [{"lr": [0.1, 0.2]}]}, r"\[\[case\]\] 1, lr = \[0.1, 0.2\]: is a list"),
        ({"case": [{"lr": 0.1}, {"lr": 0.1}]}, "is the same training as"),
        ({"case": [{"name": "a", "lr": 0.1}, {"name": "a", "lr": 0.2}]}, "name = a: is the name of two configurations"),
        ({"grid": {"threads": [1, 2]}}, "is the same training as"),
        ({"grid": {"lr": [0.1]}, "case": [{"lr": 0.1}]}, "is the same training as"),
        ({"grid": {"model": ["mlp", "mpl"]}}, "did you mean 'mlp'"),
    ],
)
def test_what_is_wrong_is_told_with_its_file_its_key_and_a_remedy(grid, told):
    with pytest.raises(UsageError, match=told):
        labels(grid)


def test_a_grid_of_very_many_runs_is_refused_with_its_sizes():
    grid = {"grid": {"lr": [0.001 * n for n in range(1, 101)], "clients": list(range(1, 11)), "seed": list(range(10))}}
    with pytest.raises(UsageError, match=r"10,000 runs \(100 lr × 10 clients × 10 seed\).*--limit 10000"):
        labels(grid)
    assert len(labels({"grid": {"seed": list(range(20))}}, limit=20)) == 1
    with pytest.raises(UsageError, match="limit = 0"):
        labels(grid, limit=0)


def test_errors_name_the_file(tmp_path: Path):
    path = tmp_path / "rates.toml"
    with pytest.raises(UsageError, match="no such file"):
        labels(path)
    path.write_text("[grid]\nlr = [0.1, 'x']\n")
    with pytest.raises(UsageError, match=r"rates.toml: \[grid\] lr = x"):
        labels(path)
    path.write_text("[grid\n")
    with pytest.raises(UsageError, match=r"rates.toml: is not TOML"):
        labels(path)
