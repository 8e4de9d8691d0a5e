"""The web page in a real browser, on a real server with a tiny model."""

import io
import re
import time

import numpy as np
import pytest
from browser import CHROMIUM, Server
from PIL import Image

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: tools/setup.sh test installs it")

KEY = "a-key-of-the-tests"


def difference(a, b):
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).mean()


def test_a_dropped_picture_is_restored_compared_and_downloaded(page, astronaut):
    identity = page.restored(astronaut)
    result = page.server.result(identity)
    assert result.size == (256, 192)  # four times

    # At 100 % each pixel to the right of the slider is one of the result, to the left there is the source.
    page.page.keyboard.press("1")
    page("#zoom", has_text="100 %").wait_for()
    canvas = page.pixels()
    left, top = round(canvas.width / 2 - 128), round(canvas.height / 2 - 96)
    whole = canvas.crop((left, top, left + 256, top + 192))
    assert difference(whole.crop((150, 0, 256, 192)), result.crop((150, 0, 256, 192))) == 0
    source = Image.open(astronaut).convert("RGB").resize((256, 192), Image.BILINEAR)
    before, made, wanted = (image.crop((0, 0, 100, 192)) for image in (whole, result, source))
    assert difference(before, wanted) < difference(made, wanted)

    # The slider is dragged to a quarter: what lay left of it then shows the result.
    grip = page("#divider").bounding_box()
    box = page("#canvas").bounding_box()
    page.page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + 100)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + left + 64, grip["y"] + 100, steps=4)
    page.page.mouse.up()
    assert abs(page.split() - 25) <= 1
    moved = page.pixels((left, top, left + 256, top + 192))
    assert difference(moved.crop((75, 0, 256, 192)), result.crop((75, 0, 256, 192))) == 0

    with page.page.expect_download() as waiting:
        page("#facts button", has_text="Download").click()
    saved = waiting.value
    assert saved.suggested_filename.startswith("astronaut") and saved.suggested_filename.endswith(".png")
    with Image.open(saved.path()) as image:
        image.load()
        assert image.format == "PNG" and image.size == (256, 192)
        assert "parameters" in image.info
        assert difference(image.convert("RGB"), result) == 0


