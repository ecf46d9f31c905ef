"""The published weights themselves, where a folder of them is named, on the photograph that matplotlib carries."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest

from library_builder.pretrained.face_api import FaceApiExpressions, FaceApiLandmarks, TinyFaceDetector
from library_builder.pretrained.faces import ExpressionReader, FaceDetector, Picture, overlap
from library_builder.pretrained.mini_xception import MiniXception
from library_builder.pretrained.mtcnn import Mtcnn
from library_builder.pretrained.ultraface import UltraFace

MODELS = Path(os.environ.get("AUTHENTIC_DUBBER_MODELS", ""))
pytestmark = [
    pytest.mark.pretrained,
    pytest.mark.skipif(
        "AUTHENTIC_DUBBER_MODELS" not in os.environ,
        reason="AUTHENTIC_DUBBER_MODELS names no folder of published models",
    ),
]


@pytest.fixture(scope="module")
def portrait() -> Picture:
    """Grace Hopper: one face, 600 x 512 pixels."""
    image = cv2.imread(str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"))
    assert image is not None
    return np.ascontiguousarray(image[:, :, ::-1])


def test_three_detectors_find_the_one_face(portrait: Picture) -> None:
    detectors: list[FaceDetector] = [Mtcnn(MODELS / "mtcnn"), UltraFace(MODELS / "ultraface")]
    detectors.append(TinyFaceDetector(MODELS / "face_api"))
    found = [detector.detect(portrait) for detector in detectors]
    assert [len(faces.scores) for faces in found] == [1, 1, 1]
    boxes = np.concatenate([d.framing.of_cascade(f.boxes) for d, f in zip(detectors, found, strict=True)])
    # The brims of two boxes a tenth of their width apart still share two thirds.
    assert overlap(boxes, boxes).min() > 2 / 3
    # Blue for red makes a portrait stranger, and no detector surer.
    swapped = [detector.detect(np.ascontiguousarray(portrait[:, :, ::-1])) for detector in detectors]
    assert all(one.scores.max(initial=0) <= f.scores[0] for one, f in zip(swapped, found, strict=True))


def test_two_networks_tell_a_composed_face(portrait: Picture) -> None:
    box = Mtcnn(MODELS / "mtcnn").detect(portrait).boxes
    readers: list[ExpressionReader] = [FaceApiExpressions(MODELS / "face_api"), MiniXception(MODELS / "mini_xception")]
    for reader in readers:
        shares = reader.read(portrait, box)[0]
        assert reader.labels[int(shares.argmax())] == "neutral" and shares.max() > 0.5


def test_landmarks_lie_where_a_face_has_them(portrait: Picture) -> None:
    box = Mtcnn(MODELS / "mtcnn").detect(portrait).boxes[0]
    points = FaceApiLandmarks(MODELS / "face_api").read(portrait, box)
    left, right, mouth, nose = (
        points[part].mean(axis=0) for part in (slice(36, 42), slice(42, 48), slice(48, 68), slice(27, 36))
    )
    assert left[0] < nose[0] < right[0] and max(left[1], right[1]) < nose[1] < mouth[1]
    # Read off the enlarged photograph: the pupils, and the middle of the lips. Six pixels are a fourteenth of the eyes'
    # distance, as far as such networks miss.
    assert np.abs([left - [222, 190], right - [305, 187], mouth - [267, 278]]).max() < 6
