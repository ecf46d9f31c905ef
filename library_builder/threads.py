"""One thread per worker: as many workers as cores then share them well, and a sum comes out the same whoever adds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Has OpenCV and torch, as far as they are loaded, use one thread, and gives them back what they had."""
    cv2, torch = sys.modules.get("cv2"), sys.modules.get("torch")
    before = cv2.getNumThreads() if cv2 else 0, torch.get_num_threads() if torch else 0
    if cv2:
        cv2.setNumThreads(1)
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if cv2:
            cv2.setNumThreads(before[0])
        if torch:
            torch.set_num_threads(before[1])
