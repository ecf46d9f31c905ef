"""NISQA-TTS: how natural people would find synthetic speech, as told by one published network.

It tells human from machine voices where DNSMOS does not. It was trained on 16 sets of listening tests, the Blizzard and
Voice Conversion Challenges among them: read speech up to 2019. It ranks systems and does not know acting from artefact.
A clip is heard at its own rate, as published; the same recordings at 16 kHz score about 0.2 below 22.05 kHz.
The published weights are for research, not for trade (CC BY-NC-SA 4.0); they are used to measure and are not shipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import torch

from .listening import LISTENING_DBFS, Unhearable, no_opinion, opinions, presented
from .measured import Measured, Sample, Wave
from .nisqa_network import Nisqa, load

NAME = "nisqa_tts"
TITLES: Mapping[str, str] = {NAME: "NISQA-TTS naturalness"}
FLOOR, RANGE_DB = 1e-4, 80.0
"""Smallest amplitude heard, and how far below the loudest cell of a clip the rest is heard."""


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """Mel analysis of a NISQA network.

    Attributes:
        sample_rate: hertz; None analyses a clip at its own.
        fft: samples, at any rate.
        hop: seconds between frames.
        window: seconds.
        bands: mel bands up to `top` hertz.
        width: frames of a segment, which begin a frame apart.
        longest: segments the network was made for.
    """

    sample_rate: int | None
    fft: int
    hop: float
    window: float
    bands: int
    top: float
    width: int
    longest: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> FrontEnd:
        """From a checkpoint's settings.

        Raises:
            ValueError: segments do not begin a frame apart.
        """
        if settings["ms_seg_hop_length"] != 1:
            raise ValueError(f"expected segments a frame apart, got {settings['ms_seg_hop_length']} frames")
        return cls(
            settings["ms_sr"],
            settings["ms_n_fft"],
            settings["ms_hop_length"],
            settings["ms_win_length"],
            settings["ms_n_mels"],
            settings["ms_fmax"],
            settings["ms_seg_length"],
            settings["ms_max_segments"],
        )

    def segments(self, wave: Wave, sample_rate: int) -> npt.NDArray[np.float32]:
        """Every stretch of `width` frames of a clip's mel spectrogram, in decibels.

        Shape:
            (S,) -> (N, bands, width), N >= 1.

        Raises:
            Unhearable: the rate is too low for the bands, or the clip too short or too long.
        """
        if sample_rate < 2 * self.top:
            raise Unhearable(f"expected {2 * self.top:.0f} Hz or more, got {sample_rate} Hz")
        hop = int(sample_rate * self.hop)
        stretches = 1 + len(wave) // hop - (self.width - 1)
        if not 1 <= stretches <= self.longest:
            bounds = f"{self.width * self.hop:.2f} to {self.longest * self.hop:.0f} s"
            raise Unhearable(f"expected {bounds}, got {len(wave) / sample_rate:.2f} s")
        # Amplitudes, not powers; the window is shorter than the transform, which pads it.
        mel = librosa.feature.melspectrogram(
            y=wave,
            sr=sample_rate,
            n_fft=self.fft,
            hop_length=hop,
            win_length=int(sample_rate * self.window),
            n_mels=self.bands,
            fmax=self.top,
            power=1.0,
            pad_mode="reflect",
        )
        decibels = librosa.amplitude_to_db(mel, ref=1.0, amin=FLOOR, top_db=RANGE_DB).astype(np.float32)
        # (bands, N, width) -> (N, bands, width)
        return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(decibels, self.width, 1).swapaxes(0, 1))


class NisqaTts:
    """Naturalness of clips, each clip at the listening level.

    Args:
        weights: `nisqa_tts.tar` as published; None, or a file that is not there, and nothing is measured.
    """

    def __init__(self, weights: Path | None) -> None:
        self._weights = weights
        self._loaded: tuple[Nisqa, FrontEnd] | None = None

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """Measure clips.

        Raises:
            ValueError: the weights are of another network.
        """
        if self._weights is None or not self._weights.is_file():
            reason = "no NISQA weights were given" if self._weights is None else f"there is no {self._weights}"
            return no_opinion(TITLES, reason, "give nisqa_tts.tar from github.com/gabrielmittag/NISQA, folder weights")
        if self._loaded is None:
            network, settings = load(self._weights)
            self._loaded = network, FrontEnd.of(settings)
        network, front = self._loaded

        def rate(sample: Sample) -> dict[str, float]:
            sample_rate = front.sample_rate or sample.sample_rate
            return {NAME: naturalness(presented(sample, sample_rate), sample_rate, network, front)}

        note = (
            f"Clips at {LISTENING_DBFS:.0f} dBFS and their own rate, which moves the figure: compare at one "
            "rate. Trained on listening tests of read synthetic speech; does not know acting from artefact."
        )
        return opinions(samples, TITLES, rate, note)


@torch.inference_mode()
def naturalness(wave: Wave, sample_rate: int, network: Nisqa, front: FrontEnd) -> float:
    """Opinion score of one clip at the listening level, by a network that is ready to listen (`eval`).

    Shape:
        (S,) -> ().

    Raises:
        Unhearable: see `FrontEnd.segments`.
    """
    return float(network(torch.from_numpy(front.segments(wave, sample_rate))))
