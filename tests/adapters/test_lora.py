"""Low-rank adapters are trained and nothing else of a network, wherever it is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.adapters.networks import CLASSES, INPUTS, SETTINGS, WIDTH, dataset, network, normed
from tests.conftest import covering
from torch import Tensor, nn

import sglr
from sglr.adapters import Lora
from sglr.adapters.inject import inject
from sglr.core.errors import Interrupted, UsageError
from sglr.core.registry import METHODS
from sglr.core.weights import state_of, trained_of
from sglr.splitting.segment_weights import frozen_of

HEAD = WIDTH * CLASSES + CLASSES
"""Values of the last layer, which is trained whole."""


def train(out: Path, model: Any = network, **settings: Any) -> sglr.Run:
    return sglr.train(**{"method": "sfl", "model": model, "dataset": dataset(), "out": out, **SETTINGS, **settings})


def adapter(r: int = 2, *, fan_in: int = WIDTH, fan_out: int = WIDTH) -> int:
    return r * (fan_in + fan_out)


def test_a_layer_gives_its_own_output_and_the_adapter_s_by_hand() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(3, 2))
    own = layer[0].weight.detach().clone(), layer[0].bias.detach().clone()
    inject(layer, Lora(r=1, alpha=4), ["0"])
    down, up = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[0.25], [-1.0]])
    with torch.no_grad():
        layer[0].lora_A["default"].weight.copy_(down)
        layer[0].lora_B["default"].weight.copy_(up)
    x = torch.tensor([[1.0, 2.0, 3.0]])
    wanted = x @ own[0].mT + own[1] + (4 / 1) * (x @ down.mT) @ up.mT
    assert torch.allclose(layer(x), wanted)
    assert sorted(trained_of(layer)) == ["0.lora_A.default.weight", "0.lora_B.default.weight"]


@covering(method=[name for name in METHODS.names() if name != "locfedmix-sl"], stacking=["stacked", "looped"])
def test_adapters_train_with_every_method(tmp_path: Path, method: str, stacking: str) -> None:
    run = train(tmp_path / "run", method=method, stacking=stacking, epochs=1, batch_size=4)
    counts = run.summary["parameters"]
    fl = METHODS.load(method)().whole_model
    client = 2 * adapter() + adapter(fan_in=INPUTS)
    assert counts["server" if not fl else "client"] >= HEAD + 2 * adapter()
    if not (METHODS.load(method)().head or METHODS.load(method)().decodes or fl):
        assert counts["client"] == client
        assert counts["server"] == HEAD + 2 * adapter()
    assert counts["client_frozen"] + counts["server_frozen"] >= INPUTS * WIDTH + WIDTH + 4 * (WIDTH * WIDTH + WIDTH)


@pytest.mark.parametrize("form", ["stacked", "matmul", "looped"])
def test_rows_hold_adapters_alone_and_the_network_never_moves(tmp_path: Path, form: str) -> None:
    torch.manual_seed(3)
    model = normed((INPUTS,), CLASSES)
    before = {name: tensor.clone() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    run = train(tmp_path / "run", model, cut=4, stacking=form)
    loaded = sglr.load_model(run.path, model=model, dataset=dataset())
    assert all(".lora_" in name for name in state_of(loaded.client)), sorted(state_of(loaded.client))
    kept = {name.replace("base_layer.", ""): tensor for name, tensor in frozen_of(loaded.client).items()}
    assert kept
    assert all(torch.equal(before[name], tensor) for name, tensor in kept.items())
    moved = [name for name, tensor in trained_of(loaded.client).items() if "lora_B" in name and bool(tensor.any())]
    assert len(moved) == 3  # B begins as zero


@pytest.mark.parametrize("at", ["clients", "server"])
def test_the_other_side_is_trained_as_without_adapters(tmp_path: Path, at: str) -> None:
    whole = train(tmp_path / "whole", lora=None).summary["parameters"]
    counts = train(tmp_path / at, lora=f"r=2,at={at}").summary["parameters"]
    other = "server" if at == "clients" else "client"
    assert counts[other] == whole[other]
    assert counts[f"{other}_frozen"] == 0
    mine = "client" if at == "clients" else "server"
    assert counts[mine] == 2 * adapter() + (adapter(fan_in=INPUTS) if at == "clients" else HEAD)


def test_one_client_with_adapters_trains_like_the_unsplit_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = network()
    data = dataset(40)
    settings = {
        "clients": 1,
        "epochs": 1,
        "batch_size": 40,
        "optimizer": "sgd",
        "schedule": "constant",
        "lr": 0.5,
        "validation": 0,
    }
    run = sglr.train("psl", model=model, dataset=data, out=tmp_path / "run", **{**SETTINGS, **settings})
    loaded = sglr.load_model(run.path, model=model, dataset=data)
    # B is zero at first, so that A does not move in the first step, and both start from what was drawn.
    inject(model, Lora(r=2, alpha=4), ["1", "2.query", "2.value", "3.query", "3.value"])
    model[4].requires_grad_(True)
    pairs = [*state_of(loaded.client).items(), *state_of(loaded.server).items()]
    drawn = {name: tensor for name, tensor in pairs if "lora_A" in name}
    for name, weight in model.named_parameters():
        if name in drawn:
            weight.data.copy_(drawn[name])
    torch.nn.functional.cross_entropy(model(data.train.inputs), data.train.targets).backward()
    for name, tensor in pairs:
        weight = dict(model.named_parameters()).get(name)
        if weight is not None and weight.requires_grad and weight.grad is not None:
            assert torch.allclose(tensor, weight.detach() - 0.5 * weight.grad, atol=1e-6), name


def test_first_adapters_are_equal_or_each_client_s_own(tmp_path: Path) -> None:
    def first(init: str, model: Any) -> list[Tensor]:
        run = train(tmp_path / f"{init}{model is network}", model, method="psl", init=init, epochs=1, lr=1e-12)
        loaded = [sglr.load_model(run.path, client, model=model, dataset=dataset()) for client in (0, 1)]
        assert all(torch.equal(*pair) for pair in zip(*(frozen_of(each).values() for each in loaded), strict=True))
        return [each.client.get_submodule("1.lora_A.default").weight for each in loaded]

    for model in (network, network()):
        assert torch.allclose(*first("common", model))
        assert not torch.allclose(*first("independent", model))


@pytest.mark.parametrize("settings", [{}, {"method": "sflv1", "participation": 0.5, "client_store": "disk"}], ids=str)
def test_resumed_it_ends_with_the_same_bits(tmp_path: Path, settings: dict[str, Any]) -> None:
    options = {"lora": "r=2,dropout=0.2", **settings}
    whole = train(tmp_path / "whole", **options)
    seen = [0]

    def stop() -> bool:
        seen[0] += 1
        return seen[0] > 4

    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", stop=stop, **options)
    run = sglr.resume(tmp_path / "stopped", model=network, dataset=dataset())
    for key in ("weights_sha256", "frozen_sha256"):
        assert run.summary[key] == whole.summary[key]


@pytest.mark.parametrize("built_in", ["cnn", "resnet16", "mlp"])
def test_built_in_models_are_stacked(tmp_path: Path, built_in: str) -> None:
    settings = {"samples_per_client": 16, "clients": 2, "epochs": 1, "threads": 1, "stacking": "stacked"}
    lora = "r=2,dropout=0.1"
    run = sglr.train("sfl", model=built_in, dataset="digits", lora=lora, out=tmp_path / "run", **settings)
    assert run.summary["parameters"]["client"] < run.summary["parameters"]["client_frozen"] + 200
    assert run.evaluate()["accuracy"] >= 0


def test_a_share_of_the_operations_is_that_of_the_model_without_adapters(tmp_path: Path) -> None:
    settings = {"samples_per_client": 8, "clients": 2, "epochs": 1, "threads": 1, "cut": "60%", "dataset": "digits"}
    runs = [sglr.train("psl", model="cnn", lora=lora, out=tmp_path / str(lora), **settings) for lora in (None, "r=8")]
    assert runs[0].summary["cut"] == runs[1].summary["cut"]


def test_a_transformer_learns_with_adapters_and_a_head(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a low tide and a high tide, one after the other. " * 60)
    settings: dict[str, Any] = {"clients": 2, "epochs": 3, "threads": 1, "lr": 0.01, "samples_per_client": 32}
    run = sglr.train(
        "sfl",
        model="transformer",
        task="language",
        dataset=f"text:{tmp_path / 'text.txt'}",
        length=16,
        out=tmp_path / "run",
        lora="r=4,targets=attend+join,modules_to_save=scores",
        **settings,
    )
    assert run.history[-1]["loss"] < run.history[0]["loss"] - 0.3
    assert run.summary["parameters"]["client"] == 4 * (64 + 192) + 4 * (64 + 64)


@pytest.mark.parametrize(
    ("lora", "settings", "message"),
    [
        ("r=0", {}, "an adapter of rank 0 has no weights"),
        ("r=2,alpha=-1", {}, "alpha = -1 is no positive number"),
        ("r=2,alpha=nan", {}, "alpha = nan is no positive number"),
        ("r=2,dropout=1", {}, "dropout = 1 is no share"),
        ("r=2,rank=3", {}, "unknown option 'rank' for lora"),
        ("r=two", {}, "invalid value 'two' for r"),
        ("r=2,at=here", {}, "invalid value 'here' for at"),
        ("r=2,targets=+", {}, "targets names no layer"),
        ("targets=query,value,r=2", {}, r"'value' is not key=value; join names by \+: targets=query\+value"),
        ("r2", {}, "'r2' is not key=value; write it like key=value,key=value"),
        ("r=2,targets=querry", {}, "'querry', which no layer is called; did you mean query"),
        ("r=2,targets=query+2", {}, "2 can't have an adapter.*this is a Mixer, with layers query, value"),
        ("r=7", {"lora": "r=7,targets=1"}, "its weights are 8 x 6, and rank 7 is more; give r=6 or less"),
        ("r=99", {}, "no layer on the side that gets adapters"),
        ("r=2,targets=4", {}, "4 is trained whole"),
        ("r=2,modules_to_save=lost", {}, "modules_to_save names 'lost', which no layer is called"),
        ("r=2,modules_to_save=0", {}, "0 has no weights that could be trained"),
        ("r=2,targets=3.query", {}, "no layer with an adapter is in the clients' segment"),
        ("r=2,targets=2.query,modules_to_save=none", {}, "no layer with an adapter is in the server's segment"),
        ("r=2,targets=3.query,at=clients", {}, "no layer called 3.query is on the side that gets adapters"),
        ("r=2,at=server", {"method": "fl"}, "the server has no layers"),
    ],
)
def test_what_is_refused_before_any_work(tmp_path: Path, lora: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(tmp_path / "run", **{"lora": lora, **settings})
    assert not (tmp_path / "run").exists()


class Unused(nn.Module):
    """A layer whose weights are used without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(INPUTS, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.fc.weight)


