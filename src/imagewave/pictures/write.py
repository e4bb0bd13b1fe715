"""An image, as `view` gives it, to a file."""

import io

from PIL import Image

from imagewave.storage.images import ImageFormat


class Unwritable(Exception):
    """A format cannot hold the picture; the message says why, in words for a report."""


def encode(
    image: Image.Image, format: ImageFormat, *, quality: int, **settings: int | str | bytes
) -> bytes:
    """The picture as a file of that format; `quality`, 1 to 100, says nothing to a PNG.

    settings: what else Pillow takes for the format, such as `icc_profile`.

    Raises:
        Unwritable: the format cannot hold it, as WebP cannot what is wider than 16,383 pixels.
    """
    options = settings if format is ImageFormat.PNG else {"quality": quality, **settings}
    out = io.BytesIO()
    try:
        image.save(out, format.upper(), **options)
    except (OSError, ValueError) as error:
        said = f"{image.width}x{image.height} pixels, {image.mode}"
        raise Unwritable(f"{format} cannot hold it ({said}): {error}") from error
    return out.getvalue()
