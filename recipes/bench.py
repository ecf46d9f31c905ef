"""How fast is it, stage by stage, on one thread and on two?

    python recipes/bench.py --footage FILMS --json

Library building (clips per second), retrieval (milliseconds per line, in 10 000 random clips and in the library just
built), acoustic model and vocoder (seconds of compute per second of sound, one 2.5 s line at a time). Every thread
count runs in a process of its own, with OpenMP told not to spin: spinning threads on a shared machine make two threads
twenty times slower than one. Without footage the demo film is drawn. Cells are minimum / median.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from authentic_dubber.dubber import Dubber, Prepared
    from library_builder.readers import Readers
    from library_builder.types import Clip, Emotion, Modality
    from retrieval import Library

TEXT = "He turned sharply, and faced the others across the table."
"""About what 2.5 s hold at an ordinary pace."""
LINE_SECONDS = 2.5
SHOTS_TRIED = 8
UNTRAINED = ("tiny", "starter", "paper")


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall times of runs of one thing, in seconds.

    Attributes:
        sound: seconds of sound one run made; None where it makes none.
    """

    minimum: float
    median: float
    runs: int
    sound: float | None = None

    @property
    def rtf(self) -> tuple[float, float] | None:
        """Real-time factor, seconds of compute over seconds of sound: of the minimum and of the median."""
        return None if self.sound is None else (self.minimum / self.sound, self.median / self.sound)


@dataclass(frozen=True, slots=True)
class Bench:
    """What one thread count measured.

    Attributes:
        clips, footage_seconds: how many were built, and how long they are together.
        build: of the whole library, from files to a committed version.
        built, random: one query of three modalities, top k each, records read.
        graph_share: of the acoustic model's time, graph encoder and its three aggregations; the median run's.
        sizes: of the line: symbols, video frames, mel frames, references per modality, clips in the random library.
    """

    threads: int
    clips: int
    footage_seconds: float
    build: Timing
    built: Timing
    random: Timing
    mel: Timing
    vocoder: Timing
    graph_share: float
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def clips_per_second(self) -> float:
        """At the best run."""
        return self.clips / self.build.minimum


def timing(seconds: Sequence[float], sound: float | None = None) -> Timing:
    """Minimum and median of some runs.

    Raises:
        ValueError: no runs, or sound of no length.
    """
    if not seconds:
        raise ValueError("expected at least one run, got none")
    if sound is not None and sound <= 0:
        raise ValueError(f"expected sound of positive length, got {sound} s")
    return Timing(min(seconds), statistics.median(seconds), len(seconds), sound)


def times(work: Callable[[int], object], runs: int, warm_up: int = 1) -> list[float]:
    """Wall times of `work(run)`; the first calls, which fill caches, are not counted."""
    found = []
    for run in range(-warm_up, runs):
        begun = time.perf_counter()
        work(max(run, 0))
        if run >= 0:
            found.append(time.perf_counter() - begun)
    return found


class Stopwatch:
    """Adds up the time spent inside some modules during a call."""

    def __init__(self, modules: Sequence[Any]) -> None:
        self.total = 0.0
        self._begun = 0.0
        for module in modules:
            module.register_forward_pre_hook(self._start)
            module.register_forward_hook(self._stop)

    def _start(self, *_: Any) -> None:
        self._begun = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        self.total += time.perf_counter() - self._begun


def random_clips(count: int, spaces: Mapping[Any, str], seed: int) -> Iterator[Clip]:
    """Clips with unit vectors drawn at random in the given spaces."""
    import numpy as np

    from library_builder.types import Clip, Emotion, space_width

    rng = np.random.default_rng(seed)
    vectors = {modality: rng.standard_normal((count, space_width(space))) for modality, space in spaces.items()}
    for row in range(count):
        emotions = {m: Emotion(spaces[m], v[row] / np.linalg.norm(v[row])) for m, v in vectors.items()}
        yield Clip(f"{row:06d}", "made.mkv", row, row + 1, f"speaker {row % 7}", f"line {row}", emotions=emotions)


