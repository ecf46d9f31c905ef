"""Where a pretrained model lies, and what a manifest keeps of it: revision, checksum of its weights, licence.

A folder on this machine goes first, then the hub's cache; the network is asked only by whoever says so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from library_builder.checksum import file_digest
from library_builder.manifest import check_relative

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".tar", ".ckpt", ".onnx", ".h5", ".hdf5")
"""How files of weights end; `.tar` is what lip-reading models are published as (`name.pth.tar`)."""
UNKNOWN = "unknown"
SEAL = "seal.json"
"""Beside fetched weights: where they came from, under which licence, and the checksum of every file."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_POINTER = b"version https://git-lfs"
_LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE")
_LEAST_HEADER = 8
"""Bytes of a safetensors file that say how long its header is."""


class ModelError(ValueError):
    """A model that is not there, is of another architecture, or whose files are not whole."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model on this machine.

    Attributes:
        name: as it was asked for: a hub name, or the name of its folder.
        folder: that holds its files.
        revision: the commit it was published as; `"unknown"` where the folder does not say.
        sha256: over all its files of weights: the file's own where there is one, else of their names and checksums.
        licence: as its model card or licence file names it; `"unknown"` where neither does.
    """

    name: str
    folder: Path
    revision: str
    sha256: str
    licence: str

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """The files of weights, in the order of their names."""
        return _weights(self.folder)


def find_model(
    name: str | Path, *, revision: str | None = None, needed: Sequence[str] = ("config.json",), fetch: bool = False
) -> ModelSource:
    """A model by its folder or hub name, its files checked to be there and whole.

    Args:
        name: a folder, or `owner/model` as in the hub's cache.
        revision: a commit, tag or branch of the hub; of a folder, the commit that it has to be.
        needed: files that must be there; a pattern such as `*.safetensors` stands for at least one.
        fetch: download what is not there. Without it the network is not touched.

    Raises:
        ModelError: it is neither here nor, where that was asked, to be had; a file is missing, truncated or a pointer;
            or it is another revision. The line says what to fetch and where to put it.
        ImportError: a hub name, and huggingface_hub is not installed.
    """
    here, folder = Path(name).is_dir(), find_folder(name, revision=revision, fetch=fetch)
    label = folder.resolve().name if here else str(name)
    known = _revision_of(folder) if here else folder.name
    _check(folder, label, needed)
    weights = _weights(folder)
    if not weights:
        raise ModelError(f"{folder}: expected weights ({', '.join(WEIGHTS)}), got none")
    for path in weights:
        _check_whole(path)
    return ModelSource(label, folder, known, _digest(folder, weights), _licence(folder))


def find_folder(name: str | Path, *, revision: str | None = None, fetch: bool = False) -> Path:
    """The folder of a model by its path or hub name, its files not looked at; arguments and errors as `find_model`."""
    folder = Path(name)
    if not folder.is_dir():
        return _on_hub(str(name), revision, fetch)
    if revision is not None and (known := _revision_of(folder)) != revision:
        raise ModelError(f"{folder}: expected revision {revision}, got {known}")
    return folder


def _on_hub(name: str, revision: str | None, fetch: bool) -> Path:
    """The folder of a hub name, out of the cache or the network."""
    if not _HUB_NAME.fullmatch(name):
        raise ModelError(f"{name}: expected the folder of a model, there is none")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        cure = 'pip install "authentic-dubber[pretrained]"'
        raise ImportError(f"{name}: no folder of this name; for a model of the hub: {cure}") from error
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=not fetch))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        where = "neither here nor to be had" if fetch else "expected its folder or its files in the hub's cache"
        at, asked = (f" at {revision}", f" --revision {revision}") if revision else ("", "")
        raise ModelError(
            f"{name}{at}: {where}, got none: fetch it where there is a network (hf download {name}{asked}), or put its "
            "files into a folder and name that folder"
        ) from error


def _check(folder: Path, name: str, needed: Sequence[str]) -> None:
    """That a model's files are there.

    Raises:
        ModelError: one is not.
    """
    index = folder / "model.safetensors.index.json"
    named = _named_by(index) if index.is_file() else []
    for pattern in [*needed, *named]:
        if not any(folder.glob(pattern)):
            raise ModelError(
                f"{folder}: expected {pattern} among the files of {name}, there is none: put it there, or fetch the "
                f"model anew (hf download {name})"
            )


def _named_by(index: Path) -> list[str]:
    """The files that an index of shards names; they lie beside it or below.

    Raises:
        ModelError: it is no such index, or a name leaves the folder.
    """
    named = _json(index).get("weight_map", {})
    try:
        return sorted({check_relative(str(name)) for name in named.values()})
    except (AttributeError, ValueError) as error:
        raise ModelError(f"{index}: expected files of weights by name in weight_map: {error}") from error


