"""Libraries of schema 1, one LMDB file and three indices a version, taken into the present layout."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from library_builder.checksum import file_digest
from library_builder.types import Clip

from .editing import commit
from .lock import builder_lock
from .store import read_old_records
from .versions import MANIFEST, DirtyVersion, current_version, schema_of, version_folder

OLD_RECORDS = "clips.lmdb"
logger = logging.getLogger(__name__)


def migrate(root: Path) -> str | None:
    """Write the current version of an old library again in the present layout, and make that current.

    The old version stays as it is until it is collected. Its source is kept; its manifest knew no more.

    Returns:
        The new version's name; None when the current version is of the present schema.

    Raises:
        NoLibrary: there is no library.
        DirtyVersion: the old version was altered, or is of a schema that nobody knows.
    """
    current_version(root)
    with builder_lock(root, "migrating"):
        old = current_version(root)
        version_folder(root, old)
        if schema_of(root, old) != 1:
            return None
        manifest = _old_manifest(root, old)
        version = commit(root, _counted(root / old, manifest), source={**manifest["source"], "migrated_from": old})
        logger.info("version %s of schema 1 is now %s", old, version)
        return version


def _old_manifest(root: Path, version: str) -> dict[str, Any]:
    path = root / version / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        expected = manifest["files"][OLD_RECORDS]
        source, count = dict(manifest["source"]), int(manifest["count"])
    except (ValueError, KeyError, TypeError) as error:
        raise DirtyVersion(f"{path}: expected a library manifest of schema 1, got {error!r}") from error
    records = root / version / OLD_RECORDS
    if not records.is_file() or file_digest(records) != expected:
        raise DirtyVersion(f"{records} was altered, or is missing: it cannot be migrated")
    return {"source": source, "count": count}


def _counted(folder: Path, manifest: dict[str, Any]) -> Iterator[Clip]:
    count = 0
    for clip in read_old_records(folder / OLD_RECORDS):
        yield clip
        count += 1
    if count != manifest["count"]:
        raise DirtyVersion(f"{folder}: expected {manifest['count']} clips, got {count}")
