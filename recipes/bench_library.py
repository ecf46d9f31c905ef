"""Top-3 in three modalities as a library grows: our index beside exact NumPy, in the same run, on one thread.

    python recipes/bench_library.py --out runs/bench_library --json

Vectors and queries follow the law of `clustered_vectors.py`, since random ones have no neighbours. Every modality is
made, written to LMDB, indexed, asked and removed before the next, so a cell is the sum of three that were never
resident together. Records hold the one modality that is re-ranked (8 GB for 10^6 clips; all four would be 20); the 9
records of a query are read from whole ones. Cold means: files closed, their pages dropped, opened anew, one query.
Cells are minimum / median in milliseconds. It ends with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when FAISS and BLAS are loaded: time is that of one thread

import numpy as np
import numpy.typing as npt
from clustered_vectors import Law, write_clips
from tqdm import tqdm

from library_builder.types import MODALITIES, QUERY_MODALITIES, Modality
from retrieval.choice import Budget, Index, build_index, open_index, recall_of
from retrieval.recipe import Recipe
from retrieval.store import RecordStore

K, BATCH, ASKED = 3, 64, 256
WHOLE_RECORDS = 10_000
LARGE = 1_000_000
"""From here on an index has to be the faster road by far; the bars below apply."""
FASTER, FOUND, BYTES, BESIDE, READ_US = 30.0, 0.98, 1200.0, 1.1, 50.0


@dataclass(frozen=True, slots=True)
class Times:
    """Wall times of one thing in milliseconds."""

    minimum: float
    median: float

    def __add__(self, other: Times) -> Times:
        return Times(self.minimum + other.minimum, self.median + other.median)

    def __str__(self) -> str:
        return f"{self.minimum:.2f} / {self.median:.2f}"

    @classmethod
    def of(cls, found: Sequence[float]) -> Times:
        return cls(min(found), statistics.median(found))


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one modality, or of three added up.

    Attributes:
        numpy, ours: warm, one query and 64 at a time; re-rank reads are in ours.
        cold: one query after `opened` on dropped pages; `cold_mb` was read from disk for both.
        recall: share of NumPy's three that ours finds, over 256 queries that the index never saw.
        top: mean cosine of the nearest and of the third.
        bytes_per_vector: of the index file, mapped or not.
    """

    size: int
    numpy: tuple[Times, Times]
    ours: tuple[Times, Times]
    opened: Times
    cold: Times
    cold_mb: float
    recall: float
    top: tuple[float, float]
    bytes_per_vector: float
    build_seconds: float
    recipe: Recipe


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    begun = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begun)


