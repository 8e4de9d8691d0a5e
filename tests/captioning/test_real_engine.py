"""A real engine behind the captioner: `transformers serve`, with a vision model of random weights. What it says is gibberish, but it reads what we
send as it is meant: data URL, roles, limits."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from program import USER_ERROR, resflow
from tiny_vision_model import save_tiny_vision_model

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """-> address, the model's name"""
    folder = tmp_path_factory.mktemp("engine")
    save_tiny_vision_model(folder / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [Path(sys.executable).parent / "transformers", "serve", folder / "model", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment)
    try:
        until = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/v1", str(folder / "model")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture
def caption(tiny, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url, model = engine
    general = ["--caption-url", url, "--caption-model", model, "--caption-tokens", 24]
    return lambda *arguments, **options: resflow("caption", "--model", tiny.model, *general, *arguments, **options)


def test_it_looks_at_the_picture(caption, pictures, tmp_path):
    for name in ("coffee", "chelsea"):
        Image.open(pictures / f"{name}.png").resize((64, 48)).save(tmp_path / f"{name}.png")
    items = json.loads(caption(tmp_path, "--json").stdout)["items"]
    said = [item["caption"] for item in items]
    assert all(said) and said[0] != said[1], "other words for another picture"
    again = json.loads(caption(tmp_path, "--json", "--no-caption-cache").stdout)["items"]
    assert [item["caption"] for item in again] == said, "temperature 0, one seed: the same words"
    other = json.loads(caption(tmp_path / "coffee.png", "--json", "--caption-prompt", "Count the cups").stdout)["items"]
    assert other[0]["caption"] != said[1]


def test_restore_takes_its_words(engine, tiny, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url, model = engine
    words = ["--captioner", "openai", "--caption-url", url, "--caption-model", model, "--caption-tokens", 8]
    resflow("restore", "--model", tiny.model, pictures / "coffee.png", "-o", tmp_path / "out.png", "--scale", 1, *words)
    assert json.loads(resflow("inspect", tmp_path / "out.png", "--json").stdout)["manifest"]["options"]["caption"]


def test_a_model_that_it_has_not_is_told(caption, engine, pictures):
    error = caption(pictures / "coffee.png", "--caption-model", "no-such-model", "--caption-retries", 0, code=USER_ERROR).stderr
    assert engine[0] in error and "answered" in error
