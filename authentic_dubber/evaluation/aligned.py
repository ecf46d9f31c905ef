"""A clip and the recording of the same text, laid along each other in time: one alignment for spectrum and for pitch.

Rests at both ends are cut off both first. Else a recording with a second of silence before it would be compared with a
dub that begins at once, and silence that matches silence would make any voice look near.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import librosa
import numpy as np
import numpy.typing as npt
import soxr

from authentic_dubber.levels import trimmed_span
from library_builder.voice import SHORTEST, SILENCE_DBFS

from .gathering import Unmeasurable
from .measured import Sample, Wave
from .mel_cepstrum import SAMPLE_RATE, Track, mel_cepstra

Path: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """Two waves at `mel_cepstrum.SAMPLE_RATE`, without rests at their ends.

    Attributes:
        wave: of the clip, (S,).
        reference: the recording, (S',).
        cepstra: of the clip, (T, M + 1).
        reference_cepstra: (T', M + 1).
        path: frames that belong together, clip first, in order of time, (P, 2).
    """

    wave: Wave
    reference: Wave
    cepstra: Track
    reference_cepstra: Track
    path: Path

    @property
    def stretch(self) -> float:
        """The longer over the shorter, 1 or more."""
        lengths = len(self.cepstra), len(self.reference_cepstra)
        return max(lengths) / min(lengths)


def align(sample: Sample) -> Aligned:
    """Align a clip with its recording by the shape of the spectrum, whatever their levels.

    Raises:
        Unmeasurable: there is no recording, or one of the two is silent, too short, not mono or not finite.
    """
    if sample.reference is None:
        raise Unmeasurable("no recording of the same text by the same voice")
    wave = sounding(sample.wave, sample.sample_rate)
    try:
        reference = sounding(sample.reference, sample.sample_rate)
    except Unmeasurable as reason:
        raise Unmeasurable(f"recording: {reason}") from reason
    own, other = mel_cepstra(wave), mel_cepstra(reference)
    return Aligned(wave, reference, own, other, warping_path(own[:, 1:], other[:, 1:]))


def sounding(wave: npt.NDArray[np.floating], sample_rate: int) -> Wave:
    """A wave at `mel_cepstrum.SAMPLE_RATE` without rests at its ends.

    Shape:
        (S,) -> (S',).

    Raises:
        Unmeasurable: it is silent, too short, not mono or not finite.
    """
    if wave.ndim != 1 or not np.isfinite(wave).all():
        raise Unmeasurable(f"expected a finite mono wave (S,), got shape {wave.shape}, or samples that are not finite")
    if len(wave) < SHORTEST * sample_rate:
        raise Unmeasurable(f"expected {SHORTEST} s or more, got {len(wave) / sample_rate:.2f} s")
    if float(np.abs(wave).max()) < 10 ** (SILENCE_DBFS / 20):
        raise Unmeasurable(f"silent: nothing reaches {SILENCE_DBFS:.0f} dBFS")
    first, last = trimmed_span(wave, sample_rate)
    # Resampled after the cut: it is made where the recording's own samples say, for any rate.
    return np.asarray(soxr.resample(wave[first:last].astype(np.float32), sample_rate, SAMPLE_RATE), dtype=np.float32)


def warping_path(one: Track, other: Track) -> Path:
    """Dynamic time warping (Sakoe and Chiba, 1978): the pairs of frames with the least sum of Euclidean distances.

    Steps are one frame in either or in both, all of weight one; the path is exact, where the published tool uses an
    approximation. Needs memory for T T' distances.

    Shape:
        (T, D), (T', D) -> (P, 2), from (0, 0) to (T - 1, T' - 1).
    """
    _, backward = librosa.sequence.dtw(one.T, other.T)
    return np.asarray(backward[::-1], dtype=np.int64)
