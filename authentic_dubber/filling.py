"""Lines into their slots: durations that fill them, and sound that is heard from their first moment to their last.

A decoder fades in and out: its first and last frames are fainter than an ear, or a voice activity detector, takes for
speech. So a line is decoded, the faint frames at its ends are counted, and it is decoded again that much longer, until
what is heard is as long as the slot; then the faint ends are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import TimingConfig
from .symbols import Symbols
from .synthesizer import Encoded, Inputs, Spoken, Synthesizer
from .timing import Fit, fit_durations
from .trim import settle_ends

AUDIBLE = 2.1
"""Nepers below the loud part of a line at which its ends are heard no more (18 dB), in the whole and in its upper
half: a voiceless consonant is faint beside a vowel, and loud where only consonants sound."""
MOST_FAINT = 30
"""Frames; a longer faint end is a weak voice, and stays."""
PASSES = 3
"""Decodes of a line at most: a line made longer has longer faint ends, by less each time."""


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """One line as the model speaks it.

    Attributes:
        mel: (F, T), with T the slot's frames where the line fits.
        fit: how durations were fitted; of the line before its faint ends were cut.
        ends: frame at which each symbol ends, (N,), counted from the first kept frame.
        emotion: logits, (E,).
    """

    mel: Tensor
    fit: Fit
    ends: Tensor
    emotion: Tensor


def speak_lines(
    model: Synthesizer, inputs: Inputs, symbols: Sequence[Symbols], slots: Sequence[int | None]
) -> list[SpokenLine]:
    """Speak a batch; each line is as it would be alone.

    Args:
        symbols: of each line.
        slots: frames to fill; None leaves the model's own rate, ends included.

    Shape:
        B lines -> B results.
    """
    encoded = model.encode(inputs)
    predicted = model.predicted_frames(encoded, inputs.symbol_lengths).cpu()
    settled = [settle_ends(row[: len(line.ids)], line) for row, line in zip(predicted, symbols, strict=True)]
    timing = model.config.timing
    fits = [fit_durations(row, slot, timing) for row, slot in zip(settled, slots, strict=True)]
    spoken, extra = _decode(model, encoded, inputs, fits), [0] * len(fits)
    for _ in range(PASSES - 1):
        faint = _faint(spoken, fits, slots)
        if all(abs(sum(ends) - more) <= 1 for ends, more in zip(faint, extra, strict=True)):
            break
        for b, (ends, slot) in enumerate(zip(faint, slots, strict=True)):
            longer = _longer(settled[b], slot, sum(ends), fits[b], timing)
            # A line at the very edge of the allowed rates may not stretch any further; it stays as it is.
            extra[b] = sum(ends) if longer is not fits[b] else extra[b]
            fits[b] = longer
        spoken = _decode(model, encoded, inputs, fits)
    leads = [min(lead, more) for (lead, _), more in zip(_faint(spoken, fits, slots), extra, strict=True)]
    return [
        _cut(spoken, encoded.emotion[b], b, fits[b], slots[b] if extra[b] else None, leads[b]) for b in range(len(fits))
    ]


def _faint(spoken: Spoken, fits: Sequence[Fit], slots: Sequence[int | None]) -> list[tuple[int, int]]:
    """The faint ends of each line that has a slot and fits it."""
    return [
        faint_ends(spoken.mel[b, :, : int(spoken.lengths[b])]) if slot is not None and fits[b].fits else (0, 0)
        for b, slot in enumerate(slots)
    ]


def faint_ends(mel: Tensor) -> tuple[int, int]:
    """How many frames at the beginning and at the end are too faint to be heard as speech.

    Shape:
        (F, T) in log -> two counts, each at most `MOST_FAINT`.
    """
    bands = mel.float()
    levels = torch.stack([torch.logsumexp(part, dim=0) for part in (bands, bands[len(bands) // 2 :])])
    heard = (levels > torch.quantile(levels, 0.95, dim=1, keepdim=True) - AUDIBLE).any(0).nonzero()[:, 0]
    if not len(heard):
        return 0, 0
    lead, tail = int(heard[0]), levels.shape[1] - 1 - int(heard[-1])
    return min(lead, MOST_FAINT), min(tail, MOST_FAINT)


def _longer(predicted: Tensor, slot: int | None, extra: int, fit: Fit, timing: TimingConfig) -> Fit:
    if slot is None or not extra:
        return fit
    longer = fit_durations(predicted, slot + extra, timing)
    return longer if longer.fits else fit


def _decode(model: Synthesizer, encoded: Encoded, inputs: Inputs, fits: Sequence[Fit]) -> Spoken:
    durations = torch.zeros(inputs.symbols.shape, dtype=torch.long)
    for b, fit in enumerate(fits):
        durations[b, : len(fit.durations)] = fit.durations
    return model.decode(encoded, durations.to(inputs.symbols.device))


def _cut(spoken: Spoken, emotion: Tensor, b: int, fit: Fit, frames: int | None, lead: int) -> SpokenLine:
    mel, ends = spoken.mel[b, :, : int(spoken.lengths[b])], fit.durations.cumsum(0)
    if frames is not None:
        mel, ends = mel[:, lead : lead + frames], (ends - lead).clamp(0, frames)
    return SpokenLine(mel, fit, ends, emotion)
