"""The page's mask: painted over the picture, or a picture of its own."""

import io
import json

import numpy as np
import pytest
import requests
from browser import CHROMIUM
from PIL import Image

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: tools/setup.sh test installs it")

SIZE = (64, 48)  # of the source; results are twice as large here


@pytest.fixture
def painting(page, astronaut):
    """The page with the picture dropped and the mask's bar open."""
    page.option("seed").fill("5")
    page.option("sigma_s").fill("0.4")
    page('.field[data-option="scale"] .preset', has_text="2×").click()
    page.drop(astronaut)
    page("#mask").click()
    page("#mask-bar").wait_for()
    page.drawn()
    return page


def place(page):
    """Where the picture lies on the screen (left, top, width, height), fitted."""
    box, shown = page("#canvas").bounding_box(), page.zoom() / 100
    width, height = SIZE[0] * shown, SIZE[1] * shown
    return box["x"] + box["width"] / 2 - width / 2, box["y"] + box["height"] / 2 - height / 2, width, height


def stroke(page, *points, button="left"):
    """A drag over points in fractions of the picture."""
    left, top, width, height = place(page)
    at = [(left + x * width, top + y * height) for x, y in points]
    page.page.mouse.move(*at[0])
    page.page.mouse.down(button=button)
    for x, y in at[1:] or at:
        page.page.mouse.move(x, y, steps=6)
    page.page.mouse.up(button=button)
    page.drawn()


def restore(page):
    """-> the finished job."""
    page("#restore").click()
    page('#list li[data-state="done"] .open[aria-current="true"]').wait_for()
    return page.server.job(page.identity())


def sent_mask(page, job):
    return np.asarray(Image.open(page.server.data / "jobs" / job["id"] / "mask").convert("L"))


def pixels(page, job):
    return np.asarray(page.server.result(job["id"])).astype(float)


def test_what_is_painted_is_restored_and_the_rest_only_enlarged(painting, astronaut):
    page = painting
    page("#mask-size").fill("240")
    clean = page.pixels()
    stroke(page, (0.2, 0), (0.2, 1))
    left, top, width, height = place(page)
    box = page("#canvas").bounding_box()
    middle = round(top - box["y"] + height / 2)
    over, beside = (round(left - box["x"] + x * width) for x in (0.2, 0.9))
    assert page.pixels().getpixel((over, middle)) != clean.getpixel((over, middle)), "the paint is seen"
    assert page.pixels().getpixel((beside, middle)) == clean.getpixel((beside, middle))
    assert "with a mask" in page("#facts").inner_text()
    job = restore(page)
    assert page("#mask-bar").is_hidden() and "with a mask" in page("#facts").inner_text()
    mask = sent_mask(page, job)
    assert mask.shape[:2] == SIZE[::-1] and mask[24, 12] == 255 and mask[24, 60] == 0 and job["manifest"]["mask"] is True

    # The same job without a mask differs in the picture's right side alone; there the masked one is the enlarged source.
    options = {"restore": {"seed": 5, "sigma_s": 0.4, "scale": 2}}
    made = requests.post(f"{page.server.url}/v1/jobs", files={"image": astronaut.read_bytes()}, data={"options": json.dumps(options)}, timeout=20).json()
    page(f'#list li[data-job="{made["id"]}"][data-state="done"]').wait_for()
    masked, whole = pixels(page, job), pixels(page, made)
    assert np.array_equal(masked[:, :36], whole[:, :36])
    enlarged = np.asarray(Image.open(astronaut).convert("RGB").resize((128, 96), Image.BICUBIC)).astype(float)
    assert np.abs(masked[:, 100:] - enlarged[:, 100:]).mean() < 1 < np.abs(whole[:, 100:] - enlarged[:, 100:]).mean()

    # Restored again it has the mask still; after a reload the page says that it has it no longer.
    again = restore(page) if page("#restore").inner_text() == "Restore again" else None
    assert again and np.array_equal(sent_mask(page, again), mask)
    page.page.reload()
    page.ready()
    page("#divider").wait_for()
    page("#restore", has_text="Restore again").click()
    page(".message", has_text="It had a mask").wait_for()


def test_a_chosen_picture_is_the_mask_that_the_api_takes(painting, astronaut, tmp_path):
    page = painting
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey[:, :48]).save(tmp_path / "square.png")
    (tmp_path / "no.png").write_bytes(b"no picture")
    for wrong, said in (("square.png", "another shape"), ("no.png", "cannot read")):
        page("#mask-file").set_input_files(tmp_path / wrong)
        page(".message.bad", has_text=said).wait_for()
        assert page("#mask-clear").is_disabled()  # still nothing
    page("#mask-file").set_input_files(tmp_path / "grey.png")
    page("#mask-clear:not([disabled])").wait_for()
    job = restore(page)
    assert np.abs(sent_mask(page, job).astype(int) - grey).max() <= 1
    form = {"image": astronaut.read_bytes(), "mask": (tmp_path / "grey.png").read_bytes()}
    options = {"restore": {"seed": 5, "sigma_s": 0.4, "scale": 2}}
    made = requests.post(f"{page.server.url}/v1/jobs", files=form, data={"options": json.dumps(options)}, timeout=20).json()
    page(f'#list li[data-job="{made["id"]}"][data-state="done"]').wait_for()
    assert np.abs(pixels(page, job) - pixels(page, made)).max() <= 2


