"""Pictures for a report: a line's mel, mouth and timing as one drawing, and thumbnails. Vector lines, pictures inside.

Nothing here knows HTML pages; it gives strings and bytes that a page may hold.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from library_builder.media import MediaError, sample_frames
from library_builder.types import Seconds

from .takes import Details, TakeRecord

WIDTH, LEFT, RIGHT = 920, 66, 14
MEL_TOP, MEL_HEIGHT = 20, 124
CURVE_TOP, CURVE_HEIGHT = 156, 76
BAR_TOP, BAR_STEP, BAR_HEIGHT = 244, 15, 9
AXIS = BAR_TOP + 3 * BAR_STEP + 2
HEIGHT = AXIS + 22
MEL_RANGE = 9.0
"""Nepers below the loudest cell at which a mel is drawn black: 78 dB."""
ENVELOPE_RANGE = 40.0
"""dB below the loudest moment at which the drawn envelope reaches its foot."""
ENVELOPE_STEP: Seconds = 0.01
LABEL_WIDTH = 7.0
"""Pixels that a phone's letter needs; narrower symbols go without."""
THUMBNAIL_HEIGHT = 96
JPEG_QUALITY = 82


@dataclass(frozen=True, slots=True)
class _Scale:
    """Seconds of the picture to pixels across."""

    start: Seconds
    end: Seconds

    def __call__(self, time: Seconds) -> float:
        share = (time - self.start) / (self.end - self.start)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 2)


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as an address that a page can hold within itself; `kind` such as `image/png`."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def mel_png(mel: npt.NDArray[np.float32]) -> bytes:
    """A mel as a coloured picture, low bands below, one pixel per cell.

    Shape:
        (F, T) -> a PNG of F rows and T columns.
    """
    top = float(mel.max(initial=-MEL_RANGE))
    grey = np.clip((mel - top + MEL_RANGE) / MEL_RANGE * 255, 0, 255).astype(np.uint8)
    coloured = cv2.applyColorMap(np.ascontiguousarray(grey[::-1]), cv2.COLORMAP_MAGMA)
    return cv2.imencode(".png", coloured)[1].tobytes()


def thumbnail(media: Path, time: Seconds, height: int = THUMBNAIL_HEIGHT) -> bytes | None:
    """The picture on show at a time, as a JPEG of at most `height` pixels; None where the footage cannot be read."""
    around = max(0.0, time - 0.15)
    try:
        frames = sample_frames(media, start=around, end=time + 0.15, count=1, max_height=height)
    except (FileNotFoundError, MediaError):
        return None
    if not frames:
        return None
    picture = cv2.cvtColor(frames[0].image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def line_figure(record: TakeRecord, details: Details) -> str:
    """A take over its picture, as SVG: the mel with its symbols, the mouth under the voice, and cue, slot and speech.

    Raises:
        ValueError: the record has no take.
    """
    if record.slot is None:
        raise ValueError(f"line {record.id} has no take to draw")
    begin = record.slot[0]
    length = details.mel.shape[1] * details.frame
    edges = [*record.cue, *record.slot, begin + length]
    scale = _Scale(min(edges) - 0.05, max(edges) + 0.05)
    parts = [
        *_mel(details, begin, length, scale),
        *_curves(details, begin, scale),
        *_symbols(record, begin, scale),
        *_bars(record, scale),
        *_axis(scale),
    ]
    words = escape(f"Mel, mouth and timing of line {record.id}")
    return (
        f'<svg class="figure" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _mel(details: Details, begin: Seconds, length: Seconds, scale: _Scale) -> Iterator[str]:
    left, right = scale(begin), scale(begin + length)
    yield (
        f'<image x="{left}" y="{MEL_TOP}" width="{right - left:.2f}" height="{MEL_HEIGHT}" '
        f'preserveAspectRatio="none" href="{data_uri(mel_png(details.mel), "image/png")}"/>'
    )
    yield _side(MEL_TOP + MEL_HEIGHT / 2, "mel")


def _curves(details: Details, begin: Seconds, scale: _Scale) -> Iterator[str]:
    """The mouth as a filled shape, the voice as a line: where both rise together, the take is in sync."""
    foot = CURVE_TOP + CURVE_HEIGHT
    yield f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{foot}" y2="{foot}"/>'
    if len(details.lips):
        points = [(scale(float(t)), foot - CURVE_HEIGHT * float(np.clip(x, 0, 1))) for t, x in details.lips]
        yield f'<polygon class="mouth" points="{_points([(points[0][0], foot), *points, (points[-1][0], foot)])}"/>'
        yield _side(CURVE_TOP + 26, "mouth", "mouth-name")
    if len(details.envelope):
        over = details.envelope - float(details.envelope.max())
        heights = np.clip(1 + over / ENVELOPE_RANGE, 0, 1)
        times = begin + (np.arange(len(heights)) + 0.5) * ENVELOPE_STEP
        voice = [(scale(float(t)), foot - CURVE_HEIGHT * float(x)) for t, x in zip(times, heights, strict=True)]
        yield f'<polyline class="voice" points="{_points(voice)}"/>'
        yield _side(CURVE_TOP + 44, "voice", "voice-name")


def _symbols(record: TakeRecord, begin: Seconds, scale: _Scale) -> Iterator[str]:
    start = 0.0
    for name, end in zip(record.symbols, record.ends, strict=True):
        left, right = scale(begin + start), scale(begin + end)
        yield f'<line class="edge" x1="{right}" x2="{right}" y1="{MEL_TOP}" y2="{MEL_TOP + MEL_HEIGHT}"/>'
        yield f'<line class="tick" x1="{right}" x2="{right}" y1="{CURVE_TOP}" y2="{CURVE_TOP + CURVE_HEIGHT}"/>'
        if right - left >= LABEL_WIDTH * len(name):
            yield f'<text class="phone" x="{(left + right) / 2:.2f}" y="{MEL_TOP - 6}">{escape(name)}</text>'
        start = end


def _bars(record: TakeRecord, scale: _Scale) -> Iterator[str]:
    for number, (name, span) in enumerate((("cue", record.cue), ("slot", record.slot), ("speech", record.speech))):
        if span is None:
            continue
        top = BAR_TOP + number * BAR_STEP
        yield (
            f'<rect class="{name}" x="{scale(span[0])}" y="{top}" rx="2" height="{BAR_HEIGHT}" '
            f'width="{max(1.0, scale(span[1]) - scale(span[0])):.2f}"><title>{name} {span[0]:.2f} to '
            f"{span[1]:.2f} s</title></rect>"
        )
        yield _side(top + BAR_HEIGHT - 1, name)


def _axis(scale: _Scale) -> Iterator[str]:
    step = next(
        step for step in (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, math.inf) if (scale.end - scale.start) / step < 12
    )
    yield f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{AXIS}" y2="{AXIS}"/>'
    if not math.isfinite(step):
        return
    for number in range(math.ceil(scale.start / step), math.floor(scale.end / step) + 1):
        time = number * step
        yield f'<text class="time" x="{scale(time)}" y="{AXIS + 15}">{time:.{2 if step == 0.25 else 1}f} s</text>'


def _side(y: float, name: str, kind: str = "") -> str:
    return f'<text class="side {kind}" x="{LEFT - 10}" y="{y:.1f}">{escape(name)}</text>'


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
