"""The audit of captions: right words, right counts, true bounds, clear errors, whatever the file looks like."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import random
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clip_invariance.audit.captions import counting, reading
from clip_invariance.audit.captions import page as pages
from clip_invariance.audit.captions import run as tool
from clip_invariance.audit.captions.counting import Tally, count
from clip_invariance.audit.captions.factors import Factors, normalise, read_factors
from clip_invariance.audit.captions.reading import sources
from clip_invariance.audit.captions.worth import policy_of, worths
from clip_invariance.captions import CaptionPolicy
from clip_invariance.cli import _print_table, main
from clip_invariance.errors import UsageError
from clip_invariance.results import find_project
from clip_invariance.theory.gain import mention_gain
from clip_invariance.worlds.dashcam import WORDS

SMALL = """
[light.values]
red = ["red light"]
green = ["green light"]

[car]
ignore = ["cable car"]
[car.values]
car = ["car", "cars"]
police = ["police car"]
"""


def factors_of(tmp_path: Path, text: str = SMALL) -> Factors:
    file = tmp_path / "factors.toml"
    file.write_text(text, encoding="utf-8")
    return read_factors(file)


def counted(path: Path, factors: Factors, column: str | None = None) -> Tally:
    return count(sources([path], column), factors, lambda *_: None)[0]


def named(factors: Factors, *captions: str) -> list[set[str]]:
    """Which values each caption names."""
    bits = [value for _, value in factors.bits()]
    patterns = factors.patterns(pl.Series(captions, dtype=pl.String)).to_list()
    return [{value for bit, value in enumerate(bits) if pattern >> bit & 1} for pattern in patterns]


# ---------------------------------------------------------------- words


def test_whole_words_in_any_case_and_phrases_within_a_sentence(tmp_path: Path) -> None:
    factors = factors_of(tmp_path)
    assert named(factors, "A RED-LIGHT ahead", "red_light", "infrared light", "red lights", "it is red. Light rain") == [
        {"red"}, {"red"}, set(), set(), set()
    ]  # fmt: skip
    assert named(factors, "red\nlight,green light", "(car)", "scar", "car's door", "carś") == [
        {"red", "green"}, {"car"}, set(), {"car"}, set()
    ]  # fmt: skip


def test_the_longest_phrase_of_a_factor_wins(tmp_path: Path) -> None:
    factors = factors_of(tmp_path)
    assert named(factors, "a police car", "a police car and a car", "police car police car", "a cable car") == [
        {"police"}, {"police", "car"}, {"police"}, set()
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "yes", "no"),
    [
        ("Straße", "auf der STRASSE die straße entlang", "straßen"),
        ("красный свет", "Горит КРАСНЫЙ свет.", "красный, свет"),
        ("φανάρι", "κόκκινο ΦΑΝΆΡΙ", "φανάρια"),
        ("إشارة حمراء", "عند إشارة حمراء هنا", "إشارة خضراء"),
        ("אור אדום", "רמזור: אור אדום", "אור ירוק"),
        ("लाल बत्ती", "सामने लाल बत्ती है", "लाल बत्तीसी"),
        ("สีแดง", "ไฟจราจรสีแดงอยู่ข้างหน้า", "สีเขียว"),
        ("红灯", "前面是红灯，请停车", "绿灯"),
        ("赤信号", "前方は赤信号です", "青信号"),
        ("빨간 불", "앞에 빨간 불 있음", "빨간불"),
        ("café", "devant le cafe\u0301", "cafe"),
        ("ไฟแดง", "ติดไฟแดง", "ไฟเขียว"),
        ("۱۲", "شماره ۱۲", "۱۲۳"),
        ("🚦", "", ""),
    ],
)
def test_a_word_in_every_script(tmp_path: Path, word: str, yes: str, no: str) -> None:
    text = f'[f.values]\nv = ["{word}"]\n'
    if word == "🚦":
        with pytest.raises(UsageError, match="no letters or digits"):
            factors_of(tmp_path, text)
        return
    assert named(factors_of(tmp_path, text), yes, no) == [{"v"}, set()]


def plain_tokens(text: str) -> list[str]:
    """Tokens of a text by going through it letter by letter, with bars where a sentence is parted."""
    text = unicodedata.normalize("NFC", text).lower()
    spaced = ""
    for letter in text:
        kind = unicodedata.category(letter)
        if kind == "Cf" or (spaced.endswith("| ") and _parts(letter)):
            continue
        if kind[0] in "LMN":
            spaced += letter
        else:
            spaced += " | " if _parts(letter) else "  "  # two: a bar that is not next to the last one counts anew
    return [token for token in spaced.split(" ") if token]


def _parts(letter: str) -> bool:
    """Whether no phrase reaches across the letter: punctuation and symbols, but what joins words."""
    kind = unicodedata.category(letter)
    joins = kind == "Pd" or letter == "_" or letter in "\t\n\x0b\x0c\r \x85" or kind[0] == "Z"
    return kind[0] not in "LMN" and kind != "Cf" and not joins


def plain_names(text: str, words: Sequence[str]) -> bool:
    """Whether one of the words stands in the text, by comparing tokens."""
    tokens = plain_tokens(text)
    for word in words:
        wanted = plain_tokens(word)
        if any(tokens[i : i + len(wanted)] == wanted for i in range(len(tokens) - len(wanted) + 1)):
            return True
    return False


LETTERS = st.sampled_from([*"aAbB zé-_.,'\n\t|ßЖжμ\u0301\u200d’ǅ²"])
TEXTS = st.one_of(st.text(LETTERS, max_size=12), st.text(max_size=12))


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
@example(text="a\u200db . - c")
def test_one_form_is_what_letter_by_letter_gives(text: str) -> None:
    if any(unicodedata.category(letter) == "Cn" for letter in text):
        return  # libraries disagree on what later editions of Unicode will put there
    assert normalise(pl.Series([text]))[0].split() == plain_tokens(text)


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.text(LETTERS, max_size=16), min_size=1, max_size=8), words=st.lists(
    st.text(st.sampled_from([*"abé Жж-"]), min_size=1, max_size=4), min_size=1, max_size=3))  # fmt: skip
def test_matching_is_what_comparing_tokens_gives(texts: list[str], words: list[str]) -> None:
    usable = [word for word in words if any(unicodedata.category(letter)[0] in "LN" for letter in word)]
    if not usable:
        return
    listed = ", ".join(json.dumps(word, ensure_ascii=False) for word in usable)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clip_invariance.audit.captions.factors.example", lambda: f"[f.values]\nv = [{listed}]\n")
        factors = read_factors(None)
    assert [bool(found) for found in named(factors, *texts)] == [plain_names(text, usable) for text in texts]


# ---------------------------------------------------------------- counts


SAID = st.sampled_from(["a car", "red light", "green light", "police car", "on a road", ""])


@settings(max_examples=40, deadline=None)
@given(captions=st.lists(st.lists(SAID, max_size=4), max_size=30))
def test_rates_are_what_a_plain_loop_counts(
    tmp_path_factory: pytest.TempPathFactory, captions: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("rates")
    factors = factors_of(folder)
    texts = [", ".join(parts) for parts in captions]
    file = folder / "c.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["url", "caption"])
        writer.writerows([i, text] for i, text in enumerate(texts))
    tally = counted(file, factors)
    assert (tally.captions, tally.empty) == (len(texts), sum(not text.strip() for text in texts))
    said = [
        {v for v, w in (("red", "red light"), ("green", "green light"), ("police", "police car"), ("car", "a car"))
         if w in text} for text in texts
    ]  # fmt: skip
    for bit, (_, value) in enumerate(factors.bits()):
        assert tally.having(1 << bit) == sum(value in values for values in said)
    bits = counting.bits_of(factors)
    assert tally.having_both(bits["light"], bits["car"]) == sum(
        bool(values & {"red", "green"}) and bool(values & {"car", "police"}) for values in said
    )
    assert tally.several(bits["light"]) == sum(values >= {"red", "green"} for values in said)


# ---------------------------------------------------------------- files

ROWS = ["a red light", "", "two cars, at\na green light", 'the "police car"', "nothing"]


def write_table(path: Path, rows: Sequence[str], delimiter: str, **options: Any) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, **options)
    writer.writerow(["key", "caption"])
    writer.writerows([f"k{i}", row] for i, row in enumerate(rows))
    path.write_bytes(stream.getvalue().encode())


@pytest.mark.parametrize("kind", ["csv", "crlf", "bom", "tsv", "csv.gz", "parquet", "lines", "headless", "folder"])
def test_the_same_captions_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    factors, column = factors_of(tmp_path), None
    path = tmp_path / f"c.{kind}"
    rows = [row.replace("\n", " ") for row in ROWS] if kind == "lines" else ROWS
    if kind in ("csv", "crlf", "bom"):
        path = tmp_path / "c.csv"
        write_table(path, rows, ",", lineterminator="\r\n" if kind == "crlf" else "\n")
        if kind == "bom":
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"key,caption", b"caption,key", 1))
            swapped = io.StringIO(newline="")
            csv.writer(swapped).writerows([["caption", "key"], *([row, "k"] for row in rows)])
            path.write_bytes(b"\xef\xbb\xbf" + swapped.getvalue().encode())
    elif kind == "tsv":
        write_table(path, rows, "\t")
    elif kind == "csv.gz":
        write_table(path, rows, ",")
        path.write_bytes(gzip.compress(path.read_bytes()))
    elif kind == "parquet":
        parquet.write_table(pa.table({"caption": [row or None for row in rows], "key": list("abcde")}), path)
    elif kind == "lines":
        path = tmp_path / "c.txt"
        path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    elif kind == "headless":
        path, column = tmp_path / "c.tsv", "2"
        write_table(path, rows, "\t")
        path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
    else:
        path.mkdir()
        write_table(path / "a.csv", rows[:2], ",")
        write_table(path / "b.tsv", rows[2:], "\t")
        (path / "notes.md").write_text("no captions")
    tally = count(sources([path], column), factors, lambda *_: None)[0]
    assert (tally.captions, tally.empty) == (5, 1)
    assert sorted(tally.patterns.items()) == [(0, 1), (0b0001, 1), (0b0110, 1), (0b1000, 1)]


def test_ten_files_and_batches_of_any_size_count_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    factors = factors_of(tmp_path)
    rows = [random.Random(i).choice(ROWS) for i in range(5000)]
    paths = []
    for number in range(10):
        paths.append(tmp_path / f"{number}.csv")
        write_table(paths[-1], rows[500 * number : 500 * (number + 1)], ",")
    monkeypatch.setattr(counting, "SAMPLE", 64)
    whole = count(sources(paths, None), factors, lambda *_: None)
    monkeypatch.setattr(reading, "_BLOCK", 2000)
    read: list[int] = []
    small = count(sources(paths, None), factors, lambda done, _: read.append(done))
    assert whole[0] == small[0]
    assert whole[0].captions == 5000
    assert whole[1].to_list() == small[1].to_list()  # the sample depends on the captions' places alone
    assert len(whole[1]) == 64
    assert sum(read) == sum(path.stat().st_size for path in paths)


def test_the_usual_names_are_found_and_doubt_is_told(tmp_path: Path) -> None:
    for name in ("caption", "title", "TEXT", "text", "Caption"):
        pd.DataFrame({"url": ["u"], name: ["a car"]}).to_parquet(tmp_path / "x.parquet")
        assert sources([tmp_path / "x.parquet"], None)[0].column == name
    pd.DataFrame({"title": ["u"], "caption": ["a car"]}).to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(
        UsageError, match="several of its columns may be captions: choose with --column from title, caption"
    ):
        sources([tmp_path / "two.csv"], None)
    assert sources([tmp_path / "two.csv"], "title")[0].column == "title"


# ---------------------------------------------------------------- gains


def synthetic(tmp_path: Path, light: float, n: int = 60_000) -> Path:
    """Captions by the report's own policy: colour and body always named, the light at a rate."""
    generator = torch.Generator().manual_seed(0)
    labels = {f: torch.randint(len(v), (n,), generator=generator) for f, v in WORDS.phrases.items()}
    policy = CaptionPolicy({"car_colour": 1.0, "body": 1.0, "light": light})
    path = tmp_path / "policy.txt"
    path.write_text("\n".join(policy.sample(WORDS, labels, 0).strings()) + "\n", encoding="utf-8")
    return path


