"""Who speaks: a recording to a unit vector that is near for the same voice and far for another."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import soxr
from torch import nn

Wave = npt.NDArray[np.float32]

SHORTEST_PROMPT = 0.5
"""Seconds; in less there is hardly a syllable to know a voice by."""
SILENCE_DBFS = -80.0
"""A prompt whose mean level is below this is noise of the converter; raising it would embed that noise."""


class BadPrompt(ValueError):
    """A recording that no voice can be taken from."""


class SpeakerEncoder(Protocol):
    """What is asked of a speaker encoder."""

    @property
    def width(self) -> int:
        """C, the width of the vectors."""

    def embed(self, wave: Wave, sample_rate: int) -> Wave:
        """A recording of one voice as a float32 vector of length one.

        Shape:
            (S,) -> (C,).

        Raises:
            BadPrompt: the recording is too short, silent, not finite or not mono.
        """


class GE2E:
    """The generalised end-to-end encoder (Wan et al., 2018) as trained and packaged by resemblyzer.

    Level and rate of the recording do not matter, and its silences are cut out before the voice is heard.

    Raises:
        ImportError: resemblyzer is not installed.
    """

    RATE = 16000
    """Hertz that the encoder was trained at."""
    SOUGHT_DBFS, HEARD_DBFS = -30.0, -24.0
    """Levels at which speech is sought and a voice is heard. The published recipe raises recordings below -30 and
    leaves louder ones as they are, so that a voice moves with its level. At -24, where most corpora lie, it is heard as
    there; and louder than -30 the voice activity detector takes plain noise for speech."""

    def __init__(self) -> None:
        try:
            from resemblyzer import VoiceEncoder, preprocess_wav
        except ModuleNotFoundError as error:
            # Its declared dependency on `webrtcvad` needs a compiler; ours on `webrtcvad-wheels` stands in for it.
            raise ImportError(
                f"the speaker encoder needs resemblyzer ({error}): pip install --no-deps resemblyzer==0.1.4"
            ) from error
        self._encoder = VoiceEncoder("cpu", verbose=False)
        self._without_silence = preprocess_wav

    @property
    def width(self) -> int:
        """C, the width of the vectors."""
        return int(self._encoder.linear.out_features)

    @property
    def network(self) -> nn.Module:
        """The encoder itself, for a training that must hear through it: mel stretches (B, T, 40) -> (B, C) unit."""
        encoder: nn.Module = self._encoder
        return encoder

    def embed(self, wave: Wave, sample_rate: int) -> Wave:
        """A recording of one voice as a float32 vector of length one.

        Args:
            wave: samples at any level and of any rate.
            sample_rate: hertz.

        Shape:
            (S,) -> (C,).

        Raises:
            BadPrompt: the recording is too short, silent, without speech, not finite or not mono.
        """
        rms = usable_level(wave, sample_rate)
        # The level is set before the rate is changed, so that even the resampler's rounding cannot depend on it.
        levelled = (np.asarray(wave, dtype=np.float64) * (10 ** (self.SOUGHT_DBFS / 20) / rms)).astype(np.float32)
        # Clicks may pass full scale now, and the voice activity detector reads 16 bits.
        whole = np.clip(soxr.resample(levelled, sample_rate, self.RATE), -1, 1)
        speech = self._without_silence(whole)
        if not len(speech):
            raise BadPrompt(f"expected a prompt with speech in it, got {len(wave) / sample_rate:.2f} s without any")
        if len(speech) < SHORTEST_PROMPT * self.RATE / 2:  # the detector takes most of a hoarse or tiny voice for noise
            speech = whole
        heard = speech * np.float32(10 ** ((self.HEARD_DBFS - self.SOUGHT_DBFS) / 20))
        vector = np.asarray(self._encoder.embed_utterance(heard), dtype=np.float32)
        return vector / np.linalg.norm(vector)


def usable_level(wave: Wave, sample_rate: int) -> float:
    """Root mean square of a usable prompt.

    Raises:
        BadPrompt: it is not usable.
    """
    if wave.ndim != 1:
        raise BadPrompt(f"expected a mono prompt (S,), got shape {wave.shape}")
    if len(wave) < SHORTEST_PROMPT * sample_rate:
        raise BadPrompt(f"expected a prompt of {SHORTEST_PROMPT} s or more, got {len(wave) / sample_rate:.2f} s")
    if not np.isfinite(wave).all():
        raise BadPrompt("expected a prompt of finite samples, got NaN or infinity")
    rms = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
    if rms < 10 ** (SILENCE_DBFS / 20):
        found = f"{20 * np.log10(rms):.0f} dBFS" if rms else "digital silence"
        raise BadPrompt(f"expected a prompt above {SILENCE_DBFS:.0f} dBFS, got {found}")
    return rms
