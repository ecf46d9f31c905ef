"""A shard: some clips read and kept as one, under a name that says what went in. Made whole or not at all.

work/
  footage/*.jsonl       what is known of footage files, see `footage.Register`
  readings/             what extractors made of clips, see `readings.Readings`
  shards/<key>/
    clips/              the clips, as `manifest` writes them; not there when there are none
    outcomes.jsonl      what became of every cue, clips or not
    done.json           counts and checksums, written last; then the folder gets its name
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .ahead import ahead
from .atomic import sync
from .build import BuildConfig, ClipEmotions, Seen, clip_end, clip_outcome, gone_wrong, see
from .checksum import file_digest
from .extractors import ExtractorFacts, decisive, extractor_facts
from .feeling import CHOKED, batch_of, feel_some
from .footage import Footage, look_at_sound, look_at_video
from .manifest import ManifestError, read_shard, write_shard
from .planning import Outcome, Work, without
from .readings import Readings, look_settings, reading_key, sweep_readings
from .types import Clip

if TYPE_CHECKING:
    from .readers import Readers

SCHEMA = "authentic-dubber/work/1"
DONE, OUTCOMES, CLIPS = "done.json", "outcomes.jsonl", "clips"
STAGING = ".new"
CHANGED = "the footage changed while it was read"


@dataclass(frozen=True, slots=True)
class Order:
    """A shard to be made.

    Attributes:
        works: its cues, in order.
        number: its place in the plan.
        known: of their files, by path, what is known already; other files are looked at.
        licence: of the footage.
        cache: whether readings are kept and found again by content.
        lost: why no more clips are to be read, after workers died of it; those kept are taken, the others fail.
    """

    works: tuple[Work, ...]
    number: int = 0
    known: Mapping[str, Footage] = field(default_factory=dict)
    licence: str | None = None
    config: BuildConfig = field(default_factory=BuildConfig)
    cache: bool = True
    lost: str = ""


OrderKind = TypeVar("OrderKind", bound=Order)


@dataclass(frozen=True, slots=True)
class Made:
    """A shard that is there.

    Attributes:
        key: its name in `work/shards`.
        number: its place in the plan.
        counts: cues per outcome: ok, skipped, failed.
        read: clips that extractors were shown for it this time.
        known: of its files, by path.
    """

    key: str
    number: int
    counts: Mapping[str, int]
    read: int
    known: Mapping[str, Footage]


@dataclass(frozen=True, slots=True)
class Desk:
    """What a worker works with.

    Attributes:
        work: the folder of shards, footage facts and readings.
        readers: the extractors, loaded once.
        sights: how cues are turned into what extractors see, in order; the worker's own decoding ahead by default.
        tell: called with the number of cues done since the last call.
    """

    work: Path
    readers: Readers
    sights: Callable[[Sequence[Look]], Iterator[Seen | Exception]] | None = None
    tell: Callable[[int], None] = lambda number: None


@dataclass(frozen=True, slots=True)
class Look:
    """A stretch to be decoded: the arguments of `build.see`, and the files as they should be."""

    work: Work
    end: float
    known: Footage
    config: BuildConfig
    heard: Footage | None = None


def look(asked: Look) -> Seen | Exception:
    """Decode a stretch; what is wrong with it is handed back, as it belongs to its clip alone."""
    work = asked.work
    try:
        seen = see(
            work.path,
            work.cue.start,
            asked.end,
            sound=work.sound,
            config=asked.config,
            has_audio=asked.known.has_audio,
        )
        # Decoded before it is compared: whatever was replaced on the way shows.
        same = asked.known.is_still(work.path) and (
            asked.heard is None or work.sound is None or asked.heard.is_still(work.sound)
        )
        return seen if same else ValueError(CHANGED)
    except (ValueError, OSError, RuntimeError) as error:
        return error


def in_turn(asked: Sequence[Look]) -> Iterator[Seen | Exception]:
    """Decodes each stretch when it is asked for: where every core has a worker, threads that run ahead only get in the
    way of the other workers.
    """
    return map(look, asked)


def shard_key(order: Order, extractors: ExtractorFacts) -> str:
    """The name of everything that decides a shard's content; all its files have to be known.

    Raises:
        KeyError: one is not.
    """
    digests = {name: order.known[path].sha256 for path, name in files_of(order.works).items()}
    rows = [{"id": w.id, "media": w.media, "film": w.film, "cue": asdict(w.cue)} for w in order.works]
    deciding = {modality: decisive(facts) for modality, facts in extractors.items()}
    parts = [SCHEMA, rows, digests, order.licence, deciding, look_settings(order.config)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def files_of(works: Sequence[Work]) -> dict[str, str]:
    """The files of works by path, each with the name under which a key knows it, wherever the footage lies."""
    found: dict[str, str] = {}
    for work in works:
        found[str(work.path)] = work.media
        if work.cue.audio is not None:
            found[str(work.path.parent / work.cue.audio)] = f"{work.media}\0{work.cue.audio}"
    return found


def make_shard(order: Order, desk: Desk) -> Made:
    """Read what is not there yet of a shard, and put it down. Clips that failed before are tried again.

    Raises:
        ValueError: two of its works have one id.
        OSError: the work folder cannot be written, as with a full disk; what other shards hold is untouched.
    """
    twice = [id for id, count in Counter(work.id for work in order.works).items() if count > 1]
    if twice:
        raise ValueError(f"expected each clip id once, got {twice[0]!r} again")
    try:
        return _make_shard(look_at_files(order), desk)
    except OSError as error:
        why = f"{error.strerror or error}; finished shards are kept, run again to go on"
        raise OSError(error.errno, why, error.filename or str(desk.work)) from error


def _make_shard(order: Order, desk: Desk) -> Made:
    extractors = extractor_facts(desk.readers)
    key = shard_key(order, extractors)
    shards = desk.work / "shards"
    held = {outcome.id: outcome for outcome in _held(shards / key) if outcome.status != "failed"}
    if len(held) == len(order.works):
        desk.tell(len(held))
        return Made(key, order.number, _counts(list(held.values())), 0, order.known)
    desk.tell(len(held))
    fresh, read = _read([work for work in order.works if work.id not in held], order, desk, extractors)
    held |= {outcome.id: outcome for outcome in fresh}
    outcomes = [held[work.id] for work in order.works]
    _put_down(shards, key, outcomes)
    return Made(key, order.number, _counts(outcomes), read, order.known)


def look_at_files(order: OrderKind) -> OrderKind:
    """The order with every file of it looked at, and files that changed since looked at again."""
    known: dict[str, Footage] = {}
    videos = {str(work.path) for work in order.works}
    for path in files_of(order.works):
        seen = order.known.get(path)
        if seen is None or seen.problem or not seen.is_still(Path(path)):
            seen = look_at_video(Path(path)) if path in videos else look_at_sound(Path(path))
        known[path] = seen
    return replace(order, known=known)


def _read(works: Sequence[Work], order: Order, desk: Desk, extractors: ExtractorFacts) -> tuple[list[Outcome], int]:
    """The outcomes of works that are not held, in any order, and how many extractors were shown."""
    outcomes: list[Outcome] = []
    looks: list[tuple[Look, str]] = []
    readings = Readings(desk.work / "readings") if order.cache else None
    for work in works:
        known = order.known[str(work.path)]
        try:
            end, _ = clip_end(work.cue, known)
            heard = None if work.sound is None else order.known[str(work.sound)]
        except ValueError as error:
            outcomes.append(gone_wrong(work, error))
            continue
        cue = work.cue
        key = reading_key(
            known.sha256,
            cue.start,
            end,
            cue.text,
            sound=heard.sha256 if heard else None,
            extractors=extractors,
            config=order.config,
        )
        kept = readings.get(key) if readings is not None else None
        if kept is not None:
            outcomes.append(clip_outcome(work, known, kept, order.licence))
        elif order.lost:
            outcomes.append(without(work, "failed", order.lost))
        else:
            looks.append((Look(work, end, known, order.config, heard), key))
    desk.tell(len(outcomes))
    sights = desk.sights or (lambda asked: ahead(look, asked))
    pairs = zip(looks, sights([asked for asked, _ in looks]), strict=True)
    while some := list(islice(pairs, batch_of(desk.readers))):
        read = feel_some([seen for _, seen in some], [asked.work.cue.text for (asked, _), _ in some], desk.readers)
        for ((asked, key), _), one in zip(some, read, strict=True):
            outcomes.append(_felt(asked, key, one, order, readings))
            desk.tell(1)
    return outcomes, len(looks)


def _felt(asked: Look, key: str, read: ClipEmotions | Exception, order: Order, readings: Readings | None) -> Outcome:
    if isinstance(read, Exception):
        return gone_wrong(asked.work, read)
    try:
        outcome = clip_outcome(asked.work, asked.known, read, order.licence)
    except CHOKED as error:
        return gone_wrong(asked.work, error)
    if readings is not None:
        readings.put(key, read)
    return outcome


def _put_down(shards: Path, key: str, outcomes: Sequence[Outcome]) -> None:
    """Write a shard under a temporary name, its marker last, and give it its name. An older one with failures goes."""
    clips = [outcome.clip for outcome in outcomes if outcome.clip is not None]
    shards.mkdir(parents=True, exist_ok=True)
    with _staging(shards) as folder:
        files = [OUTCOMES]
        if clips:
            write_shard(folder / CLIPS, clips)
            files.append(f"{CLIPS}/shard.json")
        lines = (json.dumps(outcome.record(), ensure_ascii=False) + "\n" for outcome in outcomes)
        (folder / OUTCOMES).write_text("".join(lines), encoding="utf-8", newline="\n")
        sync(folder / OUTCOMES)
        done = {
            "schema": SCHEMA,
            "counts": _counts(outcomes),
            "sha256": {name: file_digest(folder / name) for name in files},
        }
        (folder / DONE).write_text(json.dumps(done, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        sync(folder / DONE)
        sync(folder)
        shutil.rmtree(shards / key, ignore_errors=True)
        try:
            os.rename(folder, shards / key)
        except OSError:
            if not is_done(shards / key):  # another process was quicker with the same shard
                raise
        sync(shards)


@contextmanager
def _staging(shards: Path) -> Iterator[Path]:
    folder = shards / f"{STAGING}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(work: Path) -> int:
    """Removes what killed processes of this machine left unfinished; returns how many folders went."""
    gone = 0
    for folder in (work / "shards").glob(f"{STAGING}-*"):
        host, pid = folder.name.removeprefix(f"{STAGING}-").rsplit("-", 2)[:2]
        if host == socket.gethostname() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
            gone += 1
    sweep_readings(work / "readings")
    return gone


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    counts = Counter(outcome.status for outcome in outcomes)
    return {status: counts[status] for status in ("ok", "skipped", "failed")}


def is_done(folder: Path) -> bool:
    """Whether a shard's marker is there."""
    return (folder / DONE).is_file()


