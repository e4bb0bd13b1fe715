"""The report in a real browser: filters, details, keys, and that no planted script ever runs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.ui import WebDriverWait
from tests.tasks.reporting.report_store import WAVE, BriefOf, build

from imagewave.storage.store import Store
from imagewave.tasks.reporting.report import write_report

pytestmark = pytest.mark.heavy

HOSTILE = (
    "<script>window.pwned=1</script><img src=x onerror='window.pwned=1'>"
    "\"'></template></style><svg onload=window.pwned=1>"
)


# A telephone's screen, and a desk's.
PHONE, DESK = (390, 844), (1280, 900)


def _is_complete(picture: WebElement, browser: Chrome) -> bool:
    complete: bool = browser.execute_script("return arguments[0].complete", picture)
    return complete


def open_report(browser: Chrome, store: Store) -> None:
    path = store.local_path(write_report(store, WAVE))
    assert path is not None
    browser.get(path.as_uri())


@pytest.fixture(scope="module")
def page(browser: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Chrome:
    """The report of a wave of three briefs, one of them with scripts in all its texts."""
    store = Store.open(str(tmp_path_factory.mktemp("store")))
    build(
        store,
        [
            BriefOf(id="tulips"),
            BriefOf(id="harbour", prompt="Boats in fog", aspect_ratio="1:1"),
            BriefOf(id="hostile", text=HOSTILE, prompt=HOSTILE, message=HOSTILE),
        ],
        finding=HOSTILE,
    )
    # What was delivered lies beside the report, for the zoom.
    picture = store.read(store.list("images")[0])
    for brief in ("tulips", "harbour", "hostile"):
        store.write(f"assets/{WAVE}/{brief}/{brief}-1.jpg", picture)
    open_report(browser, store)
    return browser


@pytest.fixture(params=[PHONE, DESK], ids=["phone", "desk"])
def screen(page: Chrome, request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """The page on a screen of that many CSS pixels."""
    width, height = request.param
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.refresh()
    yield width, height
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.refresh()


@pytest.fixture(autouse=True)
def untouched(page: Chrome) -> Iterator[None]:
    """Each test starts with all cards shown, and none may have run a planted script."""
    if page.find_element(By.ID, "box").is_displayed():
        page.find_element(By.ID, "box-close").click()
    page.find_element(By.CSS_SELECTOR, "#filters [type=reset]").click()
    WebDriverWait(page, 10).until(lambda _: count(page) == "27 of 27")
    yield
    assert page.execute_script("return window.pwned") is None
    assert page.get_log("browser") == []  # type: ignore[no-untyped-call]


def count(page: Chrome) -> str:
    return page.find_element(By.ID, "count").text


def shown(page: Chrome) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, ".card:not([hidden])")


def choose(page: Chrome, name: str, value: str) -> None:
    """Clicks a chip, as a person does."""
    button = page.find_element(By.CSS_SELECTOR, f"input[name={name}][value='{value}'] + span")
    button.click()


def test_a_click_on_a_verdict_filters_the_cards(page: Chrome) -> None:
    assert len(shown(page)) == 27
    choose(page, "verdict", "rejected")
    assert count(page) == "9 of 27"
    cards = shown(page)
    assert len(cards) == 9
    assert all(card.is_displayed() and "rejected" in card.text for card in cards)


def test_filters_add_up(page: Chrome) -> None:
    choose(page, "stage", "draft")
    choose(page, "verdict", "rejected")
    Select(page.find_element(By.NAME, "brief")).select_by_visible_text("harbour")
    assert count(page) == "3 of 27"
    Select(page.find_element(By.NAME, "reason")).select_by_value("screen: blur")
    assert count(page) == "1 of 27"
    choose(page, "verdict", "delivered")
    assert count(page) == "0 of 27"
    assert page.find_element(By.ID, "none").is_displayed()


def test_the_search_looks_into_the_details(page: Chrome) -> None:
    field = page.find_element(By.NAME, "text")
    page.find_element(By.TAG_NAME, "body").send_keys("/")
    assert page.switch_to.active_element == field
    field.send_keys("boats FOG")
    assert count(page) == "9 of 27"
    assert {card.get_dom_attribute("data-brief") for card in shown(page)} == {"harbour"}


def test_the_details_open_step_and_close_by_key(page: Chrome) -> None:
    choose(page, "stage", "final")
    first = shown(page)[0].find_element(By.CLASS_NAME, "open")
    first.send_keys(Keys.ENTER)
    box = page.find_element(By.ID, "box")
    assert box.is_displayed()
    assert "Boats in fog" in box.text
    assert "the draft it carries" in box.text
    pictures = box.find_elements(By.CSS_SELECTOR, "img")
    assert [page.execute_script("return arguments[0].naturalWidth > 0", p) for p in pictures] == [
        True,
        True,
    ]
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert "hostile" in box.text
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not box.is_displayed()
    focused = page.switch_to.active_element.find_element(By.XPATH, "./ancestor::article")
    assert focused.get_dom_attribute("data-brief") == "hostile"


def test_planted_scripts_are_shown_as_text(page: Chrome) -> None:
    Select(page.find_element(By.NAME, "brief")).select_by_visible_text("hostile")
    box = page.find_element(By.ID, "box")
    for card in range(len(shown(page))):
        shown(page)[card].find_element(By.CLASS_NAME, "open").click()
        assert HOSTILE in box.text
        page.find_element(By.ID, "box-close").click()
    page.find_element(By.LINK_TEXT, "Findings").click()
    findings = page.find_element(By.ID, "findings")
    WebDriverWait(page, 10).until(lambda _: HOSTILE in findings.text)
    assert page.execute_script("return document.scripts.length") == 1


def test_the_page_fits_the_screen_with_a_delivered_picture_on_it(
    page: Chrome, screen: tuple[int, int]
) -> None:
    width, height = screen
    too_wide = "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
    assert page.execute_script(too_wide) == 0
    assert page.execute_script("return innerWidth") == width
    first = shown(page)[0]
    assert first.get_dom_attribute("data-verdict") == "delivered"
    picture = first.find_element(By.TAG_NAME, "img").rect
    assert picture["y"] + picture["height"] <= height
    # Nor does anything that is folded away make it wider.
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.execute_script(too_wide) == 0
    first.find_element(By.CLASS_NAME, "open").click()
    box = page.find_element(By.ID, "box").rect
    assert box["x"] >= 0
    assert box["width"] <= width


def test_filters_stay_in_sight_and_work_on_every_screen(
    page: Chrome, screen: tuple[int, int]
) -> None:
    page.execute_script("window.scrollTo(0, document.getElementById('cards').scrollHeight)")
    assert page.execute_script("return scrollY") > 300
    choose(page, "verdict", "rejected")
    assert count(page) == "9 of 27"
    assert page.find_element(By.ID, "more").get_property("open") == (screen == DESK)
    page.find_element(By.TAG_NAME, "body").send_keys("/")
    assert page.switch_to.active_element.get_dom_attribute("name") == "text"


def test_pictures_are_grouped_by_brief_and_back(page: Chrome) -> None:
    flat = [card.get_dom_attribute("data-image") for card in shown(page)]
    page.find_element(By.NAME, "grouped").click()
    groups = page.find_elements(By.CSS_SELECTOR, "#cards section")
    assert [g.find_element(By.TAG_NAME, "h3").text for g in groups] == [
        "harbour 9",
        "hostile 9",
        "tulips 9",
    ]
    for group in groups:
        cards = group.find_elements(By.CLASS_NAME, "card")
        assert {c.get_dom_attribute("data-brief") for c in cards} == {
            group.get_dom_attribute("aria-label")
        }
    choose(page, "verdict", "delivered")
    assert [g.find_element(By.TAG_NAME, "h3").text for g in groups] == [
        "harbour 1",
        "hostile 1",
        "tulips 1",
    ]
    Select(page.find_element(By.NAME, "brief")).select_by_value("tulips")
    assert [g.is_displayed() for g in groups] == [False, False, True]
    page.find_element(By.CSS_SELECTOR, "#filters [type=reset]").click()
    WebDriverWait(page, 10).until(lambda _: count(page) == "27 of 27")
    assert [card.get_dom_attribute("data-image") for card in shown(page)] == flat


def test_the_slider_makes_pictures_larger(page: Chrome) -> None:
    # Squares, that are never wider than their row.
    Select(page.find_element(By.NAME, "brief")).select_by_value("harbour")
    slider = page.find_element(By.NAME, "size")
    slider.send_keys(Keys.HOME)
    small = shown(page)[0].size["width"]
    slider.send_keys(Keys.END)
    assert shown(page)[0].size["width"] > 2 * small


def test_zoom_shows_the_file_itself_and_goes_by_key(page: Chrome) -> None:
    shown(page)[0].find_element(By.CLASS_NAME, "open").send_keys(Keys.ENTER)
    box, picture = (page.find_element(By.ID, name) for name in ("box", "box-image"))
    before = picture.size["width"]
    page.switch_to.active_element.send_keys("z")
    WebDriverWait(page, 10).until(
        lambda _: page.execute_script("return arguments[0].naturalWidth > 0", picture)
    )
    assert "/assets/" in str(picture.get_property("src"))
    assert picture.size["width"] > before
    button = page.find_element(By.ID, "box-zoom")
    assert button.get_dom_attribute("aria-pressed") == "true"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert button.get_dom_attribute("aria-pressed") == "false"
    assert box.is_displayed()
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not box.is_displayed()


def test_folded_parts_open_by_their_links(page: Chrome) -> None:
    bill = page.find_element(By.CSS_SELECTOR, "#funnel .bill")
    assert not bill.is_displayed()
    page.find_element(By.LINK_TEXT, "Funnel and bill").click()
    WebDriverWait(page, 10).until(lambda _: bill.is_displayed())


def test_every_thumbnail_is_a_picture(page: Chrome) -> None:
    for picture in page.find_elements(By.CSS_SELECTOR, ".card img"):
        page.execute_script("arguments[0].scrollIntoView()", picture)
        WebDriverWait(page, 60).until(partial(_is_complete, picture))
    broken = page.execute_script(
        "return [...document.querySelectorAll('.card img')].filter(i => !i.naturalWidth).length"
    )
    assert broken == 0
    assert page.execute_script("return document.querySelectorAll('.card img').length") == 21


def test_two_thousand_cards_are_filtered(page: Chrome, browser: Chrome, tmp_path: Path) -> None:
    back = page.current_url
    store = Store.open(str(tmp_path / "big"))
    fates = ("final", *["blur", "judge", "refused"] * 33)
    build(store, [BriefOf(id=f"brief-{n:02}", fates=fates) for n in range(20)], pictures_made=10)
    open_report(browser, store)
    assert count(browser) == "2000 of 2000"
    choose(browser, "verdict", "delivered")
    assert count(browser) == "20 of 2000"
    browser.find_element(By.NAME, "text").send_keys("IMAGE_SAFETY")
    assert count(browser) == "0 of 2000"
    choose(browser, "verdict", "refused")
    assert int(count(browser).partition(" ")[0]) > 600
    note = browser.find_element(By.CSS_SELECTOR, "#sheet .note").text
    assert note.startswith("20 more requests are not on this sheet")
    browser.get(back)
