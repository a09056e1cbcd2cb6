"""The page of the house in a real browser, on a phone and on a desk, light and dark."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from fl_client.control.record import SHADOW, STEERING, Plan, Record, Snapshot  # noqa: E402
from fl_client.home.mapping import MAPPING, read_mapping  # noqa: E402
from fl_client.home.store import OWN, STORE, Reading, Store  # noqa: E402
from fl_client.host.client_file import ClientFile  # noqa: E402
from fl_client.host.window import serve  # noqa: E402
from tests.support.browser import BROWSER, DRIVER, WHAT_TO_INSTALL  # noqa: E402

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason=WHAT_TO_INSTALL)

HOSTILE = "<script>document.title = 'taken'</script>"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A household with meters and a battery whose control speaks, one of them in hostile words."""
    file = asdict(ClientFile("maple", "meters", "127.0.0.1:9092", page_port=9481))
    (tmp_path / "client.yaml").write_text(yaml.safe_dump(file))
    meters = [{"role": role, "topic": f"house/{role}", "time": "time"} for role in ("import", "pv")]
    (tmp_path / MAPPING).write_text(yaml.safe_dump(meters))
    now = time.time()
    store = Store(tmp_path / STORE, write=True)
    for one in read_mapping(tmp_path / MAPPING):
        store.put(Reading(one.name, now - ago, now - ago, 9 - ago / 3600, OWN) for ago in range(99))
    store.doubt(one.name, now, HOSTILE)
    store.close()
    record = Record(tmp_path)
    plan = Plan(now - 900, now + 900, 0.4, 0.1, -0.2, -0.3)
    record.put(Snapshot(now, SHADOW, STEERING, HOSTILE, 0.7, soc=0.5, plan=plan, faults=(HOSTILE,)))
    record.close()
    return tmp_path


@pytest.fixture
def browser(tmp_path: Path) -> Iterator["webdriver.Chrome"]:
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def brightness(colour: str) -> float:
    """Mean of red, green and blue of ``rgb(...)``."""
    return sum(float(part) for part in colour.split("(")[1].rstrip(")").split(",")[:3]) / 3


def test_it_fits_and_obeys(home: Path, browser: "webdriver.Chrome") -> None:
    """Nothing wider than a phone; dark where the browser is; no word is taken for markup; and the
    button leaves the battery alone for as long as was chosen, until the other one is pressed."""
    served = serve(home, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{served.server_port}/"
    try:
        for width, mobile in ((360, True), (1100, False)):
            for scheme in ("light", "dark"):
                browser.execute_cdp_cmd(
                    "Emulation.setDeviceMetricsOverride",
                    {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": mobile},
                )
                browser.execute_cdp_cmd(
                    "Emulation.setEmulatedMedia",
                    {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
                )
                browser.get(url)
                assert browser.title == "maple"
                shown = browser.execute_script("return document.documentElement.scrollWidth")
                assert shown <= width
                text = browser.execute_script("return getComputedStyle(document.body).color")
                assert (brightness(text) > 128) == (scheme == "dark")
        assert "1.00 kW" in browser.page_source
        record = Record(home)
        assert record.override(time.time()) is None
        browser.find_element(By.CSS_SELECTOR, "option[value='4']").click()
        wait = WebDriverWait(browser, 20)
        browser.find_element(By.CSS_SELECTOR, "button[value='set']").click()
        held = wait.until(lambda _: record.override(time.time()))
        assert held.until is not None
        assert held.until - held.since == pytest.approx(4 * 3600, abs=1)
        wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "button[value='clear']"))[0].click()
        wait.until(lambda _: record.override(time.time()) is None)
        assert wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "button[value='set']"))
        assert browser.current_url == url
        record.close()
        complaints = [line for line in browser.get_log("browser") if "favicon" not in str(line)]
        assert complaints == []
    finally:
        served.shutdown()
        served.server_close()