POLICY_FACTORS = "\n".join(
    f"[{factor}.values]\n" + "\n".join(f"v{i} = {json.dumps(list(words))}" for i, words in enumerate(values))
    for factor, values in WORDS.phrases.items()
    if factor in ("car_colour", "body", "light")
)


def test_gains_of_the_reports_own_captions_are_those_of_the_theory(tmp_path: Path) -> None:
    from clip_invariance.theory.gain import Policy

    # "red" and "green" are words of cars and, in phrases, of lights.
    factors = factors_of(tmp_path, POLICY_FACTORS.replace("[car_colour.values]", (
        '[car_colour]\nignore = ["red light", "green light"]\n[car_colour.values]')))  # fmt: skip
    tally, sample = count(sources([synthetic(tmp_path, 0.1)], None), factors, lambda *_: None)
    found = {worth.factor: worth for worth in worths(tally, sample, factors, 128)}
    values = {"car_colour": [1 / 6] * 6, "body": [1 / 3] * 3, "light": [1 / 2] * 2}
    true = Policy.independent(values, {"car_colour": 1.0, "body": 1.0, "light": 0.1})
    for name in values:
        assert found[name].gain == pytest.approx(mention_gain(true, name, 128), rel=0.04)
        assert found[name].low <= found[name].gain <= found[name].high
    assert found["light"].high == pytest.approx(0.1 * math.log(2), rel=0.04)
    assert [worth.factor for worth in worths(tally, sample, factors, 128)] == ["car_colour", "body", "light"]
    assert found["light"].order == 3


