"""The sound of a pack: recordings laid end to end in a few Opus files, and cut apart again at the very sample.

Opus (RFC 6716) starts late by a pre-skip and ends on whole frames; its Ogg mapping (RFC 7845) writes both down, and
what wrote and what reads here keep to it, so a recording comes back where it was put. Only its samples are approximate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from library_builder.media import read_wave
from library_builder.types import Hertz, Seconds

Wave = npt.NDArray[np.float32]

OPUS_RATE: Hertz = 24_000
"""The lowest of Opus's rates that keeps all a prepared corpus holds."""
LONGEST: Seconds = 600.0
"""A strip is closed when it is this long: decoded whole, at Opus's own 48 kHz, it takes a quarter of a gigabyte."""
GAP: Seconds = 0.02
"""Silence behind every recording, one Opus frame, so that none is heard in its neighbour."""
LEAST_KBPS, MOST_KBPS = 6.0, 256.0
"""What Opus is told as a level of compression from 1 to 0."""


def gap_samples(sample_rate: Hertz) -> int:
    return round(GAP * sample_rate)


def plan_strips(lengths: Sequence[int], sample_rate: Hertz) -> list[int]:
    """How many recordings each strip holds, in order.

    Args:
        lengths: samples of each recording.
    """
    counts: list[int] = []
    filled = 0
    for length in lengths:
        if not counts or filled >= LONGEST * sample_rate:
            counts.append(0)
            filled = 0
        counts[-1] += 1
        filled += length + gap_samples(sample_rate)
    return counts


def check_kbps(kbps: float) -> float:
    """A bit rate that Opus can be asked for, handed back as it is.

    Raises:
        ValueError: it cannot.
    """
    if not LEAST_KBPS <= kbps <= MOST_KBPS:
        raise ValueError(f"expected {LEAST_KBPS:g} to {MOST_KBPS:g} kbit/s, got {kbps:g}")
    return kbps


def write_strip(path: Path, waves: Iterable[Wave], sample_rate: Hertz, kbps: float) -> None:
    """Write recordings, each followed by a gap, as one mono Ogg Opus file.

    Args:
        waves: each (S,), full scale at one.
        kbps: kilobits per second; Opus keeps it on average.

    Raises:
        ValueError: the bit rate is out of Opus's range.
    """
    import soundfile

    level = (MOST_KBPS - check_kbps(kbps)) / (MOST_KBPS - LEAST_KBPS)
    silence = np.zeros(gap_samples(sample_rate), dtype=np.float32)
    strip = np.concatenate([part for wave in waves for part in (wave, silence)])
    sound = soxr.resample(strip, sample_rate, OPUS_RATE, quality="HQ")
    with soundfile.SoundFile(path, "w", OPUS_RATE, 1, format="OGG", subtype="OPUS", compression_level=level) as file:
        # A second at a time: the encoder keeps what it is handed at once on its stack.
        for start in range(0, len(sound), OPUS_RATE):
            file.write(sound[start : start + OPUS_RATE])


def read_strip(path: Path, lengths: Sequence[int], sample_rate: Hertz) -> list[Wave]:
    """The recordings of a strip, each of its own length.

    Args:
        lengths: samples of each recording at `sample_rate`, as they were written.

    Shape:
        -> (S,) each.

    Raises:
        ValueError: the file holds less sound than that.
        library_builder.media.MediaError: it cannot be decoded.
    """
    sound = read_wave(path, sample_rate=sample_rate)
    ends = list(accumulate(length + gap_samples(sample_rate) for length in lengths))
    # Rounding to another rate and back may take a sample or two off the last gap, which nobody needs whole.
    if ends and len(sound) < ends[-1] - gap_samples(sample_rate) // 2:
        raise ValueError(f"{path}: expected {ends[-1]} samples of sound, got {len(sound)}")
    starts = [0, *ends[:-1]]
    return [sound[start : start + length] for start, length in zip(starts, lengths, strict=True)]
