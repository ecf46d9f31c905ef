"""Do published face networks see the faces of this footage, and what do they see in them?

    python recipes/faces.py FOOTAGE... --models DIR --out DIR [--frames N] [--files N] [--json]

Of every FOOTAGE, a file or a folder of files, is told: in how many pictures each detector finds a face, how far the
surest boxes of two detectors overlap where both find one, and which expressions two networks tell of the same face.
DIR of models has the sub-folders `mtcnn/`, `ultraface/`, `face_api/` and `mini_xception/` as published; one that is
missing is left out and named. OUT gets `sheet.png` to look at, `report.html` and `report.json`.
"""

from __future__ import annotations

import argparse
import html
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from library_builder.atomic import whole_file
from library_builder.media import MediaError, probe, sample_frames
from library_builder.pretrained.face_api import FaceApiExpressions, TinyFaceDetector
from library_builder.pretrained.faces import ExpressionReader, FaceDetector, Faces, Framing, Picture, overlap
from library_builder.pretrained.mini_xception import MiniXception
from library_builder.pretrained.mtcnn import Mtcnn
from library_builder.pretrained.source import ModelError
from library_builder.pretrained.ultraface import UltraFace
from library_builder.tracking import CASCADES

SUFFIXES = {".mp4", ".mpg", ".mpeg", ".mkv", ".mov", ".avi", ".webm"}
MAX_HEIGHT = 480
"""Pixels that pictures are shrunk to."""
SAME = 0.5
"""Overlap from which two boxes hold the same face."""
CELL, COLUMNS, PER_GROUP = 240, 6, 12
"""Of the contact sheet: width of a picture in pixels, pictures in a row, pictures of one footage."""
COLOURS = {"cascade": (200, 200, 200), "mtcnn": (60, 220, 60), "ultraface": (255, 170, 40), "face-api": (80, 160, 255)}