def counts_of(folder: Path) -> dict[str, int] | None:
    """What a shard's marker counts; `None` for a shard that is not there or not of this schema."""
    try:
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
        return dict(done["counts"]) if done["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_troubles(folder: Path) -> Iterator[Outcome]:
    """The outcomes of a shard that are no clips.

    Raises:
        ManifestError: its list of outcomes cannot be read.
    """
    try:
        with (folder / OUTCOMES).open(encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                if record["status"] != "ok":
                    yield Outcome(**record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{folder}: expected a finished shard: {error}") from error


def read_outcomes(folder: Path) -> Iterator[Outcome]:
    """Every outcome of a shard, with the clips, in order; the files are checked first.

    Raises:
        ManifestError: a file is missing, or not the one that was written.
    """
    try:
        done: dict[str, Any] = json.loads((folder / DONE).read_text(encoding="utf-8"))
        for name, digest in done["sha256"].items():
            if file_digest(folder / name) != digest:
                raise ManifestError(f"{folder / name}: expected the file that was written, its SHA-256 differs")
        clips: Mapping[str, Clip] = {}
        if done["counts"]["ok"]:
            clips = {clip.id: clip for clip in read_shard(folder / CLIPS)}
        with (folder / OUTCOMES).open(encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                yield Outcome(**record, clip=clips[record["id"]] if record["status"] == "ok" else None)
    except (FileNotFoundError, KeyError, TypeError) as error:  # any other trouble of the disk may pass: nothing is lost
        raise ManifestError(f"{folder}: expected a finished shard: {error}") from error


def _held(folder: Path) -> list[Outcome]:
    """The outcomes of a shard that is there and whole; none of any other, which is then made anew."""
    if not is_done(folder):
        return []
    try:
        return list(read_outcomes(folder))
    except ManifestError:
        return []
