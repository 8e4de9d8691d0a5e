"""A server and a browser that the tests of a file share."""

import pytest
from browser import CHROMIUM, Page, Server
from PIL import Image


@pytest.fixture(scope="module")
def server(tiny, tmp_path_factory):
    running = Server(tiny.model, tmp_path_factory.mktemp("serve") / "data")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser):
    """open_page(server, ...) -> a page. Whatever a test does: no request leaves the origin, no script fails, the policy is kept."""
    pages = []

    def make(server, **context):
        pages.append(Page(browser, server, **context))
        return pages[-1]

    yield make
    for page in pages:
        page.close()
        page.server.calm()  # what a test left to be done would hold up the next one
        elsewhere = [url for url in page.requests if not url.startswith((page.server.url + "/", f"blob:{page.server.url}/"))]
        assert not elsewhere and page.requests
        assert not page.faults


@pytest.fixture
def page(open_page, server):
    return open_page(server).ready()


@pytest.fixture(scope="module")
def astronaut(pictures, tmp_path_factory):
    """64 x 48: a result of 256 x 192 is made in a moment."""
    file = tmp_path_factory.mktemp("small") / "astronaut.png"
    Image.open(pictures / "astronaut.png").crop((32, 24, 96, 72)).save(file)
    return file