class Cascade:
    """OpenCV's frontal cascade, which the light face reader uses: what the others are compared with."""

    name, framing = "cascade", Framing(0.0, 0.0, 1.0)

    def __init__(self) -> None:
        self._cascade = cv2.CascadeClassifier(str(CASCADES[0]))

    def detect(self, picture: Picture) -> Faces:
        """The faces of a picture, largest first: the cascade has no sureness."""
        grey = cv2.equalizeHist(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
        found = np.array(self._cascade.detectMultiScale(grey, 1.1, 4, minSize=(24, 24)), dtype=np.float64).reshape(
            -1, 4
        )
        return Faces(found[np.argsort(-found[:, 2], kind="stable")], np.ones(len(found)))


@dataclass(frozen=True, slots=True)
class Look:
    """One picture, what every detector found in it, and what every network says of its surest face.

    Attributes:
        boxes: the surest box by detector, as the cascade would draw it; absent where there is none.
        shares: of expressions by network, likeliest first; empty without a face.
    """

    picture: Picture
    boxes: dict[str, npt.NDArray[np.float64]]
    told: dict[str, tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Group:
    """What was found in one footage.

    Attributes:
        found: pictures with a face, by detector.
        milliseconds: per picture, by detector.
        agreement: by pair of detectors the pictures in which both find a face, the median overlap of their surest ones,
            and in how many of those it is the same face.
        expressions: pictures by likeliest expression, by network.
        alike: pictures in which the networks tell the same expression.
    """

    footage: str
    files: int
    pictures: int
    found: dict[str, int]
    milliseconds: dict[str, float]
    agreement: dict[str, tuple[int, float | None, int]]
    expressions: dict[str, dict[str, int]]
    told: int
    alike: int | None


def parts(models: Path) -> tuple[list[FaceDetector], list[ExpressionReader], list[str]]:
    """Everything whose weights are there, and what is missing in words."""
    missing: list[str] = []
    detectors: list[FaceDetector] = [Cascade()]
    expressions: list[ExpressionReader] = []
    for kind, name, chosen in (
        (Mtcnn, "mtcnn", detectors),
        (UltraFace, "ultraface", detectors),
        (TinyFaceDetector, "face_api", detectors),
        (FaceApiExpressions, "face_api", expressions),
        (MiniXception, "mini_xception", expressions),
    ):
        try:
            chosen.append(kind(models / name))  # type: ignore[attr-defined]
        except (ModelError, ImportError) as error:
            missing.append(f"{kind.__name__}: {error}")
    return detectors, expressions, missing


def files_of(footage: Path, most: int) -> list[Path]:
    """The file, or films below the folder, evenly chosen.

    Raises:
        FileNotFoundError: there is neither.
    """
    if footage.is_file():
        return [footage]
    films = sorted(path for path in footage.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not films:
        raise FileNotFoundError(f"{footage}: expected footage, there is none")
    return [films[i] for i in np.unique(np.linspace(0, len(films) - 1, min(most, len(films))).round().astype(int))]


def pictures_of(films: Sequence[Path], count: int) -> list[Picture]:
    """Pictures evenly spread over films; a film that cannot be read is named and left out."""
    pictures: list[Picture] = []
    for film in films:
        try:
            length = probe(film).duration
            pictures += [
                f.image for f in sample_frames(film, start=0.0, end=length, count=count, max_height=MAX_HEIGHT)
            ]
        except MediaError as error:
            print(error, file=sys.stderr)
    return pictures


def looked(
    name: str,
    files: int,
    pictures: Sequence[Picture],
    detectors: Sequence[FaceDetector],
    readers: Sequence[ExpressionReader],
) -> tuple[Group, list[Look]]:
    """All detectors and networks over the pictures of one footage."""
    seconds: Counter[str] = Counter()
    looks = []
    for picture in tqdm(pictures, desc=name, unit="picture"):
        boxes, plain = {}, None
        for detector in detectors:
            start = time.perf_counter()
            faces = detector.detect(picture)
            seconds[detector.name] += time.perf_counter() - start  # type: ignore[assignment]
            if len(faces.scores):
                boxes[detector.name] = detector.framing.of_cascade(faces.boxes[:1])[0]
                # Expressions are asked of a network's own box: of the first in the order that has one.
                if plain is None and detector.name != "cascade":
                    plain = faces.boxes[:1]
        told = {}
        for reader in readers if plain is not None else ():
            shares = reader.read(picture, plain)[0]
            told[reader.name] = (reader.labels[int(shares.argmax())], float(shares.max()))
        looks.append(Look(picture, boxes, told))
    return summed(name, files, looks, {k: 1000 * v / max(1, len(looks)) for k, v in seconds.items()}), looks


def summed(name: str, files: int, looks: Sequence[Look], milliseconds: dict[str, float]) -> Group:
    """The figures of one footage."""
    agreement = {}
    for one, other in combinations(milliseconds, 2):
        both = [look.boxes for look in looks if {one, other} <= set(look.boxes)]
        shared = [float(overlap(boxes[one][None], boxes[other][None])[0, 0]) for boxes in both]
        middle = round(float(np.median(shared)), 3) if shared else None
        agreement[f"{one} + {other}"] = (len(both), middle, sum(value >= SAME for value in shared))
    told = [look.told for look in looks if look.told]
    networks = sorted({network for one in told for network in one})
    return Group(
        footage=name,
        files=files,
        pictures=len(looks),
        found={detector: sum(detector in look.boxes for look in looks) for detector in milliseconds},
        milliseconds={detector: round(value, 1) for detector, value in milliseconds.items()},
        agreement=agreement,
        expressions={n: dict(Counter(one[n][0] for one in told).most_common()) for n in networks},
        told=len(told),
        alike=sum(len({label for label, _ in one.values()}) == 1 for one in told) if len(networks) > 1 else None,
    )


def cell(look: Look) -> Picture:
    """A picture with its boxes, and what the networks say below."""
    scale = CELL / look.picture.shape[1]
    height = round(look.picture.shape[0] * scale)
    small = cv2.resize(look.picture, (CELL, height), interpolation=cv2.INTER_AREA)
    for detector, box in look.boxes.items():
        left, top, right, bottom = (round(float(v) * scale) for v in (*box[:2], box[0] + box[2], box[1] + box[3]))
        cv2.rectangle(small, (left, top), (right, bottom), COLOURS.get(detector, (255, 0, 255)), 1)
    foot = np.full((34, CELL, 3), 24, dtype=np.uint8)
    for i, (network, (label, share)) in enumerate(look.told.items()):
        text = f"{network}: {label} {share:.0%}"
        cv2.putText(foot, text, (4, 14 + 15 * i), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (230, 230, 230), 1, cv2.LINE_AA)
    return np.asarray(np.vstack([small, foot]), dtype=np.uint8)


def sheet(looks: dict[str, list[Look]]) -> Picture:
    """Some pictures of every footage, one footage below the other, under a legend."""
    width = CELL * COLUMNS
    legend = np.full((26, width, 3), 24, dtype=np.uint8)
    for i, (detector, colour) in enumerate(COLOURS.items()):
        cv2.putText(legend, detector, (8 + 130 * i, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
    strips = [legend]
    for name, all_looks in looks.items():
        title = np.full((26, width, 3), 60, dtype=np.uint8)
        cv2.putText(title, name, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        strips.append(title)
        chosen = np.unique(np.linspace(0, len(all_looks) - 1, min(PER_GROUP, len(all_looks))).round().astype(int))
        cells = [cell(all_looks[i]) for i in chosen]
        for at in range(0, len(cells), COLUMNS):
            row = cells[at : at + COLUMNS]
            strip = np.full((max(len(one) for one in row), width, 3), 24, dtype=np.uint8)
            for i, one in enumerate(row):
                strip[: len(one), CELL * i : CELL * (i + 1)] = one
            strips.append(strip)
    return np.vstack(strips)


def page(groups: Sequence[Group], missing: Sequence[str]) -> str:
    """The tables and the sheet as one page."""
    body = ["<h1>Faces</h1>", *(f"<p>left out: {html.escape(one)}</p>" for one in missing)]
    for group in groups:
        body.append(f"<h2>{html.escape(group.footage)}: {group.pictures} pictures of {group.files} files</h2>")
        body.append(_table(("detector", "pictures with a face", "ms a picture"), [
            (name, f"{count} ({count / max(1, group.pictures):.0%})", group.milliseconds[name])
            for name, count in group.found.items()
        ]))  # fmt: skip
        body.append(_table(("detectors", "both find one", "median overlap", "the same face"), [
            (pair, both, "not measured" if middle is None else middle, same)
            for pair, (both, middle, same) in group.agreement.items()
        ]))  # fmt: skip
        body.append(_table(("network", "expressions told"), [
            (name, ", ".join(f"{label} {count}" for label, count in counts.items()))
            for name, counts in group.expressions.items()
        ]))  # fmt: skip
        if group.alike is not None:
            body.append(f"<p>The networks tell the same of {group.alike} of {group.told} faces.</p>")
    style = "body{font:15px sans-serif;margin:2em}td,th{padding:2px 12px;text-align:left}img{max-width:100%}"
    inner = "\n".join(body)
    return (
        f'<!doctype html><meta charset="utf-8"><title>Faces</title><style>{style}</style>{inner}<img src="sheet.png">'
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["".join(f"<th>{html.escape(one)}</th>" for one in head)]
    lines += ["".join(f"<td>{html.escape(str(one))}</td>" for one in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def told_in_text(group: Group) -> str:
    """One footage for a terminal."""
    lines = [f"{group.footage}: {group.pictures} pictures of {group.files} files"]
    lines += [
        f"  {name:12}{n:5} with a face ({n / max(1, group.pictures):.0%}), {group.milliseconds[name]} ms a picture"
        for name, n in group.found.items()
    ]
    for pair, (both, middle, same) in group.agreement.items():
        seen = "not measured" if middle is None else f"median overlap {middle}, the same face in {same}"
        lines.append(f"  {pair:24}{both:5} with both, {seen}")
    for name, counts in group.expressions.items():
        lines.append(f"  {name:16}" + ", ".join(f"{label} {count}" for label, count in counts.items()))
    if group.alike is not None:
        lines.append(f"  the same told of {group.alike} of {group.told} faces")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path, nargs="+", help="files, or folders of files")
    parser.add_argument("--models", type=Path, required=True, help="folder of published weights")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheet and the report")
    parser.add_argument("--frames", type=int, default=8, help="pictures of each file (8)")
    parser.add_argument("--files", type=int, default=30, help="at most so many files of a folder, evenly chosen (30)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    given = parser.parse_args()
    detectors, readers, missing = parts(given.models)
    for line in missing:
        print(f"left out: {line}", file=sys.stderr)
    groups, looks = [], {}
    for footage in given.footage:
        films = files_of(footage, given.files)
        group, seen = looked(footage.name, len(films), pictures_of(films, given.frames), detectors, readers)
        groups.append(group)
        looks[footage.name] = seen
    given.out.mkdir(parents=True, exist_ok=True)
    done, png = cv2.imencode(".png", cv2.cvtColor(sheet(looks), cv2.COLOR_RGB2BGR))
    assert done
    report = json.dumps({"groups": [asdict(group) for group in groups], "left_out": missing}, indent=2)
    written = {
        "sheet.png": png.tobytes(),
        "report.json": report.encode(),
        "report.html": page(groups, missing).encode(),
    }
    for name, content in written.items():
        with whole_file(given.out / name) as path:
            path.write_bytes(content)
    print(report if given.json else "\n\n".join(map(told_in_text, groups)))


if __name__ == "__main__":
    main()
