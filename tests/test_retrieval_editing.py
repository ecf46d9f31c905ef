"""A changed library is what committing its clips afresh would give, shares what it can, and launders nothing."""

import os
from pathlib import Path

import numpy as np
import pytest

from library_builder.types import Clip, Emotion, Reading
from retrieval import choice
from retrieval.editing import add, commit, remove, replace_modality
from retrieval.library import Library, SpaceMismatch
from retrieval.spill import in_order
from retrieval.upkeep import verify
from retrieval.versions import DirtyVersion, NoLibrary, current_version, read_manifest, version_names

from .test_retrieval import exact, random_clips
from .test_retrieval_policies import make_clips


def answers(library: Library, asking: list[Clip]) -> list[object]:
    return [
        {m: [(h.clip.id, h.score) for h in hits] for m, hits in library.top_k(clip.emotions, 5).hits.items()}
        for clip in asking
        if clip.emotions
    ]


def same(one: Library, two: Library, asking: list[Clip]) -> bool:
    clips = [[clip.record() for clip in library.clips()] for library in (one, two)]
    return one.content == two.content and clips[0] == clips[1] and answers(one, asking) == answers(two, asking)


def inodes(root: Path, version: str) -> set[int]:
    return {path.stat().st_ino for path in (root / version).iterdir()}


def test_growing_and_shrinking_equals_committing_afresh(tmp_path: Path) -> None:
    clips = make_clips(200, seed=2)
    first = commit(tmp_path / "a", clips[:40])
    for start in range(40, 200, 10):
        change = add(tmp_path / "a", clips[start : start + 10])
        assert change.counts["added"] == 10
    grown = Library.open(tmp_path / "a")
    assert len(grown.info()["segments"]) < 8, "small segments are joined"
    commit(tmp_path / "b", clips)
    assert same(grown, Library.open(tmp_path / "b"), clips[:10])
    change = remove(tmp_path / "a", films=["dawn"], speakers=["ann"])
    left = [clip for clip in clips if (clip.film, clip.speaker) != ("dawn", "ann")]
    assert change.counts == {"removed": 200 - len(left), "unchanged": len(left)}
    commit(tmp_path / "c", left)
    assert same(Library.open(tmp_path / "a"), Library.open(tmp_path / "c"), clips[:10])
    assert len(Library.open(tmp_path / "a", first)) == 40 and len(grown) == 200


def test_what_two_versions_share_is_one_file(tmp_path: Path) -> None:
    clips = make_clips(60, seed=3)
    first = commit(tmp_path, clips[:50])
    second = add(tmp_path, clips[50:]).version
    shared = inodes(tmp_path, first) & inodes(tmp_path, second)
    assert len(shared) == len(inodes(tmp_path, first)) - 1, "all but the manifest"
    third = remove(tmp_path, ids=[clips[55].id, "nobody"]).version
    assert shared <= inodes(tmp_path, third), "a segment that lost nothing is not rewritten"
    assert Library.open(tmp_path, third).info()["parent"] == second


def test_a_file_system_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(1, "not permitted")

    clips = make_clips(30, seed=3)
    commit(tmp_path, clips[:20])
    monkeypatch.setattr(os, "link", refused)
    add(tmp_path, clips[20:])
    assert len(Library.open(tmp_path)) == 30


def test_adding_again_changes_nothing_and_another_of_the_id_is_refused(tmp_path: Path) -> None:
    clips = make_clips(30, seed=4)
    commit(tmp_path, clips[:20], source={"footage": "a", "kept": 1})
    grown = add(tmp_path, clips[20:], source={"footage": "b"})
    again = add(tmp_path, clips[10:])
    assert again.version == grown.version == current_version(tmp_path) and again.counts["unchanged"] == 20
    assert Library.open(tmp_path).info()["source"] == {"footage": "b", "kept": 1}
    other = clips[3].with_(text="other words")
    with pytest.raises(ValueError, match=f"{other.id}.*a clip of this id with other .*--replace"):
        add(tmp_path, [other])
    with pytest.raises(ValueError, match="twice"):
        add(tmp_path, [other, other], replace=True)
    with pytest.raises(ValueError, match="twice"):
        add(tmp_path, [clips[0].with_(id="new"), clips[1].with_(id="new")])
    assert add(tmp_path, [other], replace=True).counts["replaced"] == 1
    assert Library.open(tmp_path).clip(other.id).text == "other words" and len(Library.open(tmp_path)) == 30


