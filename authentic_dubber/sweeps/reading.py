"""A study's folder, read back: variants with their figures, what they differ in from the baseline, and by how much."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from authentic_dubber.evaluation.intelligibility import Estimate
from authentic_dubber.evaluation.scoring import read_scores
from library_builder.atomic import whole_file

from .answering import HITS
from .pairs import Gap, Pool, estimate, gap
from .running import DONE, RUNS, SCORES, SETTINGS, STUDY
from .settings import KEYS, SettingError, Value, Values, written

CSV = "report.csv"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of one variant.

    Attributes:
        value: with its own interval.
        seeds: by training seed.
        gap: against the baseline; None for the baseline itself.
    """

    name: str
    title: str
    unit: str
    direction: str
    value: Estimate
    seeds: Mapping[int, float]
    gap: Gap | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """Cells that differ in their seed alone.

    Attributes:
        settings: without the seed.
        label: what sets it apart within the study.
        hits: found per line, mean over lines and seeds.
        alike: share of the baseline's hit lists that are the very same here; None for the baseline.
    """

    settings: Values
    label: str
    figures: tuple[Figure, ...]
    hits: float
    alike: float | None = None

    @property
    def is_baseline(self) -> bool:
        return self.alike is None


@dataclass(frozen=True, slots=True)
class Found:
    """A study and what came of it.

    Attributes:
        varying: keys that differ between variants, in order.
        missing: cells that were asked for and have no answer, by name.
        lines, clusters: of each variant.
        asked: differences per measure that the intervals are corrected for.
    """

    name: str
    question: str
    varying: tuple[str, ...]
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    missing: tuple[str, ...]
    set_name: str
    lines: int
    clusters: int
    asked: int

    @property
    def baseline(self) -> Variant:
        return next(one for one in self.variants if one.is_baseline)


@dataclass(slots=True)
class _Cells:
    """The cells of one variant."""

    settings: dict[str, Value]
    seeds: dict[int, Path] = field(default_factory=dict)


def read_study(folder: Path, words: Sequence[str] = ()) -> Found:
    """Everything a study's folder holds.

    Args:
        words: another baseline, as `retrieval.k=5`.

    Raises:
        FileNotFoundError: there is no study, or no cell has its answer.
        SettingError: no variant, or more than one, is the baseline; cells are of different sets.
    """
    path = Path(folder) / STUDY
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a study of `dub sweep`, there is none")
    study: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    groups, facts, missing = _groups(Path(folder))
    if not groups:
        raise FileNotFoundError(f"{folder}: expected a cell that is done, there is none; run `dub sweep` again")
    varying = tuple(key for key in KEYS if len({group.settings.get(key) for group in groups}) > 1)
    chosen = _chosen(groups, {**study["baseline"], **_words(words)})
    clusters: dict[str, str] = facts["clusters"]
    asked = max(1, len(groups) - 1)
    pools = [_pools(group) for group in groups]
    before = _hits(groups[chosen])
    variants = []
    for number, (group, pool) in enumerate(zip(groups, pools, strict=True)):
        against = None if number == chosen else pools[chosen]
        found = _hits(group)
        variants.append(
            Variant(
                group.settings,
                _label(group.settings, varying),
                tuple(_figure(pool[name], (against or {}).get(name), clusters, asked) for name in pool),
                _mean([sum(map(len, line.values())) for line in found.values()]),
                None if against is None else _mean([found.get(id) == line for id, line in before.items()]),
            )
        )
    seeds = tuple(sorted({seed for group in groups for seed in group.seeds}))
    ids = {id for pool in pools for one in pool.values() for _, id in one.rows()}
    return Found(
        study["name"], study["question"], varying, tuple(variants), seeds, missing, facts["set_name"],
        len(ids), len({clusters[id] for id in ids}), asked,
    )  # fmt: skip


def _label(settings: Values, varying: Sequence[str]) -> str:
    """What sets a variant apart: all that varies where it is one key, otherwise what is not as by default."""
    told = [key for key in varying if len(varying) == 1 or settings[key] != KEYS[key].default]
    return ", ".join(f"{key} {written(settings[key])}" for key in told) or "all as by default"


def _groups(folder: Path) -> tuple[list[_Cells], dict[str, Any], tuple[str, ...]]:
    """Done cells by variant in the order of their settings, the facts they share, and the names of the others."""
    groups: dict[str, _Cells] = {}
    facts: dict[str, Any] = {}
    missing = []
    for cell in sorted((folder / RUNS).glob("*/")):
        if not (cell / DONE).is_file():
            missing.append(cell.name)
            continue
        told = json.loads((cell / SETTINGS).read_text(encoding="utf-8"))
        if facts and told["set"] != facts["set"]:
            raise SettingError(f"{folder}: expected cells of one set, got {facts['set']} and {told['set']}")
        facts = told
        settings = {key: value for key, value in told["settings"].items() if key != "seed"}
        group = groups.setdefault(json.dumps(settings, sort_keys=True), _Cells(settings))
        group.seeds[int(told["settings"]["seed"])] = cell
    return sorted(groups.values(), key=_rank), facts, tuple(missing)


