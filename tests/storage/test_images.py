"""Images in a store, addressed by their bytes."""

import hashlib
import io

import pytest
from PIL import Image

from imagewave.storage.images import (
    ImageFormat,
    image_path,
    is_cut_off,
    put_image,
    read_image,
    sniff,
)
from imagewave.storage.store import Store


def encoded(format: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(stream, format)
    return stream.getvalue()


@pytest.mark.parametrize("format", list(ImageFormat))
def test_the_format_is_read_from_the_bytes(format: ImageFormat) -> None:
    assert sniff(encoded(format.value)) is format
    assert sniff(memoryview(encoded(format.value))) is format
    assert Image.MIME[format.value.upper()] == format.mime


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"RIFF\0\0\0\0WAVE", b"<html>", b"\0\0\0\x18ftypmp42", b"GIF80a"]
)
def test_other_bytes_have_no_format(data: bytes) -> None:
    assert sniff(data) is None


@pytest.mark.parametrize("format", list(ImageFormat))
def test_a_picture_is_cut_off_where_its_end_is_missing(format: ImageFormat) -> None:
    whole = encoded(format.value)
    assert not is_cut_off(whole)
    for kept in (0.6, 0.8, 0.95):
        assert is_cut_off(whole[: int(len(whole) * kept)])


@pytest.mark.parametrize("format", [ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.WEBP])
def test_bytes_behind_a_picture_do_not_cut_it_off(format: ImageFormat) -> None:
    assert not is_cut_off(encoded(format.value) + b"behind")


def test_the_end_of_a_thumbnail_is_not_the_picture_s() -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x927C] = encoded("jpeg")
    Image.effect_noise((256, 256), 90).save(stream, "jpeg", exif=exif)
    assert is_cut_off(stream.getvalue()[: len(stream.getvalue()) // 2])
    assert not is_cut_off(stream.getvalue())


@pytest.mark.parametrize(("format", "ending"), [("jpeg", "jpg"), ("png", "png"), ("webp", "webp")])
def test_an_image_is_stored_under_its_digest(store: Store, format: str, ending: str) -> None:
    data = encoded(format)
    image = put_image(store, memoryview(data))
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert (image.format, image.size) == (format, len(data))
    assert image.path == f"images/{image.sha256[:2]}/{image.sha256}.{ending}"
    assert image.path == image_path(image.sha256, format)
    assert read_image(store, image.sha256, format) == data


def test_the_same_bytes_are_stored_once(store: Store) -> None:
    first = put_image(store, encoded("png"))
    assert put_image(store, encoded("png")) == first
    assert store.list("images") == [first.path]


def test_bytes_of_no_known_format_are_kept_too(store: Store) -> None:
    image = put_image(store, b"not a picture")
    assert (image.format, image.path[-4:]) == ("", ".bin")
    assert read_image(store, image.sha256, "") == b"not a picture"


def test_an_unknown_image_is_file_not_found(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        read_image(store, "0" * 64, "png")
