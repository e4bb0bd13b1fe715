"""Words for people."""

import re

# What a sentence ends with is no part of the URL before it.
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]*[^\s'\"<>.,:;)]", re.IGNORECASE)


def counted(number: int, noun: str) -> str:
    """So many of something: "1 job", "12 jobs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shown(url: str) -> str:
    """The address as messages may name it: without what may be a secret in it.

    That is the name and password before the host, and the values of the query.
    """
    place, mark, query = url.partition("?")
    place = re.sub(r"^([\w+.-]+://)?[^/]*@", r"\1", place)
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    values = "&".join(f"{name}=…" if equals else "…" for name, equals, _ in pairs)
    return place + mark + values


def redacted(text: str) -> str:
    """The text, with every URL in it as `shown` shows it."""
    return _URL.sub(lambda found: shown(found[0]), text)


# What moves the cursor, colours, reorders or hides what stands around it, or cannot be encoded:
# controls, separators of lines, controls of the writing direction, halves of surrogate pairs.
_UNSAFE = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
)
_ILLEGIBLE = re.compile(f"[{_UNSAFE}]")
_ILLEGIBLE_IN_LINES = re.compile(f"(?!\n)[{_UNSAFE}]")
# What begins or ends anything in Markdown, or in the HTML within it.
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+!|~$&:])")


def legible(text: str, *, lines: bool = False) -> str:
    r"""The text as it may be printed anywhere: what a reader could not see is spelled `\x1b`.

    A byte of a file's name that is no UTF-8 is spelled as that byte. `lines`: the text is of
    several lines, which it keeps.
    """
    return (_ILLEGIBLE_IN_LINES if lines else _ILLEGIBLE).sub(_spelled, text)


def in_json(text: str) -> str:
    r"""JSON text as it may be printed: what a reader could not see is `\u001b` in its strings."""
    return _ILLEGIBLE_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def in_markdown(text: str) -> str:
    """The text as a reader of Markdown sees it letter by letter, on one line."""
    return _MARKUP.sub(r"\\\1", legible(text))


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    # Python's name for a byte of a file's name that is no UTF-8.
    code = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
