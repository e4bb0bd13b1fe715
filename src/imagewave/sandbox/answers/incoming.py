"""What the APIs take of the pictures that they are sent: told by the bytes, not by their label."""

import io

from PIL import Image

JPEG, PNG, WEBP, GIF = "image/jpeg", "image/png", "image/webp", "image/gif"
HEIC, HEIF, AVIF = "image/heic", "image/heif", "image/avif"

_BEGINNINGS = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF8", GIF),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)
_BRANDS = (
    (b"avif", AVIF),
    (b"avis", AVIF),
    (b"heic", HEIC),
    (b"heix", HEIC),
    (b"mif1", HEIF),
    (b"heif", HEIF),
)


def kind_of(data: bytes) -> str:
    """The media type that the first bytes announce; "" for none that is known."""
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning):
            return kind
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WEBP
    if data[4:8] == b"ftyp":
        return next((kind for brand, kind in _BRANDS if brand in data[8:32]), "")
    return ""


def edge_of(data: bytes) -> int:
    """The longest edge in pixels, by the header; 0 where that cannot be read."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return max(picture.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0