def test_the_lower_bound_is_the_gain_where_captions_say_nothing_else(tmp_path: Path) -> None:
    """All else is known then, too: lower bound and estimate are one number."""
    rng = np.random.default_rng(0)
    cars, lights = rng.integers(2, size=40_000), rng.integers(2, size=40_000)
    said = rng.random(40_000) < 0.3
    path = tmp_path / "plain.txt"
    path.write_text("".join(
        f"a {('car', 'police car')[car]}{(' at a red light', ' at a green light')[light] if yes else ''}\n"
        for car, light, yes in zip(cars, lights, said, strict=True)
    ).replace(" at a ", " "))  # fmt: skip
    factors = factors_of(tmp_path)
    tally, sample = count(sources([path], None), factors, lambda *_: None)
    light = next(worth for worth in worths(tally, sample, factors, 32) if worth.factor == "light")
    assert light.low == pytest.approx(light.gain, rel=0.03)
    assert 0 < light.gain < light.high


def test_captions_of_different_words_leave_nothing_to_tell_apart(tmp_path: Path) -> None:
    path = tmp_path / "unique.txt"
    path.write_text("".join(f"photo {i} of a {('red', 'green')[i % 2]} light\n" for i in range(500)))
    factors = factors_of(tmp_path)
    tally, sample = count(sources([path], None), factors, lambda *_: None)
    light = worths(tally, sample, factors, 64)[0]
    assert light.low == 0
    assert light.gain == pytest.approx(math.log(2), rel=0.05)


