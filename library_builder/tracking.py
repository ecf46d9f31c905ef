"""Where the face is in each frame, by OpenCV's own cascades; for a drawing they do not know, where a mouth moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .types import Frame, Seconds

Boxes: TypeAlias = npt.NDArray[np.float64]
"""Left, top, width, height in pixels of the picture, (V, 4)."""
Grey: TypeAlias = npt.NDArray[np.uint8]
Found: TypeAlias = Literal["face", "moving region", "none"]

_EVERY: Seconds = 0.16
"""Between looks; in between the box moves in a straight line, which heads do over such a time."""
_LOOK_PIXELS = 256
"""Longer side of the picture the cascades search."""
_LEAST = (24, 24)
"""Smallest face there: a smaller one's mouth shows nothing."""
_VOTES = 2
"""Overlapping hits that make a face. Few, for drawings; chance hits do not last, and a track must."""
_SEEN_SHARE = 0.25
"""A track that fewer looks confirm is taken for a chance pattern in the background."""
_MOUTH = (0.22, 0.64, 0.56, 0.36)
"""Left, top, width, height of the mouth's surroundings as shares of a face box."""
_MOTION_PIXELS = 120
_WIDEST = 0.4
"""Of the picture's height: a region that moves over more than this is a body or the world, not a mouth."""
_NOISE = 5.0
"""Grey levels; smaller changes are grain and compression."""
_SATURATED = 40.0
"""Grey levels; a greater change counts no more, so that often (a mouth) beats much (a blink, an arm)."""


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """One face through a shot.

    Attributes:
        boxes: left, top, width, height in pixels; NaN throughout when nothing was found. Shape (V, 4).
        found: what the boxes hold: a face; a region that moves as a mouth does, with the face box it would belong to;
            or nothing.
        seen: share of the looks in which the cascades saw the face; 0 unless `found` is "face".

    Raises:
        ValueError: boxes are not (V, 4), or they are finite exactly when nothing was found.
    """

    boxes: Boxes
    found: Found
    seen: float = 0.0

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f"expected boxes (V, 4), got {self.boxes.shape}")
        if bool(np.isfinite(self.boxes).all()) != (self.found != "none") and len(self.boxes):
            raise ValueError(f"expected finite boxes exactly when something is found, got {self.found!r}")

    def mouths(self) -> Boxes:
        """The mouth's surroundings in each frame, by proportion of the box: (V, 4)."""
        left, top, width, height = self.boxes.T
        dx, dy, sx, sy = _MOUTH
        return np.stack([left + dx * width, top + dy * height, sx * width, sy * height], axis=1)


def grey(frame: Frame) -> Grey:
    """A frame without colour, (H, W)."""
    return np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


CASCADES = tuple(
    Path(cv2.__file__).parent / "data" / f"haarcascade_{name}.xml" for name in ("frontalface_alt2", "profileface")
)
"""Frontal and profile."""


class FaceTracker:
    """Frontal and profile cascades, looked through about six times a second and joined into the steadiest track."""

    def __init__(self) -> None:
        self._frontal, self._profile = map(_cascade, CASCADES)

    def track(self, frames: Sequence[Frame]) -> FaceTrack:
        """The face seen longest and largest; else the region that moves as a mouth would; else nothing.

        Args:
            frames: of one shot, in order of time.

        Shape:
            boxes (V, 4), one per frame.
        """
        if not frames:
            return FaceTrack(np.empty((0, 4)), "none")
        looks = looks_among(frames)
        small, scale = _shrunk([frames[index] for index in looks])
        # Profiles cost two more searches and are rarer: they are looked for where no frontal face holds.
        for search in (self._frontals, self._profiles):
            track = steadiest([[box / scale for box in search(picture)] for picture in small], looks, frames)
            if track is not None:
                return track
        return faceless(frames)

    def _frontals(self, picture: Grey) -> list[Boxes]:
        return [
            np.asarray(box, dtype=np.float64)
            for box in self._frontal.detectMultiScale(picture, 1.1, _VOTES, minSize=_LEAST)
        ]

    def _profiles(self, picture: Grey) -> list[Boxes]:
        left = self._profile.detectMultiScale(picture, 1.15, 6, minSize=_LEAST)
        # The cascade knows one side only.
        right = self._profile.detectMultiScale(cv2.flip(picture, 1), 1.15, 6, minSize=_LEAST)
        mirrored = [(picture.shape[1] - x - w, y, w, h) for x, y, w, h in right]
        return [np.asarray(box, dtype=np.float64) for box in [*left, *mirrored]]


