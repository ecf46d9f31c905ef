"""Make the evaluation sets of the starter voice from its prepared corpus.

    python recipes/starter/sets.py CACHE out/sets

words        80 held-out Kathleen sentences, the voice lent by one training recording
slots        the same sentences, each in a cue as long as the recording
voices       trained RAVDESS voices say Kathleen sentences (setting 2.0)
unseen       RAVDESS 17-20 and nEMO's MP0, whom no training heard, say new sentences (setting 3.0)
timing       held-out GRID lines with their real mouths, in the time the speaker took
emotion-en   feelings shown by picture and references alone, trained RAVDESS voices, neutral prompts
emotion-pl   the same in Polish, trained nEMO voices
acted-en     acted recordings of the same English voices, for the readers' own score
acted-pl     the same in Polish
retrieval    as emotion-en, in films that training never saw: does retrieval earn its place?

In the emotion and retrieval sets a line's look is drawn anew, its words were never spoken by its voice, and its feeling
is nowhere but in the look, in the code of its film, and in how the film's other clips sound.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from authentic_dubber.evaluation.sets import Case, Content, write_set
from authentic_dubber.looking import look_at_lines
from authentic_dubber.theatre.mouth import mouth_opening
from authentic_dubber.theatre.puppet import LABELS, Label
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.pictures import FPS, Programme, stage
from authentic_dubber.training.references import Shelf
from library_builder.media import read_frames
from library_builder.readers import Readers, build_readers
from library_builder.types import QUERY_MODALITIES, space_width

PROMPT = "arctic_a0009"
"""The recording that lends Kathleen's voice: of the training part, plain reading, fixed so that runs compare."""
POLISH = (
    "Jutro rano pojedziemy nad jezioro.",
    "Na stole leży otwarta książka.",
    "Pociąg do Krakowa odjeżdża o ósmej.",
    "Sąsiad kupił wczoraj nowy rower.",
    "W kuchni pachnie świeżym chlebem.",
    "Dzieci bawią się za starym domem.",
    "Moja siostra mieszka w małym mieście.",
    "Zadzwoń do mnie po południu.",
    "Na rynku stoi wysoka wieża.",
    "Kot śpi na ciepłym parapecie.",
    "Nauczyciel napisał zdanie na tablicy.",
    "Wieczorem pada drobny deszcz.",
)
"""Plain sentences of our own: nEMO's ninety are spoken by all its voices, so none of those is new to any of them."""
PICTURES = 4
GRID_UNITS = 25_000
"""GRID's alignments count in these parts of a second."""


@dataclass
class Draft:
    """A set in the making: cases, and the arrays that go with them, in one order."""

    corpus: Cache
    cases: list[Case] = field(default_factory=list)
    waves: dict[str, np.ndarray] = field(default_factory=dict)
    own: dict[str, list[np.ndarray]] = field(default_factory=lambda: {m: [] for m in QUERY_MODALITIES})
    lips: list[np.ndarray] = field(default_factory=list)
    mouth: list[np.ndarray] = field(default_factory=list)

    def wave(self, row: int) -> str:
        name = self.corpus.entries[row].key.replace("/", "_") + ".wav"
        self.waves.setdefault(name, self.corpus.wave(row))
        return f"waves/{name}"


def rows_of(prepared: Cache, held_out: bool, **wanted: str) -> list[int]:
    """Rows of the held-out or the training part whose entries have these attributes."""
    part = prepared.held_out_rows() if held_out else prepared.training_rows()
    return [i for i in part if all(getattr(prepared.entries[i], name) == value for name, value in wanted.items())]


def sentences(corpus: Cache) -> list[str]:
    """What Kathleen alone has read, and not in training."""
    return [corpus.entries[i].text for i in rows_of(corpus, True, corpus="kathleen")]


def neutral_prompt(corpus: Cache, voice: str) -> int:
    """A neutral recording of a voice; of the training part unless the voice is held out whole."""
    name, _, speaker = voice.partition("/")
    for part in (False, True):
        found = rows_of(corpus, part, corpus=name, speaker=speaker, emotion="neutral")
        if found:
            return found[0]
    raise ValueError(f"{voice}: expected a neutral recording to lend the voice, found none")


def words(corpus: Cache, *, slots: bool = False) -> Draft:
    """Held-out sentences of Kathleen; with slots, in the time she took, as cues of a script would ask."""
    draft = Draft(corpus)
    lent = rows_of(corpus, False, corpus="kathleen", id=PROMPT)
    if not lent:
        raise ValueError(f"expected recording {PROMPT} of kathleen in the corpus, which lends the voice, got none")
    prompt = lent[0]
    for i in rows_of(corpus, True, corpus="kathleen"):
        entry = corpus.entries[i]
        draft.cases.append(
            Case(
                entry.id,
                entry.text,
                "en",
                entry.voice,
                None,
                draft.wave(prompt),
                reference=draft.wave(i),
                slot_seconds=entry.samples / corpus.sample_rate if slots else None,
            )
        )
    return draft


