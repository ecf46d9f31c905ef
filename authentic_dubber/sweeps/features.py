"""Prepared vectors read otherwise: text vectors of the words alone, where they were mixed with the picture's captions.

A variant lies beside the runs and shares every other file with what it was made of.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from authentic_dubber.evaluation.sets import LIBRARIES, EvaluationSet
from authentic_dubber.training.cache import Cache, save_rows
from authentic_dubber.training.pictures import Programme
from authentic_dubber.training.references import prepare_references
from library_builder.checksum import file_digest
from library_builder.readers import build_readers
from library_builder.text import TextReader
from library_builder.types import QUERY_MODALITIES, Clip, Emotion, space_width
from retrieval import Library, commit
from vocoder.storage import whole_folder

READ = ("index.json", "film.npy", "own_audio.npy", "own_captions.npy")
"""Files of a prepared corpus that a director is taught from, beside vectors and hits of each modality."""


def corpus_digest(corpus: Path) -> str:
    """Of everything in a prepared corpus that a director is taught from.

    Raises:
        FileNotFoundError: a file is missing.
    """
    names = [*READ, *(f"{what}_{m}.npy" for m in QUERY_MODALITIES for what in ("own", "hits", "scores"))]
    whole = hashlib.sha256()
    for name in names:
        if not (corpus / name).is_file():
            raise FileNotFoundError(f"{corpus / name}: expected a prepared corpus; `dub prepare` makes one")
        whole.update(file_digest(corpus / name).encode())
    return whole.hexdigest()[:16]


def corpus_of(features: str, corpus: Path, folder: Path) -> Path:
    """A prepared corpus with the asked text vectors; made once.

    Args:
        folder: where variants are kept.
    """
    if features == "captioned":
        return corpus
    return _once(folder / f"corpus-{features}-{corpus_digest(corpus)}", lambda made: _words_of_corpus(corpus, made))


def set_of(features: str, cases: Path, folder: Path) -> Path:
    """The same of an evaluation set, its libraries included."""
    if features == "captioned":
        return cases
    opened = EvaluationSet.open(cases)
    return _once(folder / f"set-{features}-{opened.digest}", lambda made: _words_of_set(opened, made))


def _once(target: Path, make: Callable[[Path], None]) -> Path:
    if not target.is_dir():
        with whole_folder(target) as filling:
            make(filling)
    return target


def _words_of_corpus(corpus: Path, made: Path) -> None:
    cache = Cache(corpus)
    again = {"own_text.npy", "own_captions.npy"} | {
        f"{a}_{m}.npy" for a in ("hits", "scores") for m in QUERY_MODALITIES
    }
    for path in corpus.iterdir():
        if path.is_file() and path.name not in again:
            os.symlink(path.resolve(), made / path.name)
    readers = build_readers("light")
    rows = _read(readers.text, [entry.text for entry in cache.entries])
    save_rows(made, "own_text", rows.astype(np.float16))
    # Without captions, restaged lines have none to mix their words with.
    save_rows(made, "own_captions", np.zeros_like(cache.rows("own_captions")))
    prepare_references(Cache(made), readers, Programme(), np.asarray(cache.rows("hits_text")).shape[1])


def _words_of_set(cases: EvaluationSet, made: Path) -> None:
    for path in cases.folder.iterdir():
        if path.name not in ("own_text.npy", LIBRARIES):
            os.symlink(path.resolve(), made / path.name)
    reader = build_readers("light").text
    save_rows(made, "own_text", _read(reader, [case.text for case in cases.cases]).astype(np.float32))
    for root in sorted((cases.folder / LIBRARIES).iterdir()):
        commit(made / LIBRARIES / root.name, [_spoken(clip, reader) for clip in Library.open(root).clips()])


def _spoken(clip: Clip, reader: TextReader) -> Clip:
    reading = reader.read(clip.text, {})
    others: dict = {m: emotion for m, emotion in clip.emotions.items() if m != "text"}
    return replace(clip, emotions=others if reading is None else {**others, "text": reading.emotion})


def _read(reader: TextReader, texts: Sequence[str]) -> np.ndarray:
    """Vectors of words alone, zero where there are none, (N, D)."""
    vectors = np.zeros((len(texts), space_width(reader.space)), dtype=np.float32)
    known: dict[str, Emotion | None] = {}
    for i, text in enumerate(tqdm(texts, desc="words", unit="line")):
        if text not in known:
            reading = reader.read(text, {})
            known[text] = None if reading is None else reading.emotion
        if (emotion := known[text]) is not None:
            vectors[i] = emotion.vector
    return vectors
