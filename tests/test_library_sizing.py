"""A library's size reckoned from costs of one clip comes out as what was measured of whole libraries."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from recipes.library_sizing import Costs, Machine, index_bytes, query_ms, read_costs, record_bytes, size, table

COSTS = Costs()


@pytest.mark.parametrize(
    ("clips", "width", "kind", "lists", "measured"),
    [
        (100_000, 1024, "sq8", 256, 1043),
        (400_000, 1024, "sq8", 512, 1037),
        (100_000, 1024, "pq64", 256, 93),
        (432, 48, "exact", 0, 86_490 / 432),
        (432, 401, "exact", 0, 696_474 / 432),
    ],
)
def test_bytes_of_an_index_are_those_of_its_file(
    clips: int, width: int, kind: str, lists: int, measured: float
) -> None:
    assert index_bytes(clips, width, kind, lists, COSTS) == pytest.approx(measured, abs=1)


def test_bytes_of_records_are_those_of_their_file() -> None:
    """LMDB's own tree is a little more: 45 bytes a record where 31 are reckoned."""
    assert record_bytes([48, 48, 401, 64], COSTS) == pytest.approx(1_802_240 / 432, rel=0.02)
    assert record_bytes([1536], Costs(record_json_bytes=1e-9)) == pytest.approx(8223, abs=4096), "a page for the JSON"


def test_time_of_an_exact_query_is_what_it_was_at_ten_times_the_size() -> None:
    """Extrapolated from 10^4 to 10^5 vectors; 43.5 ms for three were measured there."""
    assert 3 * query_ms(100_000, 1024, "exact", 0, COSTS, 0.0) == pytest.approx(43.5, rel=0.05)


def test_more_clips_take_more_of_everything() -> None:
    sizes = [size(10**power, [1024] * 4, COSTS, Machine(), "sq8") for power in range(4, 10)]
    for less, more in itertools.pairwise(sizes):
        for what in ("memory", "disk", "machines", "extract_hours", "index_hours"):
            assert getattr(more, what) >= getattr(less, what), what
    narrow = size(10**6, [48, 48, 401, 64], COSTS, Machine())
    assert narrow.memory < sizes[2].memory and narrow.disk < sizes[2].disk
    assert len(table(sizes).splitlines()) == 2 + len(sizes)


def test_costs_are_replaced_by_name(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps({"extract_clips_per_s": 35}))
    faster, usual = (size(10**6, [64] * 4, costs, Machine()) for costs in (read_costs(path), COSTS))
    assert faster.extract_hours == pytest.approx(usual.extract_hours / 10)
    for wrong in ({"extract_clips": 1}, {"write_us": 0}, {"write_us": "fast"}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match="expected"):
            read_costs(path)
