"""An evaluation set on disk: lines to be spoken, what they should sound like, and all that a dubber would have seen.

set.json                        what the set is, and its cases in order
waves/*.wav                     prompts and recordings
own_scene.npy, own_face.npy, own_text.npy
                                one row per case, zeros where a case has none; any of the files may be missing
lips.npy, lips.offsets.npy      lip features, a run of rows per case
mouth.npy, mouth.offsets.npy    mouth opening per video frame, a run per case, from the beginning of its slot
libraries/<film>/               the reference library of a film; `any` serves every other film

A set needs nothing outside its folder, and every path in it stays inside.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from authentic_dubber.training.cache import Ragged, save_ragged, save_rows
from library_builder.manifest import check_relative
from library_builder.mux import write_wave
from library_builder.types import QUERY_MODALITIES, Clip, Emotion, Modality, space_width
from retrieval import commit
from vocoder.storage import whole_folder

SCHEMA = 1
INDEX = "set.json"
WAVES, LIBRARIES, ANY_FILM = "waves", "libraries", "any"
MOUTH_FPS = 25.0

Setting: TypeAlias = Literal["1.0", "2.0", "3.0"]
SETTINGS: Mapping[str, str] = {
    "1.0": "the target recording itself lends the voice: it leaks, and no figure of it stands for dubbing",
    "2.0": "another recording of the speaker lends the voice",
    "3.0": "another recording lends the voice, of a speaker no training has heard",
}
"""What a prompt is, in the numbering of the literature (Cong et al., "Learning to Dub Movies via Hierarchical Prosody
Models", 2023, for the first two)."""


class SetError(ValueError):
    """An evaluation set that is not what it says it is."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a set.

    Attributes:
        id: also the name of its take's file: letters, digits, `-`, `_` and `.`.
        voice: whose voice it should be, `corpus/speaker`.
        emotion: the feeling it should carry, or None.
        prompt: the wave that lends the voice, relative to the set.
        reference: the recording of this very line, relative to the set, or None.
        film: whose library answers, or None for none.
        slot_seconds: how long the line should last; None leaves it to the model.
        group: cases of one group differ in nothing but what is under test, such as the picture; or None.
    """

    id: str
    text: str
    language: str
    voice: str
    emotion: str | None
    prompt: str
    reference: str | None = None
    film: str | None = None
    slot_seconds: float | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        # A leading dot would hide the take, and `..` would climb.
        if not re.fullmatch(r"[\w-][\w.-]*", self.id):
            raise ValueError(f"expected a case id of letters, digits, '-', '_' and '.', got {self.id!r}")
        check_relative(self.prompt)
        if self.reference is not None:
            check_relative(self.reference)
        if self.film is not None and not re.fullmatch(r"[\w-][\w.-]*", self.film):
            raise ValueError(f"case {self.id}: expected a film named like a file, got {self.film!r}")
        if self.slot_seconds is not None and not 0 < self.slot_seconds < float("inf"):
            raise ValueError(f"case {self.id}: expected a slot of positive length, got {self.slot_seconds}")


@dataclass(frozen=True, slots=True)
class Content:
    """What a set says of itself.

    Attributes:
        setting: see `SETTINGS`.
        spaces: the emotion space of each modality that has vectors.
        lip_space: of the lip features, or None without any.
    """

    name: str
    setting: Setting
    language: str
    note: str
    spaces: Mapping[Modality, str]
    lip_space: str | None
    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        if self.setting not in get_args(Setting):
            raise SetError(f"{self.name}: known settings are {', '.join(SETTINGS)}, got {self.setting!r}")
        ids = [case.id for case in self.cases]
        if not ids:
            raise SetError(f"{self.name}: expected at least one case, got none")
        if len(set(ids)) < len(ids):
            twice = next(id for id in ids if ids.count(id) > 1)
            raise SetError(f"{self.name}: expected each case id once, got {twice!r} again")
        unknown = set(self.spaces) - set(QUERY_MODALITIES)
        if unknown:
            raise SetError(f"{self.name}: expected spaces of {', '.join(QUERY_MODALITIES)}, got {sorted(unknown)}")


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A set, opened for reading; `EvaluationSet.open` fetches the parts.

    Attributes:
        digest: of all files but the libraries, which have versions of their own.
        own: per modality one row per case, zeros where it has none.
        lips, mouth: runs of rows per case; None where the set has none.
    """

    folder: Path
    content: Content
    digest: str
    own: Mapping[Modality, npt.NDArray[np.floating]]
    lips: Ragged | None
    mouth: Ragged | None

    @classmethod
    def open(cls, folder: Path) -> EvaluationSet:
        """The set in a folder, checked.

        Raises:
            FileNotFoundError: there is no set, or a wave it names is missing.
            SetError: it contradicts itself, or a path in it leaves the folder.
        """
        folder = Path(folder)
        content = _read(folder)
        for case in content.cases:
            for name in (case.prompt, case.reference):
                if name is not None and not (folder / name).is_file():
                    raise FileNotFoundError(f"{folder / name}: expected a wave of case {case.id}, there is none")
            if content.setting != "1.0" and case.reference is not None and _alike(folder, case.prompt, case.reference):
                raise SetError(f"{folder}: case {case.id} is prompted by its own recording, which is setting 1.0")
        n = len(content.cases)
        own = {m: _rows(folder / f"own_{m}.npy", (n, space_width(s))) for m, s in content.spaces.items()}
        lips = _ragged(folder, "lips", n)
        if (lips is None) != (content.lip_space is None):
            raise SetError(f"{folder}: expected lips.npy and lip_space together, got one of them")
        return cls(folder, content, _digest(folder, content.cases), own, lips, _ragged(folder, "mouth", n))

    @property
    def cases(self) -> tuple[Case, ...]:
        return self.content.cases

    def prompt(self, case: Case) -> Path:
        """The wave that lends a case its voice."""
        return self.folder / case.prompt

    def reference(self, case: Case) -> Path | None:
        """The recording of a case."""
        return None if case.reference is None else self.folder / case.reference

    def library(self, case: Case) -> Path | None:
        """The reference library that a case asks; None where it has a film and no library, or no film."""
        if case.film is None:
            return None
        named, any_film = (self.folder / LIBRARIES / name for name in (case.film, ANY_FILM))
        return named if named.is_dir() else any_film if any_film.is_dir() else None

    def feelings(self, i: int) -> dict[Modality, Emotion]:
        """The stored vectors of case `i`; modalities it has none of are left out."""
        rows = {m: np.asarray(table[i], dtype=np.float32) for m, table in self.own.items()}
        return {m: Emotion(self.content.spaces[m], row) for m, row in rows.items() if row.any()}


def write_set(
    folder: Path,
    content: Content,
    *,
    waves: Mapping[str, npt.NDArray[np.float32]],
    sample_rate: int,
    own: Mapping[Modality, npt.NDArray[np.floating]] | None = None,
    lips: Sequence[npt.NDArray[np.floating]] | None = None,
    mouth: Sequence[npt.NDArray[np.floating]] | None = None,
    libraries: Mapping[str, Iterable[Clip]] | None = None,
) -> EvaluationSet:
    """Write a set, whole or not at all, and open it. A set that is there already is replaced.

    Args:
        waves: by file name below `waves/`, without the folder, such as `ada.wav`; at `sample_rate`.
        own: one row per case, zeros where it has none.
        lips: features per case, (V, L) each, V = 0 where it has none.
        mouth: opening per video frame and case, (V,) each, V = 0 where it has none.
        libraries: clips by film; `any` serves every film without its own.

    Raises:
        SetError, FileNotFoundError: see `EvaluationSet.open`.
    """
    with whole_folder(Path(folder)) as temporary:
        (temporary / WAVES).mkdir()
        for name, wave in waves.items():
            if "/" in check_relative(name):
                raise SetError(f"expected the name of a wave without folders, got {name!r}")
            write_wave(temporary / WAVES / name, wave, sample_rate)
        for modality, rows in (own or {}).items():
            save_rows(temporary, f"own_{modality}", np.asarray(rows, dtype=np.float32))
        for feature, runs in (("lips", lips), ("mouth", mouth)):
            if runs is not None:
                save_ragged(temporary, feature, [np.asarray(run, dtype=np.float32) for run in runs])
        for film, clips in (libraries or {}).items():
            commit(temporary / LIBRARIES / check_relative(film), clips)
        text = json.dumps({"schema": SCHEMA, **asdict(content)}, ensure_ascii=False, indent=1, allow_nan=False)
        (temporary / INDEX).write_text(text + "\n", encoding="utf-8")
        EvaluationSet.open(temporary)
    return EvaluationSet.open(folder)


def _read(folder: Path) -> Content:
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected an evaluation set, there is none")
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = values.pop("schema")
        if schema != SCHEMA:
            raise SetError(f"expected schema {SCHEMA}, got {schema!r}")
        return Content(**{**values, "cases": tuple(Case(**case) for case in values["cases"])})
    except (KeyError, TypeError) as error:
        wanted = ", ".join(field.name for field in fields(Content))
        raise SetError(f"{path}: expected schema, {wanted}, got {error}") from error
    except ValueError as error:
        raise SetError(f"{path}: {error}") from error


def _alike(folder: Path, one: str, other: str) -> bool:
    """Whether two waves are the same, by whatever names."""
    return one == other or filecmp.cmp(folder / one, folder / other, shallow=False)


def _rows(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.floating]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected vectors of a space that the set names, there are none")
    table: npt.NDArray[np.floating] = np.load(path, allow_pickle=False)
    if table.shape != shape or not np.isfinite(table).all():
        raise SetError(f"{path}: expected finite rows {shape}, got {table.shape}")
    return table


def _ragged(folder: Path, feature: str, n: int) -> Ragged | None:
    path = folder / f"{feature}.npy"
    if not path.is_file():
        return None
    values = np.load(path, allow_pickle=False)
    offsets = np.load(folder / f"{feature}.offsets.npy", allow_pickle=False)
    if offsets.shape != (n + 1,) or offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
        raise SetError(f"{path}: expected {n} runs over {len(values)} rows, got offsets {offsets[:3]}...")
    return Ragged(values, offsets)


def _digest(folder: Path, cases: Sequence[Case]) -> str:
    digest = hashlib.sha256()
    named = {name for case in cases for name in (case.prompt, case.reference) if name is not None}
    arrays = {path.name for path in folder.glob("*.npy")}
    for name in sorted({INDEX, *named, *arrays}):
        digest.update(name.encode())
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:16]
