"""A page to look captions over: the frame, what was said of it, the emotion it came to, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from library_builder.atomic import whole_file
from library_builder.extractors import licences
from library_builder.manifest import check_relative
from library_builder.pretrained.caption_notes import EMPTY, FLAGS, felt_in, flags, flags_in
from library_builder.types import Clip

if TYPE_CHECKING:
    from retrieval.library import Library

CAPTIONED = ("scene", "face")
_STYLE = "report_style.html"
_GRID = (
    "<style>.clip{display:grid;grid-template-columns:200px 1fr;gap:18px;align-items:start}.clip img{width:100%;"
    "border-radius:8px}.gone{aspect-ratio:4/3;display:grid;place-items:center;background:var(--paper);"
    "color:var(--soft);border-radius:8px}.clip p{margin:2px 0 8px}small{color:var(--soft)}</style>"
)


@dataclass(frozen=True, slots=True)
class Audited:
    """One caption of a clip.

    Attributes:
        modality: scene or face.
        caption: `""` where nothing was said.
        emotion: what the classifier took it for, and its probability; None where no classifier read it.
        flags: what is wrong with it, of `caption_notes.FLAGS`.
        repeated: other clips that have the very same caption in this modality.
    """

    modality: str
    caption: str
    emotion: tuple[str, float] | None
    flags: tuple[str, ...]
    repeated: int


@dataclass(frozen=True, slots=True)
class AuditedClip:
    """A clip and its captions.

    Attributes:
        label: the corpus's own, which no extractor saw; `""` without one.
    """

    id: str
    media: str
    middle: float
    text: str
    label: str
    captions: tuple[Audited, ...]

    @property
    def flagged(self) -> bool:
        """Whether something is wrong with one of its captions."""
        return any(one.flags for one in self.captions)


@dataclass(frozen=True, slots=True)
class Audit:
    """The captions of a library's version.

    Attributes:
        clips: those looked at, in the library's order.
        total: clips in the version.
        counts: captions per modality and flag, over all clips; `captions` counts all, `different` the different ones.
        emotions: how often each emotion was found, per modality, over all clips.
        models: the licence of each model that read.
    """

    version: str
    clips: tuple[AuditedClip, ...]
    total: int
    counts: Mapping[str, Mapping[str, int]]
    emotions: Mapping[str, Mapping[str, int]]
    models: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def audit(library: Library, *, only_flagged: bool = False, most: int = 500) -> Audit:
    """Look over every caption.

    Args:
        only_flagged: list those clips alone in which something is wrong; all are counted.
        most: clips to list.

    Raises:
        ValueError: no clip of the library has a caption of scene or face, or was to have one.
    """
    same = {m: Counter(clip.captions[m] for clip in library.clips() if m in clip.captions) for m in CAPTIONED}
    counts: dict[str, Counter[str]] = {m: Counter(dict.fromkeys(("captions", *FLAGS), 0)) for m in CAPTIONED}
    emotions: dict[str, Counter[str]] = {m: Counter() for m in CAPTIONED}
    listed: list[AuditedClip] = []
    for clip in library.clips():
        one = _audited(clip, same)
        for caption in one.captions:
            counts[caption.modality].update([*caption.flags, *(["captions"] if caption.caption else [])])
            if caption.emotion is not None:
                emotions[caption.modality][caption.emotion[0]] += 1
        if len(listed) < most and one.captions and (one.flagged or not only_flagged):
            listed.append(one)
    if not any(counts[m]["captions"] or counts[m][EMPTY] for m in CAPTIONED):
        raise ValueError(
            f"expected a library with captions of {' and '.join(CAPTIONED)}, got none in {library.version}"
        )
    return Audit(
        version=library.version,
        clips=tuple(listed),
        total=len(library),
        counts={m: {**counts[m], "different": len(same[m])} for m in CAPTIONED},
        emotions={m: dict(emotions[m].most_common()) for m in CAPTIONED},
        models=licences(library.info()["extractors"]),
    )


def _audited(clip: Clip, same: Mapping[str, Counter[str]]) -> AuditedClip:
    captions = []
    for modality in CAPTIONED:
        caption = clip.captions.get(modality, "")
        noted = flags_in(clip.notes, modality)
        if not caption and EMPTY not in noted:
            continue  # no face, no caption: nothing is wrong
        found = dict.fromkeys([*noted, *(flags(caption) if caption else ())])
        captions.append(
            Audited(modality, caption, felt_in(clip.notes, modality), tuple(found), max(0, same[modality][caption] - 1))
        )
    middle = (clip.start + clip.end) / 2
    return AuditedClip(clip.id, clip.media, middle, clip.text, clip.label or "", tuple(captions))


def told(found: Audit) -> list[str]:
    """The counts in sentences."""
    lines = []
    for modality, counts in found.counts.items():
        wrong = ", ".join(f"{counts[flag]} {flag}" for flag in FLAGS)
        felt = ", ".join(f"{name} {number}" for name, number in found.emotions[modality].items())
        there = f"{counts['captions']} captions of {found.total} clips, {counts['different']} different"
        lines.append(f"{modality}: {there}; {wrong}; {f'felt as {felt}' if felt else 'no classifier read them'}")
    return lines


def write_audit(path: Path, found: Audit, footage: Path | None) -> Path:
    """Write the page; it needs no network, its pictures are inside it.

    Args:
        footage: the folder that media paths start from; without it there are no pictures.

    Raises:
        ValueError: the file's name does not end in .html.
        FileNotFoundError: its folder does not exist.
    """
    if path.suffix.lower() != ".html":
        raise ValueError(f"expected to write an .html file, got {path}")
    with whole_file(path) as temporary:
        temporary.write_text("".join(_page(found, footage)), encoding="utf-8")
    return path


def _page(found: Audit, footage: Path | None) -> Iterator[str]:
    style = files("authentic_dubber").joinpath(_STYLE).read_text(encoding="utf-8")
    title = f"Captions of {escape(found.version)}"
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"{style}{_GRID}</head><body><main><header><h1>{title}</h1>"
    yield from (f"<p>{escape(line)}</p>" for line in told(found))
    yield from (f"<p><small>model {escape(n)}: licence {escape(one)}</small></p>" for n, one in found.models.items())
    if len(found.clips) < found.total:
        yield f"<p><small>{len(found.clips)} of {found.total} clips are shown.</small></p>"
    yield "</header>"
    for clip in found.clips:
        yield from _clip(clip, footage)
    yield "</main></body></html>\n"


def _clip(clip: AuditedClip, footage: Path | None) -> Iterator[str]:
    from .figures import data_uri, thumbnail

    data = None if footage is None else thumbnail(footage / check_relative(clip.media), clip.middle, 150)
    still = (
        '<div class="gone">no picture</div>'
        if data is None
        else f'<img alt="" loading="lazy" src="{data_uri(data, "image/jpeg")}">'
    )
    label = f' <span class="badge">corpus: {escape(clip.label)}</span>' if clip.label else ""
    yield f'<section><div class="clip">{still}<div><h2>{escape(clip.id)}{label}</h2>'
    yield f"<p><small>{escape(clip.text)}</small></p>" if clip.text else ""
    for one in clip.captions:
        yield f"<h3>{one.modality} {_badges(one)}</h3><p>{escape(one.caption) or '<i>nothing was said</i>'}</p>"
    yield "</div></div></section>"


def _badges(one: Audited) -> str:
    badges: list[tuple[str, str]] = []
    if one.emotion is not None:
        badges.append(("good", f"{one.emotion[0]} {one.emotion[1]:.2f}"))
    badges += [("bad", flag) for flag in one.flags]
    if one.repeated:
        badges.append(("warn", f"said of {one.repeated} more"))
    return " ".join(f'<span class="badge {kind}">{escape(text)}</span>' for kind, text in badges)


def footage_of(library: Library) -> Path | None:
    """Where a library's footage lies, if it knows and it is there."""
    known: Sequence[Any] | str | None = library.info()["source"].get("footage")
    return Path(known) if isinstance(known, str) and Path(known).is_dir() else None
