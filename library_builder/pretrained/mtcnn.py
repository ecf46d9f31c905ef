"""MTCNN: faces by three networks, each of which looks closer at what the one before proposes.

Zhang et al. 2016, "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks" (IEEE SPL).
Parameters bear the names of the published PyTorch state dicts (`pnet.pt`, `rnet.pt`, `onet.pt`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from .faces import NO_FACES, Faces, Framing, Picture, check_picture
from .weights import fill, read_state

SMALLEST = 20
"""Pixels of the smallest face that is looked for."""
_FACTOR = 0.709
"""Between one size and the next: half the area."""
_THRESHOLDS = (0.6, 0.7, 0.7)
_CELL, _STRIDE = 12, 2
"""Pixels that a proposal looks at, and between proposals."""
_ROOMY = 4096
"""Crops at once in a closer look."""

Corners = npt.NDArray[np.float64]
"""Left, top, right, bottom, (N, 4)."""


class Mtcnn:
    """Faces with the published thresholds and steps.

    Args:
        folder: holds `pnet.pt`, `rnet.pt` and `onet.pt`.

    Raises:
        ModelError: a file is missing, truncated or of another architecture.
    """

    name = "mtcnn"
    framing = Framing(-0.113, 0.018, 1.092)

    def __init__(self, folder: Path) -> None:
        self.weight_files = tuple(folder / f"{stage}net.pt" for stage in "pro")
        self.networks = (Proposals(), Refinement(), Output())
        for path, network in zip(self.weight_files, self.networks, strict=True):
            fill(network, read_state(path), f"{path}, a network of MTCNN")

    @torch.inference_mode()
    def detect(self, picture: Picture) -> Faces:
        """The faces of an RGB picture, surest first.

        Raises:
            ValueError: it is not an RGB picture.
        """
        levels = torch.from_numpy(check_picture(picture).transpose(2, 0, 1).astype(np.float32))[None]
        corners, scores = self._proposed(levels)
        for network, pixels, least in zip(self.networks[1:], (24, 48), _THRESHOLDS[1:], strict=True):
            if not len(corners):
                return NO_FACES
            corners = _squared(corners)
            moves, scores = _looked(network, _crops(levels, corners, pixels))
            sure = scores > least
            corners, moves, scores = corners[sure], moves[sure], scores[sure]
            if pixels == 24:
                kept = surest_apart(corners, scores, 0.7)
                corners, moves, scores = corners[kept], moves[kept], scores[kept]
            corners = corners + moves * np.tile(corners[:, 2:] - corners[:, :2] + 1, 2)
        kept = surest_apart(corners, scores, 0.7, smaller=True)
        corners, scores = corners[kept], scores[kept]
        return Faces(np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1), scores)

    def _proposed(self, levels: Tensor) -> tuple[Corners, npt.NDArray[np.float64]]:
        """Rough places at every size."""
        height, width = levels.shape[2:]
        scale = _CELL / SMALLEST
        cells, moved, scores = [np.empty((0, 4))], [np.empty((0, 4))], [np.empty(0)]
        while min(height, width) * scale >= _CELL:
            size = (int(height * scale + 1), int(width * scale + 1))
            small = functional.interpolate(levels, size=size, mode="area")
            moves, sureness = (x[0].double().numpy() for x in self.networks[0]((small - 127.5) / 128))
            rows, columns = np.nonzero(sureness[1] >= _THRESHOLDS[0])
            place = np.stack([columns, rows], axis=1)
            found = np.concatenate([np.floor((_STRIDE * place + far) / scale) for far in (1, _CELL)], axis=1)
            kept = surest_apart(found, sureness[1, rows, columns], 0.5)
            sizes = np.tile(found[:, 2:] - found[:, :2], 2)
            cells.append(found[kept])
            moved.append((found + moves[:, rows, columns].T * sizes)[kept])
            scores.append(sureness[1, rows, columns][kept])
            scale *= _FACTOR
        # Which ones overlap is asked of the cells, not of what the network moved them to.
        sure = np.concatenate(scores)
        kept = surest_apart(np.concatenate(cells), sure, 0.7)
        return np.concatenate(moved)[kept], sure[kept]


class Proposals(nn.Module):
    """Whether a face is in each cell of 12 pixels, and where it lies: moves (B, 4, h, w), sureness (B, 2, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.max_pool2d(self.prelu1(self.conv1(x)), 2, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_2(x), self.conv4_1(x).softmax(dim=1)


class Refinement(nn.Module):
    """A closer look at 24 x 24 pixels: moves (B, 4), sureness (B, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = _flat(self.prelu3(self.conv3(x)))
        x = self.prelu4(self.dense4(x))
        return self.dense5_2(x), self.dense5_1(x).softmax(dim=1)


class Output(nn.Module):
    """The last look, at 48 x 48 pixels: moves (B, 4), sureness (B, 2). Its five landmarks are loaded and not asked."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        x = _flat(self.prelu4(self.conv4(x)))
        x = self.prelu5(self.dense5(x))
        return self.dense6_2(x), self.dense6_1(x).softmax(dim=1)


def _flat(x: Tensor) -> Tensor:
    """Channels last and columns before rows, as the weights were written: (B, C, H, W) -> (B, W * H * C)."""
    return x.permute(0, 3, 2, 1).flatten(1)


def _looked(network: nn.Module, crops: Tensor) -> tuple[Corners, npt.NDArray[np.float64]]:
    parts = [network((part - 127.5) / 128) for part in crops.split(_ROOMY)]
    moves, sureness = (torch.cat([part[i] for part in parts]).double().numpy() for i in (0, 1))
    return moves, sureness[:, 1]


def _squared(corners: Corners) -> Corners:
    """Boxes around the same middle, as wide as high."""
    sizes = corners[:, 2:] - corners[:, :2]
    side = sizes.max(axis=1, keepdims=True)
    first = corners[:, :2] + sizes / 2 - side / 2
    return np.concatenate([first, first + side], axis=1)


def _crops(levels: Tensor, corners: Corners, pixels: int) -> Tensor:
    """What of each box lies in the picture, resized; pixels are counted from one and with both ends, as published."""
    height, width = levels.shape[2:]
    crops = []
    for left, top, right, bottom in np.trunc(corners).astype(int):
        x, y = np.clip(left, 1, width), np.clip(top, 1, height)
        part = levels[:, :, y - 1 : max(y, min(bottom, height)), x - 1 : max(x, min(right, width))]
        crops.append(functional.interpolate(part, size=(pixels, pixels), mode="area"))
    return torch.cat(crops)


def surest_apart(
    corners: Corners, scores: npt.NDArray[np.float64], most: float, *, smaller: bool = False
) -> npt.NDArray[np.intp]:
    """Indices of the surest boxes of those that overlap more than `most`, surest first.

    Args:
        smaller: overlap is a share of the smaller box, not of both together: a face within a face is none.
    """
    waiting = np.argsort(-scores, kind="stable")
    areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    kept = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        low = np.maximum(corners[waiting, :2], corners[best, :2])
        high = np.minimum(corners[waiting, 2:], corners[best, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        of = np.minimum(areas[waiting], areas[best]) if smaller else areas[waiting] + areas[best] - shared
        waiting = waiting[shared <= most * of]
    return np.array(kept, dtype=np.intp)
