"""What a face does, as words and a vector: brows, eyes and mouth by their place in the face box, and how they move.

A pretrained reader (a video language model) takes the light one's place by satisfying `FaceReader` with its own space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from .tracking import CASCADES, Boxes, FaceTrack, FaceTracker, Found
from .types import Emotion, Frame, Reading

__all__ = ["LIGHT_FACE", "FaceReader", "FaceReading", "FaceTrack", "Found", "LightFace", "track_of"]

_SIDE = 96
_LOOKS = 30
"""Frames measured of a shot, evenly spread; mouths move too fast for fewer in a line of three seconds."""
_REGIONS = {
    "left_brow": (0.16, 0.20, 0.30, 0.16),
    "right_brow": (0.54, 0.20, 0.30, 0.16),
    "left_eye": (0.16, 0.34, 0.30, 0.16),
    "right_eye": (0.54, 0.34, 0.30, 0.16),
    "mouth": (0.26, 0.66, 0.48, 0.28),
}
"""Left, top, width, height as shares of the box the frontal cascade draws: brows at a quarter, mouth at four fifths."""

_NORMS: dict[str, tuple[float, float]] = {
    "brow_height": (0.5, 0.08),
    "brow_slant": (0.0, 0.3),
    "brow_dark": (0.35, 0.15),
    "eye_open": (0.23, 0.03),
    "eye_dark": (0.35, 0.15),
    "mouth_open": (0.2, 0.1),
    "mouth_width": (0.24, 0.03),
    "mouth_curve": (0.0, 0.35),
    "mouth_edge": (0.3, 0.15),
    "mouth_red": (0.0, 0.08),
    "asymmetry": (0.5, 0.2),
    "detail": (0.25, 0.1),
}
"""Per measure what counts as nought and as one in the vector; set by hand from the geometry of the regions. The numbers
belong to the name of the space: others make another space."""
_SAID: dict[str, tuple[float, float, str, str]] = {
    "mouth_curve": (-0.45, 0.0, "corners down", "corners up"),
    "brow_height": (0.33, 0.49, "brows lowered", "brows raised"),
    "brow_slant": (0.0, 0.2, "brows drawn up in the middle", "brows drawn down to the nose"),
    "eye_open": (0.155, 0.245, "narrow eyes", "wide eyes"),
}
"""Per measure below and above what a caption speaks of it, and how: about a deviation to either side of 20 filmed clips
(one man) and 60 drawn ones (ten figures) taken together."""
_SHUT, _OPEN = 0.05, 0.21
"""Opening below and above which the caption calls a mouth closed and open."""
LIGHT_FACE = f"light-face-v1/{3 * len(_NORMS) + 12}"
_LIMIT = 2.5

Crops = npt.NDArray[np.float64]
Series = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FaceReading:
    """A face's feeling, and where it was found for those who look closer.

    Attributes:
        reading: None when there is neither a face nor a moving region.
        track: one box per frame.
        notes: what was not found, in words.
    """

    reading: Reading | None
    track: FaceTrack
    notes: tuple[str, ...] = ()


class FaceReader(Protocol):
    """Anything that looks at a face."""

    @property
    def space(self) -> str:
        """The space of its vectors, `<name>/<width>`."""
        ...

    def read(self, frames: Sequence[Frame]) -> FaceReading:
        """What the face feels and where it is."""
        ...


def track_of(reader: FaceReader, frames: Sequence[Frame]) -> FaceTrack:
    """Where a reader's face is in each frame, for lips to be read there.

    A reader whose feelings are costly has a `track` of its own; others are asked for all.
    """
    alone = getattr(reader, "track", None)
    found: FaceTrack = reader.read(frames).track if alone is None else alone(frames)
    return found


class LightFace:
    """Twelve measures of brows, eyes, mouth and skin (mean, spread, speed), and twelve of head and mouth in time.

    The regions are proportions of the box, not landmarks: a still face is told from a talking one well, a smile from a
    frown roughly, and a drawing by what its makers darken.
    """

    def __init__(self) -> None:
        self._tracker = FaceTracker()

    @property
    def space(self) -> str:
        return LIGHT_FACE

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """What a manifest tells the reader by."""
        return CASCADES

    def read(self, frames: Sequence[Frame]) -> FaceReading:
        """The vector, words such as "an open, moving mouth, brows raised", and the track.

        Args:
            frames: of one shot, in order of time.

        Shape:
            vector (48,); track boxes (V, 4).
        """
        track = self._tracker.track(frames)
        if track.found == "none":
            return FaceReading(None, track, ("face: no face and no moving region found",))
        notes = () if track.found == "face" else ("face: no face found, moving region used",)
        chosen = np.unique(np.linspace(0, len(frames) - 1, _LOOKS).round().astype(int))
        times = np.array([frames[i].time for i in chosen])
        pictures = np.stack([_crop(frames[i].image, track.boxes[i]) for i in chosen])
        series = _measure(pictures)
        head = _head(track, frames, chosen, times, series["mouth_open"])
        vector = _vector(series, head, times)
        emotion = Emotion(LIGHT_FACE, (vector / np.linalg.norm(vector)).astype(np.float32))
        return FaceReading(Reading(emotion, caption=_describe(series, head), notes=notes), track, notes)


def _crop(image: npt.NDArray[np.uint8], box: Boxes) -> Crops:
    """The box's content at a fixed size, RGB, the picture's rim drawn out where the box leaves it: (96, 96, 3)."""
    left, top, width, height = box
    step = np.array([[_SIDE / width, 0, -left * _SIDE / width], [0, _SIDE / height, -top * _SIDE / height]])
    return np.asarray(
        cv2.warpAffine(image, step, (_SIDE, _SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE),
        dtype=np.float64,
    )


def _region(crops: Crops, name: str) -> Crops:
    left, top, width, height = (round(share * _SIDE) for share in _REGIONS[name])
    return crops[:, top : top + height, left : left + width]


def _measure(pictures: Crops) -> dict[str, Series]:
    """The twelve measures in each picture, (V, 96, 96, 3) -> (V,) each."""
    light = pictures.mean(axis=-1)
    # Darkness is against the clip's own skin, so that neither lighting nor the tone of skin or paint counts.
    skin = max(float(np.median(light[:, 20:86, 20:76])), 16.0)
    dark = np.clip((0.9 - light / skin) / 0.6, 0, 1)
    edges = np.abs(np.gradient(light, axis=1)) / skin * 4
    brows = [_region(dark, "left_brow"), _region(dark, "right_brow")[..., ::-1]]
    eyes = [_region(dark, "left_eye"), _region(dark, "right_eye")]
    mouth = _region(dark, "mouth")
    # Left brow and mirrored right brow both run from the temple to the nose; slant is down towards the nose.
    slants = [_tilt(brow) for brow in brows]
    red = pictures[..., 0] - pictures[..., 1:].mean(axis=-1)
    return {
        "brow_height": 1 - np.mean([_middle(brow) for brow in brows], axis=0),
        "brow_slant": np.mean(slants, axis=0),
        "brow_dark": np.mean([brow.mean(axis=(1, 2)) for brow in brows], axis=0),
        "eye_open": np.mean([_thickness(eye) for eye in eyes], axis=0),
        "eye_dark": np.mean([eye.mean(axis=(1, 2)) for eye in eyes], axis=0),
        "mouth_open": np.maximum(mouth - 0.35, 0).mean(axis=(1, 2)) / 0.65 * 2,
        "mouth_width": _thickness(mouth.swapaxes(1, 2)),
        "mouth_curve": _bend(mouth),
        "mouth_edge": _region(edges, "mouth").mean(axis=(1, 2)),
        "mouth_red": (_region(red, "mouth").mean(axis=(1, 2)) - np.median(red)) / 128,
        "asymmetry": np.abs(light - light[..., ::-1]).mean(axis=(1, 2)) / skin * 2,
        "detail": edges.mean(axis=(1, 2)),
    }


def _middle(dark: Crops) -> Series:
    """Height of the dark's centre in the region, 0 top to 1 bottom: (V,)."""
    rows = (np.arange(dark.shape[1]) + 0.5) / dark.shape[1]
    mass = dark.sum(axis=2)
    return np.asarray((mass @ rows + 0.5e-3) / (mass.sum(axis=1) + 1e-3))


