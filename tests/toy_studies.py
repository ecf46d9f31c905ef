"""A study small enough for tests: a set of twelve lines in two films, a checkpoint, a grid, and what cells scored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from authentic_dubber.config import DubberConfig
from authentic_dubber.evaluation.scoring import read_scores
from authentic_dubber.evaluation.sets import Case, Content, write_set
from authentic_dubber.sweeps.running import DONE, SCORES
from authentic_dubber.sweeps.settings import KEYS, Study, Values
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.training.loop import export
from library_builder.types import QUERY_MODALITIES, Clip, Emotion
from vocoder.checkpoint import save_generator
from vocoder.generator import IstftConfig, IstftGenerator
from vocoder.mel import MelConfig

from .conftest import SEED, SPACES

ROOT = Path(__file__).resolve().parents[1]
RATE = MelConfig().sample_rate
FELT = ("neutral", "happy", "sad", "angry")
DEFAULTS: Values = {key: known.default for key, known in KEYS.items()}


def unit(rng: np.random.Generator, width: int) -> np.ndarray:
    row = rng.standard_normal(width)
    return (row / np.linalg.norm(row)).astype(np.float32)


def emotion(rng: np.random.Generator, modality: str) -> Emotion:
    return Emotion(SPACES[modality], unit(rng, int(SPACES[modality].split("/")[1])))


def toy_set(folder: Path) -> Path:
    """Twelve lines of four feelings in two films of twenty clips by four voices; two clips are silent."""
    rng = np.random.default_rng(SEED)
    made = [
        Case(f"c{i:02d}", f"line {i // 4}", "en", f"toy/v{i % 3}", FELT[i % 4], "waves/p.wav", film=f"f{i % 2}",
             group=f"g{i // 4}")
        for i in range(12)
    ]  # fmt: skip
    libraries = {}
    for film in ("f0", "f1"):
        vectors = [{m: emotion(rng, m) for m in SPACES} for _ in range(20)]
        vectors[3].pop("audio"), vectors[7].pop("audio")
        libraries[film] = [
            Clip(f"{film}-{n:02d}", "x.mp4", 0, 1, speaker=f"toy/v{n % 4}", text=f"words {n % 9}", emotions=own)  # type: ignore[arg-type]
            for n, own in enumerate(vectors)
        ]
    content = Content("toy", "2.0", "en", "", {m: SPACES[m] for m in QUERY_MODALITIES}, None, tuple(made))
    own = {m: np.stack([emotion(rng, m).vector for _ in made]) for m in QUERY_MODALITIES}
    wave = (0.1 * np.sin(np.arange(RATE) / 20)).astype(np.float32)
    write_set(folder, content, waves={"p.wav": wave}, sample_rate=RATE, own=own, libraries=libraries)
    return folder


def toy_checkpoint(folder: Path, config: DubberConfig) -> Path:
    """Weights that nobody taught, with a card."""
    torch.manual_seed(SEED)
    export(Synthesizer(config), folder / "acoustic", 0)
    save_generator(folder / "vocoder", IstftGenerator(IstftConfig.tiny(), config.mel))
    (folder / "card.json").write_text(json.dumps({"name": "toy", "licences": ["CC0-1.0"], "notice": ""}))
    return folder


def study(*words: str, name: str = "toy", **changes: Any) -> Study:
    made = Study(name, "Does it?", {"train.steps": 2}, {"seed": (0, 1), "retrieval.k": (0, 2)}, ({},), {})
    return replace(made, **changes).varied(words)


def answers(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What every done cell scored, by its name."""
    done = {cell.parent.name: cell.parent for cell in folder.glob(f"runs/*/{DONE}")}
    return {name: [one.to_dict() for one in read_scores(cell / SCORES)[1]] for name, cell in done.items()}
