"""Recordings of your own: audio:PATH names a folder with one subfolder of recordings for each class."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from sglr.core.data import Dataset
from sglr.data.audio.read import RECORDINGS, RecordingReader
from sglr.data.audio.schema import AudioSchema
from sglr.data.class_folders import find_files
from sglr.data.described import Described
from sglr.data.file_samples import OnBad, read_files
from sglr.data.formats.files import resolve
from sglr.data.new_files import new_file_samples
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.system.extras import optional, require
from sglr.system.machine import refuse_beyond_memory

__all__ = ["Audio"]


@dataclass(frozen=True)
class Audio(Described):
    """Recordings of one length, as waves or log-mel spectrograms; parts and classes as for pictures."""

    rate: int = field(
        default=16_000, metadata={"help": "samples per second; others are resampled", "by_run": True, "since": "0.2.0"}
    )
    seconds: float = field(
        default=1.0,
        metadata={
            "help": "length of an input; longer recordings are cut, shorter ones padded with silence",
            "by_run": True,
            "since": "0.2.0",
        },
    )
    features: Literal["wave", "mel"] = field(
        default="wave",
        metadata={"help": "the wave itself, or its log-mel spectrogram", "by_run": True, "since": "0.2.0"},
    )
    mel_bands: int = field(
        default=64, metadata={"help": "bands of a log-mel spectrogram", "by_run": True, "since": "0.2.0"}
    )
    on_bad: OnBad = field(
        default="error",
        metadata={"help": "what to do with unreadable recordings", "since": "0.2.0"},
    )

    schema_type: ClassVar[type[AudioSchema]] = AudioSchema

    def load(self, data_dir: Path | None) -> Dataset:
        """Read the recordings and hold out test recordings.

        Raises
        ------
        UsageError
            If soundfile is missing, a folder is missing or empty, or a recording can't be read.
        """
        root, soundfile = resolve("audio", self.path, data_dir), _soundfile()
        agreed = self.agreed(AudioSchema)
        found = find_files(root, RECORDINGS, self.classes if agreed is None else agreed.classes)
        schema = agreed or self.stated(AudioSchema, classes=found.classes)
        what = f"{found.number} recordings with {prod(schema.input_shape)} values each"
        needed = found.number * prod(schema.input_shape) * 8
        refuse_beyond_memory(needed, "seconds", schema.seconds, what, "give fewer seconds, or a lower rate")
        reader = RecordingReader(schema, soundfile)
        read = read_files(found, reader.read, self.on_bad)
        samples = torch.from_numpy(np.stack(read.values)), torch.from_numpy(read.labels)
        rows = read.divided(self.test_fraction, self.split_seed, self.group)
        return self.dataset(schema, samples, rows, read.columns, [*read.notes, *reader.notes])

    def read_new(self, trained: TrainedOn) -> NewSamples:
        """Read recordings by the schema of the training; they need no folders of classes.

        Raises
        ------
        UsageError
            If soundfile is missing, there are no recordings, or one can't be read.
        """
        reader = RecordingReader(AudioSchema.from_json(trained.encoding), _soundfile())
        root = resolve("audio", self.path, None)
        found = new_file_samples(root, RECORDINGS, trained.targets.names, reader.read, self.on_bad)
        return replace(found, notes=(*found.notes, *reader.notes))


def _soundfile() -> Any:
    require("audio", "dataset", "audio")
    return optional("soundfile", "audio", "dataset", "audio")
