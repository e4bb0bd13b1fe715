"""Base64 as it is written out there: either alphabet, padded or not, in lines, in data URLs."""

import re
from urllib.parse import unquote_to_bytes

import pybase64

_DATA_URL = re.compile(rb"\s*data:[^,]{0,200}?;\s*base64\s*,", re.IGNORECASE)
_SPACE = b" \t\r\n\f\v"
_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")


def decode(data: bytes) -> tuple[bytes, str]:
    """The bytes, and in words how their base64 differs from the standard's.

    Raises:
        ValueError: it is base64 in no dialect.
    """
    odd = []
    if url := _DATA_URL.match(data):
        odd.append("in a data URL")
        data = data[url.end() :]
        if b"%" in data:
            data = unquote_to_bytes(data)
    bare = data.translate(None, _SPACE)
    if len(bare) < len(data):
        odd.append("in lines")
    if b"-" in bare or b"_" in bare:
        odd.append("in the URL-safe alphabet")
        bare = bare.translate(_URL_ALPHABET)
    padded = len(bare)
    bare = bare.rstrip(b"=")
    padding = b"=" * (-len(bare) % 4)
    if padded != len(bare) + len(padding):
        odd.append("with other padding")
    return pybase64.b64decode(bare + padding, validate=True), ", ".join(odd)
