"""Log-mel spectrograms: how strong each band of frequencies is, as the ear hears them, window by window."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sglr.data.audio.schema import AudioSchema

QUIETEST = 1e-10
"""Power below which all is silence: -100 dB of the loudest."""


def log_mel(wave: NDArray[np.float32], schema: AudioSchema) -> NDArray[np.float32]:
    """Return the log-mel spectrogram of a wave, ``[bands, windows]``, with mean 0 and variance 1 over the recording.

    The power spectrum of Hann windows, summed by triangles that are equally wide in mel = 2595 log10(1 + f / 700)
    (HTK), from 0 Hz to half the rate.

    Parameters
    ----------
    wave
        Samples ``[samples]`` in [-1, 1].
    schema
        Its rate, windows and bands.
    """
    from scipy.fft import rfft
    from scipy.signal.windows import hann

    size = 2 * 2 ** (schema.window - 1).bit_length()
    windows = sliding_window_view(wave, schema.window)[:: schema.step] * hann(schema.window, sym=False)
    power = np.abs(rfft(windows, size, axis=1)) ** 2
    levels = np.log(np.maximum(power @ mel_filters(schema.mel_bands, size, schema.rate).T, QUIETEST)).T
    spread = levels.std()
    return np.asarray((levels - levels.mean()) / (spread if spread > 0 else 1.0), dtype=np.float32)


@cache
def mel_filters(bands: int, size: int, rate: int) -> NDArray[np.float64]:
    """Return the weights of a Fourier transform's frequencies in each band, ``[bands, size // 2 + 1]``."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2) / 2595) - 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    frequencies = np.linspace(0, rate / 2, size // 2 + 1)
    return np.maximum(0, np.minimum((frequencies - low) / (middle - low), (high - frequencies) / (high - middle)))
