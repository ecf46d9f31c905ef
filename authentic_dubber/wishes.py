"""What is asked of the acting, field by field: a script's columns, the command line, and how the two are joined."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from library_builder.cue import Cue
from library_builder.manifest import check_relative

from .acting import parse_emotion
from .types import Acting, SlotChoice


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a line; None where nothing is, so that another wish may fill it.

    Attributes:
        emotion: its name and share.
        like: a recording that sounds as the line should feel. With `emotion` it is one question: how the line feels.
        strength, pin, ban, slot: as in `Acting`.
    """

    emotion: tuple[str, float] | None = None
    like: Path | None = None
    strength: float | None = None
    pin: tuple[str, ...] | None = None
    ban: tuple[str, ...] | None = None
    slot: SlotChoice | None = None

    def over(self, other: Wish) -> Wish:
        """This wish where it asks, the other where it does not."""
        felt = other if self.emotion is None and self.like is None else self
        return Wish(
            felt.emotion,
            felt.like,
            other.strength if self.strength is None else self.strength,
            other.pin if self.pin is None else self.pin,
            other.ban if self.ban is None else self.ban,
            other.slot if self.slot is None else self.slot,
        )

    def acting(self, banned: Sequence[str] = ()) -> Acting:
        """What comes of it.

        Args:
            banned: clips that are banned besides.

        Raises:
            ValueError: as `Acting`.
        """
        usual = Acting()
        name, share = self.emotion or (usual.emotion, usual.weight)
        return Acting(
            emotion=name,
            weight=share,
            like=self.like,
            strength=usual.strength if self.strength is None else self.strength,
            pin=self.pin or (),
            ban=tuple(dict.fromkeys([*(self.ban or ()), *banned])),
            slot=self.slot or usual.slot,
        )


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked beside the script.

    Attributes:
        anyone: of every line, as far as it is asked for nothing itself; but clips banned here are banned from all.
        lines: of single lines, by their number in three digits; overrules the script.
    """

    anyone: Wish = Wish()
    lines: Mapping[str, Wish] = field(default_factory=dict)

    def acting(self, id: str, sheet: Wish) -> Acting:
        """What is asked of a line in all.

        Args:
            sheet: what the script asks of it.

        Raises:
            ValueError: the parts contradict each other.
        """
        own = self.lines.get(id, Wish()).over(sheet)
        return own.over(replace(self.anyone, ban=None)).acting(self.anyone.ban or ())

    def check_lines(self, ids: Sequence[str]) -> None:
        """Make sure that the lines asked for are there.

        Raises:
            ValueError: one is not.
        """
        for id in sorted(set(self.lines) - set(ids)):
            raise ValueError(f"expected a line from {ids[0]} to {ids[-1]}, got {id}, of which something is asked")


def sheet_wish(cue: Cue, folder: Path) -> Wish:
    """What a script's row asks of its line.

    Args:
        folder: where the script lies; recordings are named from there.

    Raises:
        ValueError: a value is not of its column's form, or two contradict each other.
    """
    like = None if cue.emotion_from is None else check_relative(cue.emotion_from.replace("\\", "/"))
    wish = Wish(
        emotion=None if cue.emotion is None else parse_emotion(cue.emotion),
        like=None if like is None else folder / like,
        strength=None if cue.strength is None else _strength(cue.strength),
        pin=None if cue.pin is None else _ids(cue.pin),
        ban=None if cue.ban is None else _ids(cue.ban),
        slot=None if cue.slot is None else _slot(cue.slot),
    )
    wish.acting()
    return wish


def parse_wishes(
    *,
    emotion: Sequence[str] | None = None,
    emotion_from: Sequence[str] | None = None,
    strength: Sequence[str] | None = None,
    pin: Sequence[str] | None = None,
    ban: Sequence[str] | None = None,
    slot: Sequence[str] | None = None,
) -> Wishes:
    """The options of the same names; each value is `LINE=VALUE`, or `VALUE` for every line.

    Raises:
        ValueError: a value is not of this form, comes twice for a line, or contradicts another.
    """
    emotions = {id: parse_emotion(text) for id, text in _once("--emotion", emotion or ()).items()}
    recordings = {id: Path(text) for id, text in _once("--emotion-from", emotion_from or ()).items()}
    strengths = {id: _strength(text) for id, text in _once("--strength", strength or ()).items()}
    slots = {id: _slot(text) for id, text in _once("--slot", slot or ()).items()}
    pins, bans = _gathered("--pin", pin or ()), _gathered("--ban", ban or ())
    if "" in pins:
        raise ValueError(f"expected --pin LINE=CLIP, such as 003={pins[''][0]}, got {pins[''][0]!r}")
    wishes = {
        id: Wish(emotions.get(id), recordings.get(id), strengths.get(id), pins.get(id), bans.get(id), slots.get(id))
        for id in (*emotions, *recordings, *strengths, *pins, *bans, *slots)
    }
    for id, wish in wishes.items():
        try:
            wish.acting()
        except ValueError as error:
            raise ValueError(f"{f'line {id}' if id else 'asked of every line'}: {error}") from error
    return Wishes(wishes.pop("", Wish()), wishes)


def _strength(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"expected an emotion strength as a number, got {text!r}") from error


def _slot(text: str) -> SlotChoice:
    for known in get_args(SlotChoice):
        if text == known:
            return known
    raise ValueError(f"expected a slot set by {' or '.join(get_args(SlotChoice))}, got {text!r}")


def _ids(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(id for id in re.split(r"[\s;]+", text) if id))


def _addressed(option: str, given: Iterable[str]) -> list[tuple[str, str]]:
    """Values with the three-digit lines they are for; `""` is every line."""
    found = []
    for text in given:
        numbered = re.fullmatch(r"(\d+)=(.*)", text, re.ASCII | re.DOTALL)
        line, value = (f"{int(numbered[1]):03d}", numbered[2].strip()) if numbered else ("", text.strip())
        if not value:
            raise ValueError(f"expected {option} VALUE or {option} LINE=VALUE, got {text!r}")
        found.append((line, value))
    return found


def _once(option: str, given: Iterable[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for line, value in _addressed(option, given):
        if line in values:
            who = f"line {line}" if line else "every line"
            raise ValueError(f"expected one {option} for {who}, got {values[line]} and {value}")
        values[line] = value
    return values


def _gathered(option: str, given: Iterable[str]) -> dict[str, tuple[str, ...]]:
    clips: dict[str, tuple[str, ...]] = {}
    for line, value in _addressed(option, given):
        clips[line] = tuple(dict.fromkeys([*clips.get(line, ()), *_ids(value)]))
    return clips