def test_many_files_are_restored_and_what_is_no_picture_is_named(page, astronaut, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    names = ["first.png", "second.png", "third.png"]
    for name in names:
        Image.open(astronaut).rotate(90 * names.index(name)).save(tmp_path / name)
    page.drop(*(tmp_path / name for name in names), notes)
    page(".message.bad", has_text="notes.txt is not a picture").wait_for()
    assert page('#list li[data-state="ready"]').count() == 3
    assert page("#restore").inner_text() == "Restore 3 pictures"
    page("#restore").click()
    for name in names:
        page.row(name).and_(page('[data-state="done"]')).wait_for()
    jobs = page.server.get("/v1/jobs?limit=3").json()["jobs"]
    assert [job["name"] for job in jobs] == names[::-1]  # newest first: they were sent in order


def test_options_are_sent_as_they_stand_in_the_form(page, astronaut):
    schema = page.server.get("/v1/schema").json()
    shown = page("#form .field").evaluate_all("fields => fields.map(field => field.dataset.option)")
    assert sorted(shown) == sorted(field["name"] for group in schema["groups"] for field in group["fields"])

    assert page("#reset").is_hidden()  # nothing differs from the defaults yet
    page('.field[data-option="scale"] .preset', has_text="2×").click()
    page.option("steps").fill("3")
    page.option("strength").fill("0.5")
    page.option("seed").fill("77")
    page.option("color_fix").select_option("wavelet")
    page.option("format").select_option("webp")
    page.option("caption").fill("a person")
    page.drop(astronaut)
    page("#restore").click()
    wanted = {"restore": {"scale": 2, "steps": 3, "strength": 0.5, "seed": 77, "color_fix": "wavelet", "caption": "a person"}, "files": {"format": "webp"}}
    page('#list li[data-state="done"] .open[aria-current="true"]').wait_for()
    job = page.server.job(page.row("astronaut").get_attribute("data-job"))
    for group in schema["groups"]:
        used = job["options"][group["name"]]
        expected = {field["name"]: field["default"] for field in group["fields"]} | wanted.get(group["name"], {})
        expected["candidate_batch"] = used.get("candidate_batch")  # the server's own limit
        assert {name: used[name] for name in used if used[name] != expected[name]} == {}
        assert wanted.get(group["name"], {}).items() <= used.items()
    assert job["result"]["format"] == "webp" and job["result"]["width"] == 128

    # They are still there after a reload, go by Reset, and come back from the picture that was made with them.
    page.page.reload()
    page.ready()
    assert page.option("steps").input_value() == "3"
    page("#reset").click()
    assert page.option("steps").input_value() == "" and page.option("color_fix").input_value() == "none"
    page("#facts button", has_text="Use these options").click()
    assert page.option("steps").input_value() == "3" and page.option("color_fix").input_value() == "wavelet"


def test_a_wrong_option_is_shown_where_it_stands(page, astronaut):
    page.drop(astronaut)
    before = len(page.server.get("/v1/jobs").json()["jobs"])
    # The browser knows the range: nothing is sent.
    page.option("steps").fill("900")
    page("#restore").click()
    page('.field[data-option="steps"] .error', has_text="0 to 200").wait_for()
    assert page.row("astronaut").get_attribute("data-state") == "ready"
    page.option("steps").fill("")
    # Only the server knows how two options go together.
    page.option("tile").fill("256")
    page.option("overlap").fill("256")
    page("#restore").click()
    page("#facts .trouble", has_text="too small for").wait_for()
    assert "too small for" in page('.field[data-option="tile"] .error').inner_text()
    assert page('#list li[data-state="refused"]').count() == 1
    assert len(page.server.get("/v1/jobs").json()["jobs"]) == before
    # Mended, the same picture goes through.
    page.option("tile").fill("")
    page.option("overlap").fill("")
    assert page('.field[data-option="tile"] .error').inner_text() == ""
    page("#restore").click()
    page('#list li[data-state="done"] .open[aria-current="true"]').wait_for()


def test_a_damaged_file_is_refused_in_the_servers_words(page, tmp_path, astronaut):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(astronaut.read_bytes()[:60] + b"nothing")
    page.drop(damaged)
    page("#restore").click()
    row = page.row("damaged.png")
    row.and_(page('[data-state="refused"], [data-state="failed"]')).wait_for()
    assert len(page("#facts .trouble").inner_text()) > 20


def test_progress_and_previews_are_live_and_a_job_is_cancelled(page, astronaut, tmp_path):
    large = tmp_path / astronaut.name  # far more work than is waited for: the page must see it in the middle, and cancel it there
    Image.open(astronaut).resize((160, 120)).save(large)
    page.option("steps").fill("200")
    page('.field[data-option="scale"] .preset', has_text="8×").click()
    page.drop(large)
    page("#restore").click()
    running = page('#list li[data-state="running"]')
    running.wait_for()
    page("#tag-after", has_text="Preview").wait_for()
    bar = running.locator("progress")
    seen = {bar.evaluate("bar => bar.value")}
    for _ in range(100):
        page.page.wait_for_timeout(50)
        seen.add(bar.evaluate("bar => bar.value"))
        if len(seen) > 3:
            break
    assert len(seen) > 3 and max(seen) < 1
    assert re.search(r"\d+/\d+", page("#facts .about").inner_text())
    page("#facts button", has_text="Cancel").click()
    page('#list li[data-state="cancelled"]').first.wait_for()
    job = page.server.job(page.row("astronaut").get_attribute("data-job"))
    assert job["state"] == "cancelled" and job["result"] is None
    page("#reset").click()
    page.restored(astronaut)  # the next one is not held up


def test_previews_that_come_late_are_seen(page, astronaut, tmp_path):
    """Each takes longer than the next takes to be announced. Catches: a preview that is given up for its successor, so that none is seen."""
    large = tmp_path / astronaut.name
    Image.open(astronaut).resize((160, 120)).save(large)
    page.page.evaluate("""() => {
      const fetched = window.fetch;
      window.fetch = async (address, ...rest) => {
        if (String(address).includes("/preview")) await new Promise(done => setTimeout(done, 1500));
        return fetched(address, ...rest);
      };
    }""")
    page.option("steps").fill("200")
    page('.field[data-option="scale"] .preset', has_text="8×").click()
    page.drop(large)
    page("#restore").click()
    page("#tag-after", has_text="Preview").wait_for(timeout=8000)
    page("#facts button", has_text="Cancel").click()
    page('#list li[data-state="cancelled"]').first.wait_for()
    page("#reset").click()


def test_another_candidate_of_a_search_becomes_the_result(page, astronaut, tmp_path):
    odd = tmp_path / "odd.png"
    Image.open(astronaut).crop((20, 10, 72, 48)).save(odd)  # 52 x 38: its tile is padded below
    page.search(candidates=3)
    page.option("sigma_s").fill("0.5")  # so that they differ
    identity = page.restored(odd)
    old = page.server.result(identity)
    assert old.size == (208, 152)
    cards = page("#candidates .card")
    cards.first.wait_for()
    report = page.server.get(f"/v1/jobs/{identity}/candidates").json()["candidates"]
    assert cards.count() == len(report) == 3
    assert page("#candidates .score").count() == sum(len(candidate["scores"]) for candidate in report) > 0
    assert "In the result" in cards.nth(0).inner_text()
    cards.nth(2).scroll_into_view_if_needed()
    widths = page("#candidates img").evaluate_all("images => Promise.all(images.map(image => image.decode().then(() => image.naturalWidth)))")
    assert min(widths) > 0

    def right_of_the_slider():
        canvas = page.pixels()
        left, top = round(canvas.width / 2 - 104), round(canvas.height / 2 - 76)
        return canvas.crop((left + 110, top, left + 208, top + 152))

    page.page.keyboard.press("1")
    page("#zoom", has_text=re.compile("^100 %")).wait_for()
    assert difference(right_of_the_slider(), old.crop((110, 0, 208, 152))) == 0
    cards.nth(1).click()
    page("#tag-after", has_text="Candidate").wait_for()
    looked = right_of_the_slider()
    wanted = cards.nth(1).get_attribute("data-candidate")
    page("#use-candidate").click()
    page(f'#candidates .card[data-candidate="{wanted}"]', has_text="In the result").wait_for()
    page("#tag-after", has_text="After").wait_for()
    new = page.server.result(identity)
    assert difference(old, new) > 0
    assert difference(right_of_the_slider(), new.crop((110, 0, 208, 152))) == 0
    assert difference(looked, right_of_the_slider()) < 1  # what was seen is what was taken; it was seen in 16 bits


def test_each_tile_keeps_its_own_choice(page, astronaut):
    page.search()
    page.option("sigma_s").fill("0.5")
    page.option("tile").fill("144")
    page.option("overlap").fill("16")
    identity = page.restored(astronaut)
    chosen = {}
    for tile in ("0", "1"):
        page("#candidates select").select_option(tile)
        card = page("#candidates .card", has_not_text="In the result").first
        chosen[tile] = card.get_attribute("data-candidate")
        assert chosen[tile].startswith(f"{tile}:")
        card.click()
        page("#use-candidate").click()
        page(f'#candidates .card[data-candidate="{chosen[tile]}"]', has_text="In the result").wait_for()
    report = page.server.get(f"/v1/jobs/{identity}/candidates").json()
    assert report["tiles"] > 1
    winners = [f"{one['tile']}:{one['id']}" for one in report["candidates"] if one["winner"]]
    assert len(winners) == report["tiles"] and set(chosen.values()) <= set(winners)


def test_history_is_there_after_a_reload_and_in_another_tab(page, open_page, astronaut):
    identity = page.restored(astronaut)
    page.page.reload()
    page.ready()
    page("#divider").wait_for()
    assert page.identity() == identity
    assert page.row("astronaut").get_attribute("data-job") == identity
    other = open_page(page.server).ready()
    other(f'#list li[data-job="{identity}"]').wait_for()
    # Removed in one, it goes from both, and from the server.
    page("#facts button", has_text="Remove").click()
    page(f'#list li[data-job="{identity}"]').wait_for(state="detached")
    assert page.server.get(f"/v1/jobs/{identity}").status_code == 404
    other.page.evaluate("dispatchEvent(new Event('online'))")
    other(f'#list li[data-job="{identity}"]').wait_for(state="detached")


def test_keys_move_the_slider_zoom_and_leave(page, astronaut):
    page.restored(astronaut)
    press = page.page.keyboard.press
    page("#canvas").focus()
    assert page.split() == 50
    press("ArrowRight")
    assert page.split() == 52
    press("Shift+ArrowLeft")
    assert page.split() == 42
    fitted = page.zoom()
    press("1")
    page("#zoom", has_text="100 %").wait_for()
    press("+")
    page("#zoom", has_text="150 %").wait_for()
    press("0")
    page("#zoom", has_text=f"{fitted:.0f} %").wait_for()
    press("Escape")
    page('#divider[aria-valuenow="50"]').wait_for()
    press("d")
    page('#mode-pair[aria-pressed="true"]').wait_for()
    press("s")
    press("f")
    page("#options").wait_for(state="hidden")
    press("Escape")
    page("#options").wait_for()
    # A field keeps its own keys; Ctrl+Enter works from there.
    page.option("seed").focus()
    press("1")
    assert page.option("seed").input_value() == "1"
    press("Control+Enter")
    page('#list li[data-state="done"] .open[aria-current="true"]').wait_for()
    page("#tag-after", has_text="After").wait_for()
    # The divider is a slider of its own.
    page("#divider").focus()
    press("Home")
    assert page.split() == 0
    press("?")
    page("#keys-dialog").wait_for()
    press("Escape")
    page("#keys-dialog").wait_for(state="hidden")


def test_wheel_and_drag_keep_the_place_under_the_pointer(page, tmp_path):
    """A picture of 6000 x 4000 is shown, exact at 100 %, without being sent."""
    tile = np.random.default_rng(1).integers(0, 255, (400, 600, 3), np.uint8)
    large = tmp_path / "large.png"
    Image.fromarray(np.tile(tile, (10, 10, 1))).save(large, compress_level=1)
    page("#files").set_input_files(large)
    page('#canvas[aria-label="large.png"]').wait_for()
    assert page.zoom() < 25
    page.page.keyboard.press("1")
    page("#zoom", has_text="100 %").wait_for()
    canvas = page.pixels()
    x, y = round(canvas.width / 2 - 3000), round(canvas.height / 2 - 2000)  # where the picture's corner lies
    rows, columns = np.arange(canvas.height) - y, np.arange(canvas.width) - x
    assert difference(canvas, tile[rows[:, None] % 400, columns[None] % 600]) == 0
    # A drag moves it by just so much.
    box = page("#canvas").bounding_box()
    page.page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 200, box["y"] + 340, steps=3)
    page.page.mouse.up()
    page.page.wait_for_timeout(50)
    assert difference(page.pixels(), tile[(rows - 40)[:, None] % 400, (columns + 100)[None] % 600]) == 0
    # The wheel zooms, and the pixel under the pointer stays under it.
    at = (200, 200)
    color = page.pixels().getpixel(at)
    page.page.mouse.move(box["x"] + at[0] + 0.5, box["y"] + at[1] + 0.5)
    for _ in range(12):
        page.page.mouse.wheel(0, -120)
    page.page.wait_for_timeout(100)
    assert page.zoom() > 500 and page.pixels().getpixel(at) == color
    started = time.monotonic()
    page.page.keyboard.press("0")
    page.page.wait_for_timeout(20)
    page.pixels()
    assert time.monotonic() - started < 3