def test_a_version_may_wait_to_be_published(tmp_path: Path) -> None:
    clips = make_clips(30, seed=4)
    first = commit(tmp_path, clips[:10])
    waiting = add(tmp_path, clips[10:20], publish=False).version
    assert current_version(tmp_path) == first
    onto = add(tmp_path, clips[20:], onto=waiting, publish=False).version
    assert len(Library.open(tmp_path, onto)) == 30 and current_version(tmp_path) == first


def test_the_order_and_memory_of_a_commit_change_nothing(tmp_path: Path) -> None:
    clips = make_clips(300, seed=5)
    one = commit(tmp_path / "a", iter(clips))
    two = commit(tmp_path / "b", reversed(clips), most_clips=37)
    assert one == two and len(Library.open(tmp_path / "b").info()["segments"]) > 1
    assert same(Library.open(tmp_path / "a"), Library.open(tmp_path / "b"), clips[:10])


def test_runs_on_disk_merge_into_one_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = [(f"{i:05d}", bytes([i % 256]) * (i % 90)) for i in rng.permutation(9000).tolist()]
    merged = in_order(items, tmp_path, run_bytes=10_000)
    assert next(merged)[0] == "00000" and any(tmp_path.iterdir())
    assert ["00000", *(id for id, _ in merged)] == sorted(id for id, _ in items)
    assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="'00007' twice"):
        list(in_order([*items, ("00007", b"")], tmp_path, run_bytes=10_000))
    assert not any(tmp_path.iterdir())


def test_one_modality_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    clips = [
        clip.with_(captions={"face": "old", "scene": "dim"}, notes=("face: unsure",)) for clip in make_clips(60, 6)
    ]
    commit(tmp_path / "a", clips, most_clips=25, extractors={"face": {"name": "one"}, "scene": {"name": "two"}})
    rng = np.random.default_rng(1)

    def unit() -> Emotion:
        vector = rng.standard_normal(9)
        return Emotion("better/9", vector / np.linalg.norm(vector))

    readings = {clip.id: (unit(), Reading(unit(), "new", ("face: sure",)), None)[i % 3] for i, clip in enumerate(clips)}
    before = Library.open(tmp_path / "a")
    change = replace_modality(tmp_path / "a", "face", readings.items(), extractor={"name": "three"})
    assert current_version(tmp_path / "a") == before.version, "it waits to be compared"
    after = Library.open(tmp_path / "a", change.version)
    assert after.spaces["face"] == "better/9" and after.spaces["scene"] == before.spaces["scene"]
    assert after.info()["extractors"] == {"scene": {"name": "two"}, "face": {"name": "three"}}
    expected = []
    for clip in clips:
        kept = {m: e for m, e in clip.emotions.items() if m != "face"}
        match readings[clip.id]:
            case Emotion() as emotion:
                expected.append(clip.with_(emotions=kept | {"face": emotion}))
            case Reading(emotion, caption, notes):
                captions = {"face": caption, "scene": "dim"}
                expected.append(clip.with_(emotions=kept | {"face": emotion}, captions=captions, notes=notes))
            case None:
                expected.append(clip.with_(emotions=kept, captions={"scene": "dim"}, notes=()))
    commit(tmp_path / "b", expected)
    assert same(after, Library.open(tmp_path / "b"), expected[:10])
    shared = inodes(tmp_path / "a", before.version) & inodes(tmp_path / "a", after.version)
    assert len(shared) == 3 * 3, "the other modalities' indices of three segments"
    short = dict(list(readings.items())[1:])
    with pytest.raises(ValueError, match=f"got none for {clips[0].id}"):
        replace_modality(tmp_path / "a", "face", short.items())
    with pytest.raises(ValueError, match="60 face readings, one per clip, got 61"):
        replace_modality(tmp_path / "a", "face", [*readings.items(), ("stranger", None)])
    assert len(version_names(tmp_path / "a")) == 2


def test_two_extractors_may_not_share_a_space(tmp_path: Path) -> None:
    clips = make_clips(20, seed=7)
    commit(tmp_path, clips[:10], extractors={"face": {"weights": "aa"}})
    with pytest.raises(SpaceMismatch, match=r"face.*weights 'aa', got 'bb'"):
        add(tmp_path, clips[10:], extractors={"face": {"weights": "bb"}})
    add(tmp_path, clips[10:], extractors={"face": {"weights": "aa"}, "scene": {"weights": "cc"}})
    assert set(Library.open(tmp_path).info()["extractors"]) == {"face", "scene"}


