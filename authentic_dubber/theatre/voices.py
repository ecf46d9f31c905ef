"""Voices of the puppets: a speech synthesizer acted by rule, one base voice per character, bent by the feeling.

Nobody recorded these voices and no actor performed them; whatever carries them should carry `LICENCE` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .puppet import LABELS, Feeling, Label, Puppet

Wave = npt.NDArray[np.float32]

LICENCE = "synthetic; espeak-ng voices acted by rule"


class Speaker(Protocol):
    """What is asked of a synthesizer; `authentic_dubber.espeak.Espeak` is one.

    `speak` gives mono samples (S,) and their rate in hertz; rate is in words a minute, pitch and pitch range from
    0 to 100 with 50 as the voice's own, volume from 0 to 200 with 100 as ordinary.
    """

    def speak(
        self, text: str, voice: str = ..., *, rate: int, pitch: int, pitch_range: int, volume: int
    ) -> tuple[Wave, int]: ...


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """A voice and how it is set, in the synthesizer's own units."""

    voice: str
    rate: int
    pitch: int
    pitch_range: int
    volume: int = 100


@dataclass(frozen=True, slots=True)
class Performance:
    """A spoken line.

    Attributes:
        wave: mono, float32, (S,), within [-1, 1].
        sample_rate: hertz.
        settings: what was asked of the synthesizer.
        licence: says that the voice is synthetic.
    """

    wave: Wave
    sample_rate: int
    settings: VoiceSettings
    licence: str = LICENCE

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.wave) / self.sample_rate

    def sounding(self) -> tuple[float, float]:
        """Seconds from the first to the last sample above a hundredth of the peak; the whole wave if it is silent."""
        loud = np.flatnonzero(np.abs(self.wave) > 0.01 * np.abs(self.wave).max(initial=0.0))
        if not len(loud):
            return 0.0, self.duration
        return float(loud[0] / self.sample_rate), float((loud[-1] + 1) / self.sample_rate)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Bends of a base voice: a factor on rate and volume, steps on pitch and pitch range."""

    rate: float
    pitch: float
    pitch_range: float
    volume: float


# After the correlates that Murray & Arnott (1993, table 1) and Scherer (2003, table 2) agree on: grief slow, low, flat
# and soft; joy and surprise high with wide excursions; hot anger loud and fast; fear fastest and high.
_RULES: Mapping[Label, _Rule] = MappingProxyType(
    {
        "neutral": _Rule(1.0, 0, 0, 1.0),
        "happy": _Rule(1.08, 12, 22, 1.12),
        "sad": _Rule(0.78, -10, -26, 0.7),
        "angry": _Rule(1.14, 5, 12, 1.5),
        "fearful": _Rule(1.26, 18, -10, 0.85),
        "surprised": _Rule(1.0, 22, 34, 1.15),
    }
)
assert tuple(_RULES) == LABELS, _RULES

# Six of the synthesizer's variants, unlike in timbre, from the lowest to the highest: median F0 of one sentence at
# pitch 30 is 79, 88, 91, 148, 163 and 179 Hz.
_VARIANTS = ("m1", "m3", "m7", "f4", "f2", "f3")


def voice_of(puppet: Puppet) -> VoiceSettings:
    """A character's voice at rest: its variant and pitch rise with the timbre, its pace is the name's own."""
    variant = _VARIANTS[min(len(_VARIANTS) - 1, int(puppet.timbre * len(_VARIANTS)))]
    # Letters are summed, because Python's own hash of a string changes from run to run.
    pace = sum(ord(letter) for letter in puppet.name) % 25 - 12
    return VoiceSettings(f"en-us+{variant}", rate=164 + pace, pitch=round(28 + 32 * puppet.timbre), pitch_range=48)


def acted(
    base: VoiceSettings, feeling: Feeling, noise: float = 0.0, rng: np.random.Generator | None = None
) -> VoiceSettings:
    """A base voice bent by a feeling, as far as its intensity goes.

    Args:
        noise: standard deviation of the bends, as a share of a strong bend; 0 acts exactly by rule.
        rng: needed unless `noise` is 0.

    Raises:
        ValueError: negative noise, or noise without a generator.
    """
    if noise < 0:
        raise ValueError(f"expected noise >= 0, got {noise}")
    if noise and rng is None:
        raise ValueError("noise above 0 needs a random generator, got none")
    slips = noise * rng.standard_normal(4) if rng is not None else np.zeros(4)
    rule, strength = _RULES[feeling.label], feeling.intensity
    return VoiceSettings(
        voice=base.voice,
        rate=_within(base.rate * (1 + strength * (rule.rate - 1) + 0.2 * slips[0]), 90, 400),
        pitch=_within(base.pitch + strength * rule.pitch + 15 * slips[1], 0, 99),
        pitch_range=_within(base.pitch_range + strength * rule.pitch_range + 20 * slips[2], 0, 99),
        volume=_within(base.volume * (1 + strength * (rule.volume - 1) + 0.2 * slips[3]), 20, 190),
    )


def _within(value: float, lowest: int, highest: int) -> int:
    return int(np.clip(round(value), lowest, highest))


class Actor:
    """Lends a synthesizer to the puppets.

    Args:
        speaker: the synthesizer; it stays its owner's to close.
    """

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    def perform(
        self,
        puppet: Puppet,
        text: str,
        feeling: Feeling,
        *,
        noise: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> Performance:
        """A line spoken by a character in a feeling.

        Raises:
            ValueError: the text is empty, or noise is asked for without a generator.
        """
        if not text.strip():
            raise ValueError(f"{puppet.name}: expected words to speak, got an empty line")
        asked = acted(voice_of(puppet), feeling, noise, rng)
        wave, sample_rate = self._speaker.speak(
            text,
            asked.voice,
            rate=asked.rate,
            pitch=asked.pitch,
            pitch_range=asked.pitch_range,
            volume=asked.volume,
        )
        # Loud settings can pass full scale; clipping would add harmonics that no rule asked for.
        peak = float(np.abs(wave).max(initial=0.0))
        quiet = np.float32(min(1.0, 0.98 / peak)) if peak > 0 else np.float32(1.0)
        return Performance((wave * quiet).astype(np.float32), sample_rate, asked)
