"""`dub`: joins the commands. Each parses, calls one function and prints; heavy imports wait inside the bodies."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Annotated

import typer

from .commands import adapt, demo, doctor, evaluate, library, models, say, sweep, train
from .exits import HELP, DubGroup

app = typer.Typer(
    cls=DubGroup,
    help=f"Dub animation: footage becomes a library that knows what it feels, lines are spoken with it.\n\n{HELP}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(library.app, name="library")
app.add_typer(models.app, name="models")
app.command()(say.say)
app.command()(train.prepare)
app.command()(train.pack)
app.command()(train.unpack)
app.command()(train.train)
app.command("train-vocoder")(train.train_vocoder)
app.command()(train.package)
app.command()(adapt.adapt)
app.command()(evaluate.evaluate)
app.command()(evaluate.compare)
app.command()(sweep.sweep)
app.command()(demo.demo)
app.command()(doctor.doctor)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"authentic-dubber {version('authentic-dubber')}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell what is being done, on stderr.")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Show the trace of refused input too.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options that come before the command."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s", force=verbose
    )