def _check_whole(path: Path) -> None:
    """That a file of weights is not empty, cut short, or a note of where the weights are.

    Raises:
        ModelError: it is.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_LEAST_HEADER)
        if size == 0:
            raise ModelError(f"{path}: expected weights, got an empty file")
        if (head + file.read(len(_POINTER))).startswith(_POINTER):
            raise ModelError(f"{path}: expected weights, got a pointer of git-lfs: fetch the file itself")
        if path.suffix != ".safetensors":
            return
        length = int.from_bytes(head, "little")
        if len(head) < _LEAST_HEADER or length > size - _LEAST_HEADER:
            raise ModelError(f"{path}: expected a whole file of safetensors, got one truncated at {size} bytes")
        file.seek(_LEAST_HEADER)
        try:
            header = json.loads(file.read(length))
            end = max((t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"), default=0)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"{path}: expected a header of safetensors, got something else") from error
    if size != _LEAST_HEADER + length + end:
        raise ModelError(
            f"{path}: expected a whole file of {_LEAST_HEADER + length + end} bytes, got {size}, truncated or damaged: "
            "fetch it anew"
        )


def _weights(folder: Path) -> tuple[Path, ...]:
    """Files of weights below a folder, those of hidden folders left out."""
    return tuple(sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix()))


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path)
        elif path.suffix in WEIGHTS:
            yield path


def _digest(folder: Path, weights: Sequence[Path]) -> str:
    digests = [_file_digest(path, path.stat().st_mtime_ns, path.stat().st_size) for path in weights]
    if len(digests) == 1:
        return digests[0]
    names = [path.relative_to(folder).as_posix() for path in weights]
    lines = "".join(f"{name} {digest}\n" for name, digest in zip(names, digests, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


@lru_cache(maxsize=64)
def _file_digest(path: Path, changed: int, size: int) -> str:
    """Once per process: a model is asked for by more than one reader, and is long to read."""
    return file_digest(path)


def _revision_of(folder: Path) -> str:
    """The commit a folder was downloaded as, by its place in a hub cache or what the hub's client noted in it."""
    if folder.resolve().parent.name == "snapshots":
        return folder.resolve().name
    for note in sorted(folder.glob(".cache/huggingface/download/**/*.metadata")):
        first = note.read_text(encoding="utf-8").partition("\n")[0].strip()
        if re.fullmatch(r"[0-9a-f]{40}", first):
            return first
    return _sealed_as(folder, "revision")


def _sealed_as(folder: Path, fact: str) -> str:
    """What the seal of fetched weights says."""
    path = folder / SEAL
    return str(_json(path).get(fact, UNKNOWN)) if path.is_file() else UNKNOWN


def _licence(folder: Path) -> str:
    """The licence a model card names at its head, or the first line of a licence file, or what a seal says."""
    card = folder / "README.md"
    if card.is_file():
        head = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), flags=re.DOTALL)
        fields = dict(re.findall(r"^(license(?:_name)?):[ \t]*(\S.*)$", head[1], flags=re.MULTILINE)) if head else {}
        named = fields.get("license", "").strip(" '\"")
        if named:  # "other" goes with a name of its own
            return fields.get("license_name", named).strip(" '\"") if named == "other" else named
    for name in _LICENCE_FILES:
        path = folder / name
        if path.is_file():
            lines = (line.strip(" #*\t") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
            return next((line for line in lines if line), UNKNOWN)
    return _sealed_as(folder, "licence")


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: expected JSON: {error}") from error
    if not isinstance(read, dict):
        raise ModelError(f"{path}: expected a JSON object, got {type(read).__name__}")
    return read


def read_config(source: ModelSource) -> dict[str, Any]:
    """What `config.json` of a model says.

    Raises:
        ModelError: there is none, or it is not a JSON object.
    """
    path = source.folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{path}: expected a model's configuration, there is none")
    return _json(path)


def facts_of(sources: Mapping[str, ModelSource], settings: str) -> dict[str, str]:
    """What a manifest keeps of models: checksum, revision and licence of each, and how they were asked.

    Those with a point in their name only tell; the others also decide what may stand beside what.
    """
    digests = "".join(source.sha256 for _, source in sorted(sources.items()))
    facts = {"weights": hashlib.sha256(digests.encode()).hexdigest(), "settings": settings}
    for role, source in sources.items():
        facts |= {
            f"{role}.name": source.name,
            f"{role}.revision": source.revision,
            f"{role}.sha256": source.sha256,
            f"{role}.licence": source.licence,
        }
    return facts