def _rank(group: _Cells) -> tuple[tuple[int, int | str], ...]:
    """Numbers by size, words in the order their key names them."""
    ranks: list[tuple[int, int | str]] = []
    for key, known in KEYS.items():
        value = group.settings.get(key, known.default)
        words = known.kind if isinstance(known.kind, tuple) else ()
        first = value != known.default if words else 0
        ranks.append((int(first), words.index(str(value)) if value in words else int(value)))
    return tuple(ranks)


def _words(words: Sequence[str]) -> dict[str, Value]:
    from .settings import parse

    pairs = [word.partition("=") for word in words]
    if wrong := next((word for word, (_, sign, _) in zip(words, pairs, strict=True) if not sign), None):
        raise SettingError(f"expected a baseline as KEY=VALUE, got {wrong!r}")
    return {key: parse(key, text) for key, _, text in pairs}


def _chosen(groups: Sequence[_Cells], wanted: Values) -> int:
    fitting = [i for i, g in enumerate(groups) if all(g.settings.get(k) == v for k, v in wanted.items())]
    if len(fitting) > 1:
        # Of several, the one that changes least.
        changes = [sum(groups[i].settings[k] != KEYS[k].default for k in groups[i].settings) for i in fitting]
        fitting = [i for i, n in zip(fitting, changes, strict=True) if n == min(changes)]
    if len(fitting) != 1:
        told = ", ".join(f"{key}={written(value)}" for key, value in wanted.items()) or "the defaults"
        raise SettingError(f"expected one variant to be the baseline ({told}), got {len(fitting)} that are done")
    return fitting[0]


def _pools(group: _Cells) -> dict[str, Pool]:
    """Every measure of a variant under all its seeds."""
    read = {seed: {one.name: one for one in read_scores(cell / SCORES)[1]} for seed, cell in group.seeds.items()}
    names = [name for name, one in next(iter(read.values())).items() if one.rows]
    return {name: Pool({seed: found[name] for seed, found in sorted(read.items())}) for name in names}


def _figure(pool: Pool, against: Pool | None, clusters: Mapping[str, str], asked: int) -> Figure:
    one = pool.first
    return Figure(
        one.name, one.title, one.unit, one.direction,
        estimate(pool, clusters),
        {seed: pool.value(seed) for seed in pool.seeds},
        None if against is None else gap(pool, against, clusters, asked),
        one.note,
    )  # fmt: skip


def _hits(group: _Cells) -> dict[str, dict[str, list[str]]]:
    """Ids per line and modality; what is found does not depend on the seed."""
    cell = next(iter(group.seeds.values()))
    told = json.loads((cell / HITS).read_text(encoding="utf-8"))
    return {id: {m: [hit for hit, _ in found] for m, found in hits.items()} for id, hits in told.items()}


def _mean(values: Sequence[float | bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def as_csv(found: Found) -> str:
    """A row per variant and measure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    seeds = [f"seed {seed}" for seed in found.seeds]
    writer.writerow(
        [*(found.varying or ["variant"]), "measure", "unit", "value", "low", "high", *seeds, "n",
         "minus baseline", "corrected low", "corrected high", *(f"gap {seed}" for seed in seeds),
         "verdict", "hits per line", "hit lists as the baseline's"]
    )  # fmt: skip
    for one in found.variants:
        name = [written(one.settings[key]) for key in found.varying] or [one.label]
        for f in one.figures:
            apart: list[str] = [""] * (3 + len(seeds)) + ["baseline"]
            if f.gap is not None:
                g = f.gap.gap
                by_seed = [_number(f.gap.seeds.get(seed)) for seed in found.seeds]
                apart = [*map(_number, (g.value, g.low, g.high)), *by_seed, f.gap.verdict]
            each = [_number(f.seeds.get(seed)) for seed in found.seeds]
            writer.writerow(
                [*name, f.name, f.unit, *map(_number, (f.value.value, f.value.low, f.value.high)), *each, f.value.n,
                 *apart, f"{one.hits:.2f}", "" if one.alike is None else f"{one.alike:.3f}"]
            )  # fmt: skip
    return out.getvalue()


def write_csv(found: Found, folder: Path) -> Path:
    """The table as `report.csv`."""
    path = Path(folder) / CSV
    with whole_file(path) as temporary:
        temporary.write_text(as_csv(found), encoding="utf-8")
    return path


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