def test_silence_that_means_none_is_a_value(tmp_path: Path) -> None:
    text = '[p]\nsilence = "none"\n[p.values]\nsomebody = ["pedestrian"]\n[q.values]\nsomebody = ["walker"]\n'
    factors = factors_of(tmp_path, text)
    path = tmp_path / "p.txt"
    path.write_text("a pedestrian and a walker\n" * 100 + "a road\n" * 300)
    tally, sample = count(sources([path], None), factors, lambda *_: None)
    found = {worth.factor: worth for worth in worths(tally, sample, factors, 64)}
    assert found["p"].high == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))
    assert found["p"].gain > 0.4
    assert (found["q"].gain, found["q"].high, found["q"].order) == (0, 0, None)
    assert dict(policy_of(tally, factors).values)["p"] == pytest.approx([0.25, 0.75])


# ---------------------------------------------------------------- the command


def write_small(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "factors.toml").write_text(SMALL)
    write_table(tmp_path / "c.csv", [*ROWS * 20], ",")
    return tmp_path / "c.csv", tmp_path / "factors.toml"


def test_the_command_prints_and_keeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, factors = write_small(tmp_path)
    out = tmp_path / "out"
    arguments = ["captions", str(path), "--factors", str(factors), "--batch", "64", "--output", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "order factor" in printed
    assert "no law is registered" in printed
    assert "100 captions, 20 of them empty" in printed
    assert sorted(file.name for file in out.iterdir()) == [
        "captions.csv", "captions.dark.png", "captions.json", "captions.md", "captions.png"
    ]  # fmt: skip
    table = pd.read_csv(out / "captions.csv")
    light = table[(table["what"] == "factor") & (table["factor"] == "light")].iloc[0]
    assert (light["captions"], light["percent"]) == (40, 50)
    page = (out / "captions.md").read_text()
    assert "no law is registered" in page
    assert "police" in page
    first = (out / "captions.csv").read_bytes()
    assert main([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((out / "captions.json").read_text())
    assert record["inputs"]["batch"] == 64
    assert (out / "captions.csv").read_bytes() == first


def test_the_page_shows_what_the_command_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = find_project()
    page = (project / "book" / "captions_tool.md").read_text(encoding="utf-8")
    file = project / "book" / "_data" / "example_captions.csv"
    assert f"clip-invariance captions {file.relative_to(project)} --batch 512" in page
    shown = page.split("```text\n")[1].split("\n```")[0].splitlines()
    assert main(["captions", str(file), "--batch", "512", "--output", str(tmp_path / "out")]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed[:-1] == shown
    assert printed[-1] == str(tmp_path / "out" / "captions.md")


def test_other_inputs_do_not_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, factors = write_small(tmp_path)
    out = tmp_path / "out"
    arguments = ["captions", str(path), "--factors", str(factors), "--output", str(out)]
    assert main(arguments) == 0
    before = (out / "captions.csv").read_bytes()
    assert main([*arguments, "--batch", "32"]) == 2
    assert "other inputs: add --force" in capsys.readouterr().err
    assert (out / "captions.csv").read_bytes() == before
    assert main([*arguments, "--batch", "32", "--force"]) == 0
    assert (out / "captions.csv").read_bytes() != before


def test_folders_are_named_by_the_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, factors = write_small(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIP_INVARIANCE_PROJECT", raising=False)
    for batch in (32, 64, 64):
        folder = tool.run([path], factors, batch, column=None, output=None, force=False).folder
        assert folder.parent == Path("clip-invariance/captions")
    assert len(list((tmp_path / "clip-invariance" / "captions").iterdir())) == 2


def test_the_example_is_a_file_of_factors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["captions", "--example"]) == 0
    printed = capsys.readouterr().out
    factors = factors_of(tmp_path, printed)
    assert [factor.name for factor in factors.factors] == ["light", "pedestrian", "car", "weather"]
    assert factors.digest == read_factors(None).digest
    assert named(factors, "Cars wait in the rain, a pedestrian at a RED traffic light") == [
        {"red", "somebody", "car", "rain"}
    ]
    assert named(factors, "given the green light for a car park") == [set()]


def test_a_page_for_captions_that_name_nothing(tmp_path: Path) -> None:
    _, factors = write_small(tmp_path)
    (tmp_path / "n.txt").write_text("a road\n" * 5)
    done = tool.run([tmp_path / "n.txt"], factors, 8, column=None, output=tmp_path / "o", force=False)
    page = pages.markdown(done.table, done.record)
    assert "None of the factors can be learned" in page
    assert "No caption names" in page
    assert (done.table["captions"] == 0).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "c.csv: is empty"),
        (b"url,words\nu,a car\n", "choose with --column from url, words; without a header line, count: --column 1"),
        (
            b"caption\na car\ncaf\xe9\n",
            "c.csv: row 2 (the header does not count): the caption is not UTF-8 (byte 0xe9)",
        ),
        (b"\xff\xfec\x00a\x00p\x00", "c.csv: is UTF-16"),
        (b"caption\n \n\n", "all are empty"),
        (b"caption\n", "0 captions were read"),
        (b"url,caption\nu,a car\nu,b,c\n", "c.csv: cannot be read: CSV parse error"),
        (b"caption,caption\na,b\n", "several of its columns"),
        (b'caption,n\n"never closed,1\n' + b"a car,1\n" * 600_000, "is a quotation mark never closed?"),
    ],
)
def test_bad_files_are_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(content)
    assert main(["captions", str(path), "--output", str(tmp_path / "out")]) == 2
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert message in errors
    assert len([line for line in errors.splitlines() if line.startswith("clip-invariance:")]) == 1
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["captions"], "name at least one file"),
        (["captions", "nowhere.csv"], "nowhere.csv: there is no such file"),
        (["captions", "c.csv", "--batch", "1"], "--batch 1"),
        (["captions", "c.csv", "--column", "words"], "c.csv: no column is called words: it has key, caption"),
        (["captions", "c.csv", "--column", "3"], "c.csv: there is no column 3: it has 2"),
        (["captions", "c.csv", "c.csv"], "given twice"),
        (["captions", "c.csv", "--factors", "none.toml"], "none.toml: there is no such file of factors"),
        (["captions", "c.docx"], "c.docx: unknown kind of file"),
        (["captions", "broken.parquet"], "broken.parquet: cannot be read"),
        (["captions", "cut.csv.gz"], "cut.csv.gz: cannot be read"),
        (["captions", "numbers.parquet", "--column", "n"], "numbers.parquet: column n holds int64, not text"),
        (["captions", "empty"], "empty: the folder holds no file ending in"),
        (["captions", "c.csv", "--output", "c.csv"], "is a file, not a folder"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_small(tmp_path)
    (tmp_path / "c.docx").write_text("x")
    (tmp_path / "broken.parquet").write_text("PAR1 and nothing else")
    big = "caption\n" + "".join(f"{random.Random(i).random()}\n" for i in range(5000))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(big.encode())[:20_000])
    parquet.write_table(pa.table({"n": [1, 2]}), tmp_path / "numbers.parquet")
    (tmp_path / "empty").mkdir()
    assert main(arguments) == 2
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert message in errors
    assert len([line for line in errors.splitlines() if line.startswith("clip-invariance:")]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no factor"),
        ("[light", "factors.toml:"),
        ("[light]\nvalue = 1\n[light.values]\nred = ['red']\n", "factor light, value: unknown key; there are values"),
        ("[light]\n", "factor light, values: field required"),
        ("[light.values]\n", "factor light has no values"),
        ("[light.values]\nred = []\n", "value red has no words"),
        ("[light.values]\nred = 'red'\n", "factor light, values.red: input should be a valid list"),
        ("[light.values]\nred = ['...']\n", "the word '...' has no letters or digits"),
        ("[light.values]\nred = ['Red-Light']\ngreen = ['red light']\n", "'red light' is in two values, red and green"),
        ("[light.values]\nred = ['a']\nRed = ['b']\n", "two values are called Red"),
        ("[light.values]\nred = ['a']\n[Light.values]\nred = ['a']\n", "factor Light: there is a factor light already"),
        ("[light.values]\nred = ['a']\nred = ['b']\n", "factors.toml: "),
        ("[light]\nsilence = 'maybe'\n[light.values]\nred = ['a']\n", "light, silence: input should be 'unknown' or 'none'"),
        ("light = 1\n", "factor light: input should be a valid dictionary"),
        ("[f.values]\n" + "".join(f"v{i} = ['w{i}']\n" for i in range(64)), "64 values in all, at most 63"),
    ],
)  # fmt: skip
def test_bad_factors_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        factors_of(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "factors.toml"))
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- what a stranger may name

