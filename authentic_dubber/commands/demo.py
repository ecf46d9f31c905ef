"""`dub demo`: the whole way on a drawn film, in about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .progress import Bar
from .say import CommercialOnly


def demo(
    out: Annotated[Path, typer.Option(help="Folder for film, library and dubbed scene.")] = Path("out"),
    seed: Annotated[int, typer.Option(help="Chooses cast, sets and acting.")] = 0,
    commercial_only: CommercialOnly = False,
) -> None:
    """Draw a small film, build a library from it, and dub a silent scene of the same characters."""
    from authentic_dubber import demo as story

    from .say import describe, exit_code

    with Bar() as bar:
        result = story.run(out, seed, commercial_only=commercial_only, tell=bar.write, progress=bar)
    typer.echo(describe(result.job, result.notice))
    raise typer.Exit(exit_code(result.job))
