"""A face by its expression: any detector and any reader of expressions together, in the light face reader's place."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from library_builder.checksum import file_digest
from library_builder.face import FaceReading
from library_builder.tracking import FaceTrack, faceless, looks_among, steadiest
from library_builder.types import Emotion, Frame, Reading

from .faces import ExpressionReader, FaceDetector

_FLOOR = 1e-3
"""Shares below this are taken for it: what a network is sure not to see is not told apart further."""
_TOLD = 0.2
"""Share from which a caption names an expression besides the likeliest."""

Shares = npt.NDArray[np.float64]


class ExpressiveFace:
    """How likely each expression is through a shot, and how that changes.

    The vector holds, per expression: its usual weight, how much that varies, and whether it comes or goes. Weights are
    logarithms of shares against their mean (Aitchison's centred log-ratios), so that a cosine compares proportions:
    neutral faces, as most are, are told apart by what they are next to neutral.

    Args:
        detector: finds faces, about six times a second.
        expressions: tells the face's.
    """

    def __init__(self, detector: FaceDetector, expressions: ExpressionReader) -> None:
        self._detector, self._expressions = detector, expressions
        digests = "".join(file_digest(path) for path in self.weight_files)
        self._digest = hashlib.sha256(digests.encode()).hexdigest()[:8]

    @property
    def space(self) -> str:
        width = 3 * len(self._expressions.labels)
        return f"{self._expressions.name}-expression-by-{self._detector.name}-{self._digest}/{width}"

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """What a manifest tells the reader by."""
        parts = (self._detector, self._expressions)
        return tuple(path for part in parts for path in getattr(part, "weight_files", ()))

    def read(self, frames: Sequence[Frame]) -> FaceReading:
        """The vector, words such as "a happy face (84 %)", and the track.

        Args:
            frames: of one shot, in order of time.

        Shape:
            vector (3 * expressions,); track boxes (V, 4), as OpenCV's frontal cascade would draw them.
        """
        if not frames:
            return FaceReading(None, FaceTrack(np.empty((0, 4)), "none"), ("face: no frames",))
        looks = looks_among(frames)
        found = [self._detector.detect(frames[look].image) for look in looks]
        track = steadiest([list(faces.boxes) for faces in found], looks, frames)
        if track is None:
            track = faceless(frames)
            held = ", moving region used for the lips" if track.found == "moving region" else ""
            return FaceReading(None, track, (f"face: no face found by {self._detector.name}{held}",))
        shares = np.concatenate(
            [self._expressions.read(frames[look].image, track.boxes[look : look + 1]) for look in looks]
        )
        vector = expression_vector(shares.astype(np.float64))
        emotion = Emotion(self.space, (vector / np.linalg.norm(vector)).astype(np.float32))
        caption = described(shares.mean(axis=0), self._expressions.labels)
        boxes = self._detector.framing.of_cascade(track.boxes)
        return FaceReading(Reading(emotion, caption=caption), FaceTrack(boxes, "face", track.seen))


def expression_vector(shares: Shares) -> npt.NDArray[np.float64]:
    """Usual weight, variation, and change from the first half to the second, of every expression.

    Shape:
        (L, C) rows that sum to one -> (3 * C,), never all zero.
    """
    logs = np.log(np.maximum(shares, _FLOOR))
    weights = logs - logs.mean(axis=1, keepdims=True)
    half = len(weights) // 2
    change = weights[-half:].mean(axis=0) - weights[:half].mean(axis=0) if half else np.zeros(weights.shape[1])
    vector = np.concatenate([weights.mean(axis=0), weights.std(axis=0), change / 2])
    # Seven equal shares point nowhere; a unit vector has to.
    return np.asarray(vector if np.linalg.norm(vector) > 1e-6 else np.ones(len(vector)))


def described(shares: npt.NDArray[np.floating], labels: Sequence[str]) -> str:
    """The likeliest expression, and whatever else has a fair share: "a sad face (61 %), perhaps angry (24 %)"."""
    best, *others = np.argsort(-shares, kind="stable")
    told = f"{'an' if labels[best][0] in 'aeiou' else 'a'} {labels[best]} face ({shares[best]:.0%})"
    return told + "".join(f", perhaps {labels[i]} ({shares[i]:.0%})" for i in others if shares[i] >= _TOLD)


def face_reader(folder: Path) -> ExpressiveFace:
    """The reader whose weights lie in a folder: face-api's detector and expressions.

    Raises:
        ModelError: a file is missing, truncated or of another architecture.
    """
    from .face_api import FaceApiExpressions, TinyFaceDetector

    return ExpressiveFace(TinyFaceDetector(folder), FaceApiExpressions(folder))
