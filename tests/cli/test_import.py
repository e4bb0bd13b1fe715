"""`imagewave import` as its users call it."""

from pathlib import Path

import pytest
from PIL import Image
from tests.cli.test_run import imagewave
from tests.servers import make_bucket, s3_environment, start_moto

pytestmark = pytest.mark.heavy

WAVE = '[wave]\nname = "covers"\n[[brief]]\nid = "tulips"\ntext = "Red tulips in the rain"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "covers.toml").write_text(WAVE)
    (tmp_path / "mj" / "more" / ".hidden").mkdir(parents=True)
    picture = Image.effect_mandelbrot((64, 64), (-3, -2.5, 2, 2.5), 90)
    picture.save(tmp_path / "mj" / "one.png")
    picture.rotate(90).save(tmp_path / "mj" / "more" / "two.webp")
    picture.save(tmp_path / "mj" / "more" / ".hidden" / "three.png")
    (tmp_path / "mj" / "prompt.txt").write_text("tulips --v 7")
    return tmp_path


def test_it_says_what_came_in_and_what_to_do_next(folder: Path) -> None:
    wanted = ("--wave", "covers.toml", "--brief", "tulips", "--source", "mj")
    first = imagewave(folder, "import", "mj", *wanted, "--cost-usd", "0.02")
    assert first.returncode == 0, first.stderr
    assert "2 pictures by Midjourney for tulips, $0.0400 (sandbox: no real money)." in first.stdout
    assert "imagewave run covers.toml" in first.stdout
    assert "prompt.txt" in first.stderr

    again = imagewave(folder, "import", "mj/one.png", *wanted)
    assert "0 pictures by Midjourney for tulips; 1 were there before." in again.stdout
    sql = "select source, file, cost_usd from imports order by file"
    facts = imagewave(folder, "sql", sql, "--format", "csv").stdout.splitlines()
    assert facts[1:] == [
        "midjourney,mj/more/two.webp,0.020000000",
        "midjourney,mj/one.png,0.020000000",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--brief", "tulips"), "There is no folder nowhere."),
        (("mj", "--brief", "tulip"), "has no brief 'tulip'. Did you mean 'tulips'?"),
        (("mj", "--brief", "tulips", "--source", "lite"), "Sources of imports are"),
        (("mj/prompt.txt", "--brief", "tulips"), "There is no picture in mj/prompt.txt."),
    ],
)
def test_what_cannot_be_is_said(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    result = imagewave(folder, "import", *arguments, "--wave", "covers.toml")
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bucket_takes_pictures_too(folder: Path) -> None:
    with start_moto() as endpoint:
        store = f"s3://{make_bucket(endpoint)}/waves"
        bucket = {**s3_environment(endpoint), "IMAGEWAVE_CACHE_DIR": str(folder / "cache")}
        wanted = ("--wave", "covers.toml", "--brief", "tulips", "--store", store)
        first = imagewave(folder, "import", "mj", *wanted, **bucket)
        assert first.returncode == 0, first.stderr
        assert "2 pictures for tulips." in first.stdout
        again = imagewave(folder, "import", "mj", *wanted, **bucket)
        assert "0 pictures for tulips; 2 were there before." in again.stdout
