"""Variants: never larger than their picture, seen as it is, and made only where they lack."""

import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageCms
from tests.pictures import profiles
from tests.tasks.waves import DRAFT, brief, tell_of, wave

from imagewave.pictures.view import view
from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import query
from imagewave.storage.images import put_image
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds.rounds import Ask
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Deliver, Wave
from imagewave.tasks.collecting.collect import metrics_row
from imagewave.tasks.delivery.deliver import deliver
from imagewave.tasks.screening.metrics import measure
from imagewave.tasks.select import Decision

SIZE = (240, 160)
FOLDER = "assets/spring/tulips"
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
WANTED = {"widths": [60, 120, 480]}


def scene(shift: int = 0) -> Image.Image:
    """Smooth, as a photo is: what remains of it when it is small can be compared."""
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    return Image.fromarray(
        np.stack([columns, rows, (rows + columns) // 2 + shift], axis=-1).astype(np.uint8)
    )


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned() -> bytes:
    notes = Image.Exif()
    notes[0x0112] = 6
    return saved(scene().transpose(Image.Transpose.ROTATE_90), exif=notes)


def clear() -> bytes:
    image = scene().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 80, 160))
    return saved(image)


def spring(want: int = 1, **wanted: Any) -> Wave:
    return wave(
        brief("tulips", want, aspect_ratio="3:2"),
        deliver=Deliver.model_validate(WANTED | wanted),
    )


def delivered(
    store: Store, of: Wave, *pictures: bytes, rerun: int = 0, imported: bool = False
) -> None:
    """Delivers these pictures as the finals of the wave's only brief."""
    tell_of(store, of)
    finals, asks = [], {}
    for rank, data in enumerate(pictures, 1):
        kept = put_image(store, data)
        row = {"image": kept.sha256, "format": kept.format, "mime": "", "bytes": kept.size}
        facts.append(store, "images", kept.sha256, [{**row, "path": kept.path}])
        found = measure(data, max_pixels=64_000_000)
        facts.append(store, "metrics", kept.sha256, [metrics_row(kept.sha256, found)])
        request = Request(kind=Kind.FINAL, model=DRAFT.model, prompt=f"tulips {rank}")
        if imported:
            request = Request(kind=Kind.DRAFT, model="midjourney", prompt="", imported=kept.sha256)
        asks["tulips", request.id] = Ask(
            brief="tulips", prompt_id="p", request=request, estimate_usd=Decimal(0)
        )
        finals.append(
            Decision(
                brief="tulips",
                request_id=request.id,
                prompt_id="p",
                image=kept.sha256,
                decision="accepted",
                rank=rank,
                score=0.9,
                reason="",
            )
        )
    deliver(store, of, finals, asks, rerun=rerun)


def variants(store: Store) -> list[dict[str, Any]]:
    return query(store, "FROM variants ORDER BY asset, format, width")


def manifest(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.read(f"{FOLDER}/manifest.json"))
    return found


def times(store: Store) -> dict[str, int]:
    """When each variant's file was written."""
    paths = {str(row["variant"]): store.local_path(str(row["variant"])) for row in variants(store)}
    return {path: file.stat().st_mtime_ns for path, file in paths.items() if file}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_without_widths_nothing_is_added(store: Store) -> None:
    delivered(store, wave(brief("tulips")), saved(scene()))
    assert store.list("assets") == [f"{FOLDER}/tulips-1.json", f"{FOLDER}/tulips-1.png"]
    assert variants(store) == []


def test_a_wave_without_widths_is_the_revision_that_it_was() -> None:
    assert wave(deliver=Deliver(formats=("webp",))).revision == wave().revision
    assert wave(deliver=Deliver(widths=(640,))).revision != wave().revision


def test_each_width_in_each_format_and_none_above_the_source(store: Store) -> None:
    delivered(store, spring(), saved(scene()))
    assert [(row["format"], row["width"], row["height"]) for row in variants(store)] == [
        (format, *size)
        for format in ("avif", "jpeg", "webp")
        for size in ((60, 40), (120, 80), SIZE)
    ]


