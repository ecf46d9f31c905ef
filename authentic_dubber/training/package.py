"""Trained parts to a checkpoint that can be shipped: half precision, with a card that names its data and licences."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from authentic_dubber.checkpoint import Card, load_acoustic, read_card
from authentic_dubber.director import NEUTRAL
from authentic_dubber.symbols import NAMES, PAUSES, SILENCE
from authentic_dubber.synthesizer import Synthesizer
from vocoder.checkpoint import AnyGenerator, load_generator, save_generator
from vocoder.harmonic import HarmonicConfig
from vocoder.mel import MelConfig
from vocoder.storage import read_config, whole_folder

from .cache import Cache
from .calibrate import calibrated_f0_range, log_range
from .corpora import SAYINGS
from .dataset import Corpus
from .durations import QUIET_BELOW
from .loop import export
from .rehearsal import NOT_REHEARSED

_STRICTNESS = ("CC-BY-NC-SA-4.0", "CC-BY-4.0", "CC0-1.0", "synthetic")
_NOTICES = {
    "CC-BY-NC-SA-4.0": "this voice learned from CC BY-NC-SA 4.0 recordings: credit, share alike, no commercial use",
    "CC-BY-4.0": "this voice learned from CC BY 4.0 recordings: give credit",
    "CC0-1.0": "this voice learned from CC0 recordings only",
}


def package_checkpoint(
    acoustic: Path,
    vocoder: Path,
    cache_folder: Path,
    out: Path,
    name: str,
    *,
    expression: float = 1.0,
    conviction: float = 1.0,
    breath: float = 1.0,
    calibrate: bool = False,
) -> Card:
    """Write `out` with `acoustic/`, `vocoder/` and `card.json`.

    Args:
        acoustic: a run folder of the acoustic training (`acoustic/` inside it is taken).
        vocoder: a run folder of the vocoder training (`generator/` inside it is taken).
        expression, conviction: see `DubberConfig`.
        breath: see `HarmonicConfig`.
        calibrate: let the voice speak, and ask for the ranges of F0 with which it is heard as recordings are; otherwise
            for those of the recordings.

    Raises:
        FileNotFoundError: a part is missing.
        ValueError: the two parts are for different mels, or a vocoder without harmonics is asked for less breath.
    """
    cache = Cache(cache_folder)
    model = load_acoustic(acoustic / "acoustic")
    generator = _breathing(vocoder, model.config.mel, breath)
    steps = {"acoustic": read_config(acoustic / "acoustic")["step"], "vocoder": _vocoder_step(vocoder)}
    sizes = {"acoustic": model, "vocoder": generator}
    parameters = {part: sum(p.numel() for p in module.parameters()) for part, module in sizes.items()}
    card = _card(cache, name, {"steps": steps, "parameters": parameters})
    ranges = f0_range_of_feelings(cache)
    model.config = replace(
        model.config,
        expression=expression,
        conviction=conviction,
        loudness=loudness_of_feelings(cache),
        f0_range=ranges,
    )
    if calibrate:
        model.config = replace(model.config, f0_range=_calibrated(model, generator, cache, ranges))
    with whole_folder(out) as filling:
        export(model, filling / "acoustic", steps["acoustic"], half=True)
        save_generator(filling / "vocoder", generator, half=True)
        (filling / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return read_card(out)


def _breathing(vocoder: Path, mel: MelConfig, breath: float) -> AnyGenerator:
    generator = load_generator(vocoder / "generator", mel)
    if isinstance(generator.config, HarmonicConfig):
        generator.config = replace(generator.config, breath=breath)
    elif breath != 1:
        raise ValueError(f"{vocoder}: expected a harmonic vocoder to breathe less, got {generator.config}")
    return generator


def _calibrated(
    model: Synthesizer, generator: nn.Module, cache: Cache, ranges: Mapping[str, float]
) -> dict[str, float]:
    """By lines of every corpus that voices rehearse."""
    corpus = Corpus(cache, model.config)
    spoken = sorted({cache.entries[i].corpus for i in corpus.rows} - {SAYINGS, *NOT_REHEARSED})
    return calibrated_f0_range(model, generator, corpus, ranges, spoken)


def _card(cache: Cache, name: str, made: dict[str, Any]) -> dict[str, Any]:
    """What was seen, under which licences, and how it was made."""
    rows = cache.training_rows()
    entries = [cache.entries[i] for i in rows]
    seen = Counter(entry.corpus for entry in entries)
    hours = {entry.corpus: 0.0 for entry in entries}
    for entry in entries:
        hours[entry.corpus] += entry.samples / cache.sample_rate / 3600
    licences = sorted({entry.licence for entry in entries}, key=_strictness)
    corpora = {
        corpus: {
            "recordings": seen[corpus],
            "hours": round(hours[corpus], 3),
            "licence": next(entry.licence for entry in entries if entry.corpus == corpus),
        }
        for corpus in sorted(seen)
    }
    facts = {
        "corpora": corpora,
        "held_out": len(cache.held_out_rows()),
        "phones_per_second": phones_per_second(cache, rows),
        **made,
    }
    return {"name": name, "licences": licences, "notice": _notice(licences[0]), "facts": facts}


def _strictness(licence: str) -> tuple[int, str]:
    """Strictest first: what a user's own recordings allow is not known here."""
    return (_STRICTNESS.index(licence) if licence in _STRICTNESS else -1), licence


