"""A folder that many may use at once, and one alone may clear."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nobody but the user keeps a folder from being cleared in use
    fcntl = None  # type: ignore[assignment]

IN_USE = "in-use"
"""The file inside it that the lock is on."""


@contextmanager
def working(work: Path, *, alone: bool = False) -> Iterator[None]:
    """The work folder in use: by any number of builds at once, or by one who clears it, alone.

    Raises:
        ValueError: it is in use already, and not to be shared.
    """
    with (work / IN_USE).open("a") as file:
        try:
            # Let go by the system when its holder dies, however it dies.
            if fcntl is not None:
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{work}: expected nobody at work here, a build or its clearing is: try again") from error
        yield