def _thickness(dark: Crops) -> Series:
    """Spread of the dark over rows, as a share of the region's height: (V,)."""
    rows = (np.arange(dark.shape[1]) + 0.5) / dark.shape[1]
    mass = dark.sum(axis=2) + 1e-4
    middle = (mass @ rows) / mass.sum(axis=1)
    away = (rows[None] - middle[:, None]) ** 2
    return np.asarray(np.sqrt((mass * away).sum(axis=1) / mass.sum(axis=1)))


def _line(dark: Crops, power: int) -> Series:
    """Highest coefficient of the curve through the dark's centre per column, weighted by how dark it is: (V,)."""
    rows = (np.arange(dark.shape[1]) + 0.5) / dark.shape[1]
    columns = np.linspace(-1, 1, dark.shape[2])
    mass = dark.sum(axis=1)
    centres = (np.einsum("vrc,r->vc", dark, rows) + 0.5e-3) / (mass + 1e-3)
    powers = np.stack([columns**p for p in range(power + 1)], axis=1)
    weight = mass + 1e-3 * dark.shape[1]
    gram = np.einsum("cp,vc,cq->vpq", powers, weight, powers)
    right = np.einsum("cp,vc,vc->vp", powers, weight, centres)
    return np.asarray(np.linalg.solve(gram, right[..., None])[:, -1, 0])


