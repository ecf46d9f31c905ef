"""The readers of a library, chosen by name: one per modality, and one for lips."""

from __future__ import annotations

from dataclasses import dataclass

from .audio import AudioReader, LightAudio
from .face import FaceReader, LightFace
from .lips import LightLips, LipReader
from .scene import LightScene, SceneReader
from .text import LightText, TextReader
from .types import Modality

READERS = ("light",)


@dataclass(frozen=True, slots=True)
class Readers:
    """One reader per modality. Parts from different makers may be mixed: each names the space of its vectors."""

    scene: SceneReader
    face: FaceReader
    text: TextReader
    audio: AudioReader
    lips: LipReader

    def spaces(self) -> dict[Modality, str]:
        """The space of each modality's vectors, for manifests to record; lips give features, not a feeling."""
        return {
            "scene": self.scene.space,
            "face": self.face.space,
            "text": self.text.space,
            "audio": self.audio.space,
        }


def build_readers(name: str = "light") -> Readers:
    """The readers of that name.

    Raises:
        ValueError: the name is unknown.
    """
    match name:
        case "light":
            return Readers(LightScene(), LightFace(), LightText(), LightAudio(), LightLips())
        case _:
            raise ValueError(f"known readers are {', '.join(READERS)}, got {name!r}")
