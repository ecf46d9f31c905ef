"""What a cell shows a line: rankings by every metric, scopes, what is off, and words read without captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from authentic_dubber.evaluation.sets import Case, Content, EvaluationSet, write_set
from authentic_dubber.sweeps.asking import Enquiry
from authentic_dubber.sweeps.features import set_of
from library_builder.readers import build_readers
from library_builder.types import QUERY_MODALITIES, Clip, Emotion
from retrieval import Library

from .conftest import SPACES
from .toy_studies import DEFAULTS, RATE, unit

# Asking


def ids(enquiry: Enquiry, **changes: Any) -> list[dict[str, list[str]]]:
    values = {**DEFAULTS, **{key.replace("__", "."): value for key, value in changes.items()}}
    return [
        {m: [hit.clip.id for hit in found] for m, found in enquiry.hits(i, values).items()}
        for i in range(len(enquiry.cases.cases))
    ]


@pytest.fixture
def enquiry(cases: Path, tmp_path: Path) -> Enquiry:
    return Enquiry(EvaluationSet.open(cases), tmp_path / "features")


def test_unit_vectors_are_ranked_alike_by_every_metric_and_others_are_not(enquiry: Enquiry) -> None:
    alike = [ids(enquiry, retrieval__metric=metric) for metric in ("cosine", "dot", "euclidean")]
    assert alike[0] == alike[1] == alike[2]
    apart = [
        ids(enquiry, retrieval__metric=metric, retrieval__vectors="standardised")
        for metric in ("cosine", "dot", "euclidean")
    ]
    assert apart[0] != apart[1] != apart[2] != apart[0]


def test_standardised_vectors_are_ranked_as_by_hand(enquiry: Enquiry) -> None:
    found = ids(enquiry, retrieval__metric="euclidean", retrieval__vectors="standardised", retrieval__k=4)
    for i, case in enumerate(enquiry.cases.cases):
        shelf = enquiry.shelf(case)
        assert shelf is not None
        clips = list(shelf.clips.values())
        rows = np.stack([clip.emotions["face"].vector for clip in clips]).astype(np.float64)
        own = enquiry.cases.feelings(i)["face"].vector
        apart = ((rows - own) ** 2 / rows.var(0)).sum(1)
        assert found[i]["face"] == [clips[j].id for j in np.argsort(apart)[:4]]


def test_fewer_references_are_the_first_of_more(enquiry: Enquiry) -> None:
    few, many = ids(enquiry, retrieval__k=2), ids(enquiry, retrieval__k=5)
    assert [{m: some[:2] for m, some in line.items()} for line in many] == few
    assert all(len(some) == 5 for line in many for some in line.values())


def test_a_scope_is_kept_to(enquiry: Enquiry) -> None:
    for scope in ("same", "other"):
        for vectors in ("unit", "standardised"):
            found = ids(enquiry, retrieval__scope=scope, retrieval__vectors=vectors)
            for case, line in zip(enquiry.cases.cases, found, strict=True):
                voices = {f"toy/v{int(id[-2:]) % 4}" for some in line.values() for id in some}
                assert voices == {case.voice} if scope == "same" else voices and case.voice not in voices


def test_as_few_clips_as_the_speaker_has_are_anyones(enquiry: Enquiry) -> None:
    """Five of twenty, the same for both kinds of vectors, and not the speaker's own."""
    by_line = [
        ids(enquiry, retrieval__scope="sized", retrieval__vectors=vectors, retrieval__k=20)
        for vectors in ("unit", "standardised")
    ]
    strangers = 0
    for i, case in enumerate(enquiry.cases.cases):
        faces = [set(line[i]["face"]) for line in by_line]
        assert faces[0] == faces[1] and len(faces[0]) == 5
        strangers += sum(f"toy/v{int(id[-2:]) % 4}" != case.voice for id in faces[0])
    assert strangers == pytest.approx(12 * 5 * 3 / 4, abs=12)


def test_what_is_off_is_gone_and_the_rest_as_it_was(enquiry: Enquiry) -> None:
    whole = ids(enquiry)
    for m in QUERY_MODALITIES:
        kept = [{name: some for name, some in line.items() if name != m} for line in whole]
        assert ids(enquiry, retrieval__off=m) == kept == ids(enquiry, input__off=m)
        assert m in enquiry.own(0, {**DEFAULTS, "retrieval.off": m})
        assert m not in enquiry.own(0, {**DEFAULTS, "input.off": m})
    assert ids(enquiry, retrieval__off="all") == [{}] * 12 == ids(enquiry, retrieval__k=0)
    assert ids(enquiry, retrieval__off="audio") == whole
    mute = [enquiry.hits(i, {**DEFAULTS, "retrieval.off": "audio"}) for i in range(12)]
    assert all(hit.audio is None for line in mute for some in line.values() for hit in some)
    shown = [enquiry.hits(i, dict(DEFAULTS)) for i in range(12)]
    assert any(hit.audio is not None for line in shown for some in line.values() for hit in some)


def test_rankings_are_kept_and_read_again(enquiry: Enquiry, cases: Path) -> None:
    first = ids(enquiry)
    kept = list(enquiry.folder.glob("ranking-*.json"))
    assert len(kept) == 1
    stamp = kept[0].stat().st_mtime_ns
    assert ids(Enquiry(EvaluationSet.open(cases), enquiry.folder), retrieval__k=1) == [
        {m: some[:1] for m, some in line.items()} for line in first
    ]
    assert kept[0].stat().st_mtime_ns == stamp


def test_words_alone_are_read_anew_in_set_and_libraries(tmp_path: Path) -> None:
    rng, reader = np.random.default_rng(1), build_readers("light").text
    mixed = reader.read("What a day.", {"scene": "a dark, blue, still shot"})
    assert mixed is not None
    face = Emotion(SPACES["face"], unit(rng, 6))
    clip = Clip("k", "x.mp4", 0, 1, text="Never again!", emotions={"text": mixed.emotion, "face": face})
    case = Case("a", "What a day.", "en", "toy/v", "sad", "waves/p.wav", film="f")
    write_set(
        tmp_path / "set", Content("toy", "2.0", "en", "", {"text": reader.space}, None, (case,)),
        waves={"p.wav": np.full(RATE, 0.1, dtype=np.float32)}, sample_rate=RATE,
        own={"text": mixed.emotion.vector[None]}, libraries={"f": [clip]},
    )  # fmt: skip
    made = EvaluationSet.open(set_of("words", tmp_path / "set", tmp_path / "features"))
    plain, said = reader.read("What a day.", {}), reader.read("Never again!", {})
    assert plain is not None and said is not None
    np.testing.assert_array_equal(made.own["text"][0], plain.emotion.vector)
    assert not np.allclose(plain.emotion.vector, mixed.emotion.vector, atol=0.01)
    (found,) = Library.open(tmp_path / "features" / made.folder.name / "libraries" / "f").clips()
    np.testing.assert_array_equal(found.emotions["text"].vector, said.emotion.vector)
    np.testing.assert_array_equal(found.emotions["face"].vector, face.vector)
    assert set_of("captioned", tmp_path / "set", tmp_path / "features") == tmp_path / "set"
