"""`dub prepare`, `dub train`, `dub train-vocoder`, `dub package`: from recordings to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Minutes = Annotated[float | None, typer.Option(help="Save and stop after so many minutes; run again to go on.")]
Seed = Annotated[int, typer.Option(help="Of weights, batches and dropout.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def prepare(
    data: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder that holds the corpora.")],
    cache: Annotated[Path, typer.Argument(help="Folder for the prepared corpus.")],
    corpora: Annotated[str, typer.Option(help="Comma-separated corpus names.")] = "kathleen,ravdess,nemo,grid",
    seed: Seed = 0,
) -> None:
    """Decode, align and illustrate corpora; interrupted, it goes on where it was."""
    from authentic_dubber.training.prepare import PrepareConfig
    from authentic_dubber.training.prepare import prepare as run

    made = run(data, cache, PrepareConfig(corpora=tuple(corpora.split(",")), seed=seed))
    typer.echo(f"{cache}: {len(made.entries)} utterances, {len(made.training_rows())} of them for training")


def train(
    cache: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A prepared corpus.")],
    run: Annotated[Path, typer.Argument(help="Folder of the training; resumed if it holds one.")],
    size: Annotated[str, typer.Option(help="starter, paper or tiny.")] = "starter",
    steps: Annotated[int | None, typer.Option(help="Updates in all; the size's own by default.")] = None,
    weights: Annotated[str, typer.Option(help="How often a corpus is drawn, as kathleen=0.4,ravdess=0.2,...")] = "",
    start_from: Annotated[Path | None, typer.Option(help="An acoustic folder to begin from.")] = None,
    minutes: Minutes = None,
    seed: Seed = 0,
    device: Device = "auto",
    bf16: Annotated[bool, typer.Option(help="Compute in bfloat16 where that is safe.")] = True,
) -> None:
    """Train the acoustic model."""
    from authentic_dubber.training.start import train_acoustic

    shares = {name: float(share) for name, _, share in (pair.partition("=") for pair in weights.split(",") if pair)}
    reason = train_acoustic(
        cache, run, size, steps=steps, shares=shares, start_from=start_from,
        minutes=minutes, seed=seed, device=device, bf16=bf16,
    )  # fmt: skip
    typer.echo(f"{run}: {reason}")


def train_vocoder(
    cache: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A prepared corpus.")],
    run: Annotated[Path, typer.Argument(help="Folder of the training; resumed if it holds one.")],
    steps: Annotated[int, typer.Option(help="Updates in all.")] = 60_000,
    adversarial_from: Annotated[int, typer.Option(help="Update at which the critics join.")] = 55_000,
    minutes: Minutes = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train the starter vocoder: spectra first, then critics."""
    from authentic_dubber.checkpoint import resolve_device
    from authentic_dubber.training.cache import Cache
    from authentic_dubber.training.waves import CorpusWaves
    from vocoder.train import VocoderTrainConfig
    from vocoder.train import train as fit

    config = VocoderTrainConfig(steps=steps, adversarial_from=adversarial_from, seed=seed)
    outcome = fit(CorpusWaves(Cache(cache)), run, config, device=resolve_device(device), max_minutes=minutes)
    typer.echo(f"{outcome.generator}: step {outcome.step}, {outcome.reason}")


def package(
    acoustic: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a `dub train` run.")],
    vocoder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a `dub train-vocoder` run.")],
    cache: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The prepared corpus both were shown.")],
    out: Annotated[Path, typer.Argument(help="Folder of the checkpoint.")],
    name: Annotated[str, typer.Option(help="Name of the checkpoint.")] = "starter",
) -> None:
    """Join an acoustic model and a vocoder into a checkpoint with its card, in half precision."""
    from authentic_dubber.training.package import package_checkpoint

    card = package_checkpoint(acoustic, vocoder, cache, out, name)
    typer.echo(f"{out}: {card.weights}; {card.notice}")
