"""The published lip-reading network: its names, its layers by another road, and what it makes of a mouth."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from library_builder.lips import LightLips, mouth_motion
from library_builder.pretrained import find_model
from library_builder.pretrained.lip_network import LipNetwork, LipNetworkConfig
from library_builder.pretrained.lip_reading import ResNetTcnLips, load_lip_network
from library_builder.pretrained.mouth_crops import aligned_crops, boxed_crops, normalised, similarity, ticks
from library_builder.pretrained.source import ModelError
from library_builder.tracking import FaceTrack
from library_builder.types import Frame, space_width

TINY = LipNetworkConfig("swish", (4, 6, 8, 10), branch=4, kernels=(3, 5, 7), layers=2, words=9)


def random_network(config: LipNetworkConfig, seed: int = 0) -> LipNetwork:
    """Random weights, and batch norms that have seen something."""
    draw = torch.Generator().manual_seed(seed)
    network = LipNetwork(config).eval()
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=draw)
        elif value.ndim > 1:
            value.normal_(0, value[0].numel() ** -0.5, generator=draw)
        elif value.is_floating_point():
            value.uniform_(-0.3, 0.7, generator=draw)
    return network


def save(folder: Path, config: LipNetworkConfig = TINY, published: dict[str, object] | None = None) -> Path:
    """A folder as the models are published: the settings, and a checkpoint with the state of the training around it."""
    folder.mkdir()
    settings = {"backbone_type": "resnet", "relu_type": config.activation, "width_mult": 1.0, "tcn_dwpw": False}
    settings |= {"tcn_num_layers": config.layers, "tcn_kernel_size": config.kernels, "tcn_width_mult": 1}
    (folder / "lrw_resnet18_mstcn.json").write_text(json.dumps(settings | (published or {})))
    state = random_network(config).state_dict()
    torch.save({"epoch_idx": 80, "model_state_dict": state, "optimizer_state_dict": {}}, folder / "lips.pth.tar")
    return folder


def found(folder: Path, **options: object) -> ResNetTcnLips:
    return ResNetTcnLips(find_model(folder, needed=("*.json",)), device="cpu", **options)  # type: ignore[arg-type]


def talking(count: int, fps: float = 25.0) -> tuple[list[Frame], FaceTrack]:
    """A grey square whose mouth, a dark bar of 30 pixels, opens and closes three times a second."""
    frames = []
    for i in range(count):
        picture = np.full((200, 260, 3), 170, dtype=np.uint8)
        opening = round(8 * (0.5 - 0.5 * np.cos(2 * np.pi * 3 * i / fps)))
        picture[141 - opening : 143 + opening, 115:145] = 40
        frames.append(Frame(i / fps, picture))
    return frames, FaceTrack(np.repeat([[80.0, 60.0, 100.0, 100.0]], count, axis=0), "face", 1.0)


def test_the_published_model_has_the_published_names_and_size() -> None:
    names = LipNetwork(LipNetworkConfig()).state_dict()
    # Ma et al. 2021, table 1: 36.4 million parameters.
    count = sum(value.numel() for name, value in LipNetwork(LipNetworkConfig()).named_parameters())
    assert count == pytest.approx(36.4e6, rel=2e-3)
    assert {
        "frontend3D.0.weight": (64, 1, 5, 7, 7),
        "frontend3D.1.running_var": (64,),
        "trunk.layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "trunk.layer4.1.bn2.bias": (512,),
        "tcn.mb_ms_tcn.network.0.cbcr0_2.conv.weight": (256, 512, 7),
        "tcn.mb_ms_tcn.network.3.cbcr1_0.batchnorm.running_mean": (256,),
        "tcn.mb_ms_tcn.network.1.downsample.weight": (768, 768, 1),
        "tcn.tcn_output.weight": (500, 768),
    }.items() <= {name: tuple(value.shape) for name, value in names.items()}.items()
    slopes = LipNetwork(replace(LipNetworkConfig(), activation="prelu")).state_dict()
    assert {"frontend3D.2.weight", "trunk.layer1.0.relu1.weight", "tcn.mb_ms_tcn.network.0.relu_final.weight"} <= {
        *slopes
    }


class PublishedLayers:
    """The network's tensors through plain functions, in double precision, as the publication writes the layers out."""

    def __init__(self, network: LipNetwork) -> None:
        self.kind = network.config.activation
        self.s = {name: value.double() for name, value in network.state_dict().items()}

    def act(self, y: torch.Tensor, name: str) -> torch.Tensor:
        match self.kind:
            case "relu":
                return y.clamp(min=0)
            case "prelu":
                return torch.where(y > 0, y, self.s[name].reshape(1, -1, *[1] * (y.ndim - 2)) * y)
            case _:
                return y / (1 + torch.exp(-y))

    def norm(self, y: torch.Tensor, name: str) -> torch.Tensor:
        shape = (1, -1, *[1] * (y.ndim - 2))
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, var, gain, shift = (self.s[f"{name}.{part}"].reshape(shape) for part in parts)
        return (y - mean) / torch.sqrt(var + 1e-5) * gain + shift

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, V, H, W) -> (B, V, D), each frame alone after the first convolution."""
        y = F.conv3d(x[:, None], self.s["frontend3D.0.weight"], stride=(1, 2, 2), padding=(2, 3, 3))
        y = self.act(self.norm(y, "frontend3D.1"), "frontend3D.2.weight")
        y = F.max_pool3d(y, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        return torch.stack([self.trunk(y[:, :, t]) for t in range(y.shape[2])], dim=1)

    def trunk(self, z: torch.Tensor) -> torch.Tensor:
        s = self.s
        for stage in range(1, 5):
            for block in (0, 1):
                at = f"trunk.layer{stage}.{block}"
                stride = 2 if stage > 1 and block == 0 else 1
                inner = self.norm(F.conv2d(z, s[f"{at}.conv1.weight"], stride=stride, padding=1), f"{at}.bn1")
                inner = F.conv2d(self.act(inner, f"{at}.relu1.weight"), s[f"{at}.conv2.weight"], padding=1)
                if f"{at}.downsample.0.weight" in s:
                    z = self.norm(F.conv2d(z, s[f"{at}.downsample.0.weight"], stride=stride), f"{at}.downsample.1")
                z = self.act(self.norm(inner, f"{at}.bn2") + z, f"{at}.relu2.weight")
        return z.mean(dim=(2, 3))

    def words(self, features: torch.Tensor) -> torch.Tensor:
        """(B, V, D) -> (B, words); convolutions padded twice over and cut back, as published."""
        s, h = self.s, features.transpose(1, 2)
        for layer in range(TINY.layers):
            at, start = f"tcn.mb_ms_tcn.network.{layer}", h
            for turn in (0, 1):
                parts = []
                for i, kernel in enumerate((3, 5, 7)):
                    b, pad = f"{at}.cbcr{turn}_{i}", (kernel - 1) * 2**layer
                    full = F.conv1d(h, s[f"{b}.conv.weight"], s[f"{b}.conv.bias"], padding=pad, dilation=2**layer)
                    cut = self.norm(full, f"{b}.batchnorm")[:, :, pad // 2 : -(pad // 2)]
                    parts.append(self.act(cut, f"{b}.non_lin.weight"))
                h = torch.cat(parts, dim=1)
            around = F.conv1d(start, s[f"{at}.downsample.weight"], s[f"{at}.downsample.bias"])
            h = self.act(h + around, f"{at}.relu_final.weight")
        return h.mean(dim=2) @ s["tcn.tcn_output.weight"].T + s["tcn.tcn_output.bias"]


@pytest.mark.parametrize("activation", ["relu", "prelu", "swish"])
def test_features_and_words_are_those_of_the_published_layers(activation: str) -> None:
    network = random_network(replace(TINY, activation=activation))  # type: ignore[arg-type]
    published = PublishedLayers(network)
    x = torch.randn(1, 6, 88, 88, generator=torch.Generator().manual_seed(1))
    features = published.features(x.double())
    with torch.inference_mode():
        # Single against double precision over a few dozen layers.
        torch.testing.assert_close(network.features(x).double(), features, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(network(x).double(), published.words(features), rtol=1e-4, atol=1e-4)


def test_a_saved_model_reads_as_before_and_one_pixel_changes_the_reading(tmp_path: Path) -> None:
    lips = found(save(tmp_path / "lips"))
    assert space_width(lips.space) == 10 and lips.weight_files == (tmp_path / "lips" / "lips.pth.tar",)
    frames, track = talking(30)
    reading = lips.read(frames, track)
    assert reading.features.shape == (30, 10) and np.isfinite(reading.features).all()
    crops = boxed_crops(frames, track)
    with torch.inference_mode():
        direct = random_network(TINY).features(torch.from_numpy(normalised(crops))[None])[0].numpy()
    # The same weights without the detour over the disk; batches of one size add alike.
    np.testing.assert_allclose(reading.features, direct, rtol=1e-5, atol=1e-5)
    crops[12, 50, 50] ^= 64
    changed = np.abs(lips.features(crops) - lips.features(boxed_crops(frames, track))).max(axis=1) > 0
    assert changed[10:15].all() and changed.sum() == 5, "a row has seen two frames to either side"


def test_when_the_mouth_moves_is_known_to_the_slot(tmp_path: Path) -> None:
    frames, track = talking(50)
    reading, light = found(save(tmp_path / "lips")).read(frames, track), LightLips().read(frames, track)
    assert mouth_motion(reading) == mouth_motion(light) is not None
    assert np.array_equal(reading.opening, light.opening)


def test_length_of_the_pieces_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lips = found(save(tmp_path / "lips"))
    crops = np.random.default_rng(0).integers(0, 256, (23, 96, 96)).astype(np.uint8)
    whole = lips.features(crops)
    monkeypatch.setattr("library_builder.pretrained.lip_reading._CHUNK", 5)
    np.testing.assert_allclose(lips.features(crops), whole, rtol=1e-4, atol=1e-5)


def test_out_of_memory_halves_the_pieces_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lips = found(save(tmp_path / "lips"))
    crops = np.random.default_rng(0).integers(0, 256, (23, 96, 96)).astype(np.uint8)
    whole, plain = lips.features(crops), LipNetwork.features

    def small(self: LipNetwork, mouths: torch.Tensor) -> torch.Tensor:
        if mouths.shape[1] > 12:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, mouths)

    monkeypatch.setattr(LipNetwork, "features", small)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(lips.features(crops), whole, rtol=1e-4, atol=1e-5)
    assert "out of memory" in caplog.text and "6 frames" in caplog.text


@pytest.mark.parametrize(("fps", "rows"), [(25.0, 50), (50.0, 25), (12.5, 99), (23.976, 53)])
def test_the_network_sees_25_frames_a_second_of_any_film(fps: float, rows: int) -> None:
    looked = ticks(np.arange(50) / fps)
    assert len(looked) == pytest.approx(rows, abs=1) and looked[0] == 0 and looked[-1] >= 48
    assert (np.diff(looked) >= 0).all()
    # On show at each tick: never a frame that comes later.
    assert (looked / fps <= np.arange(len(looked)) / 25 + 1e-5).all()


def test_films_at_another_rate_give_a_row_per_frame(tmp_path: Path) -> None:
    lips = found(save(tmp_path / "lips"))
    frames, track = talking(60, fps=50.0)
    reading = lips.read(frames, track)
    assert reading.features.shape == (60, 10)
    slow, slow_track = talking(30)
    np.testing.assert_allclose(reading.features[::2], lips.read(slow, slow_track).features, rtol=1e-4, atol=1e-4)


def test_without_a_face_there_are_no_features_but_a_note(tmp_path: Path) -> None:
    blank = [Frame(i / 25, np.full((60, 80, 3), 90, dtype=np.uint8)) for i in range(4)]
    reading = found(save(tmp_path / "lips")).read(blank, FaceTrack(np.full((4, 4), np.nan), "none"))
    assert not reading.moving and not reading.features.any() and reading.notes == ("lips: no mouth found",)


# ------------------------------------------------------------------------------------------------- crops


def test_a_mouth_lies_in_the_middle_and_fills_half_of_the_crop() -> None:
    frames, _ = talking(1)
    # A face box whose mouth is the drawn one: in photographs it is 0.29 of a box of the frontal cascade.
    width = 30 / 0.29
    box = [[130 - width / 2, 142 - 0.82 * width, width, width]]
    dark = boxed_crops(frames, FaceTrack(np.array(box), "face", 1.0))[0] < 100
    rows, columns = np.nonzero(dark)
    assert abs(rows.mean() - 48) < 1.5 and abs(columns.mean() - 48) < 1.5
    assert 0.4 < (np.ptp(columns) + 1) / 96 < 0.6


def test_a_turned_face_is_laid_upon_the_mean_face() -> None:
    rng = np.random.default_rng(0)
    mean_face = rng.uniform(60, 196, (68, 2))
    mean_face[48:68] = rng.normal((128, 170), 6, (20, 2))
    angle, scale = np.deg2rad(25), 0.6
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = mean_face @ turn.T + [40, 10]
    step = similarity(points, mean_face)
    np.testing.assert_allclose(points @ step[:, :2].T + step[:, 2], mean_face, atol=1e-9)
    picture = np.full((220, 260, 3), 200, dtype=np.uint8)
    x, y = points[48:68].mean(axis=0).round().astype(int)
    picture[y - 3 : y + 4, x - 3 : x + 4] = 20
    crops = aligned_crops([Frame(i / 25, picture) for i in range(20)], np.repeat(points[None], 20, axis=0), mean_face)
    assert crops.shape == (20, 96, 96)
    rows, columns = np.nonzero(crops[7] < 100)
    assert abs(rows.mean() - 48) < 1.5 and abs(columns.mean() - 48) < 1.5
    assert len(rows) == pytest.approx(49 / scale**2, rel=0.25)


def test_normalising_takes_the_middle_and_the_published_measure() -> None:
    crops = np.zeros((2, 96, 96), dtype=np.uint8)
    crops[:, 4, 4] = 255
    middle = normalised(crops)
    assert middle.shape == (2, 88, 88) and middle.dtype == np.float32
    assert middle[0, 0, 0] == pytest.approx((1 - 0.421) / 0.165, abs=1e-5)
    assert middle[0, 1, 1] == pytest.approx(-0.421 / 0.165, abs=1e-5)
    with pytest.raises(ValueError, match=r"\(V, 96, 96\)"):
        normalised(crops[:, :88, :88])


# ------------------------------------------------------------------------------------------------- bad input


def test_a_truncated_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "lips") / "lips.pth.tar"
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ModelError, match="truncated") as refused:
        found(path.parent)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("published", "words"),
    [
        ({"backbone_type": "shufflenet"}, "shufflenet"),
        ({"relu_type": "gelu"}, "gelu"),
        ({"tcn_dwpw": True}, "separable"),
        ({"relu_type": "prelu"}, re.escape("without frontend3D.2.weight")),
    ],
)
def test_another_architecture_is_refused_in_one_line(tmp_path: Path, published: dict[str, object], words: str) -> None:
    folder = save(tmp_path / "lips", published=published)
    with pytest.raises(ModelError, match=words) as refused:
        load_lip_network(find_model(folder, needed=("*.json",)))
    assert "\n" not in str(refused.value) and "lips.pth.tar" in str(refused.value)


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "lips")
    torch.save(torch.nn.Linear(3, 3).state_dict(), folder / "lips.pth.tar")
    with pytest.raises(ModelError, match=r"trunk\.layer1"):
        found(folder)
    torch.save({"weight": "none"}, folder / "lips.pth.tar")
    with pytest.raises(ModelError, match="state dict"):
        found(folder)
    torch.save(random_network(TINY).state_dict(), folder / "lips.pth.tar")
    (folder / "lrw_resnet18_mstcn.json").unlink()
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="backbone_type"):
        found(folder)


def test_a_model_that_tells_words_otherwise_gives_features_all_the_same(tmp_path: Path) -> None:
    """DC-TCN models share the front and the ResNet; their densely connected head is not built, and not read."""
    folder = save(tmp_path / "lips", published={"tcn_kernel_size": None, "densetcn_block_config": [3, 3, 3, 3]})
    source = find_model(folder, needed=("*.json",))
    crops = np.random.default_rng(0).integers(0, 256, (6, 96, 96)).astype(np.uint8)
    whole = found(save(tmp_path / "whole"))
    np.testing.assert_array_equal(found(folder).features(crops), whole.features(crops))
    with pytest.raises(ModelError, match="features only"):
        load_lip_network(source)(torch.zeros(1, 3, 88, 88))


def test_landmarks_need_the_mean_face(tmp_path: Path) -> None:
    class Corners:
        def read(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
            return box[:2] + np.linspace(0, 1, 136).reshape(68, 2) * box[2:]

    folder = save(tmp_path / "lips")
    with pytest.raises(ModelError, match="mean face"):
        found(folder, landmarks=Corners())
    np.save(folder / "20words_mean_face.npy", np.random.default_rng(0).uniform(50, 200, (68, 2)))
    lips = found(folder, landmarks=Corners())
    frames, track = talking(14)
    assert "aligned" in lips.space and lips.read(frames, track).features.shape == (14, 10)
