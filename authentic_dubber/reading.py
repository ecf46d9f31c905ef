"""Footage to shards: plan what is to be read, have missing shards made, and hand out the clips of all.

Nothing here knows versions of a library: `librarian` commits what is read, whole or added to what is there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

from library_builder.build import BuildConfig
from library_builder.cues import Cue
from library_builder.extractors import ExtractorFacts, extractor_facts
from library_builder.footage import Footage, Register, look_and_cut, open_video
from library_builder.in_use import working
from library_builder.manifest import ManifestError
from library_builder.media import MediaError
from library_builder.planning import Outcome, Work, below, plan_works, portions
from library_builder.ray_engine import RayOptions, make_on_ray
from library_builder.shards import (
    Made,
    Order,
    counts_of,
    files_of,
    make_shard,
    read_outcomes,
    read_troubles,
    shard_key,
    sweep,
)
from library_builder.types import Clip
from library_builder.workers import Loader, make_here, make_local

from .footage_job import BuildJob, Sheets, find_videos, root_of

if TYPE_CHECKING:
    from library_builder.pretrained.places import ModelPlaces
    from library_builder.readers import Readers

Progress: TypeAlias = Callable[[str, int, int], None]
Engine = Literal["local", "ray"]

WORK = "work"
"""The folder of shards inside a library."""


def light_readers() -> Readers:
    """The extractors that come with the package; they bring torch, so whoever has others does not wait for it."""
    from library_builder.readers import build_readers

    return build_readers("light")


def readers_like(spaces: Mapping[str, str], models: ModelPlaces | None = None) -> Readers:
    """The extractors that a library of these spaces was read by, as far as they are ours; light ones otherwise.

    Raises:
        ValueError: they were pretrained, whose models have to be named, or the models are others; or models are named
            and nothing was read by any.
    """
    from library_builder.readers import Models, needs_models, readers_of

    if models is not None and not any(needs_models(space) for space in spaces.values()):
        raise ValueError("expected a library read by models beside --model-dir or --model, got one of light extractors")
    for modality, space in spaces.items():
        if models is None and needs_models(space):
            raise ValueError(
                f"expected the models that read this library, whose {modality} is of space {space} "
                "(--extractors paper --model-dir DIR), got none"
            )

    return readers_of(spaces, models=Models(models), light_else=True)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How footage is read. Nothing of it but `config` changes a clip.

    Attributes:
        workers: processes; one is this process itself.
        engine: who makes the shards: processes of this machine, or a Ray cluster.
        shard_clips: most clips in a shard, which is what a killed process may lose.
        part: make every N-th shard from the i-th on, (i, N) with i from 1; the library is left as it is.
        finish: make no shard; all must be there.
        cache: keep readings by content, so that the same bytes under another name are not read twice.
        rehash: compare checksums of all footage, also where size and time of change are as before.
        retries: how often a shard is given out again when its worker died.
        load: loads the extractors in every worker; a function that can be imported there.
        ray: the sizes of a cluster's stages.

    Raises:
        ValueError: a number is out of range, or a part is to be finished.
    """

    workers: int = 1
    engine: Engine = "local"
    shard_clips: int = 64
    part: tuple[int, int] | None = None
    finish: bool = False
    cache: bool = True
    rehash: bool = False
    retries: int = 2
    config: BuildConfig = field(default_factory=BuildConfig)
    load: Loader = light_readers
    ray: RayOptions = field(default_factory=RayOptions)

    def __post_init__(self) -> None:
        if self.workers < 1 or self.shard_clips < 1 or self.retries < 0:
            raise ValueError(
                f"expected at least one worker, one clip per shard and no retries below none, got {self.workers}, "
                f"{self.shard_clips} and {self.retries}"
            )
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise ValueError(f"expected a part i/N with 1 <= i <= N, got {self.part[0]}/{self.part[1]}")
        if self.part is not None and self.finish:
            raise ValueError("expected either a part to make or all parts to finish, got both")


