"""Law 6 for transformers: upper(lower(x)) is what the model of the package computes by itself, bit for bit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.some_transformers import BLOCKS, HEADS, LABELS, TEXTS, TOKENS, model_of, texts_of
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.weights import state_of, trained_of
from sglr.splitting import cut_points, split, split_in_three
from sglr.splitting.segment_weights import frozen_of
from sglr.splitting.transformers import Transformer

PLACES = ["embeddings", "layer.0", "layer.1", "layer.2", "layer.3"]


def whole_output(model: Any, tokens: Tensor) -> Tensor:
    seen = tokens != model.config.pad_token_id
    with torch.no_grad():
        found: Tensor = model(input_ids=tokens, attention_mask=seen.long()).logits
    return found


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", TEXTS)
def test_every_cut_gives_the_models_output_bit_for_bit_with_padding(kind: str, head: str) -> None:
    model = model_of(kind, head)
    padding = model.config.pad_token_id
    texts = texts_of(padding)
    for tokens in (texts, texts.flip(1)):  # filled up behind, and before
        wanted = whole_output(model, tokens)
        assert wanted.shape == ((3, LABELS) if head == "classification" else (3, 9, wanted.shape[2]))
        transformer = Transformer(model, padding=padding).eval()
        assert torch.equal(transformer(tokens), wanted)
        assert cut_points(transformer) == PLACES
        for place in PLACES:
            lower, upper = transformer.cut_behind(place)
            assert torch.equal(upper(lower(tokens)), wanted), place


@pytest.mark.parametrize("kind", TEXTS)
def test_three_parts_give_the_models_output(kind: str) -> None:
    model = model_of(kind)
    tokens = texts_of(model.config.pad_token_id)
    wanted = whole_output(model, tokens)
    lower, rest = Transformer(model, padding=model.config.pad_token_id).cut_behind(1)
    middle, tail = rest.cut_behind("layer.2")
    assert torch.equal(tail(middle(lower(tokens))), wanted)


def test_a_vision_transformer_is_cut_as_texts_are() -> None:
    model, images = model_of("vit"), torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        wanted = model(pixel_values=images).logits
        transformer = Transformer(model)
        for place in PLACES:
            segments = split(transformer, place)
            assert segments.lower(images).shape == (3, 5, 16)
            assert torch.equal(segments.upper(segments.lower(images)), wanted)


@pytest.mark.parametrize("kind", [*TEXTS, "vit"])
def test_every_weight_is_on_one_side_under_the_name_that_it_has_in_the_model(kind: str) -> None:
    transformer = Transformer(model_of(kind, tie_word_embeddings=False))
    lower, upper = transformer.cut_behind(2)
    below, above = set(trained_of(lower)), set(trained_of(upper))
    assert not below & above
    assert below | above == set(trained_of(transformer))
    assert not dict(transformer.named_buffers())  # constants are frozen: equal at all clients, and never sent
    assert frozen_of(lower).keys() | frozen_of(upper).keys() == frozen_of(transformer).keys()


@pytest.mark.parametrize("kind", [*TEXTS, "vit"])
def test_two_clients_as_one_call_compute_what_each_computes_alone(kind: str) -> None:
    model = model_of(kind, "tokens")
    padding = getattr(model.config, "pad_token_id", None)
    inputs = torch.rand(3, 1, 8, 8) if kind == "vit" else texts_of(padding)
    lower, _ = Transformer(model, padding=padding).cut_behind(2)
    lower.eval()
    weights = {name: torch.stack([tensor, 2 * tensor]) for name, tensor in state_of(lower).items()}

    def run(own: dict[str, Tensor], sample: Tensor) -> Any:
        return torch.func.functional_call(lower, own, (sample,))

    together = torch.func.vmap(run)(weights, torch.stack([inputs, inputs]))
    for row in range(2):
        alone = run({name: tensor[row] for name, tensor in weights.items()}, inputs)
        pairs = zip(*((each.values() if isinstance(each, dict) else [each]) for each in (together, alone)), strict=True)
        for both, one in pairs:
            assert torch.allclose(both[row].float(), one.float(), rtol=1e-5, atol=1e-6)


def test_the_mask_crosses_only_where_later_blocks_need_it() -> None:
    model = model_of("bert")
    tokens = texts_of(0)
    transformer = Transformer(model, padding=0)
    crossing = transformer.cut_behind(2)[0](tokens)
    assert crossing["hidden"].shape == (3, 9, 16)
    assert torch.equal(crossing["mask"], tokens != 0)
    assert isinstance(transformer.cut_behind(4)[0](tokens), Tensor)  # the head looks at the first token
    assert isinstance(Transformer(model_of("gpt2")).cut_behind(4)[0](tokens), Tensor)
    without = Transformer(model_of("gpt2", "language"))  # no padding is known: each position sees those before it
    assert isinstance(without.cut_behind(1)[0](tokens), Tensor)
    with_last = Transformer(model_of("gpt2"), padding=0).cut_behind(4)[0](tokens)
    assert isinstance(with_last, dict)  # the head needs the last token's place


def test_without_padding_a_causal_model_says_the_same_of_real_tokens() -> None:
    model = model_of("llama", "language")
    tokens = texts_of(0)
    with torch.no_grad():
        found = Transformer(model)(tokens)
    real = tokens != 0
    assert torch.equal(found[real], whole_output(model, tokens)[real])


def test_a_vocabulary_that_is_filled_up_gives_as_many_scores_as_there_are_tokens() -> None:
    model = model_of("gpt2", "language")
    tokens = texts_of(0)
    found = Transformer(model, 50, padding=0)(tokens)
    assert torch.equal(found, whole_output(model, tokens)[..., :50])


@pytest.mark.parametrize("name", ["layer.1", "layers.1", "h.1", "bert.encoder.layer.1", "model.bert.encoder.layer.1"])
def test_a_cut_has_the_names_that_people_use(name: str) -> None:
    transformer = Transformer(model_of("bert"))
    wanted = state_of(transformer.cut_behind(2)[0]).keys()
    assert state_of(transformer.cut_behind(name)[0]).keys() == wanted
    assert state_of(transformer.cut_behind(-2)[0]).keys() == wanted


@pytest.mark.parametrize("at", ["layer.4", "pooler", 5, -5, "bert.encoder.layer.1.attention"])
def test_a_place_that_is_none_is_refused_with_those_that_are(at: str | int) -> None:
    with pytest.raises(UsageError, match=r"4 blocks.*embeddings, layer.0, layer.1, layer.2, layer.3"):
        split(Transformer(model_of("bert")), at)


def test_a_family_that_is_not_known_is_refused_with_those_that_are() -> None:
    class Other(nn.Module):
        config = type("Config", (), {"model_type": "pegasus"})()

    with pytest.raises(UsageError, match=r"pegasus.*encoder and a decoder, bart.*bart, bert, camembert"):
        Transformer(Other())


@pytest.mark.parametrize(("kind", "head"), [("gpt2", "language"), ("bert", "language"), ("gemma", "language")])
def test_a_trained_weight_of_embedding_and_head_stays_with_the_client_or_is_refused(kind: str, head: str) -> None:
    model = model_of(kind, head, tie_word_embeddings=True)
    padding = model.config.pad_token_id
    tokens = texts_of(padding)
    transformer = Transformer(model, padding=padding)
    with pytest.raises(UsageError, match=r"used on both sides.*--tail"):
        split(transformer, 1)
    for weight in transformer.base.get_input_embeddings().parameters():
        weight.requires_grad_(False)
    segments = split(transformer, 1)
    assert torch.equal(segments.upper(segments.lower(tokens)), whole_output(model, tokens))
    packed = split(transformer, 1, tokens)
    assert packed.lower(tokens).shape == (3, 9 * 16 + 2 * 9)
    assert torch.equal(packed.upper(packed.lower(tokens)), whole_output(model, tokens))


def test_every_place_is_behind_the_one_before_it() -> None:
    transformer = Transformer(model_of("llama", "language"))
    sizes = [sum(weight.numel() for weight in split(transformer, place).lower.parameters()) for place in PLACES]
    assert all(one < next_ for one, next_ in pairwise(sizes))
    assert sizes[0] - sum(t.numel() for t in frozen_of(transformer).values()) == TOKENS * 16
    assert len(PLACES) - 1 == BLOCKS


def test_a_tail_shares_the_embedding_of_its_client() -> None:
    transformer = Transformer(model_of("gpt2", "language"))
    tokens = texts_of(0)
    thirds = split_in_three(transformer, 1, -1, tokens)
    assert torch.equal(thirds.tail(thirds.upper(thirds.lower(tokens))), transformer(tokens))
    head = thirds.tail.get_parameter("model.lm_head.weight")
    assert head is thirds.lower.get_parameter("model.transformer.wte.weight")

    thirds = split_in_three(Transformer(model_of("gpt2", "language"), padding=0), 1, "h.2", tokens)
    assert torch.equal(
        thirds.tail(thirds.upper(thirds.lower(tokens))), whole_output(model_of("gpt2", "language"), tokens)
    )
    head = thirds.tail.get_parameter("segment.model.lm_head.weight")
    assert head is thirds.lower.get_parameter("segment.model.transformer.wte.weight")
    assert "model.lm_head.weight" not in state_of(thirds.upper)


def test_a_tail_needs_a_block_for_the_server() -> None:
    with pytest.raises(
        UsageError, match=r"tail = -1: behind the cut \(layer.2\) is no layer for the server.*cut earlier"
    ):
        split_in_three(Transformer(model_of("bert")), "layer.2", -1, texts_of(0))
