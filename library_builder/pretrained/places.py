"""Where the models of a command line lie: `--model-dir` with one to a sub-folder, and `--model` for single ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .source import ModelError, ModelSource, find_folder, find_model

VIDEO_LLM, ROBERTA, COMET, EMOTION2VEC, LIPS = "video_llm", "roberta", "comet", "emotion2vec", "lips"
FACE_API = "face_api"
NAMES = (VIDEO_LLM, ROBERTA, COMET, EMOTION2VEC, LIPS, FACE_API)
_FORM = "--model NAME=DIR|HUB-ID[@REVISION]"


@dataclass(frozen=True, slots=True)
class ModelPlaces:
    """A folder of models, and models that stand elsewhere. A model that is named goes before its sub-folder.

    Attributes:
        folder: with a sub-folder per model; None where every model is named.
        named: pairs of a sub-folder's name and what takes its place: a folder or a hub name, `@` and a revision after
            it where one has to be met.
    """

    folder: Path | None = None
    named: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, folder: Path | None, given: Sequence[str] = ()) -> ModelPlaces | None:
        """What `--model-dir` and every `--model` say; None where neither was given.

        Raises:
            ModelError: one is not of the form, of an unknown name, or comes twice.
        """
        named: dict[str, str] = {}
        for text in given:
            name, _, where = text.partition("=")
            place, revision = _parted(where)
            if not place or revision == "":
                raise ModelError(f"expected {_FORM}, got {text!r}")
            if name not in NAMES:
                raise ModelError(f"expected {_FORM} with a NAME of {', '.join(NAMES)}, got {name!r}")
            if name in named:
                raise ModelError(f"expected one model for {name}, got {named[name]} and {where}")
            # Workers may run elsewhere, so folders are named in full.
            full = str(Path(place).absolute()) if Path(place).is_dir() else place
            named[name] = full if revision is None else f"{full}@{revision}"
        if folder is None and not named:
            return None
        return cls(None if folder is None else folder.absolute(), tuple(named.items()))

    def check(self) -> None:
        """Raises ModelError where a folder was given that is not there."""
        if self.folder is not None and not self.folder.is_dir():
            raise ModelError(f"{self.folder}: expected a folder with {VIDEO_LLM}/, {ROBERTA}/ and so on, there is none")

    def has(self, name: str) -> bool:
        """Whether a model was named, or has a sub-folder."""
        return name in dict(self.named) or (self.folder is not None and (self.folder / name).is_dir())

    def find(self, name: str, *needed: str) -> ModelSource:
        """A model, its files checked. The network is not asked.

        Raises:
            ModelError: it is not there, not whole, or of another revision.
            ImportError: a hub name, and huggingface_hub is not installed.
        """
        place, revision = self._place(name)
        return find_model(place, revision=revision, needed=needed)

    def find_folder(self, name: str) -> Path:
        """The folder of a model whose files no model source knows; raises as `find`."""
        place, revision = self._place(name)
        return find_folder(place, revision=revision)

    def told(self) -> str:
        """Where models are looked for, for people."""
        return str(self.folder) if self.folder is not None else "the models named"

    def _place(self, name: str) -> tuple[str, str | None]:
        named = dict(self.named)
        if name in named:
            return _parted(named[name])
        if self.folder is None:
            raise ModelError(
                f"expected the model {name} (--model {name}=DIR|HUB-ID, or a sub-folder {name}/ of --model-dir DIR), "
                f"got only {', '.join(named)}"
            )
        if not self.has(name):
            raise ModelError(
                f"{self.folder}: expected a sub-folder {name}/ with the model's files, there is none "
                f"(or --model {name}=DIR|HUB-ID)"
            )
        return str(self.folder / name), None


def _parted(where: str) -> tuple[str, str | None]:
    """A place and its revision, if it has one; a folder may have an `@` in its name."""
    place, at, revision = where.rpartition("@")
    return (place, revision) if at and not Path(where).is_dir() else (where, None)
