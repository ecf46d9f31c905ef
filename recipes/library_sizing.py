"""What a library of so many clips takes, in memory, disk, machines and time, from what one clip was measured to cost.

    python recipes/library_sizing.py
    python recipes/library_sizing.py --widths 48,48,401,64 --costs measured.json --clips 1e4,1e6

Costs have defaults, printed by `--explain` with where they were measured; `--costs` replaces them by name. What is
larger than what was measured is extrapolated: bytes as counted, times in proportion to the vectors read or compared.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["exact", "sq8", "pq64"]
GIB = 1 << 30
NAMES: Mapping[Kind, str] = {"exact": "exact", "sq8": "IVF, 8 bits", "pq64": "IVF, PQ 64"}
RERANKED = 60
"""Candidates of an inexact index whose vectors are read and scored again."""
LISTS_READ = 16
USED = 0.75
"""The share of memory and of disk that is filled."""
LARGEST_FLAT_COARSE = 1 << 14
"""Above so many lists their centroids are searched by HNSW."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one clip costs; times are microseconds on one thread of an AMD EPYC at 1024 values a vector.

    Attributes: see `MEASURED`, which says where each was measured.
    """

    record_json_bytes: float = 370
    page_bytes: float = 4096
    record_key_bytes: float = 31
    fact_bytes: float = 64
    id_bytes: float = 8
    scan_exact_us: float = 0.148
    scan_sq8_us: float = 0.0525
    scan_pq64_us: float = 0.031
    coarse_hnsw_us: float = 138
    train_us: float = 0.0417
    train_pq64_s: float = 93
    add_us: float = 0.0215
    add_pq64_us: float = 60
    write_us: float = 13.5
    read_warm_us: float = 2.5
    read_cold_us: float = 63
    extract_clips_per_s: float = 3.5


MEASURED: Mapping[str, str] = {
    "record_json_bytes": "mean over the 432 clips of an evaluation library, English captions",
    "page_bytes": "LMDB: a record takes whole pages",
    "record_key_bytes": "8223 bytes per record of 6144 in 10^5 records, less two pages",
    "fact_bytes": "not measured: five columns of 8 bytes and an id of 24",
    "id_bytes": "FAISS keeps an int64 beside each vector",
    "scan_exact_us": "4.43 ms for three searches of 10^4 vectors; 0.127 at 5 x 10^5",
    "scan_sq8_us": "IVF512,SQ8 of 4 x 10^5, 16 lists: 0.73 ms, less its centroids",
    "scan_pq64_us": "IVF256,PQ64 of 10^5, 16 lists: 0.23 ms, less its centroids",
    "coarse_hnsw_us": "HNSW32 of 2 x 10^4, ef 64",
    "train_us": "per sample and list: IVF256 of 10^5 (65 536 of them used), 0.7 s",
    "train_pq64_s": "once: IVF256,PQ64 of 10^5",
    "add_us": "per vector and list: IVF512,SQ8 of 4 x 10^5, 4.4 s",
    "add_pq64_us": "IVF256,PQ64 of 10^5, 6.0 s",
    "write_us": "LMDB, 1000 records of 6144 bytes a commit: 74 294 records/s",
    "read_warm_us": "LMDB, nine records of 6144 bytes: 22.9 us",
    "read_cold_us": "the same from disk, page cache dropped: 569 us",
    "extract_clips_per_s": "light extractors, demo film, one thread",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What one machine has."""

    memory_gib: float = 64
    disk_gib: float = 4096
    cores: int = 16


@dataclass(frozen=True, slots=True)
class Size:
    """What a library takes.

    Attributes:
        index_bytes: of all modalities, per clip.
        memory: bytes of indices and facts, if nothing is left to the page cache.
        disk: bytes of records, indices and facts.
        machines: as many as memory and disk ask for.
        extract_hours, index_hours: of one thread.
        build_hours: of all machines' threads.
        query_ms: one query, three modalities, on all machines at once, one thread each, records warm.
        query_cold_ms: the same when every record comes from disk.
    """

    clips: int
    kind: Kind
    lists: int
    index_bytes: float
    record_bytes: float
    memory: float
    disk: float
    machines: int
    extract_hours: float
    index_hours: float
    build_hours: float
    query_ms: float
    query_cold_ms: float


