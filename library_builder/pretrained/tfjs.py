"""Weights of TensorFlow.js: a manifest of names and shapes, and shards of bytes, mostly quantised to eight bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from library_builder.manifest import check_relative

from .source import ModelError

_TYPES: dict[str, np.dtype[np.generic]] = {
    "float32": np.dtype("<f4"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
}


def shards_of(manifest: Path) -> tuple[Path, ...]:
    """The files that a manifest says hold the weights, in its order.

    Raises:
        ModelError: the manifest or a shard is missing, or it is no manifest.
    """
    names = [str(path) for group in _groups(manifest) for path in group["paths"]]
    try:
        paths = tuple(manifest.parent / check_relative(name) for name in names)
    except ValueError as error:
        raise ModelError(f"{manifest}: {error}") from error
    for path in paths:
        if not path.is_file():
            raise ModelError(f"{path}: expected a shard of the weights that {manifest.name} names, there is none")
    return paths


def read_shards(manifest: Path) -> dict[str, Tensor]:
    """The weights by name, as PyTorch lays them out; a name's `/` becomes `.`.

    A quantised number q stands for q * scale + min.

    Shape:
        convolutions (H, W, in, out) -> (out, in, H, W); depthwise ones (H, W, C, 1) -> (C, 1, H, W);
        fully connected (in, out) -> (out, in).

    Raises:
        ModelError: a file is missing, truncated, too long, or in a form that is not known.
    """
    shards_of(manifest)
    state: dict[str, Tensor] = {}
    for group in _groups(manifest):
        held = b"".join((manifest.parent / path).read_bytes() for path in group["paths"])
        at = 0
        for weight in group["weights"]:
            values, size = _values(manifest, weight, held[at:])
            state[str(weight["name"]).replace("/", ".")] = _laid_out(str(weight["name"]), values)
            at += size
        if at != len(held):
            raise ModelError(f"{manifest}: expected shards of {at} bytes, got {len(held)}")
    return state


def _groups(manifest: Path) -> list[dict[str, Any]]:
    if not manifest.is_file():
        raise ModelError(f"{manifest}: expected a manifest of TensorFlow.js weights, there is no such file")
    try:
        groups = json.loads(manifest.read_text(encoding="utf-8"))
        if isinstance(groups, list) and groups and all({"paths", "weights"} <= set(group) for group in groups):
            return groups
    except (ValueError, TypeError) as error:
        raise ModelError(f"{manifest}: expected a manifest of TensorFlow.js weights: {error}") from error
    raise ModelError(f"{manifest}: expected groups of paths and weights, as TensorFlow.js writes them, got others")


def _values(manifest: Path, weight: dict[str, Any], held: bytes) -> tuple[np.ndarray, int]:
    """A weight's numbers, and how many bytes they took."""
    name, shape = weight["name"], tuple(weight["shape"])
    quantisation = weight.get("quantization")
    stored = quantisation["dtype"] if quantisation else weight["dtype"]
    if stored not in _TYPES or (not quantisation and stored != "float32"):
        raise ModelError(f"{manifest}: expected {name} as float32, or quantised to uint8 or uint16, got {stored}")
    size = int(np.prod(shape)) * _TYPES[stored].itemsize
    if len(held) < size:
        raise ModelError(f"{manifest}: expected {size} bytes for {name}, got {len(held)}: a shard is truncated")
    values = np.frombuffer(held[:size], dtype=_TYPES[stored]).astype(np.float32)
    if quantisation:
        values = values * np.float32(quantisation["scale"]) + np.float32(quantisation["min"])
    return values.reshape(shape), size


def _laid_out(name: str, values: np.ndarray) -> Tensor:
    leaf = name.rpartition("/")[2]
    order = {"filters": (3, 2, 0, 1), "pointwise_filter": (3, 2, 0, 1), "depthwise_filter": (2, 3, 0, 1)}.get(leaf)
    if order is not None and values.ndim == 4:
        values = values.transpose(order)
    elif leaf == "weights" and values.ndim == 2:
        values = values.T
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
