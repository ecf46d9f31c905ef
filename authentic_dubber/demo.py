"""The demo: a drawn film becomes a library, and a silent scene of the same characters is dubbed with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .checkpoint import choose_checkpoint
from .dubber import Dubber
from .espeak import Espeak
from .librarian import BuildJob, BuildResult, build_library
from .session import DubJob, JobResult, Progress
from .session import run as run_session
from .theatre.demo import make_demo


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made.

    Attributes:
        seconds: wall time per stage.
    """

    out: Path
    library: BuildResult
    job: JobResult
    notice: str
    seconds: dict[str, float]


def run(
    out: Path,
    seed: int = 0,
    *,
    commercial_only: bool = False,
    tell: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> DemoResult:
    """Draw the film, build its library, dub the silent scene, and report.

    Args:
        out: folder for everything; made if need be.
        seed: chooses cast, sets and acting, and seeds the takes.
        commercial_only: speak with the checkpoint that may be used commercially.
        tell: called after each stage with a line of what was made, where, and in which time.

    Raises:
        FileNotFoundError, ImportError: a part of the engine is missing, see `dub doctor`.
    """
    say = tell or (lambda line: None)
    seconds: dict[str, float] = {}
    last = time.perf_counter()

    def done(stage: str, what: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[stage] = round(now - last, 2)
        say(f"{stage:8s} {seconds[stage]:6.1f} s  {what}")
        last = now

    dubber = Dubber.load(choose_checkpoint(commercial_only=commercial_only))
    done("load", f"checkpoint {dubber.checkpoint}")
    out.mkdir(parents=True, exist_ok=True)
    with Espeak() as espeak:
        film = make_demo(out / "film", seed=seed, espeak=espeak)
    done("film", f"{out / 'film'}: {len(film.footage)} episodes and a silent scene")
    build = BuildJob(out / "library", film.footage, licence=film.licence)
    library = build_library(build, progress=progress)
    done("library", f"{build.library}: {library.counts['ok']} clips, version {library.version}")
    job = DubJob(film.scene, film.script, dict(film.prompts), build.library, out, seed=seed)
    result = run_session(job, dubber, progress)
    done("dub", f"{result.video}: {len(result.spoken)} of {len(result.lines)} lines")
    say(f"report            {result.report}")
    return DemoResult(out, library, result, dubber.notice, seconds)
