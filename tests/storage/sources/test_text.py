"""CSV and JSONL as people have them: delimiters, encodings, blank rows, long fields."""

from pathlib import Path

import pytest
from tests.storage.sources.listed import errors, fields, write

TULIPS = [{"id": "t", "text": "Tulpen für Ostern"}]


def test_columns_of_a_brief_keep_their_meaning_and_others_become_variables(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "b.csv",
        "ID,Text,want,Aspect Ratio,Shelf Colour,note\n"
        'mug,"A mug, blue",2,4:5,pale oak,\n'
        "\n"
        '"tray","A ""round"" tray\nof wood",,,birch,seen from above\n',
    )
    assert fields(path) == [
        {
            "id": "mug",
            "text": "A mug, blue",
            "want": 2,
            "aspect_ratio": "4:5",
            "variables": {"shelf_colour": "pale oak"},
        },
        {
            "id": "tray",
            "text": 'A "round" tray\nof wood',
            "variables": {"shelf_colour": "birch", "note": "seen from above"},
        },
    ]


def test_rows_know_the_line_that_they_begin_on(tmp_path: Path) -> None:
    from imagewave.storage.sources.read import RawBrief, read_briefs

    for head, first in (("", 2), ("sep=,\n", 3), ("\n\n", 4)):
        path = write(tmp_path, "b.csv", head + 'text\none\n"two\nlines"\nthree\n')
        rows = [row.row for row in read_briefs(str(path)) if isinstance(row, RawBrief)]
        assert rows == [first, first + 1, first + 3]


@pytest.mark.parametrize(
    ("delimiter", "said"), [(",", []), (";", ["semicolons"]), ("\t", ["tabs"])]
)
def test_the_delimiter_is_found_by_the_header_and_said(
    tmp_path: Path, delimiter: str, said: list[str]
) -> None:
    rows = f'id{delimiter}text{delimiter}"Price, EUR; net"\nt{delimiter}"a,b;c"{delimiter}3\n'
    heard: list[str] = []
    found = fields(write(tmp_path, "b.csv", rows), say=heard.append)
    assert found == [{"id": "t", "text": "a,b;c", "variables": {"price_eur_net": "3"}}]
    assert len(heard) == len(said)
    assert all(word in heard[0] for word in said)


def test_tabs_are_what_a_tsv_has(tmp_path: Path) -> None:
    heard: list[str] = []
    path = write(tmp_path, "b.tsv", "id\ttext\nt\ta, b\n")
    assert fields(path, say=heard.append) == [{"id": "t", "text": "a, b"}]
    assert heard == []


@pytest.mark.parametrize("line", ["sep=|\n", "SEP=|\r\n"])
def test_a_spreadsheet_s_line_that_names_the_delimiter_is_followed(
    tmp_path: Path, line: str
) -> None:
    assert fields(write(tmp_path, "b.csv", line + "id|text\nt|a,b\n")) == [
        {"id": "t", "text": "a,b"}
    ]


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("cp1252", "Windows-1252"),
    ],
)
@pytest.mark.parametrize("name", ["b.csv", "b.jsonl"])
def test_the_encoding_is_found_and_said(
    tmp_path: Path, name: str, encoding: str, said: str
) -> None:
    heard: list[str] = []
    content = "id,text\r\nt,Tulpen für Ostern\r\n"
    if name == "b.jsonl":
        content = '{"id": "t", "text": "Tulpen für Ostern"}\r\n'
    path = write(tmp_path, name, content.encode(encoding))
    assert fields(path, say=heard.append) == TULIPS
    assert len(heard) == bool(said)
    assert said in "".join(heard)


def test_what_is_not_plainly_western_is_not_guessed_but_can_be_named(tmp_path: Path) -> None:
    for encoding, text in (("shift_jis", "赤いチューリップ"), ("gbk", "红色的郁金香")):
        [error] = errors(write(tmp_path, "b.csv", f"id,text\n1,{text}\n".encode(encoding)))
        assert error.row == 2
    path = write(tmp_path, "b.csv", "id,text\n1,Красные тюльпаны\n".encode("cp1251"))
    [error] = errors(path)
    assert error.row == 2
    assert 'encoding = "cp1251"' in str(error)
    assert fields(path, encoding="cp1251") == [{"id": "1", "text": "Красные тюльпаны"}]
    [error] = errors(path, encoding="cp9999")
    assert "'cp9999'" in str(error)
    [error] = errors(path, encoding="utf-8")
    assert error.row == 2


