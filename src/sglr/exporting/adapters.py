"""Write a run's adapters in peft's own format, and check that peft makes of them what the run trained."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sglr.adapters import ADAPTER, AdaptedModel, Lora, load_peft, lora_config
from sglr.assembly.load_model import load_training, trained_client
from sglr.assembly.parts import Training
from sglr.core.errors import UsageError
from sglr.core.task import Task
from sglr.core.weights import Weights, state_of, trained_of
from sglr.exporting.card import CARD, write_card
from sglr.exporting.check import compare, made_up_inputs
from sglr.exporting.export import MOST_REAL, RECORD, Export, ExportedFile
from sglr.exporting.metadata import metadata, network_facts
from sglr.exporting.new_folder import refuse_occupied, whole_folder
from sglr.exporting.pieces import pieces
from sglr.inference.network import TrainedNetwork, Whose, trained_network
from sglr.runs.folder import Run
from sglr.splitting.transformers import Transformer
from sglr.storage.files import write_text

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""The files of peft's format."""


@dataclass(frozen=True)
class Peft:
    """How a folder of adapters is loaded."""

    most_batch: int | None = None

    def loading(self, file: str, several: bool = False) -> str:
        """Return Python code that runs the adapters on ``inputs``, a NumPy array or a list of them, without sglr."""
        del several  # the network takes them as it did
        folder = Path(file).parent
        return (
            "import torch\nfrom peft import PeftModel\n\n"
            "base = ...  # the network as it was before the training, a torch.nn.Module\n"
            f'model = PeftModel.from_pretrained(base, "{folder}").eval()\n'
            "outputs = model(torch.from_numpy(inputs))\n"
        )


def export_adapters(
    run: Run | str | Path,
    out: str | Path | None = None,
    *,
    client: Whose | None = None,
    data: Any = None,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    task: str | Task | None = None,
    segment_file: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    **reading: Any,
) -> Export:
    """Write the adapters of a run trained with ``lora`` as peft does, without the frozen network.

    A folder holds ``adapter_config.json`` and ``adapter_model.safetensors``, with clients' and server's adapters under
    their names in the whole model, which ``peft.PeftModel.from_pretrained(network, folder)`` reads. Where each client
    has layers of its own, each has a folder, ``client-0``, ….

    Parameters
    ----------
    run, out, client, data, model, task, segment_file, say, reading
        As for `sglr.export`; by default the folder is ``export-adapters`` in the run's.

    Raises
    ------
    UsageError
        If the run was trained without adapters, or what it trained can't be in an adapter file; and as `sglr.export`.
    ExportDiffers
        If peft makes another network of them than the run trained.
    """
    folder = Path(out) if out is not None else (run.path if isinstance(run, Run) else Path(run)) / "export-adapters"
    refuse_occupied(folder)
    network = trained_network(run, client, model=model, task=task, segment=segment_file)
    lora = Lora.parse(network.run.experiment.lora)
    if lora is None:
        raise UsageError("adapters", True, "the run was trained without --lora", "leave it out")
    built = load_training(network.run, model, task)
    if built.cuts is not None:
        problem = f"clients are cut at different places ({built.cut}), and hold some adapters that the server has, too"
        raise UsageError("adapters", True, problem, "export the network itself: --format")
    inputs = made_up_inputs(network.record, network.segments[0].lower)
    if data is not None:
        inputs = torch.cat([inputs, network.read(data, **reading).inputs[:MOST_REAL].to(inputs.dtype)])
    single = len(network.segments) == 1
    with whole_folder(folder) as partial:
        made = []
        for place in range(len(network.segments)):
            number = network.client if isinstance(network.client, int) else place
            own = partial if single else partial / f"client-{number}"
            own.mkdir(exist_ok=True)
            # The average of several clients' outputs is no adapter's; each has its own.
            one = network if single else replace(network, client=number, segments=(network.segments[place],))
            file = None if segment_file is None else Path(segment_file)
            made.append(_write(built, lora, one, number, inputs, own, partial, file))
            if say is not None:
                say(f"{made[-1].name}: differs by {made[-1].compared.difference:.1g}")
        done = Export(folder, "peft", network.whose, tuple(made))
        write_text(partial / RECORD, json.dumps(done.told() | network_facts(network), indent=2) + "\n", durable=False)
        write_card(partial / CARD, network, Peft(), "lora", made)
    return done


def _write(
    built: Training,
    lora: Lora,
    network: TrainedNetwork,
    client: int,
    inputs: Tensor,
    folder: Path,
    top: Path,
    segment: Path | None,
) -> ExportedFile:
    """Write one client's adapters, with the server's, and compare what peft makes of them with the joined network."""
    whole = built.adapted()
    assert whole is not None
    weights = _renamed(whole, trained_client(built, client, segment), built.trainer.server.segment)
    saved = _trained_whole(lora, weights)
    for layer in saved:
        own = whole.base.get_submodule(layer).state_dict()
        weights = {f"{layer}.{name}": tensor for name, tensor in own.items()} | weights
    # Others have the transformer itself, not what makes it take one tensor.
    inner, within = (whole.base.model, "model.") if isinstance(whole.base, Transformer) else (whole.base, "")
    tensors = {_peft_name(name.removeprefix(within)): tensor.contiguous() for name, tensor in weights.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    _, _, path = network.run.experiment.model.partition("hf:")
    layers, own_layers = ([name.removeprefix(within) for name in names] for names in (whole.layers, saved))
    lora_config(inner, lora, layers, own_layers, path or None).save_pretrained(folder)
    piece = pieces(replace(network, received=None), "joined", inputs)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a module of one's own has no configuration
        loaded = load_peft(lora).PeftModel.from_pretrained(inner, folder)
    runs = whole.base.eval() if within else loaded.eval()
    name = str((folder / WEIGHTS).relative_to(top))
    compared = compare(piece, runs, name)
    return ExportedFile(name, (folder / WEIGHTS).stat().st_size, compared, metadata(network, piece, Peft()))


def _trained_whole(lora: Lora, weights: Weights) -> list[str]:
    """Return the layers with trained weights that are no adapter's, the outermost where one holds another."""
    layers = {name.rpartition(".")[0] for name in weights if ADAPTER not in f".{name}"}
    if "" in layers:
        problem = "a weight of the model itself, in none of its layers, is trained, which peft can't store"
        raise lora.error(problem, "put it in a layer of its own, or freeze it")
    return sorted(layer for layer in layers if not any(layer.startswith(f"{other}.") for other in layers))


def _renamed(whole: AdaptedModel, client: nn.Module, server: nn.Module) -> dict[str, Tensor]:
    """Return what a client and the server have trained, by names in the whole model."""
    found: dict[str, Tensor] = {}
    for segment, names in ((client, whole.client_names), (server, whole.server_names)):
        trained, before = trained_of(segment), dict(whole.base.named_buffers())
        for name, tensor in state_of(segment).items():
            places = names.get(name, [])
            if name not in trained and places and all(torch.equal(before[place], tensor) for place in places):
                continue
            if name in names and not places:
                problem = (
                    f"{name} is changed by the training and is in no layer with weights, so that peft can't store it"
                )
                raise UsageError("adapters", True, problem, "export the network itself: --format")
            found |= {place: tensor.detach().cpu().clone() for place in places}
    return found


def _peft_name(name: str) -> str:
    """Return the name in peft's file of a weight of the whole model."""
    own = name.replace(".default.", ".").removesuffix(".default") if ADAPTER in f".{name}" else name
    return f"base_model.model.{own}"
