"""Extractors that are quick, leave a line in a file for every clip they see, and die when they are told to.

A module of its own, because worker processes import it by name.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from library_builder.mux import write_video
from library_builder.types import Emotion, Frame, Reading

LOG, DEATHS, PAUSE = "TOY_LOG", "TOY_DEATHS", "TOY_PAUSE"
"""Environment: a file that gets a line per clip; a folder of which each file is a death to die; seconds per clip."""


def unit(space: str, values: Sequence[float]) -> Emotion:
    vector = np.array([*values, 1.0], dtype=np.float32)  # the one keeps black and silent vectors from being zero
    return Emotion(space, vector / np.linalg.norm(vector))


class Scene:
    space = "toy-scene/4"

    def read(self, frames: Sequence[Frame]) -> Reading:
        with Path(os.environ[LOG]).open("a", encoding="utf-8") as log:
            log.write("seen\n")
        time.sleep(float(os.environ.get(PAUSE, "0")))
        if DEATHS in os.environ:
            for death in Path(os.environ[DEATHS]).iterdir():
                death.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        mean = np.mean([frame.image.mean(axis=(0, 1)) for frame in frames], axis=0) / 255
        if mean.max() > 0.99:
            raise ValueError("too bright to look at")
        return Reading(unit(self.space, mean), caption=f"red {mean[0]:.1f}")


class Words:
    space = "toy-text/4"

    def read(self, line: str, captions: Mapping[str, str]) -> Reading | None:
        return Reading(unit(self.space, [line.count(letter) / max(1, len(line)) for letter in "aei"])) if line else None


def load() -> Any:
    """The extractors."""
    return SimpleNamespace(
        spaces=lambda: {"scene": Scene.space, "text": Words.space},
        scene=Scene(),
        face=SimpleNamespace(read=lambda frames: SimpleNamespace(reading=None, notes=("face: none",))),
        text=Words(),
        audio=SimpleNamespace(read=lambda wave, rate: None),
    )


def leave() -> Any:
    """Extractors that end the process that loads them."""
    os._exit(3)


def draw_films(folder: Path, count: int, *, clips: int = 3, seed: int = 0) -> Path:
    """Films of `clips` one-second lines in changing colours, each with its sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        colours = random.integers(20, 235, (clips, 3))
        frames = (np.full((48, 64, 3), colours[i // 8], dtype=np.uint8) for i in range(8 * clips))
        write_video(folder / f"film{number:02d}.mp4", frames, 8)
        rows = [f"{i}.0,{i}.9,{'AB'[i % 2]},line {i} of {number}" for i in range(clips)]
        (folder / f"film{number:02d}.csv").write_text("\n".join(["start,end,character,text", *rows]) + "\n")
    return folder


def seen() -> int:
    """How many clips extractors were shown so far."""
    log = Path(os.environ[LOG])
    return len(log.read_text().splitlines()) if log.is_file() else 0
