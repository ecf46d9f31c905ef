"""`dub sweep`: a grid of settings answered over a set, and `dub sweep report`: what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from authentic_dubber.exits import OK, PARTIAL

from .progress import Bar

REPORT = "report"

What = Annotated[str, typer.Argument(metavar="STUDY|report", help="A study's file, or the word `report`.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=A,B,...]...|FOLDER", help="Settings and their values; for a report, its folder."),
]
Corpus = Annotated[Path | None, typer.Option(metavar="CACHE", help="Prepared corpus that models are taught on.")]
Cases = Annotated[Path | None, typer.Option("--set", metavar="SET", help="The evaluation set that is answered.")]
Out = Annotated[Path | None, typer.Option(help="Folder of sweeps; trainings in it are shared.")]
Baseline = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="report: compare with this variant instead.")
]


def sweep(
    what: What,
    words: Words = None,
    *,
    corpus: Corpus = None,
    cases: Cases = None,
    out: Out = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Whose voice; the starter by default.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes at once.")] = 1,
    baseline: Baseline = None,
) -> None:
    """Answer every cell of STUDY over SET; killed or interrupted and run again, it goes on.

    A study is a file such as those in recipes/studies; KEY=A,B on the command line replaces or adds an axis, KEY=A
    fixes it. OUT/NAME gets a folder per cell with its settings, answers, hits and attention, and a report. `dub sweep
    report OUT/NAME` makes report.csv, report.png and report.html again from what is done.
    """
    given = list(words or ())
    if what == REPORT:
        if len(given) != 1:
            raise typer.BadParameter(f"report: expected the folder of one study, got {len(given)}")
        typer.echo(_report(Path(given[0]), baseline or ()))
        raise typer.Exit(OK)
    raise typer.Exit(_sweep(Path(what), given, corpus, cases, out, checkpoint, jobs))


def _sweep(
    file: Path,
    words: list[str],
    corpus: Path | None,
    cases: Path | None,
    out: Path | None,
    checkpoint: Path | None,
    jobs: int,
) -> int:
    from authentic_dubber.checkpoint import check_parts
    from authentic_dubber.evaluation.sets import EvaluationSet
    from authentic_dubber.sweeps.settings import Study
    from authentic_dubber.training.cache import Cache

    if corpus is None or cases is None or out is None:
        raise typer.BadParameter("expected --corpus, --set and --out, got no " + _absent(corpus, cases, out))
    study = Study.read(file).varied(words)
    Cache(corpus)
    EvaluationSet.open(cases)
    check_parts(checkpoint)
    # Late: these bring torch.
    from authentic_dubber.sweeps.models import Workshop
    from authentic_dubber.sweeps.running import Bench, sweep

    bench = Bench(Workshop(corpus, checkpoint, out), cases, study.name)
    with Bar(unit="cell") as bar:
        done = sweep(study, bench, jobs=jobs, progress=bar)
    typer.echo(f"{bench.folder}: {done.cells} cells, {done.kept} of them there before, {done.taught} models taught")
    for name, why in done.failed.items():
        typer.echo(f"failed: {name}: {why}")
    typer.echo(_report(bench.folder, ()))
    return PARTIAL if done.failed else OK


def _absent(corpus: Path | None, cases: Path | None, out: Path | None) -> str:
    given = {"--corpus": corpus, "--set": cases, "--out": out}
    return ", ".join(name for name, value in given.items() if value is None)


def _report(folder: Path, baseline: list[str] | tuple[str, ...]) -> str:
    from authentic_dubber.sweeps.drawing import write_png
    from authentic_dubber.sweeps.page import as_text, write_page
    from authentic_dubber.sweeps.reading import read_study, write_csv

    found = read_study(folder, tuple(baseline))
    write_csv(found, folder)
    write_png(found, folder)
    return f"{as_text(found)}\nreport: {write_page(found, folder)}"
