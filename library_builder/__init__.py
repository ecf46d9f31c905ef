"""Footage to clips that know what they feel."""

from .types import MODALITIES, Clip, Emotion, Modality, Seconds

__all__ = ["MODALITIES", "Clip", "Emotion", "Modality", "Seconds"]