def looks_among(frames: Sequence[Frame]) -> list[int]:
    """Which of some frames are searched for faces, by their numbers: about six a second."""
    looks = [0]
    for index, frame in enumerate(frames):
        if frame.time - frames[looks[-1]].time >= _EVERY:
            looks.append(index)
    return looks


def steadiest(found: Sequence[Sequence[Boxes]], looks: Sequence[int], frames: Sequence[Frame]) -> FaceTrack | None:
    """The face seen longest and largest, through all frames; None when no face lasts.

    Args:
        found: per look the boxes there, left, top, width and height in pixels.
        looks: numbers of the frames looked at, rising.
        frames: of one shot, in order of time.
    """
    best = max(_join(found), key=_weight, default={})
    if len(best) < max(1, _SEEN_SHARE * len(looks)):
        return None
    boxes = _between(best, looks, np.array([frame.time for frame in frames]))
    return FaceTrack(boxes, "face", seen=len(best) / len(looks))


def faceless(frames: Sequence[Frame]) -> FaceTrack:
    """A track of frames without a face: the region that moves as a mouth would, or nothing."""
    region = moving_region(frames)
    if region is None:
        return FaceTrack(np.full((len(frames), 4), np.nan), "none")
    return FaceTrack(np.repeat(region[None], len(frames), axis=0), "moving region")


