"""`dub say`: dub a film by its script."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authentic_dubber.exits import OK, PARTIAL

from .library_build import NamedModels, placed
from .progress import Bar

if TYPE_CHECKING:
    from authentic_dubber.dubber import Dubber
    from authentic_dubber.session import JobResult
    from library_builder.pretrained.places import ModelPlaces


class Language(str, Enum):
    """Languages that the text front end speaks."""

    en = "en"
    pl = "pl"


class Device(str, Enum):
    """Where the model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Script = Annotated[
    Path,
    typer.Option(
        help="Cue sheet of the lines: srt, vtt, ass, csv or tsv. Columns emotion, emotion_from, strength, pin, ban and "
        "slot of the last two ask for acting as the options below do."
    ),
]
Prompts = Annotated[
    list[str], typer.Option(metavar="CHARACTER=FILE", help="A character's voice prompt. Repeat it for more.")
]
Emotions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[LINE=]NAME[:SHARE]",
        help="How a line is to feel, whatever picture and words show: 003=angry:0.7. With LINE it wins over the "
        "script's columns; without, it is for lines of which no feeling is asked. Repeat it for more.",
    ),
]
Recordings = Annotated[
    list[str] | None,
    typer.Option(metavar="[LINE=]FILE", help="Likewise, a recording that sounds as the line is to feel."),
]
Strengths = Annotated[
    list[str] | None,
    typer.Option(metavar="[LINE=]NUMBER", help="Likewise, how strongly: 0 neutral, 1 as felt, at most 2."),
]
Pins = Annotated[
    list[str] | None,
    typer.Option(metavar="LINE=CLIP", help="A clip of the library that is among a line's references."),
]
Bans = Annotated[
    list[str] | None,
    typer.Option(metavar="[LINE=]CLIP", help="A clip that is never among them; without LINE, of no line."),
]
Slots = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[LINE=]mouth|cue",
        help="What says when a line sounds: the mouth seen moving inside its cue, as usual, or the cue's own times. "
        "The cue also counts where no mouth moves, or too briefly for the words.",
    ),
]
CommercialOnly = Annotated[
    bool,
    typer.Option(
        "--commercial-only",
        help="Speak with a checkpoint whose recordings allow commercial use. Your library's clips have licences of "
        "their own.",
    ),
]
References = Annotated[Path | None, typer.Option(metavar="LIB", help="The reference library; needed unless -k 0.")]
Lexicon = Annotated[
    Path | None, typer.Option(help="Your pronunciations: lines of word<tab>/ipa/ or word<tab>say this.")
]
OtherVocoder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Speak through another vocoder of the same mels: an official HiFi-GAN or BigVGAN folder (config.json and "
        "weights), or one of `dub train-vocoder`.",
    ),
]
ModelDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Models of a checkpoint that was trained with paper extractors: the same folder as then."
    ),
]
Underlay = Annotated[
    str | None,
    typer.Option(metavar="keep|duck|none|FILE", help="What lies under the lines; a film with sound needs a choice."),
]

Seed = Annotated[
    int, typer.Option(help="Kept with every take. The starter draws nothing at random: takes are the same for all.")
]


def say(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The film to be dubbed.")],
    *,
    script: Script,
    voice: Prompts,
    out: Annotated[Path, typer.Option(help="Folder for takes, film and report. An earlier run in it is gone on with.")],
    library: References = None,
    bed: Underlay = None,
    rate: Annotated[int, typer.Option(help="Sample rate of takes and mix, in hertz.")] = 48_000,
    seed: Seed = 0,
    k: Annotated[int, typer.Option("-k", help="References per modality; 0 speaks without any.")] = 3,
    emotion: Emotions = None,
    emotion_from: Recordings = None,
    strength: Strengths = None,
    pin: Pins = None,
    ban: Bans = None,
    slot: Slots = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder; the starter by default.")] = None,
    vocoder: OtherVocoder = None,
    model_dir: ModelDir = None,
    model: NamedModels = None,
    commercial_only: CommercialOnly = False,
    lexicon: Lexicon = None,
    language: Annotated[Language, typer.Option(help="Language of the script.")] = Language.en,
    device: Annotated[Device, typer.Option(help="Where the model runs.")] = Device.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Dub VIDEO: speak every line of its script in the time of the lips, mix, and report.

    OUT gets a WAV per line, mix.wav, the dubbed film, takes.json and report.html. Exits with 3 when some lines were
    skipped or failed. An interrupted run goes on when the same command is given again.
    """
    from authentic_dubber.checkpoint import check_parts, choose_checkpoint
    from authentic_dubber.plan import DubJob, check_script
    from authentic_dubber.wishes import parse_wishes

    wishes = parse_wishes(emotion=emotion, emotion_from=emotion_from, strength=strength, pin=pin, ban=ban, slot=slot)
    job = DubJob(video, script, parse_voices(voice), library, out, bed, rate, seed, k, language.value, wishes)
    folder = choose_checkpoint(checkpoint, commercial_only=commercial_only, vocoder=vocoder)
    check_parts(folder, lexicon, vocoder, places := placed(model_dir, model))
    check_script(job)
    dubber = loaded(folder, device, vocoder, places, lexicon)
    from authentic_dubber.session import run

    with Bar() as bar:
        result = run(job, dubber, bar)
    typer.echo(_as_json(result) if as_json else describe(result, dubber.notice))
    raise typer.Exit(exit_code(result))


def loaded(
    folder: Path | None, device: Device, vocoder: Path | None, models: ModelPlaces | None, lexicon: Path | None = None
) -> Dubber:
    """The dubber that options ask for: torch comes with it, so it is asked for when all else was checked."""
    from authentic_dubber.dubber import Dubber

    return Dubber.load(folder, device=device.value, lexicon=lexicon, vocoder=vocoder, models=models)


def parse_voices(given: list[str]) -> dict[str, Path]:
    """`["Ada=ada.wav"]` as characters and their prompts.

    Raises:
        ValueError: not of this form, or a character twice.
        FileNotFoundError: a prompt is missing.
    """
    voices: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        name = name.strip()
        if not equals or not name or not path:
            raise ValueError(f"expected --voice CHARACTER=prompt.wav, got {text!r}")
        if name.casefold() in (known.casefold() for known in voices):
            raise ValueError(f"expected one voice for each character, got two for {name}")
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: expected the voice prompt of {name}, there is no such file")
        voices[name] = Path(path)
    return voices


def exit_code(result: JobResult) -> int:
    """Done, or done in part; every line that was not spoken says why."""
    return OK if result.complete else PARTIAL


def describe(result: JobResult, notice: str) -> str:
    """A job's outcome, a line of text per line of the script."""
    rows = []
    for record in result.lines:
        state = "kept" if record.id in result.kept else record.status
        what = record.file if record.status == "ok" else record.reason
        rows.append(f"{record.id}  {state:7s}  {record.character}: {what}")
        if record.verdict:
            rows.append(f"     {record.verdict}")
    rows += [f"note: {note}" for note in result.notes]
    if result.video is not None:
        rows.append(f"film:   {result.video}")
    rows.append(f"report: {result.report}")
    if notice:
        rows.append(notice)
    return "\n".join(rows)


def _as_json(result: JobResult) -> str:
    values = {
        "out": str(result.out),
        "video": None if result.video is None else str(result.video),
        "report": str(result.report),
        "complete": result.complete,
        "kept": list(result.kept),
        "notes": list(result.notes),
        "seconds": result.seconds,
        "lines": [asdict(record) for record in result.lines],
    }
    return json.dumps(values, ensure_ascii=False, indent=2)