@pytest.mark.parametrize(
    "data",
    [
        saved(scene()),
        turned(),
        clear(),
        saved(scene(), icc_profile=profiles.rgb()),
        saved(scene().convert("CMYK"), "JPEG", quality=95),
    ],
    ids=["plain", "turned", "clear", "wide", "cmyk"],
)
def test_a_variant_is_seen_as_its_picture_is(store: Store, data: bytes) -> None:
    delivered(store, spring(), data)
    for row in variants(store):
        file = store.read(row["variant"])
        assert row["bytes"] == len(file)
        with Image.open(io.BytesIO(file)) as opened:
            assert opened.format == row["format"].upper()
            assert opened.size == (row["width"], row["height"])
            assert not opened.getexif()
            profile = ImageCms.ImageCmsProfile(io.BytesIO(opened.info["icc_profile"]))
            assert "sRGB" in ImageCms.getProfileDescription(profile)
        small = view(data).resize((row["width"], row["height"]), Image.Resampling.LANCZOS)
        off = np.abs(np.asarray(small).astype(int) - np.asarray(view(file)))
        assert off.mean() < 4, row["variant"]


def marks(file: bytes) -> dict[str, str | None]:
    """What the file's XMP says, by the property's name."""
    with Image.open(io.BytesIO(file)) as opened:
        packet = opened.info.get("xmp")
    if packet is None:
        return {}
    about = ElementTree.fromstring(packet).find(".//{*}Description")
    assert about is not None
    return {each.tag: each.text for each in about}


def test_a_variant_says_that_a_model_made_it_and_which(store: Store) -> None:
    delivered(store, spring(), saved(scene()))
    for row in variants(store):
        assert marks(store.read(row["variant"])) == {
            f"{IPTC}DigitalSourceType": row["source_type"],
            f"{IPTC}AISystemUsed": DRAFT.model,
            "{http://ns.adobe.com/xap/1.0/mm/}OriginalDocumentID": f"sha256:{row['image']}",
        }
        assert row["source_type"].endswith("/digitalsourcetype/trainedAlgorithmicMedia")


def test_a_picture_from_elsewhere_is_not_said_to_be_a_model_s(store: Store) -> None:
    delivered(store, spring(), saved(scene()), imported=True)
    assert len(variants(store)) == 9
    for row in variants(store):
        assert marks(store.read(row["variant"])) == {}
        assert row["source_type"] == ""


def test_a_rerun_makes_only_what_is_missing(store: Store) -> None:
    delivered(store, spring(), saved(scene()))
    before = times(store)
    gone = variants(store)[0]["variant"]
    store.delete(gone)

    delivered(store, spring(widths=[60, 90, 480]), saved(scene()), rerun=1)

    after = times(store)
    kept = {path for path, at in after.items() if before.get(path) == at}
    assert {path for path in after if "-60." in path or "-240." in path} - {gone} == kept
    assert len(after) == 9
    assert gone in after
    # A page may still show what the wave no longer asks for.
    assert all(store.exists(path) for path in before)


def test_what_is_all_there_is_not_even_read(store: Store) -> None:
    data = saved(scene())
    delivered(store, spring(), data)
    before = variants(store), manifest(store)
    kept = put_image(store, data)
    store.write(kept.path, data[:-400])  # whoever decoded it would say so

    delivered(store, spring(), data, rerun=1)

    assert [{**row, "recorded_at": 0} for row in variants(store)] == [
        {**row, "recorded_at": 0} for row in before[0]
    ]
    assert manifest(store) == before[1]


def test_what_cannot_be_decoded_any_more_is_a_finding(store: Store) -> None:
    data = saved(scene())
    delivered(store, spring(), data)
    store.write(put_image(store, data).path, data[:-400])

    delivered(store, spring(widths=[90]), data, rerun=1)

    (finding,) = query(store, "FROM findings")
    assert "damaged png" in finding["detail"]


def test_a_file_that_no_fact_tells_of_is_made_again(store: Store, tmp_path: Path) -> None:
    """As where a run was killed between the two."""
    other = Store.open(str(tmp_path / "other"))
    delivered(other, spring(), saved(scene()))
    path = str(variants(other)[0]["variant"])
    store.write(path, b"cut off")

    delivered(store, spring(), saved(scene()))

    assert store.read(path) == other.read(path)


