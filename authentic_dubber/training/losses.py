"""What the acoustic model is trained on (reference losses, with its double softmax mended and labels masked)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from authentic_dubber.blocks import length_mask
from authentic_dubber.config import DubberConfig
from authentic_dubber.synthesizer import MEL_SCALE, Encoded, Spoken
from authentic_dubber.timing import diagonal_loss

from .dataset import Batch


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
    """Zero when no line of the batch has a label."""

    def scalars(self) -> dict[str, float]:
        return {name: float(getattr(self, name).detach()) for name in Losses.__slots__}


def losses(config: DubberConfig, encoded: Encoded, spoken: Spoken, batch: Batch) -> Losses:
    """All terms of a batch."""
    mask = length_mask(batch.mel_lengths, batch.mel.shape[2])[:, None].float()
    scale = mask.sum() * batch.mel.shape[1] * MEL_SCALE
    mel = ((spoken.mel - batch.mel).abs() * mask).sum() / scale
    before = ((spoken.before - batch.mel).abs() * mask).sum() / scale
    symbols = length_mask(batch.inputs.symbol_lengths, batch.durations.shape[1]).float()
    error = (encoded.log_durations.float() - torch.log1p(batch.durations.float())).square()
    duration = (error * symbols).sum() / symbols.sum()
    diagonal = diagonal_loss(
        encoded.attention, batch.inputs.symbol_lengths, batch.inputs.lip_lengths, config.timing.band
    )
    speaker = 1 - functional.cosine_similarity(encoded.speaker.float(), batch.inputs.speaker, dim=1).mean()
    labelled = batch.emotion >= 0
    emotion = (
        functional.cross_entropy(spoken.emotion.float()[labelled], batch.emotion[labelled])
        if bool(labelled.any())
        else mel.new_zeros(())
    )
    t = config.train
    total = (
        t.mel_weight * (mel + before)
        + t.duration_weight * duration
        + t.diagonal_weight * diagonal
        + t.speaker_weight * speaker
        + t.emotion_weight * emotion
    )
    return Losses(total, mel, before, duration, diagonal, speaker, emotion)