def _shrunk(frames: Sequence[Frame]) -> tuple[list[Grey], float]:
    """Small grey pictures with even histograms, and their scale."""
    scale = min(1.0, _LOOK_PIXELS / max(frames[0].image.shape[:2]))
    small = [cv2.resize(grey(frame), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for frame in frames]
    return [np.asarray(cv2.equalizeHist(picture), dtype=np.uint8) for picture in small], scale


def _cascade(path: Path) -> cv2.CascadeClassifier:
    if not path.is_file():
        raise FileNotFoundError(f"OpenCV's face cascade is missing: {path.name}; expected opencv-python-headless 4.x")
    return cv2.CascadeClassifier(str(path))


def _join(looks: Sequence[Sequence[Boxes]]) -> list[dict[int, Boxes]]:
    """Detections to paths, each from look number to box: a box goes on the path whose last box it overlaps most."""
    paths: list[dict[int, Boxes]] = []
    for number, boxes in enumerate(looks):
        # Large first, and in a fixed order, so that the outcome does not hang on the cascade's.
        for box in sorted(boxes, key=lambda b: (-b[2] * b[3], b[0], b[1])):
            free = [path for path in paths if number not in path]
            near = max(free, key=lambda path: _overlap(path[max(path)], box), default=None)
            if near is not None and _overlap(near[max(near)], box) > 0.25:
                near[number] = box
            else:
                paths.append({number: box})
    return paths


def _overlap(a: Boxes, b: Boxes) -> float:
    """Intersection over union."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0.0, across) * max(0.0, down)
    return float(shared / (a[2] * a[3] + b[2] * b[3] - shared))


def _weight(path: dict[int, Boxes]) -> float:
    """How much of the shot a face fills: looks times width."""
    return float(sum(box[2] for box in path.values()))


def _between(path: dict[int, Boxes], looks: Sequence[int], times: npt.NDArray[np.float64]) -> Boxes:
    """Boxes for every frame: a median over looks against jitter, then straight lines; still beyond the ends."""
    numbers = sorted(path)
    boxes = np.stack([path[number] for number in numbers])
    centres = np.stack([boxes[:, 0] + boxes[:, 2] / 2, boxes[:, 1] + boxes[:, 3] / 2, boxes[:, 2], boxes[:, 3]], axis=1)
    centres[:, :2] = ndimage.median_filter(centres[:, :2], (3, 1), mode="nearest")
    # The cascade's size jitters more than heads grow, and a pulsing crop looks like a moving mouth.
    centres[:, 2:] = ndimage.median_filter(centres[:, 2:], (9, 1), mode="nearest")
    if len(centres) > 1:
        centres = ndimage.gaussian_filter1d(centres, 1.0, axis=0, mode="nearest")
    moments = times[[looks[number] for number in numbers]]
    cx, cy, width, height = (np.interp(times, moments, column) for column in centres.T)
    return np.stack([cx - width / 2, cy - height / 2, width, height], axis=1)


def moving_region(frames: Sequence[Frame]) -> Boxes | None:
    """The face box whose mouth would be the spot that changes most often; None when nothing moves.

    The camera's shift is taken out first, and then what a step to a neighbouring pixel explains: a head that sways
    carries its dark eyes along, while an opening mouth shows what was not there before.

    Shape:
        (4,).
    """
    height, width = frames[0].image.shape[:2]
    scale = min(1.0, _MOTION_PIXELS / height)
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    small = [cv2.resize(grey(frame), size, interpolation=cv2.INTER_AREA).astype(np.float32) for frame in frames]
    energy = np.zeros((size[1], size[0]), dtype=np.float64)
    for before, after in pairwise(small):
        change = _unexplained(_shifted(before, after), after)
        energy += np.where(change > _NOISE, np.minimum(change, _SATURATED), 0)
    energy /= max(1, len(small) - 1)
    spot = ndimage.gaussian_filter(energy, 0.03 * size[1])
    peak = np.unravel_index(int(np.argmax(spot)), spot.shape)
    if spot[peak] < 0.5:
        return None
    for share in (0.45, 0.6, 0.75):
        labels, _ = ndimage.label(spot > share * spot[peak])
        rows, columns = np.nonzero(labels == labels[peak])
        across = max(float(np.ptp(columns)) + 1, 0.06 * size[1])
        if max(across, float(np.ptp(rows))) < _WIDEST * size[1]:
            break
    else:
        return None
    centre = np.array([columns.mean(), rows.mean()]) + 0.5
    # A mouth fills about two thirds of its surroundings.
    face = across / 0.67 / _MOUTH[2]
    left = centre[0] - (_MOUTH[0] + _MOUTH[2] / 2) * face
    top = centre[1] - (_MOUTH[1] + _MOUTH[3] / 2) * face
    return np.array([left, top, face, face]) / scale


def _shifted(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """`before` moved as the camera moved, when the shift is clear and makes the two more alike."""
    (dx, dy), response = cv2.phaseCorrelate(before, after)
    if response < 0.3 or np.hypot(dx, dy) < 0.3:
        return before
    rows, columns = before.shape
    step = np.array([[1, 0, dx], [0, 1, dy]], dtype=np.float32)
    moved = cv2.warpAffine(before, step, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
    closer = np.abs(after - moved).mean() < np.abs(after - before).mean()
    return np.asarray(moved if closer else before, dtype=np.float32)


def _unexplained(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The least change of each pixel's surroundings over the nine shortest moves: (H, W)."""
    rows, columns = before.shape
    rim = cv2.copyMakeBorder(before, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    moves = [rim[dy : dy + rows, dx : dx + columns] for dy in range(3) for dx in range(3)]
    return np.asarray(np.min([cv2.blur(cv2.absdiff(after, move), (5, 5)) for move in moves], axis=0), dtype=np.float32)
