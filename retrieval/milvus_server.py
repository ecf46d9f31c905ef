"""A Milvus server as far as a library needs one: a collection per version, whole or not served. Imports pymilvus."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from library_builder.types import Clip, Modality, space_width

from .milvus_rows import COLUMNS, HEADER_ROW, TEXT_BYTES, header_row, row_of, stored
from .versions import DirtyVersion, NoLibrary

SCHEMA = 1
"""Number of the layout in Milvus: columns and header. Another number is refused."""
BATCH_BYTES = 16 << 20
"""Rows sent at once: a server takes 64 MB in one message, and JSON and strings come on top of the vectors."""
Progress: TypeAlias = Callable[[str, int, int], None]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_CURE = "pip install 'authentic-dubber[milvus]'"


@dataclass(frozen=True, slots=True)
class MilvusIndex:
    """How the server indexes vectors. The default is exact; others suit a distributed server.

    Attributes:
        kind: Milvus's index type: `FLAT`, `IVF_SQ8`, `HNSW`, `DISKANN`.
        build: its parameters, such as `{"nlist": 4096}` or `{"M": 32, "efConstruction": 200}`.
        search: parameters of every search, such as `{"nprobe": 64}` or `{"ef": 128}`.
        candidates: how many an inexact index brings at least, to be scored again from their own vectors.
    """

    kind: str = "FLAT"
    build: Mapping[str, Any] = field(default_factory=dict, hash=False)
    search: Mapping[str, Any] = field(default_factory=dict, hash=False)
    candidates: int = 64

    @property
    def exact(self) -> bool:
        return self.kind == "FLAT"


@dataclass(frozen=True, slots=True)
class Header:
    """What a collection says about itself.

    Attributes:
        schema: see `SCHEMA`.
        version: the library version it was loaded from.
        content: the number of that version's clips, see `Library.content`.
        clips: how many it holds when it is whole.
        spaces: the emotion space of each modality.
        index: as in `MilvusIndex`.
        whole: False until the last clip is in and all are counted.
        modalities: clips that have a vector, per modality.
        facts: what the library said of itself when it was loaded.
    """

    schema: int
    version: str
    content: str
    clips: int
    spaces: Mapping[Modality, str]
    index: Mapping[str, Any]
    whole: bool = False
    modalities: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> MilvusIndex:
        return MilvusIndex(**self.index)

    @property
    def identity(self) -> str:
        """A number, in hexadecimal, of what cannot change without loading anew: clips, layout and index."""
        built = self.index["kind"], self.index["build"]
        text = json.dumps([self.schema, self.content, dict(self.spaces), built], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def connect(uri: str, *, token: str = "", must_exist: bool = True) -> Any:
    """A client of the server at `http://host:19530`, or of the embedded one over a file `library.db`.

    Raises:
        ImportError: pymilvus is not installed, or milvus-lite for a file.
        NoLibrary: there is no such file, and there should be.
        ConnectionError: nothing answers there.
    """
    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError as error:
        raise ImportError(f"a library in Milvus needs pymilvus, which is not installed: {_CURE}") from error
    if "://" not in uri:
        if find_spec("milvus_lite") is None:
            raise ImportError(
                f"a Milvus library in a file needs milvus-lite, which is not installed: {_CURE} milvus-lite"
            )
        if not uri.endswith(".db"):
            raise ValueError(f"expected http://HOST:PORT or a file that ends in .db, got {uri!r}")
        if must_exist and not Path(uri).exists():
            raise NoLibrary(f"expected a Milvus library at {uri}, got no file: load a library into it first")
    try:
        return MilvusClient(uri, token=token)
    except MilvusException as error:
        raise ConnectionError(f"no Milvus server answers at {uri}: {error.message}") from error


def collection_of(name: str, header: Header) -> str:
    """The collection that holds one version under one index; `name` alone is the alias of the one that is served.

    Raises:
        ValueError: Milvus takes no such name.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"expected a collection's name of letters, digits and _, not beginning with a digit, got {name!r}"
        )
    return f"{name}__{header.version.replace('-', '_')}_{header.identity}"


def served(client: Any, name: str) -> str:
    """The collection behind a name.

    Raises:
        NoLibrary: nothing of this name is served.
    """
    if not client.has_collection(name):
        raise NoLibrary(f"expected a library served as {name!r}, got none: load a version under this name first")
    if name in client.list_collections():
        return name
    return str(client.describe_alias(name)["collection_name"])


