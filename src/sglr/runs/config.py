"""One experiment as validated settings: what ``config.toml`` holds and the command line's flags set.

All keys are flat, as on the command line: those of `Experiment`, and the fields of the chosen method, data set and
partitioner (``alpha``, ``image_size``, ``concentration``). Importing this file imports no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic.config import JsonDict

from sglr.core.errors import UsageError, refuse_long, unknown
from sglr.core.registry import ENGINES, MODELS, PARTS
from sglr.core.spec import name_in, problem_of, read_value
from sglr.runs.presets import PRESET, expanded
from sglr.storage.toml_files import read_toml_file


def _setting(panel: str, default: Any, about: str, *, basic: bool = False, **limits: Any) -> Any:
    """Describe a setting: its heading in the help, and whether it is among those that the short help shows."""
    facts: JsonDict = {"panel": panel, "basic": basic}
    return Field(default, description=about, json_schema_extra=facts, **limits)


class Experiment(BaseModel):
    """Settings of one training.

    Parameters of the chosen parts are in ``method_parameters`` and so on, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    method: str = _setting("Method", "sglr", "training method (sglr list methods)", basic=True)
    model: str = _setting("Model", "cnn", "network (sglr list models), or your own package.module:function", basic=True)
    cut: str | int | None = _setting(
        "Model",
        None,
        "last layer of the client: a name, or a Sequential index; default: the model's own cut",
        basic=True,
    )
    tail: str | int | None = _setting(
        "Model",
        None,
        "last layer of the server, named like --cut: what follows stays with the clients, as do all labels"
        " (U-shape); default: the server has all layers behind the cut, and the labels",
    )
    dataset: str = _setting(
        "Data", "digits", "data (sglr list datasets), or folder:PATH, table:PATH, hf:NAME", basic=True
    )
    data_dir: Path | None = _setting("Data", None, "folder with data files; default: $SGLR_DATA_DIR")
    partition: str = _setting("Data", "iid", "how data is divided among clients (sglr list partitioners)", basic=True)
    clients: int = _setting("Data", 10, "number of clients, |C|", ge=1, basic=True)
    samples_per_client: int | None = _setting("Data", None, "most samples a client owns; default: all there are", ge=1)
    validation: int | float | None = _setting(
        "Data", None, "samples (or share below 1) held apart for validation; default: the data set's own", ge=0
    )
    merge_rule: str = _setting("Method", "mean", "how weights that clients share are merged (sglr list merge-rules)")
    participation: float = _setting("Method", 1.0, "share of the clients that take part in a round", gt=0, le=1)
    epochs: int = _setting("Training", 5, "passes over the data", ge=1, basic=True)
    batch_size: int = _setting("Training", 8, "samples of one client in one step, b", ge=1, basic=True)
    lr: float = _setting(
        "Training", 1e-3, "learning rate of clients, and the server's base", gt=0, allow_inf_nan=False, basic=True
    )
    server_lr: float | None = _setting(
        "Training", None, "the server's base rate, if it is not --lr", gt=0, allow_inf_nan=False
    )
    optimizer: str = _setting("Training", "adam", "any of torch.optim with its options, such as sgd:momentum=0.9")
    loss: Literal["cross_entropy", "binary_cross_entropy"] = _setting(
        "Training", "cross_entropy", "training loss; binary_cross_entropy, on the softmax, is that of the authors' code"
    )
    schedule: Literal["step", "constant", "cosine"] = _setting(
        "Training", "step", "learning rate over epochs; step is the paper's, times 0.1 at 80 %"
    )
    clip_norm: float | None = _setting(
        "Training", None, "largest gradient norm, of each client and of the server", gt=0
    )
    init: Literal["independent", "common"] = _setting(
        "Method",
        "common",
        "do client segments start from the same weights or from weights of their own (the paper's)",
        basic=True,
    )
    client_optimizer: Literal["keep", "reset"] = _setting(
        "Training", "keep", "clients keep their optimizers' memory between rounds, or begin each without (as in FedAvg)"
    )
    label_prior: Literal["ignore", "correct"] = _setting(
        "Method", "ignore", "correct: take each client's label frequencies out of the loss (for non-IID data)"
    )
    short_clients: Literal["wait", "cycle"] = _setting(
        "Training", "wait", "a client whose data is over before others' waits for the next epoch, or begins again"
    )
    engine: str = _setting("Machine", "local", "where clients live (sglr list engines)")
    stacking: Literal["auto", "stacked", "matmul", "looped"] = _setting(
        "Machine",
        "auto",
        "run clients as one stacked call (matmul: with convolutions as products of matrices), or one after"
        " another; auto measures what is fastest",
    )
    precision: Literal["fp32", "tf32", "bf16"] = _setting(
        "Machine", "fp32", "what passes are computed in: tf32 is for CUDA devices, bf16 is mixed precision"
    )
    compile: bool = _setting("Machine", False, "compile passes in training with torch.compile")
    client_store: Literal["auto", "memory", "disk"] = _setting(
        "Machine",
        "auto",
        "where clients are that don't take part: memory is beside those who do, on the device; disk is the"
        " run's folder; auto chooses by their number and size",
    )
    device: str = _setting("Machine", "auto", "auto, cpu or cuda", basic=True)
    threads: int | None = _setting("Machine", None, "CPU threads; default: torch's own choice", ge=1)
    seed: int = _setting("Training", 0, "seed of all random draws", ge=0, basic=True)
    eval_every: int = _setting("Evaluation", 1, "epochs between validations", ge=1)
    eval_clients: int = _setting("Evaluation", 20, "most client segments a validation looks at; 0 is all", ge=0)
    test_clients: int = _setting("Evaluation", 1000, "most client segments the final test looks at; 0 is all", ge=0)
    test_samples: int | None = _setting(
        "Evaluation", None, "most test samples that are used; default: all there are", ge=1
    )
    checkpoint_every: int = _setting("Output", 0, "steps between checkpoints inside an epoch; 0 is none", ge=0)
    keep_checkpoints: int = _setting("Output", 3, "how many of the newest checkpoints stay", ge=2)
    compression: str = _setting(
        "Between sites",
        "none",
        "how smashed data and gradients are written: none, bf16, fp16, int8 or topk:0.1 (a share), the last"
        " two also with feedback=true; methods that send none ignore it",
    )
    leakage: str = _setting(
        "Privacy", "", "measure what leaks while training: every=1 is after every epoch; also clients=1, samples=256"
    )
    defence: str = _setting(
        "Privacy",
        "none",
        "what is done against leakage (sglr list defences), with options, several joined by +:"
        " nopeek:weight=0.5, or clip:norm=10+noise:sigma=0.5",
    )
    min_clients: int | None = _setting(
        "Between sites",
        None,
        "fewest clients to train with (engine remote); default: all who joined and did not leave",
        ge=1,
    )
    step_deadline: float | None = _setting(
        "Between sites",
        None,
        "seconds until a step goes on without who is late; default: it waits",
        gt=0,
        allow_inf_nan=False,
    )
    max_misses: int = _setting(
        "Between sites", 10, "deadlines missed in a row until a client is no longer waited for", ge=1
    )
    pipelining: bool = _setting(
        "Between sites",
        False,
        "clients compute a step ahead of their gradients, which then are one step old (engine remote)",
    )
    ray_address: str | None = _setting(
        "Cluster",
        None,
        "the Ray cluster to use: auto, or HOST:PORT (engine ray); default: one that starts on this machine",
    )
    block_clients: int | None = _setting(
        "Cluster",
        None,
        "most clients that one process holds (engine ray); default: a process for every GPU or processor",
        ge=1,
    )
    ray_server: Literal["driver", "cluster"] = _setting(
        "Cluster",
        "driver",
        "where the server's segment computes: in the process that you start, or in one of the cluster, on a"
        " GPU if it has any (engine ray)",
    )
    energy: bool = _setting("Costs", False, "measure the energy that this machine uses; needs sglr[energy]")
    energy_profile: str = _setting(
        "Costs", "edge-wifi", "devices that modelled energy is for, or a TOML file with your own figures"
    )
    name: str = _setting("Output", "", "name of the run, in its folder's name and in tables")

    _folder: Path | None = PrivateAttr(default=None)

    method_parameters: dict[str, Any] = Field(default_factory=dict)
    dataset_parameters: dict[str, Any] = Field(default_factory=dict)
    partition_parameters: dict[str, Any] = Field(default_factory=dict)
    merge_rule_parameters: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def from_flat(cls, settings: Mapping[str, Any]) -> Self:
        """Build an experiment from flat settings; what is not given is that of the ``preset`` named, or its default.

        Raises
        ------
        UsageError
            If a setting is unknown (the nearest is suggested), of the wrong kind, or out of range.
        """
        given = expanded(settings)
        own = {key: given.pop(key) for key in list(given) if key in SETTINGS}
        for key, value in own.items():
            if isinstance(value, str) and key != "dataset":  # which may be a path
                refuse_long(key, value)
        chosen = {kind: own.get(kind, cls.model_fields[kind].default) for kind in PARTS}
        parts = {kind: part_fields(kind, str(name)) for kind, name in chosen.items()}
        parameters = {kind: _defaults(fields) for kind, fields in parts.items()}
        for key, value in given.items():
            owner = next((kind for kind, fields in parts.items() if key in fields), None)
            if owner is None:
                raise _unknown_setting(key, value, chosen, parts)
            parameters[owner][key] = _typed(key, value, _load(owner, chosen[owner]), parts[owner][key])
        own |= {f"{kind}_parameters": values for kind, values in parameters.items()}
        try:
            experiment = cls(**own)
        except ValidationError as error:
            raise _explained(error) from error
        experiment.check_names()
        return experiment

    @classmethod
    def from_toml(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read an experiment from a TOML file of flat keys; ``overrides`` win, as does a preset that they name."""
        return cls.from_flat({**expanded(read_toml(path)), **expanded(overrides or {})})

    @property
    def folder(self) -> Path | None:
        """The run folder that these settings were read from: code that they name may not come from there."""
        return self._folder

    def read_from(self, folder: Path | None) -> Self:
        """Return the same settings, read from a run's folder."""
        copy = self.model_copy()
        copy._folder = folder
        return copy

    def trusting(self, model: str) -> Self:
        """Return the same settings with the model's code named by the user, and no longer by a run's folder alone.

        Raises
        ------
        UsageError
            If the model is another.
        """
        if model != self.model:
            raise UsageError("model", model, f"the run's model is {self.model}", f"give {self.model}, or leave it out")
        return self.read_from(None)

    def flat(self) -> dict[str, Any]:
        """Return the settings as `from_flat` takes them, those that are unset left out."""
        values = self.model_dump(mode="json", exclude_none=True)
        for kind in PARTS:
            del values[f"{kind}_parameters"]
            parameters = self.model_dump(mode="json")[f"{kind}_parameters"]
            values |= {key: "none" if value is None else value for key, value in parameters.items()}
        return values

    def to_toml(self) -> str:
        """Return the settings as TOML."""
        return tomli_w.dumps(self.flat())

    def fingerprint(self) -> str:
        """Return a short hash of all settings that decide the result."""
        ignored = {
            "name",
            "threads",
            "keep_checkpoints",
            "data_dir",
            "energy",
            "energy_profile",
            "client_store",
            "leakage",
            *OPERATION,
        }
        deciding = {key: value for key, value in self.flat().items() if key not in ignored and LATER.get(key) != value}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]

    def check_names(self) -> None:
        """Refuse names of parts that do not exist, suggesting the nearest."""
        registries = {"model": MODELS, "engine": ENGINES}
        for kind, registry in registries.items():
            name = str(getattr(self, kind))
            if ":" not in name and not name.startswith("<") and name not in registry.names():
                raise unknown(kind, name, registry.names())


