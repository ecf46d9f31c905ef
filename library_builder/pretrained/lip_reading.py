"""Lips read by a published network: ResNet-18 features of mouth crops, 512 per frame, in the light reader's place."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from library_builder.lips import LightLips, LipReading
from library_builder.tracking import FaceTrack
from library_builder.types import Frame

from .faces import LandmarkReader
from .lip_network import LipNetwork, config_of
from .mouth_crops import CROP_PIXELS, aligned_crops, boxed_crops, normalised, ticks
from .source import ModelError, ModelSource
from .weights import fill, read_state

MEAN_FACE = "20words_mean_face.npy"
"""As published beside the models; optional."""
_CHUNK = 200
"""Frames at once: 8 seconds, some hundred megabytes of activations."""
_SEEN = 2
"""Frames before and after that a row of features depends on."""

_log = logging.getLogger(__name__)


class ResNetTcnLips:
    """Lip features of the published ResNet-18 + TCN models, through a shot at any rate.

    The network is shown what is on show at every 25th of a second; features between are interpolated, so that there
    is a row per frame of the film. Opening and motion, which features do not tell, are the light reader's.

    Args:
        source: a folder with the published JSON (`backbone_type`, `relu_type`, ...) and its checkpoint. With the
            published mean face (`20words_mean_face.npy`) in it and landmarks given, mouths are cut out as published;
            otherwise by their place in the face box.
        landmarks: finds the 68 points of a face.
        device: such as `cuda`; None takes a GPU where there is one. On a GPU the network runs in bfloat16.

    Raises:
        ModelError: a file is missing, truncated, or the weights are of another architecture.
    """

    def __init__(
        self, source: ModelSource, *, landmarks: LandmarkReader | None = None, device: str | None = None
    ) -> None:
        self._source = source
        self._network = load_lip_network(source)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._network.to(self._device)
        self._landmarks = landmarks
        self._mean_face = _mean_face(source.folder) if landmarks is not None else None
        self._light = LightLips()

    @property
    def space(self) -> str:
        crops = "boxed" if self._mean_face is None else "aligned"
        return f"resnet-tcn-lips-{crops}-{self._source.sha256[:8]}/{self._network.config.widths[-1]}"

    @property
    def crop_pixels(self) -> int:
        return CROP_PIXELS

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """What a manifest tells the reader by."""
        return self._source.weight_files

    def read(self, frames: Sequence[Frame], track: FaceTrack) -> LipReading:
        """The mouth of the tracked face, frame by frame.

        Args:
            frames: of one shot, in order of time.
            track: of the same frames.

        Shape:
            times (V,), features (V, D), opening (V,), motion (V,).

        Raises:
            ValueError: the track is of another number of frames.
        """
        light = self._light.read(frames, track)
        width = self._network.config.widths[-1]
        if track.found == "none":
            still = np.zeros((len(frames), width), dtype=np.float32)
            return LipReading(light.times, still, light.opening, light.motion, light.moving, light.notes)
        if self._mean_face is None or self._landmarks is None:
            crops = boxed_crops(frames, track)
        else:
            points = np.stack([self._landmarks.read(f.image, b) for f, b in zip(frames, track.boxes, strict=True)])
            crops = aligned_crops(frames, points, self._mean_face)
        looked = ticks(light.times)
        rows = self.features(crops[looked])
        features = rows if len(looked) == len(frames) else _between(rows, light.times, len(frames))
        return LipReading(light.times, features, light.opening, light.motion, light.moving, light.notes)

    def features(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Features of grey crops at 25 frames per second.

        Shape:
            (V, 96, 96) -> (V, D).

        Raises:
            ValueError: the crops are of another shape.
        """
        mouths = torch.from_numpy(normalised(crops))
        size = _CHUNK
        while True:
            try:
                return np.concatenate([self._chunk(mouths, at, size) for at in range(0, len(mouths), size)])
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                size //= 2
                _log.warning("lips: out of memory, going on with %d frames at once", size)

    @torch.inference_mode()
    def _chunk(self, mouths: Tensor, at: int, size: int) -> npt.NDArray[np.float32]:
        """Features of some frames, which the network sees with their neighbours: alike whatever the size."""
        first = max(0, at - _SEEN)
        part = mouths[first : at + size + _SEEN].to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            rows = self._network.features(part[None])[0]
        return np.asarray(rows[at - first : at - first + size].float().cpu().numpy(), dtype=np.float32)


def load_lip_network(source: ModelSource) -> LipNetwork:
    """The network of a published model, ready to look.

    Raises:
        ModelError: the published JSON or the checkpoint is missing, truncated or of another architecture.
    """
    checkpoints = source.weight_files
    if len(checkpoints) != 1:
        raise ModelError(f"{source.folder}: expected one checkpoint of a lip-reading model, got {len(checkpoints)}")
    state = read_state(checkpoints[0])
    try:
        config = config_of(_published(source.folder), state)
    except ModelError as error:
        raise ModelError(f"{checkpoints[0]}: {error}") from error
    network = LipNetwork(config)
    spare = ("tcn.",) if config.kernels is None else ()
    fill(network, state, f"{checkpoints[0]}, a lip-reading ResNet-18 with its TCN", spare=spare)
    return network


def _published(folder: Path) -> Mapping[str, object]:
    """The JSON that a model is published with, whatever its name."""
    for path in sorted(folder.glob("*.json")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{path}: expected JSON: {error}") from error
        if isinstance(found, dict) and "backbone_type" in found:
            return found
    raise ModelError(
        f"{folder}: expected the JSON that the model is published with (backbone_type, relu_type, tcn_kernel_size), "
        "there is none"
    )


def _mean_face(folder: Path) -> npt.NDArray[np.float64]:
    path = folder / MEAN_FACE
    if not path.is_file():
        raise ModelError(
            f"{path}: landmarks were given, expected the published mean face to lay them on, there is none"
        )
    points = np.load(path, allow_pickle=False)
    if points.shape != (68, 2):
        raise ModelError(f"{path}: expected 68 landmarks (68, 2), got {points.shape}")
    return np.asarray(points, dtype=np.float64)


def _between(rows: npt.NDArray[np.float32], times: npt.NDArray[np.float64], frames: int) -> npt.NDArray[np.float32]:
    """Features at the film's own times, on straight lines between those at the network's rate: (T, D) -> (V, D)."""
    moments = times[0] + np.arange(len(rows)) / 25.0
    place = np.interp(times, moments, np.arange(len(rows)))
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (place - low)[:, None]
    return np.asarray((1 - share) * rows[low] + share * rows[high], dtype=np.float32)