def read_header(client: Any, collection: str) -> Header:
    """What a collection says about itself, whole or not.

    Raises:
        DirtyVersion: it holds no library, or one of another schema.
    """
    client.load_collection(collection)
    fields = {one["name"] for one in client.describe_collection(collection)["fields"]}
    found = ()
    if {"row", "record"} <= fields:
        found = client.query(
            collection, filter=f"row == {HEADER_ROW}", output_fields=["record"], consistency_level="Strong"
        )
    if not found:
        raise DirtyVersion(f"collection {collection}: expected a library with a header, got another collection")
    try:
        values = json.loads(found[0]["record"])
        if values["schema"] != SCHEMA:
            raise DirtyVersion(f"collection {collection}: expected schema {SCHEMA}, got {values['schema']!r}")
        return Header(**values)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DirtyVersion(f"collection {collection}: expected a library's header, got {error!r}") from error


def fill(
    client: Any, collection: str, clips: Iterable[Clip], header: Header, *, progress: Progress | None = None
) -> Header:
    """Put every clip into a collection of its own, in order, and say last that it is whole.

    Interrupted, it goes on where it was: batches are sent in order and rows replace themselves.

    Returns:
        The header as it is now stored.

    Raises:
        DirtyVersion: the server does not count what was sent.
    """
    before = _begun(client, collection, header)
    if before.whole:
        whole = replace(before, index=header.index)
        if whole != before:  # other settings of search need no loading
            client.upsert(collection, [header_row(asdict(whole), whole.spaces)])
        return whole
    batch = _batch_rows(header.spaces)
    there = count(client, collection, "row >= 0") // batch * batch
    modalities: dict[str, int] = dict.fromkeys(stored(header.spaces), 0)
    stream = iter(enumerate(clips))
    done = 0
    while part := list(islice(stream, batch)):
        for modality in modalities:
            modalities[modality] += sum(modality in clip.emotions for _, clip in part)
        done += len(part)
        if done > there:
            client.upsert(collection, [row_of(clip, row, header.spaces) for row, clip in part])
        if progress is not None:
            progress("clips", done, header.clips)
    client.flush(collection)
    _check_counts(client, collection, header.clips, modalities)
    whole = replace(header, whole=True, modalities=modalities)
    client.upsert(collection, [header_row(asdict(whole), header.spaces)])
    client.flush(collection)
    return whole


def serve(client: Any, name: str, collection: str) -> None:
    """Let `name` mean this collection, in one step. Readers already open keep theirs.

    Raises:
        ValueError: a collection, not an alias, has this name.
    """
    if name in client.list_collections():
        raise ValueError(f"expected {name!r} to be free or an alias, got a collection of this name")
    if client.has_collection(name):
        client.alter_alias(collection, name)
    else:
        client.create_alias(collection, name)


def prune(client: Any, name: str) -> tuple[str, ...]:
    """Drop every version under a name but the one served, half-loaded ones too, and say which."""
    kept = served(client, name)
    others = tuple(one for one in sorted(client.list_collections()) if one.startswith(f"{name}__") and one != kept)
    for collection in others:
        client.drop_collection(collection)
    return others


def count(client: Any, collection: str, where: str) -> int:
    """Rows that meet an expression."""
    answer = client.query(collection, filter=where, output_fields=["count(*)"], consistency_level="Strong")
    return int(answer[0]["count(*)"])


def _begun(client: Any, collection: str, header: Header) -> Header:
    """The header of a collection that may be filled: one begun already, or a new one."""
    if client.has_collection(collection):
        try:
            return read_header(client, collection)
        except DirtyVersion:  # killed before it had a header
            client.drop_collection(collection)
    _create(client, collection, header.spaces, header.settings)
    client.upsert(collection, [header_row(asdict(header), header.spaces)])
    return header


def _create(client: Any, collection: str, spaces: Mapping[Modality, str], index: MilvusIndex) -> None:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    for column in COLUMNS:
        schema.add_field(column, DataType.INT64)
    schema.add_field("record", DataType.VARCHAR, max_length=TEXT_BYTES)
    indices = MilvusClient.prepare_index_params()
    for modality in stored(spaces):
        schema.add_field(f"has_{modality}", DataType.BOOL)
        schema.add_field(modality, DataType.FLOAT_VECTOR, dim=space_width(spaces[modality]))
        # Vectors are unit, so the inner product is the cosine, and the zero vector of a lacking one has one too.
        indices.add_index(modality, index_type=index.kind, metric_type="IP", params=dict(index.build))
    client.create_collection(collection, schema=schema, index_params=indices)
    client.load_collection(collection)


def _check_counts(client: Any, collection: str, clips: int, modalities: Mapping[str, int]) -> None:
    found = {"clips": count(client, collection, "row >= 0")}
    found |= {one: count(client, collection, f"has_{one} == true") for one in modalities}
    if found != {"clips": clips, **modalities}:
        raise DirtyVersion(f"collection {collection}: expected {clips} clips and vectors of {modalities}, got {found}")


def _batch_rows(spaces: Mapping[Modality, str]) -> int:
    """Rows of one message; a resumed load must come to the same number."""
    row_bytes = 4 * sum(space_width(space) for space in spaces.values()) + 2048
    return max(1, min(1000, BATCH_BYTES // row_bytes))
