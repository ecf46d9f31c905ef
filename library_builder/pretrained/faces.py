"""Faces in pictures: what any detector, any reader of expressions and any finder of landmarks gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Picture: TypeAlias = npt.NDArray[np.uint8]
"""RGB, (H, W, 3)."""
Boxes: TypeAlias = npt.NDArray[np.float64]
"""Left, top, width, height in pixels, (N, 4)."""


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of one picture, surest first.

    Attributes:
        boxes: left, top, width, height in pixels; they may leave the picture. Shape (N, 4).
        scores: the detector's own sureness, 0 to 1; not comparable between detectors. Shape (N,).

    Raises:
        ValueError: the shapes are others, or the scores do not fall.
    """

    boxes: Boxes
    scores: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.scores), 4) or self.scores.ndim != 1:
            raise ValueError(f"expected boxes (N, 4) and scores (N,), got {self.boxes.shape} and {self.scores.shape}")
        if (np.diff(self.scores) > 0).any():
            raise ValueError("expected the surest face first, got rising scores")


@dataclass(frozen=True, slots=True)
class Framing:
    """Where OpenCV's frontal cascade would draw its box, by which the rest of the house knows eyes and mouths.

    Measured on eight photographs of five people, in which all detectors and the cascade found the face.

    Attributes:
        left, top: of its corner, as shares of a box's width and height.
        side: of it, as a share of the side of a square as large as a box.
    """

    left: float
    top: float
    side: float

    def of_cascade(self, boxes: Boxes) -> Boxes:
        """Boxes as the cascade would draw them, squares: (N, 4) -> (N, 4)."""
        left, top, width, height = boxes.T
        side = self.side * np.sqrt(width * height)
        return np.stack([left + self.left * width, top + self.top * height, side, side], axis=1)


class FaceDetector(Protocol):
    """Anything that finds faces."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def framing(self) -> Framing:
        """What its boxes hold of a face."""
        ...

    def detect(self, picture: Picture) -> Faces:
        """The faces of an RGB picture."""
        ...


class ExpressionReader(Protocol):
    """Anything that tells a face's expression."""

    @property
    def name(self) -> str:
        """What tables and spaces call it."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Its classes, in the order of its probabilities."""
        ...

    def read(self, picture: Picture, boxes: Boxes) -> npt.NDArray[np.float32]:
        """How likely each class is for each face of a picture: (N, 4) -> (N, classes), rows sum to one."""
        ...


class LandmarkReader(Protocol):
    """Anything that finds the 68 points of a face."""

    def read(self, picture: Picture, box: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The points in pixels of the picture: (4,) -> (68, 2)."""
        ...


NO_FACES = Faces(np.empty((0, 4)), np.empty(0))


def check_picture(picture: Picture) -> Picture:
    """The picture, if it is one.

    Raises:
        ValueError: it is not 8-bit RGB with at least a pixel.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise ValueError(f"expected an RGB picture (H, W, 3) of uint8, got {picture.shape} of {picture.dtype}")
    return picture


def overlap(one: Boxes, other: Boxes) -> npt.NDArray[np.float64]:
    """Intersection over union of every box with every other: (N, 4), (M, 4) -> (N, M)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, :2] + one[:, None, 2:], other[None, :, :2] + other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = np.prod(one[:, 2:], axis=1)[:, None] + np.prod(other[:, 2:], axis=1)[None]
    return np.asarray(shared / np.maximum(areas - shared, 1e-12))


def distinct(faces: Faces, most: float) -> Faces:
    """The surest of faces that overlap more than `most` (greedy non-maximum suppression)."""
    kept: list[int] = []
    shared = overlap(faces.boxes, faces.boxes)
    for i in range(len(faces.scores)):
        if all(shared[i, j] <= most for j in kept):
            kept.append(i)
    return Faces(faces.boxes[kept], faces.scores[kept])


def surest_first(boxes: Boxes, scores: npt.NDArray[np.floating]) -> Faces:
    """Boxes in the order of their scores; equal scores keep theirs."""
    order = np.argsort(-scores, kind="stable")
    return Faces(np.asarray(boxes[order], dtype=np.float64), np.asarray(scores[order], dtype=np.float64))


def cut(picture: Picture, box: npt.NDArray[np.float64]) -> Picture:
    """What of a box lies in the picture, to whole pixels, at least one: (h, w, 3)."""
    height, width = picture.shape[:2]
    left, top = (int(np.clip(np.floor(v), 0, n - 1)) for v, n in zip(box[:2], (width, height), strict=True))
    right = int(np.clip(np.ceil(box[0] + box[2]), left + 1, width))
    bottom = int(np.clip(np.ceil(box[1] + box[3]), top + 1, height))
    return picture[top:bottom, left:right]


def resized(picture: Picture, width: int, height: int) -> npt.NDArray[np.float32]:
    """A picture at another size, by straight lines between pixels, as the published readers have it."""
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
