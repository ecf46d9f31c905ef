"""Versions of a library on disk: immutable folders, one sealed manifest each, and a pointer to the current one.

    root/
      CURRENT                 the name of the version that readers get
      LOCK                    who is changing the library, while somebody does
      kept/v0001-3fa29c04     an empty file per version that is to be kept
      v0002-77d01c5e/         number, then the first eight digits of the content
        manifest.json         what the version says about itself, and a checksum of every other file
        s<digest>.lmdb  s<digest>_scene.faiss  s<digest>_facts.npy  s<digest>_names.json   its segments

A version is written under a temporary name, synced and renamed, so a reader sees all of it or none of it. Files that
two versions share are hard links: every folder is whole in itself, and removing one never harms another.
Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from library_builder.atomic import sync
from library_builder.checksum import file_digest

SCHEMA = 2
"""Number of the layout on disk: folders, manifest, records and indices together. Another number is refused."""

CURRENT = "CURRENT"
MANIFEST = "manifest.json"
STAGING_PREFIX = ".new-"

VERSION_NAME = re.compile(r"v(\d{4,})-([0-9a-f]{8})")
_SEGMENT_NAME = re.compile(r"s[0-9a-f]{16}")
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z]+")
_logger = logging.getLogger(__name__)


class NoLibrary(FileNotFoundError):
    """The folder holds no library, or not the version asked for."""


class DirtyVersion(ValueError):
    """A version is unfinished, altered since it was written, or written in an unknown schema."""


class OldSchema(DirtyVersion):
    """A version of an earlier schema, which `migrate` turns into one of this."""


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What a manifest says of one segment.

    Attributes:
        name: `s` and the first sixteen digits of the SHA-256 of its records; its files begin with it.
        count: clips.
        content: sum of the records' SHA-256 modulo 2^256, in hexadecimal.
        counts: clips that have a vector, per modality.
        licences: clips per licence; `""` for clips that name none.
        indices: how each modality's vectors are searched.
    """

    name: str
    count: int
    content: str
    counts: Mapping[str, int]
    licences: Mapping[str, int]
    indices: Mapping[str, Mapping[str, Any]]

    @property
    def index_bytes(self) -> int:
        """What the indices take, mapped or not."""
        return round(sum(one["bytes_per_vector"] * self.counts[m] for m, one in self.indices.items()))


@dataclass(frozen=True, slots=True)
class Facts:
    """What a version is made of, and from.

    Attributes:
        segments: disjoint sets of clips.
        spaces: the emotion space of each modality.
        extractors: what the committer says of them, per modality: name, weights and so on.
        source: what the committer says about the clips' origin.
        parent: the version this one was made from.
        seed: of whatever was drawn while indices were made.
        budget: of the indices: the recall asked for, and the memory of all.
        tools: versions of what wrote the files.
    """

    segments: tuple[SegmentFacts, ...]
    spaces: Mapping[str, str]
    extractors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    seed: int = 0
    budget: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Clips in all."""
        return sum(segment.count for segment in self.segments)

    @property
    def content(self) -> str:
        """A number of the clips alone: neither their order nor their segments change it."""
        total: int = sum(int(segment.content, 16) for segment in self.segments)
        return f"{total % (1 << 256):064x}"

    @property
    def counts(self) -> dict[str, int]:
        """Clips that have a vector, per modality."""
        return {m: sum(segment.counts.get(m, 0) for segment in self.segments) for m in self.spaces}

    @property
    def licences(self) -> dict[str, int]:
        """Clips per licence; `""` for clips that name none."""
        names = sorted({name for segment in self.segments for name in segment.licences})
        return {name: sum(segment.licences.get(name, 0) for segment in self.segments) for name in names}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a version says about itself.

    Attributes:
        schema: layout number, see `SCHEMA`.
        version: the folder's name.
        created: UTC, ISO 8601.
        facts: what it is made of.
        files: SHA-256 of each file but the manifest.
    """

    schema: int
    version: str
    created: str
    facts: Facts
    files: Mapping[str, str]

    @property
    def source(self) -> Mapping[str, Any]:
        """What the committer said about the clips' origin."""
        return self.facts.source