def voices(corpus: Cache, names: Sequence[str], per_voice: int) -> Draft:
    draft, said = Draft(corpus), sentences(corpus)
    for v, voice in enumerate(names):
        prompt = neutral_prompt(corpus, voice)
        polish = voice.startswith("nemo/")
        texts = POLISH if polish else said
        for n in range(per_voice):
            text = texts[(v * per_voice + n) % len(texts)]
            name = f"{voice.replace('/', '-')}-{n:02d}"
            draft.cases.append(Case(name, text, "pl" if polish else "en", voice, None, draft.wave(prompt)))
    return draft


def recorded(corpus: Cache, names: Sequence[str], each: int) -> Draft:
    """The acted recordings themselves, `each` of a voice and feeling: what the readers of feeling say of people."""
    draft = Draft(corpus)
    for voice in names:
        name, _, speaker = voice.partition("/")
        prompt = neutral_prompt(corpus, voice)
        for label in LABELS:
            rows = [i for i in rows_of(corpus, False, corpus=name, speaker=speaker, emotion=label) if i != prompt]
            for i in [rows[int(j)] for j in np.linspace(0, len(rows) - 1, min(each, len(rows)))]:
                entry = corpus.entries[i]
                draft.cases.append(
                    Case(entry.id, entry.text, entry.language, voice, label, draft.wave(prompt), draft.wave(i))
                )
    return draft


def timing(corpus: Cache, readers: Readers) -> Draft:
    draft = Draft(corpus)
    for i in tqdm(rows_of(corpus, True, corpus="grid"), desc="timing", unit="clip"):
        entry = corpus.entries[i]
        prompt = next(j for j in rows_of(corpus, False, corpus="grid") if corpus.entries[j].text != entry.text)
        media = Path(entry.media)
        # GRID's recordings begin and end in room noise; its word alignments say when the speaker spoke.
        first, last = _spoken(media.parent.parent / "align" / f"{media.stem}.align")
        film = list(read_frames(media, start=first, end=last, max_height=270))
        mouth = readers.lips.read(film, readers.face.read(film).track)
        name = f"{entry.corpus}_{entry.id}_spoken.wav"
        begin, end = (round((t - entry.start) * corpus.sample_rate) for t in (first, last))
        draft.waves[name] = corpus.wave(i)[max(begin, 0) : end]
        draft.cases.append(
            Case(
                entry.id,
                entry.text,
                "en",
                entry.voice,
                None,
                draft.wave(prompt),
                f"waves/{name}",
                slot_seconds=last - first,
            )
        )
        draft.lips.append(mouth.features)
        draft.mouth.append(mouth.opening)
    return draft


def _spoken(align: Path) -> tuple[float, float]:
    """Seconds at which the first word begins and the last one ends."""
    words = [line.split() for line in align.read_text(encoding="utf-8").splitlines() if line.strip()]
    times = [(int(a) / GRID_UNITS, int(b) / GRID_UNITS) for a, b, word in words if word not in {"sil", "sp"}]
    return times[0][0], times[-1][1]


