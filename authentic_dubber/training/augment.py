"""Recordings heard otherwise: slower, faster, or through noise, so that a voice is more than the takes it left.

A changed speed changes pitch and timbre too, as on a tape, so it makes a voice that nobody has; a line and its prompt
are changed alike. Noise is put on prompts alone: a voice is to be known through it, not to be spoken with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import soxr
import torch
from tqdm import tqdm

from authentic_dubber.speaker import SpeakerEncoder
from vocoder.mel import MelConfig, log_mel

from .cache import Cache, save_rows

Copy = Literal["slower", "faster", "noisy"]
COPIES: Final[tuple[Copy, ...]] = get_args(Copy)
SPEEDS: Final[Mapping[Copy, float]] = {"slower": 0.9, "faster": 1.1}
"""Speech over its recording; the two that speech recognition is commonly trained with (Ko et al., 2015)."""
SPEAKER_COPIES = "speaker_copies"
QUIETEST_NOISE, LOUDEST_NOISE = 30.0, 10.0
"""Decibels that the speech is above the noise."""
STEEPEST = 1.0
"""The noise's amplitude falls with frequency to a power of 0, white, up to this: red."""
LOWEST_HERTZ = 50.0
"""Below this the noise falls no further towards the low end, or it would be all rumble."""


def prepare_copies(cache: Cache, encoder: SpeakerEncoder) -> None:
    """`speaker_copies`: who is heard in each copy of the training's recordings; zero for all others, (n, 3, C)."""
    if cache.has(SPEAKER_COPIES):
        return
    vectors = np.zeros((len(cache.entries), len(COPIES), encoder.width), dtype=np.float16)
    for i in tqdm(cache.training_rows(), desc="speakers of copies", unit="clip"):
        for place, copy in enumerate(COPIES):
            vectors[i, place] = encoder.embed(copied(cache, i, copy), cache.sample_rate)
    save_rows(cache.folder, SPEAKER_COPIES, vectors)


def copied(cache: Cache, i: int, copy: Copy) -> npt.NDArray[np.float32]:
    """A recording's copy; always the same noise for the same recording.

    Shape:
        () -> (S,).
    """
    wave = cache.wave(i)
    if copy == "noisy":
        return noisy(wave, cache.sample_rate, np.random.default_rng(i))
    return np.asarray(soxr.resample(wave, SPEEDS[copy] * cache.sample_rate, cache.sample_rate), dtype=np.float32)


def spoken_as(copy: Copy | None) -> Copy | None:
    """As which copy a line itself is spoken: noise is on its prompt alone."""
    return copy if copy in SPEEDS else None


