"""What is delivered in another format looks as it did, whatever file it came in."""

import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.pictures import profiles
from tests.tasks.waves import DRAFT, brief, wave

from imagewave.pictures.view import view
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.images import put_image
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds.rounds import Ask
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Deliver
from imagewave.tasks.collecting.collect import metrics_row
from imagewave.tasks.delivery.deliver import deliver
from imagewave.tasks.screening.metrics import measure
from imagewave.tasks.select import Decision

SIZE = (240, 160)


def scene() -> Image.Image:
    return Image.effect_mandelbrot(SIZE, (-2, -1, 1, 1), 60).convert("RGB")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def cutout() -> Image.Image:
    """On a clear backdrop whose hidden colour is black."""
    pixels = np.asarray(scene().convert("RGBA")).copy()
    pixels[:, :80] = 0
    return Image.fromarray(pixels)


def turned() -> Image.Exif:
    notes = Image.Exif()
    notes[0x0112] = 6
    return notes


def lying() -> Image.Image:
    return scene().transpose(Image.Transpose.ROTATE_90)


def deep() -> Image.Image:
    return Image.fromarray(np.asarray(scene().convert("L")).astype(np.uint16) * 257)


FILES: dict[str, Callable[[], bytes]] = {
    "cmyk jpeg": lambda: saved(scene().convert("CMYK"), "JPEG", quality=95),
    "cmyk jpeg with a profile": lambda: saved(
        scene().convert("CMYK"), "JPEG", quality=95, icc_profile=profiles.cmyk()
    ),
    "turned jpeg": lambda: saved(lying(), "JPEG", quality=95, exif=turned()),
    "turned png": lambda: saved(lying(), "PNG", exif=turned()),
    "turned webp": lambda: saved(lying(), "WEBP", lossless=True, exif=turned()),
    "cut-out png": lambda: saved(cutout(), "PNG"),
    "cut-out webp": lambda: saved(cutout(), "WEBP", lossless=True, exact=True),
    "cut-out avif": lambda: saved(cutout(), "AVIF", quality=95),
    "cut-out palette": lambda: saved(cutout().quantize(64), "PNG"),
    "clear gif": lambda: saved(cutout(), "GIF"),
    "16-bit gray": lambda: saved(deep(), "PNG"),
    "gray jpeg": lambda: saved(scene().convert("L"), "JPEG", quality=95),
    "wide png": lambda: saved(scene(), "PNG", icc_profile=profiles.rgb()),
    "wide jpeg": lambda: saved(scene(), "JPEG", quality=95, icc_profile=profiles.rgb()),
    "wide avif": lambda: saved(scene(), "AVIF", quality=95, icc_profile=profiles.rgb()),
}
CLEAR = ("cut-out png", "cut-out webp", "cut-out avif", "cut-out palette", "clear gif")


def delivered(store: Store, data: bytes, wanted: Deliver) -> dict[str, object]:
    """Delivers one final with these bytes; returns the asset's row."""
    kept = put_image(store, data)
    row = {"image": kept.sha256, "format": kept.format, "mime": "", "bytes": kept.size}
    facts.append(store, "images", "one", [{**row, "path": kept.path}])
    found = measure(data, max_pixels=64_000_000)
    facts.append(store, "metrics", "one", [metrics_row(kept.sha256, found)])
    request = Request(kind=Kind.FINAL, model=DRAFT.model, prompt="tulips")
    final = Decision(
        brief="tulips",
        request_id=request.id,
        prompt_id="p",
        image=kept.sha256,
        decision="accepted",
        rank=1,
        score=0.9,
        reason="",
    )
    ask = Ask(brief="tulips", prompt_id="p", request=request, estimate_usd=Decimal(0))
    spring = wave(brief("tulips"), deliver=wanted)
    (asset,) = deliver(store, spring, [final], {("tulips", request.id): ask})
    return asset


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_delivered_as_it_was_seen(
    store: Store, name: str, format: str
) -> None:
    data = FILES[name]()

    asset = delivered(store, data, Deliver.model_validate({"format": format, "quality": 95}))

    after = store.read(str(asset["asset"]))
    assert (asset["width"], asset["height"]) == SIZE
    if after != data:  # nobody needs to know more than the pixels to see it right
        with Image.open(io.BytesIO(after)) as opened:
            assert opened.format == format.upper()
            assert opened.size == SIZE
            assert "icc_profile" not in opened.info
            assert not opened.getexif()
            assert opened.has_transparency_data == (name in CLEAR and format != "jpeg")
    off = np.abs(np.asarray(view(data)).astype(int) - np.asarray(view(after)))
    assert off.mean() < 4
    assert query(store, "FROM findings") == []


@pytest.mark.parametrize("name", FILES)
def test_what_is_to_be_kept_keeps_its_bytes(store: Store, name: str) -> None:
    data = FILES[name]()

    asset = delivered(store, data, Deliver())

    assert store.read(str(asset["asset"])) == data
    assert (asset["width"], asset["height"]) == SIZE


@pytest.mark.parametrize(
    ("make", "format", "reason"),
    [
        (lambda: saved(Image.new("RGB", (16_400, 40)), "PNG"), "webp", "webp cannot hold it"),
        (lambda: saved(scene(), "JPEG")[:-600], "png", "damaged jpeg"),
    ],
)
def test_what_cannot_be_brought_into_a_format_is_delivered_as_it_came(
    store: Store, make: Callable[[], bytes], format: str, reason: str
) -> None:
    """It was paid for and accepted; and one picture does not keep back all others."""
    data = make()

    asset = delivered(store, data, Deliver.model_validate({"format": format}))

    path = str(asset["asset"])
    assert store.read(path) == data
    assert asset["format"] == json.loads(store.read(path.rpartition(".")[0] + ".json"))["format"]
    (finding,) = query(store, "FROM findings")
    assert (finding["kind"], finding["key"]) == ("delivered as it came", path)
    assert reason in finding["detail"]
