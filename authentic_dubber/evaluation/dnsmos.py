"""DNSMOS: how people would rate speech, its noise and the whole, as told by two published networks.

P.835 (Reddy et al., ICASSP 2022) tells signal, background and overall; P.808 (Reddy et al., ICASSP 2021) tells overall
alone. Both were trained on noisy speech and what noise suppressors made of it: they notice noise and artefacts, hardly
whether a voice sounds human, and nothing above 8 kHz. The conventions are those of the published local script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import librosa
import numpy as np
import numpy.typing as npt

from .listening import LISTENING_DBFS, no_opinion, opinions, presented
from .measured import Measured, Sample, Wave

P835_FILE, P808_FILE = "sig_bak_ovr.onnx", "model_v8.onnx"
SAMPLE_RATE = 16_000
"""Hertz. Both networks' own."""
SEGMENT = 144_160
"""Samples the networks hear at once: 9.01 s."""
HOP = SAMPLE_RATE
"""Samples between the beginnings of segments."""
BANDS, FFT, MEL_HOP = 120, 321, 160
"""Mel analysis of the P.808 network; the odd transform makes 900 frames of 9 s."""
TITLES: Mapping[str, str] = {
    "dnsmos_ovrl": "DNSMOS P.835 overall",
    "dnsmos_sig": "DNSMOS P.835 speech signal",
    "dnsmos_bak": "DNSMOS P.835 background",
    "dnsmos_p808": "DNSMOS P.808 overall",
}
CURVES: Mapping[str, tuple[float, float, float]] = {
    "dnsmos_sig": (-0.08397278, 1.22083953, 0.0052439),
    "dnsmos_bak": (-0.13166888, 1.60915514, -0.39604546),
    "dnsmos_ovrl": (-0.06766283, 1.11546468, 0.04602535),
}
"""From what the P.835 network says to opinions, in its order of outputs: the published fit for any listener, highest
power first. The fit for one's own voice, among other talkers, is not used."""

Network: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""P.835: (N, SEGMENT) -> (N, 3). P.808: (N, frames, BANDS) -> (N, 1)."""


class Dnsmos:
    """The four DNSMOS figures of clips, each clip at the listening level.

    Args:
        folder: holds both ONNX files as published; None, or a folder without them, and nothing is measured.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._networks: tuple[Network, Network] | None = None

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """Measure clips."""
        absent = self._absent()
        if absent:
            return no_opinion(TITLES, *absent)
        if self._networks is None:
            assert self._folder is not None
            self._networks = _network(self._folder / P835_FILE), _network(self._folder / P808_FILE)
        p835, p808 = self._networks
        note = (
            f"Clips at {LISTENING_DBFS:.0f} dBFS and {SAMPLE_RATE // 1000} kHz, mean over 9.01 s segments, short clips "
            "repeated. Hears noise and artefacts; tells little about how human a voice is."
        )
        return opinions(samples, TITLES, lambda sample: scores(presented(sample, SAMPLE_RATE), p835, p808), note)

    def _absent(self) -> tuple[str, str] | None:
        """What is lacking and its cure."""
        cure = f"give a folder with {P835_FILE} and {P808_FILE} from github.com/microsoft/DNS-Challenge, DNSMOS/DNSMOS"
        if self._folder is None:
            return "no folder of DNSMOS models was given", cure
        for name in (P835_FILE, P808_FILE):
            if not (self._folder / name).is_file():
                return f"there is no {self._folder / name}", cure
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            return f"DNSMOS needs onnxruntime ({error})", "pip install 'authentic-dubber[evaluate]'"
        return None


def scores(wave: Wave, p835: Network, p808: Network) -> dict[str, float]:
    """Opinion scores of one clip by figure: means over its segments.

    Args:
        wave: at the listening level and the networks' rate, not empty.

    Shape:
        (S,) -> four numbers.
    """
    parts = segments(wave)
    raw = p835(parts)
    found = {
        name: float(np.polyval(curve, raw[:, i].astype(np.float64)).mean())
        for i, (name, curve) in enumerate(CURVES.items())
    }
    mels = np.stack([mel_features(part) for part in parts])
    return found | {"dnsmos_p808": float(p808(mels).astype(np.float64).mean())}


def segments(wave: Wave) -> Wave:
    """Overlapping stretches of a clip; one too short for a single stretch is doubled until it fills one.

    As published, stretches are counted by whole seconds: what lies past the last of them is not heard. The published
    script also loses the eighth to the twenty-fourth, by rounding their lengths down one sample; ours hears them.

    Shape:
        (S,) -> (N, SEGMENT), N >= 1.
    """
    while len(wave) < SEGMENT:
        wave = np.concatenate([wave, wave])
    # Ten whole seconds hold one stretch of 9.01 s, not two.
    count = max(1, len(wave) // SAMPLE_RATE - SEGMENT // SAMPLE_RATE)
    return np.stack([wave[i * HOP : i * HOP + SEGMENT] for i in range(count)])


def mel_features(segment: Wave) -> npt.NDArray[np.float32]:
    """What the P.808 network hears of a segment: decibels below its loudest cell, about -1 to 1.

    Shape:
        (SEGMENT,) -> (900, BANDS).
    """
    mel = librosa.feature.melspectrogram(
        y=segment[:-MEL_HOP], sr=SAMPLE_RATE, n_fft=FFT, hop_length=MEL_HOP, n_mels=BANDS
    )
    return ((librosa.power_to_db(mel, ref=np.max).T + 40.0) / 40.0).astype(np.float32)


def _network(path: Path) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Sums in one order: the same figures on any number of cores.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def run(batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(session.run(None, {given.name: batch})[0])

    return run
