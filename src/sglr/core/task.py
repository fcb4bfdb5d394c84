"""A task: what a network learns, as a loss of each sample and as scores that are sums over samples.

The loss stays one value per sample, so that δ_i, SplitAvg and every method hold for every task. Scores are made of
sums, so that they don't depend on how samples were cut into clients, batches and messages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from sglr.core.errors import UsageError

if TYPE_CHECKING:  # data know what their targets are
    from sglr.core.data import ClientData

Sums = Mapping[str, Tensor]
"""What a task adds up over samples, by name: of every client ``[n, ...]``, or, if named in `Task.pooled`, of all."""


@dataclass(frozen=True)
class Targets:
    """What the targets of a data set are.

    Parameters
    ----------
    names
        The names of the classes, if targets are class numbers; else those of the values of one target, such as
        outcomes or findings, as far as they have names.
    shape
        Of one sample's target: ``()`` for one number, ``(14,)`` for 14 findings, ``(224, 224)`` for a mask.
    dtype
        ``"int64"`` or ``"uint8"`` for numbers of classes or tokens, or ``"float32"`` for measurements.
    classes
        K, if a target's numbers are 0 to K - 1 (2 for findings that are present or absent, the vocabulary for tokens);
        0 for measurements.
    units
        Mean and standard deviation of each measurement that all who hold data agreed on, as by a schema; empty where
        they did not.
    """

    names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: Literal["int64", "uint8", "float32"] = "int64"
    classes: int = 0
    units: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of_classes(cls, names: tuple[str, ...]) -> Self:
        """Return those of a data set whose samples each have one class."""
        return cls(names, classes=len(names))

    @property
    def are_classes(self) -> bool:
        """True if each sample has one class."""
        return self.shape == () and self.classes > 0

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type of the tensor; measurements have torch's default, in which the laws are tested too."""
        return torch.get_default_dtype() if self.dtype == "float32" else getattr(torch, self.dtype)

    @property
    def bytes(self) -> int:
        """Bytes of one sample's target."""
        values = 1
        for length in self.shape:
            values *= length
        return values * self.torch_dtype.itemsize

    def example(self) -> Tensor:
        """Return one sample's target, all zeros, ``[1, ...]``."""
        return torch.zeros(1, *self.shape, dtype=self.torch_dtype)

    def describe(self) -> str:
        """Return what they are in a few words, for messages."""
        what = f"class numbers of {self.classes} classes" if self.classes else "measurements"
        return f"{what}, {'one' if self.shape == () else list(self.shape)} per sample"