def luminance(color):
    levels = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    return sum(weight * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for weight, c in zip((0.2126, 0.7152, 0.0722), levels))


def test_dark_and_light_follow_the_system_until_the_switch_is_used(open_page, server):
    page = open_page(server, color_scheme="dark").ready()

    def background():
        return luminance(page.page.evaluate("getComputedStyle(document.querySelector('.options')).backgroundColor"))

    def contrasts():
        """Of every text of the page with what lies behind it."""
        pairs = page.page.evaluate(
            """() => [...document.querySelectorAll('main *, header *')].filter(node => node.offsetParent && !node.closest('button:disabled') &&
                 [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim())).map(node => {
                   let behind = node;
                   while (behind && /rgba\\(.*, 0\\)|transparent/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
                   return [node.textContent.trim().slice(0, 20), getComputedStyle(node).color, getComputedStyle(behind).backgroundColor];
                 })"""
        )
        assert len(pairs) > 20
        return {text: (max(luminance(a), luminance(b)) + 0.05) / (min(luminance(a), luminance(b)) + 0.05) for text, a, b in pairs}

    assert background() < 0.05
    assert {text: c for text, c in contrasts().items() if c < 4.5} == {}
    page.page.emulate_media(color_scheme="light")
    page('html[data-theme="light"]').wait_for()
    assert background() > 0.8
    assert {text: c for text, c in contrasts().items() if c < 4.5} == {}
    page("#theme").click()
    assert background() < 0.05
    page.page.reload()
    assert background() < 0.05


