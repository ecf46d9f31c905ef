"""Lines whose words carry feeling, spoken by the theatre's synthetic voices and written as a corpus."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from tqdm import tqdm

from authentic_dubber.espeak import Espeak
from authentic_dubber.theatre.puppet import Feeling, cast
from authentic_dubber.theatre.sayings import SAYINGS
from authentic_dubber.theatre.voices import Actor
from library_builder.mux import write_wave

from .corpora import SAYINGS as CORPUS

ACTING_NOISE = 0.5


def make_sayings(data: Path, *, voices: int = 4, seed: int = 0) -> Path:
    """Write `data/sayings`: `metadata.tsv` and `audio/*.wav`, every line by every voice.

    Done lines are kept, so an interrupted run goes on; `metadata.tsv` comes last.
    """
    folder = data / CORPUS
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    lines = [(label, text) for label, texts in SAYINGS.items() for text in texts]
    rows = []
    with Espeak() as espeak:
        actor = Actor(espeak)
        for v, puppet in enumerate(cast(seed, voices)):
            for n, (label, text) in enumerate(tqdm(lines, desc=f"sayings by {puppet.name}", unit="line")):
                name = f"v{v}_{n:03d}"
                rows.append({"id": name, "speaker": f"v{v}", "emotion": label, "text": text})
                path = folder / "audio" / f"{name}.wav"
                if not path.is_file():
                    rng = np.random.default_rng([seed, v, n])
                    done = actor.perform(puppet, text, Feeling(label), noise=ACTING_NOISE, rng=rng)
                    write_wave(path, done.wave, done.sample_rate)
    with (folder / "metadata.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "speaker", "emotion", "text"], delimiter="\t", quoting=csv.QUOTE_NONE)
        writer.writeheader()
        writer.writerows(rows)
    return folder
