"""Doing the next while the last is still in use: a thread that stays a few items ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Iterable[Item], depth: int = 2) -> Iterator[Made]:
    """`map(make, items)` in order, made by one thread that is at most `depth` ahead, so that memory stays bounded.

    It pays where both sides leave Python's lock, as decoders and array libraries do. An error of `make` is raised when
    its turn comes.

    Raises:
        ValueError: `depth` is below one.
    """
    if depth < 1:
        raise ValueError(f"expected to be at least one item ahead, got {depth}")
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        for item in items:
            waiting.append(thread.submit(make, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
