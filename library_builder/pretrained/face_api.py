"""The small networks of face-api.js (MIT): a face detector, seven expressions, and 68 landmarks.

Layers and conventions are those of the published program: RGB, the means it was taught with, and a picture made square
by black bars, below and to the right for the detector, on both sides for a face.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from .faces import NO_FACES, Boxes, Faces, Framing, Picture, check_picture, cut, distinct, resized, surest_first
from .tf_layers import PlainConv, SeparableConv, same, same_max_pool
from .tfjs import read_shards, shards_of
from .weights import fill

EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
LANDMARKS = 68
_DETECTOR = "tiny_face_detector_model-weights_manifest.json"
_EXPRESSION = "face_expression_model-weights_manifest.json"
_LANDMARK = "face_landmark_68_model-weights_manifest.json"
_DETECTOR_PIXELS, _FACE_PIXELS = 416, 112
_DETECTOR_MEAN = (117.001, 114.697, 97.404)
_FACE_MEAN = (122.782, 117.001, 104.298)
_ANCHORS = (
    (1.603231, 2.094468),
    (6.041143, 7.080126),
    (2.882459, 3.518061),
    (4.266906, 5.178857),
    (9.041765, 10.66308),
)
"""Width and height of the five boxes that a cell proposes, in cells."""
_LEAST_SCORE, _MOST_OVERLAP = 0.5, 0.4


class TinyFaceDetector:
    """Faces by five boxes in each of 13 x 13 cells.

    Args:
        folder: holds the published manifest `tiny_face_detector_model-...` and its shard.
        least: sureness from which a box is told; the published 0.5.

    Raises:
        ModelError: a file is missing, truncated or of another architecture.
    """

    name = "face-api"
    framing = Framing(0.043, -0.165, 1.007)

    def __init__(self, folder: Path, *, least: float = _LEAST_SCORE) -> None:
        manifest = folder / _DETECTOR
        state = read_shards(manifest)
        self.network = _Detector(_outputs(state, [f"conv{i}" for i in range(6)]))
        fill(self.network, state, f"{manifest}, a tiny face detector")
        self.weight_files = shards_of(manifest)
        self._least = least

    @torch.inference_mode()
    def detect(self, picture: Picture) -> Faces:
        """The faces of an RGB picture, surest first.

        Raises:
            ValueError: it is not an RGB picture.
        """
        square = _square(check_picture(picture), middle=False)
        side = square.shape[0]
        out = self.network(_batch([square], _DETECTOR_PIXELS, _DETECTOR_MEAN, 256.0))[0]
        cells = out.shape[-1]
        # (25, R, C) -> (R, C, anchor, x y w h score)
        found = out.permute(1, 2, 0).reshape(cells, cells, len(_ANCHORS), 5).double().numpy()
        scores = _sigmoid(found[..., 4])
        rows, columns, anchors = np.nonzero(scores > self._least)
        if not len(rows):
            return NO_FACES
        raw = found[rows, columns, anchors]
        centres = np.stack([columns, rows], axis=1) + _sigmoid(raw[:, :2])
        sizes = np.exp(raw[:, 2:4]) * np.array(_ANCHORS)[anchors]
        boxes = np.concatenate([centres - sizes / 2, sizes], axis=1) * side / cells
        return distinct(surest_first(boxes, scores[rows, columns, anchors]), _MOST_OVERLAP)


class FaceApiExpressions:
    """Seven expressions of a face.

    Args:
        folder: holds the published manifest `face_expression_model-...` and its shard.

    Raises:
        ModelError: a file is missing, truncated or of another architecture.
    """

    name = "face-api"
    labels = EXPRESSIONS

    def __init__(self, folder: Path) -> None:
        manifest = folder / _EXPRESSION
        self.network = _loaded(manifest, len(EXPRESSIONS), "an expression network")
        self.weight_files = shards_of(manifest)

    @torch.inference_mode()
    def read(self, picture: Picture, boxes: Boxes) -> npt.NDArray[np.float32]:
        """How likely each of the seven is for each face: (N, 4) -> (N, 7)."""
        if not len(boxes):
            return np.empty((0, len(EXPRESSIONS)), dtype=np.float32)
        faces = [_square(cut(check_picture(picture), box), middle=True) for box in boxes]
        scores = self.network(_batch(faces, _FACE_PIXELS, _FACE_MEAN, 255.0))
        return np.asarray(scores.softmax(dim=1).numpy(), dtype=np.float32)


class FaceApiLandmarks:
    """The 68 points of a face, in the usual order: jaw, brows, nose, eyes, mouth.

    Args:
        folder: holds the published manifest `face_landmark_68_model-...` and its shard.

    Raises:
        ModelError: a file is missing, truncated or of another architecture.
    """

    def __init__(self, folder: Path) -> None:
        manifest = folder / _LANDMARK
        self.network = _loaded(manifest, 2 * LANDMARKS, "a landmark network")
        self.weight_files = shards_of(manifest)

    @torch.inference_mode()
    def read(self, picture: Picture, box: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The points in pixels of the picture: (4,) -> (68, 2)."""
        face = cut(check_picture(picture), box)
        height, width = face.shape[:2]
        points = self.network(_batch([_square(face, middle=True)], _FACE_PIXELS, _FACE_MEAN, 255.0))[0]
        longest = max(height, width)
        bars = np.array([(longest - width) / 2, (longest - height) / 2])
        corner = np.clip(np.floor(box[:2]), 0, np.array(picture.shape[1::-1]) - 1)
        return np.asarray(points.double().numpy().reshape(LANDMARKS, 2) * longest - bars + corner)


