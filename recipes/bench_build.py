"""How fast is a library built, by one worker and by two, in how much memory, and what does it cost to build it again?

Footage is repeated under new names until there are enough clips; readings are not kept, so every clip is read. Each
build runs in a process of its own. The share of the machine that others used meanwhile is printed beside every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from library_builder.cues import find_cues, read_cues


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--footage", type=Path, help="videos with sheets; by default the film that `dub demo` draws")
    parser.add_argument("--clips", type=int, default=300, help="clips for the rate (default: %(default)s)")
    parser.add_argument(
        "--memory", default="300,3000", help="clips of the two builds compared, '' for none (default: %(default)s)"
    )
    parser.add_argument("--workers", default="1,2", help="numbers of workers compared (default: %(default)s)")
    parser.add_argument("--scratch", type=Path, help="where to build, such as a fast disk; a temporary folder if none")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print("RESULT" + json.dumps(build(**json.loads(options.child))))
        return 0
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        found = measure(options, Path(name))
    print(json.dumps(found, indent=2) if options.json else told(found))
    return 0


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Rates by number of workers, memory at two sizes, and what building again costs."""
    footage = options.footage or draw(scratch / "film")
    few = repeated(footage, scratch / "few", options.clips)
    found: dict[str, Any] = {"rate": {}, "memory": {}, "cores": len(os.sched_getaffinity(0))}
    for workers in (int(word) for word in options.workers.split(",")):
        found["rate"][workers] = child(few, scratch / f"rate-{workers}", workers)
    rates = {workers: facts["clips_per_second"] for workers, facts in found["rate"].items()}
    first = min(rates)
    found["efficiency"] = {n: rate / (rates[first] * n / first) for n, rate in rates.items() if n != first}
    if not options.memory:
        return found
    for clips in (int(word) for word in options.memory.split(",")):
        many = repeated(footage, scratch / f"memory-{clips}", clips)
        library = scratch / f"library-{clips}"
        found["memory"][clips] = {"build": child(many, library, 1), "again": child(many, library, 1)}
    found["again"] = again(found["memory"])
    return found


def again(memory: dict[int, Any]) -> dict[str, float]:
    """What a build without any change costs, measured and as a line through the two sizes at 10 000 clips."""
    (small, a), (large, b) = sorted(memory.items())
    # Starting Python and its libraries is most of both times; noise must not make clips cost less than nothing.
    each = max(0.0, b["again"]["seconds"] - a["again"]["seconds"]) / max(1, large - small)
    at_10000 = b["again"]["seconds"] + each * (10_000 - large)
    rate = b["build"]["clips_per_second"]
    return {
        "share": b["again"]["seconds"] / b["build"]["seconds"],
        "seconds_per_1000_clips": 1000 * each,
        "seconds_at_10000": at_10000,
        "share_at_10000": at_10000 / (10_000 / rate),
    }


def draw(folder: Path) -> Path:
    """The episodes of the demo's film."""
    from authentic_dubber.espeak import Espeak
    from authentic_dubber.theatre.demo import make_demo

    with Espeak() as espeak:
        return make_demo(folder, seed=0, espeak=espeak).footage[0].parent


def repeated(footage: Path, folder: Path, clips: int) -> Path:
    """Links to footage and its sheets under new names, until there are enough clips.

    Raises:
        ValueError: no video has a sheet.
    """
    from authentic_dubber.librarian import find_videos

    pairs = [(video, sheet) for video in find_videos((footage,)) if (sheet := find_cues(video)) is not None]
    if not pairs:
        raise ValueError(f"expected videos with cue sheets in {footage}, found none")
    folder.mkdir()
    counts = {sheet: len(read_cues(sheet).cues) for _, sheet in pairs}
    for number, (video, sheet) in enumerate(islice(cycle(pairs), clips)):
        (folder / f"{number:06d}{video.suffix}").symlink_to(video)
        (folder / f"{number:06d}{sheet.suffix}").symlink_to(sheet.absolute())
        clips -= counts[sheet]
        if clips <= 0:
            break
    return folder


def child(footage: Path, library: Path, workers: int) -> dict[str, Any]:
    """A build in a process of its own."""
    asked = {"footage": str(footage), "library": str(library), "workers": workers}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(asked)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"a build failed: {done.stderr}")
    facts: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT")[2])
    return facts | {"seconds": time.perf_counter() - start}


def build(footage: str, library: str, workers: int) -> dict[str, Any]:
    """Build, and say how fast clips came once the first was there, what others used of the machine, and memory."""
    from authentic_dubber.librarian import BuildJob, BuildOptions, build_library

    moments: list[tuple[float, int]] = []
    cpu, busy, start = own(), machine(), time.perf_counter()
    result = build_library(
        BuildJob(Path(library), (Path(footage),)),
        progress=lambda what, done, total: moments.append((time.perf_counter(), done)),
        options=BuildOptions(workers=workers, cache=False),
    )
    seconds, used = time.perf_counter() - start, own() - cpu
    first, last = (moments[0], moments[-1]) if moments else ((0.0, 0), (0.0, 0))
    cores = os.cpu_count() or 1
    alone = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    each = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if workers > 1 else 0
    return {
        "clips": result.counts["ok"],
        "read": result.read,
        "clips_per_second": (last[1] - first[1]) / (last[0] - first[0]) if last[0] > first[0] else None,
        "clips_per_cpu_second": result.read / used if result.read else None,
        "foreign_load": max(0.0, (machine() - busy - used) / (seconds * cores)),
        "peak_mb": (alone + workers * each) / 1024,
    }


def own() -> float:
    """Seconds of processor time of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def machine() -> float:
    """Seconds that all cores together were busy since the machine started."""
    user, nice, system, _, _, irq, soft, steal, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def told(found: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [f"{found['cores']} cores; foreign load is the share of all cores that others used"]
    for workers, facts in found["rate"].items():
        lines.append(
            f"{workers} worker(s): {facts['clips_per_second']:.2f} clips/s, {facts['clips_per_cpu_second']:.2f} per "
            f"second of processor time with starting, foreign load {facts['foreign_load']:.0%}"
        )
    lines += [f"efficiency of {workers}: {share:.2f}" for workers, share in found["efficiency"].items()]
    for clips, facts in found["memory"].items():
        first, second = facts["build"], facts["again"]
        lines.append(
            f"{clips} clips: peak {first['peak_mb']:.0f} MB, built in {first['seconds']:.0f} s (foreign load "
            f"{first['foreign_load']:.0%}), again without a change in {second['seconds']:.1f} s"
        )
    if not found["memory"]:
        return "\n".join(lines)
    share = found["again"]
    lines.append(
        f"a build without a change: {share['share']:.2%} of the build's time, {share['seconds_per_1000_clips']:.2f} s "
        f"per 1000 clips; at 10 000 clips {share['share_at_10000']:.2%}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
