"""One thread per worker: as many workers as cores then share them well, and a sum comes out the same whoever adds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Has OpenCV, torch and every BLAS, as far as they are loaded, use one thread, and gives them back what they had.

    BLAS threads do not help with matrices as small as a clip's: they wait for work at full speed, which took a third of
    a build's processor time.
    """
    cv2, torch = sys.modules.get("cv2"), sys.modules.get("torch")
    before = cv2.getNumThreads() if cv2 else 0, torch.get_num_threads() if torch else 0
    with threadpool_limits(limits=1):
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
