"""`dub library`: build a reference library out of footage, look into it, and ask it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import typer

from authentic_dubber.exits import DubGroup

from . import library_captions, library_reextract, library_search, library_versions
from .library_build import AsJson, LibraryFolder, build

app = typer.Typer(cls=DubGroup, help="The reference library: footage that knows what it feels.", no_args_is_help=True)

for _command in (
    build,
    library_search.search,
    library_captions.captions,
    library_versions.add,
    library_versions.remove,
    library_reextract.reextract,
    library_reextract.compare,
    library_versions.status,
    library_versions.verify,
    library_versions.publish,
    library_versions.rollback,
    library_versions.gc,
    library_versions.keep,
    library_versions.migrate,
):
    app.command()(_command)
app.command("list")(library_versions.list_versions)


@app.command()
def info(library: LibraryFolder, as_json: AsJson = False) -> None:
    """Show what LIB holds: clips per modality, speaker and film, its emotion spaces and indices."""
    from retrieval.library import Library

    facts = Library.open(library, verify=False).info()
    if as_json:
        _print_json(facts)
        return
    typer.echo(f"{library}: version {facts['version']}, {facts['clips']} clips, committed {facts['created']}")
    for modality, count in facts["modalities"].items():
        typer.echo(f"  {modality:8s} {count:6d} clips  {facts['spaces'][modality]}")
        typer.echo(f"           index: {_indexed(facts['indices'][modality])}")
    for name in ("speakers", "films", "licences"):
        typer.echo(f"  {name}: {_listed(facts[name])}")


def _indexed(recipes: list[dict[str, Any]]) -> str:
    """The indices of one modality's segments, equal ones together."""
    told = Counter[str]()
    for one in recipes:
        found = "recall@3 1, exact"
        if one["kind"] != "exact":
            found = f"recall@3 {one['recall']:.4g} measured by {one['asked']} of its clips ({one['wanted']:g} asked)"
        told[f"{one['factory']}, {found}, {one['bytes_per_vector']:g} bytes a vector"] += 1
    return "; ".join(f"{text}{f' ({number} segments)' if number > 1 else ''}" for text, number in told.items())


def _listed(counts: dict[str, int], most: int = 12) -> str:
    named = [f"{name or '(unknown)'} {number}" for name, number in Counter(counts).most_common(most)]
    more = len(counts) - most
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _print_json(values: Any) -> None:
    typer.echo(json.dumps(values, ensure_ascii=False, indent=2))
