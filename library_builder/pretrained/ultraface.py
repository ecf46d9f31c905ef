"""UltraFace: a detector of about a megabyte, published as ONNX (Linzaer, MIT)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import require
from .faces import Faces, Framing, Picture, check_picture, distinct, resized, surest_first
from .source import ModelError

INSTALL = 'pip install "authentic-dubber[faces]"'
_LEAST_SCORE, _MOST_OVERLAP = 0.7, 0.5
_QUIET = 3
"""Of onnxruntime: errors are told, warnings of the exporter's habits are not."""


class UltraFace:
    """Faces by boxes at four sizes over the whole picture, which is squeezed to the network's own.

    Args:
        folder: holds one `.onnx`, as published.
        least: sureness from which a box is told; the published 0.7.

    Raises:
        ModelError: there is no such file, it is truncated, or of another network.
        ImportError: onnxruntime is not installed.
    """

    name = "ultraface"
    framing = Framing(-0.131, 0.051, 1.088)

    def __init__(self, folder: Path, *, least: float = _LEAST_SCORE) -> None:
        require("onnxruntime", "UltraFace", INSTALL)
        import onnxruntime

        self.weight_files = tuple(sorted(folder.glob("*.onnx")))
        if len(self.weight_files) != 1:
            raise ModelError(f"{folder}: expected one .onnx of UltraFace, got {len(self.weight_files)}")
        options = onnxruntime.SessionOptions()
        # Sums in one order: the same boxes on any number of cores.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        path = self.weight_files[0]
        refusals: tuple[type[Exception], ...] = (RuntimeError, ValueError, *_refusals(onnxruntime))
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except refusals as error:
            reason = str(error).strip().partition("\n")[0][:120]
            raise ModelError(f"{path}: expected a whole ONNX file: {reason}") from error
        given = self._session.get_inputs()
        outputs = {output.name: output.shape for output in self._session.get_outputs()}
        shape = given[0].shape if len(given) == 1 else None
        if shape is None or shape[:2] != [1, 3] or {"scores", "boxes"} - set(outputs):
            raise ModelError(
                f"{path}: expected a network from a picture (1, 3, H, W) to scores and boxes, got {shape} to "
                f"{', '.join(outputs)}"
            )
        self._given, (self._height, self._width) = given[0].name, shape[2:]
        self._least = least

    def detect(self, picture: Picture) -> Faces:
        """The faces of an RGB picture, surest first.

        Raises:
            ValueError: it is not an RGB picture.
        """
        height, width = check_picture(picture).shape[:2]
        levels = (resized(picture, self._width, self._height) - 127) / 128
        batch = np.ascontiguousarray(levels.transpose(2, 0, 1)[None], dtype=np.float32)  # (H, W, 3) -> (1, 3, H, W)
        scores, corners = (np.asarray(x)[0] for x in self._session.run(["scores", "boxes"], {self._given: batch}))
        faces = scores[:, 1] > self._least
        corners = corners[faces].astype(np.float64) * np.array([width, height, width, height])
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        return distinct(surest_first(boxes, scores[faces, 1]), _MOST_OVERLAP)


def _refusals(onnxruntime: object) -> tuple[type[Exception], ...]:
    """What onnxruntime raises over a file it cannot read; its exceptions have no common parent but Exception."""
    state = onnxruntime.capi.onnxruntime_pybind11_state  # type: ignore[attr-defined]
    return (state.InvalidProtobuf, state.InvalidArgument, state.InvalidGraph, state.Fail, state.NotImplemented)
