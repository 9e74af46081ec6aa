"""A recording as a picture of its sound: bands of pitch over time, as images are read."""

import io
import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fphi.errors import DataError
from fphi.tasks.archive import Archive

__all__ = ["SOUND_SUFFIXES", "SoundReader", "log_mel", "read_wave"]

SOUND_SUFFIXES = (".wav", ".wave")

_WINDOW, _HOP = 0.025, 0.010  # seconds
_LOWEST, _HIGHEST = 60.0, 8000.0
"""Hz of the bands; at most half the sampling rate."""
_RANGE = 60.0
"""Decibels below the loudest that are told apart; what is softer is as black as silence."""
_SILENT = 40.0
"""Decibels below the loudest moment: what is softer at both ends is cut off."""
_LONGEST = 3600
"""Seconds of a recording that is read."""
_AT_ONCE = 2048
"""Windows that are transformed at once, so that an hour needs little more memory than its samples."""


def read_wave(content: bytes, name: str) -> tuple[NDArray[np.float32], int]:
    """The samples ``[n]`` in -1..1 of a WAV file, its channels averaged, and samples per second.

    Raises:
        DataError: it is no whole WAV file of plain samples, or holds no sound.
    """
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of chunks that hold no samples, which are passed over
            rate, samples = wavfile.read(io.BytesIO(content))
    except Exception as error:  # what a damaged file raises has no class of its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{name} is no readable WAV file ({reason}); replace or remove it") from error
    values = _as_floats(np.asarray(samples))
    if values.ndim == 2:
        values = values.mean(1)
    if not 1000 <= rate <= 400_000 or not 0 < len(values) <= _LONGEST * rate:
        raise DataError(
            f"{name} has {len(values)} samples at {rate} a second; give up to an hour, at 1,000 or more"
        )
    if not np.isfinite(values).all():
        raise DataError(f"{name} has samples that are not finite; replace or remove it")
    return values.astype(np.float32), int(rate)


def _as_floats(samples: NDArray[np.generic]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = samples.astype(np.float64)
    if samples.dtype == np.uint8:
        values -= 128
        values /= 128
    elif samples.dtype.kind == "i":
        values /= 2.0 ** (8 * samples.itemsize - 1)
    return values


def log_mel(wave: NDArray[np.float32], rate: int, bands: int, frames: int) -> NDArray[np.float32]:
    """The loudness ``[bands, frames]`` in 0..1 of each band of pitch over the time of a recording.

    Power spectra of 25 ms every 10 ms (Hann), bands equal in mel between 60 Hz and half the sampling rate (at
    most 8 kHz), decibels below the loudest: 1 is as loud as that, 0 is 60 dB softer or more. Silence at both
    ends is cut off, and time is stretched to the number of frames. The lowest band is the last row.

    Args:
        wave: samples ``[n]``.
        rate: samples per second.
        bands: rows.
        frames: columns.
    """
    power = _power(wave, rate, bands)
    loudness = power.sum(1)
    loud = np.flatnonzero(loudness >= loudness.max() * 10 ** (-_SILENT / 10))
    power = power[loud[0] : loud[-1] + 1] if len(loud) else power
    top = power.max()
    if top <= 0:
        return np.zeros((bands, frames), dtype=np.float32)
    decibels = 10 * np.log10(np.maximum(power / top, 10 ** (-_RANGE / 10)))
    picture = _stretched(1 + decibels / _RANGE, frames)
    return np.ascontiguousarray(picture.T[::-1]).astype(np.float32)


def _power(wave: NDArray[np.float32], rate: int, bands: int) -> NDArray[np.float64]:
    """Power ``[time, bands]``; a recording shorter than a window is filled up with silence."""
    window, hop = max(int(_WINDOW * rate), 8), max(int(_HOP * rate), 1)
    wave = np.pad(wave, (0, window - len(wave))) if len(wave) < window else wave
    pieces = np.lib.stride_tricks.sliding_window_view(wave, window)[::hop]
    weights = _bands(rate, bands).T
    # The rest goes with the last: a product of a few rows may be summed in another order.
    starts = range(0, max(len(pieces) - _AT_ONCE + 1, 1), _AT_ONCE)
    ends = [*starts[1:], len(pieces)]
    return np.concatenate(
        [_spectra(pieces[i:j], window) @ weights for i, j in zip(starts, ends, strict=True)]
    )


def _spectra(pieces: NDArray[np.float32], window: int) -> NDArray[np.float64]:
    """Power ``[time, frequency]`` of windows ``[time, window]``."""
    spectrum = np.fft.rfft(pieces * np.hanning(window), n=_fft_size(window), axis=1)
    return np.square(np.abs(spectrum))


def _fft_size(window: int) -> int:
    return 1 << math.ceil(math.log2(window))


def _bands(rate: int, bands: int) -> NDArray[np.float64]:
    """Weights ``[bands, frequency]``: triangles whose feet are the tops of their neighbours."""
    frequencies = np.fft.rfftfreq(_fft_size(max(int(_WINDOW * rate), 8)), 1 / rate)
    lowest, highest = _mel(_LOWEST), _mel(min(_HIGHEST, rate / 2))
    tops = 700 * (10 ** (np.linspace(lowest, highest, bands + 2) / 2595) - 1)
    left, top, right = tops[:-2, None], tops[1:-1, None], tops[2:, None]
    rising, falling = (frequencies - left) / (top - left), (right - frequencies) / (right - top)
    weights: NDArray[np.float64] = np.maximum(np.minimum(rising, falling), 0)
    # A band narrower than the spectrum's steps hears the nearest of them.
    nearest = np.abs(frequencies - top).argmin(1)
    empty = weights.sum(1) == 0
    weights[np.flatnonzero(empty), nearest[empty]] = 1
    weights /= weights.sum(1, keepdims=True)
    return weights


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _stretched(values: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """``[time, bands]`` at ``frames`` moments; where several fall into one, their mean."""
    edges = np.linspace(0, len(values), frames + 1)
    sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(0)])
    places = np.arange(len(sums))
    at = np.stack([np.interp(edges, places, band) for band in sums.T], 1)
    stretched: NDArray[np.float64] = np.diff(at, axis=0) / np.diff(edges)[:, None]
    return stretched


class SoundReader:
    """Reads the recordings of a data set as square pictures of their sound, 0 to 255; see `log_mel`.

    Args:
        archive: where the files are.
        size: bands of pitch, and moments.
    """

    def __init__(self, archive: Archive, size: int) -> None:
        self.archive, self.size = archive, size

    def read(self, name: str) -> NDArray[np.uint8]:
        """Return one recording ``[1, size, size]``."""
        wave, rate = read_wave(self.archive.read(name), self.archive.where(name))
        picture: NDArray[np.uint8] = np.rint(255 * log_mel(wave, rate, self.size, self.size)).astype(np.uint8)
        return picture[None]

    def stacked(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return pictures that `read` gave as one array."""
        return np.stack(pictures)

    @property
    def notes(self) -> list[str]:
        """What a user should know of how the recordings were read."""
        return [f"recordings are read as pictures of {self.size} bands of pitch over {self.size} moments"]
