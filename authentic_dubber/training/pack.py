"""A prepared corpus as one small folder that moves to another machine: `unpack` makes a prepared corpus of it again.

pack.json                       what is in it, under which licences, SHA-256 of every other file
index.json.xz                   the index of a prepared corpus, renumbered
prepare.json                    how it was prepared, where that is known
sound/<number>.opus             the waves, see `strips`
features/<feature>.npy.xz       one row per recording, or all runs of rows one after another
features/<feature>.lengths.npy.xz   rows in each run
features/<feature>.scales.npy.xz    where a feature was rounded: what one step is worth, per column

Mels are left out: they are made again from the sound, so that mels and waves fit each other. Lips are rounded to eight
bits. All else comes back to the last bit.
"""

from __future__ import annotations

import json
import lzma
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from library_builder.checksum import file_digest
from library_builder.manifest import check_relative
from vocoder.mel import MelConfig
from vocoder.storage import whole_folder

from .cache import Cache, Entry, save_index
from .strips import check_kbps, plan_strips, write_strip

PACK_SCHEMA = "authentic-dubber/pack/1"
MANIFEST, INDEX, SETTINGS = "pack.json", "index.json.xz", "prepare.json"
SOUND, FEATURES = "sound", "features"
NEEDED = ("durations", "film", "lips", "pitch", "speaker", "symbols")
"""What every training reads, beside mels and these families."""
FAMILIES = ("own_", "hits_", "scores_")
ROUNDED = ("lips",)
STEPS = 127
"""Steps of a rounded column from zero to its largest magnitude: all that eight bits hold of both signs."""

Kind = Literal["rows", "ragged", "rounded"]


@dataclass(frozen=True, slots=True)
class PackConfig:
    """What packing may choose.

    Attributes:
        kbps: of the Opus sound, kilobits per second.
        held_out: also pack the recordings that no training may see.
    """

    kbps: float = 20.0
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class Packed:
    """What was packed.

    Attributes:
        left_out: recordings of the corpus that are not in the pack.
        lost_hits: hits that were such recordings, -1 in the pack.
        megabytes: of each part, a million bytes each.
    """

    recordings: int
    left_out: int
    lost_hits: int
    hours: float
    megabytes: Mapping[str, float]

    @property
    def total(self) -> float:
        """Megabytes in all."""
        return sum(self.megabytes.values())


