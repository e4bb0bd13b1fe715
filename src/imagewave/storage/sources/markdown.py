"""Briefs from a site's pages: the front matter of Markdown files."""

import glob
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from imagewave.storage.sources.columns import column
from imagewave.storage.sources.rows import Row, SourceError

MAX_PAGES = 100_000
"""More pages are refused as a mistake."""

_MAGIC = re.compile(r"[*?\[]")
# A fence of a page's head: YAML between lines of "---", TOML between lines of "+++".
_HEAD = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n(.*?\r?\n)??\1[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def pages(url: str) -> tuple[list[str], str]:
    """The files that a pattern names, in order, and the folder that all of them are in.

    Raises:
        SourceError: it names none, or too many, or nobody can list that place.
    """
    on_web = url.startswith(("http://", "https://"))
    magic = _MAGIC.search(url.partition("?")[0] if on_web else url)
    if magic is None:
        return [url], url.rpartition("/")[0]
    if on_web:
        raise SourceError(
            url, "a web server does not list its files.", "Name one page, or a list of briefs."
        )
    fixed = url[: magic.start()].rpartition("/")[0]
    if "://" in url:
        import fsspec

        files, _ = fsspec.core.url_to_fs(url)
        scheme = url.partition("://")[0]
        found = [f"{scheme}://{path.lstrip('/')}" for path in files.glob(url)]
    else:
        found = glob.glob(url, recursive=True)
    if not found:
        raise SourceError(url, "there is no such file.", "'**' stands for folders at any depth.")
    if len(found) > MAX_PAGES:
        raise SourceError(
            url, f"there are {len(found):,} such files.", f"{MAX_PAGES:,} are allowed."
        )
    return sorted(found), fixed


def page_row(url: str, root: str, data: bytes) -> Row | SourceError | None:
    """What a page's front matter says; None where it has none.

    The id is its slug, else its path within `root`; the text its cover prompt, else title and
    description.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        return SourceError(url, "it is not UTF-8.", "Save the file as UTF-8.", row=row)
    head = _HEAD.match(text)
    if head is None:
        return None
    try:
        front = tomllib.loads(head[2] or "") if head[1] == "+++" else _yaml(head[2] or "")
    except _Wrong as error:
        return SourceError(url, f"its front matter is wrong: {error}.", row=error.row)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        return SourceError(url, f"its front matter is wrong: {error}.", row=1)
    if not isinstance(front, Mapping):
        return SourceError(url, "its front matter has no keys.", row=1)
    fields = dict(_flat(front))
    known = {column(name): value for name, value in fields.items()}
    if "id" not in known:
        fields["id"] = known.get("slug") or _place(url, root)
    if "text" not in known:
        told = [str(known[key]).strip() for key in ("title", "description") if known.get(key)]
        fields["text"] = known.get("cover_prompt") or ". ".join(each.rstrip(".") for each in told)
    return Row(url, 1, tuple(fields), tuple(fields.values()))


class _Wrong(ValueError):
    """Front matter that cannot be read; `row` is the line of the page."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


def _yaml(text: str) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if "*" in text and "&" in text:
            for event in yaml.parse(text, Loader=loader):
                # Aliases of aliases of aliases: a page of one kilobyte takes all memory.
                if isinstance(event, yaml.AliasEvent):
                    line = event.start_mark.line + 2 if event.start_mark else 1
                    raise _Wrong("aliases (*name) are not read", line)
        return yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 1
        raise _Wrong(str(error.problem), line) from None
    except yaml.YAMLError as error:
        raise _Wrong(str(error).partition("\n")[0], 1) from None


def _flat(front: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values; those of a group are called by both names, and lists of words are joined."""
    for name, value in front.items():
        if isinstance(value, Mapping):
            for inner, each in value.items():
                yield f"{name}_{inner}", _joined(each)
        else:
            yield str(name), _joined(value)


def _joined(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(each, str | int | float) for each in value):
        return ", ".join(map(str, value))
    return value


def _place(url: str, root: str) -> str:
    """A page by its path: "posts/spring" for posts/spring.md and posts/spring/index.md."""
    path = PurePosixPath(url.removeprefix(root).lstrip("/")).with_suffix("")
    if path.name in ("index", "_index") and len(path.parts) > 1:
        path = path.parent
    return str(path)
