"""Writing so that a reader never sees half: a temporary name beside the target, fsync, then rename."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` when the block ends well, and vanishes when it does not.

    The suffix is kept, because media writers choose their container by it.

    Raises:
        FileNotFoundError: the folder of `path` does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: expected to write into an existing folder, {path.parent} is none")
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `folder` when the block ends well, and vanishes when it does not.

    Raises:
        FileExistsError: `folder` is there already; what others may be reading is never replaced.
        FileNotFoundError: its parent does not exist.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder}: expected a new folder, one is there already")
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"{folder}: expected to write into an existing folder, {folder.parent} is none")
    temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            sync(file)
        sync(temporary)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync(folder.parent)


def sync(path: Path) -> None:
    """Waits until the disk holds a file, or a folder's list of names."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders, and needs no such wait
        return
    # Windows flushes only handles that may write; elsewhere a file may be synced that must not be written any more.
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
