"""`dub library captions`: the captions of a library on one page, those that are empty or loop marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .library_build import AsJson, LibraryFolder


def captions(
    library: LibraryFolder,
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page, FILE.html.")] = None,
    version: Annotated[str | None, typer.Option(help="Look over this version; the current one by default.")] = None,
    flagged: Annotated[
        bool, typer.Option("--flagged", help="List only clips with an empty, looping or cut caption.")
    ] = False,
    most: Annotated[int, typer.Option(min=1, help="Most clips listed; all are counted.")] = 500,
    as_json: AsJson = False,
) -> None:
    """Look over the captions of LIB's scenes and faces: the emotion each came to, and what is wrong with it."""
    from authentic_dubber.caption_audit import audit, footage_of, told, write_audit
    from retrieval.library import Library

    opened = Library.open(library, version, verify=False)
    found = audit(opened, only_flagged=flagged, most=most)
    if out is not None:
        write_audit(out, found, footage_of(opened))
    typer.echo(json.dumps(found.facts(), ensure_ascii=False, indent=2) if as_json else "\n".join(told(found)))
