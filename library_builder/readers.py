"""The readers of a library, chosen by name: one per modality, and one for lips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from .audio import AudioReader, LightAudio
from .audio_v2 import LightAudioV2
from .face import FaceReader, LightFace
from .lips import LIGHT_LIPS, LightLips, LipReader
from .scene import LightScene, SceneReader
from .text import LightText, TextReader
from .types import MODALITIES, Modality, space_width

if TYPE_CHECKING:
    from .pretrained.folder import ModelFolder
    from .pretrained.places import ModelPlaces

PAPER = "paper"
"""The extractors that the paper names; they need a folder of models."""
FACE_API = "face-api"
"""Faces by published small networks; they lie in the same folder of models."""
READERS = ("light", PAPER)
AnyReader: TypeAlias = SceneReader | FaceReader | TextReader | AudioReader

_BY_NAME: Mapping[Modality, Mapping[str, Callable[[], AnyReader]]] = {
    "scene": {"light": LightScene},
    "face": {"light": LightFace},
    "text": {"light": LightText},
    "audio": {"light": LightAudio, "light-v2": LightAudioV2},
}
_PRETRAINED: Mapping[Modality, Mapping[str, str]] = {
    "scene": {PAPER: "scene"},
    "face": {PAPER: "face", FACE_API: "expressive_face"},
    "text": {PAPER: "text"},
    "audio": {PAPER: "audio"},
}
"""By name the method of `ModelFolder` that makes the reader."""
_PRETRAINED_LIPS = "resnet-tcn-lips-"


@dataclass(frozen=True, slots=True)
class Models:
    """Where pretrained readers find their weights, and how they compute.

    Attributes:
        places: a folder with a sub-folder per model, see `pretrained.folder`, or models named one by one; None where
            only light readers are asked for.
        device: `auto`, `cpu`, `cuda` or a card such as `cuda:1`.
        precision: `auto`, `fp32` or `bf16`; `auto` is bf16 on a GPU.
        batch: shots that a video language model is asked about at once.
    """

    places: Path | ModelPlaces | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    batch: int = 4


@dataclass(frozen=True, slots=True)
class Readers:
    """One reader per modality. Parts from different makers may be mixed: each names the space of its vectors.

    Attributes:
        batch: stretches that are best read at once; see `feeling`.
        absent: optional models that were not found, by the name of their sub-folder, and what is left out for it.
    """

    scene: SceneReader
    face: FaceReader
    text: TextReader
    audio: AudioReader
    lips: LipReader
    batch: int = 1
    absent: Mapping[str, str] = field(default_factory=dict)

    def spaces(self) -> dict[Modality, str]:
        """The space of each modality's vectors, for manifests to record; lips give features, not a feeling."""
        return {
            "scene": self.scene.space,
            "face": self.face.space,
            "text": self.text.space,
            "audio": self.audio.space,
        }

    def ready(self) -> None:
        """Load weights now that would be loaded by the first clip, so that damaged ones are refused before any work.

        Raises:
            ModelError: weights are damaged, or of another model.
            ImportError: a package is missing.
        """
        for reader in (self.scene, self.face, self.text, self.audio):
            load = getattr(reader, "ready", None)
            if load is not None:
                load()


def build_readers(names: str = "light", models: Models | None = None) -> Readers:
    """The readers of a name, or of a name per modality.

    Args:
        names: such as `light`, `paper`, or `paper,audio=light-v2`.
        models: of pretrained readers.

    Raises:
        ValueError: a name is unknown, or a modality is named twice.
        ModelError: a model is not there, or not one of this kind.
    """
    models = models or Models()
    chosen, shared = parse_names(names), _Shared(models)
    made: dict[str, Any] = {modality: _make(modality, name, shared) for modality, name in chosen.items()}
    pretrained = any(name in _PRETRAINED[modality] for modality, name in chosen.items())
    lips = shared.folder().lips() if pretrained and shared.folder().places.has("lips") else LightLips()
    captioned = PAPER in (chosen["scene"], chosen["face"])
    absent = _absent(chosen, made, shared.folder().places) if pretrained else {}
    return Readers(**made, lips=lips, batch=models.batch if captioned else 1, absent=absent)


def _absent(chosen: Mapping[Modality, str], made: Mapping[str, AnyReader], places: ModelPlaces) -> dict[str, str]:
    """Optional models that are not there, and what that means."""
    found = {}
    if chosen["text"] == PAPER and not places.has("comet"):
        width = space_width(made["text"].space)
        found["comet"] = f"no comet/ in {places.told()}: a line's vector has no half for reactions ({width} values)"
    if not places.has("lips"):
        found["lips"] = f"no lips/ in {places.told()}: lips are read by the light reader ({LIGHT_LIPS})"
    return found


def parse_names(names: str) -> dict[Modality, str]:
    """Which reader each modality gets: `paper,audio=light` as `{"scene": "paper", ..., "audio": "light"}`.

    Raises:
        ValueError: not of this form, or an unknown name.
    """
    parts = [part.strip().partition("=") for part in names.split(",")]
    whole = [name for name, equals, _ in parts if not equals]
    single = {modality: name for modality, equals, name in parts if equals}
    if len(whole) > 1 or len(single) != len(parts) - len(whole) or set(single) - set(MODALITIES):
        raise ValueError(f"expected extractors such as light, paper or paper,audio=light-v2, got {names!r}")
    if whole and whole[0] not in READERS:
        raise ValueError(f"known readers are {', '.join(READERS)}, got {whole[0]!r}")
    chosen: dict[Modality, str] = {m: single.get(m, whole[0] if whole else "light") for m in MODALITIES}
    for modality, name in chosen.items():
        _check(modality, name)
    return chosen