def exact(vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """NumPy's three nearest, shape (B, 3), in no order: one product, one partition."""
    if len(queries) == 1:
        products = vectors @ queries[0]
        return np.argpartition(products, len(vectors) - K)[None, -K:]
    return np.argpartition(queries @ vectors.T, len(vectors) - K, axis=1)[:, -K:]


def drop_pages(*paths: Path) -> None:
    """Ask the system to forget what it holds of these files; no process may have them mapped."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_bytes() -> int:
    """Bytes this process has had read from disk; 0 where the system does not tell."""
    told = Path("/proc/self/io")
    return int(told.read_text().split("read_bytes:")[1].split()[0]) if told.exists() else 0


def opened(folder: Path, modality: Modality) -> Index:
    store = RecordStore.open(folder / "clips.lmdb")  # kept by the function below, and so by the index alone
    return open_index(folder / "one.faiss", lambda ids: store.vectors(ids, modality))


def measure_cold(folder: Path, modality: Modality, queries: npt.NDArray[np.float32]) -> tuple[Times, Times, float]:
    """Opening and one query, on dropped pages, several times."""
    opens, colds, read = [], [], []
    for query in queries:
        drop_pages(folder / "clips.lmdb", folder / "one.faiss")
        before, begun = read_bytes(), time.perf_counter()
        index = opened(folder, modality)
        opens.append(1e3 * (time.perf_counter() - begun))
        colds.append(timed(lambda index=index, query=query: index.search(query, K)))  # type: ignore[misc]
        read.append(read_bytes() - before)
        del index
    return Times.of(opens), Times.of(colds), statistics.median(read) / 1e6


def measure_warm(
    index: Index, vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], rounds: int
) -> tuple[tuple[Times, Times], tuple[Times, Times]]:
    """NumPy and ours taking turns, so that both meet the same machine: one query, and 64 at a time."""
    found: list[list[float]] = [[], [], [], []]
    batch = queries[:BATCH]
    for turn in range(-1, rounds):
        some = [queries[(3 * turn + i) % len(queries)] for i in range(3)]
        gone = [
            [timed(lambda q=q: exact(vectors, q[None])) for q in some],  # type: ignore[misc]
            [timed(lambda: exact(vectors, batch))] if turn % 3 == 0 or turn < 0 else [],
            [timed(lambda q=q: index.search(q, K)) for q in some],  # type: ignore[misc]
            [timed(lambda: index.search_many(batch, K)) for _ in range(2)],
        ]
        if turn >= 0:  # the first round fills caches
            found = [[*cell, *more] for cell, more in zip(found, gone, strict=True)]
    numpy_one, numpy_many, ours_one, ours_many = map(Times.of, found)
    return (numpy_one, numpy_many), (ours_one, ours_many)


def measure(size: int, modality: Modality, options: argparse.Namespace, folder: Path) -> Row:
    """One modality: made, written, indexed, asked."""
    seed = options.seed + 100 * MODALITIES.index(modality)
    law, name = Law(options.width, seed), f"{size:.0e} {modality}"
    vectors, queries = law.draw(size, seed + 1, name), law.draw(ASKED, seed + 2)
    write_clips(folder / "clips.lmdb", {modality: vectors}, name)
    begun = time.perf_counter()
    recipe = _build(size, modality, options.recall, seed, folder, name)
    build_seconds = time.perf_counter() - begun
    cold = measure_cold(folder, modality, queries[: options.cold])
    index = opened(folder, modality)
    numpy_times, our_times = measure_warm(index, vectors, queries, max(3, min(30, 3_000_000 // size)))
    truth, cosines = _truth(vectors, queries)
    found = np.stack([one.ids for one in index.search_many(queries, K)])
    return Row(
        size=size,
        numpy=numpy_times,
        ours=our_times,
        opened=cold[0],
        cold=cold[1],
        cold_mb=cold[2],
        recall=recall_of(found, truth),
        top=(float(cosines[:, 0].mean()), float(cosines[:, K - 1].mean())),
        bytes_per_vector=(folder / "one.faiss").stat().st_size / size,
        build_seconds=build_seconds,
        recipe=recipe,
    )


def _build(size: int, modality: Modality, recall: float, seed: int, folder: Path, name: str) -> Recipe:
    store = RecordStore.open(folder / "clips.lmdb")
    with tqdm(total=size, desc=f"{name} indexed", unit="vec") as bar:
        index, recipe = build_index(
            np.arange(size),
            lambda ids: store.vectors(ids, modality),
            budget=Budget(recall),
            seed=seed,
            progress=bar.update,
        )
    index.save(folder / "one.faiss")
    return recipe


def _truth(
    vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The three nearest in float64, and their cosines, among twelve that float32 finds."""
    rows, cosines = [], []
    for begin in range(0, len(queries), 32):
        some = queries[begin : begin + 32]
        near = np.argpartition(some @ vectors.T, max(0, len(vectors) - 12), axis=1)[:, -12:]
        for query, places in zip(some.astype(np.float64), near, strict=True):
            scores = vectors[places].astype(np.float64) @ query
            order = np.lexsort((places, -scores))[:K]
            rows.append(places[order])
            cosines.append(scores[order])
    return np.stack(rows), np.stack(cosines)


def measure_records(options: argparse.Namespace, count: int, folder: Path) -> dict[str, Times]:
    """Nine records of three modalities' hits, read warm from whole records: their vectors, and decoded as clips."""
    vectors = {m: Law(options.width, 7).draw(count, options.seed + i) for i, m in enumerate(MODALITIES)}
    write_clips(folder / "clips.lmdb", vectors, "whole")
    store, rng = RecordStore.open(folder / "clips.lmdb"), np.random.default_rng(options.seed)
    for row in range(len(store)):
        store.get_many([row])

    def read(rows: npt.NDArray[np.int64]) -> None:
        for modality, some in zip(QUERY_MODALITIES, rows, strict=True):
            store.vectors(some, modality)

    found: dict[str, list[float]] = {"vectors": [], "clips": []}
    for rows in rng.integers(len(store), size=(500, 3, 3)):
        found["vectors"].append(timed(lambda rows=rows: read(rows)))  # type: ignore[misc]
        found["clips"].append(timed(lambda rows=rows: store.get_many(rows.ravel().tolist())))  # type: ignore[misc]
    return {name: Times.of(some) for name, some in found.items()}


def added(rows: Sequence[Row]) -> dict[str, Any]:
    """Three modalities as one: times add up, shares are averaged."""

    def total(pick: Callable[[Row], Times]) -> Times:
        return sum((pick(row) for row in rows[1:]), pick(rows[0]))

    cells = {
        "numpy_1": total(lambda row: row.numpy[0]),
        "ours_1": total(lambda row: row.ours[0]),
        "numpy_64": total(lambda row: row.numpy[1]),
        "ours_64": total(lambda row: row.ours[1]),
        "cold_open": total(lambda row: row.opened),
        "cold_1": total(lambda row: row.cold),
    }
    return {
        "size": rows[0].size,
        "index": rows[0].recipe.factory,
        **cells,
        "cold_mb": sum(row.cold_mb for row in rows),
        "recall": statistics.mean(row.recall for row in rows),
        "bytes_per_vector": statistics.mean(row.bytes_per_vector for row in rows),
        "build_seconds": sum(row.build_seconds for row in rows),
    }


def missed(table: Sequence[dict[str, Any]], records: dict[str, Times]) -> list[str]:
    """The bars that were not met. Ratios near one are judged by minima, which foreign load touches least."""
    bars = [("us to read 9 records", 1e3 * records["vectors"].median, "<=", READ_US)]
    for row in table:
        if row["size"] >= LARGE:
            bars += [
                (
                    f"times as fast as NumPy at {row['size']}",
                    row["numpy_1"].median / row["ours_1"].median,
                    ">=",
                    FASTER,
                ),
                (f"recall@3 at {row['size']}", row["recall"], ">=", FOUND),
                (f"bytes per vector at {row['size']}", row["bytes_per_vector"], "<=", BYTES),
            ]
        elif row["index"] == "Flat" and row["size"] >= WHOLE_RECORDS:
            for batch in (1, BATCH):
                ratio = row[f"ours_{batch}"].minimum / row[f"numpy_{batch}"].minimum
                bars.append((f"of NumPy's time at {row['size']}, batch {batch}", ratio, "<=", BESIDE))
    return [
        f"expected {sign} {bar} {name}, got {value:.4g}"
        for name, value, sign, bar in bars
        if (value > bar if sign == "<=" else value < bar)
    ]


def plot(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Growth: milliseconds over vectors, for one query and for 64."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    sizes = [row["size"] for row in table]
    for axis, batch in zip(axes, (1, BATCH), strict=True):
        lines = {f"numpy_{batch}": "exact NumPy", f"ours_{batch}": "ours, warm"} | (
            {"cold_1": "ours, cold"} if batch == 1 else {}
        )
        for key, label in lines.items():
            axis.plot(sizes, [row[key].median for row in table], marker="o", label=label)
        axis.set(xscale="log", yscale="log", xlabel="vectors per modality", ylabel="ms, three modalities, median")
        axis.set_title("one query" if batch == 1 else f"{batch} queries at a time")
        axis.grid(True, which="both", alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def show(table: Sequence[dict[str, Any]], records: dict[str, Times]) -> None:
    columns = ("size", "index", "numpy_1", "ours_1", "numpy_64", "ours_64", "cold_open", "cold_1", "cold_mb", "recall")
    print(f"| {' | '.join((*columns, 'bytes_per_vector', 'build_seconds'))} |")
    print("|" + "---|" * (len(columns) + 2))
    for row in table:
        cells = [str(row[column]) for column in columns[:-2]]
        print(f"| {' | '.join(cells)} | {row['cold_mb']:.1f} | {row['recall']:.4f} ", end="")
        print(f"| {row['bytes_per_vector']:.0f} | {row['build_seconds']:.0f} |")
    for name, cell in records.items():
        print(f"9 records, {name}: {1e3 * cell.minimum:.1f} / {1e3 * cell.median:.1f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="vectors per modality, with commas")
    parser.add_argument("--modalities", default=",".join(QUERY_MODALITIES), help="those measured, with commas")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--recall", type=float, default=0.99, help="what the index is set to reach on held-out vectors")
    parser.add_argument("--cold", type=int, default=9, help="cold queries per modality")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--scratch", type=Path, help="folder for vectors and records: 10 GB at 10^6; removed afterwards"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench_library"), help="folder for the figures")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    sizes = sorted(int(size) for size in options.sizes.split(","))
    modalities = [m for m in QUERY_MODALITIES if m in options.modalities.split(",")]
    if sizes[0] < 100 or options.width < 8 or options.cold < 1 or not modalities:
        parser.error("expected sizes of at least 100, a width of at least 8, a cold query and a modality that asks")
    rows: list[list[Row]] = []
    with _scratch(options.scratch) as records_in:
        records = measure_records(options, min(WHOLE_RECORDS, sizes[-1]), Path(records_in))
    for size in sizes:
        rows.append([])
        for modality in modalities:
            with _scratch(options.scratch) as folder:
                rows[-1].append(measure(size, modality, options, Path(folder)))
            tqdm.write(json.dumps(asdict(rows[-1][-1])), file=sys.stderr)  # a run that is cut off has told so far
    table = [added(some) for some in rows]
    failures = missed(table, records)
    told = {
        "table": [{key: asdict(x) if isinstance(x, Times) else x for key, x in row.items()} for row in table],
        "records": {name: asdict(cell) for name, cell in records.items()},
        "rows": [asdict(row) for some in rows for row in some],
        "missed": failures,
        "threads": 1,
        "load": os.getloadavg(),
        "options": {"width": options.width, "recall": options.recall, "seed": options.seed, "modalities": modalities},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bench_library.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    plot(table, options.out / "growth.png")
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        show(table, records)
    if failures:
        raise SystemExit("\n".join(failures))


def _scratch(parent: Path | None) -> tempfile.TemporaryDirectory[str]:
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=parent, prefix="bench-library-")


if __name__ == "__main__":
    main()
