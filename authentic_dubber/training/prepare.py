"""All of preparation, in order; interrupted, it goes on with the feature it was at."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from authentic_dubber.config import Vocabulary
from authentic_dubber.espeak import Espeak
from authentic_dubber.speaker import GE2E
from authentic_dubber.symbols import INVENTORY_NAME, SYMBOL_COUNT
from authentic_dubber.text import TextFrontend
from library_builder.readers import Readers, build_readers
from library_builder.types import MODALITIES, Clip, Emotion, Modality, space_width
from retrieval import Library, commit
from vocoder import MelConfig
from vocoder.storage import write_tensors

from .cache import Cache
from .corpora import EMOTIONS, read_corpora
from .durations import prepare_durations, train_aligner
from .features import prepare_hits, prepare_mels, prepare_speakers, prepare_symbols, prepare_vectors
from .pictures import Theatre, prepare_lips, prepare_looks
from .sound import prepare_waves

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PrepareConfig:
    """What preparation may choose."""

    corpora: tuple[str, ...] = ("kathleen", "ravdess", "nemo", "grid")
    aligner_steps: int = 800
    aligner_batch: int = 16
    picture_noise: float = 0.45
    """How far drawn feelings slide from a recording's label."""
    picture_frames: int = 6
    drawn_per_corpus: int = 700
    """Recordings of a corpus without pictures whose face and scene are drawn, see `prepare_looks`."""
    references: int = 10
    """Hits kept per modality; training draws K up to this."""
    seed: int = 0


def vocabulary(readers: Readers) -> Vocabulary:
    """What these readers and this engine's inventories leave no choice about."""
    spaces: dict[str, str] = {modality: getattr(readers, modality).space for modality in MODALITIES}
    return Vocabulary(INVENTORY_NAME, SYMBOL_COUNT, spaces, readers.lips.space, EMOTIONS)


def prepare(data: Path, folder: Path, config: PrepareConfig) -> Cache:
    """Corpora below `data` to a prepared corpus in `folder`.

    Raises:
        FileNotFoundError: a corpus is not there.
        ValueError: the folder was prepared with other settings.
        library_builder.media.MediaError: a recording cannot be read.
    """
    mel = MelConfig()
    _same_settings(folder, config)
    if not (folder / "index.json").is_file():
        prepare_waves(read_corpora(data, config.corpora), folder, mel.sample_rate)
    cache = Cache(folder)
    readers = build_readers("light")
    prepare_mels(cache, mel)
    with Espeak() as espeak:
        prepare_symbols(cache, TextFrontend(espeak))
    prepare_speakers(cache, GE2E())

    def heard(i: int) -> Emotion | None:
        reading = readers.audio.read(cache.wave(i), cache.sample_rate)
        return None if reading is None else reading.emotion

    prepare_vectors(cache, "audio", space_width(readers.audio.space), heard)
    if not cache.has("durations"):
        aligner = train_aligner(
            cache, SYMBOL_COUNT, mel.n_mels, steps=config.aligner_steps, batch=config.aligner_batch, seed=config.seed
        )
        write_tensors(folder / "aligner.safetensors", aligner.state_dict())
        prepare_durations(cache, aligner)
    theatre = Theatre(cache, config.picture_noise, config.seed)
    prepare_looks(cache, readers, theatre, frames=config.picture_frames, drawn=config.drawn_per_corpus)
    prepare_lips(cache, readers, theatre)
    _retrieve(cache, readers, config.references)
    return cache


def _same_settings(folder: Path, config: PrepareConfig) -> None:
    """Features of two settings in one folder would be a corpus that nobody prepared."""
    path, wanted = folder / "prepare.json", json.dumps(asdict(config), indent=2)
    if path.is_file() and path.read_text(encoding="utf-8") != wanted:
        raise ValueError(f"{folder}: was prepared with other settings, see {path.name}; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(wanted, encoding="utf-8")


def _retrieve(cache: Cache, readers: Readers, most: int) -> None:
    """Ask a real library of the training rows; no query finds itself, nor another take of its line by its speaker."""
    if cache.has("scores_text"):
        return
    spaces: dict[Modality, str] = {modality: getattr(readers, modality).space for modality in MODALITIES}
    vectors = {modality: cache.rows(f"own_{modality}") for modality in MODALITIES}

    def clip(i: int) -> Clip:
        entry = cache.entries[i]
        emotions = {m: Emotion(spaces[m], vectors[m][i]) for m in MODALITIES if abs(vectors[m][i]).sum() > 0}
        seconds = entry.samples / cache.sample_rate
        return Clip(f"{i:06d}", entry.key, 0.0, seconds, entry.voice, entry.text, entry.corpus, emotions=emotions)

    with tempfile.TemporaryDirectory() as scratch:
        commit(Path(scratch), (clip(i) for i in cache.training_rows()))
        library = Library.open(Path(scratch))

        def search(i: int, modality: str) -> Sequence[tuple[int, float]]:
            asking = clip(i)
            query = {m: e for m, e in asking.emotions.items() if m == modality}
            if not query:
                return ()
            found = library.top_k(query, most, **library.leave_out(asking)._asdict())
            return [(int(hit.clip.id), hit.score) for hits in found.hits.values() for hit in hits]

        prepare_hits(cache, search, most)
