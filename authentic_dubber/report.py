"""The report of a dubbing job: one page that needs no network, drawn from what the job left in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from library_builder.atomic import whole_file
from library_builder.manifest import check_relative

from .figures import THUMBNAIL_HEIGHT, data_uri, line_figure, thumbnail
from .takes import Book, TakeRecord, details_path, read_book, read_details

REPORT = "report.html"
STYLE = "report_style.html"
POSTER_HEIGHT = 432
"""Pixels of the still that stands for the film."""
WAYS = {
    "mouth": "the visible mouth",
    "cue": "the cue",
    "oracle": "a recording's length (research only)",
    "free": "the model's own rate",
}
"""What decided a slot, in words."""


def write_report(out: Path, *, picture: Path | None = None, footage: Path | None = None) -> Path:
    """Write `report.html` into a job's folder. Sounds and the film are played from beside it, all else is inside it.

    Args:
        out: the folder with `takes.json`.
        picture: the film that was dubbed, for a still of every line.
        footage: the folder that the library's media paths start from, for stills of what was found.

    Raises:
        FileNotFoundError: there is no job in the folder.
        takes.TakesError: its takes cannot be read.
    """
    book = read_book(out)
    page = "".join(_page(book, out, _Stills(picture, footage)))
    path = out / REPORT
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


class _Stills:
    """Thumbnails as data addresses; each is read once."""

    def __init__(self, picture: Path | None, footage: Path | None) -> None:
        self.picture, self.footage = picture, footage
        self._read: dict[tuple[Path, float, int], str | None] = {}

    def poster(self, book: Book) -> str | None:
        """What the film's player shows before it plays: the first spoken line's picture."""
        record = next((record for record in book.lines if record.status == "ok"), None)
        return None if record is None else self._still(self.picture, sum(record.slot or record.cue) / 2, POSTER_HEIGHT)

    def of_line(self, record: TakeRecord) -> str | None:
        """The dubbed film in the middle of a line."""
        return self._still(self.picture, sum(record.slot or record.cue) / 2)

    def of_hit(self, hit: Mapping[str, Any]) -> str | None:
        """A found clip's middle."""
        where = self.footage / check_relative(hit["media"]) if self.footage is not None else None
        return self._still(where, (hit["start"] + hit["end"]) / 2)

    def _still(self, media: Path | None, time: float, height: int = THUMBNAIL_HEIGHT) -> str | None:
        if media is None:
            return None
        key = (media, time, height)
        if key not in self._read:
            data = thumbnail(media, time, height)
            self._read[key] = None if data is None else data_uri(data, "image/jpeg")
        return self._read[key]


def _page(book: Book, out: Path, stills: _Stills) -> Iterator[str]:
    title = escape(f"Dubbing of {book.job['video']}")
    style = files("authentic_dubber").joinpath(STYLE).read_text(encoding="utf-8")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"{style}</head><body><main>"
    yield from _head(book, title, stills.poster(book))
    for record in book.lines:
        yield from _line(record, out, stills)
    yield "</main></body></html>\n"


JUDGES = (
    "How a line feels is judged by what its picture and its references show. In films that no training saw that is "
    "wrong nearly as often as right: listen, and where it is wrong ask, by the script's column emotion or by "
    "--emotion 001=sad."
)


def _head(book: Book, title: str, poster: str | None) -> Iterator[str]:
    job, lines = book.job, book.lines
    yield f"<header><h1>{title}</h1>"
    if "video" in job["made"]:
        still = f' poster="{poster}"' if poster else ""
        yield f'<video controls preload="metadata"{still} src="{quote(job["made"]["video"])}"></video>'
    counts = {status: sum(r.status == status for r in lines) for status in ("ok", "skipped", "failed")}
    late = sum(r.status == "ok" and bool(r.verdict) for r in lines)
    yield '<p class="counts">'
    yield _count(counts["ok"], "spoken", "good")
    for number, name, kind in (
        (late, "off their slot", "warn"),
        (counts["skipped"], "skipped", "warn"),
        (counts["failed"], "failed", "bad"),
    ):
        if number:
            yield _count(number, name, kind)
    yield "</p>"
    versions = job["versions"]
    facts = {
        "Script": job["script"],
        "Bed": job["bed"],
        "References": f"{job['k']} per modality" if versions["library"] else "none",
        "Seed": job["seed"],
        "Sound": f"{job['sample_rate']} Hz, {job['length']:.2f} s",
        "Checkpoint": versions["checkpoint"],
        "Library": versions["library"] or "none",
        "Engine": versions["package"],
        "Licences": "; ".join(dict.fromkeys([*job["licences"], *(x for r in lines for x in r.licences)])),
    }
    yield _facts(facts)
    yield f'<p class="notice">{escape(job["notice"])}</p>' if job["notice"] else ""
    if any(record.judged and "emotion" not in record.asked for record in lines):
        yield f'<p class="notice">{JUDGES}</p>'
    yield _notes(book.notes)
    yield "</header>"


def _count(number: int, name: str, kind: str) -> str:
    return f'<span class="badge {kind}">{number} {name}</span>'


