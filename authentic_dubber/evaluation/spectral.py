"""Mel-cepstral distortion (Kubichek, 1993): how far the spectral envelope lies from that of the recording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .aligned import Aligned, align
from .gathering import Outcome, gather
from .measured import Measured, Row, Sample
from .mel_cepstrum import ORDER, SAMPLE_RATE, Track, mel_cepstra

TITLES = {
    "mcd": "MCD, frame by frame",
    "mcd_dtw": "MCD along a warped time axis",
    "mcd_dtw_sl": "MCD along a warped time axis, weighted by length",
}


class MelCepstralDistortion:
    """`mcd`, `mcd_dtw` and `mcd_dtw_sl` in dB, for clips with a recording of the same text by the same voice.

    A pair of frames is 10 / ln 10 · √(2 Σ (Δc_m)²) apart; a clip's figure is the mean over its pairs, the whole figure
    the mean over measured clips. V2C (Chen et al., CVPR 2022) names three ways to pair frames:

    - `mcd`: frame n with frame n, the shorter wave padded with zeros. Any difference in tempo counts as distortion,
      so it is mostly a measure of timing.
    - `mcd_dtw`: the exact warping path over c1 and up (`aligned.warping_path`). Tempo costs nothing.
    - `mcd_dtw_sl`: the same times longer over shorter, in frames. Where a system is given the recording's own length
      the factor is one and this figure repeats `mcd_dtw`: it says nothing of such a system.

    Here c0, which is level, is left out of both path and distance: a gain changes nothing. The published tool (pymcd)
    leaves c0 out of the path but puts it into the distance; `with_c0` does likewise, under names of its own. Figures
    stay incomparable with published ones all the same. That tool takes WORLD's power spectrum for an amplitude, which
    doubles every coefficient, and adds a fixed floor, so that its answer grows with the level of the recordings; it
    keeps the rests at the ends and warps approximately. We cut the rests off (`levels.trimmed_span`) and fit the
    envelope to the periodogram itself (`mel_cepstrum`). Compare systems within one table only.

    Args:
        with_c0: the level counts in the distance.
    """

    def __init__(self, *, with_c0: bool = False) -> None:
        self._first = 0 if with_c0 else 1
        note = (
            f"c{self._first}..c{ORDER} at {SAMPLE_RATE} Hz, rests at the ends cut off; path without c0. "
            "Compares systems within one table, not with published figures."
        )
        suffix, title = ("_c0", " (with c0)") if with_c0 else ("", "")
        self._names = {name: name + suffix for name in TITLES}
        self._figures = [
            Measured(self._names[name], words + title, "dB", "lower", "mean", {}, note=note)
            for name, words in TITLES.items()
        ]

    def __call__(self, samples: Sequence[Sample]) -> list[Measured]:
        """Measure clips."""
        return gather(self._figures, samples, self._measure)

    def _measure(self, sample: Sample) -> Outcome:
        pair = align(sample)
        i, j = pair.path.T
        warped = distortion(pair.cepstra[i, self._first :], pair.reference_cepstra[j, self._first :])
        figures = {"mcd": self._plain(pair), "mcd_dtw": warped, "mcd_dtw_sl": warped * pair.stretch}
        return {self._names[name]: Row((value,)) for name, value in figures.items()}

    def _plain(self, pair: Aligned) -> float:
        longest = max(len(pair.wave), len(pair.reference))
        # Padded before analysis, as published: the pad has the spectrum of the analysis floor.
        one, other = (mel_cepstra(np.pad(wave, (0, longest - len(wave)))) for wave in (pair.wave, pair.reference))
        return distortion(one[:, self._first :], other[:, self._first :])


def distortion(one: Track, other: Track) -> float:
    """Mean over frames of 10 / ln 10 · √(2 Σ Δ²), in dB.

    Shape:
        (T, D), (T, D) -> ().
    """
    assert one.shape == other.shape, (one.shape, other.shape)
    return float(10 / np.log(10) * np.mean(np.sqrt(2 * np.sum(np.square(one - other), axis=1))))
