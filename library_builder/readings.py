"""What extractors made of a clip, kept by what they were shown: the same bytes under another name are not read twice.

<first two digits>/<key>    a line of JSON (spaces, captions, notes, checksum), then the vectors as float32
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

import numpy as np

from .build import SOUND_RATE, BuildConfig, ClipEmotions
from .extractors import ExtractorFacts, decisive
from .types import Emotion, Seconds, space_width

_ABANDONED: Seconds = 3600.0


def reading_key(
    media: str,
    start: Seconds,
    end: Seconds,
    text: str,
    *,
    sound: str | None,
    extractors: ExtractorFacts,
    config: BuildConfig,
) -> str:
    """A name for everything that decides what extractors make of a clip.

    Args:
        media, sound: SHA-256 of the files.
        extractors: see `extractor_facts`.
    """
    deciding = {modality: decisive(facts) for modality, facts in extractors.items()}
    parts = [media, start, end, text, sound, deciding, *look_settings(config)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def look_settings(config: BuildConfig) -> list[Any]:
    """What of the settings changes what extractors are shown of a clip whose span is given."""
    return [config.frames_per_clip, config.max_height, SOUND_RATE]


class Readings:
    """Readings in a folder. Many processes may put and get at once; what was torn by a crash counts as not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> ClipEmotions | None:
        """What was kept under a key."""
        try:
            head, _, body = (self._folder / key[:2] / key).read_bytes().partition(b"\n")
            facts = json.loads(head)
            if hashlib.sha256(body).hexdigest() != facts["sha256"]:
                return None
            values, emotions, at = np.frombuffer(body, dtype="<f4"), {}, 0
            for modality, space in facts["spaces"].items():
                emotions[modality] = Emotion(space, values[at : at + space_width(space)])
                at += space_width(space)
            return ClipEmotions(emotions, facts["captions"], tuple(facts["notes"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, read: ClipEmotions) -> None:
        """Keep a reading.

        Raises:
            OSError: the disk is full, or may not be written.
        """
        body = b"".join(emotion.vector.astype("<f4").tobytes() for emotion in read.emotions.values())
        facts = {
            "spaces": {modality: emotion.space for modality, emotion in read.emotions.items()},
            "captions": dict(read.captions),
            "notes": list(read.notes),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        folder = self._folder / key[:2]
        folder.mkdir(parents=True, exist_ok=True)
        # Not synced: after a power cut the checksum tells, and the clip is read again.
        temporary = folder / f".{key[:8]}-{secrets.token_hex(4)}"
        try:
            temporary.write_bytes(json.dumps(facts, ensure_ascii=False).encode() + b"\n" + body)
            os.replace(temporary, folder / key)
        finally:
            temporary.unlink(missing_ok=True)


def sweep_readings(folder: Path) -> None:
    """Removes what killed writers left; a reading is written in far less than the hour a file is given here."""
    for path in folder.glob("*/.*"):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
        except FileNotFoundError:  # its writer was not killed after all, or another sweep was quicker
            continue