NAMES = {
    "escape": "a\x1b[31m", "C1 escape": "a\x9b31m", "line break": "a\nb", "next line": "a\x85b", "delete": "a\x7f",
    "separator": "a\u2028b", "paragraph": "a\u2029b", "direction": "a\u202eb", "zero width": "a\u200bb",
    "long": "a" * 101, "formula": "=HYPERLINK(0)", "plus": "+1", "minus": "-1", "at": "@SUM(1)", "full width": "＝1",
    "full-width at": "＠SUM(1)", "full-width plus": "＋1", "full-width minus": "－1", "space before": " =1",
    "second column": "a;=1", "quoted": 'a,"=1',
}  # fmt: skip


@pytest.mark.parametrize("place", ["factor", "value", "key"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_names_that_do_harm_where_they_are_shown_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, place: str
) -> None:
    path, factors = write_small(tmp_path)
    key = json.dumps(name).replace("\x7f", "\\u007f")
    tables = {
        "factor": f"[{key}.values]\nv = ['car']\n",
        "value": f"[f.values]\n{key} = ['car']\n",
        "key": f"[f]\n{key} = 1\n[f.values]\nv = ['car']\n",
    }
    factors.write_text(tables[place], encoding="utf-8")
    assert main(["captions", str(path), "--factors", str(factors), "--output", str(tmp_path / "out")]) == 2
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert len(errors.splitlines()) == 1
    assert f"{factors}: the name " in errors
    assert errors.removesuffix("\n").isprintable()
    assert not (tmp_path / "out").exists()


def test_names_of_a_hundred_letters_with_signs_inside_are_taken(tmp_path: Path) -> None:
    name = "x=1+2-3@4; " + "a" * 89
    assert [factor.name for factor in factors_of(tmp_path, f"['{name}'.values]\n'a-b' = ['car']\n").factors] == [name]


MARKUP = ["<img src=//a.example onerror=alert(1)>", "[x](//a.example)", "**x** | y"]  # of factors
MARKED = ["![x](//a.example)", "`x` | y", "<b>"]  # of values


def test_nothing_that_others_name_is_markup_on_the_page(tmp_path: Path) -> None:
    from markdown_it import MarkdownIt

    folder = tmp_path / "a` <b>x<b> [l](y) `"
    folder.mkdir()
    file, factors = folder / "c`<i>_x_.csv", folder / "f`<i>[x](y).toml"
    column = "` <u> [z](//a.example)"
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([[column], ["zero one"], ["zero"], ["zero other"], ["two"], ["other two"]])
    factors.write_text("".join(
        f"[{json.dumps(name)}.values]\n{json.dumps(value)} = ['{word}']\nother = ['other']\n"
        for name, value, word in zip(MARKUP, MARKED, ["zero", "one", "two"], strict=True)
    ) + "['never *x*'.values]\nv = ['never']\n['alone *x*'.values]\nv = ['zero']\n")  # fmt: skip
    done = tool.run([file], factors, 8, column=column, output=tmp_path / "out", force=False)
    page = (tmp_path / "out" / "captions.md").read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    parts = [part for token in tokens for part in (token, *(token.children or []))]
    assert not [part for part in parts if part.type.startswith(("html", "link"))]
    assert [part.attrs["src"] for part in parts if part.type == "image"] == ["captions.png"]
    assert [part.content for part in parts if part.type == "code_inline"] == [done.record["inputs"]["factors_sha256"]]
    text = "".join(part.content for part in parts if part.type in ("text", "text_special"))
    shown = [*MARKUP, *MARKED, str(file), str(factors), f"column {column},"]
    for name in (
        *shown,
        "No caption names never *x*:",
        "Only one value of alone *x* is ever named",
        f"{MARKUP[0]} in 1",
    ):
        assert name in text
    cells = [part.content for part in parts if part.type == "th_open"]
    assert len(cells) == 6 + 3 + 1 + len(MARKUP) + 2
    table = (tmp_path / "out" / "captions.csv").read_text(encoding="utf-8")
    assert "c`" not in table
    assert "<u>" not in table


@pytest.mark.parametrize("name", ["$\\frac$", "cost in $ and $_", "\\$a$"])
def test_a_dollar_in_a_name_is_a_dollar_in_the_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path, factors = write_small(tmp_path)
    factors.write_text(f"['{name}'.values]\na = ['red light']\nb = ['green light']\n")
    assert main(["captions", str(path), "--factors", str(factors), "--output", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err == ""


def test_no_cell_of_a_table_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    _print_table(("a", "b\x1b]0;x\x07"), [("\x1b[2J", "[red]c[/red] :car:"), ("\u202ed", "\x9b31m")])
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()
    for shown in (r"b\x1b]0;x\x07", r"\x1b[2J", "[red]c[/red] :car:", r"\u202ed", r"\x9b31m"):
        assert shown in printed


def test_the_name_of_a_file_is_no_command_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, factors = write_small(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIP_INVARIANCE_PROJECT", raising=False)
    named = path.rename(tmp_path / "c\x1b[31m.csv")
    assert main(["captions", str(named), "--factors", str(factors)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert r"c\x1b[31m-" in printed
