"""From command-line words to a training run of the acoustic model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from authentic_dubber.checkpoint import resolve_device
from authentic_dubber.config import DubberConfig, build_config
from library_builder.readers import build_readers
from vocoder.storage import read_config, read_tensors

from .cache import Cache
from .dataset import Corpus
from .loop import Schedule, train
from .prepare import vocabulary

STARTER_SHARES = {"kathleen": 0.5, "ravdess": 0.17, "nemo": 0.2, "grid": 0.13}
"""Kathleen teaches phonetic coverage, the acted corpora feeling, GRID real lips."""


def train_acoustic(
    cache: Path,
    run: Path,
    size: str,
    *,
    steps: int | None = None,
    shares: Mapping[str, float] | None = None,
    start_from: Path | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    bf16: bool = True,
) -> str:
    """Train, or go on; returns why it ended.

    Args:
        steps: updates in all; the size's own number by default.
        shares: how often each corpus is drawn; `STARTER_SHARES` by default.
        start_from: an `acoustic/` folder whose weights to begin with.

    Raises:
        ValueError: unknown size, or the run folder holds another training.
    """
    config = build_config(size, vocabulary(build_readers("light")))
    if steps is not None:
        config = replace(config, train=replace(config.train, total_steps=steps))
    corpus = Corpus(Cache(cache), config, weights=shares or STARTER_SHARES)
    weights = None
    if start_from is not None:
        before = DubberConfig.from_json(read_config(start_from)["model"])
        if replace(before, train=config.train) != config:
            raise ValueError(f"{start_from}: expected a model of the same sizes and spaces")
        weights = read_tensors(start_from / "model.safetensors")
    return train(
        corpus,
        run,
        seed=seed,
        schedule=Schedule(bf16=bf16),
        device=resolve_device(device),
        max_minutes=minutes,
        start_from=weights,
    )
