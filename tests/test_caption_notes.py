"""What is wrong with a caption, and how a clip keeps it."""

from __future__ import annotations

import pytest

from library_builder.pretrained.caption_notes import felt_in, felt_note, flag_notes, flags, flags_in

GOOD = (
    "The dim, cold light and the empty corridor give the scene a lonely, anxious mood. It grows towards the end, when "
    "the shadows close in and the picture is still."
)


@pytest.mark.parametrize("nothing", ["", "   ", "...", '"!" - ?'])
def test_a_caption_without_a_word_is_empty(nothing: str) -> None:
    assert flags(nothing) == ("empty",)


@pytest.mark.parametrize(
    "caption",
    [
        "sad " * 4,
        "A dark room. " + "the man is angry and " * 4,
        "It is sad. It is sad. It is sad. It is sad.",
        " ".join(["he looks at her and then", "she looks at him and then"] * 6),
    ],
)
def test_a_caption_that_goes_in_circles_loops(caption: str) -> None:
    assert flags(caption) == ("looping",)


@pytest.mark.parametrize("caption", [GOOD, "sad", "no, no, no", "very very very sad", f"{GOOD} {GOOD.upper()}"])
def test_a_good_caption_has_nothing_wrong(caption: str) -> None:
    assert flags(caption) == ()
    assert flags(caption, finished=False) == ("cut",)


def test_a_clip_keeps_what_was_wrong_and_felt() -> None:
    notes = (*flag_notes("scene", ("looping", "cut")), felt_note("scene", "quiet joy", 0.617), "face: no face found")
    assert flags_in(notes, "scene") == ("looping", "cut") and felt_in(notes, "scene") == ("quiet joy", 0.62)
    assert flags_in(notes, "face") == () and felt_in(notes, "face") is None
