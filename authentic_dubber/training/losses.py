"""What the acoustic model is trained on (reference losses, with its double softmax mended and labels masked).

Every term is a sum over this batch divided by a count that may be of a larger one: the same line weighs the same
however many processes share an update, and into however many parts each cuts its share.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from authentic_dubber.blocks import length_mask
from authentic_dubber.prosody import prosody_loss
from authentic_dubber.synthesizer import MEL_MEAN, MEL_SCALE, Encoded, Spoken, Synthesizer
from authentic_dubber.timing import diagonal_loss

from .dataset import Batch


@dataclass(frozen=True, slots=True)
class Counts:
    """What sums are divided by, each a scalar.

    Attributes:
        seeing: lines with lips.
        labelled: lines whose feeling the director could know.
        sounding: symbols, each as much as it is voiced.
    """

    lines: Tensor
    frames: Tensor
    symbols: Tensor
    seeing: Tensor
    labelled: Tensor
    sounding: Tensor

    @classmethod
    def of(cls, batch: Batch) -> Counts:
        """A batch's own."""
        device, symbols = batch.mel.device, length_mask(batch.inputs.symbol_lengths, batch.durations.shape[1])
        return cls(
            lines=torch.tensor(float(batch.lines), device=device),
            frames=length_mask(batch.mel_lengths, batch.mel.shape[2]).float().sum(),
            symbols=symbols.float().sum(),
            seeing=(batch.inputs.lip_lengths > 0).float().sum(),
            labelled=(batch.emotion >= 0).float().sum(),
            sounding=(symbols.float() * batch.prosody.voiced).sum(),
        )

    def stacked(self) -> Tensor:
        """(6,)."""
        return torch.stack([getattr(self, f.name) for f in fields(self)])


@dataclass(frozen=True, slots=True)
class Losses:
    """Each term unweighted, and their weighted sum."""

    total: Tensor
    mel: Tensor
    mel_before: Tensor
    duration: Tensor
    diagonal: Tensor
    speaker: Tensor
    emotion: Tensor
    """Of the director; zero when no line of the batch has a label it could know."""
    prosody: Tensor
    """Zero for a model that predicts none."""
    likeness: Tensor
    """Of the speaker in the made mel; the ear that judges it is not taught by it. Zero where it weighs nothing."""
    head: Tensor | None
    """Of the emotion head, where there is one; zero when no line has a label."""

    def tensors(self) -> dict[str, Tensor]:
        """By name, those there are."""
        return {name: term for name in Losses.__slots__ if (term := getattr(self, name)) is not None}

    def scalars(self) -> dict[str, float]:
        return {name: float(term.detach()) for name, term in self.tensors().items()}


def losses(model: Synthesizer, encoded: Encoded, spoken: Spoken, batch: Batch, counts: Counts | None = None) -> Losses:
    """All terms of a batch.

    Args:
        counts: of the whole update, when this batch is a part of it; its own by default. Parts' terms then add up.
    """
    config, t = model.config, model.config.train
    counts = counts or Counts.of(batch)
    mask = length_mask(batch.mel_lengths, batch.mel.shape[2])[:, None].float()
    scale = counts.frames * batch.mel.shape[1] * MEL_SCALE
    mel = ((spoken.mel - batch.mel).abs() * mask).sum() / scale
    before = ((spoken.before - batch.mel).abs() * mask).sum() / scale
    symbols = length_mask(batch.inputs.symbol_lengths, batch.durations.shape[1]).float()
    error = (encoded.log_durations.float() - torch.log1p(batch.durations.float())).square()
    duration = (error * symbols).sum() / counts.symbols
    lengths = batch.inputs.symbol_lengths
    diagonal = diagonal_loss(encoded.attention, lengths, batch.inputs.lip_lengths, config.timing.band, counts.seeing)
    speaker = _unlike(encoded.speaker, batch.inputs.speaker, counts)
    emotion = _misheard(encoded.emotion, batch, counts)
    head = None if spoken.emotion is None else _misheard(spoken.emotion, batch, counts)
    prosody = (
        prosody_loss(encoded.prosody, batch.prosody, lengths, counts.sounding, counts.symbols)
        if config.melody
        else mel.new_zeros(())
    )
    likeness = _unlikeness(model, spoken, batch, counts) if t.likeness_weight else mel.new_zeros(())
    total = (
        t.mel_weight * (mel + before)
        + t.duration_weight * duration
        + t.diagonal_weight * diagonal
        + t.speaker_weight * speaker
        + t.emotion_weight * emotion
        + t.prosody_weight * prosody
        + t.likeness_weight * likeness
    )
    if head is not None:
        total = total + t.head_weight * head
    return Losses(total, mel, before, duration, diagonal, speaker, emotion, prosody, likeness, head)


def _unlike(heard: Tensor, wanted: Tensor, counts: Counts) -> Tensor:
    """One minus the cosine, this batch's share of its mean over all lines."""
    share = len(heard) / counts.lines
    return share - functional.cosine_similarity(heard.float(), wanted, dim=1).sum() / counts.lines


def _misheard(logits: Tensor, batch: Batch, counts: Counts) -> Tensor:
    """Cross-entropy over the labelled lines. Of logits: a softmax before it, as published, would flatten it."""
    labelled = batch.emotion >= 0
    if not bool(labelled.any()):
        return logits.new_zeros((), dtype=torch.float32)
    wrong = functional.cross_entropy(logits.float()[labelled], batch.emotion[labelled], reduction="sum")
    return wrong / counts.labelled


def _unlikeness(model: Synthesizer, spoken: Spoken, batch: Batch, counts: Counts) -> Tensor:
    """One minus the cosine of the speaker heard in what was made, and in the recording, by the style encoder as it is.

    Its weights are held still here: an ear that may please itself would call anything the speaker.
    """
    held = {name: weight.detach() for name, weight in model.style.named_parameters()}
    made = (spoken.mel - MEL_MEAN) / MEL_SCALE
    _, _, heard = functional_call(model.style, held, (made, batch.mel_lengths))
    return _unlike(heard, batch.speaker, counts)
