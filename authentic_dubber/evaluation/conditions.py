"""What is measured: the takes, and what stands beside them so that their figures mean something.

A recording bounds what a voice can reach, its copies show what mel and vocoder cost, and a recording judged against
another text or another voice shows what a measure says where it should say no.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch

from authentic_dubber.dubber import Dubber
from authentic_dubber.levels import TARGET_DBFS, level_dbfs
from authentic_dubber.speaker import SILENCE_DBFS
from library_builder.media import MediaError, read_wave
from library_builder.mux import write_wave
from vocoder import MelConfig, log_mel

from .manner import CONDITIONS, Condition
from .measured import Sample, Wave
from .runs import COPIES, Run, take_path
from .sets import MOUTH_FPS, Case, EvaluationSet

TITLES: Mapping[Condition, str] = {
    "takes": "takes",
    "recordings": "recordings",
    "griffin-lim": "recordings through mel and Griffin-Lim",
    "vocoder": "recordings through mel and vocoder",
    "wrong-text": "recordings, judged by the next case's text",
    "wrong-speaker": "recordings, judged as the next voice",
}
ROUNDS = 60
"""Of Griffin-Lim; more change nothing that is measured."""


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """One condition, ready to be measured.

    Attributes:
        missing: cases without a wave that could be measured, with the reason.
        no_reference: cases whose recording cannot serve as a reference, with the reason.
    """

    condition: Condition
    samples: tuple[Sample, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    no_reference: Mapping[str, str] = field(default_factory=dict)


class Listening:
    """Reads the waves of a run and of its set.

    Args:
        run: None judges recordings alone.
        dubber: makes the copies; None makes none through a vocoder.
        limit: only the first so many cases.
    """

    def __init__(
        self, cases: EvaluationSet, folder: Path, run: Run | None, dubber: Dubber | None, *, limit: int | None = None
    ) -> None:
        self.cases, self.folder, self.run, self.dubber = cases, Path(folder), run, dubber
        self.mel = MelConfig() if dubber is None else dubber.mel_config
        self._chosen = tuple(enumerate(cases.cases))[:limit]
        self._read: dict[Path, Wave | str] = {}

    def heard(self, condition: Condition) -> Heard:
        """The samples of a condition, one per case that can be measured.

        Raises:
            ValueError: the condition is unknown, or needs a run or a checkpoint that is not there.
        """
        if condition not in CONDITIONS:
            raise ValueError(f"known conditions are {', '.join(CONDITIONS)}, got {condition!r}")
        samples: list[Sample] = []
        missing: dict[str, str] = {}
        no_reference: dict[str, str] = {}
        for i, case in self._chosen:
            reference = self._reference(case)
            if isinstance(reference, str):
                no_reference[case.id] = reference
            wave = self._wave(condition, case, reference)
            if isinstance(wave, str):
                missing[case.id] = wave
            else:
                beside = reference if condition in ("takes", "griffin-lim", "vocoder") else None
                samples.append(self._sample(i, case, wave, None if isinstance(beside, str) else beside))
        kept = samples
        match condition:
            case "wrong-text":
                kept = _shifted(samples, lambda s: s.text.casefold(), lambda s, other: replace(s, text=other.text))
            case "wrong-speaker":
                kept = _shifted(samples, lambda s: s.voice, lambda s, other: replace(s, voice=other.voice))
        alone = {s.id for s in samples} - {s.id for s in kept}
        missing |= dict.fromkeys(sorted(alone), f"no other case to be judged by ({condition})")
        samples = kept
        return Heard(condition, tuple(samples), missing, no_reference)

    def _sample(self, i: int, case: Case, wave: Wave, reference: Wave | None) -> Sample:
        prompt = self._usable(self.cases.prompt(case), "prompt")
        mouth = None if self.cases.mouth is None else np.asarray(self.cases.mouth[i], dtype=np.float32)
        return Sample(
            id=case.id,
            text=case.text,
            language=case.language,
            voice=case.voice,
            wave=wave,
            sample_rate=self.mel.sample_rate,
            emotion=case.emotion,
            reference=reference,
            prompt=None if isinstance(prompt, str) else prompt,
            slot=None if case.slot_seconds is None else (0.0, case.slot_seconds),
            mouth=mouth if mouth is not None and len(mouth) else None,
            mouth_fps=MOUTH_FPS,
        )

    def _wave(self, condition: Condition, case: Case, reference: Wave | str) -> Wave | str:
        if condition == "takes":
            return self._take(case)
        if isinstance(reference, str) or condition not in ("griffin-lim", "vocoder"):
            return reference
        path = self.folder / COPIES / condition / f"{case.id}.wav"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_wave(path, self._copy(condition, reference), self.mel.sample_rate)
        return self._usable(path, "copy")

    def _take(self, case: Case) -> Wave | str:
        if self.run is None:
            raise ValueError("expected a run for its takes, got none")
        if case.id in self.run.failed:
            return f"no take: {self.run.failed[case.id]}"
        return self._usable(take_path(self.folder, case.id), "take")

    def _reference(self, case: Case) -> Wave | str:
        path = self.cases.reference(case)
        return "no recording" if path is None else self._usable(path, "recording")

    def _copy(self, condition: Condition, wave: Wave) -> Wave:
        if condition == "griffin-lim":
            return griffin_lim(wave, self.mel)
        if self.dubber is None:
            raise ValueError("expected a checkpoint for its vocoder, got none")
        return vocoder_copy(wave, self.dubber)

    def _usable(self, path: Path, what: str) -> Wave | str:
        """The wave of a file, or why it cannot be measured; each file is read once."""
        if path not in self._read:
            try:
                wave = read_wave(path, sample_rate=self.mel.sample_rate)
                self._read[path] = unmeasurable(wave, what, self.mel) or wave
            except FileNotFoundError:
                self._read[path] = f"no {what}"
            except MediaError as error:
                self._read[path] = f"{what}: {error}"
        return self._read[path]


def unmeasurable(wave: Wave, what: str, mel: MelConfig) -> str:
    """Why nothing can be measured of a wave; empty where something can.

    Shape:
        (S,).
    """
    if len(wave) < mel.n_fft:
        return (
            f"{what}: expected a frame of {1000 * mel.n_fft / mel.sample_rate:.0f} ms or more, got {len(wave)} samples"
        )
    if not np.isfinite(wave).all():
        return f"{what}: samples that are not finite"
    if level_dbfs(wave) < SILENCE_DBFS:
        return f"{what}: silent, below {SILENCE_DBFS:.0f} dBFS"
    return ""


def griffin_lim(wave: Wave, mel: MelConfig) -> Wave:
    """A recording through its amplitude mel and back, by non-negative least squares and Griffin-Lim (1984).

    Shape:
        (S,) -> (S,).
    """
    bands: dict[str, Any] = {"sr": mel.sample_rate, "n_fft": mel.n_fft, "power": 1.0}
    bands |= {"fmin": mel.f_min, "fmax": mel.f_max}
    analysed = librosa.feature.melspectrogram(y=wave, hop_length=mel.hop_samples, n_mels=mel.n_mels, **bands)
    amplitude = librosa.feature.inverse.mel_to_stft(analysed, **bands)
    copy = librosa.griffinlim(amplitude, n_iter=ROUNDS, hop_length=mel.hop_samples, length=len(wave), random_state=0)
    return np.asarray(copy, dtype=np.float32)


@torch.inference_mode()
def vocoder_copy(wave: Wave, dubber: Dubber) -> Wave:
    """A recording's own mel through the checkpoint's vocoder: what a faultless acoustic model would sound like.

    The vocoder hears it at the level it was trained at, and the copy comes back at the recording's own.

    Shape:
        (S,) -> (S',), whole frames.
    """
    gain = 10 ** ((TARGET_DBFS - level_dbfs(wave)) / 20)
    levelled = torch.from_numpy((wave * gain).astype(np.float32))
    copy = dubber.vocoder(log_mel(levelled[None], dubber.mel_config).to(dubber.device))[0]
    return np.clip(copy.float().cpu().numpy() / gain, -1, 1).astype(np.float32)


def _shifted(
    samples: list[Sample], key: Callable[[Sample], str], judged_as: Callable[[Sample, Sample], Sample]
) -> list[Sample]:
    """Each sample judged as the next one, around the end, that differs; those without any such are left out."""

    def others() -> Iterator[Sample]:
        for i, sample in enumerate(samples):
            ring = samples[i + 1 :] + samples[:i]
            other = next((o for o in ring if key(o) != key(sample) and o.language == sample.language), None)
            if other is not None:
                yield judged_as(sample, other)

    return list(others())