def is_file_name(name: str) -> bool:
    """Whether a version's file may be called so; a path is none."""
    return _FILE_NAME.fullmatch(name) is not None


def version_names(root: Path) -> tuple[str, ...]:
    """Names of the finished versions, oldest first; temporary folders and folders without a manifest are not seen."""
    if not root.is_dir():
        return ()
    names = [path.name for path in root.iterdir() if VERSION_NAME.fullmatch(path.name) and (path / MANIFEST).is_file()]
    return tuple(sorted(names, key=lambda name: (number_of(name), name)))


def number_of(name: str) -> int:
    """The number in a version's name."""
    return int(name[1:].partition("-")[0])


def no_library(root: Path) -> NoLibrary:
    """The error of a folder without a version."""
    return NoLibrary(f"expected a library in {root}, got no {CURRENT} there: build one, or run its build again")


def current_version(root: Path) -> str:
    """The version that readers get.

    Raises:
        NoLibrary: the folder has no pointer.
        DirtyVersion: the pointer does not hold a version's name.
    """
    pointer = root / CURRENT
    try:
        name = pointer.read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise no_library(root) from error
    if not VERSION_NAME.fullmatch(name):
        raise DirtyVersion(f"{pointer}: expected a version such as 'v0001-0a1b2c3d', got {name[:80]!r}")
    return name


def point(root: Path, version: str) -> None:
    """Make `version` the current one, in one step. Readers already open keep theirs.

    Raises:
        NoLibrary: there is no finished version of that name.
        ValueError: that is no version's name.
    """
    version_folder(root, version)
    descriptor, temporary = tempfile.mkstemp(prefix=STAGING_PREFIX, dir=root)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(version + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # a temporary file is private; the pointer is as public as the versions
        os.replace(temporary, root / CURRENT)
    finally:
        Path(temporary).unlink(missing_ok=True)
    sync(root)


def read_manifest(root: Path, version: str, *, verify: bool = True) -> Manifest:
    """The manifest of a version whose files are as they were written.

    Args:
        verify: read every file and compare checksums; without it the manifest alone is checked, and that its files
            are there.

    Raises:
        NoLibrary: there is no such version.
        DirtyVersion: it is unfinished, altered, or of an unknown schema.
        ValueError: `version` is no version's name.
    """
    folder = version_folder(root, version)
    manifest = _parse(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not _FILE_NAME.fullmatch(name) or not path.is_file():
            raise DirtyVersion(f"{folder}: the manifest names {name!r}, which is not in the version")
        if verify and (got := file_digest(path)) != expected:
            raise DirtyVersion(f"{path} was altered: expected SHA-256 {expected[:12]}, got {got[:12]}")
    for segment in manifest.facts.segments:
        if not _SEGMENT_NAME.fullmatch(segment.name) or f"{segment.name}.lmdb" not in manifest.files:
            raise DirtyVersion(f"{folder}: expected segments of the version's own files, got {segment.name!r}")
    return manifest


def find_content(root: Path, content: str, budget: Mapping[str, Any]) -> str | None:
    """The intact version that already holds this content, with indices of this budget, if there is one."""
    for name in version_names(root):
        if not name.endswith(content[:8]):
            continue
        try:
            manifest = read_manifest(root, name)
        except DirtyVersion as error:
            _logger.warning("version %s holds the same clips but cannot be reused: %s", name, error)
            continue
        if manifest.facts.content == content and manifest.facts.budget == budget:
            return name
    return None


@contextmanager
def staging(root: Path) -> Iterator[Path]:
    """A temporary folder beside the versions, gone afterwards unless `seal` renamed it."""
    folder = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=root))
    try:
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder)


