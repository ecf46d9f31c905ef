"""Shards made by processes of this machine. A worker that dies is noticed, and its shard is given to another.

Processes are spawned, not forked: a fork would inherit half-held locks of OpenMP and FFmpeg.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .shards import Desk, Order, OrderKind, in_turn
from .threads import one_thread

if TYPE_CHECKING:
    from .readers import Readers

logger = logging.getLogger(__name__)

READY = "ready"

MadeKind = TypeVar("MadeKind")
Tell: TypeAlias = Callable[[int], None]
Loader: TypeAlias = "Callable[[], Readers]"
"""Loads the extractors. It is sent to every worker, so it is a function that can be imported there by its name."""


class WorkerDied(RuntimeError):
    """Workers do not start, or die of a shard even when they are to read none of its clips."""


def make_here(
    orders: Iterable[OrderKind], work: Path, readers: Readers, tell: Tell, make: Callable[[OrderKind, Desk], MadeKind]
) -> Iterator[MadeKind]:
    """What `make` makes of orders in this very process, in order.

    Raises:
        OSError: the work folder cannot be written.
    """
    with one_thread():
        desk = Desk(work, readers, tell=tell)
        for order in orders:
            yield make(order, desk)


def make_local(
    orders: Iterable[OrderKind],
    work: Path,
    load: Loader,
    tell: Tell,
    make: Callable[[OrderKind, Desk], MadeKind],
    *,
    workers: int,
    retries: int,
) -> Iterator[MadeKind]:
    """What `make` makes of orders in `workers` processes, as they get done.

    Args:
        make: a function that can be imported by its name, such as `shards.make_shard`.
        retries: how often a shard is given out again after a worker died of it. Then those of its clips that were kept
            are taken, and the others fail with the reason.

    Raises:
        OSError, ValueError: a worker could not write, or could not load its extractors.
        WorkerDied: workers die before they can begin, or a shard kills even one that reads nothing.
    """
    waiting = deque[_Task]()
    source = iter(orders)
    spare = workers < len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else True
    crew: list[_Worker] = []
    try:
        while True:
            for worker in crew:
                if worker.task is None:
                    worker.take(_next(waiting, source))
            while len(crew) < workers and (task := _next(waiting, source)) is not None:
                crew.append(_Worker(work, load, make, spare))
                crew[-1].take(task)
            busy = [worker for worker in crew if worker.task is not None]
            if not busy:
                return
            ready = wait([worker.connection for worker in busy] + [worker.process.sentinel for worker in busy])
            for worker in busy:
                if worker.connection in ready or worker.process.sentinel in ready:
                    made = worker.hear(tell)
                    if made is not None:
                        yield made
                    elif not worker.process.is_alive() and worker.task is not None:
                        crew.remove(worker)
                        waiting.append(_again(worker, retries, tell))
    finally:
        for worker in crew:
            worker.dismiss()


@dataclass(slots=True)
class _Task:
    """An order, how many workers died of it, and how much of it the one at work has told."""

    order: Order
    deaths: int = 0
    told: int = 0


def _next(waiting: deque[_Task], source: Iterator[Order]) -> _Task | None:
    if waiting:
        return waiting.popleft()
    order = next(source, None)
    return None if order is None else _Task(order)


def _again(worker: _Worker, retries: int, tell: Tell) -> _Task:
    """The task of a worker that died, to be done again."""
    task = worker.task
    assert task is not None
    tell(-task.told)
    deaths, code = task.deaths + 1, worker.process.exitcode
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    logger.warning("a worker died (%s) over a shard that begins with %s", how, task.order.works[0].id)
    if deaths > retries and not worker.ready:
        raise WorkerDied(f"expected workers to load their extractors, {deaths} died over it, the last by {how}")
    if task.order.lost:
        raise WorkerDied(f"expected to put down the shard of {task.order.works[0].id}, a worker died of it: {how}")
    reason = f"the worker that read it died {deaths} times, last by {how}" if deaths > retries else ""
    return _Task(replace(task.order, lost=reason), deaths)


@dataclass(slots=True)
class _Worker:
    """A process, the task it is at, and whether it has loaded its extractors."""

    work: Path
    load: Loader
    make: Callable[[Any, Desk], Any]
    spare: bool
    task: _Task | None = None
    ready: bool = False
    connection: Connection = field(init=False)
    process: BaseProcess = field(init=False)

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, self.work, self.load, self.make, self.spare), daemon=True
        )
        self.process.start()
        theirs.close()

    def take(self, task: _Task | None) -> None:
        self.task = task
        if task is not None:
            try:
                self.connection.send(task.order)
            except (BrokenPipeError, ConnectionResetError):  # it died while idle; its sentinel says so next
                logger.warning("a worker died while it had nothing to do")

    def hear(self, tell: Tell) -> Any:
        """All it has said; the shard it made, if it is done.

        Raises:
            OSError, ValueError: what it met.
        """
        assert self.task is not None
        try:
            while self.connection.poll():
                said = self.connection.recv()
                match said:
                    case BaseException():
                        raise said
                    case str():
                        self.ready = True
                    case int():
                        self.task.told += said
                        tell(said)
                    case made:
                        self.task = None
                        return made
        except (EOFError, ConnectionResetError):
            self.process.join()
        return None

    def dismiss(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _serve(connection: Connection, work: Path, load: Loader, make: Callable[[Any, Desk], Any], spare: bool) -> None:
    """A worker's whole life: load the extractors, then make shards until the other end of the pipe is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it decides when it ends
    try:
        desk = Desk(work, load(), sights=None if spare else in_turn, tell=connection.send)
        connection.send(READY)
        with one_thread():
            while True:
                connection.send(make(connection.recv(), desk))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except (OSError, ValueError, ImportError) as error:
        connection.send(error)