class _Block(nn.Module):
    """Four convolutions, each of which is given the sum of all before it."""

    def __init__(self, inputs: int, outputs: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.conv0: nn.Module = PlainConv(inputs, outputs, 3, 2) if first else SeparableConv(inputs, outputs, 2)
        self.conv1, self.conv2, self.conv3 = (SeparableConv(outputs, outputs) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        total = functional.relu(self.conv0(same(x, 3, 2) if self.first else x))
        # The first is rectified before it is passed on, the others only within the sum.
        x = self.conv1(total)
        for after in (self.conv2, self.conv3):
            total = total + x
            x = after(functional.relu(total))
        return functional.relu(total + x)


class _FaceNetwork(nn.Module):
    """What expressions and landmarks share, and the layer that tells them apart."""

    def __init__(self, widths: list[int], outputs: int) -> None:
        super().__init__()
        for i, width in enumerate(widths):
            setattr(self, f"dense{i}", _Block(3 if i == 0 else widths[i - 1], width, first=i == 0))
        self.blocks = len(widths)
        self.fc = nn.Module()
        self.fc.weights = nn.Parameter(torch.zeros(outputs, widths[-1]))
        self.fc.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) -> (B, outputs)."""
        for i in range(self.blocks):
            x = getattr(self, f"dense{i}")(x)
        return functional.linear(x.mean(dim=(2, 3)), self.fc.weights, self.fc.bias)  # type: ignore[arg-type]


class _Detector(nn.Module):
    """Six convolutions with poolings between, and five boxes per cell."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.conv0 = PlainConv(3, widths[0], 3)
        for i in range(1, len(widths)):
            setattr(self, f"conv{i}", SeparableConv(widths[i - 1], widths[i]))
        self.layers = len(widths)
        self.conv8 = PlainConv(widths[-1], 5 * len(_ANCHORS), 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 416, 416) -> (B, 25, 13, 13)."""
        for i in range(self.layers):
            x = functional.leaky_relu(getattr(self, f"conv{i}")(x), 0.1)
            x = same_max_pool(x, 2, 1 if i == self.layers - 1 else 2)
        return torch.as_tensor(self.conv8(x))


def _loaded(manifest: Path, outputs: int, what: str) -> _FaceNetwork:
    state = read_shards(manifest)
    network = _FaceNetwork(_outputs(state, [f"dense{i}.conv0" for i in range(4)]), outputs)
    fill(network, state, f"{manifest}, {what}")
    return network


def _outputs(state: dict[str, Tensor], layers: list[str]) -> list[int]:
    """Channels that layers give, by their biases; one where a layer lacks, which loading then complains of."""
    return [len(state[f"{layer}.bias"]) if f"{layer}.bias" in state else 1 for layer in layers]


def _square(picture: Picture, *, middle: bool) -> Picture:
    """The picture with black bars, so that it is as high as wide."""
    height, width = picture.shape[:2]
    side = max(height, width)
    down, across = (((side - n) // 2 if middle else 0) for n in (height, width))
    return np.pad(picture, ((down, side - height - down), (across, side - width - across), (0, 0)))


def _batch(squares: list[Picture], pixels: int, mean: tuple[float, float, float], scale: float) -> Tensor:
    """Square RGB pictures as a network takes them: (B, 3, pixels, pixels)."""
    resized_ones = np.stack([resized(square, pixels, pixels) for square in squares])
    levels = (resized_ones - np.array(mean, dtype=np.float32)) / np.float32(scale)
    return torch.from_numpy(np.ascontiguousarray(levels.transpose(0, 3, 1, 2)))  # (B, H, W, 3) -> (B, 3, H, W)


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))