class Attentive(nn.Module):
    """Torch's own encoder layer, which in evaluation computes with its layers' weights without calling them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        encoded: Tensor = self.encoder(x[:, None])[:, 0]
        return encoded


@pytest.mark.parametrize(
    ("first", "lora", "message"),
    [
        ((Unused(), nn.Tanh()), "r=2", "computes without calling 0.fc"),
        ((nn.Linear(INPUTS, WIDTH), Attentive()), "r=2", "reads weights of adapted layers without calling them"),
        ((nn.Linear(INPUTS, WIDTH), Attentive()), "r=2,targets=out_proj", "MultiheadAttention computes with"),
    ],
)
def test_layers_that_are_not_called_are_refused(tmp_path: Path, first: Any, lora: str, message: str) -> None:
    model = nn.Sequential(*first, nn.Linear(WIDTH, CLASSES))
    with pytest.raises(UsageError, match=message):
        train(tmp_path / "run", model, cut=1, lora=lora)


def test_without_peft_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setattr("sglr.system.extras.is_installed", lambda package: package != "peft")
    with pytest.raises(UsageError, match=r"needs the package peft.*pip install 'sglr\[lora\]'"):
        Lora.parse("r=4")


def test_statistics_that_a_network_moves_itself_stay_each_client_s(tmp_path: Path) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.calls.add_(1)
            return x

    model = nn.Sequential(nn.Linear(INPUTS, WIDTH), Counting(), nn.Tanh(), nn.Linear(WIDTH, CLASSES))
    run = train(tmp_path / "run", model, epochs=1)
    loaded = sglr.load_model(run.path, model=model, dataset=dataset())
    assert loaded.client[1].calls > 0
