"""Networks of torchvision and timm by name: built for the data, with inputs as they expect; what goes wrong is told."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import sglr
from sglr.core.errors import UsageError
from sglr.core.model import build_model
from sglr.core.registry import MODELS, NAMED_MODELS, model_prefix
from sglr.parties.defences import parse
from sglr.splitting import split

GREY = (1, 32, 32)


def test_libraries_are_found_by_their_prefix_and_are_no_models_themselves() -> None:
    assert {"timm", "torchvision"} <= set(NAMED_MODELS.names())
    assert "named" not in MODELS.names()
    assert model_prefix("timm:resnet18") == "timm"
    assert model_prefix("my_nets:make") is None
    assert model_prefix("cnn") is None


@pytest.mark.parametrize(
    ("spec", "shape", "gives"),
    [
        ("torchvision:resnet18", GREY, (5,)),
        ("torchvision:mobilenet_v3_small", (2, 32, 48), (5,)),
        ("torchvision:squeezenet1_1", (3, 32, 32), (5,)),
        ("torchvision:lraspp_mobilenet_v3_large", (3, 32, 32), (5, 32, 32)),
        ("timm:test_vit", (3, 48, 48), (5,)),
        ("timm:test_resnet", GREY, (5,)),
    ],
)
def test_a_network_is_built_for_the_data_s_shape_and_classes(
    spec: str, shape: tuple[int, ...], gives: tuple[int, ...]
) -> None:
    model = build_model(spec, shape, 5).eval()
    with torch.no_grad():
        assert model(torch.randn(2, *shape)).shape == (2, *gives)


def test_inputs_in_plus_minus_1_are_standardised_as_the_network_s_own_configuration_says() -> None:
    import torchvision

    torch.manual_seed(0)
    own = torchvision.models.resnet18(num_classes=5).eval()
    torch.manual_seed(0)
    model = build_model("torchvision:resnet18", (3, 32, 32), 5).eval()
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    pixels = torch.rand(2, 3, 32, 32)
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (preset.mean, preset.std))
    with torch.no_grad():
        torch.testing.assert_close(model(2 * pixels - 1), own((pixels - mean) / deviation))
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    assert frozen == ["input_mean", "input_deviation"]


def test_layers_keep_the_names_that_the_library_gives_them() -> None:
    model = build_model("torchvision:resnet18", GREY, 5).eval()
    lower, upper = split(model, "layer1", torch.randn(2, *GREY))
    x = torch.randn(2, *GREY)
    assert torch.equal(upper(lower(x)), model(x))
    assert any(name.startswith("layer1.0.conv1") for name in lower.state_dict())
    assert {"input_mean", "input_deviation"} <= lower.state_dict().keys()
    assert "input_mean" not in upper.state_dict()


@pytest.mark.parametrize("spec", ["torchvision:resnet18", "timm:test_resnet"])
def test_weights_of_a_file_are_those_that_the_network_begins_with_but_for_its_last_layer(
    spec: str, tmp_path: Path
) -> None:
    learned = build_model(spec, (3, 32, 32), 1000)
    state = {name: value.clone() for name, value in learned.state_dict().items() if not name.startswith("input_")}
    path = tmp_path / "learned.safetensors"
    save_file(state, path)
    model = build_model(spec, (3, 32, 32), 5, weights=path).state_dict()
    assert {name for name in state if model[name].shape != state[name].shape} <= {"fc.weight", "fc.bias"}
    assert all(torch.equal(model[name], state[name]) for name in state if not name.startswith("fc."))


@pytest.mark.parametrize("spec", ["torchvision:resnet18", "timm:resnet10t"])
@pytest.mark.parametrize("form", ["whole", "split", "defended"])
def test_a_network_begins_with_the_weights_of_an_own_run(spec: str, form: str, tmp_path: Path) -> None:
    """As `sglr.load_model` gives them: by party, with the scale of inputs, behind a defence's layer as well."""
    learned = build_model(spec, GREY, 5)
    state = {name: value.clone() for name, value in learned.state_dict().items()}
    assert "input_mean" in state
    if form != "whole":
        lower, upper = split(learned, "layer1", torch.randn(2, *GREY))
        covered = parse("clip:norm=5").covered(lower) if form == "defended" else lower
        torch.save(nn.Sequential(OrderedDict(client=covered, server=upper)).state_dict(), tmp_path / "own.pt")
    else:
        torch.save(state, tmp_path / "own.pt")
    model = build_model(spec, GREY, 5, weights=tmp_path / "own.pt").state_dict()
    assert model.keys() == state.keys()
    assert all(torch.equal(model[name], state[name]) for name in state), "the last layer too"
    fewer = build_model(spec, GREY, 3, weights=tmp_path / "own.pt").state_dict()
    other = {name for name in state if fewer[name].shape != state[name].shape}
    assert other == {"fc.weight", "fc.bias"}


