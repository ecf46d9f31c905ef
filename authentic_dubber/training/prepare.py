"""All of preparation, in order; interrupted, it goes on with the feature it was at."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

from authentic_dubber.config import Vocabulary
from authentic_dubber.espeak import Espeak
from authentic_dubber.speaker import GE2E
from authentic_dubber.symbols import INVENTORY_NAME, SYMBOL_COUNT
from authentic_dubber.text import TextFrontend
from library_builder.readers import Readers, build_readers
from library_builder.types import MODALITIES
from vocoder import MelConfig
from vocoder.storage import write_tensors

from .cache import Cache, ReadBy
from .corpora import EMOTIONS, SAYINGS, read_corpora
from .durations import prepare_durations, train_aligner
from .features import prepare_mels, prepare_speakers, prepare_symbols, prepare_voices
from .pictures import Programme, Theatre, prepare_lips, prepare_looks
from .references import prepare_references
from .sayings import make_sayings
from .sound import prepare_waves

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PrepareConfig:
    """What preparation may choose."""

    corpora: tuple[str, ...] = ("kathleen", "ravdess", "nemo", "grid", SAYINGS)
    aligner_steps: int = 800
    aligner_batch: int = 16
    programme: Programme = field(default_factory=Programme)
    picture_frames: int = 4
    references: int = 10
    """Hits kept per modality; training draws K up to this."""
    seed: int = 0


def vocabulary(readers: Readers) -> Vocabulary:
    """What these readers and this engine's inventories leave no choice about."""
    spaces: dict[str, str] = {modality: getattr(readers, modality).space for modality in MODALITIES}
    return Vocabulary(INVENTORY_NAME, SYMBOL_COUNT, spaces, readers.lips.space, EMOTIONS)


def vocabulary_of(cache: Cache) -> Vocabulary:
    """The same, by what a prepared corpus says of the readers it was read by."""
    if cache.read_by is None:
        return vocabulary(build_readers("light"))
    return Vocabulary(INVENTORY_NAME, SYMBOL_COUNT, cache.read_by.spaces, cache.read_by.lip_space, EMOTIONS)


def prepare(data: Path, folder: Path, config: PrepareConfig, readers: Readers | None = None) -> Cache:
    """Corpora below `data` to a prepared corpus in `folder`.

    Args:
        readers: what reads pictures, words and sound; the light ones by default.

    Raises:
        FileNotFoundError: a corpus is not there.
        ValueError: the folder was prepared with other settings or readers.
        library_builder.media.MediaError: a recording cannot be read.
    """
    _same_settings(folder, config)
    readers = readers or build_readers("light")
    cache = prepare_sound(data, folder, config, readers)
    if not cache.has("durations"):
        aligner = train_aligner(
            cache,
            SYMBOL_COUNT,
            MelConfig().n_mels,
            steps=config.aligner_steps,
            batch=config.aligner_batch,
            seed=config.seed,
        )
        write_tensors(folder / "aligner.safetensors", aligner.state_dict())
        prepare_durations(cache, aligner)
    theatre = Theatre(cache, config.programme, config.seed)
    prepare_looks(cache, readers, theatre, frames=config.picture_frames)
    prepare_lips(cache, readers, theatre)
    prepare_references(cache, readers, config.programme, config.references)
    return cache


def prepare_sound(data: Path, folder: Path, config: PrepareConfig, readers: Readers) -> Cache:
    """The features that need no picture: waves, mels, symbols, speakers, pitch and how each recording sounds."""
    mel, read_by = MelConfig(), ReadBy.of(readers)
    if not (folder / "index.json").is_file():
        recorded = tuple(name for name in config.corpora if name != SAYINGS)
        utterances = read_corpora(data, recorded)
        if SAYINGS in config.corpora:
            make_sayings(folder, seed=config.seed)
            utterances += read_corpora(folder, (SAYINGS,))
        prepare_waves(utterances, folder, mel.sample_rate, read_by)
    cache = Cache(folder)
    _same_readers(cache, read_by)
    prepare_mels(cache, mel)
    with Espeak() as espeak:
        prepare_symbols(cache, TextFrontend(espeak))
    prepare_speakers(cache, GE2E())
    prepare_voices(cache, mel, readers.audio)
    return cache


def _same_readers(cache: Cache, wanted: ReadBy) -> None:
    """Nor would one of two readers' vectors be a corpus: spaces tell weights and prompts apart."""
    got = cache.read_by or ReadBy.of(build_readers("light"))
    if (got.spaces, got.lip_space) != (wanted.spaces, wanted.lip_space):
        raise ValueError(
            f"{cache.folder}: expected extractors of the spaces it was begun in ({got.told()}), got {wanted.told()}; "
            "choose another folder"
        )


def _same_settings(folder: Path, config: PrepareConfig) -> None:
    """Features of two settings in one folder would be a corpus that nobody prepared."""
    path, wanted = folder / "prepare.json", json.dumps(asdict(config), indent=2)
    if path.is_file() and path.read_text(encoding="utf-8") != wanted:
        raise ValueError(f"{folder}: was prepared with other settings, see {path.name}; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(wanted, encoding="utf-8")
