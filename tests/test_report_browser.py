"""The page in a real browser, headless, from a file."""

import io
import os
import shutil

import pytest
import torch
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from restorer.report import page, row

if not shutil.which("chromedriver") and "RESTORER_BROWSER" not in os.environ:
    pytest.skip("needs chromium and chromium-driver", allow_module_level=True)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page of 200 pairs: before is black, after white, the truth red, and the spread green."""
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float32)
    black, white, red, green = (colour.view(1, 3, 1, 1).expand(1, 3, 120, 200) for colour in colours)
    rows = [
        row(
            f"picture {i:03d}.png",
            black,
            white,
            target=red,
            spread=green,
            scores={"psnr": 10 + i / 10},
            recipe={"i": i},
        )
        for i in range(200)
    ]
    file = tmp_path_factory.mktemp("report") / "compare.html"
    file.write_text(page(rows), encoding="utf-8")
    return file


@pytest.fixture
def opened(browser, report):
    browser.get(report.as_uri())
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def sliders(browser):
    return browser.find_elements(By.CSS_SELECTOR, ".pair")


def at(pair):
    return int(pair.get_attribute("aria-valuenow"))


def colours(browser, pair):
    """What is seen a fifth from the left and from the right."""
    shown = Image.open(io.BytesIO(pair.screenshot_as_png)).convert("RGB")
    return [shown.getpixel((int(shown.width * share), shown.height // 4)) for share in (0.2, 0.8)]


def test_pictures_load_and_the_worst_come_first(opened):
    loaded = (
        "return [...document.images].filter(i => i.getBoundingClientRect().top < 900).every(i => i.naturalWidth > 0)"
    )
    assert opened.execute_script(loaded) and len(sliders(opened)) == 200
    assert opened.find_element(By.TAG_NAME, "h2").text == "picture 000.png"
    assert colours(opened, sliders(opened)[0]) == [(0, 0, 0), (255, 255, 255)]


def test_the_mouse_moves_a_slider(opened):
    pair = sliders(opened)[0]
    width = pair.size["width"]
    ActionChains(opened).move_to_element(pair).click_and_hold().move_by_offset(int(width * 0.4), 0).release().perform()
    assert 88 <= at(pair) <= 92
    chain = ActionChains(opened).move_to_element(pair).click_and_hold().move_by_offset(-int(width * 0.4), 0)
    chain.release().move_by_offset(int(width * 0.3), 0).perform()
    assert 8 <= at(pair) <= 12, "it follows no mouse that was let go"
    assert colours(opened, pair) == [(255, 255, 255)] * 2
    assert at(sliders(opened)[1]) == 50


def test_keys_move_a_slider(opened):
    pair = sliders(opened)[1]
    opened.execute_script("arguments[0].focus()", pair)
    keys = [Keys.ARROW_RIGHT] * 3 + [Keys.ARROW_LEFT]
    ActionChains(opened).send_keys(*keys).perform()
    assert at(pair) == 52
    for key, place in ((Keys.END, 100), (Keys.HOME, 0), (Keys.PAGE_UP, 10), (Keys.ARROW_LEFT, 9)):
        ActionChains(opened).send_keys(key).perform()
        assert at(pair) == place
    ActionChains(opened).key_down(Keys.SHIFT).send_keys(Keys.ARROW_RIGHT).key_up(Keys.SHIFT).perform()
    assert at(pair) == 19


def test_a_finger_moves_a_slider(opened):
    pair = sliders(opened)[0]
    box = opened.execute_script("const b = arguments[0].getBoundingClientRect(); return [b.left, b.top, b.width]", pair)
    for kind, share in (("touchStart", 0.5), ("touchMove", 0.75), ("touchEnd", None)):
        points = [] if share is None else [{"x": box[0] + share * box[2], "y": box[1] + 20}]
        opened.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert 73 <= at(pair) <= 77


def test_what_is_on_the_right_can_be_chosen(opened):
    pair, choice = sliders(opened)[0], opened.find_element(By.CSS_SELECTOR, ".choice")
    for value, colour in (("target", (1, 0, 0)), ("uncertainty", (0, 1, 0)), ("after", (1, 1, 1))):
        choice.find_element(By.CSS_SELECTOR, f"[value={value}]").click()
        right = colours(opened, pair)[1]
        assert all(abs(channel - 255 * wanted) < 40 for channel, wanted in zip(right, colour, strict=True)), value


def test_searching_sifting_and_sorting(opened):
    def shown():
        return [h.text for h in opened.find_elements(By.TAG_NAME, "h2") if h.is_displayed()]

    opened.find_element(By.ID, "search").send_keys("picture 01")
    assert shown() == [f"picture {i:03d}.png" for i in range(10, 20)]
    opened.find_element(By.ID, "below").send_keys("11.25")
    assert shown() == ["picture 010.png", "picture 011.png", "picture 012.png"]
    assert opened.find_element(By.ID, "count").text == "3 of 200"
    Select(opened.find_element(By.ID, "order")).select_by_value("best")
    assert shown() == ["picture 012.png", "picture 011.png", "picture 010.png"]
