"""A face by its expression: toy detector and expressions that see colours, so that every answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from library_builder.face import FaceReader
from library_builder.lips import LightLips
from library_builder.pretrained.expressive_face import ExpressiveFace, described, expression_vector, face_reader
from library_builder.pretrained.face_api import EXPRESSIONS
from library_builder.pretrained.faces import NO_FACES, Boxes, Faces, Framing, Picture, cut
from library_builder.pretrained.source import ModelError
from library_builder.readers import Models, build_reader, build_readers, needs_models
from library_builder.types import Frame, space_width
from tests.published_files import write_tfjs
from tests.test_face_networks import detector_weights, random_face_network


class RedSquares:
    """Takes what is red for a face."""

    name, framing = "red", Framing(0.0, 0.1, 0.5)

    def detect(self, picture: Picture) -> Faces:
        rows, columns = np.nonzero(picture[:, :, 0] > 200)
        if not len(rows):
            return NO_FACES
        left, top = columns.min(), rows.min()
        box = [[float(left), float(top), float(np.ptp(columns) + 1), float(np.ptp(rows) + 1)]]
        return Faces(np.array(box), np.array([0.9]))


class Greenness:
    """The greener a face, the happier."""

    name, labels = "green", ("neutral", "happy", "sad")

    def __init__(self, weights: Path) -> None:
        weights.write_bytes(b"green")
        self.weight_files = (weights,)

    def read(self, picture: Picture, boxes: Boxes) -> npt.NDArray[np.float32]:
        green = [float(cut(picture, box)[:, :, 1].mean()) / 255 for box in boxes]
        return np.array([[0.9 * (1 - g), 0.9 * g, 0.1] for g in green], dtype=np.float32)


def shot(greens: Sequence[int], moves: int = 0) -> list[Frame]:
    frames = []
    for i, green in enumerate(greens):
        picture = np.zeros((90, 160, 3), dtype=np.uint8)
        picture[20:60, 50 + i * moves : 90 + i * moves] = (255, green, 0)
        frames.append(Frame(i / 25, picture))
    return frames


@pytest.fixture
def reader(tmp_path: Path) -> ExpressiveFace:
    return ExpressiveFace(RedSquares(), Greenness(tmp_path / "weights"))


def test_the_vector_tells_what_the_face_shows_and_how_it_changes(reader: FaceReader) -> None:
    glad, flat, turning = (reader.read(shot(g)).reading for g in ([230] * 40, [25] * 40, [25] * 20 + [230] * 20))
    assert glad is not None and flat is not None and turning is not None
    assert glad.caption == "a happy face (81%)" and flat.caption == "a neutral face (81%)"
    assert "neutral" in turning.caption and "happy" in turning.caption
    names = ("neutral", "happy", "sad")
    usual, spread, change = (turning.emotion.vector.reshape(3, 3)[i] for i in range(3))
    assert change[names.index("happy")] > 0 > change[names.index("neutral")]
    assert spread[names.index("happy")] > 0.1 and usual[names.index("sad")] < 0
    still = glad.emotion.vector.reshape(3, 3)
    np.testing.assert_allclose(still[1:], 0, atol=1e-5)
    assert float(glad.emotion.vector @ flat.emotion.vector) < 0.5


def test_the_track_is_framed_as_the_house_knows_faces(reader: ExpressiveFace) -> None:
    seen = reader.read(shot([100] * 30, moves=1))
    assert seen.track.found == "face" and seen.track.seen == 1.0
    left, top, width, height = seen.track.boxes[12]
    # The square of 40 pixels moves a pixel per frame; the toy's frame takes half of it, a tenth down.
    assert (top, width, height) == pytest.approx((24, 20, 20), abs=0.1) and left == pytest.approx(62, abs=1)
    assert LightLips().read(shot([100] * 30, moves=1), seen.track).features.shape == (30, 32)


def test_without_a_face_nothing_is_read_and_a_note_says_who_looked(reader: ExpressiveFace) -> None:
    blank = [Frame(i / 25, np.zeros((60, 80, 3), dtype=np.uint8)) for i in range(10)]
    seen = reader.read(blank)
    assert seen.reading is None and seen.track.found == "none" and seen.notes == ("face: no face found by red",)
    assert reader.read([]).reading is None


def test_the_space_names_both_parts_and_their_weights(reader: ExpressiveFace, tmp_path: Path) -> None:
    assert reader.space.startswith("green-expression-by-red-") and space_width(reader.space) == 9
    other = Greenness(tmp_path / "other")
    other.weight_files[0].write_bytes(b"other")
    assert ExpressiveFace(RedSquares(), other).space != reader.space


def test_shares_are_compared_as_proportions() -> None:
    one = expression_vector(np.array([[0.6, 0.3, 0.1]]))
    np.testing.assert_allclose(one[0] - one[1], np.log(2), atol=1e-12)
    assert one[:3].sum() == pytest.approx(0, abs=1e-12)
    assert np.isfinite(expression_vector(np.array([[1.0, 0.0, 0.0]]))).all()
    assert np.linalg.norm(expression_vector(np.full((4, 7), 1 / 7))) > 0
    assert described(np.array([0.3, 0.45, 0.25]), ("sad", "angry", "happy")) == (
        "an angry face (45%), perhaps sad (30%), perhaps happy (25%)"
    )


def test_face_api_reads_faces_out_of_its_folder(tmp_path: Path) -> None:
    """The real networks at toy size: a detector whose third boxes are always there, and random expressions."""
    w = {name: np.zeros_like(values) for name, values in detector_weights().items()}
    w["conv8/bias"] = np.tile([0.0, 0.0, 0.0, 0.0, -9.0], 5)
    w["conv8/bias"][14] = 3.0
    write_tfjs(tmp_path, "tiny_face_detector_model", w, whole=[*w])
    weights = random_face_network(7)
    write_tfjs(tmp_path, "face_expression_model", weights)
    reader = face_reader(tmp_path)
    rng = np.random.default_rng(0)
    frames = [Frame(i / 25, rng.integers(0, 256, (90, 160, 3)).astype(np.uint8)) for i in range(6)]
    seen = reader.read(frames)
    assert seen.reading is not None and space_width(reader.space) == 3 * len(EXPRESSIONS)
    again = face_reader(tmp_path).read(frames).reading
    assert again is not None and np.array_equal(again.emotion.vector, seen.reading.emotion.vector)
    assert len(reader.weight_files) == 2
    models = tmp_path / "models"
    models.mkdir()
    (models / "face_api").symlink_to(tmp_path, target_is_directory=True)
    by_name = build_reader("face", "face-api", Models(models))
    assert by_name.space == reader.space and needs_models(by_name.space)
    mixed = build_readers("light,face=face-api", Models(models))
    assert mixed.spaces()["face"] == reader.space and mixed.spaces()["scene"].startswith("light-")
    with pytest.raises(ValueError, match="--model-dir"):
        build_reader("face", "face-api")
    (tmp_path / "face_expression_model-shard1").unlink()
    with pytest.raises(ModelError, match="shard"):
        face_reader(tmp_path)
