"""Weights fetched, sealed and looked over: a checksum of every file beside it, and whether it is what it should be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from library_builder.atomic import whole_file
from library_builder.checksum import file_digest
from library_builder.pretrained.source import SEAL

from .models import UNKNOWN, KnownModel, how_to_get, missing_files

SCHEMA = 1


class ModelFetchError(ValueError):
    """Weights that could not be fetched."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of looking a model over.

    Attributes:
        troubles: a line each; none means that it is whole.
        sealed: whether there were checksums to compare with.
        files: how many were read.
    """

    model: KnownModel
    folder: Path
    troubles: tuple[str, ...]
    sealed: bool
    files: int


def fetch(model: KnownModel, models: Path, *, revision: str | None = None) -> Path:
    """Download a model of the hub into its place, and seal it. What an interrupted download left is gone on with.

    Raises:
        ModelFetchError: it is no model of the hub, or there is no way there.
        ImportError: huggingface_hub is not installed.
        FileExistsError: something lies in its place already.
    """
    place = models / model.place
    if not model.hub:
        raise ModelFetchError(
            f"{model.name}: expected a model of the hub, got one to be had by hand: {how_to_get(model, place)}; then "
            "dub models verify --seal"
        )
    if place.exists():
        raise FileExistsError(f"{place}: expected no files of {model.name} yet, they are there; dub models verify")
    part = place.with_name(f".{place.name}-part")
    fetched = _download(model, part, revision)
    gone = missing_files(model, part)
    if gone:
        raise ModelFetchError(f"{model.source}: expected {', '.join(gone)} among its files, got none")
    shutil.rmtree(part / ".cache", ignore_errors=True)  # notes of the downloader's own
    write_seal(model, part, fetched)
    os.replace(part, place)
    return place


def _download(model: KnownModel, part: Path, revision: str | None) -> str:
    """The files of one revision, and which it was."""
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        cure = f'pip install "authentic-dubber[{model.extra or "pretrained"}]"'
        raise ImportError(f"{model.name}: expected huggingface_hub, it is not installed: {cure}") from error
    try:
        found = HfApi().model_info(model.source, revision=revision, timeout=20)
        patterns = [*model.files, "README.md", "LICENSE*"]  # the card and the licence go where the weights go
        snapshot_download(model.source, revision=found.sha, local_dir=part, allow_patterns=patterns)
    except Exception as error:  # what the client lets through of its network library has no common base
        raise ModelFetchError(
            f"{model.name}: expected a network to fetch {model.source} from, got {type(error).__name__}; without "
            f"one, put {', '.join(model.files)} into {part.with_name(model.place)}"
        ) from error
    return str(found.sha or UNKNOWN)


def write_seal(model: KnownModel, folder: Path, revision: str = UNKNOWN) -> Path:
    """Record the checksum of every file that lies in a model's folder now."""
    values = {
        "schema": SCHEMA,
        "name": model.name,
        "source": model.source,
        "revision": revision,
        "licence": model.licence,
        "sealed": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "files": {name: {"sha256": file_digest(path), "bytes": path.stat().st_size} for name, path in _files(folder)},
    }
    path = folder / SEAL
    with whole_file(path) as temporary:
        temporary.write_text(_sealed(values), encoding="utf-8")
    return path


def verify(model: KnownModel, folder: Path) -> Verdict:
    """Hold a model to its seal, byte by byte, and see whether its files are what the engine's adapters read.

    Without a seal there is nothing to compare bytes with: then files are only seen to have a sound beginning and end.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: expected the files of {model.name}, there are none: {how_to_get(model, folder)}"
        )
    troubles = [f"{pattern}: expected such a file, there is none" for pattern in missing_files(model, folder)]
    found = dict(_files(folder))
    sealed = (folder / SEAL).is_file()
    if sealed:
        troubles += _against_seal(folder / SEAL, found)
    if not troubles:
        troubles += _structure(model, folder)
    return Verdict(model, folder, tuple(troubles), sealed, len(found))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != SEAL and not name.startswith("."):
            yield name, path


def _sealed(values: Mapping[str, Any]) -> str:
    """The one text of a seal; its last word is its own checksum."""
    plain = {key: value for key, value in values.items() if key != "seal"}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return json.dumps({**plain, "seal": digest}, indent=2, sort_keys=True) + "\n"


def _against_seal(path: Path, found: Mapping[str, Path]) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text)
        recorded: Mapping[str, Mapping[str, Any]] = values["files"]
        if values["schema"] != SCHEMA:
            return [f"{SEAL}: expected schema {SCHEMA}, got {values['schema']!r}"]
        if _sealed(values) != text:
            return [f"{SEAL}: was altered: its own checksum does not fit what it says"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{SEAL}: expected a seal of checksums, got {error!r}"]
    troubles = [f"{name}: expected this file, it is gone" for name in sorted(recorded.keys() - found.keys())]
    troubles += [f"{name}: expected no such file, it came later" for name in sorted(found.keys() - recorded.keys())]
    for name in sorted(recorded.keys() & found.keys()):
        wanted, size = recorded[name], found[name].stat().st_size
        if size != wanted["bytes"]:
            troubles.append(f"{name}: expected {wanted['bytes']} bytes, got {size}")
        elif file_digest(found[name]) != wanted["sha256"]:
            troubles.append(f"{name}: its bytes are not those that were sealed")
    return troubles


def _structure(model: KnownModel, folder: Path) -> Iterator[str]:
    """Whether the files are of the architecture that an adapter takes, as far as that is told without a network."""
    try:
        match model.structure:
            case "vocoder":
                from vocoder.pretrained import load_official

                load_official(folder)
            case "transformers":
                kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
                if kind not in model.kinds:
                    yield f"config.json: expected model_type {' or '.join(model.kinds)}, got {kind!r}"
            case "shards":
                from library_builder.pretrained.tfjs import read_shards

                for manifest in sorted(folder.glob("*-weights_manifest.json")):
                    read_shards(manifest)
            case "torch" | "onnx":
                pass
        for path in sorted(folder.glob("*.safetensors")):
            _whole_safetensors(path)
        for pattern in ("*.pt", "*.bin", "*.pth*", "*.tar"):
            for path in sorted(folder.glob(pattern)):
                _whole_torch(path)
    except (ValueError, OSError) as error:
        yield " ".join(str(error).split())


def _whole_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            if not list(file.keys()):
                raise ValueError(f"{path.name}: expected tensors, got none")
    except SafetensorError as error:
        raise ValueError(f"{path.name}: expected a whole file of safetensors, got {error}") from error


def _whole_torch(path: Path) -> None:
    """That torch reads a file to its end; only tensors are made of it."""
    import torch

    try:
        torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # torch lets through whatever its reader of archives or of pickles raises
        reason = " ".join(str(error).split())[:100]
        raise ValueError(
            f"{path.name}: expected a whole torch file of tensors, got one that is not ({reason})"
        ) from error