def noisy(wave: npt.NDArray[np.float32], sample_rate: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A recording with noise of a random colour, as loud against it as the dice say.

    Shape:
        (S,) -> (S,).
    """
    spectrum = np.fft.rfft(rng.standard_normal(len(wave)))
    hertz = np.maximum(np.fft.rfftfreq(len(wave), 1 / sample_rate), LOWEST_HERTZ)
    noise = np.fft.irfft(spectrum * hertz ** -rng.uniform(0, STEEPEST), n=len(wave))
    above = rng.uniform(LOUDEST_NOISE, QUIETEST_NOISE)
    level = np.sqrt(np.mean(np.square(wave, dtype=np.float64)) / np.mean(noise**2)) * 10 ** (-above / 20)
    return (wave + level * noise).astype(np.float32)


def copied_durations(durations: npt.NDArray[np.int64], frames: int) -> npt.NDArray[np.int64]:
    """Frames of each symbol when all last `frames` together: their ends move in proportion, to whole frames, and every
    symbol keeps one.

    Shape:
        (N,) -> (N,).

    Raises:
        ValueError: there are fewer frames than symbols.
    """
    count = len(durations)
    if frames < count:
        raise ValueError(f"expected a frame or more for each of {count} symbols, got {frames}")
    numbers = np.arange(count)
    ends = np.rint(np.cumsum(durations) * frames / durations.sum()).astype(np.int64)
    # No end before its predecessors' least, none so late that the rest would not fit.
    ends = np.maximum.accumulate(ends - numbers) + numbers
    ends = np.clip(ends, numbers + 1, frames - (count - 1 - numbers))
    return np.diff(ends, prepend=0)


def copied_pitch(track: npt.NDArray[np.float32], frames: int, speed: float) -> npt.NDArray[np.float32]:
    """Semitones and voicing per frame at another speed: read at the same place of the sentence, and as much higher.

    Shape:
        (T, 2) -> (frames, 2).
    """
    at = _places(len(track), frames)
    tone = np.interp(at, np.arange(len(track)), track[:, 0]) + 12 * np.log2(speed)
    return np.stack([tone, track[np.rint(at).astype(np.int64), 1]], axis=1).astype(np.float32)


def copied_lips(lips: npt.NDArray[np.float32], speed: float) -> npt.NDArray[np.float32]:
    """A mouth that moves at another speed, in as many more or fewer pictures.

    Shape:
        (L, W) -> (L', W).
    """
    if not len(lips):
        return lips
    at = _places(len(lips), max(1, round(len(lips) / speed)))
    below = np.floor(at).astype(np.int64)
    share = (at - below)[:, None].astype(np.float32)
    return lips[below] * (1 - share) + lips[np.minimum(below + 1, len(lips) - 1)] * share


@dataclass(frozen=True, slots=True)
class Recording:
    """What a batch takes from a recording or its copy.

    Shape:
        mel (T, F), durations (N,) with sum T, pitch (T, 2), lips (L, W).
    """

    mel: npt.NDArray[np.float32]
    durations: npt.NDArray[np.int64]
    pitch: npt.NDArray[np.float32]
    lips: npt.NDArray[np.float32]


class Recordings:
    """A prepared corpus's recordings and their copies, as lines and as prompts.

    Args:
        cache: with features `mel`, `durations`, `pitch`, `lips`, `speaker`, and `speaker_copies` where copies are asked
            for.
        config: of the cache's mels.
    """

    def __init__(self, cache: Cache, config: MelConfig) -> None:
        self.cache, self.config = cache, config
        self._mel, self._durations = cache.ragged("mel"), cache.ragged("durations")
        self._pitch, self._lips = cache.ragged("pitch"), cache.ragged("lips")
        self._speaker = cache.rows("speaker")
        self._copies = cache.rows(SPEAKER_COPIES) if cache.has(SPEAKER_COPIES) else None

    def frames(self) -> npt.NDArray[np.int64]:
        """Of every recording's mel, (n,)."""
        return np.diff(self._mel.offsets)

    def line(self, i: int, copy: Copy | None = None) -> Recording:
        """A recording to be learned from; it has no noise, whatever its prompt has."""
        durations, lips = self._durations[i].astype(np.int64), self._lips[i].astype(np.float32)
        pitch = self._pitch[i].astype(np.float32)
        speed = None if copy is None else SPEEDS.get(copy)
        if copy is None or speed is None:
            return Recording(self.mel(i), durations, pitch, lips)
        mel = self.mel(i, copy)
        frames = len(mel)
        return Recording(
            mel, copied_durations(durations, frames), copied_pitch(pitch, frames, speed), copied_lips(lips, speed)
        )

    def has_room(self, i: int, copy: Copy | None) -> bool:
        """Whether a copy has a frame and more for every symbol; who speaks too fast already cannot be hurried."""
        count, speed = len(self._durations[i]), 1.0 if copy is None else SPEEDS.get(copy, 1.0)
        return count < (self._mel.offsets[i + 1] - self._mel.offsets[i]) / speed - 1

    def mel(self, i: int, copy: Copy | None = None) -> npt.NDArray[np.float32]:
        """Log mel, (T, F)."""
        if copy is None:
            return self._mel[i].astype(np.float32)
        with torch.no_grad():
            wave = torch.from_numpy(copied(self.cache, i, copy))[None]
            mel: npt.NDArray[np.float32] = log_mel(wave, self.config)[0].T.numpy()
        return mel

    def speaker(self, i: int, copy: Copy | None = None) -> npt.NDArray[np.float32]:
        """Who is heard, a unit vector (C,).

        Raises:
            ValueError: a copy is asked for, and nobody listened to copies yet.
        """
        if copy is None:
            return np.asarray(self._speaker[i], dtype=np.float32)
        if self._copies is None:
            raise ValueError(f"{self.cache.folder}: expected {SPEAKER_COPIES}, see `prepare_copies`; it is not there")
        return np.asarray(self._copies[i, COPIES.index(copy)], dtype=np.float32)


def _places(there: int, wanted: int) -> npt.NDArray[np.float64]:
    """Centres of `wanted` frames on a line of `there` frames of equal duration, within it."""
    return np.clip((np.arange(wanted) + 0.5) * there / wanted - 0.5, 0, there - 1)
