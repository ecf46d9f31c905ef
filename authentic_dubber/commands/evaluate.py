"""`dub evaluate` and `dub compare`: judge a checkpoint on a set, and two runs against each other."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authentic_dubber.exits import OK, PARTIAL

from .library_build import NamedModels, placed
from .progress import Bar
from .say import Device, ModelDir, OtherVocoder, loaded

if TYPE_CHECKING:
    from authentic_dubber.evaluation.evaluate import Evaluated


class References(str, Enum):
    """Which clips stand as references."""

    nearest = "nearest"
    random = "random"
    shuffled_audio = "shuffled-audio"


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Corpus = Annotated[
    Path | None, typer.Option(metavar="CACHE", help="Prepared corpus that readers of voice and emotion learn from.")
]
Models = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Published listeners: dnsmos/, nisqa/ and whisper/ below it.")
]
Measures = Annotated[
    str, typer.Option(help="Comma-separated: words,speaker,emotion,timing,spectral,pitch,naturalness; or all.")
]
Conditions = Annotated[
    str, typer.Option(help="Comma-separated: takes,recordings,griffin-lim,vocoder,wrong-text,wrong-speaker.")
]
Oracle = Annotated[bool, typer.Option("--oracle-length", help="Research only: every line as long as its recording.")]
Which = Annotated[References, typer.Option(help="nearest, random clips, or the nearest with the sound of others.")]


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run; an interrupted one is gone on with.")],
    *,
    cases: Annotated[Path, typer.Option("--set", metavar="SET", help="The evaluation set.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder; the starter by default.")] = None,
    vocoder: OtherVocoder = None,
    model_dir: ModelDir = None,
    model: NamedModels = None,
    k: Annotated[int, typer.Option("-k", help="References per modality; 0 speaks without any.")] = 3,
    references: Which = References.nearest,
    strength: Annotated[float, typer.Option(help="Of the acting: 0 neutral, 1 as felt.")] = 1.0,
    oracle_length: Oracle = False,
    corpus: Corpus = None,
    models: Models = None,
    measures: Measures = "",
    conditions: Conditions = "",
    limit: Annotated[int | None, typer.Option(help="Only the first so many cases.")] = None,
    seed: Annotated[int, typer.Option(help="Kept with every take; chooses random references.")] = 0,
    device: Annotated[Device, typer.Option(help="Where the model runs.")] = Device.auto,
    as_json: Json = False,
) -> None:
    """Speak SET with a checkpoint and measure the takes beside the recordings.

    RUN gets the takes, scores.json, scores.html and clips.csv. A clip that cannot be measured is counted as missing,
    a measure that cannot run says what it lacks. Exits with 3 when some cases have no take.
    """
    from authentic_dubber.checkpoint import check_parts
    from authentic_dubber.evaluation.manner import Manner, check_names
    from authentic_dubber.evaluation.sets import EvaluationSet
    from authentic_dubber.training.cache import Cache

    places = placed(model_dir, model)
    check_names(named(measures), named(conditions), limit)
    manner = Manner(k, references.value, strength, seed, oracle_length)
    opened = EvaluationSet.open(cases)
    learned = None if corpus is None else Cache(corpus)
    if models is not None and not models.is_dir():
        raise FileNotFoundError(f"{models}: expected a folder of published listeners, there is none")
    check_parts(checkpoint, vocoder=vocoder, models=places)
    dubber = loaded(checkpoint, device, vocoder, places)
    from authentic_dubber.evaluation.evaluate import evaluate as judge

    with Bar() as bar:
        found = judge(
            run, opened, dubber, manner,
            corpus=learned, models=models, measures=named(measures), conditions=named(conditions),
            limit=limit, progress=bar,
        )  # fmt: skip
    typer.echo(_as_json(found, run) if as_json else describe(found))
    raise typer.Exit(PARTIAL if found.missing else OK)


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a run.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another run of the same set.")],
    *,
    as_json: Json = False,
) -> None:
    """Compare the takes of two runs clip by clip: B minus A, with 95 % intervals over the clips both have."""
    from dataclasses import asdict

    from authentic_dubber.evaluation.compare import compare as pair
    from authentic_dubber.evaluation.compare import describe as tell

    found = pair(a, b)
    typer.echo(json.dumps(asdict(found), ensure_ascii=False, indent=1) if as_json else tell(found, str(a), str(b)))


def named(given: str) -> list[str]:
    """`"words, pitch"` as names; `all` and nothing name none."""
    names = [name.strip() for name in given.split(",") if name.strip()]
    return [] if names == ["all"] else names


def describe(found: Evaluated) -> str:
    """An evaluation's figures, a line of text per measure and condition."""
    from authentic_dubber.evaluation.table import text_table

    lines = [text_table(found.table), *(f"note: {warning}" for warning in found.facts["warnings"])]
    lines += [f"no take: {id}: {reason}" for id, reason in found.run.failed.items()]
    lines.append(f"report: {found.page}")
    if found.facts["notice"]:
        lines.append(str(found.facts["notice"]))
    return "\n".join(lines)


def _as_json(found: Evaluated, run: Path) -> str:
    from authentic_dubber.evaluation.table import TABLE

    values = json.loads((run / TABLE).read_text(encoding="utf-8"))
    return json.dumps({**values, "report": str(found.page)}, ensure_ascii=False, indent=1)