def test_a_phone_shows_everything_without_scrolling_sideways(open_page, server, astronaut):
    page = open_page(server, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True).ready()
    for name in ("restore", "search", "files"):
        page(f'[data-group="{name}"] details').evaluate_all("folds => folds.forEach(fold => fold.open = true)")

    def width():
        return page.page.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)")

    assert width() == 360
    page.search()
    page.restored(astronaut)
    page("#candidates .card").first.wait_for()
    assert width() == 360
    page.page.evaluate("scrollTo(0, 0)")
    canvas = page("#canvas").bounding_box()
    assert canvas["width"] == 360 and canvas["height"] > 250
    # Two fingers zoom, one moves the slider.
    touch = page.context.new_cdp_session(page.page)

    def fingers(kind, *xs):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": canvas["y"] + 120, "id": n} for n, x in enumerate(xs)]})

    fingers("touchStart", 180)
    for x in (160, 130, 90):
        fingers("touchMove", x)
    fingers("touchEnd")
    assert 15 < page.split() < 30
    fitted = page.zoom()
    fingers("touchStart", 150)
    fingers("touchStart", 150, 210)
    for spread in (40, 60, 90):
        fingers("touchMove", 180 - spread, 180 + spread)
    fingers("touchEnd")
    page.page.wait_for_timeout(50)
    assert 2.5 < page.zoom() / fitted < 3.5
    go = page("#restore").bounding_box()
    assert go["y"] + go["height"] <= 740  # within reach, wherever the page is scrolled to
    page("#keys-button").tap()
    assert width() == 360


