"""`dub library build`: its options, some of which other commands that read footage share, and what it prints."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authentic_dubber.exits import PARTIAL

from .progress import Bar

if TYPE_CHECKING:
    from authentic_dubber.extraction import Extraction
    from authentic_dubber.librarian import BuildResult
    from library_builder.pretrained.places import ModelPlaces
    from library_builder.ray_engine import RayOptions
    from library_builder.readers import Readers
    from retrieval.choice import Budget


class EngineChoice(str, Enum):
    """Who makes the shards of a build."""

    local = "local"
    ray = "ray"


class PrecisionChoice(str, Enum):
    """How exactly large models compute."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


LibraryFolder = Annotated[Path, typer.Argument(metavar="LIB", help="The library's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Footage = Annotated[
    list[Path], typer.Option(help="A video, or a folder that is walked for videos. Repeat it for more.")
]
CueSheets = Annotated[
    list[Path] | None, typer.Option(help="A cue sheet that does not lie beside its video. Repeat it for more.")
]
Film = Annotated[str | None, typer.Option(help="The film that all the footage belongs to.")]
Licence = Annotated[str | None, typer.Option(help="Licence of the footage, kept in every clip.")]
Speaker = Annotated[str, typer.Option(help="Who speaks where a cue sheet names nobody.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes, or actors on a cluster, that read footage.")]
Engine = Annotated[EngineChoice, typer.Option(help="Processes of this machine, or a Ray cluster.")]
Part = Annotated[
    str | None, typer.Option(metavar="I/N", help="Make every N-th shard from the I-th on and leave LIB as it is.")
]
Finish = Annotated[bool, typer.Option("--finish", help="Make nothing: hand over the shards that jobs made.")]
ShardClips = Annotated[int, typer.Option(min=1, help="Most clips in a shard: what a killed worker may lose.")]
Cache = Annotated[bool, typer.Option(help="Do not read the same bytes twice, whatever they are called.")]
Rehash = Annotated[
    bool, typer.Option("--rehash", help="Compare the checksum of all footage, not only size and time of change.")
]
Retries = Annotated[int, typer.Option(min=0, help="How often a shard is tried again when its worker died.")]
RayAddress = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of the Ray cluster.")]
Decoders = Annotated[int, typer.Option(min=0, help="With Ray: actors that only decode, beside the workers.")]
Recall = Annotated[
    float, typer.Option(help="Share of the true nearest three that an index finds; it is measured while it is made.")
]
Memory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Of a segment's indices together, such as 512MiB or 8GiB.")
]
Extractors = Annotated[
    str,
    typer.Option(metavar="NAME,...", help="What reads: light, paper, or by modality, as in paper,audio=light-v2."),
]
ModelDir = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Models of paper extractors: video_llm/, roberta/, comet/, emotion2vec/, lips/."),
]
NamedModels = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME=DIR|HUB-ID[@REVISION]",
        help="A model from elsewhere, a folder or the hub's cache, by the name of its sub-folder. Repeatable.",
    ),
]
Device = Annotated[str, typer.Option(help="Where models compute: auto, cpu, cuda, or a card such as cuda:1.")]
Precision = Annotated[PrecisionChoice, typer.Option(help="Of large models; auto is bf16 on a GPU.")]
ModelBatch = Annotated[int, typer.Option(min=1, help="Clips that are captioned at once; halved where memory is short.")]
WorkerGpus = Annotated[float, typer.Option(min=0, help="With Ray: GPUs, or a share of one, per worker.")]


