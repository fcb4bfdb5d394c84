"""Language: losses by hand, scores equal to torchmetrics' over all tokens at once."""

from __future__ import annotations

from itertools import pairwise
from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import vmap
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.text import Perplexity

from sglr.core.data import ClientData, Samples
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.tokens import NOT_ASKED
from sglr.tasks.language import Language

TEXTS = Targets(shape=(3,), classes=7)


def test_a_text_s_loss_is_the_mean_over_its_own_tokens() -> None:
    outputs = torch.tensor([[[0.0, 0.0], [log(3), 0.0], [9.0, 0.0]], [[0.0, log(3)], [0.0, 5.0], [0.0, 0.0]]])
    targets = torch.tensor([[1, 0, NOT_ASKED], [0, NOT_ASKED, NOT_ASKED]])
    expected = torch.tensor([-(log(1 / 2) + log(3 / 4)) / 2, -log(1 / 4)])
    torch.testing.assert_close(Language().losses(outputs, targets), expected)
    assert Language().hits(outputs, targets).tolist() == [0.5, 0], "ties go to the first token"
    padded = torch.tensor([[1, 0, 0], [1, 0, 0]])
    own = torch.tensor([-log(1 / 2), -log(3 / 4)])
    torch.testing.assert_close(Language(pad=0).losses(outputs, padded), own)


def test_a_text_that_is_asked_nothing_has_no_loss_and_no_gradient() -> None:
    outputs = torch.randn(1, 4, 3, requires_grad=True)
    loss = Language().losses(outputs, torch.full((1, 4), NOT_ASKED))
    assert (loss.item(), torch.autograd.grad(loss.sum(), outputs)[0].abs().sum().item()) == (0, 0)


def test_losses_of_many_clients_at_once_are_those_of_each() -> None:
    outputs, targets = torch.randn(3, 2, 5, 4), torch.randint(0, 4, (3, 2, 5))
    targets[:, :, -1] = NOT_ASKED
    each = torch.stack([Language().losses(*client) for client in zip(outputs, targets, strict=True)])
    torch.testing.assert_close(vmap(Language().losses)(outputs, targets), each)


@given(
    st.integers(1, 10),
    st.integers(1, 3),
    st.integers(2, 9),
    st.lists(st.integers(1, 9), max_size=3),
    st.booleans(),
    st.integers(0, 9),
)
def test_scores_are_those_of_torchmetrics_over_all_tokens_however_they_were_cut(
    texts: int, clients: int, vocabulary: int, cuts: list[int], padded: bool, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    outputs = torch.randn(clients, texts, 6, vocabulary, generator=rng)
    targets = torch.randint(0, vocabulary, (texts, 6), generator=rng)
    targets[0, 0], targets[:, -1] = 1, NOT_ASKED
    task = Language(pad=0 if padded else None)
    edges = sorted({0, texts, *(cut for cut in cuts if cut < texts)})
    parts = [task.sums(outputs[:, a:b], targets[a:b]) for a, b in pairwise(edges)]
    scores = task.scores({name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]})
    wanted = targets.masked_fill(targets == 0, NOT_ASKED) if padded else targets
    for client, predicted in enumerate(outputs):
        flat = predicted.flatten(0, 1), wanted.flatten()
        accuracy = {"average": "micro", "ignore_index": NOT_ASKED, "num_classes": vocabulary}
        expected = {
            "perplexity": Perplexity(ignore_index=NOT_ASKED)(predicted, wanted),
            "token_accuracy": MulticlassAccuracy(**accuracy)(*flat),
            "top5_accuracy": MulticlassAccuracy(top_k=min(5, vocabulary), **accuracy)(*flat),
        }
        for name, value in expected.items():
            torch.testing.assert_close(scores[name][client], value.double(), atol=1e-5, rtol=1e-5)
    assert next(iter(scores)) == task.headline


def test_the_network_gives_one_value_per_token_for_each_position() -> None:
    Language().check(TEXTS)
    assert (Language().outputs(TEXTS), Language().output_shape(TEXTS)) == (7, (3, 7))


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (Targets.of_classes(("no", "yes")), "one token for each of its positions"),
        (Targets(shape=(3,), dtype="float32"), "one token for each of its positions"),
        (Targets(shape=(3, 3), classes=9), "one token for each of its positions"),
        (TEXTS, "pad = 7: the vocabulary has the tokens 0 to 6"),
    ],
)
def test_refuses_targets_that_do_not_fit(targets: Targets, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        Language(pad=7).check(targets)
    assert said in str(raised.value)


def test_targets_that_are_no_tokens_are_named_before_training() -> None:
    def data(*tokens: int) -> ClientData:
        samples = Samples(torch.zeros(1, 3, dtype=torch.int64), torch.tensor([tokens]))
        return ClientData(samples, (torch.arange(1),), None, samples, TEXTS)

    assert Language().fitted(data(0, 6, NOT_ASKED)) == Language()
    with pytest.raises(UsageError, match=r"train.targets = 255: the vocabulary has the tokens 0 to 6"):
        Language().fitted(data(0, 255, NOT_ASKED))
