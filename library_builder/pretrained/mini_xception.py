"""mini-XCEPTION: seven expressions by a small network of separable convolutions, published as Keras HDF5 (MIT).

Arriaga et al. 2017, "Real-time Convolutional Neural Networks for Emotion and Gender Classification". Taught with
FER2013: grey faces of 48 x 48, cut out closely.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from . import require
from .faces import Boxes, Picture, check_picture, cut
from .source import ModelError
from .tf_layers import same, same_max_pool
from .weights import fill

INSTALL = 'pip install "authentic-dubber[faces]"'
EXPRESSIONS = ("angry", "disgusted", "fearful", "happy", "sad", "surprised", "neutral")
"""In FER2013's order."""
_PIXELS = 64
_MODULES = 4
_EPSILON = 1e-3
_NAMES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
"""Of batch norms, from Keras to PyTorch."""


class MiniXception:
    """Seven expressions of a face, from its grey picture.

    Args:
        folder: holds one `.hdf5`, as published.

    Raises:
        ModelError: there is no such file, it is truncated, or of another architecture.
        ImportError: h5py is not installed.
    """

    name = "mini-xception"
    labels = EXPRESSIONS

    def __init__(self, folder: Path) -> None:
        self.weight_files = tuple(sorted(folder.glob("*.hdf5")))
        if len(self.weight_files) != 1:
            raise ModelError(f"{folder}: expected one .hdf5 of mini-XCEPTION, got {len(self.weight_files)}")
        path = self.weight_files[0]
        state = read_keras(path)
        what = f"{path}, a mini-XCEPTION of seven expressions"
        widths = [state.get(f"conv2d_{i}.kernel", torch.zeros(1)).shape[0] for i in (1, 3, 4, 5, 6)]
        self.network = MiniXceptionNetwork(widths)
        fill(self.network, state, what)

    @torch.inference_mode()
    def read(self, picture: Picture, boxes: Boxes) -> npt.NDArray[np.float32]:
        """How likely each of the seven is for each face: (N, 4) -> (N, 7)."""
        if not len(boxes):
            return np.empty((0, len(EXPRESSIONS)), dtype=np.float32)
        check_picture(picture)
        faces = [cv2.cvtColor(cut(picture, _squared(box)), cv2.COLOR_RGB2GRAY) for box in boxes]
        small = np.stack([cv2.resize(face, (_PIXELS, _PIXELS)) for face in faces]).astype(np.float32)
        levels = torch.from_numpy(small)[:, None] / 255 * 2 - 1
        return np.asarray(self.network(levels).softmax(dim=1).numpy(), dtype=np.float32)


class MiniXceptionNetwork(nn.Module):
    """The published layers under their Keras names.

    Args:
        widths: channels of the first two convolutions and of the four modules after them.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        first, *modules = widths
        self.conv2d_1, self.batch_normalization_1 = _Conv(1, first, 3), _norm(first)
        self.conv2d_2, self.batch_normalization_2 = _Conv(first, first, 3), _norm(first)
        inputs = first
        for i, width in enumerate(modules):
            # Keras counts the way around first, then the two separable convolutions.
            setattr(self, f"conv2d_{i + 3}", _Conv(inputs, width, 1))
            setattr(self, f"batch_normalization_{3 * i + 3}", _norm(width))
            for j, given in enumerate((inputs, width)):
                setattr(self, f"separable_conv2d_{2 * i + j + 1}", _Separable(given, width))
                setattr(self, f"batch_normalization_{3 * i + j + 4}", _norm(width))
            inputs = width
        self.conv2d_7 = _Conv(inputs, len(EXPRESSIONS), 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Scores before softmax: (B, 1, 64, 64) -> (B, 7)."""
        for i in (1, 2):
            x = self._norm(i, getattr(self, f"conv2d_{i}")(x)).relu()
        for i in range(_MODULES):
            around = self._norm(3 * i + 3, getattr(self, f"conv2d_{i + 3}")(x, stride=2))
            x = self._norm(3 * i + 4, getattr(self, f"separable_conv2d_{2 * i + 1}")(x)).relu()
            x = self._norm(3 * i + 5, getattr(self, f"separable_conv2d_{2 * i + 2}")(x))
            x = same_max_pool(x, 3, 2) + around
        return torch.as_tensor(self.conv2d_7(same(x, 3, 1)).mean(dim=(2, 3)))

    def _norm(self, number: int, x: Tensor) -> Tensor:
        return torch.as_tensor(getattr(self, f"batch_normalization_{number}")(x))


class _Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = False) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor, stride: int = 1) -> Tensor:
        return functional.conv2d(x, self.kernel, self.bias, stride=stride)


class _Separable(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise_kernel = nn.Parameter(torch.zeros(inputs, 1, 3, 3))
        self.pointwise_kernel = nn.Parameter(torch.zeros(outputs, inputs, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv2d(x, self.depthwise_kernel, padding=1, groups=x.shape[1])
        return functional.conv2d(x, self.pointwise_kernel)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)


def read_keras(path: Path) -> dict[str, Tensor]:
    """The weights of a Keras HDF5 as `layer.weight`, laid out as PyTorch has them.

    Shape:
        kernels (H, W, in, out) -> (out, in, H, W); depthwise ones (H, W, C, 1) -> (C, 1, H, W).

    Raises:
        ModelError: the file is truncated, or no Keras model.
        ImportError: h5py is not installed.
    """
    require("h5py", "mini-XCEPTION", INSTALL)
    import h5py

    state: dict[str, Tensor] = {}
    try:
        with h5py.File(path, "r") as file:
            groups = file.get("model_weights", file)
            for layer in groups.attrs["layer_names"]:
                group = groups[_text(layer)]
                for name in group.attrs["weight_names"]:
                    values = np.asarray(group[_text(name)], dtype=np.float32)
                    leaf = _text(name).rpartition("/")[2].partition(":")[0]
                    if values.ndim == 4:
                        values = values.transpose((2, 3, 0, 1) if leaf.startswith("depthwise") else (3, 2, 0, 1))
                    tensor = torch.from_numpy(np.ascontiguousarray(values))
                    state[f"{_text(layer)}.{_NAMES.get(leaf, leaf)}"] = tensor
    except (OSError, KeyError) as error:
        raise ModelError(f"{path}: expected a whole Keras HDF5 of weights: {str(error).partition('(')[0]}") from error
    return state


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _squared(box: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A square around the same middle, as large: the faces it was taught with are as wide as high."""
    side = float(np.sqrt(box[2] * box[3]))
    return np.array([box[0] + (box[2] - side) / 2, box[1] + (box[3] - side) / 2, side, side])
