"""What `dub adapt` needs and is judged by: a prepared corpus and an evaluation set, both with a second ear's vectors.

    python recipes/starter/ears.py CACHE out/sets/retrieval out/ears [--ear light-v2] [--recordings 500]

out/ears/pairs   library of the training recordings of all films but the set's: first version by the light ear, second
                 by the other one
out/ears/before  the set as it is, its libraries by the light ear
out/ears/after   the set with libraries by the other ear, all else equal

It prints the commands that follow.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from authentic_dubber.training.cache import Cache
from authentic_dubber.training.pictures import Programme
from authentic_dubber.training.references import Shelf
from library_builder.audio import AudioReader
from library_builder.readers import build_reader, build_readers
from library_builder.types import Emotion
from retrieval import Library
from retrieval.editing import commit, replace_modality
from retrieval.migration import migrate


def heard_again(root: Path, corpus: Cache, ear: AudioReader, *, publish: bool) -> tuple[str, str]:
    """A version of a library whose sound another ear has heard; the names of the two. A clip's id is its recording."""
    library, readings = Library.open(root), dict[str, Emotion | None]()
    for clip in tqdm(library.clips(), desc=root.name, total=len(library), unit="clip"):
        row = int(clip.id)
        if corpus.entries[row].key != clip.media:
            raise ValueError(f"{root}: expected clip {clip.id} to be {corpus.entries[row].key}, got {clip.media}")
        reading = ear.read(corpus.wave(row), corpus.sample_rate) if "audio" in clip.emotions else None
        readings[clip.id] = None if reading is None else reading.emotion
    facts = {"reader": type(ear).__name__, "space": ear.space, "weights": ""}
    change = replace_modality(root, "audio", readings.items(), extractor=facts, publish=publish)
    return library.version, change.version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="a prepared corpus, see `dub prepare`")
    parser.add_argument("set", type=Path, help="an evaluation set with libraries, see sets.py")
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--ear", default="light-v2", help="name of the second reader of sound")
    parser.add_argument("--recordings", type=int, help="at most so many pairs")
    given = parser.parse_args()
    if given.out.exists():
        parser.error(f"expected a new folder, {given.out} is there already")
    corpus, ear, programme = Cache(given.cache), build_reader("audio", given.ear), Programme()
    films = sorted(folder.name for folder in (given.set / "libraries").iterdir())
    for name in ("before", "after"):
        shutil.copytree(given.set, given.out / name)
        for film in films:
            migrate(given.out / name / "libraries" / film)
    hidden = [n for n in range(programme.films) if programme.film(n).name in films]
    shown = ~np.isin(np.asarray(corpus.rows("film")), hidden)
    rows = [i for i in corpus.training_rows() if shown[i]][: given.recordings]
    shelf = Shelf(corpus, build_readers("light"))
    pairs = given.out / "pairs"
    commit(pairs, (shelf.clip(i) for i in rows))
    for film in films:
        heard_again(given.out / "after" / "libraries" / film, corpus, ear, publish=True)
    old, new = heard_again(pairs, corpus, ear, publish=False)
    print(f"dub adapt CHECKPOINT VOICE --space {ear.space} --library {pairs} --from {old} --to {new}")
    print(f"dub evaluate RUN1 --set {given.out / 'before'} --checkpoint CHECKPOINT --corpus CACHE --measures emotion")
    print(f"dub evaluate RUN2 --set {given.out / 'after'} --checkpoint VOICE --corpus CACHE --measures emotion")
    print("dub compare RUN1 RUN2")


if __name__ == "__main__":
    main()