@overload
def build_reader(modality: Literal["scene"], name: str, models: Models | None = None) -> SceneReader: ...
@overload
def build_reader(modality: Literal["face"], name: str, models: Models | None = None) -> FaceReader: ...
@overload
def build_reader(modality: Literal["text"], name: str, models: Models | None = None) -> TextReader: ...
@overload
def build_reader(modality: Literal["audio"], name: str, models: Models | None = None) -> AudioReader: ...
@overload
def build_reader(modality: Modality, name: str, models: Models | None = None) -> AnyReader: ...
def build_reader(modality: Modality, name: str, models: Models | None = None) -> AnyReader:
    """One modality's reader by name, for when one extractor improves and the others stay.

    Raises:
        ValueError: the modality or the name is unknown; the known ones are named.
        ModelError: a model is not there, or not one of this kind.
    """
    _check(modality, name)
    return _make(modality, name, _Shared(models or Models()))


def _check(modality: Modality, name: str) -> None:
    if modality not in _BY_NAME:
        raise ValueError(f"known modalities are {', '.join(MODALITIES)}, got {modality!r}")
    known = (*_BY_NAME[modality], *_PRETRAINED[modality])
    if name not in known:
        raise ValueError(f"known readers of {modality} are {', '.join(known)}, got {name!r}")


class _Shared:
    """The folder of models, opened by the first reader that needs it."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._folder: ModelFolder | None = None

    @property
    def there(self) -> bool:
        """Whether any place of models was given."""
        return self._models.places is not None

    def folder(self) -> ModelFolder:
        """Raises ValueError without a place of models."""
        if self._folder is None:
            from .pretrained.folder import ModelFolder
            from .pretrained.loading import choose_place

            if self._models.places is None:
                raise ValueError(
                    "expected a folder of models for pretrained extractors (--model-dir DIR), got none; or name each "
                    "model (--model NAME=DIR|HUB-ID)"
                )
            place = choose_place(self._models.device, self._models.precision)
            self._folder = ModelFolder(self._models.places, place, batch=self._models.batch)
        return self._folder


def _make(modality: Modality, name: str, shared: _Shared) -> AnyReader:
    if name in _BY_NAME[modality]:
        return _BY_NAME[modality][name]()
    reader: AnyReader = getattr(shared.folder(), _PRETRAINED[modality][name])()
    return reader


def needs_models(space: str) -> bool:
    """Whether vectors of a space are made by pretrained readers, which are not found by their space alone."""
    return space.startswith((f"{PAPER}-", f"{FACE_API}-", "emotion2vec"))


def readers_of(
    spaces: Mapping[str, str], lip_space: str = LIGHT_LIPS, *, models: Models | None = None, light_else: bool = False
) -> Readers:
    """The readers whose vectors are of these spaces, as a checkpoint names them.

    Args:
        spaces: by modality; one that is not named gets the light reader.
        models: of pretrained readers.
        light_else: a space that none of ours has gets the light reader too: the caller compares spaces itself.

    Raises:
        ValueError: no reader of ours has such a space, or it needs models that are not given.
        ModelError: a model is not there, or is not the one that the space is of.
    """
    shared = _Shared(models or Models())
    chosen: dict[str, Any] = {m: _of_space(m, spaces.get(m), shared, light_else) for m in _BY_NAME}
    if lip_space == LIGHT_LIPS or (light_else and not lip_space.startswith(_PRETRAINED_LIPS)):
        lips: LipReader = LightLips()
    elif lip_space.startswith(_PRETRAINED_LIPS):
        lips = _of_models("lips", lip_space, shared, lambda: shared.folder().lips())
    else:
        raise ValueError(f"expected lips in a space that a reader of ours has, got {lip_space}")
    captioned = any(spaces.get(m, "").startswith(f"{PAPER}-") for m in ("scene", "face"))
    return Readers(**chosen, lips=lips, batch=(models or Models()).batch if captioned else 1)


def _of_space(modality: Modality, space: str | None, shared: _Shared, light_else: bool) -> AnyReader:
    readers = [make() for make in _BY_NAME[modality].values()]
    found = next((reader for reader in readers if space in (None, reader.space)), None)
    if found is not None:
        return found
    assert space is not None
    if needs_models(space):
        name = FACE_API if space.startswith(FACE_API) else PAPER
        if name in _PRETRAINED[modality]:
            made: AnyReader = _of_models(modality, space, shared, lambda: _make(modality, name, shared))
            return made
    if light_else:
        return readers[0]
    known = ", ".join(reader.space for reader in readers)
    raise ValueError(f"expected {modality} in a space that a reader of ours has ({known} or a paper one), got {space}")


def _of_models(what: str, space: str, shared: _Shared, make: Callable[[], Any]) -> Any:
    """A pretrained reader, if it is the one that the space is of."""
    if not shared.there:
        raise ValueError(f"expected the models that read {what} in space {space} (--model-dir DIR), got none")
    made = make()
    if made.space != space:
        raise ValueError(
            f"expected the models that read {what} in space {space} (--model-dir DIR), got ones of {made.space}"
        )
    return made
