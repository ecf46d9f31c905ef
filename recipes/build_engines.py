"""Does it matter who builds? One library from one process, from two, and from a Ray cluster of two with one killed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from authentic_dubber.librarian import BuildJob, BuildOptions, build_library
from library_builder.ray_engine import RayOptions
from retrieval.versions import read_manifest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--footage", type=Path, help="videos; by default the film that `dub demo` draws")
    parser.add_argument("--shard-clips", type=int, default=4, help="most clips in a shard (default: %(default)s)")
    parser.add_argument("--decoders", type=int, default=0, help="actors that only decode (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        footage = (options.footage,) if options.footage else draw(scratch / "film")
        found = dict(built(footage, scratch, options))
    digests = {facts["content"] for facts in found.values() if facts["content"] is not None}
    if options.json:
        print(json.dumps(found | {"equal": len(digests) == 1}, indent=2))
    else:
        for how, facts in found.items():
            told = facts["content"] or f"not measured: {facts['why']}"
            print(f"{how:36s} {told}" + (f"  {facts['clips']} clips, {facts['seconds']} s" if facts["content"] else ""))
        print("equal" if len(digests) == 1 else "DIFFERENT")
    return 0 if len(digests) == 1 else 1


def draw(folder: Path) -> tuple[Path, ...]:
    """The episodes of the demo's film."""
    from authentic_dubber.espeak import Espeak
    from authentic_dubber.theatre.demo import make_demo

    with Espeak() as espeak:
        return make_demo(folder, seed=0, espeak=espeak).footage


def built(
    footage: tuple[Path, ...], scratch: Path, options: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each way of building, with what came of it."""
    ways: dict[str, dict[str, Any]] = {"1 process": {}, "2 processes": {"workers": 2}}
    for number, (how, given) in enumerate(ways.items()):
        library = scratch / str(number)
        yield how, build(library, footage, BuildOptions(shard_clips=options.shard_clips, **given))
    killed = Killer("spawn_main")
    library = scratch / "killed"
    facts = build(library, footage, BuildOptions(shard_clips=options.shard_clips, workers=2), killed)
    yield f"2 processes, {killed.count} killed", facts
    try:
        import ray  # noqa: F401
    except ImportError:
        yield "Ray", {"content": None, "why": "pip install 'authentic-dubber[ray]'"}
        return
    with cluster():
        killed = Killer("ray::_Reader.make")
        sizes = RayOptions(decoders=options.decoders, reader_cpus=0.5, decoder_cpus=0.5)
        given = BuildOptions(shard_clips=options.shard_clips, workers=2, engine="ray", ray=sizes)
        facts = build(scratch / "ray", footage, given, killed)
    yield f"Ray, 2 nodes, {killed.count} of 2 readers killed", facts


def build(
    library: Path,
    footage: tuple[Path, ...],
    options: BuildOptions,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """The digest of everything in a library that was built anew."""
    start = time.perf_counter()
    result = build_library(BuildJob(library, footage), progress=progress, options=options)
    content = read_manifest(library, result.version).facts.content
    return {"content": content, "clips": result.counts["ok"], "seconds": round(time.perf_counter() - start, 1)}


class Killer:
    """Progress that kills one process on the way: one of ours that is at a shard."""

    def __init__(self, name: str) -> None:
        self._name, self.count = name, 0

    def __call__(self, what: str, done: int, total: int) -> None:
        if self.count or not 0 < done < total:
            return
        for pid in descendants(os.getpid()):
            if self._name in words(pid):
                os.kill(pid, signal.SIGKILL)
                self.count = 1
                return


def descendants(pid: int) -> Iterator[int]:
    """Processes that a process has started, and those that they have."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield int(child)
            yield from descendants(int(child))


def words(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@contextmanager
def cluster() -> Iterator[None]:
    """Two nodes of two cores on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 2 * 10**8})
    nodes.add_node(num_cpus=2, object_store_memory=2 * 10**8)
    ray.init(address=nodes.address, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
        nodes.shutdown()


if __name__ == "__main__":
    sys.exit(main())