def test_erase_undo_invert_clear_and_keys(painting):
    page = painting
    press = page.page.keyboard.press
    page("#mask-size").fill("120")
    stroke(page, (0.1, 0.5), (0.9, 0.5))
    press("x")
    page('#mask-erase[aria-pressed="true"]').wait_for()
    before = int(page("#mask-size").input_value())
    press("[")
    assert int(page("#mask-size").input_value()) < before
    stroke(page, (0.5, 0.5))
    press("x")
    stroke(page, (0.5, 0.1))  # and taken back
    press("Control+z")
    page("#mask-invert").click()
    mask = sent_mask(page, restore(page))
    assert [int(mask[y, x]) for x, y in ((13, 24), (32, 24), (32, 5), (50, 24), (3, 3))] == [0, 255, 255, 0, 255]
    # Cleared, or never painted, it is no mask.
    press("m")
    page("#mask-clear").click()
    press("Escape")
    page("#mask-bar").wait_for(state="hidden")
    page("#divider").wait_for()
    assert "with a mask" in page("#facts").inner_text()  # of the result
    job = restore(page)
    assert "mask" not in job["manifest"] and not (page.server.data / "jobs" / job["id"] / "mask").exists()


def test_zoomed_in_the_paint_stays_in_its_place_and_shift_moves_the_picture(painting):
    page = painting
    page("#mask-size").fill("96")  # four pixels of the picture
    page.page.keyboard.press("1")  # 100 %: the source's own pixels here
    for _ in range(9):
        page.page.keyboard.press("+")
    page("#zoom", has_text="2400 %").wait_for()
    box = page("#canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.page.keyboard.down("Shift")
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    shown = page.zoom() / 100
    page.page.mouse.move(x + 10 * shown, y, steps=4)  # ten pixels to the left of the middle come into the middle
    page.page.mouse.up()
    page.page.keyboard.up("Shift")
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    page.page.mouse.up()
    page.drawn()
    mask = sent_mask(page, restore(page))
    rows, columns = np.nonzero(mask > 128)
    assert abs(columns.mean() + 0.5 - 22) < 1 and abs(rows.mean() + 0.5 - 24) < 1 and len(rows) < 60


def test_two_pictures_have_two_masks_and_fingers_paint_and_zoom(open_page, server, astronaut, tmp_path):
    page = open_page(server, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True).ready()
    for name in ("first.png", "second.png"):
        Image.open(astronaut).save(tmp_path / name)
    page.drop(tmp_path / "first.png", tmp_path / "second.png")
    page("#mask").tap()
    page("#mask-bar").wait_for()
    assert page.page.evaluate("document.documentElement.scrollWidth") == 390
    touch = page.context.new_cdp_session(page.page)
    left, top, width, height = place(page)

    def fingers(kind, *points):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": left + x * width, "y": top + y * height, "id": n} for n, (x, y) in enumerate(points)]})

    fingers("touchStart", (0.3, 0.5))
    fingers("touchMove", (0.7, 0.5))
    fingers("touchEnd")
    page("#mask-clear:not([disabled])").wait_for()
    painted, fitted = page.pixels().getpixel((195, 5)), page.zoom()
    fingers("touchStart", (0.4, 0.3))  # the first of two fingers paints nothing
    fingers("touchStart", (0.4, 0.3), (0.6, 0.3))
    fingers("touchMove", (0.3, 0.3), (0.7, 0.3))
    fingers("touchEnd")
    page.page.wait_for_timeout(50)
    assert page.zoom() > 1.5 * fitted and painted
    page("#mask-done").tap()
    assert "with a mask" in page("#facts").inner_text()
    page.row("second.png").locator(".open").tap()
    assert "with a mask" not in page("#facts").inner_text()
    page("#restore").tap()
    for name in ("first.png", "second.png"):
        page.row(name).and_(page('[data-state="done"]')).wait_for()
    jobs = {job["name"]: job for job in server.get("/v1/jobs?limit=2").json()["jobs"]}
    assert "mask" not in jobs["second.png"]["manifest"]
    mask = sent_mask(page, jobs["first.png"])
    assert [int(mask[y, x]) for x, y in ((32, 24), (32, 14), (3, 24))] == [255, 0, 0]
