"""The report in a real browser: filters, details, keys, and that no planted script ever runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.ui import WebDriverWait
from tests.tasks.report_store import WAVE, BriefOf, build

from imagewave.storage.store import Store
from imagewave.tasks.report import write_report

HOSTILE = (
    "<script>window.pwned=1</script><img src=x onerror='window.pwned=1'>"
    "\"'></template></style><svg onload=window.pwned=1>"
)


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
    open_report(browser, store)
    return browser


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
    findings = page.find_element(By.CSS_SELECTOR, "section[aria-label=Findings]")
    assert HOSTILE in findings.text
    assert page.execute_script("return document.scripts.length") == 1


def test_every_thumbnail_is_a_picture(page: Chrome) -> None:
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
