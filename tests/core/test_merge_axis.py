"""When client segments are averaged is an axis of every split method: never, each epoch, or every K steps."""

from __future__ import annotations

import pytest
import torch

import sglr
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.registry import METHODS

SETTINGS = {"dataset": "digits", "clients": 3, "samples_per_client": 32, "epochs": 2, "model": "mlp", "threads": 1}


def hashed(method: str, **settings: object) -> str:
    return str(sglr.train(method, **SETTINGS, **settings).summary["weights_sha256"])


def test_psl_merged_each_epoch_is_splitfed_and_splitfed_never_merged_is_psl() -> None:
    assert hashed("psl", merge="epoch") == hashed("sfl")
    assert hashed("sfl", merge="never") == hashed("psl")
    assert hashed("psl", merge="2") == hashed("sfl", average_every=2) != hashed("sfl")


def test_merging_leaves_the_method_as_it_was() -> None:
    method = METHODS.load("sglr")(phi=0.5)
    merged = method.merging("3")
    assert (method.shares, method.merge_every, merged.shares, merged.merge_every) == (False, 0, True, 3)
    assert merged == method and merged.merges_inside_epoch


def test_segments_that_are_merged_begin_alike_whatever_init_says() -> None:
    run = sglr.train("sglr", **SETTINGS, merge="epoch", init="independent")
    assert run.summary["communication"]["by_kind"]["down"]["weights"] > 0


@pytest.mark.parametrize("name", ["fl", "ssl", "sflv1", "cl"])
def test_methods_whose_merging_is_their_own_refuse_another(name: str) -> None:
    with pytest.raises(UsageError, match=r"merge.*epoch.*part of the method"):
        sglr.train(name, **SETTINGS, merge="epoch")


def test_two_answers_to_when_weights_are_merged_are_refused() -> None:
    with pytest.raises(UsageError, match=r"merge = 2: average_every = 3 says already.*give one of them"):
        sglr.train("sfl", **SETTINGS, merge="2", average_every=3)


@pytest.mark.parametrize("when", ["0", "-1", "sometimes", "1.5"])
def test_other_times_are_refused(when: str) -> None:
    with pytest.raises(UsageError, match="give never, epoch, or a number"):
        sglr.train("sglr", **SETTINGS, merge=when)


@pytest.mark.parametrize("name", [name for name in METHODS.names() if not METHODS.load(name).joint])
def test_a_prior_of_all_clients_needs_a_step_on_all_of_them(name: str) -> None:
    with pytest.raises(UsageError, match="no step on all clients together"):
        sglr.train(name, **SETTINGS, label_prior="pooled")


def test_a_pooled_prior_is_refused_where_labels_stay_with_the_clients_and_in_compiled_passes() -> None:
    with pytest.raises(UsageError, match="leave out --tail"):
        sglr.train("psl", **SETTINGS, label_prior="relative", tail=-2)
    with pytest.raises(UsageError, match="leave out --compile"):
        sglr.train("psl", **SETTINGS, label_prior="pooled", compile=True)


def test_the_old_name_of_a_prior_still_means_the_own_one() -> None:
    one, other = ({**SETTINGS, "label_prior": prior} for prior in ("own", "correct"))
    first, second = (sglr.Experiment.from_flat(settings) for settings in (one, other))
    assert first == second and second.label_prior == "own"


def test_settings_that_make_a_method_what_it_is_are_its_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    psl: type[Method] = METHODS.load("psl")
    monkeypatch.setattr(psl, "settings", {"label_prior": "pooled", "merge": "epoch"})
    named = sglr.Experiment.from_flat({"method": "psl", "merge": "2"})
    assert (named.label_prior, named.merge) == ("pooled", "2")
    run = sglr.train(psl(), **SETTINGS)
    assert run.experiment.label_prior == "pooled"
    assert torch.isfinite(torch.tensor(run.history[-1]["loss"]))