def record_bytes(widths: Sequence[int], costs: Costs) -> float:
    """A clip's record on disk: its JSON and every vector, in whole pages."""
    value = costs.record_json_bytes + 4 * sum(widths)
    return math.ceil(value / costs.page_bytes) * costs.page_bytes + costs.record_key_bytes


def list_count(clips: int) -> int:
    """Lists of an IVF index: about eight times the root of the vectors, a power of two."""
    return 1 << max(0, round(math.log2(8 * math.sqrt(clips))))


def fitting(kind: Kind, width: int) -> Kind:
    """Product codes of 64 bytes for vectors that have more values than that; bytes for the others."""
    return "sq8" if kind == "pq64" and width <= 64 else kind


def index_bytes(clips: int, width: int, kind: Kind, lists: int, costs: Costs) -> float:
    """Bytes per vector of an index, its centroids and codebooks shared out."""
    shared = 4 * width * lists / clips
    match kind:
        case "exact":
            return 4 * width + costs.id_bytes
        case "sq8":
            return width + costs.id_bytes + shared
        case "pq64":
            return 64 + costs.id_bytes + shared + 4 * 256 * width / clips


def index_seconds(clips: int, width: int, kind: Kind, lists: int, costs: Costs) -> float:
    """Training and adding, one modality, one thread; time goes with the values of a vector."""
    if kind == "exact":
        return 0.0
    # Above a size centroids are searched by HNSW, whose time does not grow with them.
    assign = min(costs.add_us * lists, costs.coarse_hnsw_us if lists > LARGEST_FLAT_COARSE else math.inf)
    sample = min(clips, 64 * lists)
    train, add = costs.train_us * sample * lists * width / 1024, assign * clips * width / 1024
    if kind == "pq64":
        train, add = train + 1e6 * costs.train_pq64_s, add + costs.add_pq64_us * clips
    return (train + add) / 1e6


def query_ms(clips: int, width: int, kind: Kind, lists: int, costs: Costs, read_us: float) -> float:
    """One query in one modality of the clips of one machine."""
    if kind == "exact":
        return (costs.scan_exact_us * clips * width / 1024 + 3 * read_us) / 1e3
    scan = costs.scan_sq8_us if kind == "sq8" else costs.scan_pq64_us
    coarse = costs.coarse_hnsw_us if lists > LARGEST_FLAT_COARSE else costs.scan_exact_us * lists
    return (coarse + scan * clips * LISTS_READ / lists * width / 1024 + RERANKED * read_us) / 1e3


def size(clips: int, widths: Sequence[int], costs: Costs, machine: Machine, kind: Kind | None = None) -> Size:
    """What so many clips take; the index is exact to 10^5, of bytes to 10^8, of product codes above.

    Args:
        widths: of the modalities that are searched, and last of audio, which only answers.
    """
    kind = kind or ("exact" if clips <= 100_000 else "sq8" if clips <= 100_000_000 else "pq64")
    searched, lists = widths[:-1], 0 if kind == "exact" else list_count(clips)
    vectors = sum(index_bytes(clips, width, fitting(kind, width), lists, costs) for width in searched)
    record = record_bytes(widths, costs)
    memory = clips * (vectors + costs.fact_bytes)
    disk = clips * (record + vectors + costs.fact_bytes)
    machines = max(
        math.ceil(memory / (machine.memory_gib * GIB * USED)),
        math.ceil(disk / (machine.disk_gib * GIB * USED)),
    )
    extract = clips / costs.extract_clips_per_s / 3600
    index = sum(index_seconds(clips, width, fitting(kind, width), lists, costs) for width in searched) / 3600
    index += clips * costs.write_us * record / 8223 / 3.6e9
    each = math.ceil(clips / machines)
    warm, cold = (
        sum(query_ms(each, width, fitting(kind, width), lists, costs, read) for width in searched)
        for read in (costs.read_warm_us, costs.read_cold_us)
    )
    hours = (extract + index) / (machines * machine.cores)
    return Size(clips, kind, lists, vectors, record, memory, disk, machines, extract, index, hours, warm, cold)