def measure(options: argparse.Namespace) -> Bench:
    """Everything, with the threads this process was started with."""
    import torch

    from authentic_dubber.dubber import Dubber
    from authentic_dubber.librarian import BuildJob, build_library
    from library_builder.readers import build_readers
    from retrieval import Library

    torch.set_num_threads(options.worker)
    readers = build_readers("light")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        roots = [scratch / f"library-{run}" for run in range(options.builds)]
        warm_up_readers(readers, options.footage)
        build = times(lambda run: build_library(BuildJob(roots[run], (options.footage,)), readers), options.builds, 0)
        built, random = Library.open(roots[0]), Library.open(options.random, verify=False)
        clips = list(built.clips())
        drawn = [random.clip(f"{row:06d}") for row in range(0, len(random), max(1, len(random) // 50))]
        dubber = Dubber.load(options.checkpoint, device="cpu")
        prepared = prepare_line(dubber, built, scratch, options)
        mel, vocoder, share, frames = time_line(dubber, prepared, options.runs)
        found = Bench(
            threads=options.worker,
            clips=len(clips),
            footage_seconds=sum(clip.duration for clip in clips),
            build=timing(build),
            built=timing(time_queries(built, clips, options)),
            random=timing(time_queries(random, drawn, options)),
            mel=mel,
            vocoder=vocoder,
            graph_share=share,
            sizes={
                "symbols": len(prepared.symbols.ids),
                "video frames": len(prepared.look.lips),
                "mel frames": frames,
                "references": max((len(hits) for hits in prepared.hits.values()), default=0),
                "random clips": len(random),
            },
        )
        del built, random  # closes the files before their folder goes
    return found


def warm_up_readers(readers: Readers, footage: Path) -> None:
    """Have every reader load what it loads late, so that the build is timed and not the disk."""
    from authentic_dubber.librarian import find_videos
    from library_builder.build import read_clip

    read_clip(find_videos((footage,))[0], 0.0, 1.0, TEXT, readers)


def time_queries(library: Library, clips: Sequence[Clip], options: argparse.Namespace) -> list[float]:
    """Each clip asks for clips like it, itself left out."""

    def ask(run: int) -> object:
        clip = clips[run % len(clips)]
        query: dict[Modality, Emotion] = {
            modality: emotion for modality, emotion in clip.emotions.items() if modality != "audio"
        }
        return library.top_k(query, options.k, policy=library.leave_out(clip))

    return times(ask, 5 * options.runs)


def prepare_line(dubber: Dubber, library: Library, folder: Path, options: argparse.Namespace) -> Prepared:
    """A line of 2.5 s over a shot of the built library with its sound as the voice: of the shots nearest that length,
    the first whose mouth is seen to move, so that lips are read too; else the nearest.

    Raises:
        ValueError: no shot has sound.
    """
    from authentic_dubber.types import Line, Slot
    from library_builder.media import read_wave
    from library_builder.mux import write_wave
    from retrieval import Library

    sounding = [clip for clip in library.clips() if "audio" in clip.emotions]
    if not sounding:
        raise ValueError(f"{options.footage}: expected footage with sound, for a voice, found none")
    root, random = Path(library.info()["source"]["footage"]), Library.open(options.random, verify=False)
    rate, found = dubber.mel_config.sample_rate, []
    for shot in sorted(sounding, key=lambda clip: abs(clip.duration - LINE_SECONDS))[:SHOTS_TRIED]:
        picture = root / shot.media
        write_wave(folder / "prompt.wav", read_wave(picture, sample_rate=rate, start=shot.start, end=shot.end), rate)
        line = Line("bench", shot.speaker or "someone", TEXT, shot.start, shot.end, picture)
        voice = dubber.voice(line.character, folder / "prompt.wav")
        slot = Slot(shot.start, shot.start + LINE_SECONDS, "oracle")
        found.append(dubber.prepare(line, voice, library=random, k=options.k, slot=slot))
        if len(found[-1].look.lips):
            return found[-1]
    return found[0]


def time_line(dubber: Dubber, prepared: Prepared, runs: int) -> tuple[Timing, Timing, float, int]:
    """Acoustic model and vocoder on one line; the graph's share of the former; and the mel frames made."""
    graph = Stopwatch([dubber.model.graph, *dubber.model.aggregators])
    mel, vocoder, shares = [], [], []
    take = dubber.speak([prepared])[0]  # the first call fills caches
    for _ in range(runs):
        graph.total = 0.0
        take = dubber.speak([prepared])[0]
        mel.append(take.seconds["mel"])
        vocoder.append(take.seconds["vocoder"])
        shares.append(graph.total / take.seconds["mel"])
    sound = len(take.wave) / take.sample_rate
    return timing(mel, sound), timing(vocoder, sound), statistics.median(shares), take.mel.shape[1]


def in_process(threads: int, options: argparse.Namespace, checkpoint: Path | None, random: Path) -> Bench:
    """`measure` in a process of its own, which reads its thread settings before anything heavy is loaded.

    Raises:
        subprocess.CalledProcessError: it failed; what went wrong is on its standard error.
    """
    command = [sys.executable, str(Path(__file__).absolute()), "--worker", str(threads), "--random", str(random)]
    for name in ("footage", "runs", "builds", "k"):
        command += [f"--{name}", str(getattr(options, name))]
    if checkpoint is not None:
        command += ["--checkpoint", str(checkpoint)]
    settings = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True)
    return parse(json.loads(done.stdout.splitlines()[-1]))


def parse(values: Mapping[str, Any]) -> Bench:
    """The bench whose `asdict` this is."""
    timings = {name: Timing(**values[name]) for name in ("build", "built", "random", "mel", "vocoder")}
    return Bench(**{**values, **timings})


def untrained_checkpoint(folder: Path, size: str) -> Path:
    """A checkpoint of random weights: as fast as a trained one, and as good as noise."""
    import torch

    from authentic_dubber.config import build_config
    from authentic_dubber.synthesizer import Synthesizer
    from authentic_dubber.training.loop import export
    from authentic_dubber.training.prepare import vocabulary
    from library_builder.readers import build_readers
    from vocoder.checkpoint import save_generator
    from vocoder.generator import IstftConfig, IstftGenerator

    config = build_config(size, vocabulary(build_readers("light")))
    torch.manual_seed(0)
    folder.mkdir()
    export(Synthesizer(config), folder / "acoustic", 0)
    small = IstftConfig.tiny() if size == "tiny" else IstftConfig()
    save_generator(folder / "vocoder", IstftGenerator(small, config.mel))
    card = {"name": f"untrained {size}", "licences": ["CC0-1.0"], "notice": "random weights"}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def table(benches: Sequence[Bench]) -> str:
    """One column per thread count."""

    def ms(t: Timing) -> str:
        return f"{1e3 * t.minimum:.2f} / {1e3 * t.median:.2f}"

    def rtf(t: Timing) -> str:
        return "-" if t.rtf is None else f"{t.rtf[0]:.4f} / {t.rtf[1]:.4f}"

    rows: dict[str, Callable[[Bench], str]] = {
        "library, clips/s at best": lambda b: f"{b.clips_per_second:.2f}",
        "library, s": lambda b: f"{b.build.minimum:.2f} / {b.build.median:.2f}",
        "retrieval, built, ms": lambda b: ms(b.built),
        "retrieval, random, ms": lambda b: ms(b.random),
        "acoustic, ms": lambda b: ms(b.mel),
        "acoustic, RTF": lambda b: rtf(b.mel),
        "of which graph": lambda b: f"{b.graph_share:.1%}",
        "vocoder, ms": lambda b: ms(b.vocoder),
        "vocoder, RTF": lambda b: rtf(b.vocoder),
    }
    head = [f"{'min / median':26}" + "".join(f"{f'{b.threads} thread(s)':>22}" for b in benches)]
    body = [f"{name:26}" + "".join(f"{show(b):>22}" for b in benches) for name, show in rows.items()]
    first = benches[0]
    sizes = ", ".join(f"{number} {name}" for name, number in first.sizes.items())
    return "\n".join([*head, *body, f"{first.clips} clips of {first.footage_seconds:.1f} s in all; line: {sizes}"])


def run(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Prepare what the processes share, run them one after another, and print."""
    from authentic_dubber.librarian import find_videos
    from library_builder.readers import build_readers
    from retrieval import commit

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # Windows keeps none
    if options.footage is None:
        from authentic_dubber.espeak import Espeak
        from authentic_dubber.theatre.demo import make_demo

        print("drawing the demo film", file=sys.stderr)
        with Espeak() as espeak:
            make_demo(scratch / "film", seed=0, espeak=espeak, lines=options.lines)
        options.footage = scratch / "film" / "footage"
    find_videos((options.footage,))  # refuses footage that is not there before anything is timed
    checkpoint = options.checkpoint
    if options.untrained is not None:
        checkpoint = untrained_checkpoint(scratch / "untrained", options.untrained)
    commit(scratch / "random", random_clips(options.clips, build_readers("light").spaces(), seed=0))
    benches = []
    for threads in options.threads:
        print(f"measuring with {threads} thread(s)", file=sys.stderr)
        benches.append(in_process(threads, options, checkpoint, scratch / "random"))
    if not options.json:
        print(table(benches))
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": load}
    if load is not None and load > 0.5:
        print(f"others kept {load:.1f} cores busy at the start: trust the minima at most", file=sys.stderr)
    return {"machine": machine, "benches": [asdict(bench) | ratios(bench) for bench in benches]}


def ratios(bench: Bench) -> dict[str, Any]:
    """What follows from the times, for readers of the JSON."""
    return {"clips_per_second": bench.clips_per_second, "mel_rtf": bench.mel.rtf, "vocoder_rtf": bench.vocoder.rtf}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--footage", type=Path, help="a video or a folder of videos; the demo film by default")
    parser.add_argument("--lines", type=int, default=4, help="of the demo film, per episode")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", type=Path, help="folder with card.json; the packaged starter by default")
    weights.add_argument("--untrained", choices=UNTRAINED, help="random weights of a named size: speed only")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--builds", type=int, default=2, help="how often the library is built")
    parser.add_argument("--clips", type=int, default=10_000, help="in the random library")
    parser.add_argument("-k", "--k", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--random", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.runs, options.builds, options.clips, options.k, options.lines, *options.threads) < 1:
        parser.error("expected runs, builds, clips, k, lines and threads of at least 1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        if options.worker is not None:
            print(json.dumps(asdict(measure(options))))
            return
        with tempfile.TemporaryDirectory() as scratch:
            values = run(options, Path(scratch))
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    if options.json:
        print(json.dumps(values, indent=2))


if __name__ == "__main__":
    main()
