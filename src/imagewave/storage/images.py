"""Images as they came, addressed by the SHA-256 of their bytes."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from imagewave.storage.store import Store


class ImageFormat(StrEnum):
    """What the bytes are, whatever anybody said they were."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    AVIF = "avif"

    @property
    def mime(self) -> str:
        """The media type."""
        return f"image/{self.value}"

    @property
    def extension(self) -> str:
        """The file name's ending, without the dot."""
        return "jpg" if self is ImageFormat.JPEG else self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An image in a store; `format` is "" where the bytes are no known format; `size` in bytes."""

    sha256: str
    format: str
    size: int
    path: str


def sniff(data: bytes | memoryview) -> ImageFormat | None:
    """The format that the first bytes announce; None if they announce none that is known."""
    head = bytes(data[:32])
    if head.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageFormat.PNG
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if head.startswith((b"GIF87a", b"GIF89a")):
        return ImageFormat.GIF
    # ISO media files name their brand, and those they are compatible with, in the first box.
    if head[4:8] == b"ftyp" and any(brand in head[8:] for brand in (b"avif", b"avis")):
        return ImageFormat.AVIF
    return None


def is_cut_off(data: bytes) -> bool:
    """Whether the end that the picture's format demands is missing; False for unknown formats.

    Bytes behind the end are no fault. Nothing is decoded: what lies before the end may be damaged.
    """
    match sniff(data):
        case ImageFormat.JPEG:  # a thumbnail within it has an end of its own, at its beginning
            return data.rfind(b"\xff\xd9") < len(data) // 2
        case ImageFormat.PNG:
            return data.rfind(b"IEND\xaeB`\x82") < 0
        case ImageFormat.GIF:
            return not data.rstrip(b"\0").endswith(b";")
        case ImageFormat.WEBP:
            return len(data) < 8 + int.from_bytes(data[4:8], "little")
        case ImageFormat.AVIF:
            return not _ends_with_a_box(data)
    return False


def _ends_with_a_box(data: bytes) -> bool:
    """Whether the boxes of an ISO media file fill it: each begins with its size in bytes."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 0:  # up to the end, wherever that is
            return True
        if size == 1:  # a longer number follows the name
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8 or at + size > len(data):
            return False
        at += size
    return at > 0


def image_path(sha256: str, format: str) -> str:
    """Where an image of that digest and format is in a store."""
    ending = ImageFormat(format).extension if format else "bin"
    return f"images/{sha256[:2]}/{sha256}.{ending}"


def put_image(store: Store, data: bytes | memoryview) -> StoredImage:
    """Stores the bytes, once however often they come, and durably."""
    sha256 = hashlib.sha256(data).hexdigest()
    found = sniff(data)
    format = found.value if found else ""
    path = image_path(sha256, format)
    store.put_if_absent(path, data)
    return StoredImage(sha256=sha256, format=format, size=len(data), path=path)


def read_image(store: Store, sha256: str, format: str) -> bytes:
    """The image's bytes; FileNotFoundError if the store does not hold it."""
    return store.read(image_path(sha256, format))


def phash_text(phash: int) -> str:
    """A perceptual hash of 64 bits as the facts spell it: 16 hex digits, as ImageHash does."""
    return f"{phash:016x}"


def read_phash(text: str) -> int:
    """The perceptual hash that `phash_text` wrote."""
    return int(text, 16)