def pack(folder: Path, out: Path, config: PackConfig | None = None) -> Packed:
    """Write a prepared corpus as a pack, whole or not at all; a pack that is there already is replaced.

    Raises:
        FileNotFoundError: `folder` is no prepared corpus.
        ValueError: `out` holds something else than a pack, the bit rate is out of range, there is
            nothing to pack, or the preparation is unfinished.
    """
    config = config or PackConfig()
    check_kbps(config.kbps)
    cache = Cache(folder)
    if out.exists() and not (out / MANIFEST).is_file():
        raise ValueError(f"{out}: expected a new folder or an earlier pack, got something else")
    rows = np.array(range(len(cache.entries)) if config.held_out else cache.training_rows(), dtype=np.int64)
    if not len(rows):
        raise ValueError(f"{folder}: expected recordings to pack, got none")
    with whole_folder(out) as filling:
        features = _pack_features(cache, rows, filling / FEATURES)
        entries = _pack_index(cache, rows, filling)
        strips = _pack_sound(cache, rows, filling, config.kbps)
        if (folder / SETTINGS).is_file():
            shutil.copyfile(folder / SETTINGS, filling / SETTINGS)
        parts = _parts(filling)
        manifest = {
            "schema": PACK_SCHEMA,
            "recordings": len(rows),
            "held_out": config.held_out,
            "licences": _licences(entries),
            "kbps": config.kbps,
            "mel": MelConfig().to_dict(),
            "strips": strips,
            "features": features,
            "sha256": {
                path.relative_to(filling).as_posix(): file_digest(path)
                for path in sorted(filling.rglob("*"))
                if path.is_file()
            },
        }
        (filling / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    hits = [np.asarray(cache.rows(name))[rows] for name in features if name.startswith("hits_")]
    return Packed(
        recordings=len(rows),
        left_out=len(cache.entries) - len(rows),
        lost_hits=sum(int(np.sum((h >= 0) & (renumbered(h, rows, len(cache.entries)) < 0))) for h in hits),
        hours=sum(entry.samples for entry in entries) / cache.sample_rate / 3600,
        megabytes=parts,
    )


def strip_name(number: int) -> str:
    return f"{SOUND}/{number:03d}.opus"


def travels(feature: str) -> bool:
    """Whether a feature belongs into a pack: mels are made again, and what an evaluation kept for itself is too."""
    return feature in NEEDED or (feature.isidentifier() and feature.startswith(FAMILIES))


def array_name(feature: str, part: str = "") -> str:
    return f"{FEATURES}/{feature}{part and '.'}{part}.npy.xz"


def renumbered(hits: npt.NDArray[Any], rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[Any]:
    """Rows of a corpus of `count` recordings as places among the kept `rows`, -1 where one is not kept."""
    places = np.full(count + 1, -1, dtype=hits.dtype)
    places[rows] = np.arange(len(rows))
    return places[hits]  # a -1 reads the last place, which is -1 itself


def _pack_sound(cache: Cache, rows: npt.NDArray[np.int64], filling: Path, kbps: float) -> list[int]:
    """How many recordings each strip holds."""
    (filling / SOUND).mkdir()
    counts = plan_strips([cache.entries[i].samples for i in rows], cache.sample_rate)
    with tqdm(total=len(rows), desc="sound", unit="clip") as bar:
        for number, part in enumerate(np.split(rows, np.cumsum(counts)[:-1])):
            write_strip(filling / strip_name(number), (cache.wave(int(i)) for i in part), cache.sample_rate, kbps)
            bar.update(len(part))
    return counts


def _pack_index(cache: Cache, rows: npt.NDArray[np.int64], filling: Path) -> list[Entry]:
    entries, offset = [], 0
    for i in rows:
        entry = cache.entries[i]
        entries.append(replace(entry, offset=offset, media=_media(entry)))
        offset += entry.samples
    save_index(filling, cache.sample_rate, entries, cache.read_by)
    plain = filling / INDEX.removesuffix(".xz")
    (filling / INDEX).write_bytes(lzma.compress(plain.read_bytes()))
    plain.unlink()
    return entries


def _media(entry: Entry) -> str:
    """Where a recording came from. The recordings stay behind, and so do the names of this machine's folders."""
    try:
        return check_relative(entry.media)
    except ValueError:
        return f"{entry.corpus}/{PurePath(entry.media).name}"


def _pack_features(cache: Cache, rows: npt.NDArray[np.int64], folder: Path) -> dict[str, Kind]:
    folder.mkdir()
    names = sorted(path.name.removesuffix(".npy") for path in cache.folder.glob("*.npy"))
    wanted = [name for name in names if travels(name)]
    if missing := sorted(set(NEEDED) - set(wanted)):
        raise ValueError(f"{cache.folder}: expected a finished preparation, got none of {', '.join(missing)}")
    kinds: dict[str, Kind] = {}
    for name in tqdm(wanted, desc="features", unit="feature"):
        if f"{name}.offsets" not in names:
            kinds[name] = "rows"
            _write(folder.parent / array_name(name), _kept_rows(cache, name, rows))
            continue
        ragged = cache.ragged(name)
        runs = [ragged[int(i)] for i in rows]
        values = np.concatenate(runs)
        _write(folder.parent / array_name(name, "lengths"), np.array([len(run) for run in runs], dtype=np.int32))
        kinds[name] = "rounded" if name in ROUNDED else "ragged"
        if kinds[name] == "rounded":
            values, scales = rounded(values)
            _write(folder.parent / array_name(name, "scales"), scales)
        _write(folder.parent / array_name(name), values)
    return kinds


def _kept_rows(cache: Cache, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    values = np.asarray(cache.rows(name))[rows]
    kind, _, modality = name.partition("_")
    if kind == "hits":
        return renumbered(values, rows, len(cache.entries))
    if kind == "scores" and cache.has(f"hits_{modality}"):
        hits = renumbered(np.asarray(cache.rows(f"hits_{modality}"))[rows], rows, len(cache.entries))
        return np.where(hits >= 0, values, 0).astype(values.dtype)
    return values


def rounded(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int8], npt.NDArray[Any]]:
    """Columns as steps of eight bits, and what a step of each is worth, in the type that the values had.

    Shape:
        (V, W) -> (W, V), (W,). A column's neighbours are alike, a row's are not, so columns compress better.

    Raises:
        ValueError: a value is not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("expected finite features, got NaN or infinity")
    scales = (np.abs(values.astype(np.float32)).max(axis=0, initial=0) / STEPS).astype(values.dtype)
    scales[scales == 0] = 1
    steps = np.clip(np.rint(values / scales.astype(np.float32)), -STEPS, STEPS)
    return np.ascontiguousarray(steps.T.astype(np.int8)), scales


def _write(path: Path, array: npt.NDArray[Any]) -> None:
    with lzma.open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)


def _licences(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Which corpora are under each licence."""
    pairs = {(entry.licence, entry.corpus) for entry in entries}
    return {licence: sorted(c for name, c in pairs if name == licence) for licence in sorted({n for n, _ in pairs})}


def _parts(filling: Path) -> dict[str, float]:
    """Megabytes of the sound, of every feature with all its files, and of the rest."""
    sizes: dict[str, float] = {}
    for path in sorted(filling.rglob("*")):
        if path.is_file():
            home = path.parent.name
            part = path.name.partition(".")[0] if home == FEATURES else home if home == SOUND else "index"
            sizes[part] = sizes.get(part, 0.0) + path.stat().st_size / 1e6
    return sizes
