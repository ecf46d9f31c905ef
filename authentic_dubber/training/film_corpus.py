"""Lines of a user's own films as a corpus that `dub prepare` reads: where each lies, who says what, which portion."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from authentic_dubber.evaluation.film_line import FilmLine
from authentic_dubber.evaluation.film_sets import Splits, file_name
from authentic_dubber.levels import trimmed_span
from authentic_dubber.speaker import SpeakerEncoder
from authentic_dubber.text import TextFrontend
from library_builder.atomic import whole_file
from library_builder.media import read_frames, read_wave
from vocoder import MelConfig

from .corpora import FILM_COLUMNS, FILMS


def write_film_corpus(
    data: Path, splits: Splits, licence: str | None, frontend: TextFrontend, encoder: SpeakerEncoder
) -> list[str]:
    """Write a folder of one corpus, to be given to `dub prepare`; and what no training could use, with the reason.

    The portion to train on and the one to watch it by are in it, the latter marked as kept from training; nothing of
    the test portion is.

    Args:
        data: a folder; the corpus is named in it as `read_corpora` looks for it.
        licence: of the films.

    Raises:
        ValueError: no line of the training portion can be used.
    """
    sheet = io.StringIO()
    rows = csv.writer(sheet, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    rows.writerow(FILM_COLUMNS)
    unused: list[str] = []
    for portion, lines in (("train", splits.train), ("val", splits.val)):
        kept, why = learnable(lines, frontend, encoder)
        unused += why
        if portion == "train" and not kept:
            raise ValueError(f"expected a line that can be trained on, got none; first reason: {why[:1]}")
        for line in kept:
            named = (file_name(line.id), portion, file_name(line.speaker), "en", _plain(line.text), line.emotion or "")
            place = (_plain(str(line.media.resolve())), f"{line.start:.3f}", f"{line.end:.3f}")
            rows.writerow((*named, *place, _plain(licence or "")))
    folder = data / FILMS
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "metadata.tsv") as temporary:
        temporary.write_text(sheet.getvalue(), encoding="utf-8")
    return unused


def learnable(
    lines: Sequence[FilmLine], frontend: TextFrontend, encoder: SpeakerEncoder
) -> tuple[list[FilmLine], list[str]]:
    """Lines whose sound, words and picture preparation can use, and the others, with the reason."""
    kept, unused, mel = [], [], MelConfig()
    for line in tqdm(lines, desc="lines", unit="line"):
        try:
            wave = read_wave(line.media, sample_rate=mel.sample_rate, start=line.start, end=line.end)
            first, last = trimmed_span(wave, mel.sample_rate) if len(wave) else (0, 0)
            encoder.embed(wave[first:last], mel.sample_rate)
            symbols, frames = len(frontend.symbols(line.text).ids), (last - first) // mel.hop_samples
            if frames < symbols:
                raise ValueError(f"expected {symbols} frames of sound or more for its words, got {frames}")
            start, end = line.start + first / mel.sample_rate, line.start + last / mel.sample_rate
            shown = sum(1 for _ in read_frames(line.media, start=start, end=end, max_height=16))
            if shown < 2:
                raise ValueError(f"expected two pictures or more while it sounds, got {shown}")
        except (ValueError, FileNotFoundError) as error:
            unused.append(f"{line.id}: {error}; not trained on")
            continue
        kept.append(line)
    return kept, unused


def _plain(text: str) -> str:
    """Text for a table without quotes: a tab or a line's end would begin another column or row."""
    return " ".join(text.split())
