"""`dub library`: build a reference library out of footage, look into it, and ask it."""

from __future__ import annotations

import json
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authentic_dubber.exits import PARTIAL, DubGroup

from .progress import Bar

if TYPE_CHECKING:
    from retrieval.library import Hit

app = typer.Typer(cls=DubGroup, help="The reference library: footage that knows what it feels.", no_args_is_help=True)

LibraryFolder = Annotated[Path, typer.Argument(metavar="LIB", help="The library's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


class ScopeChoice(str, Enum):
    """Whose clips a search may find."""

    any = "any"
    same = "same"
    other = "other"


class EngineChoice(str, Enum):
    """Who makes the shards of a build."""

    local = "local"
    ray = "ray"


@app.command()
def build(
    library: LibraryFolder,
    *,
    footage: Annotated[
        list[Path], typer.Option(help="A video, or a folder that is walked for videos. Repeat it for more.")
    ],
    cues: Annotated[
        list[Path] | None, typer.Option(help="A cue sheet that does not lie beside its video. Repeat it for more.")
    ] = None,
    film: Annotated[str | None, typer.Option(help="The film that all the footage belongs to.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the footage, kept in every clip.")] = None,
    speaker: Annotated[str, typer.Option(help="Who speaks where a cue sheet names nobody.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes, or actors on a cluster, that read footage.")] = 1,
    engine: Annotated[EngineChoice, typer.Option(help="Processes of this machine, or a Ray cluster.")] = (
        EngineChoice.local
    ),
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Make every N-th shard from the I-th on and leave LIB as it is.")
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="Make nothing: hand over the shards that jobs made.")
    ] = False,
    shard_clips: Annotated[int, typer.Option(min=1, help="Most clips in a shard: what a killed worker may lose.")] = 64,
    cache: Annotated[bool, typer.Option(help="Do not read the same bytes twice, whatever they are called.")] = True,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Compare the checksum of all footage, not only size and time of change.")
    ] = False,
    retries: Annotated[int, typer.Option(min=0, help="How often a shard is tried again when its worker died.")] = 2,
    ray_address: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of the Ray cluster.")] = None,
    decoders: Annotated[int, typer.Option(min=0, help="With Ray: actors that only decode, beside the workers.")] = 0,
    worker_gpus: Annotated[float, typer.Option(min=0, help="With Ray: GPUs, or a share of one, per worker.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Read footage into a new version of LIB. Cue sheets of the same name beside the videos are found by themselves.

    Stopped in any way and run again, it goes on where it was; run again on the same footage, it reads only what
    changed or failed. Exits with 3 when some footage failed; the rest is in the library.
    """
    from authentic_dubber.librarian import BuildJob, BuildOptions, build_library
    from library_builder.ray_engine import RayOptions

    job = BuildJob(library, tuple(footage), tuple(cues or ()), film, licence, speaker)
    options = BuildOptions(
        workers=workers,
        engine=engine.value,
        shard_clips=shard_clips,
        part=_part(shard),
        finish=finish,
        cache=cache,
        rehash=rehash,
        retries=retries,
        ray=RayOptions(address=ray_address, decoders=decoders, reader_gpus=worker_gpus),
    )
    with Bar("clip") as bar:
        result = build_library(job, progress=bar, options=options)
    if as_json:
        _print_json(result.facts())
    else:
        what = f"version {result.version}" if result.version else f"part {shard}, {result.shards} shards"
        typer.echo(f"{library}: {what}: {_counted(result.counts)}; {result.read} read anew")
        for trouble in result.troubles:
            typer.echo(f"  {trouble}")
    raise typer.Exit(0 if result.complete else PARTIAL)


def _part(shard: str | None) -> tuple[int, int] | None:
    if shard is None:
        return None
    first, _, last = shard.partition("/")
    if not (first.isdecimal() and last.isdecimal()):
        raise ValueError(f"expected --shard I/N such as 1/4, got {shard!r}")
    return int(first), int(last)


@app.command()
def info(library: LibraryFolder, as_json: AsJson = False) -> None:
    """Show what LIB holds: clips per modality, speaker and film, and its emotion spaces."""
    from retrieval.library import Library

    facts = Library.open(library).info()
    if as_json:
        _print_json(facts)
        return
    typer.echo(f"{library}: version {facts['version']}, {facts['clips']} clips, committed {facts['created']}")
    for modality, count in facts["modalities"].items():
        typer.echo(f"  {modality:8s} {count:6d} clips  {facts['spaces'][modality]}")
    for name in ("speakers", "films"):
        typer.echo(f"  {name}: {_listed(facts[name])}")


@app.command()
def search(
    library: LibraryFolder,
    *,
    clip: Annotated[
        str | None, typer.Option(metavar="ID", help="Find what feels like this clip of the library.")
    ] = None,
    text: Annotated[str | None, typer.Option(metavar="WORDS", help="Find what feels like these words.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many per modality.")] = 3,
    scope: Annotated[ScopeChoice, typer.Option(help="Whose clips: anyone's, the same speaker's, others'.")] = (
        ScopeChoice.any
    ),
    speaker: Annotated[str | None, typer.Option(help="The speaker that --scope is about; a clip's own by default.")] = (
        None
    ),
    as_json: AsJson = False,
) -> None:
    """Find the clips that feel nearest, for every modality that asks."""
    from authentic_dubber.librarian import search_like_clip, search_like_text
    from library_builder.readers import build_readers
    from retrieval.library import Library

    if (clip is None) == (text is None):
        raise ValueError("expected either --clip ID or --text WORDS")
    opened = Library.open(library)
    if clip is not None:
        found = search_like_clip(opened, clip, k=k, scope=scope.value, speaker=speaker)
    else:
        found = search_like_text(opened, text or "", build_readers("light"), k=k, scope=scope.value, speaker=speaker)
    if as_json:
        _print_json({m: [_hit(hit) for hit in hits] for m, hits in found.hits.items()} | {"notes": list(found.notes)})
        return
    for modality, hits in found.hits.items():
        typer.echo(f"{modality}:")
        for hit in hits:
            typer.echo(f"  {hit.rank}. {hit.score:+.4f}  {hit.clip.id}  {hit.clip.speaker}: {hit.clip.text}")
    for note in found.notes:
        typer.echo(f"note: {note}")


def _hit(hit: Hit) -> dict[str, Any]:
    return {"rank": hit.rank, "score": hit.score, **hit.clip.record()}


def _counted(counts: Any) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number or name == "ok")


def _listed(counts: dict[str, int], most: int = 12) -> str:
    named = [f"{name or '(unknown)'} {number}" for name, number in Counter(counts).most_common(most)]
    more = len(counts) - most
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _print_json(values: Any) -> None:
    typer.echo(json.dumps(values, ensure_ascii=False, indent=2))
