"""How wide a voice's melody must be asked for, so that it is heard as wide as acted recordings are.

The decoder does not follow its melody to the letter: some feelings flatten on the way to sound, others widen. So a
finished voice speaks, the range of F0 is measured in its sound as it is in recordings, and what is missing is asked
for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from authentic_dubber.director import NEUTRAL
from authentic_dubber.synthesizer import Synthesizer
from library_builder.voice import track_voice

from .dataset import Corpus
from .rehearsal import LONGEST_SECONDS

LINES, ROUNDS, BATCH = 20, 3, 8
"""Lines of each corpus that are spoken in every feeling, how many times over, and at once."""
FEWEST_VOICED = 10
"""Voiced frames, a tenth of a second, without which a sound has no range to speak of."""
WIDEST = 1.0
"""Nepers that a table may ask for: beyond them a melody is stretched as far as it goes anyway."""


def log_range(semitones: npt.NDArray[np.floating]) -> float | None:
    """Log of the range of F0 in hertz, 10th to 90th percentile; `None` for too few frames.

    Shape:
        voiced frames (T,), in semitones -> ().
    """
    if len(semitones) < FEWEST_VOICED:
        return None
    low, high = np.percentile(2 ** (semitones.astype(np.float64) / 12), [10, 90])
    return float(np.log(max(high - low, 1e-3)))


def calibrated_f0_range(
    model: Synthesizer,
    vocoder: nn.Module,
    corpus: Corpus,
    targets: Mapping[str, float],
    names: Sequence[str],
    *,
    lines: int = LINES,
    rounds: int = ROUNDS,
) -> dict[str, float]:
    """The table of F0 ranges with which a voice at full strength is heard as wide as wished.

    Args:
        model: with its expression set; its own table is where the search begins.
        targets: per emotion, log of the range over the neutral one's, as heard in recordings.
        names: corpora whose voices and texts are spoken. The one that is furthest behind the target decides: what one
            corpus's voices carry easily may turn around in another's.

    Raises:
        ValueError: a corpus has no line short enough, or nothing voiced is heard.
    """
    expression = model.config.expression
    before, table = model.config, dict(targets)
    groups = [_chosen(corpus, name, lines) for name in names]
    wished = [emotion for emotion in targets if emotion != NEUTRAL]
    with tqdm(total=rounds * (len(wished) + 1), desc="ranges of F0", unit="feeling") as bar:
        for _ in range(rounds):
            model.config = replace(before, f0_range=table)
            still = _heard(model, vocoder, corpus, groups, NEUTRAL, bar)
            for emotion in wished:
                felt = _heard(model, vocoder, corpus, groups, emotion, bar)
                gaps = _gaps(felt, still)
                missing = targets[emotion] - (min(gaps) if targets[emotion] > 0 else max(gaps))
                table[emotion] = round(float(np.clip(table[emotion] + missing / expression, -WIDEST, WIDEST)), 3)
    model.config = before
    return table


def _chosen(corpus: Corpus, name: str, lines: int) -> list[int]:
    """Some recordings of a corpus, spread over it, not longer than a rehearsed line."""
    entries, longest = corpus.cache.entries, LONGEST_SECONDS * corpus.cache.sample_rate
    rows = [int(i) for i in corpus.rows if entries[i].corpus == name and entries[i].samples <= longest]
    if not rows:
        raise ValueError(f"expected recordings of {name} up to {LONGEST_SECONDS} s to speak, got none")
    return [rows[int(j)] for j in np.unique(np.linspace(0, len(rows) - 1, lines).astype(int))]


@torch.inference_mode()
def _heard(
    model: Synthesizer, vocoder: nn.Module, corpus: Corpus, groups: Sequence[Sequence[int]], emotion: str, bar: tqdm
) -> list[list[float | None]]:
    """Log ranges of the lines of each group in a feeling."""
    told = torch.tensor(model.config.emotions.index(emotion))
    heard = []
    for rows in groups:
        found: list[float | None] = []
        for start in range(0, len(rows), BATCH):
            found += _spoken(model, vocoder, corpus, rows[start : start + BATCH], told)
        heard.append(found)
    bar.update()
    return heard


def _spoken(
    model: Synthesizer, vocoder: nn.Module, corpus: Corpus, rows: Sequence[int], told: torch.Tensor
) -> list[float | None]:
    """Log ranges of lines spoken in the model's own time, by what is heard of them."""
    seen = corpus.fixed(rows, k=0).inputs
    inputs = replace(
        seen,
        lips=seen.lips[:, :1] * 0,
        lip_lengths=torch.zeros_like(seen.lip_lengths),
        feeling=functional.one_hot(told, len(model.config.emotions)).float().expand(len(rows), -1),
        directed=torch.ones(len(rows), dtype=torch.bool),
    )
    encoded = model.encode(inputs)
    natural = model.predicted_frames(encoded, inputs.symbol_lengths)
    durations = torch.where(inputs.symbols > 0, natural.round().clamp(min=1), 0).long()
    spoken = model.decode(encoded, durations)
    ranges = []
    for mel, length in zip(spoken.mel, spoken.lengths, strict=True):
        wave = vocoder(mel[None, :, : int(length)])[0].float().numpy()
        tracks = track_voice(wave, corpus.cache.sample_rate)
        ranges.append(None if tracks is None else log_range(tracks.f0[tracks.voiced]))
    return ranges


def _gaps(felt: Sequence[Sequence[float | None]], still: Sequence[Sequence[float | None]]) -> list[float]:
    """Mean of felt over neutral in each group, line by line where both can be heard."""
    gaps = []
    for ours, theirs in zip(felt, still, strict=True):
        found = [a - b for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
        if not found:
            raise ValueError("expected voiced speech to hear a range of F0 in, got none")
        gaps.append(float(np.mean(found)))
    return gaps
