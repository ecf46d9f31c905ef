"""What the acoustic model is trained on (reference losses, with its double softmax mended and labels masked)."""

from __future__ import annotations

from dataclasses import dataclass

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
    likeness: Tensor
    """Of the speaker in the made mel; the ear that judges it is not taught by it."""

    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return {name: getattr(self, name) for name in Losses.__slots__}

    def scalars(self) -> dict[str, float]:
        return {name: float(term.detach()) for name, term in self.tensors().items()}


def losses(model: Synthesizer, encoded: Encoded, spoken: Spoken, batch: Batch) -> Losses:
    """All terms of a batch."""
    config = model.config
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
        functional.cross_entropy(encoded.emotion.float()[labelled], batch.emotion[labelled])
        if bool(labelled.any())
        else mel.new_zeros(())
    )
    prosody = prosody_loss(encoded.prosody, batch.prosody, batch.inputs.symbol_lengths)
    likeness = _unlikeness(model, spoken, batch)
    t = config.train
    total = (
        t.mel_weight * (mel + before)
        + t.duration_weight * duration
        + t.diagonal_weight * diagonal
        + t.speaker_weight * speaker
        + t.emotion_weight * emotion
        + t.prosody_weight * prosody
        + t.likeness_weight * likeness
    )
    return Losses(total, mel, before, duration, diagonal, speaker, emotion, prosody, likeness)


def _unlikeness(model: Synthesizer, spoken: Spoken, batch: Batch) -> Tensor:
    """One minus the cosine of the speaker heard in what was made, and in the recording, by the style encoder as it is.

    Its weights are held still here: an ear that may please itself would call anything the speaker.
    """
    held = {name: weight.detach() for name, weight in model.style.named_parameters()}
    made = (spoken.mel - MEL_MEAN) / MEL_SCALE
    _, _, heard = functional_call(model.style, held, (made, batch.mel_lengths))
    return 1 - functional.cosine_similarity(heard.float(), batch.speaker, dim=1).mean()
