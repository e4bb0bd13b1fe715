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
