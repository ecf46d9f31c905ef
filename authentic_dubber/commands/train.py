"""`dub prepare`, `pack`, `unpack`, `train`, `train-vocoder` and `package`: from recordings to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .library_build import Device as ModelDevice
from .library_build import (
    Extractors,
    ModelBatch,
    ModelDir,
    NamedModels,
    Precision,
    PrecisionChoice,
    opened,
    placed,
    read_by,
)

Minutes = Annotated[float | None, typer.Option(help="Save and stop after so many minutes; run again to go on.")]
Seed = Annotated[int, typer.Option(help="Of weights, batches and dropout.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
StartFrom = Annotated[
    Path | None, typer.Option(help="An acoustic folder to begin from; what has grown since begins fresh.")
]
DirectorSteps = Annotated[
    int | None, typer.Option(help="Updates of the director alone, before the voice; 1500 where it is heard.")
]
WordsOnly = Annotated[
    bool, typer.Option("--words-only", help="The first phase: no pictures, no references, feelings told.")
]
Warmup = Annotated[int | None, typer.Option(help="Updates until that peak; the size's own by default.", min=0)]
Rehearsed = Annotated[int | None, typer.Option(help="Further lines of every step, judged by ears; 0 for none.")]
Augmented = Annotated[
    float | None, typer.Option(help="Share of lines drawn slower, faster or with a noisy prompt.", min=0, max=1)
]


def prepare(
    data: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder that holds the corpora.")],
    cache: Annotated[Path, typer.Argument(help="Folder for the prepared corpus.")],
    corpora: Annotated[str, typer.Option(help="Comma-separated corpus names.")] = "kathleen,ravdess,nemo,grid,sayings",
    extractors: Extractors = "light",
    model_dir: ModelDir = None,
    model: NamedModels = None,
    device: ModelDevice = "auto",
    precision: Precision = PrecisionChoice.auto,
    model_batch: ModelBatch = 4,
    aligner_steps: Annotated[int, typer.Option(min=1, help="Updates of the aligner of symbols and sound.")] = 800,
    seed: Seed = 0,
) -> None:
    """Decode, align and illustrate corpora; interrupted, it goes on where it was.

    What reads pictures, words and sound is kept with the corpus, and `dub train` makes a model for its vectors.
    """
    from authentic_dubber.training.corpora import SAYINGS, read_corpora

    names, places = tuple(corpora.split(",")), placed(model_dir, model)
    if not (cache / "index.json").is_file():
        read_corpora(data, tuple(name for name in names if name != SAYINGS))
    # Late: this brings torch.
    from authentic_dubber.training.prepare import PrepareConfig
    from authentic_dubber.training.prepare import prepare as run

    readers = opened(read_by(extractors, places, device, precision, model_batch), here=True, lips=True)
    config = PrepareConfig(corpora=names, aligner_steps=aligner_steps, seed=seed)
    made = run(data, cache, config, readers)
    typer.echo(f"{cache}: {len(made.entries)} utterances, {len(made.training_rows())} of them for training")


def check_corpus(cache: Path) -> None:
    """Before training is imported, which brings torch.

    Raises:
        FileNotFoundError, ValueError: the folder holds no prepared corpus.
    """
    from authentic_dubber.training.cache import Cache

    Cache(cache)


def pack(
    cache: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A prepared corpus.")],
    out: Annotated[Path, typer.Argument(help="Folder of the pack; an earlier pack there is replaced.")],
    kbps: Annotated[float, typer.Option(help="Of the sound, kilobits per second of Opus.")] = 20.0,
    held_out: Annotated[bool, typer.Option("--held-out", help="Add the recordings that no training may see.")] = False,
    limit_mb: Annotated[float, typer.Option(help="Say so when the pack is larger, in megabytes.")] = 60.0,
) -> None:
    """Make a prepared corpus small enough to move to another machine; `dub unpack` is the way back."""
    from authentic_dubber.training.pack import PackConfig
    from authentic_dubber.training.pack import pack as run

    made = run(cache, out, PackConfig(kbps, held_out))
    for part, megabytes in sorted(made.megabytes.items(), key=lambda pair: -pair[1]):
        typer.echo(f"{part:14}{megabytes:8.2f} MB")
    typer.echo(f"{'in all':14}{made.total:8.2f} MB")
    lost = f"; {made.lost_hits} hits among them became -1" if made.lost_hits else ""
    typer.echo(f"{out}: {made.recordings} recordings, {made.hours:.2f} h; {made.left_out} held out and left out{lost}")
    if made.total > limit_mb:
        typer.echo(
            f"dub: over the limit of {limit_mb:g} MB by {made.total - limit_mb:.2f}; try a lower --kbps", err=True
        )


def unpack(
    pack: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="What `dub pack` wrote.")],
    cache: Annotated[Path, typer.Argument(help="New folder for the prepared corpus; run again to go on.")],
) -> None:
    """Make a prepared corpus of a pack, ready for `dub train` and `dub train-vocoder`; every file is checked first."""
    from authentic_dubber.training.unpack import unpack as run

    made = run(pack, cache)
    typer.echo(f"{cache}: {len(made.entries)} utterances, {len(made.training_rows())} of them for training")


def train(
    cache: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A prepared corpus.")],
    run: Annotated[Path, typer.Argument(help="Folder of the training; resumed if it holds one.")],
    size: Annotated[str, typer.Option(help="starter, small, paper or tiny.")] = "starter",
    steps: Annotated[int | None, typer.Option(help="Updates in all; the size's own by default.")] = None,
    weights: Annotated[str, typer.Option(help="How often a corpus is drawn, as kathleen=0.4,ravdess=0.2,...")] = "",
    start_from: StartFrom = None,
    director_steps: DirectorSteps = None,
    references: Annotated[int | None, typer.Option(help="Largest K; 0 trains without retrieval.")] = None,
    words_only: WordsOnly = False,
    learning_rate: Annotated[float | None, typer.Option(help="Its peak; the size's own by default.")] = None,
    warmup: Warmup = None,
    batch: Annotated[int | None, typer.Option(help="Lines of an update, over all processes and parts.", min=1)] = None,
    width: Annotated[int | None, typer.Option(help="Of the model: every part as much narrower.", min=1)] = None,
    parts: Annotated[int, typer.Option(help="Compute each process's share of an update in so many parts.", min=1)] = 1,
    rehearsed: Rehearsed = None,
    augmented: Augmented = None,
    minutes: Minutes = None,
    seed: Seed = 0,
    device: Device = "auto",
    bf16: Annotated[bool, typer.Option(help="Compute in bfloat16 where that is safe.")] = True,
) -> None:
    """Train the acoustic model. On several GPUs: torchrun --nproc-per-node N -m authentic_dubber.launcher train ..."""
    check_corpus(cache)
    from authentic_dubber.training.start import AcousticRun, train_acoustic

    shares = {name: float(share) for name, _, share in (pair.partition("=") for pair in weights.split(",") if pair)}
    choice = AcousticRun(
        size=size,
        steps=steps,
        shares=shares or None,
        start_from=start_from,
        director_steps=director_steps,
        references=references,
        words_only=words_only,
        learning_rate=learning_rate,
        warmup=warmup,
        batch=batch,
        width=width,
        parts=parts,
        rehearsed=rehearsed,
        augmented=augmented,
        minutes=minutes,
        seed=seed,
        device=device,
        bf16=bf16,
    )
    reason = train_acoustic(cache, run, choice)
    typer.echo(f"{run}: {reason}")


def train_vocoder(
    cache: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A prepared corpus.")],
    run: Annotated[Path, typer.Argument(help="Folder of the training; resumed if it holds one.")],
    steps: Annotated[int, typer.Option(help="Updates in all.")] = 60_000,
    adversarial_from: Annotated[int, typer.Option(help="Update at which the critics join.")] = 55_000,
    start_from: Annotated[Path | None, typer.Option(help="A generator folder to begin from.")] = None,
    pitch_steps: Annotated[int, typer.Option(help="Updates of the pitch reader, before the vocoder.")] = 2000,
    minutes: Minutes = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train the starter vocoder: its pitch reader, then spectra, then critics."""
    check_corpus(cache)
    from authentic_dubber.training.start import VocoderRun
    from authentic_dubber.training.start import train_vocoder as fit

    choice = VocoderRun(steps, adversarial_from, pitch_steps, start_from, minutes, seed, device)
    outcome = fit(cache, run, choice)
    typer.echo(f"{outcome.generator}: step {outcome.step}, {outcome.reason}")


def package(
    acoustic: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a `dub train` run.")],
    vocoder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a `dub train-vocoder` run.")],
    cache: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The prepared corpus both were shown.")],
    out: Annotated[Path, typer.Argument(help="Folder of the checkpoint.")],
    name: Annotated[str, typer.Option(help="Name of the checkpoint.")] = "starter",
    expression: Annotated[float, typer.Option(help="How far feelings are carried beyond their prediction.")] = 1.0,
    conviction: Annotated[float, typer.Option(help="Factor on the director's logits; above 1 it doubts less.")] = 1.0,
    breath: Annotated[float, typer.Option(help="Share of the vocoder's noise that voiced sound keeps.")] = 1.0,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Let the voice speak, and set its ranges of F0 by what is heard.")
    ] = False,
) -> None:
    """Join an acoustic model and a vocoder into a checkpoint with its card, in half precision."""
    check_corpus(cache)
    from authentic_dubber.training.package import package_checkpoint

    card = package_checkpoint(
        acoustic,
        vocoder,
        cache,
        out,
        name,
        expression=expression,
        conviction=conviction,
        breath=breath,
        calibrate=calibrate,
    )
    typer.echo(f"{out}: {card.weights}; {card.notice}")