def test_blank_rows_and_trailing_columns_are_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "b.csv", "id,text,,\na,Red,,\n , ,,\n   \n,,,\nb,Blue,,,,\n")
    assert fields(path) == [{"id": "a", "text": "Red"}, {"id": "b", "text": "Blue"}]


@pytest.mark.parametrize("want", ["2", "2.0", "2,0", "+2"])
def test_a_count_is_a_whole_number_however_it_is_spelled(tmp_path: Path, want: str) -> None:
    assert fields(write(tmp_path, "b.csv", f'text,want\na,"{want}"\n')) == [
        {"text": "a", "want": 2}
    ]
    assert fields(write(tmp_path, "b.jsonl", '{"text": "a", "want": 2.0}\n')) == [
        {"text": "a", "want": 2}
    ]


def test_a_field_may_be_long(tmp_path: Path) -> None:
    path = write(tmp_path, "b.csv", "text,html\na," + "<b>" * 60_000 + "\n")
    [row] = fields(path)
    assert len(row["variables"]["html"]) == 180_000


def test_jsonl_keeps_nested_variables(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "b.jsonl",
        '{"text": "a", "want": 3, "variables": {"season": "spring"}, "sold": true, "price": 4.5}\n'
        "\n"
        '{"text": "b", "id": null, "price": NaN}\n',
    )
    assert fields(path) == [
        {
            "text": "a",
            "want": 3,
            "variables": {"season": "spring", "sold": "true", "price": "4.5"},
        },
        {"text": "b"},
    ]


@pytest.mark.parametrize(
    ("name", "content", "row", "words"),
    [
        ("b.csv", b"text,want\na,1\nb,2,3\n", 3, ["3 values", "header 2", "commas"]),
        ("b.csv", b"text;want\na;1\nb;2;3\n", 3, ["3 values", "semicolons"]),
        ("b.csv", b"text,want\na\n", 2, ["1 values"]),
        ("b.csv", b'text\n"never closed\n', 2, ["malformed"]),
        ("b.csv", b"Title,want\na,1\n", 1, ["'text'", "Title, want", 'text = "Title"']),
        ("b.csv", b"text,Text\na,b\n", 1, ["'text'", "twice"]),
        ("b.csv", b"text\nok\nTulpen \x81\n", 3, ["0x81", "UTF-8"]),
        ("b.jsonl", b'{"text": "a"}\n{"text": }\n', 2, ["JSON"]),
        ("b.jsonl", b"[1]\n", 1, ["object"]),
        ("b.jsonl", b'{"text": "a", "text": "b"}\n', 1, ["'text' occurs twice"]),
        ("b.jsonl", b'{"text": "a", "Colour": "b", "colour": "c"}\n', 1, ["'colour'", "twice"]),
        ("b.jsonl", b'{"text": "a", "price": Infinity}\n', 1, ["infinite", "'price'"]),
        ("b.jsonl", b'{"text": "a", "size": {"cm": 4}}\n', 1, ["a group", "'size'"]),
        ("b.jsonl", b'{"text": ["a"]}\n', 1, ["a list", "'text'"]),
        ("b.jsonl", b'{"text": "a", "variables": {"b": [1]}}\n', 1, ["a list"]),
    ],
)
def test_malformed_sources_name_the_row(
    tmp_path: Path, name: str, content: bytes, row: int, words: list[str]
) -> None:
    path = write(tmp_path, name, content)
    found = errors(path)
    assert [(error.file, error.row) for error in found] == [(str(path), row)]
    for word in words:
        assert word in str(found[0])


def test_all_malformed_rows_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "b.csv", "text,want\na\nb,1\nc,1,2\n")
    assert [error.row for error in errors(path)] == [2, 4]


def test_thousands_of_columns_are_read(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(20_000)]
    path = write(tmp_path, "b.csv", ",".join(["text", *names]) + "\n" + ",".join("a" * 20_001))
    [row] = fields(path)
    assert len(row["variables"]) == 20_000
