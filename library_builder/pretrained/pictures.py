"""Frames as video language models are shown them: how many, how large, cut into patches in the order they expect.

The two families share a layout: patches of a block that is merged into one token lie together, `temporal` frames deep.
Written on tensors alone, as the processors that come with the models need a package (torchvision) that is not a
dependency here; compared with those that do without it in the tests.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from library_builder.types import Frame, Seconds

from .source import ModelError

_STEEPEST = 200.0
"""Longer side over shorter; the models were never shown more."""
_SAME = 0.1
"""Grey levels by which a block has to change for VideoLLaMA3 to keep it."""


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """What a model expects of pictures.

    Attributes:
        patch: side of a patch, pixels.
        merge: patches to a side of the block that becomes one token.
        temporal: frames in a patch.
        least, most: pixels; smaller pictures are enlarged, larger ones shrunk.
        shared: `least` and `most` are of a whole shot, not of a frame.
        mean, deviation: of each colour, values from 0 to 1.
        rate: frames per second.
        fewest_frames, most_frames: of a shot.
    """

    patch: int = 14
    merge: int = 2
    temporal: int = 2
    least: int = 56 * 56
    most: int = 28 * 28 * 768
    shared: bool = False
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    deviation: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    rate: float = 2.0
    fewest_frames: int = 4
    most_frames: int = 768


@dataclass(frozen=True, slots=True)
class Patches:
    """A shot as a model sees it.

    Attributes:
        values: float32, one row per patch. Shape (t * h * w, 3 * temporal * patch * patch).
        grid: t, h, w in patches.
        times: seconds from the shot's beginning, one per frame shown; the last is repeated to fill a patch.
    """

    values: Tensor
    grid: tuple[int, int, int]
    times: tuple[Seconds, ...]


def read_settings(folder: Path, default: PictureSettings, *, image_too: bool) -> PictureSettings:
    """What a model's folder says of pictures; what it does not say is as the family was published.

    Args:
        image_too: take the settings of stills where there are none of videos, as the Qwen family shares them.

    Raises:
        ModelError: a file is not JSON.
    """
    said: Mapping[str, Any] = _read(folder / "processor_config.json").get("video_processor") or {}
    said = said or _read(folder / "video_preprocessor_config.json")
    if not said and image_too:
        said = _read(folder / "preprocessor_config.json")
    names = {
        "patch": "patch_size",
        "merge": "merge_size",
        "temporal": "temporal_patch_size",
        "rate": "fps",
        "fewest_frames": "min_frames",
        "most_frames": "max_frames",
    }
    found: dict[str, Any] = {ours: said[theirs] for ours, theirs in names.items() if said.get(theirs) is not None}
    size = said.get("size") or {}
    least, most = (said.get("min_pixels"), said.get("max_pixels"))
    least, most = least or size.get("shortest_edge"), most or size.get("longest_edge")
    found |= {name: int(value) for name, value in (("least", least), ("most", most)) if value}
    found |= {n: tuple(said[t]) for n, t in (("mean", "image_mean"), ("deviation", "image_std")) if said.get(t)}
    return replace(default, **found)


def choose(frames: Sequence[Frame], settings: PictureSettings) -> tuple[Frame, ...]:
    """The frames a model is shown: at its own rate as far as there are so many, evenly spread, first and last among
    them where more than one is shown.

    Raises:
        ValueError: there are no frames.
    """
    if not frames:
        raise ValueError("expected at least one frame, got none")
    span = frames[-1].time - frames[0].time
    wanted = min(max(round(span * settings.rate), settings.fewest_frames), settings.most_frames)
    wanted = max(settings.temporal, wanted // settings.temporal * settings.temporal)
    count = min(wanted, len(frames))
    if count > settings.temporal:
        count -= count % settings.temporal
    places = np.linspace(0, len(frames) - 1, count).round().astype(int)
    return tuple(frames[place] for place in places)


def fit(height: int, width: int, frames: int, settings: PictureSettings) -> tuple[int, int]:
    """The size pictures are brought to: multiples of a block, within the limits, the shape kept as well as may be.

    Raises:
        ValueError: a side is more than 200 times the other.
    """
    if max(height, width) > _STEEPEST * min(height, width):
        raise ValueError(f"expected sides within {_STEEPEST:.0f} of each other, got {height} by {width} pixels")
    block, share = settings.patch * settings.merge, frames if settings.shared else 1
    least, most = settings.least / share, settings.most / share
    high, wide = (max(block, round(side / block) * block) for side in (height, width))
    if high * wide > most:
        shrink = math.sqrt(height * width / most)
        high, wide = (max(block, math.floor(side / shrink / block) * block) for side in (height, width))
    elif high * wide < least:
        grow = math.sqrt(least / (height * width))
        high, wide = (math.ceil(side * grow / block) * block for side in (height, width))
    return high, wide


def to_patches(frames: Sequence[Frame], settings: PictureSettings) -> Patches:
    """The frames in patches.

    Raises:
        ValueError: no frames, frames of several sizes, or of a shape no model was shown.
    """
    if not frames or len({frame.image.shape for frame in frames}) != 1:
        raise ValueError(f"expected frames of one size, got {sorted({frame.image.shape for frame in frames})}")
    filled = [*frames, *([frames[-1]] * (-len(frames) % settings.temporal))]
    stack = torch.from_numpy(np.stack([frame.image for frame in filled])).permute(0, 3, 1, 2).float()
    size = fit(stack.shape[2], stack.shape[3], len(filled), settings)
    if size != tuple(stack.shape[2:]):
        # Rounded to whole levels, as the models were trained on pictures that were resized as pictures.
        stack = nn.functional.interpolate(stack, size=size, mode="bicubic", antialias=True).round().clamp(0, 255)
    mean, deviation = (torch.tensor(one).view(1, -1, 1, 1) for one in (settings.mean, settings.deviation))
    stack = (stack / 255 - mean) / deviation
    p, m, d = settings.patch, settings.merge, settings.temporal
    t, h, w = len(filled) // d, size[0] // p, size[1] // p
    blocks = stack.view(t, d, 3, h // m, m, p, w // m, m, p).permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    times = tuple(frame.time - frames[0].time for frame in filled)
    return Patches(blocks.reshape(t * h * w, 3 * d * p * p).contiguous(), (t, h, w), times)


def changed(patches: Patches, settings: PictureSettings) -> Tensor:
    """Which tokens VideoLLaMA3 keeps: those of the first frame, and those that are not as in the frame before.

    Shape:
        (t * h * w / merge²,) bool.
    """
    t, h, w = patches.grid
    tokens = h * w // settings.merge**2
    blocks = patches.values.view(t, tokens, -1)
    moved = torch.full((t, tokens), True)
    moved[1:] = (blocks[1:] - blocks[:-1]).abs().mean(dim=-1) * 255 > _SAME
    moved[~moved.any(dim=1), 0] = True  # a frame without a token would have no time
    return moved.flatten()


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: expected JSON: {error}") from error
    return said if isinstance(said, dict) else {}
