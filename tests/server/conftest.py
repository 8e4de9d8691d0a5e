"""A server that the tests of a file share, and pictures to send."""

import io

import pytest
from served import MODEL, Server

@pytest.fixture(scope="session")
def photo(pictures):
    """Bytes of a small PNG."""
    image = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    image.open(pictures / "coffee.png").resize((48, 36), image.LANCZOS).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(MODEL, tmp_path_factory.mktemp("served")) as running:
        yield running
