"""A library's modality read again by another extractor: a version whose other vectors and captions are as they were."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from library_builder.build import HEARD_FROM, BuildConfig
from library_builder.extractors import extractor_facts
from library_builder.footage import Register
from library_builder.readings import Readings
from library_builder.rereading import AgainOrder, read_again, work_of
from library_builder.shards import files_of
from library_builder.types import MODALITIES, Clip, Modality, Reading, Unread
from library_builder.workers import Loader, make_here, make_local
from retrieval.editing import NewReading, replace_modality
from retrieval.library import Library

from .reading import WORK, Progress

if TYPE_CHECKING:
    from library_builder.readers import Readers

FEEDS_WORDS = ("scene", "face")
"""Modalities whose captions the words are read with."""


class FootageLost(ValueError):
    """Clips cannot be read again.

    Attributes:
        failed: why, by their ids.
    """

    def __init__(self, failed: Mapping[str, str], what: str) -> None:
        id, reason = next(iter(failed.items()))
        more = f", and {len(failed) - 1} more clips" if len(failed) > 1 else ""
        super().__init__(f"{what}: clip {id}: {reason}{more}")
        self.failed = dict(failed)


@dataclass(frozen=True, slots=True)
class AgainOptions:
    """How a modality is read again.

    Attributes:
        keep_failed: let clips whose footage cannot be read keep what they have, where that is of the same space.
        workers: processes; one is this process itself.
        order_clips: that a worker takes at once.
        retries: how often they are given out again when their worker died.
        config: how clips are looked at.
        load: loads the extractors in every worker; a function that can be imported there.

    Raises:
        ValueError: a number is out of range.
    """

    keep_failed: bool = False
    workers: int = 1
    order_clips: int = 16
    retries: int = 2
    config: BuildConfig = field(default_factory=BuildConfig)
    load: Loader | None = None

    def __post_init__(self) -> None:
        if self.workers < 1 or self.order_clips < 1 or self.retries < 0:
            raise ValueError(f"expected workers and clips of at least one, got {self.workers} and {self.order_clips}")
        if self.workers > 1 and self.load is None:
            raise ValueError(f"expected a loader of extractors for {self.workers} workers, got none")


@dataclass(frozen=True, slots=True)
class Reextracted:
    """What became of it.

    Attributes:
        version: that has the new vectors; the one it began with if they are the same.
        parent: the version it began with.
        read: clips that the extractor was shown this time; the others were read before.
        captions: clips whose caption in this modality is another now.
        kept: clips whose footage cannot be read and that keep what they had, with the reasons.
        notes: what should follow.
    """

    modality: Modality
    version: str
    parent: str
    clips: int
    read: int
    captions: int
    kept: Mapping[str, str]
    notes: tuple[str, ...]


def reextract(
    library: Path,
    modality: Modality,
    readers: Readers,
    *,
    onto: str | None = None,
    publish: bool = False,
    progress: Progress | None = None,
    options: AgainOptions | None = None,
) -> Reextracted:
    """Read one modality of every clip of a version again. Stopped and run again, it goes on with the clip it was at.

    Args:
        readers: of these only the modality's own is used.
        onto: the version to begin with; the current one by default.
        publish: make the new version current at once; by default it waits to be compared.

    Raises:
        FootageLost: footage is gone or broken, and its clips may not keep what they have.
        NoLibrary: there is none.
        ValueError: the library does not know where its footage lies.
        OSError: the library's folder cannot be written; what was read stays there.
    """
    options = options or AgainOptions()
    if modality not in MODALITIES:
        raise ValueError(f"expected a modality of {', '.join(MODALITIES)}, got {modality!r}")
    opened = Library.open(library, onto, verify=False)
    again = _Again(opened, library / WORK, modality, readers, options)
    with tempfile.TemporaryFile() as notes:
        again.read_all(notes, progress)
        again.check()
        change = replace_modality(
            library,
            modality,
            again.readings(notes),
            extractor=again.extractor,
            publish=publish,
            onto=opened.version,
        )
    follow: tuple[str, ...] = ()
    if again.captions and modality in FEEDS_WORDS and "text" in opened.spaces:
        follow = (
            f"{again.captions} clips have another {modality} caption, with which their words are read: "
            "text should follow (--modality text --onto this version)",
        )
    return Reextracted(
        modality, change.version, opened.version, len(opened), again.read, again.captions, again.kept, follow
    )


class _Again:
    """One modality of a version on its way to be read again.

    Attributes:
        extractor: what the manifest will say of the reader.
        read: clips it was shown.
        captions: clips with another caption.
        kept: clips that keep what they have, and why.
    """

    def __init__(
        self, opened: Library, work: Path, modality: Modality, readers: Readers, options: AgainOptions
    ) -> None:
        self.extractor = extractor_facts(readers)[modality]
        self.read = self.captions = 0
        self.kept: dict[str, str] = {}
        self._opened, self._work, self._modality = opened, work, modality
        self._readers, self._options = readers, options
        self._footage = _footage(opened) if modality != "text" else Path()

    def read_all(self, notes: IO[bytes], progress: Progress | None) -> None:
        """Have every clip read that was not yet, and note where the readings are kept."""
        done, total = 0, len(self._opened)

        def tell(number: int) -> None:
            nonlocal done
            done += number
            if progress is not None:
                progress(self._modality, done, total)

        (self._work / "readings").mkdir(parents=True, exist_ok=True)
        with Register(self._work / "footage") as register, closing(self._made(register, tell)) as made:
            for one in made:
                register.add(one.known)
                self.read += one.read
                self.kept |= one.failed
                for id, key in [*one.keys.items(), *((id, "") for id in one.failed)]:
                    notes.write(json.dumps([id, key]).encode() + b"\n")

    def _made(self, register: Register, tell: Any) -> Any:
        options, work, orders = self._options, self._work, self._orders(register)
        if options.workers == 1:
            return make_here(orders, work, self._readers, tell, read_again)
        assert options.load is not None
        return make_local(
            orders, work, options.load, tell, read_again, workers=options.workers, retries=options.retries
        )

    def _orders(self, register: Register) -> Iterator[AgainOrder]:
        clips = self._opened.clips()
        while some := list(islice(clips, self._options.order_clips)):
            works = tuple(work_of(clip, self._footage) for clip in some)
            paths = files_of(works) if self._modality != "text" else {}
            known = {path: found for path in paths if (found := register.get(Path(path))) is not None}
            captions = {clip.id: {m: clip.captions[m] for m in FEEDS_WORDS if m in clip.captions} for clip in some}
            yield AgainOrder(
                works,
                known=known,
                config=self._options.config,
                modality=self._modality,
                extractor=self.extractor,
                captions=captions if self._modality == "text" else {},
            )

    def check(self) -> None:
        """Make sure that every clip has a reading, or may keep the one it has.

        Raises:
            FootageLost: one has not.
        """
        if not self.kept:
            return
        space, had = self.extractor["space"], self._opened.spaces.get(self._modality)
        if not self._options.keep_failed:
            raise FootageLost(
                self.kept, f"expected to read the {self._modality} of every clip (--keep-failed keeps the old ones)"
            )
        if had is not None and had != space:
            raise FootageLost(
                self.kept, f"expected old {self._modality} readings of space {space} to keep, got those of {had}"
            )

    def readings(self, notes: IO[bytes]) -> Iterator[tuple[str, NewReading]]:
        """The reading of every clip.

        Raises:
            ValueError: one was lost since it was kept.
        """
        kept = Readings(self._work / "readings")
        notes.seek(0)
        for line in notes:
            id, key = json.loads(line)
            clip = self._opened.clip(id)
            if not key:
                yield id, _as_it_was(clip, self._modality)
                continue
            read = kept.get(key)
            if read is None:
                raise ValueError(f"clip {id}: its reading was lost meanwhile: run again, and it alone is read anew")
            caption = read.captions.get(self._modality, "")
            self.captions += caption != clip.captions.get(self._modality, "")
            said = (*(n for n in clip.notes if self._modality == "audio" and n.startswith(HEARD_FROM)), *read.notes)
            emotion = read.emotions.get(self._modality)
            yield id, Unread(said) if emotion is None else Reading(emotion, caption, said)


def _footage(opened: Library) -> Path:
    footage = opened.info()["source"].get("footage")
    if not isinstance(footage, str):
        raise ValueError(f"expected a library that knows where its footage lies, got {opened.version}, which does not")
    return Path(footage)


def _as_it_was(clip: Clip, modality: Modality) -> NewReading:
    notes = tuple(note for note in clip.notes if note.startswith(f"{modality}:"))
    emotion = clip.emotions.get(modality)
    return Unread(notes) if emotion is None else Reading(emotion, clip.captions.get(modality, ""), notes)
