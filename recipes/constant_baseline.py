"""What always answering the commonest class scores, on a list of emotion labels or on the published V2C counts.

    python recipes/constant_baseline.py LIST
    python recipes/constant_baseline.py

LIST holds a label per line; or is a CSV or TSV sheet with a column `emotion`; or JSON, a list of labels or labels by
clip (V2C's emotions.json). `--ids FILE` keeps the clips of a split, one per line, whatever stands behind a `|`. Without
LIST the counts are those of V2C-Animation as published, and say so.

An accuracy beside which this figure does not stand says little: of the 2779 test clips of V2C, 1300 are neutral.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from authentic_dubber.evaluation.emotion import constant_baseline

V2C_CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise", "others")
"""In the order in which V2C's emotions.json numbers them."""
PUBLISHED: Mapping[str, tuple[int, ...]] = {
    "V2C-Animation, all clips": (756, 64, 305, 1799, 4919, 572, 240, 1562),
    "V2C-Animation, the test list": (197, 21, 79, 514, 1300, 164, 55, 449),
}
"""Clips of each class: of `emotions.json`, and of the 2779 clips that the StyleDubber line of work tests on. The latter
follow from its percentages, whose two decimals leave one count to each."""
REPORTED = 47.21
"""Percent, EMO-ACC of the best system on that list as published; its main table."""


@dataclass(frozen=True, slots=True)
class Constant:
    """What one answer to everything scores.

    Attributes:
        source: where the labels come from.
        clips, hits: how many there are, and how many of them the answer is right about.
        accuracy, balanced_accuracy, macro_f1: in percent.
        counts: clips of each class, commonest first.
    """

    source: str
    answer: str
    clips: int
    hits: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    counts: dict[str, int]


def constant(source: str, counts: Mapping[str, int]) -> Constant:
    """The constant answer over clips that are counted by class."""
    labels = [name for name, number in counts.items() for _ in range(number)]
    found = constant_baseline(labels)
    ordered = dict(Counter(labels).most_common())
    return Constant(
        source,
        found.answer,
        len(labels),
        ordered[found.answer],
        100 * found.plain,
        100 * found.balanced,
        100 * found.macro_f1,
        ordered,
    )


def published() -> list[Constant]:
    """The constant answer on V2C, from its published counts alone."""
    return [
        constant(f"{name}, computed from published counts", dict(zip(V2C_CLASSES, counts, strict=True)))
        for name, counts in PUBLISHED.items()
    ]


def read_labels(path: Path, ids: set[str] | None = None) -> Counter[str]:
    """Labels of a list, counted.

    Args:
        ids: only these clips; the list then has to name clips.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no list of labels, it names no clips though some are asked for, or one of those is not in it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a list of labels, there is none")
    text = path.read_text(encoding="utf-8-sig")
    match path.suffix.lower():
        case ".json":
            found = _from_json(text, path)
        case ".csv" | ".tsv":
            found = _from_table(text, path)
        case _:
            found = [(None, line.strip()) for line in text.splitlines() if line.strip()]
    if ids is not None:
        named = {clip: label for clip, label in found if clip is not None}
        missing = sorted(ids - named.keys())
        if missing:
            raise ValueError(f"{path}: expected a label for each of {len(ids)} clips, got none for {missing[:3]}")
        found = [(clip, named[clip]) for clip in sorted(ids)]
    labels = [label for _, label in found if label]
    if not labels:
        raise ValueError(f"{path}: expected labels, got none")
    return Counter(labels)


def _from_json(text: str, path: Path) -> list[tuple[str | None, str]]:
    try:
        values: Any = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    if isinstance(values, dict):
        return [(str(clip), _label(label, path)) for clip, label in values.items()]
    if isinstance(values, list):
        return [(None, _label(label, path)) for label in values]
    raise ValueError(f"{path}: expected a list of labels, or labels by clip, got {type(values).__name__}")


def _label(label: Any, path: Path) -> str:
    """A class by name; a number is one of V2C's."""
    if isinstance(label, str):
        return label
    if isinstance(label, int) and 0 <= label < len(V2C_CLASSES):
        return V2C_CLASSES[label]
    raise ValueError(f"{path}: expected labels by name or as 0 to {len(V2C_CLASSES) - 1}, got {label!r}")


def _from_table(text: str, path: Path) -> list[tuple[str | None, str]]:
    header = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;", key=header.count)
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter)
    if "emotion" not in (rows.fieldnames or ()):
        raise ValueError(f"{path}: expected a column emotion, got {', '.join(rows.fieldnames or ()) or 'none'}")
    return [(row.get("id"), (row["emotion"] or "").strip()) for row in rows]


def read_ids(path: Path) -> set[str]:
    """Clips of a split: the first field of each line of a list such as V2C's val.txt.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a list of clips, there is none")
    ids = {line.split("|")[0].strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()}
    if not ids:
        raise ValueError(f"{path}: expected clips, got none")
    return ids


def told(found: Constant) -> str:
    """One constant answer, as lines of text."""
    counts = ", ".join(f"{name} {number}" for name, number in found.counts.items())
    return (
        f"{found.source}: {found.clips} clips ({counts})\n"
        f"always {found.answer}: {found.hits} of {found.clips} right, accuracy {found.accuracy:.2f} %, "
        f"balanced accuracy {found.balanced_accuracy:.2f} %, macro F1 {found.macro_f1:.2f} %"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path, nargs="?", metavar="LIST", help="labels; the published V2C counts without")
    parser.add_argument("--ids", type=Path, help="only these clips of the list, one per line")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    given = parser.parse_args()
    if given.list is None and given.ids is not None:
        parser.error("expected LIST with --ids, got none")
    try:
        ids = None if given.ids is None else read_ids(given.ids)
        found = published() if given.list is None else [constant(str(given.list), read_labels(given.list, ids))]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if given.json:
        print(json.dumps([asdict(one) for one in found], ensure_ascii=False, indent=2))
        return 0
    print("\n".join(told(one) for one in found))
    if given.list is None:
        test = found[-1]
        clips = round(REPORTED / 100 * test.clips) - test.hits
        print(f"best published on that list: {REPORTED} %, {clips} clips of {test.clips} above the constant answer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
