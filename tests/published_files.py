"""Small models in the formats that face networks are published in: TensorFlow.js shards, Keras HDF5, ONNX.

And a convolution by another road than the networks'.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.signal import correlate

Array = npt.NDArray[np.float64]


def write_tfjs(
    folder: Path, model: str, weights: Mapping[str, Array], *, whole: Sequence[str] = ()
) -> dict[str, Array]:
    """A manifest and its shard, quantised to eight bits but for the names in `whole`; what the bytes stand for."""
    folder.mkdir(parents=True, exist_ok=True)
    entries, held, meant = [], b"", {}
    for name, values in weights.items():
        entry: dict[str, object] = {"name": name, "shape": list(values.shape), "dtype": "float32"}
        if name in whole:
            stored = values.astype("<f4")
            meant[name] = stored.astype(np.float64)
        else:
            low, scale = float(values.min()), float(np.ptp(values)) / 255 or 1.0
            stored = np.round((values - low) / scale).astype(np.uint8)
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
            meant[name] = stored * scale + low
        held += stored.tobytes()
        entries.append(entry)
    (folder / f"{model}-shard1").write_bytes(held)
    manifest = [{"weights": entries, "paths": [f"{model}-shard1"]}]
    (folder / f"{model}-weights_manifest.json").write_text(json.dumps(manifest))
    return meant


def write_keras(path: Path, layers: Mapping[str, Mapping[str, Array]]) -> None:
    """Weights by layer as Keras 2 saves a whole model."""
    import h5py

    with h5py.File(path, "w") as file:
        top = file.create_group("model_weights")
        top.attrs["layer_names"] = [name.encode() for name in ("input_1", *layers)]
        top.create_group("input_1").attrs["weight_names"] = np.array([], dtype="S1")
        for layer, weights in layers.items():
            group = top.create_group(layer)
            names = [f"{layer}_1/{leaf}:0" for leaf in weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, values in zip(names, weights.values(), strict=True):
                group.create_dataset(name, data=values.astype(np.float32))


def conv(x: Array, kernel: Array, bias: Array | None = None, *, stride: int = 1, same: bool = True) -> Array:
    """TensorFlow's convolution: (H, W, in), (h, w, in, out) -> (H', W', out); odd padding to the right and bottom."""
    side = kernel.shape[0]
    if same:
        pads = [max(0, (-(-n // stride) - 1) * stride + side - n) for n in x.shape[:2]]
        x = np.pad(x, [*((p // 2, p - p // 2) for p in pads), (0, 0)])
    maps = [correlate(x, kernel[..., o], mode="valid")[::stride, ::stride, 0] for o in range(kernel.shape[3])]
    return np.stack(maps, axis=2) + (0 if bias is None else bias)


def depthwise(x: Array, kernel: Array, *, stride: int = 1) -> Array:
    """TensorFlow's depthwise convolution with one filter per channel: (H, W, C), (h, w, C, 1) -> (H', W', C)."""
    each = [conv(x[..., c : c + 1], kernel[:, :, c : c + 1], stride=stride) for c in range(x.shape[2])]
    return np.concatenate(each, axis=2)


def max_pool(x: Array, side: int, stride: int) -> Array:
    """TensorFlow's largest-of with padding `same`: (H, W, C) -> (ceil(H / stride), ceil(W / stride), C)."""
    pads = [max(0, (-(-n // stride) - 1) * stride + side - n) for n in x.shape[:2]]
    x = np.pad(x, [*((p // 2, p - p // 2) for p in pads), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(0, 1))
    return np.asarray(windows[::stride, ::stride].max(axis=(3, 4)))


def _field(number: int, value: bytes | int) -> bytes:
    """A field of a protocol buffer: a whole number, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _node(kind: str, inputs: Sequence[str], output: str) -> bytes:
    named = b"".join(_field(1, name.encode()) for name in inputs)
    return _field(1, named + _field(2, output.encode()) + _field(4, kind.encode()))


def _tensor(name: str, values: npt.NDArray[np.generic]) -> bytes:
    kind = {"f": 1, "i": 7}[values.dtype.kind]
    dims = b"".join(_field(1, n) for n in values.shape)
    return _field(5, dims + _field(2, kind) + _field(8, name.encode()) + _field(9, values.tobytes()))


def _value(field: int, name: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_field(1, _field(1, n)) for n in shape)
    return _field(field, _field(1, name.encode()) + _field(2, _field(1, _field(1, 1) + _field(2, dims))))


def write_onnx(path: Path, boxes: npt.NDArray[np.float32], size: tuple[int, int] = (24, 32)) -> None:
    """A detector of three boxes whose sureness is the mean of the red, green and blue that it is given.

    By hand, since what writes ONNX is a larger package than what runs it: averages per channel, laid out as scores, and
    the boxes as they are.
    """
    graph = _node("GlobalAveragePool", ["input"], "means") + _node("Reshape", ["means", "three"], "column")
    graph += _node("MatMul", ["column", "second"], "scores") + _node("Identity", ["corners"], "boxes")
    graph += _field(2, b"three boxes") + _tensor("three", np.array([1, 3, 1], dtype=np.int64))
    graph += _tensor("second", np.array([[0, 1]], dtype=np.float32))
    graph += _tensor("corners", boxes.astype(np.float32)[None])
    graph += _value(11, "input", (1, 3, *size)) + _value(12, "scores", (1, 3, 2)) + _value(12, "boxes", (1, 3, 4))
    path.write_bytes(_field(1, 7) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 11)))
