"""`dub library`: build a reference library out of footage, look into it, and ask it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import typer

from authentic_dubber.exits import DubGroup

from . import library_search, library_versions
from .library_build import AsJson, LibraryFolder, build

app = typer.Typer(cls=DubGroup, help="The reference library: footage that knows what it feels.", no_args_is_help=True)

for _command in (
    build,
    library_search.search,
    library_versions.add,
    library_versions.remove,
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
    """Show what LIB holds: clips per modality, speaker and film, and its emotion spaces."""
    from retrieval.library import Library

    facts = Library.open(library, verify=False).info()
    if as_json:
        _print_json(facts)
        return
    typer.echo(f"{library}: version {facts['version']}, {facts['clips']} clips, committed {facts['created']}")
    for modality, count in facts["modalities"].items():
        typer.echo(f"  {modality:8s} {count:6d} clips  {facts['spaces'][modality]}")
    for name in ("speakers", "films", "licences"):
        typer.echo(f"  {name}: {_listed(facts[name])}")


def _listed(counts: dict[str, int], most: int = 12) -> str:
    named = [f"{name or '(unknown)'} {number}" for name, number in Counter(counts).most_common(most)]
    more = len(counts) - most
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _print_json(values: Any) -> None:
    typer.echo(json.dumps(values, ensure_ascii=False, indent=2))
