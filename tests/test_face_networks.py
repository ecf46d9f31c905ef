"""Published face networks with random weights in the published formats, against the same sums by NumPy and SciPy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from library_builder.pretrained.face_api import FaceApiExpressions, FaceApiLandmarks, TinyFaceDetector
from library_builder.pretrained.faces import Faces, Framing, cut, overlap
from library_builder.pretrained.mini_xception import MiniXception, MiniXceptionNetwork
from library_builder.pretrained.source import ModelError
from library_builder.pretrained.tfjs import read_shards
from library_builder.pretrained.ultraface import UltraFace
from tests.published_files import Array, conv, depthwise, max_pool, write_keras, write_onnx, write_tfjs

WIDTHS = (4, 5, 6, 8)


def random_face_network(outputs: int, seed: int = 0) -> dict[str, Array]:
    """Four dense blocks and a layer on top, as face-api names them."""
    draw, weights, inputs = np.random.default_rng(seed), {}, 3
    for block, width in enumerate(WIDTHS):
        for i in range(4):
            at, given = f"dense{block}/conv{i}", inputs if i == 0 else width
            if block == i == 0:
                weights[f"{at}/filters"] = draw.normal(0, 0.3, (3, 3, given, width))
            else:
                weights[f"{at}/depthwise_filter"] = draw.normal(0, 0.4, (3, 3, given, 1))
                weights[f"{at}/pointwise_filter"] = draw.normal(0, 0.5, (1, 1, given, width))
            weights[f"{at}/bias"] = draw.normal(0, 0.2, width)
        inputs = width
    return weights | {"fc/weights": draw.normal(0, 1, (WIDTHS[-1], outputs)), "fc/bias": draw.normal(0, 1, outputs)}


def through(w: dict[str, Array], x: Array) -> Array:
    """A normalised picture of 112 x 112 through the blocks, as the published program writes them out."""

    def layer(x: Array, at: str, stride: int = 1) -> Array:
        if f"{at}/filters" in w:
            return conv(x, w[f"{at}/filters"], w[f"{at}/bias"], stride=stride)
        return conv(
            depthwise(x, w[f"{at}/depthwise_filter"], stride=stride), w[f"{at}/pointwise_filter"], w[f"{at}/bias"]
        )

    for block in range(4):
        one = np.maximum(layer(x, f"dense{block}/conv0", 2), 0)
        two = layer(one, f"dense{block}/conv1")
        three = layer(np.maximum(one + two, 0), f"dense{block}/conv2")
        four = layer(np.maximum(one + two + three, 0), f"dense{block}/conv3")
        x = np.maximum(one + two + three + four, 0)
    return np.asarray(x.mean(axis=(0, 1)) @ w["fc/weights"] + w["fc/bias"])


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


# ------------------------------------------------------------------------------------------------- face-api


def test_expressions_are_the_published_layers_of_the_dequantised_weights(tmp_path: Path) -> None:
    weights = random_face_network(7)
    meant = write_tfjs(tmp_path, "face_expression_model", weights, whole=[n for n in weights if n.endswith("bias")])
    reader = FaceApiExpressions(tmp_path)
    image = picture(200, 180)
    # A face already of the network's size: nothing is resized, so every sum is comparable.
    face = image[30:142, 40:152].astype(np.float64)
    scores = through(meant, (face - [122.782, 117.001, 104.298]) / 255)
    shares = np.exp(scores) / np.exp(scores).sum()
    found = reader.read(image, np.array([[40.0, 30.0, 112.0, 112.0]]))
    # Single precision through 16 layers.
    np.testing.assert_allclose(found[0], shares, rtol=1e-3, atol=1e-5)
    assert reader.labels[:2] == ("neutral", "happy") and reader.read(image, np.empty((0, 4))).shape == (0, 7)
    image[60, 60] = 255 - image[60, 60]
    assert np.abs(reader.read(image, np.array([[40.0, 30.0, 112.0, 112.0]])) - found).max() > 0


def test_a_narrow_face_is_given_bars_on_both_sides(tmp_path: Path) -> None:
    meant = write_tfjs(tmp_path, "face_landmark_68_model", random_face_network(136))
    image = picture(200, 200)
    face = np.zeros((112, 112, 3))
    face[:, 26:86] = image[20:132, 50:110]
    points = through(meant, (face - [122.782, 117.001, 104.298]) / 255).reshape(68, 2)
    # Landmarks are shares of the square; the bars are no part of the picture.
    wanted = points * 112 + [50 - 26, 20]
    found = FaceApiLandmarks(tmp_path).read(image, np.array([50.0, 20.0, 60.0, 112.0]))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=0.05)


def detector_weights(seed: int = 0) -> dict[str, Array]:
    draw, weights, inputs = np.random.default_rng(seed), {}, 3
    for i, width in enumerate((4, 4, 5, 5, 6, 6)):
        if i == 0:
            weights["conv0/filters"] = draw.normal(0, 0.5, (3, 3, 3, width))
        else:
            weights[f"conv{i}/depthwise_filter"] = draw.normal(0, 0.5, (3, 3, inputs, 1))
            weights[f"conv{i}/pointwise_filter"] = draw.normal(0, 0.8, (1, 1, inputs, width))
        weights[f"conv{i}/bias"], inputs = draw.normal(0, 0.2, width), width
    return weights | {"conv8/filters": draw.normal(0, 2, (1, 1, inputs, 25)), "conv8/bias": draw.normal(0, 1, 25)}


def test_shards_lie_below_their_manifest(tmp_path: Path) -> None:
    write_tfjs(tmp_path / "inside", "face_expression_model", random_face_network(7))
    manifest = tmp_path / "inside" / "face_expression_model-weights_manifest.json"
    (groups,) = json.loads(manifest.read_text())
    (tmp_path / "outside").write_bytes((tmp_path / "inside" / groups["paths"][0]).read_bytes())
    manifest.write_text(json.dumps([groups | {"paths": ["../outside"]}]))
    with pytest.raises(ModelError, match="outside"):
        read_shards(manifest)


def test_the_tiny_detector_is_the_published_layers(tmp_path: Path) -> None:
    w = write_tfjs(tmp_path, "tiny_face_detector_model", detector_weights())
    detector = TinyFaceDetector(tmp_path)
    x = np.random.default_rng(1).normal(0, 0.3, (64, 64, 3))
    given = torch.from_numpy(x.transpose(2, 0, 1)[None].astype(np.float32))
    for i in range(6):
        if i == 0:
            x = conv(x, w["conv0/filters"], w["conv0/bias"], same=False)
        else:
            x = conv(depthwise(x, w[f"conv{i}/depthwise_filter"]), w[f"conv{i}/pointwise_filter"], w[f"conv{i}/bias"])
        x = max_pool(np.where(x > 0, x, 0.1 * x), 2, 1 if i == 5 else 2)
    wanted = conv(x, w["conv8/filters"], w["conv8/bias"])
    with torch.inference_mode():
        found = detector.network(given)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_the_tiny_detector_places_its_boxes(tmp_path: Path) -> None:
    """Only the bias of the second box of a cell speaks, so that every cell has one: 6.04 cells wide, off its middle."""
    w = {name: np.zeros_like(values) for name, values in detector_weights().items()}
    w["conv8/bias"] = np.tile([0.0, 0.0, 0.0, 0.0, -9.0], 5)
    w["conv8/bias"][5:10] = [np.log(3.0), -np.log(3.0), 0.0, np.log(2.0), 3.0]  # sigmoids of 3/4 and 1/4
    write_tfjs(tmp_path, "tiny_face_detector_model", w, whole=[*w])
    detector = TinyFaceDetector(tmp_path)
    found = detector.detect(picture(104, 208))
    assert found.scores == pytest.approx(1 / (1 + np.exp(-3.0)), abs=1e-6)
    cell = 208 / 13  # of the picture made square
    size = np.array([6.041143, 2 * 7.080126]) * cell
    first = found.boxes[0]
    np.testing.assert_allclose(first[2:], size, rtol=1e-5)
    np.testing.assert_allclose(first[:2] + size / 2, [0.75 * cell, 0.25 * cell], atol=1e-3)
    assert (overlap(found.boxes, found.boxes)[~np.eye(len(found.scores), dtype=bool)] <= 0.4 + 1e-9).all()
    assert not len(TinyFaceDetector(tmp_path, least=0.96).detect(picture(104, 208)).scores)


def test_shards_that_are_not_whole_are_refused_in_one_line(tmp_path: Path) -> None:
    write_tfjs(tmp_path, "face_expression_model", random_face_network(7))
    manifest, shard = (
        tmp_path / "face_expression_model-weights_manifest.json",
        tmp_path / "face_expression_model-shard1",
    )
    held = shard.read_bytes()
    for wrong, words in ((held[:-3], "truncated"), (held + b"1", f"{len(held)} bytes, got {len(held) + 1}")):
        shard.write_bytes(wrong)
        with pytest.raises(ModelError, match=words):
            FaceApiExpressions(tmp_path)
    shard.unlink()
    with pytest.raises(ModelError, match="shard"):
        FaceApiExpressions(tmp_path)
    manifest.write_text("{}")
    with pytest.raises(ModelError, match=r"as TensorFlow\.js writes them"):
        FaceApiExpressions(tmp_path)
    manifest.write_text("[")
    with pytest.raises(ModelError, match="manifest"):
        read_shards(manifest)
    manifest.unlink()
    with pytest.raises(ModelError, match="no such file"):
        FaceApiExpressions(tmp_path)


def test_shards_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    write_tfjs(tmp_path, "face_expression_model", random_face_network(8))
    with pytest.raises(ModelError, match=r"fc\.weights of shape \(7, 8\), got \(8, 8\)"):
        FaceApiExpressions(tmp_path)
    write_tfjs(tmp_path, "face_expression_model", detector_weights())
    with pytest.raises(ModelError, match="without dense0") as refused:
        FaceApiExpressions(tmp_path)
    assert "\n" not in str(refused.value)
    manifest = tmp_path / "face_expression_model-weights_manifest.json"
    groups = json.loads(manifest.read_text())
    groups[0]["weights"][0]["quantization"]["dtype"] = "int4"
    manifest.write_text(json.dumps(groups))
    with pytest.raises(ModelError, match="int4"):
        FaceApiExpressions(tmp_path)


# ------------------------------------------------------------------------------------------------- mini-XCEPTION


def keras_layers(seed: int = 0) -> dict[str, dict[str, Array]]:
    """The published layers, narrower."""
    draw, layers, inputs = np.random.default_rng(seed), {}, 2

    def norm(number: int, width: int) -> None:
        ranges = {"gamma": (0.5, 1.5), "beta": (-0.5, 0.5), "moving_mean": (-0.5, 0.5), "moving_variance": (0.5, 2.0)}
        layers[f"batch_normalization_{number}"] = {k: draw.uniform(*v, width) for k, v in ranges.items()}

    for i, given in ((1, 1), (2, 2)):
        layers[f"conv2d_{i}"] = {"kernel": draw.normal(0, 0.4, (3, 3, given, 2))}
        norm(i, 2)
    for i, width in enumerate((3, 4, 5, 6)):
        layers[f"conv2d_{i + 3}"] = {"kernel": draw.normal(0, 0.6, (1, 1, inputs, width))}
        norm(3 * i + 3, width)
        for j, given in enumerate((inputs, width)):
            kernels = {"depthwise_kernel": (3, 3, given, 1), "pointwise_kernel": (1, 1, given, width)}
            layers[f"separable_conv2d_{2 * i + j + 1}"] = {k: draw.normal(0, 0.5, v) for k, v in kernels.items()}
            norm(3 * i + j + 4, width)
        inputs = width
    layers["conv2d_7"] = {"kernel": draw.normal(0, 0.5, (3, 3, inputs, 7)), "bias": draw.normal(0, 0.5, 7)}
    return layers


@pytest.mark.pretrained
def test_mini_xception_is_the_published_layers(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    layers = keras_layers()
    write_keras(tmp_path / "fer.hdf5", layers)
    image = picture(90, 100)
    image[:, :, 1:] = image[:, :, :1]  # grey, so that any grey of it is the same
    x = (image[10:74, 20:84, :1].astype(np.float64) / 255 - 0.5) * 2

    def norm(x: Array, number: int) -> Array:
        n = layers[f"batch_normalization_{number}"]
        return (x - n["moving_mean"]) / np.sqrt(n["moving_variance"] + 1e-3) * n["gamma"] + n["beta"]

    def separable(x: Array, number: int) -> Array:
        n = layers[f"separable_conv2d_{number}"]
        return conv(depthwise(x, n["depthwise_kernel"]), n["pointwise_kernel"])

    for i in (1, 2):
        x = np.maximum(norm(conv(x, layers[f"conv2d_{i}"]["kernel"], same=False), i), 0)
    for i in range(4):
        around = norm(conv(x, layers[f"conv2d_{i + 3}"]["kernel"], stride=2), 3 * i + 3)
        x = np.maximum(norm(separable(x, 2 * i + 1), 3 * i + 4), 0)
        x = max_pool(norm(separable(x, 2 * i + 2), 3 * i + 5), 3, 2) + around
    scores = conv(x, layers["conv2d_7"]["kernel"], layers["conv2d_7"]["bias"]).mean(axis=(0, 1))
    reader = MiniXception(tmp_path)
    found = reader.read(image, np.array([[20.0, 10.0, 64.0, 64.0]]))
    # Single precision, and four poolings that may choose between nearly equal values.
    np.testing.assert_allclose(found[0], np.exp(scores) / np.exp(scores).sum(), rtol=1e-3, atol=1e-4)
    assert reader.labels[3] == "happy"


def test_mini_xception_has_the_published_size() -> None:
    network = MiniXceptionNetwork([8, 16, 32, 64, 128])
    # Keras tells 58 423 parameters, of which 1 472 are the running figures of norms.
    assert sum(p.numel() for p in network.parameters()) == 58_423 - 1_472


@pytest.mark.pretrained
def test_keras_files_of_something_else_are_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    with pytest.raises(ModelError, match=r"one \.hdf5"):
        MiniXception(tmp_path)
    path = tmp_path / "fer.hdf5"
    write_keras(path, {"conv2d_1": {"kernel": np.zeros((3, 3, 1, 2))}})
    with pytest.raises(ModelError, match="without") as refused:
        MiniXception(tmp_path)
    assert "\n" not in str(refused.value)
    write_keras(path, keras_layers())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ModelError, match="whole Keras HDF5"):
        MiniXception(tmp_path)


def test_what_is_not_installed_is_named_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fer.hdf5").touch()
    for module in ("h5py", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    for reader in (MiniXception, UltraFace):
        with pytest.raises(ImportError, match=r'pip install "authentic-dubber\[faces\]"'):
            reader(tmp_path)


# ------------------------------------------------------------------------------------------------- UltraFace


@pytest.mark.pretrained
def test_ultraface_is_given_rgb_and_gives_pixels(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_onnx(tmp_path / "toy.onnx", np.array([[0.1, 0.2, 0.4, 0.5], [0.5, 0.0, 1.1, 0.9], [0.0, 0.5, 0.25, 1.0]]))
    detector = UltraFace(tmp_path)
    image = np.zeros((60, 100, 3), dtype=np.uint8)
    image[:, :, 0], image[:, :, 2] = 255, 230
    found = detector.detect(image)
    # (255 - 127) / 128 and (230 - 127) / 128; green is at -127 / 128, below any threshold.
    np.testing.assert_allclose(found.scores, [1.0, 103 / 128], atol=1e-6)
    np.testing.assert_allclose(found.boxes, [[10, 12, 30, 18], [0, 30, 25, 30]], atol=1e-4)
    (tmp_path / "toy.onnx").write_bytes((tmp_path / "toy.onnx").read_bytes()[:60])
    with pytest.raises(ModelError, match="whole ONNX") as refused:
        UltraFace(tmp_path)
    assert "\n" not in str(refused.value)


# ------------------------------------------------------------------------------------------------- all of them


def test_boxes_are_cut_to_the_picture_and_never_empty() -> None:
    image = picture(20, 30)
    assert np.array_equal(cut(image, np.array([-5.0, 3.2, 10.0, 4.0])), image[3:8, :5])
    assert cut(image, np.array([40.0, 50.0, 5.0, 5.0])).shape == (1, 1, 3)
    assert cut(image, np.array([-9.0, -9.0, 2.0, 2.0])).shape == (1, 1, 3)


def test_overlap_is_shared_area_over_both() -> None:
    one = np.array([[0.0, 0, 10, 10]])
    other = np.array([[5.0, 0, 10, 10], [20, 20, 1, 1], [0, 0, 10, 10]])
    np.testing.assert_allclose(overlap(one, other), [[50 / 150, 0, 1]])


def test_faces_are_surest_first_and_framed_as_the_cascade_does() -> None:
    with pytest.raises(ValueError, match="surest"):
        Faces(np.zeros((2, 4)), np.array([0.1, 0.9]))
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        Faces(np.zeros((2, 3)), np.array([0.9, 0.1]))
    box = Framing(-0.1, 0.2, 1.5).of_cascade(np.array([[10.0, 20.0, 9.0, 16.0]]))
    np.testing.assert_allclose(box, [[10 - 0.9, 20 + 3.2, 18, 18]])