def test_every_control_has_a_name(page, astronaut):
    page.search()
    page.restored(astronaut)
    nameless = page("button, input, select, #canvas, progress, [role=slider], summary").evaluate_all(
        """nodes => nodes.filter(node => !node.closest('[hidden]') && node.id !== 'files').filter(node =>
             !(node.getAttribute('aria-label') || node.labels?.length || node.textContent.trim() || node.getAttribute('aria-labelledby')))
             .map(node => node.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    assert page("#spoken").get_attribute("aria-live") == "polite" and "astronaut" in page("#spoken").inner_text()


def test_a_key_is_asked_for_kept_in_the_tab_and_used_for_pictures(open_page, tiny, tmp_path, astronaut):
    server = Server(tiny.model, tmp_path / "data", "--api-key", KEY)
    try:
        page = open_page(server)
        dialog = page("#key-dialog")
        dialog.wait_for()
        assert page("#form .field").count() == 0
        page("#key").fill("wrong")
        page("#key-form button", has_text="Connect").click()
        page("#key-error", has_text="did not accept").wait_for()
        page("#key").fill(KEY)
        page.page.keyboard.press("Enter")
        page.ready()
        dialog.wait_for(state="hidden")
        page.search()
        page.restored(astronaut)  # previews, source, result and events came with the key
        page("#candidates .card").first.wait_for()
        page.page.wait_for_timeout(200)
        assert min(page("#candidates img").evaluate_all("images => images.map(i => i.naturalWidth)")) > 0
        with page.page.expect_download() as waiting:
            page("#facts button", has_text="Download").click()
        assert Image.open(io.BytesIO(open(waiting.value.path(), "rb").read())).size == (256, 192)
        assert not any(KEY in url for url in page.requests)
        kept = page.page.evaluate("[Object.values({...sessionStorage}), Object.values({...localStorage})]")
        assert KEY in kept[0] and KEY not in kept[1]
        page.page.reload()
        page.ready()
        page("#divider").wait_for()
        assert not dialog.is_visible()
        other = open_page(server)
        other("#key-dialog").wait_for()
        other("#key-cancel").click()
        other(".message.bad").first.wait_for()
        assert other("#key-button").is_visible()
    finally:
        server.stop()


def test_a_request_refused_late_takes_the_key_that_was_given_meanwhile(open_page, tiny, tmp_path):
    server = Server(tiny.model, tmp_path / "data", "--api-key", KEY)
    try:
        page = open_page(server)
        held = []

        def hold(route):  # what was asked without the key
            if "authorization" in route.request.headers:
                route.continue_()
            else:
                held.append(route)

        page.page.route("**/v1/models", hold)
        page.page.reload()
        page("#key-dialog").wait_for()
        page("#key").fill(KEY)
        with page.page.expect_response(lambda answer: answer.ok and "/v1/schema" in answer.url):
            page.page.keyboard.press("Enter")
        assert len(held) == 1
        held[0].continue_()
        page.ready()
        assert not page("#key-dialog").is_visible()
    finally:
        server.stop()


def test_it_waits_for_a_server_that_was_away(open_page, tiny, tmp_path, astronaut):
    server = Server(tiny.model, tmp_path / "data")
    try:
        page = open_page(server).ready()
        identity = page.restored(astronaut)
        server.stop()
        page.page.evaluate("dispatchEvent(new Event('online'))")
        page("#away", has_text="does not answer").wait_for()
        page.drop(astronaut)
        page("#restore").click()
        page('#list li[data-state="waiting"]').wait_for()
        server = Server(tiny.model, tmp_path / "data", port=server.port)
        page("#away").wait_for(state="hidden")
        # What was sent meanwhile goes out, what was there is there.
        page('#list li[data-state="done"]').nth(1).wait_for()
        page(f'#list li[data-job="{identity}"]').wait_for()
    finally:
        server.stop()
