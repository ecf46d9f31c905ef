"""Versions of a library on disk: immutable folders, one manifest each, and a pointer to the current one.

    root/
      CURRENT                 the name of the version that readers get
      v0001-3fa29c04/         number, then the first eight digits of the content's SHA-256
        manifest.json         schema, spaces, counts, and a checksum of every other file
        clips.lmdb  scene.faiss  face.faiss  text.faiss

A version is written under a temporary name, synced and renamed, so a reader sees all of it or none of it.
Standard library only.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from library_builder.checksum import file_digest

SCHEMA = 1
"""Number of the layout on disk: folders, manifest, records and indices together. Another number is refused."""

CURRENT = "CURRENT"
MANIFEST = "manifest.json"
STAGING_PREFIX = ".new-"

_NAME = re.compile(r"v(\d{4,})-([0-9a-f]{8})")
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z]+")
_logger = logging.getLogger(__name__)


class NoLibrary(FileNotFoundError):
    """The folder holds no library, or not the version asked for."""


class DirtyVersion(ValueError):
    """A version is unfinished, altered since it was written, or written in an unknown schema."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a version says about itself.

    Attributes:
        schema: layout number, see `SCHEMA`.
        version: the folder's name.
        content: SHA-256 of the clips in id order; equal clips give equal content, whatever the order of commit.
        count: clips.
        counts: clips that have a vector, per modality.
        spaces: the emotion space of each modality.
        files: SHA-256 of each file but the manifest.
        created: UTC, ISO 8601.
        source: what the committer says about the clips' origin.
    """

    schema: int
    version: str
    content: str
    count: int
    counts: Mapping[str, int]
    spaces: Mapping[str, str]
    files: Mapping[str, str]
    created: str
    source: Mapping[str, Any]


def version_names(root: Path) -> tuple[str, ...]:
    """Names of the finished versions, oldest first; temporary folders and folders without a manifest are not seen."""
    if not root.is_dir():
        return ()
    names = [path.name for path in root.iterdir() if _NAME.fullmatch(path.name) and (path / MANIFEST).is_file()]
    return tuple(sorted(names, key=lambda name: (_number(name), name)))


def current_version(root: Path) -> str:
    """The version that readers get.

    Raises:
        NoLibrary: the folder has no pointer.
        DirtyVersion: the pointer does not hold a version's name.
    """
    pointer = root / CURRENT
    if not pointer.is_file():
        raise NoLibrary(f"expected a library in {root}, got a folder without {CURRENT}: commit clips first")
    name = pointer.read_text(encoding="utf-8", errors="replace").strip()
    if not _NAME.fullmatch(name):
        raise DirtyVersion(f"{pointer}: expected a version such as 'v0001-0a1b2c3d', got {name[:80]!r}")
    return name


def point(root: Path, version: str) -> None:
    """Make `version` the current one, in one step. Readers already open keep theirs.

    Raises:
        NoLibrary: there is no finished version of that name.
        ValueError: that is no version's name.
    """
    _folder(root, version)
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
    _sync_folder(root)


def read_manifest(root: Path, version: str, *, verify: bool = True) -> Manifest:
    """The manifest of a version whose files are as they were written.

    Args:
        verify: read every file and compare checksums; without it only their presence is checked.

    Raises:
        NoLibrary: there is no such version.
        DirtyVersion: it is unfinished, altered, or of an unknown schema.
        ValueError: `version` is no version's name.
    """
    folder = _folder(root, version)
    manifest = _parse(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not _FILE_NAME.fullmatch(name) or not path.is_file():
            raise DirtyVersion(f"{folder}: the manifest names {name!r}, which is not in the version")
        if verify and (got := file_digest(path)) != expected:
            raise DirtyVersion(f"{path} was altered: expected SHA-256 {expected[:12]}, got {got[:12]}")
    return manifest


def find_content(root: Path, content: str) -> str | None:
    """The intact version that already holds this content, if there is one."""
    for name in version_names(root):
        if not name.endswith(content[:8]):
            continue
        try:
            manifest = read_manifest(root, name)
        except DirtyVersion as error:
            _logger.warning("version %s holds the same clips but cannot be reused: %s", name, error)
            continue
        if manifest.content == content:
            return name
    return None


@contextmanager
def staging(root: Path) -> Iterator[Path]:
    """A temporary folder beside the versions, gone afterwards unless `publish` renamed it."""
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=root))
    try:
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder)


def publish(
    root: Path,
    staged: Path,
    *,
    content: str,
    count: int,
    counts: Mapping[str, int],
    spaces: Mapping[str, str],
    source: Mapping[str, Any],
) -> str:
    """Seal a staged folder with a manifest, sync it, give it its name, and make it current.

    Two writers at once may take the same number but never the same name; the pointer goes to the last.

    Returns:
        The version's name.

    Raises:
        ValueError: `source` is not JSON.
    """
    number = 1 + max((_number(path.name) for path in root.iterdir() if _NAME.fullmatch(path.name)), default=0)
    version = f"v{number:04d}-{content[:8]}"
    files = {path.name: file_digest(path) for path in sorted(staged.iterdir())}
    manifest = Manifest(
        schema=SCHEMA,
        version=version,
        content=content,
        count=count,
        counts=dict(counts),
        spaces=dict(spaces),
        files=files,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        source=dict(source),
    )
    try:
        text = json.dumps(asdict(manifest), indent=2, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the source of a library is written as JSON, got {source!r}: {error}") from error
    (staged / MANIFEST).write_text(text + "\n", encoding="utf-8")
    for path in staged.iterdir():
        _sync_file(path)
        path.chmod(0o444)
    staged.chmod(0o755)
    _sync_folder(staged)
    os.rename(staged, root / version)
    _sync_folder(root)
    point(root, version)
    return version


def _folder(root: Path, version: str) -> Path:
    if not _NAME.fullmatch(version):  # also keeps '..' and '/' out of the path
        raise ValueError(f"expected a version such as 'v0001-0a1b2c3d', got {version!r}")
    folder = root / version
    if not folder.is_dir():
        raise NoLibrary(f"no version {version} in {root}: it holds {', '.join(version_names(root)) or 'none'}")
    if not (folder / MANIFEST).is_file():
        raise DirtyVersion(f"{folder} is unfinished: expected {MANIFEST} in it, got none")
    return folder


def _parse(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        schema = values["schema"]
        if schema != SCHEMA:
            raise DirtyVersion(f"{path}: expected schema {SCHEMA}, got {schema!r}")
        manifest = Manifest(**values)
        if manifest.version != folder.name or not folder.name.endswith(manifest.content[:8]):
            raise DirtyVersion(f"{path}: expected the manifest of {folder.name}, got that of {manifest.version}")
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DirtyVersion(f"{path}: expected a library manifest, got {error!r}") from error
    return manifest


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    assert match is not None, name
    return int(match[1])


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder to sync it; its rename is journalled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
