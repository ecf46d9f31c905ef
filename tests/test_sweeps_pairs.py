"""What the differences of a study can tell, and how a report tells it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from authentic_dubber.cli import app
from authentic_dubber.evaluation.measured import Measured, Row, difference
from authentic_dubber.sweeps.page import as_text, write_page
from authentic_dubber.sweeps.pairs import Pool, estimate, gap
from authentic_dubber.sweeps.reading import as_csv, read_study
from authentic_dubber.sweeps.running import DONE, Bench, sweep
from authentic_dubber.sweeps.settings import SettingError, cell_name

from .toy_studies import DEFAULTS, FELT, answers, study

# Pairs


def measured(rows: dict[str, float], felt: Callable[[str], str] = lambda id: "", name: str = "judged") -> Measured:
    statistic = "balanced" if felt("0") else "mean"
    made = {id: Row((value,), felt(id)) for id, value in rows.items()}
    return Measured(name, name, "share", "higher", statistic, made)  # type: ignore[arg-type]


def test_figures_and_intervals_are_those_of_an_evaluation_where_no_lines_belong_together() -> None:
    rng = np.random.default_rng(3)
    felt = lambda id: "ab"[int(id) % 3 == 0]  # noqa: E731
    a, b = ({str(i): float(rng.random() < p) for i in range(150)} for p in (0.4, 0.6))
    alone = {str(i): str(i) for i in range(150)}
    for kind in (lambda id: "", felt):
        one, other = measured(a, kind), measured(b, kind)
        known = difference(one, other, draws=4000)
        found = gap(Pool({0: other}), Pool({0: one}), alone, 1, draws=4000).gap
        assert known is not None and found.value == pytest.approx(known.value, abs=1e-12)
        # Two samples of 4000 draws; an end of an interval 0.2 wide moves by 0.003 a time.
        assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.015)


def test_copies_of_a_line_in_its_sentence_tell_nothing_new() -> None:
    rng = np.random.default_rng(4)
    a, b = ({str(i): float(rng.random()) for i in range(60)} for _ in range(2))
    alone = {id: id for id in a}
    twice = lambda rows: {**rows, **{f"{id}'": value for id, value in rows.items()}}  # noqa: E731
    together = {**alone, **{f"{id}'": id for id in a}}
    single = gap(Pool({0: measured(b)}), Pool({0: measured(a)}), alone, 3)
    copied = gap(Pool({0: measured(twice(b))}), Pool({0: measured(twice(a))}), together, 3)
    assert copied.gap.n == 120
    assert (copied.gap.low, copied.gap.high) == pytest.approx((single.gap.low, single.gap.high), abs=1e-12)
    seeds = gap(Pool({s: measured(b) for s in (0, 1, 2)}), Pool({s: measured(a) for s in (0, 1, 2)}), alone, 3)
    assert (seeds.gap.low, seeds.gap.high) == pytest.approx((single.gap.low, single.gap.high), abs=1e-12)


def test_more_comparisons_widen_every_interval() -> None:
    rng = np.random.default_rng(5)
    a, b = ({str(i): float(rng.standard_normal()) for i in range(200)} for _ in range(2))
    alone = {id: id for id in a}
    wide = [gap(Pool({0: measured(b)}), Pool({0: measured(a)}), alone, asked).gap for asked in (1, 7)]
    widths = [one.high - one.low for one in wide]
    # Of a normal law: 2.69 standard errors to either side instead of 1.96.
    assert widths[1] / widths[0] == pytest.approx(2.69 / 1.96, rel=0.06)
    assert estimate(Pool({0: measured(a)}), alone).n == 200


def test_a_family_of_nothing_is_seldom_called_something() -> None:
    """Four variants that are the baseline but for noise: at most about one family in twenty has a miss."""
    rng, misses = np.random.default_rng(6), 0
    clusters = {str(i): str(i // 2) for i in range(80)}
    for _ in range(100):
        base = {id: float(value) for id, value in zip(clusters, rng.standard_normal(80), strict=True)}
        others = [{id: value + float(rng.normal(0, 0.5)) for id, value in base.items()} for _ in range(4)]
        found = [gap(Pool({0: measured(o)}), Pool({0: measured(base)}), clusters, 4, draws=1000) for o in others]
        misses += any(one.verdict != "not decided" for one in found)
    # 5 % of 100 is 5; a percentile bootstrap of forty sentences is a little narrow, and three deviations are 6.5.
    assert misses <= 11


def test_a_verdict_asks_that_every_seed_agrees() -> None:
    rows = {str(i): 0.0 for i in range(50)}
    clusters = {id: id for id in rows}
    better, worse = ({id: value for id in rows} for value in (0.5, -0.1))
    base = Pool({0: measured(rows), 1: measured(rows)})
    agreed = gap(Pool({0: measured(better), 1: measured(better)}), base, clusters, 1)
    split = gap(Pool({0: measured(better), 1: measured(worse)}), base, clusters, 1)
    assert agreed.verdict == "better" and split.verdict == "not decided"
    assert split.gap.low > 0 and split.seeds == pytest.approx({0: 0.5, 1: -0.1})
    assert gap(base, base, clusters, 1).verdict == "same"
    lower = {s: replace(one, direction="lower") for s, one in base.seeds.items()}
    assert gap(Pool({0: replace(measured(better), direction="lower")}), Pool(lower), clusters, 1).verdict == "worse"
    with pytest.raises(ValueError, match="one measure"):
        gap(Pool({0: measured(rows, name="other")}), base, clusters, 1)
    with pytest.raises(ValueError, match="share lines"):
        gap(Pool({7: measured(rows)}), base, clusters, 1)


# Reports


def test_a_report_tells_what_the_cells_scored(bench: Bench) -> None:
    sweep(study("retrieval.k=0,1,2", "retrieval.metric=cosine,dot"), bench)
    found = read_study(bench.folder, ["retrieval.k=2", "retrieval.metric=cosine"])
    assert found.varying == ("retrieval.k", "retrieval.metric") and found.asked == 5 and found.clusters == 3
    assert [one.label for one in found.variants if one.is_baseline] == ["retrieval.k 2"]
    table = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len(table) == 6 * 2
    scored = answers(bench.folder)
    for row in table:
        values = {**DEFAULTS, "train.steps": 2, "retrieval.k": int(row["retrieval.k"])}
        values["retrieval.metric"] = row["retrieval.metric"]
        for seed in (0, 1):
            (one,) = [m for m in scored[cell_name({**values, "seed": seed})] if m["name"] == row["measure"]]
            rows = [(numbers[0], felt) for numbers, felt in one["rows"].values()]
            felt = FELT if row["measure"] == "judged" else ("",)
            mean = np.mean([np.mean([v for v, f in rows if f == name or not name]) for name in felt])
            assert float(row[f"seed {seed}"]) == pytest.approx(mean, abs=1e-4)
        if row["retrieval.metric"] == "dot" and row["retrieval.k"] == "2":
            assert row["verdict"] == "same" and float(row["hit lists as the baseline's"]) == 1
    text = as_text(found)
    assert (
        "corrected for 5 comparisons of each measure" in text
        and "Answers every line as the baseline does: retrieval.k 2, retrieval.metric dot (100.0 %" in text
    )
    page = write_page(found, bench.folder).read_text(encoding="utf-8")
    assert "http" not in page.replace("http://www.w3.org", "") and page.count("<tr>") == 7


def test_a_report_of_what_is_not_there_says_what_is_missing(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a study"):
        read_study(tmp_path)
    sweep(study("seed=0"), bench)
    with pytest.raises(SettingError, match=r"baseline \(retrieval.k=9\), got 0"):
        read_study(bench.folder, ["retrieval.k=9"])
    with pytest.raises(SettingError, match="KEY=VALUE"):
        read_study(bench.folder, ["retrieval.k"])
    for values in study("seed=0").resolved()[1:]:
        (bench.cell(values) / DONE).unlink()
    half = read_study(bench.folder, ["retrieval.k=0"])
    assert len(half.missing) == 1 and "Not done: 1 cells" in as_text(half)


def test_the_command_says_what_it_lacks(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"name": "s", "question": "?", "grid": {"retrieval.k": [1, "two"]}}))
    for words, wanted in (
        ([str(file), "--corpus", "c", "--set", "s", "--out", "o"], "retrieval.k: expected a whole number"),
        ([str(file), "--corpus", "c"], "got no --set, --out"),
        (["report"], "expected the folder of one study, got 0"),
        (["report", str(tmp_path)], "expected a study of `dub sweep`"),
    ):
        done = CliRunner().invoke(app, ["sweep", *words])
        assert done.exit_code == 2 and wanted in " ".join(done.output.split()), done.output
