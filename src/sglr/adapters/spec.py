"""The setting ``lora``: which layers get adapters of which rank, and what else is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self

from sglr.core.errors import UsageError
from sglr.core.spec import Spec, options_of
from sglr.system.extras import require

EVERY, EVERY_LINEAR = "all", "all-linear"
"""What stands for all layers that can be adapted, and for all linear ones."""

AUTO, NONE = "auto", "none"
"""What stands for the model's last layer, and for no layer."""


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters: a layer gives W x + (alpha / r) B A x, of which A and B are trained (Hu et al., 2021).

    Parameters
    ----------
    r
        The rank: A has r rows, B has r columns.
    alpha
        Numerator of the factor of an adapter's output.
    dropout
        Share of an adapter's inputs that are dropped in training.
    targets
        Names of layers joined by ``+``, each the whole name or its end; ``all`` or ``all-linear``.
    at
        Whose layers get adapters and are frozen; the other party's are trained as without adapters.
    modules_to_save
        Layers that are trained whole, named like ``targets``; ``auto`` or ``none``.
    text
        The setting as it was written, for messages.
    """

    r: int = field(default=8, metadata={"help": "rank"})
    alpha: float = field(default=16.0, metadata={"help": "an adapter's output is multiplied by alpha / r"})
    dropout: float = field(default=0.0, metadata={"help": "share of its inputs dropped in training"})
    targets: str = field(default=EVERY, metadata={"help": "names of layers joined by +, or all, or all-linear"})
    at: Literal["clients", "server", "both"] = field(default="both", metadata={"help": "whose layers"})
    modules_to_save: str = field(
        default=AUTO, metadata={"help": "layers trained whole, joined by +; none; or auto: the last layer"}
    )
    text: str = field(default="", init=False)

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read the setting ``r=8,alpha=16,targets=query+value``; None if it is none.

        Raises
        ------
        UsageError
            If an option is unknown or has an invalid value, or peft is not installed.
        """
        if text is None:
            return None
        _refuse_commas(text)
        found = cls(**_named_alike(Spec.parse_options("lora", text).options(options_of(cls))))
        object.__setattr__(found, "text", text)
        found._check()
        require("lora", "lora", text)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The layers to adapt as the user names them; empty for all."""
        return () if self.targets in (EVERY, EVERY_LINEAR) else _parts(self.targets)

    @property
    def saved(self) -> tuple[str, ...]:
        """The layers to train whole as the user names them."""
        return () if self.modules_to_save in (AUTO, NONE) else _parts(self.modules_to_save)

    def error(self, problem: str, remedy: str) -> UsageError:
        """Return an error of this setting."""
        return UsageError("lora", self.text, problem, remedy)

    def _check(self) -> None:
        if self.r < 1:
            raise self.error(f"an adapter of rank {self.r} has no weights", "give r=1 or more, such as r=8")
        if not 0 < self.alpha < float("inf"):
            problem = f"alpha = {self.alpha:g} is no positive number"
            raise self.error(problem, "give such as alpha=16")
        if not 0 <= self.dropout < 1:
            problem = f"dropout = {self.dropout:g} is no share of an adapter's inputs"
            raise self.error(problem, "give 0, or less than 1, such as dropout=0.05")
        for option, names in (("targets", self.targets), ("modules_to_save", self.modules_to_save)):
            if not _parts(names):
                raise self.error(f"{option} names no layer", f"give {option}=NAME+NAME, or leave it out")


def _refuse_commas(text: str) -> None:
    """Refuse names of layers that are joined by commas, which join options."""
    key, names = "", list[str]()
    for word in (word.strip() for word in text.split(",")):
        if "=" in word:
            if len(names) > 1:
                break
            key, _, value = word.partition("=")
            names = [value]
        elif key.strip() in ("targets", "modules_to_save"):
            names.append(word)
    if len(names) > 1:
        raise UsageError("lora", text, f"{names[1]!r} is not key=value", f"join names by +: {key}={'+'.join(names)}")


def _named_alike(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value.strip() if isinstance(value, str) else value for name, value in options.items()}


def _parts(names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (name.strip() for name in names.split("+")))))