def _line(record: TakeRecord, out: Path, stills: _Stills) -> Iterator[str]:
    yield f'<section id="line-{escape(record.id)}"><div class="title">'
    yield f'<h2><span class="number">{escape(record.id)}</span> {escape(record.character or "unnamed")}</h2>'
    yield f'<span class="when">{record.cue[0]:.2f} to {record.cue[1]:.2f} s</span>{_verdict(record)}</div>'
    yield '<div class="line">'
    still = stills.of_line(record)
    if still is not None:
        yield f'<img class="still" alt="the picture in the middle of the line" src="{still}">'
    yield f'<div class="words"><blockquote>{escape(record.text) or "(no text)"}</blockquote>'
    if record.status == "ok":
        yield f'<audio controls preload="none" src="{quote(record.file)}"></audio>'
    yield f'<p class="reason">{escape(record.reason)}</p>' if record.reason else ""
    yield "</div></div>"
    yield _facts(_asked(record.asked)) if record.asked else ""
    if record.status == "ok":
        yield from _take(record, out, stills)
    yield _notes(record.notes)
    yield "</section>"


def _verdict(record: TakeRecord) -> str:
    if record.status != "ok":
        return f'<span class="badge {"bad" if record.status == "failed" else "warn"}">{record.status}</span>'
    if record.verdict:
        return f'<span class="badge warn">{escape(record.verdict)}</span>'
    return '<span class="badge good">fits</span>'


def _take(record: TakeRecord, out: Path, stills: _Stills) -> Iterator[str]:
    yield line_figure(record, read_details(details_path(out, record)))
    facts = {"Slot": _span(record.slot), "Set by": WAYS.get(record.source, record.source)}
    facts["Speech"] = _span(record.speech) if record.speech else "silent"
    if record.speech and record.slot:
        facts["Off by, to 20 ms"] = (
            f"{1000 * (record.speech[0] - record.slot[0]):+.0f} ms at its start, "
            f"{1000 * (record.speech[1] - record.slot[1]):+.0f} ms at its end"
        )
    if record.rate is not None and record.needed is not None:
        facts["Speed"] = f"{record.rate:.2f} of its own (which takes {record.needed:.2f} s)"
    facts |= {f"The {name}": words for name, words in record.captions.items() if words}
    yield _facts(facts)
    if {"emotion", "recording"} & set(record.asked):
        yield from _emotion("asked", record.emotion)
        yield from _emotion("director judged", record.judged)
    else:
        yield from _emotion("director judged", record.judged or record.emotion)
    for modality, hits in record.hits.items():
        yield f"<h3>Found by {escape(modality)}</h3>"
        cards = "".join(_hit(modality, hit, stills.of_hit(hit)) for hit in hits)
        yield f'<div class="hits">{cards}</div>' if cards else "<p>nothing</p>"


def _asked(asked: Mapping[str, Any]) -> dict[str, str]:
    """What a director asked of the line, in words."""
    facts = {}
    if "emotion" in asked:
        facts["Asked emotion"] = f"{asked['emotion']}, {100 * asked['share']:.0f} %"
    if "recording" in asked:
        facts["Asked to feel like"] = asked["recording"]
    if "strength" in asked:
        facts["Asked strength"] = f"{asked['strength']:g}"
    if "slot" in asked:
        facts["Asked slot"] = asked["slot"]
    return facts | {name.capitalize(): ", ".join(asked[name]) for name in ("pinned", "banned") if name in asked}


def _emotion(heading: str, emotion: Mapping[str, float]) -> Iterator[str]:
    """Shares of the taxonomy, as small bars."""
    if not emotion:
        return
    yield f'<div class="emotion"><span class="name">{heading}</span>'
    for name, share in emotion.items():
        yield (
            f'<span class="share"><span>{escape(name)}</span><span class="bar"><i style="width:{100 * share:.0f}%"></i>'
            f"</span><span>{100 * share:.0f} %</span></span>"
        )
    yield "</div>"


def _hit(modality: str, hit: Mapping[str, Any], still: str | None) -> str:
    picture = (
        f'<img alt="the clip\'s middle" src="{still}">' if still else '<div class="gone">footage not at hand</div>'
    )
    who = " · ".join(escape(str(hit[key])) for key in ("speaker", "label") if hit.get(key))
    caption = hit.get("captions", {}).get(modality, "")
    pinned = '<span class="badge good">pinned</span>' if hit.get("pinned") else ""
    words = f"<q>{escape(hit['text'])}</q>" if hit.get("text") else ""
    return (
        f'<figure>{picture}<figcaption><b>{hit["score"]:.3f}</b> <span class="who">{who}</span>{pinned}{words}'
        f'<span class="caption">{escape(caption)}</span>'
        f'<span class="place" title="{escape(hit["id"])}">{escape(hit["media"])}, {hit["start"]:.1f} s</span>'
        "</figcaption></figure>"
    )


def _span(span: tuple[float, float] | None) -> str:
    return f"{span[0]:.2f} to {span[1]:.2f} s" if span else ""


def _facts(facts: Mapping[str, Any]) -> str:
    pairs = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items())
    return f"<dl>{pairs}</dl>"


def _notes(notes: tuple[str, ...]) -> str:
    if not notes:
        return ""
    return f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'
