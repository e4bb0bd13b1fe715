"""Reference images as they are sent: as stored, or reduced so that they cost fewer tokens."""

import io

from PIL import Image

from imagewave.errors import ImagewaveError

_QUALITY = 90


def reduced(image: bytes, edge: int) -> bytes:
    """The picture as a JPEG whose longest edge is at most `edge` pixels; a smaller JPEG as it is.

    Raises:
        ImagewaveError: the bytes are no picture that can be decoded.
    """
    try:
        with Image.open(io.BytesIO(image)) as picture:
            if picture.format == "JPEG" and max(picture.size) <= edge:
                return image
            picture.draft("RGB", (edge, edge))  # JPEG decodes straight to a fraction of its size
            small = picture.convert("RGB")
            small.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImagewaveError(f"A reference image cannot be decoded: {error}.") from error
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
