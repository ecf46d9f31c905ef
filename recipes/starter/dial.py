"""Does the dial turn? Twenty sentences in every feeling at four strengths, before any loudness is set.

    python recipes/starter/dial.py out/sets/words --checkpoint CHECKPOINT

For each feeling: mean F0 range (10th to 90th percentile, Hz) and energy (dBFS of what sounds) at each strength,
and Spearman's rank correlation of strength with them over sentences' means; and word error rate and speaker similarity
at each strength beside strength 0. Angry, happy, fearful and surprised should go up, sad down. Exits with 1 when one
does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from tqdm import tqdm

from authentic_dubber.dubber import Dubber
from authentic_dubber.evaluation.measured import Sample, estimate
from authentic_dubber.evaluation.sets import EvaluationSet
from authentic_dubber.evaluation.words import SphinxListener, WordErrors
from authentic_dubber.speaker import GE2E
from authentic_dubber.types import Acting, Line
from library_builder.media import read_wave
from library_builder.voice import track_voice

STRENGTHS = (0.0, 0.5, 1.0, 1.5)
DIRECTIONS = {"angry": 1, "happy": 1, "fearful": 1, "surprised": 1, "sad": -1}
MIN_SPEARMAN = 0.8
BATCH = 10


def f0_range_and_energy(wave: np.ndarray, rate: int) -> tuple[float, float]:
    """Hertz between the 10th and 90th percentile of F0, and the level of what sounds in dBFS; NaN in silence."""
    tracks = track_voice(wave, rate)
    if tracks is None or not tracks.voiced.any():
        return float("nan"), float("nan")
    low, high = 55 * 2 ** (np.percentile(tracks.f0[tracks.voiced], [10, 90]) / 12)
    return float(high - low), float(10 * np.log10(np.mean(10 ** (tracks.level[tracks.active] / 10))))


def spoken(dubber: Dubber, cases: EvaluationSet, count: int, acting: Acting) -> list[Sample]:
    """The first sentences of a set, as acted."""
    chosen = cases.cases[:count]
    voices = {case.prompt: dubber.voice(case.voice, cases.prompt(case)) for case in chosen}
    samples = []
    for start in range(0, len(chosen), BATCH):
        part = chosen[start : start + BATCH]
        lines = [
            dubber.prepare(
                Line(case.id, case.voice, case.text, 0.0, 60.0, None, case.language),
                voices[case.prompt],
                library=None,
                k=0,
                acting=acting,
            )
            for case in part
        ]
        samples += [
            Sample(case.id, case.text, case.language, case.voice, take.wave, take.sample_rate)
            for case, take in zip(part, dubber.speak(lines), strict=True)
        ]
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="an evaluation set of English sentences")
    parser.add_argument("--checkpoint", type=Path, help="checkpoint folder; the starter by default")
    parser.add_argument("--lines", type=int, default=20)
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    given = parser.parse_args()
    dubber, cases, encoder = Dubber.load(given.checkpoint), EvaluationSet.open(given.set), GE2E()
    sentences = [case.text for case in cases.cases]
    prompt = cases.prompt(cases.cases[0])
    own = encoder.embed(read_wave(prompt, sample_rate=22050), 22050)
    listener = WordErrors(lambda: SphinxListener(sentences))
    table: dict[str, dict[str, list[float]]] = {}
    for emotion in tqdm(DIRECTIONS, desc="feelings"):
        rows: dict[str, list[float]] = {"f0_range": [], "energy": [], "wer": [], "secs": []}
        for strength in STRENGTHS:
            samples = spoken(dubber, cases, given.lines, Acting(emotion=emotion, strength=strength))
            pairs = np.array([f0_range_and_energy(sample.wave, sample.sample_rate) for sample in samples])
            rows["f0_range"].append(float(np.nanmean(pairs[:, 0])))
            rows["energy"].append(float(np.nanmean(pairs[:, 1])))
            errors = estimate(listener(samples)[0])
            rows["wer"].append(float("nan") if errors is None else errors.value)
            heard = [encoder.embed(sample.wave, sample.sample_rate) for sample in samples]
            rows["secs"].append(float(np.mean([vector @ own for vector in heard])))
        table[emotion] = rows
    missed = report(table)
    if given.out:
        given.out.write_text(json.dumps({"strengths": STRENGTHS, "figures": table}, indent=2) + "\n", encoding="utf-8")
    return 1 if missed else 0


def report(table: dict[str, dict[str, list[float]]]) -> list[str]:
    """Print the table; returns what does not hold."""
    missed = []
    for emotion, rows in table.items():
        wanted = DIRECTIONS[emotion]
        for name in ("f0_range", "energy"):
            rank = float(spearmanr(STRENGTHS, rows[name]).statistic)
            if wanted * rank < MIN_SPEARMAN - 1e-9:  # four ranks give .8 to all but the last bit
                missed.append(f"{emotion} {name}")
            print(f"{emotion:10s} {name:9s} {' '.join(f'{v:7.2f}' for v in rows[name])}   Spearman {rank:+.2f}")
        for name in ("wer", "secs"):
            print(f"{emotion:10s} {name:9s} {' '.join(f'{v:7.3f}' for v in rows[name])}")
        if max(rows["wer"]) - rows["wer"][0] > 5 or rows["secs"][0] - min(rows["secs"]) > 0.05:
            missed.append(f"{emotion} words or voice")
    print("misses: " + (", ".join(missed) if missed else "none"))
    return missed


if __name__ == "__main__":
    sys.exit(main())