@dataclass(frozen=True, slots=True)
class FootageRead:
    """Footage that was read: its shards, in the plan's order.

    Attributes:
        work: the folder they lie in.
        root: the folder that media paths start from.
        keys: names of the shards.
        counts: cues and stretches per outcome: ok, skipped, failed.
        read: clips that extractors were shown for it this time.
        files: footage without a cue to read, and why.
        problems: rows of sheets that could not be understood.
        extractors: what read the clips, per modality, for manifests to record.
    """

    work: Path
    root: Path
    keys: tuple[str, ...]
    counts: Mapping[str, int]
    read: int
    files: tuple[Outcome, ...]
    problems: tuple[str, ...]
    extractors: ExtractorFacts

    @property
    def spaces(self) -> dict[str, str]:
        """The emotion space of each modality."""
        return {modality: facts["space"] for modality, facts in self.extractors.items()}

    @property
    def digest(self) -> str:
        """A name for the clips: equal ones come of equal footage, sheets, settings and extractors."""
        return hashlib.sha256(json.dumps(self.keys).encode()).hexdigest()

    def outcomes(self) -> Iterator[Outcome]:
        """What became of every cue, with the clips; one shard is held at a time.

        Raises:
            ManifestError: a shard is damaged; it is removed, so that the next run makes it anew.
        """
        yield from self.files
        for key in self.keys:
            folder = self.work / "shards" / key
            try:
                yield from read_outcomes(folder)
            except ManifestError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise ManifestError(f"{error}; run again, and this shard alone is made anew") from error

    def clips(self) -> Iterator[Clip]:
        """The clips, as `outcomes`."""
        return (outcome.clip for outcome in self.outcomes() if outcome.clip is not None)

    def troubles(self) -> Iterator[str]:
        """Each cue, row and file that became no clip, and why."""
        yield from (f"skipped: {problem}" for problem in self.problems)
        yield from (outcome.told() for outcome in self.files)
        for key in self.keys:
            folder = self.work / "shards" / key
            counts = counts_of(folder) or {}
            if counts.get("failed") or counts.get("skipped"):
                yield from (outcome.told() for outcome in read_troubles(folder))


def read_footage(
    job: BuildJob,
    readers: Readers | None = None,
    progress: Progress | None = None,
    options: BuildOptions | None = None,
) -> FootageRead:
    """Have every shard of some footage made that is missing, or has a clip that failed.

    Args:
        readers: the extractors for this very process; loaded by `options.load` unless given.

    Raises:
        FileNotFoundError: footage or a cue sheet is missing.
        ValueError: nothing readable, a sheet that belongs to no video, or shards are missing that were to be there.
        OSError: the library's folder cannot be written; finished shards stay.
    """
    options = options or BuildOptions()
    videos, root = find_videos(job.footage), root_of(job)
    sheets = Sheets(job, videos)
    for video in videos:
        below(video, root)
    _refuse_unreadable(videos, root)
    work = job.library / WORK
    (work / "shards").mkdir(parents=True, exist_ok=True)
    sweep(work)
    readers = readers or options.load()
    with (
        working(work),
        Register(work / "footage", trusting=not options.rehash) as register,
        tempfile.TemporaryFile() as file,
    ):
        plan = _Plan(job, options, extractor_facts(readers), work, register, file)
        plan.draw(videos, root, sheets, progress)
        with closing(_made(plan, readers, progress)) as shards:
            for made in shards:
                plan.take(made)
        if options.part is None:
            register.compact()
    return FootageRead(
        work=work,
        root=root,
        keys=tuple(plan.keys[number] for number in plan.numbers),
        counts=plan.outcomes(len(sheets.problems)),
        read=plan.read,
        files=tuple(plan.files),
        problems=tuple(sheets.problems),
        extractors=extractor_facts(readers),
    )


def _made(plan: _Plan, readers: Readers, progress: Progress | None) -> Generator[Made, None, None]:
    """Missing shards, made by the engine that was asked for."""
    options, work = plan.options, plan.work
    missing = plan.missing()
    first = next(missing, None)
    tell = _Counting(plan, progress)
    if first is None:
        return
    if options.finish:
        raise ValueError(
            f"expected every shard of {plan.total} clips to be done, got none or an old one for that of "
            f"{first.works[0].id}: make the missing parts first"
        )

    def orders() -> Iterator[Order]:
        yield first
        yield from missing

    if options.engine == "ray":
        yield from make_on_ray(
            orders(), work, options.load, tell, workers=options.workers, retries=options.retries, options=options.ray
        )
    elif options.workers > 1:
        yield from make_local(
            orders(), work, options.load, tell, make_shard, workers=options.workers, retries=options.retries
        )
    else:
        yield from make_here(orders(), work, readers, tell, make_shard)


class _Counting:
    """Turns numbers of clips that workers report into progress."""

    def __init__(self, plan: _Plan, progress: Progress | None) -> None:
        self._plan, self._progress, self._done = plan, progress, 0

    def __call__(self, number: int) -> None:
        self._done += number
        if self._progress is not None:
            self._progress("clips", self._plan.found + self._done, self._plan.total)


