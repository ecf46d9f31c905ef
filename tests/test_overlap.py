"""A line that does not fit its slot and goes on over another is told; lines that a script lets overlap are not."""

from __future__ import annotations

from authentic_dubber.session import _talked_over
from authentic_dubber.takes import TakeRecord


def spoken(id: str, slot: tuple[float, float], speech: tuple[float, float], verdict: str = "") -> TakeRecord:
    return TakeRecord(id, "Ada", "Hello.", slot, "ok", slot=slot, speech=speech, verdict=verdict)


def test_only_a_line_too_long_for_its_slot_is_said_to_go_on_over_another() -> None:
    late = spoken("002", (1.9, 2.9), (1.9, 2.9))
    assert _talked_over([spoken("001", (0.6, 1.2), (0.7, 3.1), "needs 2.4 s, slot 0.6 s"), late]) == [
        "line 001: goes on over line 002, by 1.20 s"
    ]
    assert _talked_over([spoken("001", (0.6, 3.1), (0.7, 3.1)), late]) == []
    assert _talked_over([spoken("001", (0.6, 1.2), (0.7, 1.8), "needs 1.1 s, slot 0.6 s"), late]) == []
