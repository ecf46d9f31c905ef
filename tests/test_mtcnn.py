"""MTCNN with made-up weights: where it finds what is bright, which of overlapping boxes stay, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from library_builder.pretrained import mtcnn
from library_builder.pretrained.faces import Faces, distinct
from library_builder.pretrained.mtcnn import Mtcnn, surest_apart
from library_builder.pretrained.source import ModelError
from tests.published_files import Array, conv, max_pool


def bright_mtcnn() -> list[torch.nn.Module]:
    """Three networks that take for a face what is bright, by the mean of what they see, and move nothing."""
    networks: list[torch.nn.Module] = [mtcnn.Proposals(), mtcnn.Refinement(), mtcnn.Output()]
    with torch.no_grad():
        for network in networks:
            for name, value in network.state_dict().items():
                value.fill_(1.0 if "prelu" in name else 0.0)
            for name, layer in network.named_children():
                if isinstance(layer, torch.nn.PReLU):
                    continue
                # The first channel carries the mean of what is seen, the others nothing.
                weight = layer.weight
                if name == "conv1":
                    weight[0] = 1 / weight[0].numel()
                elif isinstance(layer, torch.nn.Conv2d) and weight.shape[2] > 1:
                    weight[0, 0] = 1 / weight[0, 0].numel()
                elif name in ("dense4", "dense5"):
                    weight[0, :: 64 if name == "dense4" else 128] = 1 / 9
                elif name in ("conv4_1", "dense5_1", "dense6_1"):
                    weight[1, 0], layer.bias[1] = 40.0, -4.0
    return networks


def save_mtcnn(folder: Path, networks: list[torch.nn.Module]) -> None:
    for stage, network in zip("pro", networks, strict=True):
        torch.save(network.state_dict(), folder / f"{stage}net.pt")


def test_mtcnn_finds_the_bright_face_where_it_is(tmp_path: Path) -> None:
    """A bright square off the middle of a picture that is wider than high: no two axes can be confused."""
    save_mtcnn(tmp_path, bright_mtcnn())
    image = np.zeros((80, 140, 3), dtype=np.uint8)
    image[12:44, 88:120] = 255
    found = Mtcnn(tmp_path).detect(image)
    assert len(found.scores) and (np.diff(found.scores) <= 0).all() and found.scores[0] > 0.7
    middles = found.boxes[:, :2] + found.boxes[:, 2:] / 2
    assert np.abs(middles - [104, 28]).max() < 20 and (found.boxes[:, 2] == pytest.approx(found.boxes[:, 3], abs=2))
    assert not len(Mtcnn(tmp_path).detect(np.zeros_like(image)).scores)


def test_closer_looks_are_flattened_as_they_were_written() -> None:
    """Columns first, then rows, then channels: the weights come from a program that kept pictures so."""
    draw = torch.Generator().manual_seed(0)
    network = mtcnn.Refinement().eval()
    with torch.no_grad():
        for value in network.state_dict().values():
            value.normal_(0, 0.2, generator=draw)
        x = torch.randn(1, 3, 24, 24, generator=draw)
        moves, sureness = network(x)
    s = {name: value.double().numpy() for name, value in network.state_dict().items()}

    def slope(x: Array, name: str) -> Array:
        return np.where(x > 0, x, s[name] * x)

    def layer(x: Array, i: int) -> Array:
        kernel = s[f"conv{i}.weight"].transpose(2, 3, 1, 0)
        return slope(conv(x, kernel, s[f"conv{i}.bias"], same=False), f"prelu{i}.weight")

    y = x[0].permute(1, 2, 0).double().numpy()
    y = layer(y, 1)[:22, :22]
    y = max_pool(np.pad(y, ((0, 1), (0, 1), (0, 0)), constant_values=-np.inf), 3, 1)[1:-1:2, 1:-1:2]
    y = layer(y, 2)
    y = max_pool(y, 3, 1)[1:-1:2, 1:-1:2]
    y = layer(y, 3)
    flat = np.array([y[row, column, c] for column in range(3) for row in range(3) for c in range(64)])
    flat = slope(s["dense4.weight"] @ flat + s["dense4.bias"], "prelu4.weight")
    np.testing.assert_allclose(moves[0].numpy(), s["dense5_2.weight"] @ flat + s["dense5_2.bias"], rtol=1e-4, atol=1e-4)
    scores = np.exp(s["dense5_1.weight"] @ flat + s["dense5_1.bias"])
    np.testing.assert_allclose(sureness[0].numpy(), scores / scores.sum(), rtol=1e-4, atol=1e-6)


def test_mtcnn_refuses_other_weights(tmp_path: Path) -> None:
    networks = bright_mtcnn()
    save_mtcnn(tmp_path, networks)
    torch.save(networks[0].state_dict(), tmp_path / "rnet.pt")
    with pytest.raises(ModelError, match=r"rnet\.pt.*without"):
        Mtcnn(tmp_path)
    (tmp_path / "rnet.pt").unlink()
    with pytest.raises(ModelError, match="no such file"):
        Mtcnn(tmp_path)


@pytest.mark.parametrize("smaller", [False, True])
def test_the_surest_of_overlapping_boxes_stay(smaller: bool) -> None:
    draw = np.random.default_rng(4)
    first = draw.uniform(0, 60, (50, 2))
    corners, scores = np.concatenate([first, first + draw.uniform(8, 40, (50, 2))], axis=1), draw.uniform(0, 1, 50)
    kept: list[int] = []
    for i in np.argsort(-scores):
        a = corners[i]
        for j in kept:
            b = corners[j]
            shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
            areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
            if shared / (min(areas) if smaller else sum(areas) - shared) > 0.3:
                break
        else:
            kept.append(int(i))
    assert surest_apart(corners, scores, 0.3, smaller=smaller).tolist() == kept
    if not smaller:
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        order = np.argsort(-scores)
        assert distinct(Faces(boxes[order], scores[order]), 0.3).scores.tolist() == scores[kept].tolist()


def test_pictures_that_are_none_are_refused(tmp_path: Path) -> None:
    save_mtcnn(tmp_path, bright_mtcnn())
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="RGB picture"):
            Mtcnn(tmp_path).detect(wrong)  # type: ignore[arg-type]
