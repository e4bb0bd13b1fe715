"""What the files of a delivered picture's variants are called: a template of a wave file."""

import re
from string import Formatter
from typing import Final

DEFAULT: Final = "{slug}/{slug}-{ratio}-{width}.{digest}.{ext}"

FIELDS: Final = ("slug", "rank", "ratio", "width", "height", "digest", "ext")
"""What a template may name. `rank` counts the pictures of a brief from 1; `digest` is the beginning
of the variant's address."""

_BETWEEN: Final = re.compile(r"[A-Za-z0-9._/-]*")
_SAMPLE: Final = dict.fromkeys(FIELDS, "x")


def checked(template: str) -> str:
    """The template, if it gives every variant a path of its own in its brief's folder.

    Raises:
        ValueError: it does not; the message says what it should be.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        raise ValueError(f"such as {DEFAULT!r}, each field in one pair of braces") from None
    for text, field, form, conversion in parts:
        if not _BETWEEN.fullmatch(text):
            raise ValueError("of ASCII letters, digits, '.', '_', '-' and '/' around its fields")
        if field is not None and (field not in FIELDS or form or conversion):
            raise ValueError(f"made of the fields {', '.join(f'{{{each}}}' for each in FIELDS)}")
    if not (template.startswith("{slug}/") and template.endswith(".{ext}")):
        raise ValueError("one that begins with {slug}/ and ends with .{ext}")
    # Without it, a picture that changed would get the name that caches know the old one by.
    if "{digest}" not in template:
        raise ValueError(f"one that has {{digest}}, such as {DEFAULT!r}")
    if any(part in ("", ".", "..") for part in template.format_map(_SAMPLE).split("/")):
        raise ValueError("a path without empty, '.' or '..' parts")
    return template