LATER = {"defence": "none", "on_bad": "error", "merge_rule": "mean"}
"""Settings that runs of before did not have, and what they did: such runs keep their fingerprints."""

OPERATION = ("min_clients", "step_deadline", "max_misses", "ray_address", "block_clients", "ray_server")
"""Settings that say where clients live and whom to wait for: they may change when a run goes on."""

SETTINGS = frozenset(name for name in Experiment.model_fields if not name.endswith("_parameters"))
"""The keys of an experiment that belong to no part."""


def part_fields(kind: str, name: str) -> dict[str, dataclasses.Field[Any]]:
    """Return the parameters of the part that setting ``kind`` names, by name."""
    if name.startswith("<"):  # an object given in Python
        return {}
    return {field.name: field for field in dataclasses.fields(_load(kind, name)) if field.init}


def _load(kind: str, name: str) -> type[Any]:
    part: type[Any] = PARTS[kind].load(name_in(name))
    return part


def _defaults(fields: Mapping[str, dataclasses.Field[Any]]) -> dict[str, Any]:
    """Return the parameters' defaults, those that are set, so that a run's settings tell all of them."""
    unset = (dataclasses.MISSING, None, "")
    return {name: field.default for name, field in fields.items() if field.default not in unset}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file of settings, with an error that names it if that fails."""
    found = read_toml_file(path, "config")
    if found is None:
        raise UsageError("config", path, "there is no such file", "give the path of a TOML file")
    return found


def _typed(key: str, value: Any, part: type[Any], field: dataclasses.Field[Any]) -> Any:
    """Turn a text from the command line or a file into what the parameter takes; ``"none"`` is None where it may be."""
    try:
        return read_value(get_type_hints(part)[key], value)
    except ValidationError as error:
        remedy = f"it is: {field.metadata.get('help', field.type)}"
        raise UsageError(key, value, problem_of(error), remedy) from error


def _unknown_setting(
    key: str, value: Any, chosen: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]
) -> UsageError:
    known = SETTINGS.union([PRESET], *parts.values())
    near = get_close_matches(key, known, n=1)
    for kind in ("method", "merge_rule"):
        owners = [name for name in PARTS[kind].names() if key in part_fields(kind, name)]
        if owners:
            problem = f"{kind} {chosen[kind]} has no such parameter"
            return UsageError(key, value, problem, f"leave it out, or choose {kind} {' or '.join(owners)}")
    remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
    return UsageError(key, value, "there is no such setting", remedy)


def _explained(error: ValidationError) -> UsageError:
    first = error.errors()[0]
    key = str(first["loc"][0])
    described = Experiment.model_fields[key].description if key in Experiment.model_fields else None
    return UsageError(key, first["input"], problem_of(error), f"it is: {described}" if described else "correct it")
