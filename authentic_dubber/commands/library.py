"""`dub library`: build a reference library out of footage, look into it, and ask it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from authentic_dubber.exits import PARTIAL, DubGroup

from . import library_search, library_versions
from .progress import Bar

app = typer.Typer(cls=DubGroup, help="The reference library: footage that knows what it feels.", no_args_is_help=True)

app.command()(library_search.search)
for _command in (
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

LibraryFolder = Annotated[Path, typer.Argument(metavar="LIB", help="The library's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


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
    as_json: AsJson = False,
) -> None:
    """Read footage into a new version of LIB. Cue sheets of the same name beside the videos are found by themselves.

    Exits with 3 when some footage failed; the rest is in the library.
    """
    from authentic_dubber.librarian import BuildJob, build_library

    job = BuildJob(library, tuple(footage), tuple(cues or ()), film, licence, speaker)
    with Bar() as bar:
        result = build_library(job, progress=bar)
    if as_json:
        _print_json({"version": result.version, "counts": dict(result.counts), "troubles": list(result.troubles)})
    else:
        typer.echo(f"{library}: version {result.version}: {_counted(result.counts)}")
        for trouble in result.troubles:
            typer.echo(f"  {trouble}")
    raise typer.Exit(0 if result.complete else PARTIAL)


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


def _counted(counts: Any) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number or name == "ok")


def _listed(counts: dict[str, int], most: int = 12) -> str:
    named = [f"{name or '(unknown)'} {number}" for name, number in Counter(counts).most_common(most)]
    more = len(counts) - most
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _print_json(values: Any) -> None:
    typer.echo(json.dumps(values, ensure_ascii=False, indent=2))
