"""Does one ear hear feelings better than another? A linear probe of both, on voices that it has not heard.

    python recipes/audio_readers.py CACHE [--readers light,light-v2] [--json]

Ridge regression to the labels, every class of the same weight, over the acted recordings of a prepared corpus: five
times with a fifth of the voices left out, and from each corpus to the other. The penalty is chosen within the training
voices. Balanced accuracy; beside it the label agreement of the three nearest recordings of other voices.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from authentic_dubber.training.cache import Cache
from library_builder.readers import build_reader

ACTED = ("ravdess", "nemo")
FOLDS = 5
PENALTIES = np.logspace(-4, 2, 7)
NEAREST = 3

Rows = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Probe:
    """What a linear probe, and plain neighbours, tell of feelings by one reader's vectors.

    Attributes:
        unheard: balanced accuracy per corpus on voices left out.
        other: balanced accuracy on each corpus by a probe of the other one, over the labels both have.
        nearest: share of the three nearest recordings of other voices in the corpus that have the same label.
    """

    space: str
    recordings: int
    unheard: dict[str, float]
    other: dict[str, float]
    nearest: dict[str, float]


def weights(x: Rows, labels: Names, classes: Names, penalty: float) -> Rows:
    """Ridge regression to one-hot labels, classes of the same weight; the last row is the bias."""
    mass = np.array([1 / (labels == label).sum() for label in labels])
    x1 = np.column_stack([x, np.ones(len(x))])
    y = (labels[:, None] == classes[None]).astype(np.float64)
    gram = x1.T @ (x1 * mass[:, None])
    ridge = np.eye(len(gram)) * penalty * np.trace(gram) / len(gram)
    ridge[-1, -1] = 1e-9
    solved: Rows = np.linalg.solve(gram + ridge, x1.T @ (y * mass[:, None]))
    return solved


def balanced(x: Rows, labels: Names, classes: Names, solved: Rows) -> float:
    """Mean recall over the classes."""
    told = classes[np.argmax(np.column_stack([x, np.ones(len(x))]) @ solved, axis=1)]
    return float(np.mean([(told[labels == label] == label).mean() for label in np.unique(labels)]))


def folds(voices: Names, count: int) -> list[npt.NDArray[np.bool_]]:
    """Recordings of every n-th voice."""
    names = np.unique(voices)
    return [np.isin(voices, names[n::count]) for n in range(min(count, len(names)))]


def fitted(x: Rows, labels: Names, voices: Names) -> tuple[Rows, Names]:
    """The probe of some recordings, its penalty chosen on voices left out among them."""
    classes = np.unique(labels)
    scores = [
        np.mean(
            [
                balanced(x[out], labels[out], classes, weights(x[~out], labels[~out], classes, penalty))
                for out in folds(voices, 4)
            ]
        )
        for penalty in PENALTIES
    ]
    return weights(x, labels, classes, float(PENALTIES[int(np.argmax(scores))])), classes


def probe(space: str, x: Rows, labels: Names, voices: Names, corpora: Names) -> Probe:
    """All three figures of one reader's vectors."""
    unheard, other, nearest = {}, {}, {}
    for name in np.unique(corpora):
        here = corpora == name
        a, b, c = x[here], labels[here], voices[here]
        found = []
        for out in folds(c, FOLDS):
            solved, classes = fitted(a[~out], b[~out], c[~out])
            found.append(balanced(a[out], b[out], classes, solved))
        unheard[str(name)] = round(float(np.mean(found)), 3)
        shared = np.isin(labels, np.intersect1d(labels[~here], b))
        solved, classes = fitted(x[~here & shared], labels[~here & shared], voices[~here & shared])
        other[str(name)] = round(balanced(x[here & shared], labels[here & shared], classes, solved), 3)
        cosines = np.where(c[:, None] == c[None], -np.inf, a @ a.T)
        near = np.argpartition(-cosines, NEAREST, axis=1)[:, :NEAREST]
        nearest[str(name)] = round(float((b[near] == b[:, None]).mean()), 3)
    return Probe(space, len(x), unheard, other, nearest)


def vectors(cache: Cache, rows: Sequence[int], name: str) -> tuple[str, Rows]:
    """Every recording, heard by a reader of that name."""
    reader = build_reader("audio", name)
    heard = []
    for i in tqdm(rows, desc=name, unit="recording"):
        reading = reader.read(cache.wave(i), cache.sample_rate)
        if reading is None:
            raise ValueError(f"{cache.entries[i].key}: expected a voice, found no sound")
        heard.append(reading.emotion.vector)
    return reader.space, np.stack(heard).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="a prepared corpus, see `dub prepare`")
    parser.add_argument("--readers", default="light,light-v2", help="comma-separated")
    parser.add_argument("--json", action="store_true", help="print one JSON object per reader")
    given = parser.parse_args()
    cache = Cache(given.cache)
    rows = [i for i in cache.training_rows() if cache.entries[i].corpus in ACTED and cache.entries[i].emotion]
    entries = [cache.entries[i] for i in rows]
    labels = np.array([entry.emotion for entry in entries])
    voices, corpora = np.array([e.voice for e in entries]), np.array([e.corpus for e in entries])
    for name in given.readers.split(","):
        space, x = vectors(cache, rows, name)
        told = asdict(probe(space, x, labels, voices, corpora))
        print(json.dumps(told) if given.json else "\n".join(f"{k:12}{v}" for k, v in told.items()))


if __name__ == "__main__":
    main()
