"""New samples for a network that is trained: read as its training data were, with or without targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from torch import Tensor

from sglr.core.data import Dataset, Inputs, Samples
from sglr.core.data_checks import check_finite
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.wanted_targets import with_targets


@dataclass(frozen=True)
class TrainedOn:
    """What a network was trained on.

    Parameters
    ----------
    input_shape, dtype
        Of one input; the type by torch's name.
    targets
        What its targets were.
    encoding
        How stored values became inputs, as in `sglr.core.data.Dataset`.
    tokenizer
        The file of the tokenizer that the run keeps; empty if there is none.
    """

    input_shape: tuple[int, ...]
    dtype: str
    targets: Targets
    encoding: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: str = ""


@dataclass(frozen=True)
class NewSamples:
    """Samples that a network is asked about.

    Parameters
    ----------
    inputs
        ``[N, ...]``.
    ids
        What each sample is called in a table of predictions: the name of its file, or its row, counted from 1.
    targets
        ``[N, ...]``, numbered as in training; None where they are not known.
    notes
        What the user should know, a sentence each.
    """

    inputs: Inputs
    ids: tuple[str, ...]
    targets: Tensor | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of_test(cls, dataset: Dataset, trained: TrainedOn, source: str) -> Self:
        """Return the test samples of a data set.

        Raises
        ------
        UsageError
            If its targets are not those of the training.
        """
        own = with_targets(dataset, trained.targets, source)
        note = f"{source} has parts: these are its {len(own.test)} test samples"
        return cls(own.test.inputs, numbered(len(own.test)), own.test.targets, (note,))

    @classmethod
    def of_samples(cls, samples: Samples) -> Self:
        """Return samples whose targets are numbered already."""
        return cls(samples.inputs, numbered(len(samples)), samples.targets)

    def __len__(self) -> int:
        return len(self.inputs)

    def checked(self, trained: TrainedOn, source: str) -> Self:
        """Return the samples, if the network can read them.

        Raises
        ------
        UsageError
            If there are none, or inputs have another shape or type, or one is not finite.
        """
        if not len(self.inputs):
            raise UsageError("data", source, "has no samples", "give at least one")
        if tuple(self.inputs.shape[1:]) != trained.input_shape:
            found, wanted = (",".join(map(str, shape)) for shape in (self.inputs.shape[1:], trained.input_shape))
            problem = f"its inputs have shape {found}, those that the network was trained on {wanted}"
            raise UsageError("data", source, problem, "give data of that kind")
        found = str(self.inputs.dtype).removeprefix("torch.")
        if found != trained.dtype:
            problem = f"its inputs are {found}, those that the network was trained on {trained.dtype}"
            raise UsageError("data", source, problem, "give data of that type")
        check_finite("inputs", self.inputs)
        return self

    def called(self, ids: Sequence[str]) -> Self:
        """Return the samples with other ids."""
        return replace(self, ids=tuple(ids))


class ReadsNew(Protocol):
    """A data set that reads new data by what a run recorded; others are read with their targets (`read_new`)."""

    def read_new(self, trained: TrainedOn) -> NewSamples:
        """Read the files that the data set names; targets are None where there are none."""


def numbered(count: int) -> tuple[str, ...]:
    """Return ids of rows, counted from 1."""
    return tuple(map(str, range(1, count + 1)))
