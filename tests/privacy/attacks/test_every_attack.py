"""What holds for every registered attack, plug-ins too."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import pytest
import torch

from sglr.core.errors import UsageError
from sglr.core.registry import ATTACKS, DEFENCES
from sglr.privacy.attack import Attack
from sglr.privacy.target import Target
from sglr.privacy.threat import ATTACKERS, Sees, seen_by

from ..conftest import allow, guarded, quick

everyone = pytest.mark.parametrize("name", ATTACKS.names())
on_networks = pytest.mark.parametrize(
    "name", [name for name in ATTACKS.names() if issubclass(ATTACKS.load(name), Attack)]
)
"""Attacks on a trained network; the others take part in the training."""


@everyone
def test_it_says_who_attacks_with_what_after_whom(name: str) -> None:
    attack = ATTACKS.load(name)
    assert attack.attacker in ATTACKERS
    assert attack.needs
    assert all(isinstance(each, Sees) for each in attack.needs)
    assert len(attack.source) > 10
    assert all(field.metadata["help"] for field in dataclasses.fields(attack))


@everyone
def test_there_is_a_training_in_which_its_attacker_sees_what_it_needs(name: str) -> None:
    attack = ATTACKS.load(name)
    kinds = itertools.product([False, True], repeat=3)
    seen = [
        seen_by(attack.attacker, shares=shares, whole_model=whole, keeps_labels=keeps) for shares, whole, keeps in kinds
    ]
    assert any(attack.needs <= each for each in seen)


@on_networks
def test_it_is_refused_where_the_attacker_does_not_see_one_thing_that_it_needs(name: str, digits: Target) -> None:
    attack = ATTACKS.load(name)
    for missing in attack.needs:
        blind = dataclasses.replace(digits, attacker=attack.attacker, seen=attack.needs - {missing})
        with pytest.raises(UsageError, match=missing):
            quick(attack)(blind)


@on_networks
def test_it_uses_nothing_that_it_does_not_declare(name: str, digits: Target) -> None:
    attack = quick(ATTACKS.load(name))
    assert attack(guarded(digits, attack)).score.samples > 0


@on_networks
def test_it_gives_the_same_again_and_leaves_the_target_as_it_was(name: str, digits: Target) -> None:
    attack = quick(ATTACKS.load(name))
    before = [each.clone() for part in (digits.lower, digits.upper) for each in part.state_dict().values()]
    drawn = torch.get_rng_state()
    first = attack(allow(digits, attack))
    torch.rand(1)
    second = attack(allow(digits, attack))
    assert first.score == second.score
    assert first.details == second.details
    assert all(torch.equal(first.pictures[title], second.pictures[title]) for title in first.pictures)
    after = [each for part in (digits.lower, digits.upper) for each in part.state_dict().values()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert not any(each.grad is not None for part in (digits.lower, digits.upper) for each in part.parameters())
    torch.set_rng_state(drawn)


@on_networks
def test_too_few_samples_are_refused_with_the_number_that_is_needed(name: str, digits: Target) -> None:
    attack = ATTACKS.load(name)()
    few = allow(digits, attack, own=digits.own.select(torch.arange(3)))
    with pytest.raises(UsageError, match=r"3 samples: .*needs \d+"):
        attack(few)


@on_networks
def test_its_pictures_are_rows_of_images_with_the_originals_first(name: str, digits: Target) -> None:
    attack = quick(ATTACKS.load(name))
    pictures = attack(allow(digits, attack)).pictures
    if pictures:
        assert next(iter(pictures)) == "originals"
        assert len({row.shape for row in pictures.values()}) == 1
        assert all(0 <= float(row.min()) <= float(row.max()) <= 1 for row in pictures.values())


def test_the_page_about_attacks_names_all_of_them_and_who_carries_them_out() -> None:
    page = (Path(__file__).parents[3] / "docs" / "attacks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \|", page, re.MULTILINE)
    assert dict(rows) == {name: ATTACKS.load(name).attacker for name in ATTACKS.names()}
    named = set(re.findall("`([a-z-]+)`", "".join(line.split("|")[6] for line in page.splitlines() if "| `" in line)))
    assert named <= set(DEFENCES.names())
