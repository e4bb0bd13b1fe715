"""Small copies of stored pictures, for pages that are one file."""

import base64

from imagewave.pictures.view import Undecodable, view
from imagewave.pictures.write import encode
from imagewave.storage.images import ImageFormat
from imagewave.storage.store import Store


def thumbnail(store: Store, path: str, edge: int, *, quality: int) -> str | None:
    """A data: URI of a JPEG whose longest edge is at most `edge` pixels.

    None for what was swept, or cannot be decoded: a page has everything else to tell.
    """
    try:
        picture = view(store.read(path), longest=edge)
    except (Undecodable, FileNotFoundError):
        return None
    # Ten times as fast as WebP, for two to three times the bytes.
    encoded = encode(picture, ImageFormat.JPEG, quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode()
