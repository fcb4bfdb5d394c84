"""Settings of what is trained: the method, the network and where it is cut, and the data of the clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from sglr.runs.client_cuts import written
from sglr.runs.facts import setting


class ModelSettings(BaseModel):
    """The method, the network and the data."""

    model_config = ConfigDict(protected_namespaces=())

    @field_validator("cuts", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return written(value)

    method: str = setting(
        "Method", "sglr2", "training method (sglr list methods); sglr is the paper's", basic=True, clients="take"
    )
    model: str = setting(
        "Model",
        "cnn",
        "network (sglr list models), one of a library (torchvision:resnet18, timm:NAME, hf:PATH), or your own"
        " package.module:function",
        basic=True,
        clients="take",
    )
    pretrained: bool | None = setting(
        "Model",
        None,
        "begin with the library's pretrained weights (models such as torchvision:NAME); default: those of hf:PATH do",
        since="0.2.0",
        clients="take",
    )
    weights: Path | None = setting(
        "Model",
        None,
        "file of weights to begin with instead (.safetensors, or torch's .pt and .pth), for models of a library",
        since="0.2.0",
        clients="take",
    )
    task: str = setting(
        "Model",
        "auto",
        "what the network learns (sglr list tasks), or your own package.module:Name; auto: classification, where each"
        " sample has a class",
        basic=True,
        clients="take",
        since="0.2.0",
    )
    cut: str | int | None = setting(
        "Model",
        None,
        "last layer of the client: a name, a Sequential index, or the share of the operations that clients compute,"
        " such as 40% (sglr cuts lists all); default: the model's own cut",
        basic=True,
        clients="take",
    )
    cuts: str | None = setting(
        "Model",
        None,
        "last layer of each client, where these differ: ranges of clients with their cuts, such as"
        " 0-4=layer1,5-9=40%, or devices of --clock: phone=layer1; in TOML and Python a table; instead of --cut",
        since="0.2.0",
        clients="take",
    )
    tail: str | int | None = setting(
        "Model",
        None,
        "last layer of the server, named like --cut: what follows stays with the clients, as do all labels"
        " (U-shape); default: the server has all layers behind the cut, and the labels",
        clients="take",
    )
    head: str | None = setting(
        "Model",
        None,
        "small network at the client behind its smashed data, for methods with losses of their own (cse-fsl, fsl-sage):"
        " linear, pool (the mean of each channel, then linear) or mlp:width=64; default: pool for images, else linear",
        axis=True,
        since="0.2.0",
        clients="take",
    )
    lora: str | None = setting(
        "Model",
        None,
        "train low-rank adapters in a frozen network: r=8,alpha=16,dropout=0,targets=query+value (names of layers; all,"
        " all-linear), at=both (clients, server), modules_to_save=auto (layers trained whole; auto: the last); needs"
        " sglr[lora]",
        since="0.2.0",
        clients="take",
    )
    freeze: str | None = setting(
        "Model",
        None,
        "layers that stay as they are, such as the first ones of a pretrained network: names joined by +, such as"
        " conv1+bn1+layer1",
        since="0.2.0",
        clients="take",
    )
    quantize: Literal["none", "int8", "nf4"] = setting(
        "Model",
        "none",
        "keep frozen linear layers in 8 bits (int8) or 4 (nf4); what is trained is not rounded",
        since="0.2.0",
        clients="take",
    )
    dataset: str = setting(
        "Data", "digits", "data (sglr list datasets), or folder:PATH, table:PATH, hf:NAME", basic=True
    )
    data_dir: Path | None = setting(
        "Data", None, "folder with data files; default: $SGLR_DATA_DIR", decides="nothing", clients="own"
    )
    partition: str = setting(
        "Data", "iid", "how data is divided among clients (sglr list partitioners)", basic=True, clients="take"
    )
    clients: int = setting("Data", 10, "number of clients, |C|", basic=True, clients="take", ge=1)
    samples_per_client: int | None = setting(
        "Data", None, "most samples a client owns; default: all there are", clients="take", ge=1
    )
    validation: int | float | None = setting(
        "Data",
        None,
        "samples (or share below 1) held apart for validation; default: the data set's own",
        clients="take",
        ge=0,
    )
