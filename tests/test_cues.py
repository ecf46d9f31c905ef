"""Cue sheets: every format says the same, times are exact, a bad row costs itself alone and is named by its line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from library_builder.cues import Cue, CueError, find_cues, parse_time, read_cues

SRT = """1
00:00:01,000 --> 00:00:02,500
ANNA: Where have
<i>you</i> been?

2
00:00:03,000 --> 00:00:04,250
Nowhere: at all.
"""

VTT = """WEBVTT - a title

STYLE
::cue { color: red }

NOTE said twice

first
00:01.000 --> 00:02.500 align:start
<v.loud ANNA>Where have
<i>you</i> been?</v>

00:00:03.000 --> 00:00:04.250
Nowhere: at <00:00:03.500>all.
"""

ASS = r"""[Script Info]
Title: x

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:09.00,Default,ANNA,0,0,0,,not said
Dialogue: 0,0:00:01.00,0:00:02.50,Default,ANNA,0,0,0,,{\an8\i1}Where have\Nyou{\i0} been?
Dialogue: 1,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\p1}m 0 0 l 10 0 10 10{\p0}
Dialogue: 0,0:00:03.00,0:00:04.25,Default,,0,0,0,,Nowhere: at all.
"""

CSV = """Start,end,text,character,emotion,audio,film
1,00:00:02.500,Where have you been?,ANNA,angry,takes/a.wav,one
3.0,"00:00:04,25",Nowhere: at all.,,,,
"""

SAID = [(1.0, 2.5, "ANNA", "Where have you been?"), (3.0, 4.25, "", "Nowhere: at all.")]


def plain(cues: tuple[Cue, ...]) -> list[tuple[float, float, str, str]]:
    return [(cue.start, cue.end, cue.character, cue.text) for cue in cues]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.srt", SRT),
        ("a.vtt", VTT),
        ("a.ass", ASS),
        ("a.SSA", ASS),
        ("a.csv", CSV),
        ("a.csv", CSV.replace(",25", "!").replace(",", ";").replace("!", ",25")),
        ("a.tsv", CSV.replace(",25", "!").replace(",", "\t").replace("!", ".25")),
    ],
)
@pytest.mark.parametrize("encode", [lambda t: t, lambda t: "\ufeff" + t.replace("\n", "\r\n")], ids=["lf", "bom-crlf"])
def test_every_format_says_the_same(tmp_path: Path, name: str, content: str, encode: Callable[[str], str]) -> None:
    (tmp_path / name).write_bytes(encode(content).encode())
    sheet = read_cues(tmp_path / name)
    assert plain(sheet.cues) == SAID
    assert sheet.problems == ()


def test_a_table_carries_emotion_audio_and_film(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    first, second = read_cues(tmp_path / "a.csv").cues
    assert (first.emotion, first.audio, first.film) == ("angry", "takes/a.wav", "one")
    assert (second.emotion, second.audio, second.film) == (None, None, None)


@pytest.mark.parametrize("audio", ["../a.wav", "/etc/a.wav", "x/../../a.wav", "C:/a.wav"])
def test_audio_that_climbs_out_is_refused(tmp_path: Path, audio: str) -> None:
    (tmp_path / "a.csv").write_text(f"start,end,character,text,audio\n0,1,A,hello,{audio}\n1,2,A,well,ok.wav\n")
    sheet = read_cues(tmp_path / "a.csv")
    assert [cue.text for cue in sheet.cues] == ["well"]
    assert sheet.problems[0].startswith("line 2: expected a relative path")


@pytest.mark.parametrize("milliseconds", [0, 1, 999, 61_001, 3_599_999, 36_123_456])
def test_clock_times_agree_with_the_calendar(milliseconds: int) -> None:
    span = timedelta(milliseconds=milliseconds)
    whole = str(timedelta(seconds=milliseconds // 1000)).zfill(8)
    for mark in ".,":
        assert parse_time(f"{whole}{mark}{milliseconds % 1000:03d}") == pytest.approx(span.total_seconds(), abs=1e-9)
    assert parse_time(f"{milliseconds / 1000}") == pytest.approx(span.total_seconds(), abs=1e-9)


def drop_frame_count(label: str) -> int:
    """Counts 29.97 drop-frame labels one by one, as a clock on set would: two labels are skipped at most minutes."""
    hours = minutes = seconds = frames = count = 0
    while f"{hours:02d}:{minutes:02d}:{seconds:02d};{frames:02d}" != label:
        frames, count = frames + 1, count + 1
        if frames == 30:
            frames, seconds = 0, seconds + 1
        if seconds == 60:
            seconds, minutes = 0, minutes + 1
            frames = 2 if minutes % 10 else 0
        if minutes == 60:
            minutes, hours = 0, hours + 1
    return count


@pytest.mark.parametrize("label", ["00:00:59;29", "00:01:00;02", "00:10:00;00", "00:12:34;15", "01:00:00;00"])
def test_drop_frame_timecode_is_what_a_clock_on_set_counts(label: str) -> None:
    fps = Fraction(30000, 1001)
    assert parse_time(label, fps=float(fps)) == pytest.approx(float(drop_frame_count(label) / fps), abs=1e-6)


def test_timecode_counts_frames_at_the_nominal_rate() -> None:
    assert parse_time("00:00:01:12", fps=24) == 1.5
    assert parse_time("00:00:01:12", fps=25) == pytest.approx(1.48)
    assert parse_time("01:00:00:00", fps=24000 / 1001) == pytest.approx(3603.6)


@pytest.mark.parametrize(
    ("text", "fps"),
    [
        *((text, None) for text in ("", "soon", "-1", "nan", "1e3", "00:61:00.0", "00:00:60.0", "00:00:01:12")),
        *((text, 25.0) for text in ("00:00:01:25", "00:00:01;12", "1:2:3:4:5")),
    ],
)
def test_times_that_are_none_are_refused(text: str, fps: float | None) -> None:
    with pytest.raises(ValueError, match=r"expected|timecode"):
        parse_time(text, fps=fps)


def test_bad_rows_are_named_by_line_and_the_others_kept(tmp_path: Path) -> None:
    rows = ["start,end,character,text", "0,1,A,one", "2,1,A,inverted", 'x,3,A,"no\ntime"', "3,4,A", "", "4,5,B,two"]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    sheet = read_cues(tmp_path / "a.csv")
    assert [cue.text for cue in sheet.cues] == ["one", "two"]
    assert [problem.partition(":")[0] for problem in sheet.problems] == ["line 3", "line 4", "line 6"]


def test_bad_subtitles_are_named_by_line_and_the_others_kept(tmp_path: Path) -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\none\n"  # the blank line is forgotten
        "2\n00:00:03,000 --> 00:00:02,000\ninverted\n\n"
        "3\n00:00:xx --> 00:00:05,000\nno time\n\n"
        "4\n00:00:05,000 --> 00:00:06,000\n\n"
        "5\n00:00:06,000 --> 00:00:07,000\ntwo\n"
    )
    (tmp_path / "a.srt").write_text(text)
    sheet = read_cues(tmp_path / "a.srt")
    assert [cue.text for cue in sheet.cues] == ["one", "two"]
    lines = text.split("\n")
    blamed = [lines[int(problem.split(":")[0].split()[1]) - 1] for problem in sheet.problems]
    assert blamed == [line for line in lines if line.startswith(("00:00:03", "00:00:xx", "00:00:05"))]


def test_bad_ass_lines_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.ass").write_text(ASS + "Dialogue: 0,0:00:09.00,0:00:08.00,Default,,0,0,0,,late\nDialogue: 0,1\n")
    sheet = read_cues(tmp_path / "a.ass")
    assert len(sheet.cues) == 2
    count = len(ASS.splitlines())
    assert [problem.partition(":")[0] for problem in sheet.problems] == [f"line {count + 1}", f"line {count + 2}"]


def test_two_voices_in_one_cue_are_two_cues_at_the_same_time(tmp_path: Path) -> None:
    body = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Roger Bingham>Hi &amp; hello\n<v Neil>Oh, &lt;hi&gt;</v>\n"
    (tmp_path / "a.vtt").write_text(body)
    assert plain(read_cues(tmp_path / "a.vtt").cues) == [
        (1.0, 2.0, "Roger Bingham", "Hi & hello"),
        (1.0, 2.0, "Neil", "Oh, <hi>"),
    ]


@pytest.mark.parametrize(
    ("line", "character", "text"),
    [
        ("ÉLODIE: Viens !", "ÉLODIE", "Viens !"),
        ("DR. NO-2: Come.", "DR. NO-2", "Come."),
        ("Anna: Come.", "", "Anna: Come."),
        ("12:30: late", "", "12:30: late"),
        ("- Come.", "", "Come."),
        ("3 < 4 and 5 > 4", "", "3 < 4 and 5 > 4"),
        (r"{\an8}<font color='red'>Up</font>", "", "Up"),
    ],
)
def test_names_in_capitals_are_characters_and_markup_is_not_spoken(
    tmp_path: Path, line: str, character: str, text: str
) -> None:
    (tmp_path / "a.srt").write_text(f"1\n00:00:01,000 --> 00:00:02,000\n{line}\n", encoding="utf-8")
    (cue,) = read_cues(tmp_path / "a.srt").cues
    assert (cue.character, cue.text) == (character, text)


def test_grid_alignment_is_one_cue_from_first_to_last_word(tmp_path: Path) -> None:
    (tmp_path / "x.align").write_text(
        "0 17750 sil\n17750 22500 bin\n22500 27000 blue\n27000 27500 sp\n27500 74500 sil\n"
    )
    sheet = read_cues(tmp_path / "x.align", speaker="s1")
    assert plain(sheet.cues) == [(0.71, 1.08, "s1", "bin blue")]
    assert read_cues(tmp_path / "x.align").cues[0].character == ""


def test_a_speaker_is_given_only_to_lines_without_one(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(SRT)
    assert [cue.character for cue in read_cues(tmp_path / "a.srt", speaker="BO").cues] == ["ANNA", "BO"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\n\nÉté".encode("latin-1"), r"UTF-8, got byte 0xc9 on line 4"),
        ("a.csv", "start,end,text\n0,1,hi\n".encode("utf-16"), r"UTF-8, got byte 0xff on line 1"),
        ("a.csv", b"start,end,text\n0,1,hi\n", r"got no character"),
        ("a.csv", b"start,end,character,text\n", r"at least one usable cue"),
        ("a.srt", b"", r"at least one usable cue"),
        ("a.vtt", b"00:01.000 --> 00:02.000\nhi\n", r"WEBVTT"),
        ("a.align", b"0 1000 sil\n", r"at least one usable cue"),
        ("a.txt", b"hello", r"expected one of .*\.srt"),
    ],
)
def test_sheets_that_cannot_be_used_are_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CueError, match=message) as caught:
        read_cues(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_sheet_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.srt"):
        read_cues(tmp_path / "none.srt")


def test_cues_are_found_beside_the_footage_and_in_align(tmp_path: Path) -> None:
    video = tmp_path / "video" / "x.mpg"
    video.parent.mkdir()
    (tmp_path / "align").mkdir()
    assert find_cues(video) is None
    (tmp_path / "align" / "x.align").touch()
    assert find_cues(video) == tmp_path / "align" / "x.align"
    (video.parent / "y.srt").touch()
    (video.parent / "x.csv").touch()
    assert find_cues(video) == video.parent / "x.csv"
