"""Defences at work: read from a text, the same wherever clients live, and exact after a resume."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sglr.core.defence import Defence
from sglr.core.errors import UsageError
from sglr.parties.defences import DefenceChain, parse


def smashed(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_none_does_nothing() -> None:
    defences, values = parse("none"), smashed(2, 3, 4)
    assert not defences.parts
    assert not (
        defences.privatizes_smashed
        or defences.adds_gradient
        or defences.privatizes_gradient
        or defences.inspects_gradient
    )
    assert defences.send(values, (0, 1), (3, 3), 0, 0) is values
    assert defences.scored(values, (0, 1), 0) is values
    assert defences.privatize_gradient(values, torch.zeros(2, 3).long(), (0, 1), (3, 3), 0, 0) is values
    layer = torch.nn.Linear(2, 2)
    assert defences.covered(layer) is layer


def test_options_are_read_and_the_first_needs_no_name() -> None:
    named = dict(parse("clip:3+noise:sigma=0.25,secret=true+max_norm+quantize:bits=5").named)
    assert list(named) == ["clip", "noise", "max-norm", "quantize"]
    assert vars(named["clip"]) == {"norm": 3.0}
    assert vars(named["noise"]) == {"sigma": 0.25, "secret": True}
    assert vars(named["quantize"]) == {"bits": 5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nopeak", "did you mean 'nopeek'"),
        ("noise:power=3", "sigma="),
        ("noise:sigma=much", "sigma="),
        ("noise:sigma=-1", "at least 0"),
        ("noise:sigma=nan", "finite"),
        ("clip:norm=0", "above 0"),
        ("quantize:bits=2.5", "bits="),
        ("quantize:bits=40", "at most 16"),
        ("noise:sigma=1,sigma=2", "sigma="),
        ("max-norm:3", "no option"),
        ("noise+noise", "once"),
        ("clip+", "known:"),
        ("", "known:"),
    ],
)
def test_bad_texts_name_the_field_and_the_remedy(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.field == "defence"
    assert words in str(caught.value)


def test_noise_depends_on_seed_client_epoch_and_step_alone() -> None:
    values = smashed(3, 4, 5)
    sent = parse("noise", seed=7).send(values, (0, 1, 2), (4, 4, 4), 2, 3)
    alone = parse("noise", seed=7).send(values[1:2], (1,), (4,), 2, 3)
    assert torch.equal(sent[1:2], alone)
    others = [(8, (1,), 2, 3), (7, (0,), 2, 3), (7, (1,), 1, 3), (7, (1,), 2, 2)]
    for seed, client, epoch, step in others:
        assert not torch.equal(alone, parse("noise", seed=seed).send(values[1:2], client, (4,), epoch, step))


def test_noise_has_its_deviation_and_spares_padding() -> None:
    sent = parse("noise:sigma=0.5").send(torch.zeros(2, 400, 50), (0, 1), (400, 200), 0, 0)
    assert float(sent[0].std()) == pytest.approx(0.5, rel=0.03)
    assert not sent[1, 200:].any()


def test_secret_noise_is_the_same_for_the_same_values_in_the_same_step_alone() -> None:
    defences, values = parse("noise:sigma=1,secret=true"), smashed(1, 4, 5)
    sent = defences.send(values, (0,), (4,), 2, 3)
    # Who asks again learns nothing more.
    assert torch.equal(sent, defences.send(values, (0,), (4,), 2, 3))
    for client, epoch, step in ((1, 2, 3), (0, 1, 3), (0, 2, 2)):
        assert not torch.equal(sent, defences.send(values, (client,), (4,), epoch, step))
    # The noise of other values is another, so that the difference of both tells nothing of them.
    moved = defences.send(values + 1e-3, (0,), (4,), 2, 3)
    assert float((moved - sent - 1e-3).abs().min()) > 1e-4


def test_equal_samples_have_noise_of_their_own() -> None:
    sent = parse("noise:sigma=1,secret=true").send(torch.zeros(1, 40, 50), (0,), (40,), 0, 0)[0]
    assert len({tuple(row) for row in sent.tolist()}) == 40
    assert float(sent.std()) == pytest.approx(1, rel=0.05)


def test_all_bits_of_the_secret_matter_and_it_goes_on_after_a_resume() -> None:
    first, second, values = parse("noise:secret=true"), parse("noise:secret=true"), smashed(1, 4, 5)
    sent, kept = first.send(values, (0,), (4,), 0, 0), first.state((0,))
    assert not torch.equal(sent, second.send(values, (0,), (4,), 0, 0))
    second.restore(kept)
    assert torch.equal(sent, second.send(values, (0,), (4,), 0, 0))
    second.restore({})  # a checkpoint of an earlier version
    assert torch.equal(sent, second.send(values, (0,), (4,), 0, 0))
    assert kept["secret"].numel() == 32
    for place in (0, 31):
        other = kept["secret"].clone()
        other[place] ^= 1
        second.restore({"secret": other})
        assert not torch.equal(sent, second.send(values, (0,), (4,), 0, 0))
    assert parse("noise").state((0,)) == {}


@given(cuts=st.lists(st.integers(1, 199), max_size=4, unique=True))
@pytest.mark.parametrize("defences", [parse("noise", seed=3), parse("noise:secret=true")])
def test_held_out_samples_are_disguised_alike_in_any_portions(defences: DefenceChain, cuts: list[int]) -> None:
    values = smashed(2, 200, 3)
    whole = defences.scored(values, (4, 9), 0)
    bounds = [0, *sorted(cuts), 200]
    parts = [defences.scored(values[:, low:high], (4, 9), low) for low, high in itertools.pairwise(bounds)]
    assert torch.equal(torch.cat(parts, 1), whole)


def test_layers_go_behind_the_lower_segment_in_order() -> None:
    covered = parse("clip:norm=1+quantize:bits=1").covered(torch.nn.Identity())
    found = covered(torch.tensor([[3.0, 4.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.8, 0.8, 0.0]]))


def test_a_guard_without_parts_is_the_default() -> None:
    assert DefenceChain().parts == ()


def test_hooks_that_are_named_as_in_0_1_still_work() -> None:
    with pytest.warns(DeprecationWarning, match="disguise is now called privatize_smashed"):

        class Old(Defence):
            def disguise(self, smashed: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
                del rng
                return -smashed

    values = smashed(2, 3, 4)
    assert torch.equal(DefenceChain([("old", Old())]).send(values, (0, 1), (3, 3), 0, 0), -values)
