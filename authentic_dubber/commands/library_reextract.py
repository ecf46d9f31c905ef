"""`dub library reextract` and `compare`: one modality read again, and two versions compared before one is published."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authentic_dubber.exits import PARTIAL

from .library_build import (
    AsJson,
    Device,
    LibraryFolder,
    ModelBatch,
    ModelDir,
    NamedModels,
    Precision,
    PrecisionChoice,
    Workers,
    opened,
    placed,
    read_by,
)
from .library_versions import Onto
from .progress import Bar

if TYPE_CHECKING:
    from authentic_dubber.reextraction import Reextracted
    from library_builder.types import Modality

ORDER: tuple[Modality, ...] = ("scene", "face", "text", "audio")
"""Words are read with the captions of pictures, so they come after."""

Modalities = Annotated[str, typer.Option(metavar="M,...", help="scene, face, text or audio; several are read in turn.")]
Extractor = Annotated[str, typer.Option(metavar="NAME", help="What reads: light, paper or, for audio, light-v2.")]
Publish = Annotated[bool, typer.Option("--publish", help="Make the new version current at once.")]
KeepFailed = Annotated[
    bool, typer.Option("--keep-failed", help="Let clips whose footage cannot be read keep vectors of the same space.")
]
Versions = Annotated[str, typer.Argument(metavar="VERSION", help="Such as v0002-77d01c5e; see `list`.")]


def reextract(
    library: LibraryFolder,
    *,
    modality: Modalities,
    extractor: Extractor = "light",
    publish: Publish = False,
    onto: Onto = None,
    keep_failed: KeepFailed = False,
    workers: Workers = 1,
    model_dir: ModelDir = None,
    model: NamedModels = None,
    device: Device = "auto",
    precision: Precision = PrecisionChoice.auto,
    model_batch: ModelBatch = 4,
    as_json: AsJson = False,
) -> None:
    """Read one modality of LIB's footage again: a version whose other vectors and captions are as they were.

    It waits for `publish`; look at it with `compare` first. Stopped in any way and run again, it goes on where it was.
    Exits with 3 when clips kept their old reading.
    """
    from authentic_dubber.extraction import told_absent
    from authentic_dubber.reextraction import AgainOptions, FootageLost
    from authentic_dubber.reextraction import reextract as read
    from retrieval.versions import current_version

    asked = parse_modalities(modality)
    places = placed(model_dir, model)
    current_version(library)
    done: list[Reextracted] = []
    absent: list[str] = []
    for one in asked:
        using = read_by(f"light,{one}={extractor}", places, device, precision, model_batch)
        options = AgainOptions(keep_failed, workers, config=using.config(), load=using.load)
        readers = opened(using, here=workers == 1) or using.load()
        absent += told_absent(readers, lips=False)
        try:
            with Bar("clip") as bar:
                last = publish and one == asked[-1]
                done.append(read(library, one, readers, onto=onto, publish=last, progress=bar, options=options))
        except FootageLost as error:
            for id, reason in error.failed.items():
                typer.echo(f"failed: clip {id}: {reason}", err=True)
            raise
        onto = done[-1].version
    typer.echo(_told(library, done, absent, as_json))
    raise typer.Exit(PARTIAL if any(one.kept for one in done) else 0)


def parse_modalities(text: str) -> list[Modality]:
    """`face,text` as modalities, those of pictures before the words that are read with their captions.

    Raises:
        ValueError: one is unknown, or comes twice.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ORDER or names.count(name) > 1:
            raise ValueError(f"expected modalities of {', '.join(ORDER)}, each once, got {text!r}")
    return [name for name in ORDER if name in names]


def _told(library: Path, done: list[Reextracted], absent: list[str], as_json: bool) -> str:
    again = {one.modality for one in done}
    notes = {one.modality: () if "text" in again else one.notes for one in done}
    if as_json:
        facts = [{**asdict(one), "notes": list(notes[one.modality])} for one in done]
        return json.dumps({"version": done[-1].version, "steps": facts, "notes": absent}, ensure_ascii=False, indent=2)
    lines = []
    for one in done:
        if one.version == one.parent:
            lines.append(f"{library}: {one.modality}: nothing changed, {one.version} has these very vectors")
            continue
        lines.append(
            f"{library}: version {one.version}: {one.modality} of {one.clips} clips by another reading "
            f"({one.read} read now), {one.captions} captions changed; the rest as in {one.parent}"
        )
        lines += [f"  kept: clip {id}: {reason}" for id, reason in one.kept.items()]
        lines += [f"  note: {note}" for note in notes[one.modality]]
    return "\n".join(lines)


def compare(
    library: LibraryFolder,
    first: Versions,
    second: Versions,
    *,
    sample: Annotated[int, typer.Option(min=1, help="Most clips that ask; drawn when there are more.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the sample and the shuffled labels.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table as a page, FILE.html.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two versions of LIB before one is published: per modality, what changed and what finds what.

    Overlap of the nearest three, different clips ever found, and how often hits carry their query's label.
    """
    from authentic_dubber.comparison_table import facts, text, write_page
    from retrieval.comparison import compare as measure
    from retrieval.library import Library

    found = measure(Library.open(library, first), Library.open(library, second), sample=sample, seed=seed)
    if out is not None:
        write_page(out, found)
    typer.echo(json.dumps(facts(found), ensure_ascii=False, indent=2) if as_json else text(found))