def acted(
    corpus: Cache, readers: Readers, films: Sequence[int], names: Sequence[str], per_film: int, programme: Programme
) -> Draft:
    """Feelings in pictures alone: every film, every feeling, `per_film` lines of each, voices and words in turn."""
    draft, said = Draft(corpus), sentences(corpus)
    plan = [(film, label, n) for n in range(per_film) for film in films for label in LABELS]
    for place, (film, label, n) in enumerate(tqdm(plan, desc="looks", unit="line")):
        voice = names[place // len(LABELS) % len(names)]
        polish = voice.startswith("nemo/")
        texts = POLISH if polish else said
        # The same words in every feeling, so that words cannot tell.
        text = texts[place // len(LABELS) % len(texts)]
        rng = np.random.default_rng([97, place])
        look = _look(readers, programme, film, label, text, corpus, rng)
        for modality in QUERY_MODALITIES:
            draft.own[modality].append(look.get(modality, np.zeros(space_width(getattr(readers, modality).space))))
        draft.cases.append(
            Case(
                id=f"f{film:02d}-{label}-{n:03d}",
                text=text,
                language="pl" if polish else "en",
                voice=voice,
                emotion=label,
                prompt=draft.wave(neutral_prompt(corpus, voice)),
                film=programme.film(film).name,
                group=f"{film}-{n}",
            )
        )
    return draft


def _look(
    readers: Readers, programme: Programme, film: int, label: Label, text: str, corpus: Cache, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    # Any recording moves the mouth; only how it looks is taken from the picture, never when it speaks.
    moving = corpus.wave(int(rng.choice(rows_of(corpus, False, corpus="kathleen"))))
    opening = mouth_opening(moving, corpus.sample_rate, FPS)
    direction = stage(programme.film(film), label, opening, programme.noise, rng)
    found = look_at_lines([direction.pictures(PICTURES)], readers, [text])[0]
    return {modality: emotion.vector for modality, emotion in found.emotions.items()}


def save(draft: Draft, folder: Path, readers: Readers, setting: str, note: str, films: Sequence[int] = ()) -> None:
    """Write a draft with the libraries of its films: the training clips that are drawn in them."""
    corpus = draft.corpus
    shelf = Shelf(corpus, readers)
    film_of = np.asarray(corpus.rows("film"))
    training = set(corpus.training_rows())
    programme = Programme()
    libraries = {
        programme.film(n).name: [shelf.clip(int(i)) for i in np.flatnonzero(film_of == n) if int(i) in training]
        for n in films
    }
    spaces = {m: getattr(readers, m).space for m in QUERY_MODALITIES if draft.own[m]}
    content = Content(
        name=folder.name,
        setting=setting,  # type: ignore[arg-type]
        language="en" if any(case.language == "en" for case in draft.cases) else "pl",
        cases=tuple(draft.cases),
        note=note,
        spaces=spaces,  # type: ignore[arg-type]
        lip_space=readers.lips.space if draft.lips else None,
    )
    write_set(
        folder,
        content,
        waves=draft.waves,
        sample_rate=corpus.sample_rate,
        own={m: np.stack(rows) for m, rows in draft.own.items() if rows} or None,  # type: ignore[misc]
        lips=draft.lips or None,
        mouth=draft.mouth or None,
        libraries=libraries or None,
    )
    print(f"{folder}: {len(draft.cases)} lines")


def make(corpus: Cache, out: Path, chosen: Sequence[str], lines: int) -> Iterator[str]:
    readers, programme = build_readers("light"), Programme()
    known = {entry.voice for entry in corpus.entries}
    held_out = {corpus.entries[i].voice for i in corpus.held_out_rows()}
    english = sorted(v for v in known if v.startswith("ravdess/") and v not in held_out)
    polish = sorted(v for v in known if v.startswith("nemo/") and v not in held_out)
    unseen = sorted(v for v in held_out if v.startswith(("ravdess/", "nemo/")))
    seen = [n for n in range(programme.films) if not programme.is_kept(n)]
    kept = [n for n in range(programme.films) if programme.is_kept(n)]
    rounds = -(-lines // (len(kept) * len(LABELS)))
    if "words" in chosen:
        save(words(corpus), out / "words", readers, "2.0", "held-out sentences of the voice that read most")
    if "slots" in chosen:
        save(words(corpus, slots=True), out / "slots", readers, "2.0", "sentences in cues")
    if "voices" in chosen:
        save(voices(corpus, english, 6), out / "voices", readers, "2.0", "trained voices, sentences they never spoke")
    if "unseen" in chosen:
        save(voices(corpus, unseen, 12), out / "unseen", readers, "3.0", "voices no training heard")
    if "timing" in chosen:
        save(timing(corpus, readers), out / "timing", readers, "2.0", "real mouths, in the time the speaker took")
    if "emotion-en" in chosen:
        draft = acted(corpus, readers, seen, english, 8, programme)
        save(draft, out / "emotion-en", readers, "2.0", "drawings unseen, films seen in training", seen)
    if "emotion-pl" in chosen:
        draft = acted(corpus, readers, seen, polish, 8, programme)
        save(draft, out / "emotion-pl", readers, "2.0", "drawings unseen, films seen in training", seen)
    for name, who in (("acted-en", english), ("acted-pl", polish)):
        if name in chosen:
            save(recorded(corpus, who, 4), out / name, readers, "2.0", "acted recordings, to be read beside takes")
    if "retrieval" in chosen:
        draft = acted(corpus, readers, kept, english, rounds, programme)
        save(draft, out / "retrieval", readers, "2.0", "films that no training saw", kept)
    yield from chosen


SETS = ("words", "slots", "voices", "unseen", "timing", "emotion-en", "emotion-pl", "acted-en", "acted-pl", "retrieval")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="a prepared corpus, see `dub prepare`")
    parser.add_argument("out", type=Path, help="folder for the sets")
    parser.add_argument("--sets", default=",".join(SETS), help="which, comma-separated")
    parser.add_argument("--lines", type=int, default=600, help="at least so many lines in the retrieval set")
    given = parser.parse_args()
    chosen = given.sets.split(",")
    if unknown := sorted(set(chosen) - set(SETS)):
        parser.error(f"known sets are {', '.join(SETS)}; got {', '.join(unknown)}")
    try:
        list(make(Cache(given.cache), given.out, chosen, given.lines))
    except ValueError as error:
        parser.error(f"{error} (--sets chooses others)")


if __name__ == "__main__":
    main()
