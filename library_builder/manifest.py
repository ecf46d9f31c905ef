"""The hand-over: a shard is a folder of clips and their vectors, written whole and checked when it is read.

shard.json               schema, spaces, number of clips, SHA-256 of the other files, notes of the builder
clips.jsonl              one clip a line: its record, and the row of its vector in each modality it has
vectors_<modality>.npy   float32 (rows, D), one row per clip that has the modality
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt

from .atomic import whole_folder
from .checksum import file_digest
from .types import MODALITIES, Clip, Emotion, Modality, space_width

SCHEMA = "authentic-dubber/shard/1"

SHARD, CLIPS = "shard.json", "clips.jsonl"


class ManifestError(ValueError):
    """A shard that is not what it says it is, or clips that cannot be one."""


def check_relative(path: str) -> str:
    """A path that stays below its root wherever it is read, handed back as it is.

    Raises:
        ValueError: it is empty, absolute, has a drive or backslashes, or climbs by `..`.
    """
    parts = PurePosixPath(path).parts
    if (
        not parts
        or path.startswith("/")
        or ".." in parts
        or "\\" in path
        or "\0" in path
        or PureWindowsPath(path).drive
    ):
        raise ValueError(f"expected a relative path with forward slashes and no '..', got {path!r}")
    return path


def write_shard(folder: Path, clips: Sequence[Clip], info: Mapping[str, Any] | None = None) -> Path:
    """Writes clips as a new shard and returns its folder.

    Args:
        info: anything JSON can hold that a reader of the shard should know, such as what was skipped.

    Raises:
        FileExistsError: the folder is there already.
        ManifestError: no clips, an id twice, a path that is not relative, or two spaces in one modality.
    """
    folder = Path(folder)
    _check_clips(clips)
    spaces = _spaces(clips)
    with whole_folder(folder) as temporary:
        rows: dict[Modality, list[npt.NDArray[np.float32]]] = {modality: [] for modality in spaces}
        with (temporary / CLIPS).open("w", encoding="utf-8", newline="\n") as file:
            for clip in clips:
                places = {modality: len(rows[modality]) for modality in spaces if modality in clip.emotions}
                for modality in places:
                    rows[modality].append(clip.emotions[modality].vector)
                record = {"clip": clip.record(), "rows": places}
                file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        for modality, vectors in rows.items():
            np.save(temporary / _vectors(modality), np.stack(vectors).astype("<f4"), allow_pickle=False)
        shard = {
            "schema": SCHEMA,
            "spaces": spaces,
            "count": len(clips),
            "sha256": {name: file_digest(temporary / name) for name in _names(spaces)},
            "info": dict(info or {}),
        }
        text = json.dumps(shard, ensure_ascii=False, indent=2, allow_nan=False)
        (temporary / SHARD).write_text(text + "\n", encoding="utf-8")
    return folder


def read_shard(folder: Path) -> Iterator[Clip]:
    """The clips of a shard in their order. The folder is checked before the first clip, every clip as it comes.

    Vectors are mapped, not loaded: memory stays small for any number of clips.

    Raises:
        FileNotFoundError: there is no shard, or a file of it is missing.
        ManifestError: the schema is unknown, a file is not the one that was written, or its content contradicts itself.
    """
    folder = Path(folder)
    shard = read_header(folder)
    spaces: dict[Modality, str] = shard["spaces"]
    for name in _names(spaces):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: expected as part of the shard, there is none")
        if file_digest(folder / name) != shard["sha256"].get(name):
            raise ManifestError(f"{folder / name}: expected the file that was written, its SHA-256 differs")
    tables = {modality: _table(folder / _vectors(modality), space) for modality, space in spaces.items()}
    return _clips(folder, shard, tables)


def read_header(folder: Path) -> dict[str, Any]:
    """The content of `shard.json`: `spaces`, `count`, `sha256`, `info`.

    Raises:
        FileNotFoundError: there is no shard.
        ManifestError: the schema or a modality is unknown, or a field is missing.
    """
    path = Path(folder) / SHARD
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a shard, there is none")
    try:
        shard = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ManifestError(f"{path}: expected JSON: {error}") from error
    schema = shard.get("schema") if isinstance(shard, dict) else None
    if schema != SCHEMA:
        raise ManifestError(f"{path}: expected schema {SCHEMA}, got {schema!r}")
    for field, kind in (("spaces", dict), ("count", int), ("sha256", dict), ("info", dict)):
        if not isinstance(shard.get(field), kind):
            raise ManifestError(f"{path}: expected {field} as {kind.__name__}, got {type(shard.get(field)).__name__}")
    unknown = set(shard["spaces"]) - set(MODALITIES)
    if unknown:
        raise ManifestError(
            f"{path}: expected the modalities {', '.join(MODALITIES)}, got {', '.join(sorted(unknown))}"
        )
    return shard


def _clips(
    folder: Path, shard: Mapping[str, Any], tables: Mapping[Modality, npt.NDArray[np.float32]]
) -> Iterator[Clip]:
    seen: set[str] = set()
    with (folder / CLIPS).open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                entry = json.loads(line)
                rows: Mapping[Modality, int] = entry["rows"]
                emotions = {m: Emotion(shard["spaces"][m], _row(tables[m], row)) for m, row in rows.items()}
                clip = Clip.from_record(entry["clip"], emotions)
                check_relative(clip.media)
            except (ValueError, KeyError, TypeError) as error:
                raise ManifestError(f"{folder / CLIPS}: line {number}: {error!s}") from error
            if clip.id in seen:
                raise ManifestError(f"{folder / CLIPS}: line {number}: expected each id once, got {clip.id!r} again")
            seen.add(clip.id)
            yield clip
    if len(seen) != shard["count"]:
        raise ManifestError(f"{folder / CLIPS}: expected {shard['count']} clips, got {len(seen)}")


def _row(table: npt.NDArray[np.float32], row: object) -> npt.NDArray[np.float32]:
    # A negative index would quietly give another clip's vector.
    if not isinstance(row, int) or not 0 <= row < len(table):
        raise ValueError(f"expected a row below {len(table)}, got {row!r}")
    return table[row]


def _table(path: Path, space: str) -> npt.NDArray[np.float32]:
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
        width = space_width(space)
    except ValueError as error:
        raise ManifestError(f"{path}: {error}") from error
    if table.dtype != np.float32 or table.ndim != 2 or table.shape[1] != width:
        raise ManifestError(f"{path}: expected float32 (rows, {width}) for {space}, got {table.dtype} {table.shape}")
    return table


def _check_clips(clips: Sequence[Clip]) -> None:
    if not clips:
        raise ManifestError("expected at least one clip, got none")
    seen: set[str] = set()
    for clip in clips:
        if clip.id in seen:
            raise ManifestError(f"expected each clip id once, got {clip.id!r} again")
        seen.add(clip.id)
        try:
            check_relative(clip.media)
        except ValueError as error:
            raise ManifestError(f"clip {clip.id}: {error}") from error


def _spaces(clips: Sequence[Clip]) -> dict[Modality, str]:
    """The one space of each modality, in the order of `MODALITIES`."""
    found: dict[Modality, str] = {}
    for clip in clips:
        for modality, emotion in clip.emotions.items():
            if modality not in MODALITIES:
                raise ManifestError(
                    f"clip {clip.id}: expected the modalities {', '.join(MODALITIES)}, got {modality!r}"
                )
            if found.setdefault(modality, emotion.space) != emotion.space:
                raise ManifestError(f"clip {clip.id}: expected {modality} in {found[modality]}, got {emotion.space}")
    return {modality: found[modality] for modality in MODALITIES if modality in found}


def _names(spaces: Mapping[Modality, str]) -> list[str]:
    return [CLIPS, *(_vectors(modality) for modality in spaces)]


def _vectors(modality: Modality) -> str:
    return f"vectors_{modality}.npy"