def share(source: Path, target: Path) -> None:
    """A file of one version in another: one more name for it, or a copy where the file system has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        sync(target)
        target.chmod(0o444)


def seal(root: Path, staged: Path, facts: Facts, known: Mapping[str, str] | None = None) -> str:
    """Give a staged folder its manifest, sync it, and rename it to the version it is. It is not current yet.

    Args:
        known: checksums of files shared with another version, by their names; they are on the disk already.

    Returns:
        The version's name.

    Raises:
        ValueError: `source` or `extractors` are not JSON.
    """
    known = known or {}
    number = 1 + max((number_of(path.name) for path in root.iterdir() if VERSION_NAME.fullmatch(path.name)), default=0)
    version = f"v{number:04d}-{facts.content[:8]}"
    names = sorted(path.name for path in staged.iterdir())
    files = {name: known.get(name) or file_digest(staged / name) for name in names}
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    (staged / MANIFEST).write_text(_manifest_text(Manifest(SCHEMA, version, created, facts, files)), encoding="utf-8")
    for path in staged.iterdir():
        if path.name not in known:
            sync(path)
            path.chmod(0o444)
    staged.chmod(0o755)
    sync(staged)
    os.rename(staged, root / version)
    sync(root)
    return version


def check_json(what: str, values: Mapping[str, Any]) -> None:
    """Make sure that a manifest can hold these values.

    Raises:
        ValueError: they are not JSON.
    """
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the {what} of a library is written as JSON, got {values!r}: {error}") from error


def version_folder(root: Path, version: str) -> Path:
    """The folder of a finished version.

    Raises:
        NoLibrary: there is none of that name.
        DirtyVersion: it has no manifest.
        ValueError: that is no version's name.
    """
    if not VERSION_NAME.fullmatch(version):  # also keeps '..' and '/' out of the path
        raise ValueError(f"expected a version such as 'v0001-0a1b2c3d', got {version!r}")
    folder = root / version
    if not folder.is_dir():
        raise NoLibrary(f"no version {version} in {root}: it holds {', '.join(version_names(root)) or 'none'}")
    if not (folder / MANIFEST).is_file():
        raise DirtyVersion(f"{folder} is unfinished: expected {MANIFEST} in it, got none")
    return folder


def schema_of(root: Path, version: str) -> int | None:
    """The schema that a version says it is of; None when it says nothing that can be read."""
    try:
        schema = json.loads((version_folder(root, version) / MANIFEST).read_text(encoding="utf-8"))["schema"]
    except (ValueError, KeyError, TypeError):
        return None
    return schema if isinstance(schema, int) else None


def _manifest_text(manifest: Manifest) -> str:
    """The one text of a manifest. Its last word is its own checksum, so that no byte of it can change unnoticed."""
    values = {**asdict(manifest.facts), **_sums(manifest.facts)}
    files, created = dict(manifest.files), manifest.created
    values |= {"schema": manifest.schema, "version": manifest.version, "created": created, "files": files}
    return _sealed(values)


def _sums(facts: Facts) -> dict[str, Any]:
    """What follows from the segments, written out for whoever reads the file."""
    return {
        "content": facts.content,
        "count": facts.count,
        "counts": dict(facts.counts),
        "licences": dict(facts.licences),
    }


def _sealed(values: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in values.items() if key != "seal"}
    text = json.dumps(plain, sort_keys=True, allow_nan=False)
    plain["seal"] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(plain, indent=2, sort_keys=True) + "\n"


def _parse(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        text = path.read_bytes().decode()
        values = json.loads(text)
        schema = values["schema"]
        if schema == 1:
            raise OldSchema(f"{path}: expected schema {SCHEMA}, got 1: run `dub library migrate {folder.parent}`")
        if schema != SCHEMA:
            raise DirtyVersion(f"{path}: expected schema {SCHEMA}, got {schema!r}")
        if _sealed(values) != text:
            raise DirtyVersion(f"{path} was altered: its seal does not fit what it says")
        sums = {key: values.pop(key) for key in ("content", "count", "counts", "licences")}
        segments = tuple(SegmentFacts(**one) for one in values.pop("segments"))
        version, created, files = (values.pop(key) for key in ("version", "created", "files"))
        facts = Facts(segments, **{key: value for key, value in values.items() if key not in ("schema", "seal")})
        own, named = _sums(facts), str(sums["content"])
        files = {str(name): str(digest) for name, digest in files.items()}
    except DirtyVersion:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DirtyVersion(f"{path}: expected a library manifest, got {error!r}") from error
    if version != folder.name or not folder.name.endswith(named[:8]):
        raise DirtyVersion(f"{path}: expected the manifest of {folder.name}, got that of {version}")
    if own != sums:
        raise DirtyVersion(f"{folder} contradicts its manifest: its segments are not the content it names")
    return Manifest(schema, version, created, facts, files)
