"""What a study may vary: one flat table of keys with their kinds, and a grid over some of them.

Training keys decide which graph and director are taught; asking keys decide what they are shown. Cells that differ in
asking keys alone share a training.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Value: TypeAlias = str | int | bool
Values: TypeAlias = Mapping[str, Value]

NONE = "none"
STAGE_NAMES = ("basic", "indirect", "direct")


@dataclass(frozen=True, slots=True)
class Key:
    """One setting.

    Attributes:
        default: its value where nobody says otherwise.
        kind: `int`, `bool`, or the words it may be.
        trains: whether a model must be taught anew for each of its values.
        about: for people.
    """

    default: Value
    kind: type[int] | type[bool] | tuple[str, ...]
    trains: bool
    about: str


def _subsets(names: Sequence[str]) -> tuple[str, ...]:
    """`basic+direct` and so on, in order, and `none`."""
    some = ("+".join(c) for n in range(1, len(names) + 1) for c in itertools.combinations(names, n))
    return (NONE, *some)


KEYS: Mapping[str, Key] = {
    "seed": Key(0, int, True, "of the training: first weights and the order of lines"),
    "train.steps": Key(500, int, True, "updates of graph and director, drawn anew"),
    "train.references": Key(10, int, True, "K is drawn from 0 to this for every line of training"),
    "features": Key("captioned", ("captioned", "words"), True, "text vectors with the captions of the picture, or not"),
    "graph.stages": Key("basic+indirect+direct", _subsets(STAGE_NAMES), True, "stages that attend"),
    "graph.single": Key(False, bool, True, "one graph over all nodes in place of three"),
    "graph.audio_link": Key("own", ("own", "retrieved", "both"), True, "what an audio node hangs on"),
    "graph.similarity_weight": Key(False, bool, True, "similarities multiply the attention of retrieval's edges"),
    "voice.aggregation": Key("hierarchical", ("hierarchical", "single"), True, "frames ask three graphs, or the last"),
    "voice.steps": Key(0, int, True, "updates of the whole voice, its aggregators drawn anew; none leaves it as it is"),
    "retrieval.k": Key(3, int, False, "references per modality"),
    "retrieval.metric": Key("cosine", ("cosine", "dot", "euclidean"), False, "what ranks the library's clips"),
    "retrieval.vectors": Key("unit", ("unit", "standardised"), False, "what is ranked: unit vectors, or z-scores"),
    "retrieval.scope": Key(
        "any",
        ("any", "same", "other", "sized"),
        False,
        "whose clips: anyone's, the speaker's, others', or as many of anyone's as the speaker has",
    ),
    "retrieval.references": Key("nearest", ("nearest", "random", "shuffled-audio"), False, "which clips are handed on"),
    "retrieval.off": Key(NONE, (NONE, "scene", "face", "text", "audio", "all"), False, "whose hits are thrown away"),
    "input.off": Key(NONE, (NONE, "scene", "face", "text"), False, "what the line itself lacks, and so does not ask"),
    "outcome": Key("director", ("director", "voice"), False, "the director's answer, or the spoken line"),
    "limit": Key(0, int, False, "only the first so many lines; 0 for all"),
}


class SettingError(ValueError):
    """A setting that is unknown, or has a value it cannot have."""


def parse(key: str, text: str) -> Value:
    """A value as it is written on a command line.

    Raises:
        SettingError: the key is unknown, or the text is none of its values.
    """
    known = _known(key)
    if known.kind is bool:
        if text not in ("true", "false"):
            raise SettingError(f"{key}: expected true or false, got {text!r}")
        return text == "true"
    if known.kind is int:
        if not text.isdigit():
            raise SettingError(f"{key}: expected a whole number of 0 or more, got {text!r}")
        return int(text)
    return check(key, text)


def check(key: str, value: object) -> Value:
    """A value as it stands in a file.

    Raises:
        SettingError: the key is unknown, or the value is none of its own.
    """
    kind = _known(key).kind
    if isinstance(kind, tuple):
        if value not in kind:
            raise SettingError(f"{key}: expected one of {', '.join(kind)}, got {value!r}")
        return str(value)
    # A bool is an int in Python, and `true` is no number of references.
    if type(value) is not kind or (kind is int and int(value) < 0):
        wanted = "true or false" if kind is bool else "a whole number of 0 or more"
        raise SettingError(f"{key}: expected {wanted}, got {value!r}")
    return value


def _known(key: str) -> Key:
    if key not in KEYS:
        raise SettingError(f"known settings are {', '.join(KEYS)}; got {key!r}")
    return KEYS[key]


@dataclass(frozen=True, slots=True)
class Study:
    """A named grid.

    Attributes:
        name: of the study.
        question: what it asks, in a sentence.
        fixed: settings that differ from their defaults in every cell.
        grid: the settings that vary, each with its values; the last varies fastest.
        cells: further cells by what they change, for studies that are no full grid; each is crossed with `grid`.
        baseline: what the others are compared with, by the settings that tell it from them.
    """

    name: str
    question: str
    fixed: Values
    grid: Mapping[str, tuple[Value, ...]]
    cells: tuple[Values, ...]
    baseline: Values

    @classmethod
    def read(cls, path: Path) -> Study:
        """A study's file.

        Raises:
            FileNotFoundError: there is none.
            SettingError: it is no study, or a setting is wrong.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"{path}: expected the file of a study, such as recipes/studies/k.json, there is none"
            )
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            fields = ("name", "question", "fixed", "grid", "cells", "baseline")
            if unknown := sorted(set(values) - set(fields)):
                raise SettingError(f"expected {', '.join(fields)}, got {unknown[0]!r}")
            return cls(
                str(values["name"]),
                str(values["question"]),
                _checked(values.get("fixed", {})),
                {key: tuple(check(key, value) for value in some) for key, some in values.get("grid", {}).items()},
                tuple(_checked(cell) for cell in values.get("cells", [{}])),
                _checked(values.get("baseline", {})),
            )
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise SettingError(f"{path}: expected a study of name, question and grid, got {error!r}") from error
        except SettingError as error:
            raise SettingError(f"{path}: {error}") from error

    def varied(self, words: Sequence[str]) -> Study:
        """The same study with some settings given on the command line, as `retrieval.k=0,1,2`.

        One value fixes a setting, several make or replace an axis of the grid.

        Raises:
            SettingError: a word is none, or a setting is wrong.
        """
        fixed, grid = dict(self.fixed), dict(self.grid)
        for word in words:
            key, sign, text = word.partition("=")
            if not sign or not text:
                raise SettingError(f"expected KEY=VALUE[,VALUE...], got {word!r}")
            given = tuple(dict.fromkeys(parse(key, part) for part in text.split(",")))
            fixed.pop(key, None)
            if len(given) > 1 or key in grid:
                grid[key] = given
            else:
                fixed[key] = given[0]
        return Study(self.name, self.question, fixed, grid, self.cells, self.baseline)

    def resolved(self) -> list[dict[str, Value]]:
        """Every cell with all its settings, seeds outermost so that a study that is stopped has whole seeds."""
        defaults = {key: known.default for key, known in KEYS.items()}
        order = sorted(self.grid, key=lambda key: key != "seed")
        found: list[dict[str, Value]] = []
        for first in itertools.product(*(self.grid[key] for key in order if key == "seed")):
            for cell in self.cells:
                rest = [key for key in order if key != "seed" and key not in cell]
                for some in itertools.product(*(self.grid[key] for key in rest)):
                    seeds = {"seed": first[0]} if first else {}
                    values = {**defaults, **self.fixed, **cell, **seeds, **dict(zip(rest, some, strict=True))}
                    if values not in found:
                        found.append(values)
        return found


def _checked(values: Mapping[str, object]) -> dict[str, Value]:
    return {key: check(key, value) for key, value in values.items()}


def training_of(values: Values) -> dict[str, Value]:
    """The part of a cell that decides which model it asks."""
    return {key: values[key] for key, known in KEYS.items() if known.trains}


def differing(values: Values) -> dict[str, Value]:
    """What a cell changes of the defaults."""
    return {key: value for key, value in values.items() if value != KEYS[key].default}


def cell_name(values: Values) -> str:
    """A folder's name: the cell's settings that are not as by default, and a digest of them.

    Only those: a setting that comes to be later leaves every cell of before where it was.
    """
    changed = differing(values)
    words = [f"{key.rpartition('.')[2]}-{written(value)}" for key, value in changed.items()]
    return "_".join([*words, digest(changed)])[-120:]


def written(value: Value) -> str:
    """As it would be given on a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def digest(values: object) -> str:
    """Eight hexadecimal digits of any plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


Progress: TypeAlias = Callable[[str, int, int], None]
"""What is being done, how much is done, how much there is."""