def test_weights_of_another_network_are_refused_with_what_differs(tmp_path: Path) -> None:
    state = build_model("torchvision:resnet18", GREY, 5).state_dict()
    del state["bn1.bias"]
    state |= {"layer1.0.conv1.weight": torch.zeros(8, 8, 3, 3), "more.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "own.pt")
    with pytest.raises(UsageError) as told:
        build_model("torchvision:resnet18", GREY, 5, weights=tmp_path / "own.pt")
    said = str(told.value)
    assert said.startswith(f"weights = {tmp_path / 'own.pt'}: ")
    assert "bn1.bias is missing" in said and "the network has no more.weight" in said
    assert "layer1.0.conv1.weight has shape [8, 8, 3, 3], not [64, 64, 3, 3]" in said


def test_a_first_layer_of_one_channel_begins_with_the_sum_over_colours(tmp_path: Path) -> None:
    state = build_model("torchvision:resnet18", (3, 32, 32), 5).state_dict()
    path = tmp_path / "learned.pth"
    torch.save({name: value for name, value in state.items() if not name.startswith("input_")}, path)
    first = build_model("torchvision:resnet18", GREY, 5, weights=path).state_dict()["conv1.weight"]
    torch.testing.assert_close(first, state["conv1.weight"].sum(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("spec", "shape", "said"),
    [
        ("torchvision:resnt18", GREY, "did you mean torchvision:resnet18"),
        ("timm:resnt18", GREY, "did you mean timm:resnet18"),
        ("timm:resnet18.nowhere", GREY, "did you mean timm:resnet18."),
        ("timm:hf-hub:someone/evil", GREY, "timm has no such model"),
        ("timm:local-dir:/evil", GREY, "timm has no such model"),
        ("torchvision:vit_b_16", (3, 33, 33), "give --image-size 224"),
        ("torchvision:vit_b_16", (3, 32, 64), "takes square images"),
        ("torchvision:resnet18", (12,), "takes images"),
        ("timm:resnet18", (12,), "takes images"),
        ("torchvision:r3d_18", (3, 8, 8), "takes videos"),
        ("torchvision:fasterrcnn_resnet50_fpn", (3, 64, 64), "detects objects"),
    ],
)
def test_a_network_that_is_not_there_or_does_not_fit_is_refused(spec: str, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace(".", r"\.")):
        build_model(spec, shape, 5)


def test_other_models_have_no_pretrained_weights() -> None:
    with pytest.raises(UsageError, match="model cnn has no pretrained weights"):
        build_model("cnn", GREY, 5, pretrained=True)


@pytest.mark.parametrize("name", ["none.pth", "text.pth", "other.pth"])
def test_a_file_that_holds_no_weights_of_the_network_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(UsageError, match="weights"):
        build_model("torchvision:resnet18", GREY, 5, weights=tmp_path / name)


@pytest.mark.parametrize("spec", ["torchvision:resnet18", "timm:resnet18"])
def test_without_a_network_the_error_says_where_weights_come_from(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("sglr.system.vision_libraries.getproxies", dict)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(UsageError, match=r"can't be downloaded.*--weights, or (give )?--no-pretrained"):
        build_model(spec, (3, 32, 32), 5, pretrained=True)


@pytest.mark.slow
def test_a_run_of_a_library_s_network_is_loaded_from_its_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    learned = build_model("timm:resnet10t", (1, 8, 8), 10).state_dict()
    weights = tmp_path / "learned.safetensors"
    save_file({name: value.clone() for name, value in learned.items() if not name.startswith("input_")}, weights)
    run = sglr.train(
        model="timm:resnet10t",
        cut="layer1",
        dataset="digits",
        clients=2,
        epochs=1,
        samples_per_client=16,
        batch_size=8,
        weights=weights,
        out=tmp_path / "run",
    )
    weights.unlink()
    (tmp_path / "timm.py").write_text("raise SystemExit('code of the folder')")
    monkeypatch.chdir(tmp_path)
    model = sglr.load_model(tmp_path / "run")
    frozen = load_file(tmp_path / "run" / "frozen.safetensors")
    assert {"input_mean", "input_deviation"} <= frozen.keys()
    assert torch.equal(model.client.input_mean, frozen["input_mean"])
    assert run.summary["cut"] == "layer1"


@pytest.mark.slow
def test_torchvision_is_imported_beside_any_build_of_torch() -> None:
    code = "import sglr.system.extras as e; print(e.optional('timm', 'vision', 'model', 'timm:x').__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "timm"