class Task(ABC):
    """What a network learns. A task is a frozen dataclass; its fields are its parameters, each a flag.

    Shapes: N samples of several clients one after another; n clients with m samples each; K values that the network
    gives; ``...`` further dimensions, such as positions of a text or pixels.

    Attributes
    ----------
    headline
        The score that tells how good a network is: it chooses the best epoch, and stands first in reports.
    higher_is_better
        Whether more of it is better.
    pooled
        Names of sums that are of all clients together: figures are made of them, and no scores.
    counts_classes
        Whether its sums are those of `sglr.core.scores.ClassCounts`, so that the summary tells figures of each class.
    label_kind
        What label columns hold where the user does not say: classes, findings (present or absent) or numbers;
        ``"auto"`` for what is certain.
    """

    headline: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    pooled: ClassVar[frozenset[str]] = frozenset()
    counts_classes: ClassVar[bool] = False
    label_kind: ClassVar[Literal["auto", "classes", "findings", "numbers"]] = "auto"

    @abstractmethod
    def check(self, targets: Targets) -> None:
        """Refuse targets that don't fit the task.

        Raises
        ------
        UsageError
            If they don't; the remedy names a task that fits, or a parameter.
        """

    @abstractmethod
    def outputs(self, targets: Targets) -> int:
        """Return K, how many values the network gives for a sample (or for each pixel or position)."""

    def output_shape(self, targets: Targets) -> tuple[int, ...]:
        """Return the shape of the network's output for one sample."""
        return (self.outputs(targets),)

    def prior_shift(self, log_priors: Tensor) -> Tensor:
        """Return what the logs of class frequencies ``[..., K]`` add to the outputs, ``[..., *output_shape]``.

        By default themselves, for outputs that are one logit per class. Label frequencies can be taken out of the
        losses of a task where this has the shape of its outputs.
        """
        return log_priors

    def fitted(self, data: ClientData) -> Self:
        """Return the task with what it takes from the data, such as the weights of classes; by default, nothing."""
        del data
        return self

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the training loss of every sample, ``[N]``, from outputs ``[N, ...]`` and targets ``[N, ...]``."""

    def test_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every sample that is reported of held-out samples, ``[N]``: by default, as in training."""
        return self.losses(outputs, targets)

    @property
    def ignored(self) -> frozenset[int]:
        """Numbers in targets, beyond the classes, that mark what does not count; by default, none."""
        return frozenset()

    def hits(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Return how far every sample is right, ``[N]`` in [0, 1]; None (the default) where none is right or wrong."""
        del outputs, targets
        return None

    @abstractmethod
    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return what scores are made of, added up over samples.

        Parameters
        ----------
        outputs
            Of m samples through the segments of every one of n clients, ``[n, m, ...]``.
        targets
            Theirs, ``[m, ...]``.

        Returns
        -------
        dict of Tensor
            ``[n, ...]`` each, or without the first dimension if named in `pooled`.
        """

    @abstractmethod
    def scores(self, sums: Sums) -> dict[str, Tensor]:
        """Return every client's scores ``[n]`` by name; the headline comes first."""

    def figures(self, sums: Sums, targets: Targets) -> dict[str, Any]:
        """Return what the summary tells of a test beside scores, such as curves: values that JSON can hold."""
        del sums, targets
        return {}

    def calibrated(self, sums: Sums) -> Self:
        """Return the task with what is chosen by the validation's sums, such as a threshold; by default, nothing."""
        del sums
        return self

    def decided(self, test: Mapping[str, Any]) -> Self:
        """Return the task with what was chosen on validation samples, as a test's figures tell; by default, nothing."""
        del test
        return self

    def predictions(self, outputs: Tensor, targets: Targets) -> dict[str, Tensor | list[str]]:
        """Return what a table of predictions tells of each sample, by column; by default, the outputs.

        Parameters
        ----------
        outputs
            Of N samples, ``[N, ...]``.
        targets
            What targets are.

        Returns
        -------
        dict of Tensor or list of str
            N values each: one per sample, ``[N]``, or several, ``[N, ...]``.
        """
        del targets
        return {"output": outputs}

    def classes_of(self, targets: Tensor) -> Tensor | None:
        """Return the class of every sample, int64 ``[N]``; None (the default) where samples have no single class."""
        del targets
        return None


class Serves(StrEnum):
    """Which tasks an attack, a measure or a defence serves, in the words of messages."""

    ANY = "any task"
    CLASSES = "tasks in which each sample has one class"
    CLASSIFICATION = "the task classification"

    def fit(self, task: Task, targets: Tensor) -> bool:
        """Tell whether a task with such targets ``[N, ...]`` is one of them."""
        if self is Serves.CLASSIFICATION:
            return task.counts_classes
        return self is Serves.ANY or task.classes_of(targets) is not None

    def require(self, field: str, value: object, task: Task, targets: Tensor) -> None:
        """Refuse a task that is none of them.

        Raises
        ------
        UsageError
            If it is none; ``field`` and ``value`` name what does not serve it.
        """
        if not self.fit(task, targets):
            problem = f"it serves {self}, and the network learns {type(task).__name__.lower()}"
            raise UsageError(field, value, problem, "leave it out, or choose one that serves any task")


def score_names(task: Task, targets: Targets) -> list[str]:
    """Return the names of a task's scores, the headline first, found on two made-up samples."""
    outputs = torch.zeros(1, 2, *task.output_shape(targets))
    return list(task.scores(task.sums(outputs, targets.example().repeat_interleave(2, 0))))


def class_columns(predicted: Tensor, probabilities: Tensor, names: Sequence[str]) -> dict[str, Tensor | list[str]]:
    """Return columns of predictions: the class ``[N]`` by its name, and each class's probability ``[N, K]``."""
    columns: dict[str, Tensor | list[str]] = {"class": [names[number] for number in predicted.tolist()]}
    return columns | {f"probability_{name}": probabilities[:, place] for place, name in enumerate(names)}


def refuse_targets(task: str, targets: Targets, problem: str, remedy: str) -> UsageError:
    """Return the error for targets that don't fit a task."""
    return UsageError("task", task, f"{problem}; the targets are {targets.describe()}", remedy)