def test_harm_is_not_carried_into_a_new_version(tmp_path: Path) -> None:
    """Records read to be written again would get a fresh checksum, whatever had happened to them."""
    clips = make_clips(40, seed=8)
    path = next((tmp_path / commit(tmp_path, clips)).glob("*.lmdb"))
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DirtyVersion, match=path.name):
        remove(tmp_path, ids=[clips[0].id])
    assert len(version_names(tmp_path)) == 1


def test_changes_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoLibrary):
        add(tmp_path / "none", make_clips(3, 0))
    with pytest.raises(NoLibrary):
        remove(tmp_path, ids=["a"])
    commit(tmp_path, make_clips(9, seed=9))
    with pytest.raises(ValueError, match="got none"):
        remove(tmp_path)
    with pytest.raises(ValueError, match="at least one clip"):
        remove(tmp_path, speakers=["ann", "ben", ""])
    with pytest.raises(ValueError, match="single string"):
        remove(tmp_path, films="dawn")
    assert remove(tmp_path, licences=["MIT"]).counts["removed"] == 0
    assert len(version_names(tmp_path)) == 1


def test_a_library_too_large_to_scan_gets_cells_and_keeps_to_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threshold lowered, the rest real: the manifest tells the recipe and the recall that was measured, answers
    are the exact ones at that recall, and an episode added is a small exact index beside it, merged at search."""
    monkeypatch.setattr(choice, "EXACT_BYTES", 1 << 15)
    clips = random_clips(3000, seed=3, width=16)
    commit(tmp_path / "lib", clips[:2900], budget=choice.Budget(recall=0.98), seed=5)
    change = add(tmp_path / "lib", clips[2900:])
    opened = Library.open(tmp_path / "lib")
    manifest = read_manifest(tmp_path / "lib", change.version)
    recipes = [one.indices["scene"] for one in manifest.facts.segments]
    assert [recipe["kind"] for recipe in recipes] == ["approximate", "exact"]
    assert recipes[0]["recall"] >= 0.98 and recipes[0]["seed"] == 5
    assert manifest.facts.budget == {"recall": 0.98, "memory_bytes": None}
    again = commit(tmp_path / "lib", clips[:2900], budget=choice.Budget(recall=0.5), seed=5)
    # The same clips under another budget are another version.
    assert read_manifest(tmp_path / "lib", again).facts.budget["recall"] == 0.5
    right = asked = 0
    rows = np.stack([clip.emotions["scene"].vector for clip in clips])
    for clip in clips[::30]:
        query = {"scene": clip.emotions["scene"]}
        # The nearest hundred by float32, then exactly: every pair exactly took longer than all the rest.
        near = np.argsort(-(rows @ query["scene"].vector))[:100]
        truth = [id for _, id in exact(query["scene"], [clips[i] for i in near], "scene")[:3]]
        found = [hit.clip.id for hit in opened.top_k(query, 3).hits["scene"]]
        right, asked = right + len(set(truth) & set(found)), asked + 3
    assert right / asked > 0.95  # 300 neighbours: the recall less four standard deviations


def test_all_segments_together_keep_to_the_memory(tmp_path: Path) -> None:
    """Exact indices while they fit, then shorter codes, then a refusal by name that leaves the library as it was."""
    clips = random_clips(7000, seed=3, width=16)
    memory = int(2.35 * (4 * 16 + 8) * 4 * 1000)  # of exact indices, 1000 clips of four modalities each
    root = tmp_path / "lib"
    commit(root, clips[:3000], most_clips=1000, budget=choice.Budget(0.9, memory))
    with pytest.raises(choice.BudgetMissed, match="expected"):
        for first in range(3000, 7000, 400):
            facts = read_manifest(root, current_version(root)).facts
            assert "approximate" in [one.indices["scene"]["kind"] for one in facts.segments]
            assert sum(one.index_bytes for one in facts.segments) <= memory
            files = (root / current_version(root)).glob("*.faiss")
            assert sum(path.stat().st_size for path in files) <= 1.05 * memory, "as reckoned, but for headers"
            add(root, clips[first : first + 400])
    assert len(Library.open(root)) == facts.count and not verify(root)
