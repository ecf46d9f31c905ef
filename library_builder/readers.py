"""The readers of a library, chosen by name: one per modality, and one for lips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, overload

from .audio import AudioReader, LightAudio
from .audio_v2 import LightAudioV2
from .face import FaceReader, LightFace
from .lips import LightLips, LipReader
from .scene import LightScene, SceneReader
from .text import LightText, TextReader
from .types import MODALITIES, Modality

READERS = ("light",)
AnyReader: TypeAlias = SceneReader | FaceReader | TextReader | AudioReader

_BY_NAME: Mapping[Modality, Mapping[str, Callable[[], AnyReader]]] = {
    "scene": {"light": LightScene},
    "face": {"light": LightFace},
    "text": {"light": LightText},
    "audio": {"light": LightAudio, "light-v2": LightAudioV2},
}


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


@overload
def build_reader(modality: Literal["scene"], name: str) -> SceneReader: ...
@overload
def build_reader(modality: Literal["face"], name: str) -> FaceReader: ...
@overload
def build_reader(modality: Literal["text"], name: str) -> TextReader: ...
@overload
def build_reader(modality: Literal["audio"], name: str) -> AudioReader: ...
@overload
def build_reader(modality: Modality, name: str) -> AnyReader: ...
def build_reader(modality: Modality, name: str) -> AnyReader:
    """One modality's reader by name, for when one extractor improves and the others stay.

    Raises:
        ValueError: the modality or the name is unknown; the known ones are named.
    """
    if modality not in _BY_NAME:
        raise ValueError(f"known modalities are {', '.join(MODALITIES)}, got {modality!r}")
    known = _BY_NAME[modality]
    if name not in known:
        raise ValueError(f"known readers of {modality} are {', '.join(known)}, got {name!r}")
    return known[name]()


def readers_of(spaces: Mapping[str, str]) -> Readers:
    """The readers whose vectors are of these spaces, as a checkpoint names them.

    A modality without one of ours gets the light reader: its space then tells whoever compares.
    """
    chosen = {m: _of_space(m, spaces.get(m)) for m in _BY_NAME}
    return Readers(**chosen, lips=LightLips())  # type: ignore[arg-type]


def _of_space(modality: Modality, space: str | None) -> AnyReader:
    readers = [make() for make in _BY_NAME[modality].values()]
    return next((reader for reader in readers if reader.space == space), readers[0])
