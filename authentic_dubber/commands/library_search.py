"""`dub library search`: ask a library by a clip, by words, by a picture or by a sound, and hear why it answers so."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .library_build import ModelDir, NamedModels, placed

if TYPE_CHECKING:
    from authentic_dubber.enquiry import Enquiry
    from library_builder.pretrained.places import ModelPlaces
    from library_builder.readers import Readers
    from library_builder.types import Modality
    from retrieval.library import Library, Policy, Retrieved


class ScopeChoice(str, Enum):
    """Whose clips a search may find."""

    any = "any"
    same = "same"
    other = "other"


class DeviceChoice(str, Enum):
    """What searches."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Clip = Annotated[str | None, typer.Option(metavar="ID", help="Find what feels like this clip of the library.")]
Words = Annotated[
    str | None, typer.Option(metavar="WORDS", help="Find what feels like a line, or like words for a feeling.")
]
Picture = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Find what looks like this picture or video: scene and face.")
]
Sound = Annotated[Path | None, typer.Option(metavar="FILE", help="Find what sounds like this recording.")]
Many = Annotated[int, typer.Option("-k", help="How many per modality.")]
Whose = Annotated[ScopeChoice, typer.Option(help="Whose clips: anyone's, the same speaker's, others'.")]
Speaker = Annotated[str | None, typer.Option(help="The speaker that --scope is about; a clip's own by default.")]
Film = Annotated[str | None, typer.Option(help="Only clips of this film.")]
Licences = Annotated[
    list[str] | None, typer.Option(help="Only clips of this licence; '' for none named. Repeat it for more.")
]
Without = Annotated[list[str] | None, typer.Option(metavar="ID", help="Leave this clip out. Repeatable.")]
Pins = Annotated[list[str] | None, typer.Option(metavar="ID", help="Put this clip first. Repeatable.")]
Minimum = Annotated[float | None, typer.Option(help="Drop hits that score lower.")]
Weights = Annotated[
    str | None, typer.Option(metavar="M=W,...", help="Rank by a weighted mean of cosines: scene=1,face=.5.")
]
Distinct = Annotated[bool, typer.Option("--distinct", help="Name a clip once, for the modality in which it is best.")]
Device = Annotated[DeviceChoice, typer.Option(help="What searches; auto takes a GPU where FAISS sees one.")]
Version = Annotated[str | None, typer.Option(help="Ask this version; the current one by default.")]
Dump = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the hits with their scores to a .json or .csv file.")
]
Reads = Annotated[str | None, typer.Option("--extractors", metavar="NAME,...", help="What reads words and pictures.")]
Explain = Annotated[
    bool, typer.Option("--explain", help="Tell scores in every modality, captions, label, and why it ranks so.")
]


def search(
    library: Annotated[Path, typer.Argument(metavar="LIB", help="The library's folder.")],
    *,
    clip: Clip = None,
    text: Words = None,
    picture: Picture = None,
    sound: Sound = None,
    k: Many = 3,
    scope: Whose = ScopeChoice.any,
    speaker: Speaker = None,
    film: Film = None,
    licence: Licences = None,
    without: Without = None,
    pin: Pins = None,
    minimum: Minimum = None,
    weights: Weights = None,
    distinct: Distinct = False,
    device: Device = DeviceChoice.auto,
    version: Version = None,
    extractors: Reads = None,
    model_dir: ModelDir = None,
    model: NamedModels = None,
    dump: Dump = None,
    explain: Explain = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Find the clips that feel nearest, for every modality that asks."""
    from authentic_dubber.enquiry import answer, check_question, enquire, rows
    from authentic_dubber.enquiry import dump as write
    from retrieval.library import Library, Policy

    places = placed(model_dir, model)
    check_question(clip=clip, words=text, picture=picture, sound=sound, k=k, out=dump)
    weighed = parse_weights(weights) if weights is not None else None
    opened = Library.open(library, version, verify=False, device=device.value)
    whose = speaker or (None if clip is None else opened.clip(clip).speaker)
    policy = Policy(
        scope=scope.value, speaker=None if scope is ScopeChoice.any else whose,
        film_scope="same" if film is not None else "any", film=film, licences=licence,
        without=without or (), pinned=pin or (), minimum=minimum, weights=weighed, distinct=distinct,
    )  # fmt: skip
    readers = _readers(opened, extractors, places) if clip is None else None
    enquiry = enquire(opened, readers, clip=clip, words=text, picture=picture, sound=sound)
    told = rows(found := answer(opened, enquiry, k, policy), enquiry, policy)
    if dump is not None:
        write(dump, told, found.notes)
    _print(found, told, enquiry, policy, explain=explain, as_json=as_json)


def _readers(opened: Library, extractors: str | None, models: ModelPlaces | None) -> Readers:
    """Those asked for, or such as read the library."""
    from authentic_dubber.extraction import Extraction
    from authentic_dubber.reading import readers_like

    if extractors is not None:
        return Extraction(extractors, models).load()
    return readers_like({str(m): space for m, space in opened.spaces.items()}, models)


def parse_weights(text: str) -> dict[Modality, float]:
    """`scene=1,face=.5` as weights.

    Raises:
        ValueError: not of this form; what modalities there are, the policy knows.
    """
    weights: dict[Any, float] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        try:
            weights[name] = float(value) if equals else float("nan")
        except ValueError as error:
            raise ValueError(f"expected weights such as scene=1,face=.5, got {text!r}") from error
        if not equals:
            raise ValueError(f"expected weights such as scene=1,face=.5, got {text!r}")
    return weights


def _print(
    found: Retrieved,
    told: list[dict[str, Any]],
    enquiry: Enquiry,
    policy: Policy,
    *,
    explain: bool,
    as_json: bool,
) -> None:
    from authentic_dubber.enquiry import reasons

    if as_json:
        by_modality = {m: [row for row in told if row["modality"] == m] for m in found.hits}
        typer.echo(json.dumps({**by_modality, "notes": [*enquiry.notes, *found.notes]}, ensure_ascii=False, indent=2))
        return
    if explain:
        for modality, caption in enquiry.captions.items():
            typer.echo(f"asked with {modality}: {caption}")
    for modality, hits in found.hits.items():
        typer.echo(f"{modality}:")
        for hit in hits:
            who = f"{hit.clip.speaker}: " if hit.clip.speaker else ""
            typer.echo(f"  {hit.rank}. {hit.score:+.4f}  {hit.clip.id}  {who}{hit.clip.text.strip() or '(no words)'}")
            if explain:
                typer.echo(f"       {reasons(hit, enquiry, policy)}")
                for of, caption in hit.clip.captions.items():
                    typer.echo(f"       {of}: {caption}")
                typer.echo(f"       label: {hit.clip.label or '(none)'}; licence: {hit.clip.licence or '(none)'}")
    for note in (*enquiry.notes, *found.notes):
        typer.echo(f"note: {note}")
