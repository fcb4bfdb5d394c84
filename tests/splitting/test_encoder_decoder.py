"""Law 8 for encoder–decoders: their parts compute, bit for bit, what the model of the package does with padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.some_transformers import BLOCKS, DECODING, LABELS, TOKENS, config_of, model_of, texts_of
from torch import Tensor

import sglr
from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.weights import state_of, trained_of
from sglr.splitting import cut_points, split
from sglr.splitting.segment_weights import frozen_of
from sglr.splitting.transformers import EncoderDecoder, as_transformer

PLACES = ["embeddings", "layer.0", "layer.1", "layer.2", "layer.3"]
WRITTEN = torch.randint(4, TOKENS, (3, 5), generator=torch.Generator().manual_seed(1))


def texts(padding: int, seed: int = 0) -> Tensor:
    """Return texts that each end with the token for it."""
    tokens = texts_of(padding, seed)
    for row, end in enumerate((8, 5, 2)):
        tokens[row, end] = 3
    return tokens


def both(kind: str, head: str, *, frozen: bool = False) -> tuple[Any, Any, Tensor]:
    """Return a model as it is cut, what it takes, and what the package's model gives."""
    model = model_of(kind, head).requires_grad_(not frozen)
    tokens = texts(model.config.pad_token_id)
    written = {} if head == "classification" else {"decoder_input_ids": WRITTEN}
    seen = (tokens != model.config.pad_token_id).long()
    with torch.no_grad():
        wanted: Tensor = model(input_ids=tokens, attention_mask=seen, use_cache=False, **written).logits
    cut = as_transformer(model, TOKENS if written else LABELS).eval()
    assert isinstance(cut, EncoderDecoder)
    return cut, {"input_ids": tokens, **written} if written else tokens, wanted


@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize("head", ["classification", "language"])
@pytest.mark.parametrize("kind", DECODING)
def test_every_cut_gives_the_models_output_bit_for_bit_with_padding(kind: str, head: str, frozen: bool) -> None:
    model, inputs, wanted = both(kind, head, frozen=frozen)
    with torch.no_grad():
        assert torch.equal(model(inputs), wanted)
        assert cut_points(model) == PLACES
        for place in PLACES:
            lower, upper = model.cut_behind(place)
            assert torch.equal(upper(lower(inputs)), wanted), place


@pytest.mark.parametrize("kind", DECODING)
def test_packed_parts_give_the_models_output(kind: str) -> None:
    model, tokens, wanted = both(kind, "classification")
    segments = split(model, "layer.1", tokens)
    rows = segments.lower(tokens)
    distances = 0 if kind == "bart" else 2 * 9 * 9
    assert rows.shape == (3, 2 * 9 * 16 + distances + 2 * (9 + 1))  # beside are the mask and the last place
    assert torch.equal(segments.upper(rows), wanted)


def test_a_frozen_table_of_distances_is_on_both_sides_and_does_not_cross() -> None:
    model, tokens, _ = both("t5", "classification", frozen=True)
    lower, upper = model.cut_behind(2)
    assert "distances" not in lower(tokens)
    table = "model.transformer.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    assert table in frozen_of(lower)
    assert table in frozen_of(upper)


@pytest.mark.parametrize("kind", DECODING)
def test_every_weight_is_on_one_side_under_the_name_that_it_has_in_the_model(kind: str) -> None:
    model, _, _ = both(kind, "classification")
    lower, upper = model.cut_behind(2)
    below, above = set(trained_of(lower)), set(trained_of(upper))
    assert not below & above
    assert below | above == set(trained_of(model))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("kind", DECODING)
