"""Looking after a library on disk: verify it, keep, collect, publish and take back versions, and say how it stands."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from library_builder.atomic import sync
from library_builder.checksum import file_digest

from .draft import leftovers, sweep
from .lock import Owner, builder_lock, lock_owner
from .versions import (
    CURRENT,
    MANIFEST,
    STAGING_PREFIX,
    VERSION_NAME,
    DirtyVersion,
    NoLibrary,
    OldSchema,
    current_version,
    is_file_name,
    no_library,
    number_of,
    point,
    read_manifest,
    version_folder,
    version_names,
)

KEPT = "kept"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """How one version stands.

    Attributes:
        clips, created, parent: as its manifest says; None when it cannot be read.
        own_bytes: what removing it would free: files that no other version has.
        bytes: all its files.
        trouble: why it cannot be opened; "" when it can.
    """

    version: str
    current: bool
    kept: bool
    clips: int | None
    created: str | None
    parent: str | None
    bytes: int
    own_bytes: int
    trouble: str


@dataclass(frozen=True, slots=True)
class LibraryStatus:
    """How a library stands.

    Attributes:
        current: the version that readers get; None when the pointer leads nowhere.
        bytes: of all versions, what they share counted once.
        owner: who holds the lock, and whether it is alive; None when nobody does.
        leftovers: names of what writers left when they died, or have in hand.
        unfinished: folders named like versions that have no manifest.
    """

    current: str | None
    versions: tuple[VersionStatus, ...]
    bytes: int
    owner: Owner | None
    leftovers: tuple[str, ...]
    unfinished: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Collected:
    """What `gc` removed.

    Attributes:
        versions: by name.
        leftovers: of writers that died.
        freed: bytes.
    """

    versions: tuple[str, ...]
    leftovers: tuple[str, ...]
    freed: int


def verify(root: Path) -> tuple[str, ...]:
    """Read every byte of every version, and of the pointer, and say what is not as it was written.

    A file that versions share is read once, and named in each.

    Returns:
        One line per altered or missing file; none when all is well.

    Raises:
        NoLibrary: there is no library.
    """
    names = _known(root)
    digests: dict[tuple[int, int], str] = {}
    return tuple(problem for problem in (*_pointer_problems(root), *_problems(root, names, digests)))


def keep(root: Path, version: str) -> None:
    """Let `gc` keep a version, whatever its age.

    Raises:
        NoLibrary: there is no such version.
    """
    version_folder(root, version)
    with builder_lock(root, "keeping a version"):
        version_folder(root, version)  # whoever collects versions holds the lock too
        (root / KEPT).mkdir(exist_ok=True)
        (root / KEPT / version).touch()
        sync(root / KEPT)


def unkeep(root: Path, version: str) -> None:
    """Let `gc` treat a version like any other.

    Raises:
        ValueError: it was not kept.
    """
    if version not in kept_versions(root):
        raise ValueError(
            f"expected a version that is kept, got {version}; kept: {', '.join(kept_versions(root)) or 'none'}"
        )
    with builder_lock(root, "keeping a version no more"):
        (root / KEPT / version).unlink(missing_ok=True)
        if not any((root / KEPT).iterdir()):
            (root / KEPT).rmdir()


def kept_versions(root: Path) -> tuple[str, ...]:
    """Versions that are kept, oldest first."""
    folder = root / KEPT
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return tuple(sorted(name for name in names if VERSION_NAME.fullmatch(name)))


def publish(root: Path, version: str) -> None:
    """Make a version the current one, once every byte of it was compared.

    Raises:
        NoLibrary: there is no such version.
        DirtyVersion: it was altered, or is of another schema.
        LibraryLocked: somebody else is changing the library.
    """
    _known(root)
    with builder_lock(root, "publishing a version"):
        read_manifest(root, version)
        point(root, version)


def rollback(root: Path) -> tuple[str, str | None]:
    """Make the version current that the current one was made from; the newest before it if that one is gone.

    Returns:
        The version's name, and that of the version it was made from where it is gone.

    Raises:
        NoLibrary: there is none before.
    """
    _known(root)
    with builder_lock(root, "rolling back"):
        current = current_version(root)
        earlier = [name for name in version_names(root) if number_of(name) < number_of(current)]
        try:
            parent = read_manifest(root, current, verify=False).facts.parent
        except (NoLibrary, DirtyVersion):  # what is damaged is what one goes back from
            parent = None
        target = parent if parent in version_names(root) else next(reversed(earlier), None)
        if target is None:
            raise NoLibrary(f"expected a version before {current} in {root}, there is none")
        read_manifest(root, target)
        point(root, target)
        return target, parent if parent != target else None


def gc(root: Path, keep: int = 3, *, dry: bool = False) -> Collected:
    """Remove old versions and what writers left when they died. Readers of what is removed go on undisturbed.

    The current version and the kept ones stay, and the newest `keep` of all.

    Args:
        dry: only say what would go.

    Raises:
        NoLibrary: there is no library, or its pointer leads nowhere: then nothing is sure to be dispensable.
        LibraryLocked: somebody is changing the library.
        ValueError: keep < 1.
    """
    if keep < 1:
        raise ValueError(f"expected to keep at least the newest version, got {keep}")
    _known(root)
    with builder_lock(root, "collecting old versions"):
        current = current_version(root)
        version_folder(root, current)
        names = version_names(root)
        staying = {current, *kept_versions(root), *names[-keep:]}
        going = tuple(name for name in names if name not in staying)
        rubbish = tuple(path.name for path in leftovers(root))
        freed = _bytes(root, (*names, *rubbish)) - _bytes(root, tuple(name for name in names if name in staying))
        if not dry:
            sweep(root)
            for name in going:
                _remove(root, name)
            sync(root)
        return Collected(going, rubbish, freed)


def status(root: Path) -> LibraryStatus:
    """How a library stands; nothing is verified beyond the manifests.

    Raises:
        NoLibrary: there is no library.
    """
    names, kept = _known(root), kept_versions(root)
    try:
        current = current_version(root)
    except (NoLibrary, DirtyVersion):
        current = None
    total = _bytes(root, names)
    versions = tuple(
        _version_status(
            root,
            name,
            current=name == current,
            kept=name in kept,
            own=total - _bytes(root, tuple(other for other in names if other != name)),
        )
        for name in names
    )
    folders = (path.name for path in root.iterdir() if VERSION_NAME.fullmatch(path.name))
    return LibraryStatus(
        current=current,
        versions=versions,
        bytes=total,
        owner=lock_owner(root),
        leftovers=tuple(path.name for path in leftovers(root)),
        unfinished=tuple(sorted(name for name in folders if name not in names)),
    )


def _known(root: Path) -> tuple[str, ...]:
    names = version_names(root)
    if not names and not (root / CURRENT).is_file():
        raise no_library(root)
    return names


def _pointer_problems(root: Path) -> Iterator[str]:
    try:
        current = current_version(root)
        version_folder(root, current)
        if (root / CURRENT).read_bytes() != f"{current}\n".encode():
            yield f"{root / CURRENT}: expected one line with a version's name, got more"
    except NoLibrary as error:
        yield f"{root / CURRENT}: {error}"
    except DirtyVersion as error:
        yield str(error)


def _problems(root: Path, names: tuple[str, ...], digests: dict[tuple[int, int], str]) -> Iterator[str]:
    for name in names:
        folder = root / name
        try:
            manifest = read_manifest(root, name, verify=False)
        except OldSchema:
            yield from _old_problems(folder)
            continue
        except (NoLibrary, DirtyVersion) as error:
            yield str(error)
            continue
        for path in sorted(folder.iterdir() if folder.is_dir() else ()):
            expected = manifest.files.get(path.name)
            if path.name == MANIFEST:
                continue
            if expected is None:
                yield f"{path}: not of this version, its manifest names no such file"
                continue
            try:
                facts = path.stat()
                key = facts.st_dev, facts.st_ino
                if key not in digests:
                    digests[key] = file_digest(path)
            except FileNotFoundError:
                if not folder.is_dir():  # collected meanwhile: no version, no problem
                    break
                yield f"{path}: was there, and is missing now"
                continue
            except OSError as error:
                yield f"{path} cannot be read: {error.strerror}"
                continue
            if digests[key] != expected:
                yield f"{path} was altered: expected SHA-256 {expected[:12]}, got {digests[key][:12]}"


def _old_problems(folder: Path) -> Iterator[str]:
    """Of a version of schema 1, whose manifest has no seal of its own."""
    try:
        files = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (ValueError, KeyError, TypeError) as error:
        yield f"{folder / MANIFEST}: expected a library manifest of schema 1, got {error!r}"
        return
    for name, expected in files.items():
        if not is_file_name(name):
            yield f"{folder / MANIFEST}: names {name!r}, which is no file of a version"
        elif not (folder / name).is_file() or file_digest(folder / name) != expected:
            yield f"{folder / name} was altered, or is missing"


def _remove(root: Path, name: str) -> None:
    """Out of sight in one step, then gone: nobody opens half of it."""
    hidden = root / f"{STAGING_PREFIX}gone-{secrets.token_hex(4)}"
    os.rename(root / name, hidden)
    sync(root)
    shutil.rmtree(hidden)


def _bytes(root: Path, names: tuple[str, ...]) -> int:
    """Bytes of the files in these folders, each file once however many names it has."""
    sizes: dict[tuple[int, int], int] = {}
    for name in names:
        paths = (root / name).iterdir() if (root / name).is_dir() else [root / name]
        for path in paths:
            facts = path.stat()
            sizes[facts.st_dev, facts.st_ino] = facts.st_size
    return sum(sizes.values())


def _version_status(root: Path, name: str, *, current: bool, kept: bool, own: int) -> VersionStatus:
    size = _bytes(root, (name,))
    try:
        manifest = read_manifest(root, name, verify=False)
    except (NoLibrary, DirtyVersion) as error:
        return VersionStatus(name, current, kept, None, None, None, size, own, str(error))
    facts = manifest.facts
    return VersionStatus(name, current, kept, facts.count, manifest.created, facts.parent, size, own, "")
