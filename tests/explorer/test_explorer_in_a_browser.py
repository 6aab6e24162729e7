"""A person's way through the page, in a real browser."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmexit_sim.cli import main
from vmexit_sim.opened import open_scenario
from vmexit_sim.present.report_tables import costs_table
from vmexit_sim.scenario import find_scenario
from vmexit_sim.study.compare import compare

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="takes Debian's chromium and chromium-driver"
)

START = "guest=spread&policy=linux-default&policy=hypercall&policy=batched-recorded&row=2"
PATIENCE = 30


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "disable-dev-shm-usage", f"user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def wait_for(condition: Any) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "the page does not change"
        time.sleep(0.02)
    return found


def test_a_moved_slider_changes_the_verdict_to_that_of_the_exported_scenario(
    served: Any, browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    def said() -> str:
        return str(browser.execute_script("return document.getElementById('said').textContent"))

    def settled() -> bool:
        return bool(browser.execute_script(
            "return asked === null && next === null && byId('verdict').dataset.whole === 'yes'"
        ))  # fmt: skip

    browser.get(f"http://127.0.0.1:{served.port}/?{START}")
    wait_for(settled)
    before = said()
    slider = browser.find_element(By.ID, "slide-row")
    slider.send_keys(Keys.ARROW_RIGHT)
    slider.send_keys(Keys.ARROW_RIGHT)
    wait_for(lambda: said() != before and "row=4" in browser.current_url and settled())
    assert slider.get_attribute("aria-valuetext") == "4"
    assert browser.execute_script("return document.activeElement.id") == "slide-row"
    after = said()

    browser.find_element(By.ID, "download").click()
    file = tmp_path / "explored.toml"
    wait_for(file.exists)
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(file), "--jobs", "1"])
    assert ended.value.code == 0
    assert after in " ".join(capsys.readouterr().out.split())
    compared = compare(open_scenario(*find_scenario(str(file)))).blocks[0]
    assert browser.execute_script(
        "return [...document.querySelectorAll('#costs-scroll tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.textContent))"
    ) == [list(row) for row in costs_table(compared).rows]

    link = browser.current_url
    browser.get("about:blank")
    browser.get(link)
    wait_for(settled)
    assert said() == after

    browser.execute_script(
        "byId('guest').value = 'download-e1000';"
        "byId('guest').dispatchEvent(new Event('change', {bubbles: true}))"
    )
    wait_for(lambda: "guest=download-e1000" in browser.current_url and settled())
    assert not browser.find_elements(By.ID, "slide-row")
    assert browser.find_elements(By.ID, "slide-think")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
