"""The report in a real browser; skipped with a reason where there is none."""

import json

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

from simulations.report import write_report  # noqa: E402
from tests.support.browser import BROWSER, DRIVER, WHAT_TO_INSTALL  # noqa: E402

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason=WHAT_TO_INSTALL)
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1200,900",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, write_run, tmp_path):
    """A drawn report of three households, one of them with a hostile name."""
    run = write_run(tmp_path / "run", names=["A1", EVIL, "C3"])
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(write_report(run).as_uri())
    WebDriverWait(browser, 60).until(
        lambda b: b.execute_script("return document.documentElement.dataset.drawn") == "yes"
    )
    return browser


def drawn(browser):
    """Consumption as drawn for the chosen household."""
    return browser.execute_script(
        "return document.querySelector('.chooser').closest('figure')"
        ".querySelector('.plot').data[0].y.slice(0, 20)"
    )


def test_every_figure_is_drawn_without_an_error_or_a_request(page):
    """All plots hold a drawing, the console is empty, and nothing was asked of any host."""
    counts = page.execute_script(
        "return [...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('svg').length)"
    )
    assert len(counts) >= 10
    assert all(counts)
    assert page.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    assert [
        url for url in asked if not url.startswith(("file:", "data:", "blob:", "chrome:"))
    ] == []


def test_the_selector_changes_the_household(page):
    """Choosing, stepping and the bill's link all lead to the household they name."""
    select = Select(page.find_element(By.CSS_SELECTOR, ".chooser select"))
    names = [option.text for option in select.options]
    assert sorted(names) == sorted(["A1", EVIL, "C3"])
    seen = {}
    for name in names:
        select.select_by_visible_text(name)
        seen[name] = drawn(page)
    assert len({str(series) for series in seen.values()}) == 3
    previous, following = page.find_elements(By.CSS_SELECTOR, ".chooser button")
    assert not following.is_enabled()
    page.execute_script("arguments[0].click()", previous)
    assert drawn(page) == seen[names[1]]
    link = page.find_element(By.LINK_TEXT, names[0])
    page.execute_script("arguments[0].click()", link)
    WebDriverWait(page, 5).until(lambda b: drawn(b) == seen[names[0]])
    assert select.first_selected_option.text == names[0]


def test_keyboard_reaches_theme_and_selector(page):
    """Tab leads from the head to the selector, and an arrow key there changes the household."""
    reached = []
    for _ in range(40):
        page.switch_to.active_element.send_keys(Keys.TAB)
        focus = page.switch_to.active_element
        reached.append(focus.tag_name)
        if focus.tag_name == "select":
            break
    assert reached[-1] == "select"
    assert "button" in reached
    before = drawn(page)
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert drawn(page) != before


def test_theme_changes_page_and_pictures(page):
    """The button leads from light to dark; text of the page and of the plots follows."""

    def colours():
        return page.execute_script(
            "return [getComputedStyle(document.body).color,"
            " document.querySelector('.plot').layout.font.color]"
        )

    button = page.find_element(By.ID, "theme")
    seen = {}
    for _ in range(3):
        button.click()
        seen[button.text] = colours()
    assert set(seen) == {"Theme: system", "Theme: light", "Theme: dark"}
    light, dark = seen["Theme: light"], seen["Theme: dark"]
    assert light[0] != dark[0]
    assert light[1] != dark[1]


def test_no_screen_scrolls_sideways(page):
    """Tables scroll inside themselves; the page itself fits every screen."""
    try:
        for width in (320, 390, 768, 1600):
            page.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
            )
            WebDriverWait(page, 5).until(
                lambda b, width=width: b.execute_script("return innerWidth") == width
            )
            assert page.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hostile_names_run_nothing(page):
    """The image of the hostile name never becomes an element, in tables or in drawings."""
    assert page.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    assert EVIL in page.find_element(By.TAG_NAME, "main").text
