"""Readers of the corpora a voice is trained on: folder layouts in, one kind of record out.

A corpus knows its licence, and a checkpoint names the licences of all it saw.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The taxonomy of the emotion head. Corpora without labels leave it unset; its loss is masked there."""

_NEMO_NAMES = {
    "anger": "angry",
    "fear": "fearful",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprised",
}
_V2C_NAMES = {"disgusted": "disgust"}
"""Where its names are others; its `other` is no label of ours."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording of one sentence.

    Attributes:
        id: unique within its corpus.
        corpus: one of `CORPORA`.
        speaker: the corpus's own name of the speaker.
        language: `en` or `pl`.
        emotion: one of `EMOTIONS`, or None where the corpus has no such label.
        media: the sound, or the video with sound.
        has_picture: whether `media` shows the speaker.
        start, end: seconds into `media`; all of it by default.
        licence: of this recording, where the corpus has none of its own.
        held_out: its corpus keeps it from training.
    """

    id: str
    corpus: str
    speaker: str
    language: str
    text: str
    emotion: str | None
    media: Path
    has_picture: bool = False
    start: float = 0.0
    end: float | None = None
    licence: str | None = None
    held_out: bool = False

    @property
    def key(self) -> str:
        return f"{self.corpus}/{self.id}"

    @property
    def voice(self) -> str:
        """A name of the speaker that no other corpus shares."""
        return f"{self.corpus}/{self.speaker}"


@dataclass(frozen=True, slots=True)
class Corpus:
    """How to read one corpus, and what its owner allows."""

    name: str
    licence: str
    read: Callable[[Path], Iterator[Utterance]]


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    with (folder / "metadata.tsv").open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


def _present(utterance: Utterance) -> Iterator[Utterance]:
    if utterance.media.is_file():
        yield utterance


def _kathleen(folder: Path) -> Iterator[Utterance]:
    for row in _rows(folder):
        media = folder / "audio" / f"{row['id']}.flac"
        yield from _present(Utterance(row["id"], "kathleen", "kathleen", "en", row["text"], None, media))


def _ravdess(folder: Path) -> Iterator[Utterance]:
    for row in _rows(folder):
        media = folder / "audio" / f"{row['id']}.opus"
        yield from _present(Utterance(row["id"], "ravdess", row["actor"], "en", row["text"], row["emotion"], media))


def _nemo(folder: Path) -> Iterator[Utterance]:
    for row in _rows(folder):
        media = folder / "audio" / f"{row['id']}.opus"
        emotion = _NEMO_NAMES[row["emotion"]]
        yield from _present(Utterance(row["id"], "nemo", row["speaker"], "pl", row["text"], emotion, media))


def _grid(folder: Path) -> Iterator[Utterance]:
    """One speaker's folder of videos beside its folder of word alignments; the words are the sentence."""
    speaker = folder.name.removeprefix("grid_")
    for align in sorted((folder / "align").glob("*.align")):
        words = [line.split()[2] for line in align.read_text(encoding="utf-8").splitlines() if line.strip()]
        text = " ".join(word for word in words if word not in {"sil", "sp"})
        media = folder / "video" / f"{align.stem}.mp4"
        yield from _present(Utterance(align.stem, "grid", speaker, "en", text, None, media, has_picture=True))


def _vctk(folder: Path) -> Iterator[Utterance]:
    for row in _rows(folder):
        media = folder / row["speaker"] / f"{row['id']}.wav"
        yield from _present(Utterance(row["id"], "vctk", row["speaker"], "en", row["text"], None, media))


def _sayings(folder: Path) -> Iterator[Utterance]:
    for row in _rows(folder):
        media = folder / "audio" / f"{row['id']}.wav"
        yield from _present(Utterance(row["id"], SAYINGS, row["speaker"], "en", row["text"], row["emotion"], media))


def _films(folder: Path) -> Iterator[Utterance]:
    """Lines of a user's own films where those lie, as `film_corpus` writes them down."""
    for number, row in enumerate(_rows(folder), start=2):
        try:
            yield _of_film(folder, row)
        except (KeyError, TypeError, ValueError) as error:
            place = f"{folder / 'metadata.tsv'}: row {number}"
            raise ValueError(f"{place}: expected {', '.join(FILM_COLUMNS)}, got {error}") from error


def _of_film(folder: Path, row: dict[str, str]) -> Utterance:
    media, emotion = folder / row["media"], _V2C_NAMES.get(row["emotion"], row["emotion"])
    if not media.is_file():
        raise FileNotFoundError(f"{media}: expected the film of line {row['id']}, there is none")
    return Utterance(
        row["id"],
        FILMS,
        row["speaker"],
        row["language"],
        row["text"],
        emotion if emotion in EMOTIONS else None,
        media,
        has_picture=True,
        start=float(row["start"]),
        end=float(row["end"]),
        licence=row["licence"] or None,
        held_out=row["split"] != "train",
    )


FILMS = "v2c"
"""Lines of a user's own films, in V2C-Animation's manner."""
OWN_LICENCE = "films of your own"
FILM_COLUMNS = ("id", "split", "speaker", "language", "text", "emotion", "media", "start", "end", "licence")
SAYINGS = "sayings"
"""Lines whose words carry feeling, spoken by synthetic voices: they teach what words mean, not how people sound."""

CORPORA = {
    "kathleen": Corpus("kathleen", "CC0-1.0", _kathleen),
    "ravdess": Corpus("ravdess", "CC-BY-NC-SA-4.0", _ravdess),
    "nemo": Corpus("nemo", "CC-BY-NC-SA-4.0", _nemo),
    "grid": Corpus("grid", "CC-BY-4.0", _grid),
    "vctk": Corpus("vctk", "CC-BY-4.0", _vctk),
    FILMS: Corpus(FILMS, OWN_LICENCE, _films),
    SAYINGS: Corpus(SAYINGS, "synthetic", _sayings),
}


def read_corpora(root: Path, names: tuple[str, ...]) -> list[Utterance]:
    """All utterances of the named corpora below a data folder, ordered by corpus and id.

    Raises:
        ValueError: a name is unknown.
        FileNotFoundError: a corpus has no folder or no recording below the root.
    """
    found: list[Utterance] = []
    for name in names:
        if name not in CORPORA:
            raise ValueError(f"known corpora are {', '.join(CORPORA)}; got {name!r}")
        # One corpus may lie in several folders, one per speaker, as grid_s1, grid_s2, ...
        folders = [path for path in (root / name, *sorted(root.glob(f"{name}_s*"))) if path.is_dir()]
        part = [utterance for folder in folders for utterance in CORPORA[name].read(folder)]
        if not part:
            raise FileNotFoundError(f"{root}: expected a folder {name} with recordings")
        found += sorted(part, key=lambda utterance: utterance.id)
    return found