def test_two_clients_as_one_call_compute_what_each_computes_alone(kind: str) -> None:
    model, tokens, _ = both(kind, "classification")
    lower, _ = model.cut_behind(2)
    weights = {name: torch.stack([tensor, 2 * tensor]) for name, tensor in state_of(lower).items()}

    def run(own: dict[str, Tensor], sample: Tensor) -> Any:
        return torch.func.functional_call(lower, own, (sample,))

    together = torch.func.vmap(run)(weights, torch.stack([tokens, tokens]))
    for row in range(2):
        alone = run({name: tensor[row] for name, tensor in weights.items()}, tokens)
        for name, one in alone.items():
            assert torch.allclose(together[name][row].double(), one.double(), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("kind", DECODING)
def test_gradients_of_parts_are_those_of_the_whole(kind: str) -> None:
    """Law 11: of a padded text, those of the embedding come by the encoder and by the decoder."""
    model, tokens, _ = both(kind, "classification")
    lower, upper = model.cut_behind(2)
    for part in (model, lower, upper):
        part.zero_grad()
    upper(lower(tokens)).square().sum().backward()
    found = {name: weight.grad for part in (lower, upper) for name, weight in part.named_parameters()}
    found = {name: None if grad is None else grad.clone() for name, grad in found.items()}
    model.zero_grad()  # parts share their weights with the whole
    model(tokens).square().sum().backward()
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(found[name], weight.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", DECODING)
def test_a_tail_holds_the_decoder_and_shares_the_embedding(kind: str) -> None:
    whole, inputs, wanted = both(kind, "language")
    lower, rest = whole.cut_behind(1)
    middle, tail = rest.cut_behind("layer.2")
    assert torch.equal(tail(middle(lower(inputs))), wanted)


def test_an_embedding_that_the_head_shares_is_on_one_side_or_frozen() -> None:
    model, _, _ = both("t5", "language")
    with pytest.raises(UsageError, match=r"used on both sides.*--tail"):
        split(model, 1)
    frozen, inputs, wanted = both("t5", "language", frozen=True)
    lower, upper = split(frozen, 1)
    assert torch.equal(upper(lower(inputs)), wanted)


def classes(kind: str) -> Dataset:
    inputs = torch.cat([texts(config_of(kind).pad_token_id, seed) for seed in range(12)])
    targets = inputs[:, 0] % LABELS
    return Dataset("texts", Samples(inputs[:30], targets[:30]), Samples(inputs[30:], targets[30:]), tuple("abc"))


QUICK: dict[str, Any] = {"clients": 2, "batch_size": 5, "epochs": 2, "lr": 0.01, "cut": "layer.1"}


@pytest.mark.parametrize("kind", ["bart", pytest.param("t5", marks=pytest.mark.slow)])
def test_clients_train_and_a_split_model_as_the_whole_one(kind: str, tmp_path: Path) -> None:
    model = model_of(kind, dropout=0.0, dropout_rate=0.0, attention_dropout=0.0)
    told = {**QUICK, "model": model, "dataset": classes(kind), "optimizer": "sgd"}
    one = {**told, "clients": 1, "epochs": 1}
    split, whole = (sglr.train(name, out=tmp_path / name, **one) for name in ("psl", "cl"))
    assert split.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=1e-5)
    run = sglr.train("sglr", out=tmp_path / "sglr", **told)
    assert run.summary is not None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of peft about the model
def test_adapters_of_a_t5_that_writes_texts_from_two_inputs(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    source = torch.randint(4, TOKENS, (40, 6), generator=rng)
    targets = source.flip(1)
    written = torch.cat([torch.zeros(40, 1, dtype=torch.int64), targets[:, :-1]], 1)
    rows, encoding = sglr.pack_inputs({"input_ids": source, "decoder_input_ids": written})
    wanted = sglr.Targets((), (6,), "int64", TOKENS)
    train, test = Samples(rows[:30], targets[:30]), Samples(rows[30:], targets[30:])
    data = Dataset("backwards", train, test, targets=wanted, encoding=encoding)
    told = {**QUICK, "model": model_of("t5", "language"), "dataset": data, "task": "language", "epochs": 3}
    run = sglr.train("sfl", out=tmp_path / "run", lora="r=4,targets=q+v", **told)
    losses = [record["loss"] for record in run.history]
    assert losses[-1] < losses[0]


def test_samples_without_what_the_decoder_reads_are_refused() -> None:
    model = model_of("t5", "language")
    with pytest.raises(UsageError, match="give input_ids and decoder_input_ids"):
        as_transformer(model, TOKENS)(texts(0))


def test_the_types_of_tokens_are_an_input_of_bert() -> None:
    model, tokens = model_of("bert"), texts_of(0)
    types = torch.arange(9).expand(3, 9) // 4 % 2
    with torch.no_grad():
        wanted = model(input_ids=tokens, attention_mask=(tokens != 0).long(), token_type_ids=types).logits
        lower, upper = as_transformer(model, LABELS).cut_behind(1)  # type: ignore[operator]
        assert torch.equal(upper(lower({"input_ids": tokens, "token_type_ids": types})), wanted)
    assert BLOCKS == 4