def table(sizes: Sequence[Size]) -> str:
    """The sizes as a table for people."""
    head = "| clips | index | memory | disk | machines | footage | indexing | all machines | one query, warm; cold |"
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    for one in sizes:
        cells = (
            _count(one.clips),
            NAMES[one.kind] + (f", {one.lists} lists" if one.lists else ""),
            _bytes(one.memory),
            _bytes(one.disk),
            str(one.machines),
            _hours(one.extract_hours),
            _hours(one.index_hours),
            _hours(one.build_hours),
            f"{_digits(one.query_ms)}; {_digits(one.query_cold_ms)} ms",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _count(clips: int) -> str:
    power = round(math.log10(clips))
    return f"10^{power}" if clips == 10**power else f"{clips:,}".replace(",", " ")


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _bytes(value: float) -> str:
    for unit, many in (("TiB", GIB << 10), ("GiB", GIB), ("MiB", 1 << 20)):
        if value >= many:
            return f"{_digits(value / many)} {unit}"
    return f"{value / 1024:.0f} KiB"


def _hours(hours: float) -> str:
    for unit, many in (("years", 24 * 365), ("days", 48), ("h", 1)):
        if hours >= many:
            return f"{_digits(hours / (many if unit != 'days' else 24))} {unit}"
    return f"{_digits(60 * hours)} min" if hours >= 1 / 60 else f"{_digits(3600 * hours)} s"


def read_costs(path: Path | None) -> Costs:
    """The defaults, with those of a JSON file in their place.

    Raises:
        ValueError: the file names a cost there is none of, or a value is no positive number.
    """
    given = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    known = [field.name for field in fields(Costs)]
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{path}: expected costs of {', '.join(known)}, got {name!r}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"{path}: expected a positive number for {name}, got {value!r}")
    return Costs(**given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", default="1e4,1e6,1e8,1e9", help="how many, separated by commas")
    parser.add_argument("--widths", default="1024,1024,1024,1024", help="values of scene, face, text and audio")
    parser.add_argument("--costs", type=Path, help="JSON of costs by name, in place of the defaults")
    parser.add_argument("--memory", type=float, default=Machine().memory_gib, help="GiB of one machine")
    parser.add_argument("--disk", type=float, default=Machine().disk_gib, help="GiB of one machine")
    parser.add_argument("--cores", type=int, default=Machine().cores, help="of one machine")
    parser.add_argument("--explain", action="store_true", help="also print each cost and where it was measured")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    try:
        costs = read_costs(options.costs)
        clips = [int(float(count)) for count in options.clips.split(",")]
        widths = [int(width) for width in options.widths.split(",")]
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if min(*clips, *widths, options.cores) < 1 or len(widths) < 2 or min(options.memory, options.disk) <= 0:
        parser.error("expected counts, widths and machines above 0, and a width for audio last")
    sizes = [size(count, widths, costs, Machine(options.memory, options.disk, options.cores)) for count in clips]
    if options.json:
        print(json.dumps({"costs": asdict(costs), "sizes": [asdict(one) for one in sizes]}, indent=2))
        return
    print(table(sizes))
    if options.explain:
        print()
        for name, value in asdict(costs).items():
            where = "given" if value != getattr(Costs(), name) else MEASURED[name]
            print(f"{name:20} {value:>10g}  {where}")


if __name__ == "__main__":
    main()
