"""Shards made on a Ray cluster: actors keep extractors loaded, decoding is sized apart from them.

Ray only carries orders about. Which shards are there is what their markers in the work folder say, so that folder and
the footage have to be seen by every node under the same paths.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .build import Seen
from .shards import Desk, Look, Made, Order, look, make_shard
from .threads import one_thread
from .workers import Loader, Tell, WorkerDied

logger = logging.getLogger(__name__)

AHEAD = 4
"""Stretches asked of decoders before the first is used, for every reader."""


@dataclass(frozen=True, slots=True)
class RayOptions:
    """A cluster and the sizes of its two stages. How many readers there are is the build's number of workers.

    Attributes:
        address: of the cluster; `None` for the one at hand, or a new one on this machine.
        decoders: actors that only decode; with none, every reader decodes ahead by itself.
        reader_cpus, reader_gpus: what each reader holds; a share of a device is a fraction.
        decoder_cpus: what each decoder holds.
    """

    address: str | None = None
    decoders: int = 0
    reader_cpus: float = 1.0
    reader_gpus: float = 0.0
    decoder_cpus: float = 1.0


class _Reader:
    """The actor that makes shards."""

    def __init__(self, work: Path, load: Loader, decoders: Sequence[Any]) -> None:
        self._desk = Desk(work, load(), sights=_Asking(decoders) if decoders else None)

    def make(self, order: Order) -> Made | Exception:
        try:
            with one_thread():
                return make_shard(order, self._desk)
        except (OSError, ValueError) as error:
            return error


class _Decoder:
    """The actor that decodes for readers."""

    def look(self, asked: Look) -> Seen | Exception:
        return look(asked)


class _Asking:
    """Has decoders look, a few stretches ahead, in turn."""

    def __init__(self, decoders: Sequence[Any]) -> None:
        self._decoders = decoders
        self._asked = 0

    def __call__(self, looks: Sequence[Look]) -> Iterator[Seen | Exception]:
        import ray

        waiting: list[Any] = []
        for asked in looks:
            waiting.append(self._decoders[self._asked % len(self._decoders)].look.remote(asked))
            self._asked += 1
            if len(waiting) > AHEAD:
                yield ray.get(waiting.pop(0))
        while waiting:
            yield ray.get(waiting.pop(0))


def make_on_ray(
    orders: Iterable[Order],
    work: Path,
    load: Loader,
    tell: Tell,
    *,
    workers: int,
    retries: int,
    options: RayOptions,
) -> Iterator[Made]:
    """Shards made by `workers` actors, as they get done. A reader or decoder that dies is replaced.

    Args:
        retries: as `workers.make_local`.

    Raises:
        ImportError: Ray is not installed.
        OSError, ValueError: a worker could not write.
        WorkerDied: a shard kills even a worker that reads nothing.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("the Ray engine: pip install 'authentic-dubber[ray]'") from error
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=options.address, log_to_driver=False, configure_logging=False)
    crew = _Crew(work.absolute(), load, workers, options)
    try:
        yield from crew.make(iter(orders), tell, retries)
    finally:
        crew.dismiss()
        if ours:
            ray.shutdown()


class _Crew:
    """Readers and decoders, and which order each reader is at."""

    def __init__(self, work: Path, load: Loader, workers: int, options: RayOptions) -> None:
        import ray

        decoder = ray.remote(_Decoder).options(num_cpus=options.decoder_cpus, max_restarts=-1, max_task_retries=2)
        self._decoders = [decoder.remote() for _ in range(options.decoders)]
        self._reader = ray.remote(_Reader).options(num_cpus=options.reader_cpus, num_gpus=options.reader_gpus)
        self._work, self._load, self._workers = work, load, workers
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Order, int]] = {}

    def make(self, orders: Iterator[Order], tell: Tell, retries: int) -> Iterator[Made]:
        import ray

        waiting: list[tuple[Order, int]] = []
        while True:
            while len(self._busy) < self._workers:
                task = waiting.pop() if waiting else _first(orders)
                if task is None:
                    break
                actor = self._idle.pop() if self._idle else self._hire()
                self._busy[actor.make.remote(task[0])] = (actor, *task)
            if not self._busy:
                return
            ready, _ = ray.wait(list(self._busy))
            actor, order, deaths = self._busy.pop(ready[0])
            try:
                made = ray.get(ready[0])
            except ray.exceptions.RayError as error:
                ray.kill(actor)
                waiting.append(_again(order, deaths + 1, retries, error))
                continue
            if isinstance(made, Exception):
                raise made
            self._idle.append(actor)
            tell(len(order.works))
            yield made

    def dismiss(self) -> None:
        import ray

        for actor in [*self._idle, *(actor for actor, _, _ in self._busy.values()), *self._decoders]:
            ray.kill(actor)

    def _hire(self) -> Any:
        return self._reader.remote(self._work, self._load, self._decoders)


def _first(orders: Iterator[Order]) -> tuple[Order, int] | None:
    order = next(orders, None)
    return None if order is None else (order, 0)


def _again(order: Order, deaths: int, retries: int, error: Exception) -> tuple[Order, int]:
    """The order of a reader that died, to be done again."""
    how = str(error).strip().splitlines()[0]
    logger.warning("a reader was lost over a shard that begins with %s: %s", order.works[0].id, how)
    if order.lost:
        raise WorkerDied(f"expected to put down the shard of {order.works[0].id}, a reader was lost: {how}") from error
    reason = f"the worker that read it died {deaths} times: {how}" if deaths > retries else ""
    return replace(order, lost=reason), deaths
