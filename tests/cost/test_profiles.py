"""A profile is a built-in one with its source, or the user's own file; wrong figures are refused by name."""

from __future__ import annotations

import dataclasses
import math

import pytest

from sglr.core.errors import UsageError
from sglr.cost.profiles import FIGURES, PROFILES, load_profile

OWN = dict.fromkeys(FIGURES, 0.5)


def write(path, **figures):
    path.write_text("".join(f"{key} = {value}\n" for key, value in figures.items()), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_built_in_profile_is_found_by_its_name_and_states_its_sources(name):
    profile = load_profile(name)
    assert profile.name == name
    assert "client" in profile.source
    assert "server" in profile.source


def test_figures_follow_from_the_data_that_their_sources_give():
    wifi, lte, pi, silo = (PROFILES[name] for name in ("edge-wifi", "edge-lte", "pi-wifi", "silo-wired"))
    assert wifi.client_joules_per_flop == pytest.approx(15 / (2 * 1024 * 625e6) / 0.3)  # 2 operations a core and clock
    assert wifi.server_joules_per_flop == pytest.approx(700 / 67e12 / 0.3)
    assert pi.client_joules_per_flop == pytest.approx(1 / 2.75e9, rel=0.01)  # 2.75 GFLOP/s per watt
    # alpha x rate + beta in watts, over bytes per second.
    assert lte.joules_per_byte_up == pytest.approx((0.43839 * 6 + 1.28804) / (6e6 / 8))
    assert lte.joules_per_byte_down == pytest.approx((0.05197 * 13 + 1.28804) / (13e6 / 8))
    assert wifi.joules_per_byte_up == pytest.approx((0.28317 * 10 + 0.13286) / (10e6 / 8))
    assert silo.joules_per_byte_up == pytest.approx(2.7e-6 * 8)


def test_a_file_gives_the_users_own_figures(tmp_path):
    plain = load_profile(write(tmp_path / "phones.toml", **OWN))
    assert (plain.name, plain.source) == ("phones", "given in phones.toml")
    assert all(getattr(plain, key) == 0.5 for key in FIGURES)
    named = load_profile(write(tmp_path / "own.toml", **OWN, name='"lab"', source='"our watt meter"'))
    assert (named.name, named.source) == ("lab", "our watt meter")


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"energy_profile = edge-wify.*did you mean 'edge-wifi'.*TOML"):
        load_profile("edge-wify")


@pytest.mark.parametrize("wrong", [0, -1, math.nan, math.inf, "'much'", "true"])
@pytest.mark.parametrize("key", FIGURES)
def test_a_figure_that_is_no_positive_number_is_refused_by_name(tmp_path, key, wrong):
    with pytest.raises(UsageError, match=rf"{key} = .*positive number of joules"):
        load_profile(write(tmp_path / "own.toml", **{**OWN, key: wrong}))


def test_files_that_are_missing_torn_or_incomplete_are_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_profile(str(tmp_path / "none.toml"))
    torn = tmp_path / "torn.toml"
    torn.write_text("joules_per_byte_up = ", encoding="utf-8")
    with pytest.raises(UsageError, match="is not TOML"):
        load_profile(str(torn))
    for key in FIGURES:
        rest = {other: value for other, value in OWN.items() if other != key}
        with pytest.raises(UsageError, match=f"has no {key}"):
            load_profile(write(tmp_path / "part.toml", **rest))
    with pytest.raises(UsageError, match="unknown key joules"):
        load_profile(write(tmp_path / "more.toml", **OWN, joules=1))


def test_a_profile_built_in_python_is_checked_too():
    with pytest.raises(UsageError, match="client_joules_per_flop"):
        dataclasses.replace(PROFILES["edge-wifi"], client_joules_per_flop=0.0)
