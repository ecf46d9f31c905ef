"""`dub models`: published weights that the engine can work with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from authentic_dubber.exits import FAILED, OK, DubGroup

app = typer.Typer(cls=DubGroup, help="Published weights: which are known, here, and whole.", no_args_is_help=True)

ModelDir = Annotated[
    Path | None,
    typer.Option("--model-dir", metavar="DIR", help="Folder of models; DUB_MODELS names another default."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("list")
def list_models(model_dir: ModelDir = None, as_json: AsJson = False) -> None:
    """Show every model that is known: source, licence, what it is for, and how it stands on this machine."""
    from authentic_dubber.models import KNOWN, model_folder, standing

    folder = model_folder(model_dir)
    found = [standing(model, folder) for model in KNOWN]
    if as_json:
        rows = [
            {**asdict(one.model), "folder": str(one.folder), "usable": one.usable, "cure": one.cure} for one in found
        ]
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    typer.echo(f"models in {folder}")
    for one in found:
        state = "usable" if one.usable else "-" if one.missing_files else "lacks packages"
        typer.echo(f"{one.model.name:12s} {state:15s} {one.model.use}")
        typer.echo(f"{'':12s} {'':15s} {one.model.source}; licence: {one.model.licence}")
        if one.cure:
            typer.echo(f"{'':12s} {'':15s} {one.cure}")


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models by name, place or hub name.")],
    *,
    model_dir: ModelDir = None,
    revision: Annotated[str | None, typer.Option(help="A commit, tag or branch of the hub.")] = None,
) -> None:
    """Download models of the hub into their places, and record the checksum of every file."""
    from authentic_dubber.model_seals import fetch as download
    from authentic_dubber.models import known, model_folder

    wanted = [known(name) for name in names]
    for model in wanted:
        typer.echo(f"{model.name}: {model.source}; licence: {model.licence}")
        place = download(model, model_folder(model_dir), revision=revision)
        typer.echo(f"{model.name}: in {place}")


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="All that are here by default.")
    ] = None,
    *,
    model_dir: ModelDir = None,
    seal: Annotated[
        bool, typer.Option("--seal", help="Record the checksums of models put in place by hand, if they are sound.")
    ] = False,
) -> None:
    """Compare every byte of the models that are here with their seals. Exits with 1 when one is not whole."""
    from authentic_dubber.model_seals import verify as look_over
    from authentic_dubber.model_seals import write_seal
    from authentic_dubber.models import KNOWN, known, model_folder

    folder = model_folder(model_dir)
    chosen = [known(name) for name in names or ()] or [one for one in KNOWN if (folder / one.place).is_dir()]
    if not chosen:
        typer.echo(f"{folder}: no model is here")
    broken = False
    for model in chosen:
        verdict = look_over(model, folder / model.place)
        broken |= bool(verdict.troubles)
        for trouble in verdict.troubles:
            typer.echo(f"{model.name}: {trouble}")
        if verdict.troubles:
            continue
        sealed = "as sealed" if verdict.sealed else "no seal to compare with; --seal records one"
        if seal and not verdict.sealed:
            write_seal(model, verdict.folder)
            sealed = "sealed now"
        typer.echo(f"{model.name}: {verdict.files} files, whole, {sealed}")
    raise typer.Exit(FAILED if broken else OK)
