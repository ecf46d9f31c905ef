"""The readers of one build, by name. Those of one name share a set of emotion spaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .audio import AudioReader, LightAudio
from .face import FaceReader, LightFace
from .lips import LightLips, LipReader
from .scene import LightScene, SceneReader
from .text import LightText, TextReader
from .types import Modality


@dataclass(frozen=True, slots=True)
class Readers:
    """One reader per modality, and one for lips."""

    scene: SceneReader
    face: FaceReader
    text: TextReader
    audio: AudioReader
    lips: LipReader

    def spaces(self) -> Mapping[Modality, str]:
        """The emotion space of each modality."""
        return {
            "scene": self.scene.space,
            "face": self.face.space,
            "text": self.text.space,
            "audio": self.audio.space,
        }


def build_readers(name: str = "light") -> Readers:
    """The readers of that name.

    Raises:
        ValueError: the name is unknown; the known ones are listed.
    """
    match name:
        case "light":
            return Readers(LightScene(), LightFace(), LightText(), LightAudio(), LightLips())
    raise ValueError(f"known readers are light; got {name!r}")
