"""`dub adapt`: a checkpoint for a better extractor."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from library_builder.types import MODALITIES

if TYPE_CHECKING:
    from authentic_dubber.training.adapt import Adapted


class AnyModality(str, Enum):
    """What an extractor reads."""

    scene = "scene"
    face = "face"
    text = "text"
    audio = "audio"


def adapt(
    checkpoint: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The checkpoint of the old space.")],
    out: Annotated[Path, typer.Argument(help="New folder of the adapted checkpoint.")],
    *,
    space: Annotated[str, typer.Option(metavar="NEW", help="The new space, such as light-audio-v2/112.")],
    library: Annotated[Path, typer.Option(metavar="LIB", help="Library whose clips were read by both extractors.")],
    old: Annotated[str, typer.Option("--from", metavar="V1", help="Its version by the old extractor.")],
    new: Annotated[str, typer.Option("--to", metavar="V2", help="Its version by the new one.")],
    modality: Annotated[
        AnyModality | None, typer.Option(help="The one read again; by default the one whose space differs.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Updates through the frozen graph, at most.", min=0)] = 300,
    seed: Annotated[int, typer.Option(help="Of what is held out, and of the updates.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Retrain only the input projections of a checkpoint for a new space, so that a better extractor keeps every voice.

    The figures are of held-out pairs: the share of the old projections' variance that the new ones explain.
    """
    from authentic_dubber.training.adapt import AdaptJob, adapt_checkpoint

    chosen = next((m for m in MODALITIES if modality is not None and m == modality.value), None)
    made = adapt_checkpoint(AdaptJob(checkpoint, out, library, old, new, space, chosen, steps, seed))
    typer.echo(
        json.dumps(asdict(made), indent=2) if as_json else f"{describe(made)}\n{out}: ready for {made.new_space}"
    )


def describe(made: Adapted) -> str:
    """The outcome in lines for a terminal."""
    lines = [
        f"{made.modality}: {made.old_space} to {made.new_space} by {made.pairs} clips, {made.held_out} held out",
        f"{'layer':22}{'explained':>11}{'regression':>12}{'penalty':>10}",
        *(
            f"{name:22}{share:11.2%}{made.regression[name]:12.2%}{made.penalty[name]:10.0e}"
            for name, share in made.explained.items()
        ),
        f"nodes, director and listener apart: {made.nodes:.4f} of their variance, "
        f"{made.nodes_regression:.4f} by regression alone; {made.steps} updates kept",
    ]
    return "\n".join(lines)