class _Plan:
    """The shards of some footage. Their cues wait in a file, so that a long plan needs little memory.

    Attributes:
        keys, counts: of the shards that are there, by number.
        files: footage without a cue to read.
        numbers: the shards that are this part's.
        total, found: clips of those, and how many of them were there before.
        read: clips that extractors were shown.
    """

    def __init__(
        self,
        job: BuildJob,
        options: BuildOptions,
        extractors: ExtractorFacts,
        work: Path,
        register: Register,
        file: IO[bytes],
    ) -> None:
        self.options, self.work = options, work
        self.keys: dict[int, str] = {}
        self.counts: dict[int, Mapping[str, int]] = {}
        self.files: list[Outcome] = []
        self.numbers: range = range(0)
        self.total = self.found = self.read = 0
        self._job, self._extractors, self._register, self._file = job, extractors, register, file
        self._places: list[tuple[int, int]] = []  # where in the file a shard's cues are, and how many

    def draw(self, videos: Sequence[Path], root: Path, sheets: Sheets, progress: Progress | None) -> None:
        """Write down every shard."""

        def sheet(video: Path) -> Sequence[Cue]:
            cues = sheets.of(video)
            return self._cut(video, progress) if cues is None else cues

        films = dict.fromkeys(videos, self._job.film) if self._job.film else None
        works = plan_works(videos, root, sheet, films)
        for portion in portions(self._alone(works), self.options.shard_clips):
            self._places.append((self._file.tell(), len(portion)))
            self._file.write(json.dumps([work.record() for work in portion]).encode() + b"\n")
        first, step = self.options.part or (1, 1)
        self.numbers = range(first - 1, len(self._places), step)
        self.total = sum(self._places[number][1] for number in self.numbers)

    def _alone(self, works: Iterator[Work | Outcome]) -> Iterator[Work]:
        for work in works:
            if isinstance(work, Outcome):
                self.files.append(work)
            else:
                yield work

    def _cut(self, video: Path, progress: Progress | None) -> Sequence[Cue]:
        """Stretches of footage without a sheet; cut once, as it has to be decoded from end to end."""
        settings = self.options.config.cut
        known = self._register.get(video)
        if known is None or known.spans is None or known.cut_by != repr(settings):
            if progress is not None:
                progress(f"cutting {video.name}", 0, 0)
            known = look_and_cut(video, settings)
            self._register.add({str(video): known})
        return [Cue(start, end, "", "") for start, end in known.spans or ()]

    def missing(self) -> Iterator[Order]:
        """Orders for the shards that are not there, or have a clip that failed; the others are taken on the way."""
        finish = self.options.finish
        for number in self.numbers:
            works = self._works(number)
            known: dict[str, Footage] = {}
            for path in files_of(works):
                footage = self._register.get(Path(path), broken=finish)
                if footage is not None:
                    known[path] = footage
            order = Order(works, number, known, self._job.licence, self.options.config, self.options.cache)
            if len(known) == len(files_of(works)):
                key = shard_key(order, self._extractors)
                counts = counts_of(self.work / "shards" / key)
                if counts is not None and (finish or not counts["failed"]):
                    self.keys[number], self.counts[number] = key, counts
                    self.found += len(works)
                    continue
            yield order

    def _works(self, number: int) -> tuple[Work, ...]:
        self._file.seek(self._places[number][0])
        return tuple(Work.from_record(record) for record in json.loads(self._file.readline()))

    def outcomes(self, problems: int) -> dict[str, int]:
        """How many of each kind there are, rows that nobody understood among the skipped."""
        counts = Counter(skipped=problems)
        counts.update(outcome.status for outcome in self.files)
        for number in self.numbers:
            counts.update(self.counts[number])
        return {status: counts[status] for status in ("ok", "skipped", "failed")}

    def take(self, made: Made) -> None:
        """Note a shard that was made."""
        self.keys[made.number], self.counts[made.number] = made.key, made.counts
        self.read += made.read
        self._register.add(made.known)


def _refuse_unreadable(videos: Sequence[Path], root: Path) -> None:
    """Looks until one file is readable, so that a wrong folder is refused before anything is written."""
    reason = ""
    for video in videos:
        try:
            open_video(video)
            return
        except (MediaError, OSError) as error:
            reason = reason or str(error)
    raise ValueError(f"expected readable video below {root}, found none: {reason}")