def build(
    library: LibraryFolder,
    *,
    footage: Footage,
    cues: CueSheets = None,
    film: Film = None,
    licence: Licence = None,
    speaker: Speaker = "",
    extractors: Extractors = "light",
    model_dir: ModelDir = None,
    model: NamedModels = None,
    device: Device = "auto",
    precision: Precision = PrecisionChoice.auto,
    model_batch: ModelBatch = 4,
    workers: Workers = 1,
    engine: Engine = EngineChoice.local,
    shard: Part = None,
    finish: Finish = False,
    shard_clips: ShardClips = 64,
    cache: Cache = True,
    rehash: Rehash = False,
    retries: Retries = 2,
    ray_address: RayAddress = None,
    decoders: Decoders = 0,
    worker_gpus: WorkerGpus = 0.0,
    recall: Recall = 0.95,
    memory: Memory = None,
    as_json: AsJson = False,
) -> None:
    """Read footage into a new version of LIB. Cue sheets of the same name beside the videos are found by themselves.

    Stopped and run again, it goes on where it was; on the same footage, it reads only what changed or failed. Exits
    with 3 when some footage failed; the rest is in the library.
    """
    from authentic_dubber.librarian import BuildJob, BuildOptions, build_library

    job = BuildJob(library, tuple(footage), tuple(cues or ()), film, licence, speaker)
    using = read_by(extractors, placed(model_dir, model), device, precision, model_batch)
    asked: dict[str, Any] = {"workers": workers, "shard_clips": shard_clips, "finish": finish, "cache": cache}
    asked |= {"engine": engine.value, "part": _part(shard), "ray": _ray(ray_address, decoders, worker_gpus)}
    options = BuildOptions(**asked, rehash=rehash, retries=retries, config=using.config(), load=using.load)
    readers = opened(using, here=workers == 1 and engine is EngineChoice.local)
    with Bar("clip") as bar:
        result = build_library(job, readers, progress=bar, options=options, budget=_budget(recall, memory))
    typer.echo(json.dumps(result.facts(), ensure_ascii=False, indent=2) if as_json else _told(library, shard, result))
    raise typer.Exit(0 if result.complete else PARTIAL)


def _ray(address: str | None, decoders: int, gpus: float) -> RayOptions:
    from library_builder.ray_engine import RayOptions

    return RayOptions(address=address, decoders=decoders, reader_gpus=gpus)


def _budget(recall: float, memory: str | None) -> Budget:
    from authentic_dubber.sizes import parse_size
    from retrieval.choice import Budget

    return Budget(recall, None if memory is None else parse_size(memory))


def placed(model_dir: Path | None, model: list[str] | None) -> ModelPlaces | None:
    """Where `--model-dir` and `--model` say that models lie; None where neither is given.

    Raises:
        ModelError: a `--model` is not of its form, of an unknown name, or comes twice.
    """
    from library_builder.pretrained.places import ModelPlaces

    return ModelPlaces.of(model_dir, model or ())


def read_by(names: str, models: ModelPlaces | None, device: str, precision: PrecisionChoice, batch: int) -> Extraction:
    """What options that commands share say of extractors."""
    from authentic_dubber.extraction import Extraction

    return Extraction(names, models, device, precision.value, batch)


def opened(extraction: Extraction, *, here: bool, lips: bool = False) -> Readers | None:
    """The readers that were asked for, the licences of their models and what optional ones are missing told; None for
    the light ones, which a build loads when it has found its footage.

    Args:
        here: footage is read in this very process, so weights are loaded now; workers load their own.
        lips: mouths are read too.
    """
    from authentic_dubber.extraction import told

    if extraction.light:
        return None
    readers = extraction.open()
    for line in told(readers, lips=lips):
        typer.echo(line, err=True)
    if here:
        readers.ready()
    return readers


def _part(shard: str | None) -> tuple[int, int] | None:
    if shard is None:
        return None
    first, _, last = shard.partition("/")
    if not (first.isdecimal() and last.isdecimal()):
        raise ValueError(f"expected --shard I/N such as 1/4, got {shard!r}")
    return int(first), int(last)


def _told(library: Path, shard: str | None, result: BuildResult) -> str:
    what = f"version {result.version}" if result.version else f"part {shard}, {result.shards} shards"
    counted = ", ".join(f"{number} {name}" for name, number in result.counts.items() if number or name == "ok")
    return "\n".join([f"{library}: {what}: {counted}; {result.read} read anew", *(f"  {t}" for t in result.troubles)])
