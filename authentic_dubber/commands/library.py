"""`dub library`: build a reference library out of footage, look into it, and ask it."""

from __future__ import annotations

import json
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authentic_dubber.exits import DubGroup

from .library_build import AsJson, LibraryFolder, build

if TYPE_CHECKING:
    from retrieval.library import Hit

app = typer.Typer(cls=DubGroup, help="The reference library: footage that knows what it feels.", no_args_is_help=True)


class ScopeChoice(str, Enum):
    """Whose clips a search may find."""

    any = "any"
    same = "same"
    other = "other"


app.command()(build)


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


def _listed(counts: dict[str, int], most: int = 12) -> str:
    named = [f"{name or '(unknown)'} {number}" for name, number in Counter(counts).most_common(most)]
    more = len(counts) - most
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _print_json(values: Any) -> None:
    typer.echo(json.dumps(values, ensure_ascii=False, indent=2))