def _tilt(dark: Crops) -> Series:
    return _line(dark, 1)


def _bend(dark: Crops) -> Series:
    """Corners above the middle of the mouth count as positive, as in a smile."""
    return -_line(dark, 2)


def _head(
    track: FaceTrack, frames: Sequence[Frame], chosen: npt.NDArray[np.intp], times: Series, opening: Series
) -> dict[str, float]:
    """Size, place and movement of the head, and the rhythm of the mouth."""
    height, width = frames[0].image.shape[:2]
    boxes = track.boxes[chosen]
    centres = (boxes[:, :2] + boxes[:, 2:] / 2) / np.array([width, height])
    # In face widths per second, so that near and far heads sway alike.
    span = max(float(times[-1] - times[0]), 1e-3)
    steps = np.abs(np.diff(boxes[:, :2] + boxes[:, 2:] / 2, axis=0)) / boxes[:1, 2:]
    swing = opening - opening.mean()
    crossings = int((np.diff(np.signbit(swing)) != 0).sum()) if opening.std() > 0.01 else 0
    return {
        "size": float(np.log2(boxes[:, 3].mean() / height / 0.4)),
        "growth": float(np.log2(boxes[-1, 3] / boxes[0, 3])) * 3,
        "x": 4 * float(centres[:, 0].mean() - 0.5),
        "y": 4 * float(centres[:, 1].mean() - 0.45),
        "sway": float(np.log2(steps[:, 0].sum() / span + 0.02) - np.log2(0.08)) if len(steps) else 0.0,
        "nod": float(np.log2(steps[:, 1].sum() / span + 0.02) - np.log2(0.08)) if len(steps) else 0.0,
        "mouth_rate": (crossings / 2 / span - 2) / 2,
        "mouth_range": 4 * float(np.percentile(opening, 95) - np.percentile(opening, 5)) - 1,
        "mouth_peak": 2 * float(opening.max()) - 1,
        "mouth_first": 4 * float(opening[: len(opening) // 3 + 1].mean() - opening.mean()),
        "mouth_last": 4 * float(opening[-(len(opening) // 3 + 1) :].mean() - opening.mean()),
        "drawn": -1.0 if track.found == "face" else 1.0,
    }


def _vector(series: Mapping[str, Series], head: Mapping[str, float], times: Series) -> Series:
    """Means, spreads and speeds of the measures in units of what is remarkable, and the head's twelve: (48,)."""
    span = max(float(times[-1] - times[0]), 1e-3)
    parts = []
    for name, (middle, remarkable) in _NORMS.items():
        values = series[name]
        travel = float(np.abs(np.diff(values)).sum()) / span / remarkable
        parts += [
            (float(values.mean()) - middle) / remarkable,
            2 * float(values.std()) / remarkable - 0.5,
            (np.log2(travel + 0.25) - 1) / 2,
        ]
    return np.clip(np.array([*parts, *head.values()], dtype=np.float64), -_LIMIT, _LIMIT)


def _describe(series: Mapping[str, Series], head: Mapping[str, float]) -> str:
    """What stands out: "a moving, open mouth, corners up, brows raised, wide eyes"."""
    words = []
    if head["mouth_range"] > -0.88:
        words.append("moving")
    opening = float(np.percentile(series["mouth_open"], 75))
    words.append("open" if opening > _OPEN else "closed" if opening < _SHUT else "half-open")
    phrases = [f"{'an' if words[0][0] in 'aeiou' else 'a'} {', '.join(words)} mouth"]
    for name, (low, high, less, more) in _SAID.items():
        value = float(series[name].mean())
        if not low <= value <= high:
            phrases.append(more if value > high else less)
    if max(head["sway"], head["nod"]) > 1.5:
        phrases.append("the head moving")
    return ", ".join(phrases)
