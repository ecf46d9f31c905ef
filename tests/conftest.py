"""Toy sizes of the real classes, stated once. One seed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from authentic_dubber.config import DubberConfig, Vocabulary, build_config
from authentic_dubber.symbols import INVENTORY_NAME, SYMBOL_COUNT
from authentic_dubber.training.corpora import EMOTIONS
from graphs import DialogueGraph

if TYPE_CHECKING:
    from authentic_dubber.sweeps.running import Bench

SEED = 7
SPACES = {"scene": "toy-scene/6", "face": "toy-face/6", "text": "toy-text/10", "audio": "toy-audio/8"}


@pytest.fixture
def tiny_config() -> DubberConfig:
    return build_config("tiny", Vocabulary(INVENTORY_NAME, SYMBOL_COUNT, SPACES, "toy-lips/5", EMOTIONS))


def random_graph(lines: int, k: int, seed: int = SEED) -> DialogueGraph:
    """Lines with every modality present and k references each."""
    draw = torch.Generator().manual_seed(seed)

    def vectors(width: int, *shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, width, generator=draw), dim=-1)

    widths = {m: int(SPACES[m].split("/")[1]) for m in ("scene", "face", "text")}
    return DialogueGraph(
        own={m: vectors(w, lines) for m, w in widths.items()},
        own_mask=torch.ones(lines, 3, dtype=torch.bool),
        references={m: vectors(w, lines, k) for m, w in widths.items()},
        audio={m: vectors(8, lines, k) for m in widths},
        reference_mask=torch.ones(lines, 3, k, dtype=torch.bool),
        audio_mask=torch.ones(lines, 3, k, dtype=torch.bool),
        similarity=torch.rand(lines, 3, k, generator=draw),
    )


@pytest.fixture
def tiny_cache(tmp_path: Path, tiny_config: DubberConfig) -> Path:
    """A prepared corpus of 24 short made-up recordings by three voices, with every feature a training needs."""
    from authentic_dubber.training.cache import Cache, Entry, save_index, save_ragged, save_rows

    folder = tmp_path / "cache"
    folder.mkdir()
    rng = np.random.default_rng(SEED)
    entries, offset, waves, runs = [], 0, [], {"mel": [], "symbols": [], "durations": [], "lips": [], "pitch": []}
    for i in range(24):
        frames = int(rng.integers(20, 40))
        wave = (rng.standard_normal(frames * 256) * 3000).astype(np.int16)
        voice, emotion = f"v{i % 3}", (None if i % 2 else EMOTIONS[i % len(EMOTIONS)])
        entries.append(
            Entry(
                f"u{i:02d}", "toy", voice, "en", f"text {i}", emotion, "CC0-1.0", "x.wav", False, 0.0, offset, len(wave)
            )
        )
        offset += len(wave)
        waves.append(wave)
        n = int(rng.integers(4, 9))
        durations = np.full(n, frames // n, dtype=np.int16)
        durations[-1] += frames - durations.sum()
        runs["mel"].append(rng.normal(-5, 2, (frames, 80)).astype(np.float16))
        runs["symbols"].append(rng.integers(1, SYMBOL_COUNT, n).astype(np.int16))
        runs["durations"].append(durations)
        runs["pitch"].append(np.stack([rng.normal(20, 4, frames), rng.random(frames) < 0.6], axis=1).astype(np.float16))
        runs["lips"].append(rng.standard_normal((int(rng.integers(0, 12)), 5)).astype(np.float16))
    np.concatenate(waves).tofile(folder / "waves.i16")
    save_index(folder, 22050, entries)
    for name, values in runs.items():
        save_ragged(folder, name, values)
    save_rows(folder, "speaker", _unit(rng, 24, 256))
    for modality, space in SPACES.items():
        save_rows(folder, f"own_{modality}", _unit(rng, 24, int(space.split("/")[1])))
    save_rows(folder, "own_captions", _unit(rng, 24, 10))
    for modality in ("scene", "face", "text"):
        save_rows(folder, f"hits_{modality}", rng.integers(0, 24, (24, 10)).astype(np.int32))
        save_rows(folder, f"scores_{modality}", rng.random((24, 10)).astype(np.float16))
    save_rows(folder, "film", np.array([i % 3 for i in range(24)], dtype=np.int8))
    assert len(Cache(folder).entries) == 24
    return folder


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set of toy studies; to be read alone."""
    from .toy_studies import toy_set

    return toy_set(tmp_path_factory.mktemp("sets") / "toy")


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_config: DubberConfig) -> Path:
    """A voice that nobody taught."""
    from .toy_studies import toy_checkpoint

    return toy_checkpoint(tmp_path / "checkpoint", tiny_config)


@pytest.fixture
def bench(tmp_path: Path, tiny_cache: Path, checkpoint: Path, cases: Path) -> Bench:
    """Where toy studies are run."""
    from authentic_dubber.sweeps.models import Workshop
    from authentic_dubber.sweeps.running import Bench

    return Bench(Workshop(tiny_cache, checkpoint, tmp_path / "out"), cases, "toy")


def _unit(rng: np.random.Generator, n: int, width: int) -> np.ndarray:
    rows = rng.standard_normal((n, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