def _notice(licence: str) -> str:
    unknown = f"this voice learned from recordings under another licence ({licence}): see what they allow"
    return _NOTICES.get(licence, unknown)


def loudness_of_feelings(cache: Cache) -> dict[str, float]:
    """Per emotion, nepers of what sounds above the same voice's neutral recordings; every corpus counts the same."""
    mels = cache.ragged("mel")

    def level(i: int) -> float:
        nepers = np.log(np.exp(mels[i].astype(np.float32)).sum(1))
        return float(nepers[nepers > np.percentile(nepers, 95) - QUIET_BELOW].mean())

    return _above_neutral(cache, level)


def f0_range_of_feelings(cache: Cache) -> dict[str, float]:
    """Per emotion, log of the range of F0 (10th to 90th percentile, Hz) over the same voice's in neutral recordings."""
    tracks = cache.ragged("pitch")

    def recorded(i: int) -> float | None:
        track = tracks[i].astype(np.float32)
        return log_range(track[track[:, 1] > 0.5, 0])

    return _above_neutral(cache, recorded)


def _above_neutral(cache: Cache, measure: Callable[[int], float | None]) -> dict[str, float]:
    """Mean of a figure of recordings by emotion, above the same voice's neutral ones; every corpus counts the same."""
    found = defaultdict(list)
    for i in cache.training_rows():
        entry = cache.entries[i]
        if entry.emotion is not None and entry.corpus != SAYINGS and (value := measure(i)) is not None:
            found[entry.corpus, entry.voice, entry.emotion].append(value)
    above: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (corpus, voice, emotion), values in found.items():
        if rest := found.get((corpus, voice, NEUTRAL)):
            above[emotion][corpus].append(float(np.mean(values) - np.mean(rest)))
    return {
        emotion: round(float(np.mean([np.mean(gaps) for gaps in corpora.values()])), 3)
        for emotion, corpora in sorted(above.items())
    }


def phones_per_second(cache: Cache, rows: Sequence[int]) -> tuple[float, float]:
    """5th and 95th percentile of how fast the recordings speak, rests not counted as phones but as time."""
    rests = [NAMES.index(name) for name in (SILENCE, *PAUSES)]
    symbols = cache.ragged("symbols")
    phones = np.array([np.sum(~np.isin(symbols[i], rests)) for i in rows])
    seconds = np.array([cache.entries[i].samples / cache.sample_rate for i in rows])
    low, high = np.percentile(phones / seconds, [5, 95])
    return round(float(low), 2), round(float(high), 2)


def _vocoder_step(run: Path) -> int:
    newest = max((run / "checkpoints").glob("step-*"))
    return int(read_config(newest)["step"])
