"""Reference images as they are sent: as stored where the APIs take that, else made fit for them."""

import io

from PIL import Image, ImageOps

from imagewave.errors import ImagewaveError
from imagewave.pictures.view import Undecodable, read_header, view
from imagewave.pictures.write import encode
from imagewave.storage.images import ImageFormat, sniff

TAKEN = frozenset({ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.WEBP})
"""The formats that every provider's API takes."""

_QUALITY = 90
_BEST_QUALITY = 95
_DAMAGE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def accepted(image: bytes) -> tuple[bytes, str]:
    """The picture in a format that every API takes, and its media type.

    What is in none becomes a PNG where it is transparent or has a palette, else a fine JPEG. Of an
    animation it is the first frame, upright. The same bytes give the same bytes.

    Raises:
        ImagewaveError: the bytes are no picture that can be decoded.
    """
    format = sniff(image)
    if format in TAKEN:
        return image, format.mime
    out = io.BytesIO()
    try:
        # Pillow reads more formats than the renderer of what providers draw.
        with Image.open(io.BytesIO(image)) as picture:
            profile = picture.info.get("icc_profile") if picture.mode != "CMYK" else None
            flat = picture.mode in ("1", "L", "P", "PA")
            clear = picture.has_transparency_data
            shown = ImageOps.exif_transpose(picture).convert("RGBA" if clear else "RGB")
            shown.info.clear()
            if clear or flat:
                shown.save(out, "PNG", icc_profile=profile)
                return out.getvalue(), ImageFormat.PNG.mime
            shown.save(out, "JPEG", quality=_BEST_QUALITY, subsampling=0, icc_profile=profile)
    except _DAMAGE as error:
        raise ImagewaveError(f"A reference image cannot be decoded: {error}.") from error
    return out.getvalue(), ImageFormat.JPEG.mime


def reduced(image: bytes, edge: int) -> bytes:
    """What a viewer sees, on white, as a JPEG whose longest edge is at most `edge` pixels.

    A smaller JPEG goes as it is, unless it is turned, or has colours that not everybody would show.

    Raises:
        ImagewaveError: the bytes are no picture that can be decoded.
    """
    try:
        header = read_header(image)
        small = max(header.width, header.height) <= edge
        if header.format is ImageFormat.JPEG and header.is_plain and small:
            return image
        return encode(view(image, longest=edge), ImageFormat.JPEG, quality=_QUALITY)
    except Undecodable as error:
        raise ImagewaveError(f"A reference image cannot be decoded: {error}.") from error
