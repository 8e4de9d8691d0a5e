"""The module as `make build` leaves it, and what other folders' tests make small models with."""

import os
import pathlib
import sys

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
TESTS = pathlib.Path(__file__).resolve().parents[1]
BUILT = pathlib.Path(os.environ.get("RESFLOW", TESTS.parent / "build" / "resflow")).parent / "python"
sys.path[:0] = [str(BUILT), *(str(TESTS / folder) for folder in ("models", "autoencoders", "generate", "text"))]


@pytest.fixture(scope="session")
def built():
    """The folder that holds the module."""
    if not list((BUILT / "resflow").glob("_resflow*.so")):
        pytest.skip("the Python module was left out of this build (CMake says why)")
    return BUILT


@pytest.fixture(scope="session")
def resflow(built):
    import resflow

    assert pathlib.Path(resflow.__file__).parent == built / "resflow"
    return resflow
