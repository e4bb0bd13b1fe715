"""Pages of a site: front matter as authors have it."""

from pathlib import Path

import fsspec
import pytest
from tests.storage.sources.listed import errors, fields, write

SPRING = """\
---
title: Spring on the balcony
description: "Basil, mint and chives."
slug: Spring-Balcony
date: 2026-04-01
tags: [herbs, balcony]
cover:
  prompt: Pots of herbs on a sunlit balcony
  alt: Herbs
---
# Text
"""


def test_pages_of_a_site_are_briefs(tmp_path: Path) -> None:
    write(tmp_path, "content/posts/spring.md", SPRING)
    write(tmp_path, "content/posts/rain/index.md", '+++\ntitle = "Rain"\nwant = 2\n+++\ntext\n')
    write(tmp_path, "content/about.md", "---\r\ntitle: About us.\r\ndescription: Who?\r\n---\r\n")
    write(tmp_path, "content/README.md", "# Notes\n\n---\nno: front matter\n---\n")
    heard: list[str] = []
    found = fields(tmp_path / "content/**/*.md", used=frozenset(), say=heard.append)
    assert found == [
        {
            "id": "about",
            "text": "About us. Who?",
            "variables": {"title": "About us.", "description": "Who?"},
        },
        {"id": "posts/rain", "text": "Rain", "want": 2, "variables": {"title": "Rain"}},
        {
            "id": "Spring-Balcony",
            "text": "Pots of herbs on a sunlit balcony",
            "variables": {
                "title": "Spring on the balcony",
                "description": "Basil, mint and chives.",
                "slug": "Spring-Balcony",
                "tags": "herbs, balcony",
                "cover_prompt": "Pots of herbs on a sunlit balcony",
                "cover_alt": "Herbs",
            },
        },
    ]
    assert any("README.md" in said for said in heard)
    assert any("'date'" in said for said in heard)


def test_keys_may_be_mapped(tmp_path: Path) -> None:
    page = write(tmp_path, "a.md", "---\npermalink: /a/\nimagePrompt: Red tulips\n---\n")
    assert fields(page, columns={"id": "permalink", "text": "imagePrompt"}) == [
        {"id": "/a/", "text": "Red tulips"}
    ]


def test_a_pattern_of_a_bucket_is_listed() -> None:
    for name in ("a.md", "b/c.md"):
        with fsspec.open(f"memory://site/{name}", "w") as file:
            file.write(f"---\ntitle: {name}\n---\n")
    assert [row["id"] for row in fields("memory://site/**/*.md")] == ["a", "b/c"]


@pytest.mark.parametrize(
    ("page", "row", "words"),
    [
        ("---\ntitle: a\nslug: [\n---\n", 4, "front matter"),
        ("---\n- a\n---\n", 1, "no keys"),
        ("+++\ntitle = a\n+++\n", 1, "front matter"),
        ("---\na: &a [x, x]\nb: [*a, *a]\n---\n", 3, "aliases"),
    ],
)
def test_front_matter_that_is_wrong_names_page_and_line(
    tmp_path: Path, page: str, row: int, words: str
) -> None:
    path = write(tmp_path, "content/a.md", page)
    [error] = errors(tmp_path / "content/*.md")
    assert (error.file, error.row) == (str(path), row)
    assert words in str(error)


def test_a_pattern_without_files_and_one_that_nobody_lists_are_told(tmp_path: Path) -> None:
    [error] = errors(tmp_path / "*.md")
    assert "no such file" in str(error)
    [error] = errors("http://127.0.0.1:1/content/**/*.md")
    assert "does not list" in str(error)
