"""Read recordings with soundfile: mixed to one channel, resampled to one rate, cut or padded to one length."""

from __future__ import annotations

from collections import Counter
from math import ceil, gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sglr.data.audio.mel import log_mel
from sglr.data.audio.schema import AudioSchema
from sglr.data.class_folders import FileKind, SampleFile

RECORDINGS = FileKind(
    "recordings", (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64", ".caf")
)
"""Files of recordings."""


class RecordingReader:
    """Reads recordings alike, and counts what was done to them.

    Parameters
    ----------
    schema
        How they become inputs.
    soundfile
        The package.
    """

    def __init__(self, schema: AudioSchema, soundfile: Any) -> None:
        self._schema, self._soundfile = schema, soundfile
        self._seen, self._mixed, self._cut, self._padded = 0, 0, 0, 0
        self._rates: Counter[int] = Counter()

    def read(self, file: SampleFile) -> NDArray[np.float32]:
        """Return a recording as an input.

        Raises
        ------
        ValueError
            If it has no samples, or one is not finite; soundfile raises further errors.
        """
        with self._soundfile.SoundFile(file.file) as recording:
            rate, frames = recording.samplerate, recording.frames
            # What is cut off later need not be read.
            values = recording.read(ceil(self._schema.samples * rate / self._schema.rate), "float32", always_2d=True)
        if not len(values):
            raise ValueError("it has no samples")
        if not np.isfinite(values).all():
            raise ValueError("it has values that are not finite")
        self._count(rate, frames, values.shape[1])
        wave = self._fitted(_resampled(values.mean(axis=1), rate, self._schema.rate))
        return wave[None] if self._schema.features == "wave" else log_mel(wave, self._schema)[None]

    @property
    def notes(self) -> list[str]:
        """What was done, a sentence each."""
        told = {
            f"were longer than {self._schema.seconds:g} seconds, and only their beginning is used": self._cut,
            f"were shorter than {self._schema.seconds:g} seconds, and are padded with silence": self._padded,
            "have several channels, of which the mean is used": self._mixed,
            f"were resampled to {self._schema.rate} Hz, from {_rates(self._rates)}": self._rates.total(),
        }
        return [f"{count} of {self._seen} recordings {what}" for what, count in told.items() if count]

    def _count(self, rate: int, frames: int, channels: int) -> None:
        seconds, wanted = frames / rate, self._schema.seconds
        self._seen += 1
        self._mixed += channels > 1
        self._cut += seconds > wanted
        self._padded += seconds < wanted
        if rate != self._schema.rate:
            self._rates[rate] += 1

    def _fitted(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        wave = wave[: self._schema.samples]
        return np.pad(wave, (0, self._schema.samples - len(wave))).astype(np.float32)


def _resampled(wave: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """Return a wave at another rate, low-pass filtered (polyphase, Kaiser window)."""
    if rate == wanted:
        return wave
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    return np.asarray(resample_poly(wave, wanted // common, rate // common), dtype=np.float32)


def _rates(found: Counter[int]) -> str:
    return ", ".join(f"{rate} Hz" for rate, _ in found.most_common(3))