def test_another_picture_in_its_place_has_other_names(store: Store) -> None:
    delivered(store, spring(), saved(scene()))
    first = {row["variant"] for row in variants(store)}

    delivered(store, spring(), saved(scene(40)), rerun=1)

    second = {row["variant"] for row in variants(store)}
    assert len(second) == len(first) == 9
    assert not first & second
    assert {f"{FOLDER}/{each['file']}" for each in listed(store)} == second


def listed(store: Store) -> Iterator[dict[str, Any]]:
    for picture in manifest(store)["pictures"]:
        yield from picture["variants"]


def test_the_manifest_names_every_variant_of_every_picture(store: Store) -> None:
    delivered(store, spring(2), saved(scene()), saved(scene(40)))
    found = manifest(store)
    assert (found["brief"], found["alt"]) == ("tulips", "A picture of tulips")
    assert [picture["file"] for picture in found["pictures"]] == ["tulips-1.png", "tulips-2.png"]
    assert {(f"{FOLDER}/{each['file']}", each["sha256"]) for each in listed(store)} == {
        (row["variant"], row["sha256"]) for row in variants(store)
    }
    assert len(variants(store)) == 18
    # The mean of `scene`: half of 239, half of 159, and half of their sum.
    rgb = [int(found["pictures"][0]["colour"][at : at + 2], 16) for at in (1, 3, 5)]
    assert np.abs(np.array(rgb) - [119.5, 79.5, 99.5]).max() < 2


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_html_names_files_that_are_there(store: Store) -> None:
    of = wave(brief("tulips", text='Tulips, "red" & <wet>'), deliver=Deliver.model_validate(WANTED))
    delivered(store, of, saved(scene()))

    tags = Tags(store.read(f"{FOLDER}/picture.html").decode()).found

    assert [tag for tag, _ in tags] == ["picture", "source", "source", "img"]
    assert [values.get("type") for _, values in tags[1:3]] == ["image/avif", "image/webp"]
    image = tags[3][1]
    assert image["alt"] == 'Tulips, "red" & <wet>'
    assert (image["width"], image["height"]) == ("240", "160")
    for _, values in tags[1:]:
        for entry in str(values["srcset"]).split(", "):
            name, width = entry.split()
            with Image.open(io.BytesIO(store.read(f"{FOLDER}/{name}"))) as opened:
                assert f"{opened.width}w" == width


def test_names_follow_the_template(store: Store) -> None:
    names = "{slug}/web/{rank}-{ratio}-{width}x{height}-{digest}.{ext}"
    delivered(store, spring(formats=["jpeg"], names=names), saved(scene()))
    path = variants(store)[0]["variant"]
    assert re.fullmatch(rf"{FOLDER}/web/1-3x2-60x40-[0-9a-f]{{12}}\.jpg", path)


@pytest.mark.parametrize(
    ("names", "fix"),
    [
        ("{slug}/{width}.{ext}", "has {digest}"),
        ("{digest}.{ext}", "begins with {slug}/"),
        ("{slug}/{digest}", "ends with .{ext}"),
        ("{slug}/{digest.real}.{ext}", "made of the fields"),
        ("{slug}/{digest:>9}.{ext}", "made of the fields"),
        ("{slug}/../{digest}.{ext}", "'..' parts"),
        ("{slug}/{digest} x.{ext}", "ASCII letters"),
        ("{slug}/{digest.{ext}", "one pair of braces"),
    ],
)
def test_a_template_that_would_lose_files_is_refused(names: str, fix: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fix)):
        Deliver.model_validate({"names": names})


def test_a_picture_without_variants_keeps_no_other_back(store: Store) -> None:
    broken = saved(scene(), "JPEG")[:-600]
    delivered(store, spring(2), broken, saved(scene(40)))

    assert {row["asset"] for row in variants(store)} == {f"{FOLDER}/tulips-2.png"}
    assert [len(picture["variants"]) for picture in manifest(store)["pictures"]] == [0, 9]
    (finding,) = query(store, "FROM findings")
    assert (finding["kind"], finding["key"]) == ("no variants", f"{FOLDER}/tulips-1.jpg")
    assert "its size is not known" in finding["detail"]
