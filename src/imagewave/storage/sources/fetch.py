"""The bytes of a file, by path or URL: all of them, or an error."""

from urllib.parse import urlsplit

from imagewave.storage.sources.rows import SourceError, too_large
from imagewave.storage.sources.web import read_web

MAX_SOURCE_BYTES = 256 * 1024 * 1024
"""A larger source of briefs is refused as a mistake."""


def kind(url: str) -> str:
    """What a URL is read by: "http", "s3", the scheme of another; "" for a file of this machine."""
    scheme, mark, _ = url.partition("://")
    scheme = scheme.lower()
    if not mark or scheme in ("file", "local"):
        return ""
    return {"https": "http", "s3a": "s3"}.get(scheme, scheme)


def require_address(url: str) -> None:
    """Raises SourceError where no file could be at that path or URL, however it is read."""
    fault = ""
    if any(ord(letter) < 0x20 or 0xD800 <= ord(letter) <= 0xDFFF for letter in url):
        fault = "it has characters that no address has"
    elif "://" in url:
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as error:
            fault = str(error)[:80]
    if fault:
        raise SourceError(url, f"this is no address: {fault}.", "Check how it is spelled.")


def read_url(url: str, limit: int = MAX_SOURCE_BYTES, *, trusted: str | None = None) -> bytes:
    """The bytes of a file by path or by any URL that fsspec knows (http, https, s3, file, …).

    A web address may lead to a private network only at the server that a user has named: that of
    `trusted`, or of the URL itself where that is None.

    Raises:
        SourceError: it does not exist, cannot be read to its end, or has more than `limit` bytes.
    """
    require_address(url)
    if kind(url) == "http":
        return read_web(url, limit, trusted=trusted or url)
    import fsspec

    data = bytearray()
    try:
        with fsspec.open(url, "rb") as file:
            while chunk := file.read(min(2**20, limit + 1 - len(data))):
                data += chunk
            promised = getattr(file, "size", None) if "://" in url else None
    except FileNotFoundError:
        raise SourceError(url, "it does not exist.", "Check the path.") from None
    except IsADirectoryError as error:
        raise SourceError(url, "this is a folder, not a file.") from error
    except _transport_errors(url) as error:
        raise SourceError(url, f"it cannot be read: {error}.") from None
    if len(data) > limit:
        raise too_large(url, limit)
    if promised is not None and promised != len(data):
        raise SourceError(
            url, f"it has {promised} bytes, and {len(data)} of them came.", "Try again."
        )
    return bytes(data)


def _transport_errors(url: str) -> tuple[type[Exception], ...]:
    errors: tuple[type[Exception], ...] = (OSError, ValueError, ImportError)
    if kind(url) == "s3":
        from botocore.exceptions import BotoCoreError

        errors += (BotoCoreError,)
    return errors
