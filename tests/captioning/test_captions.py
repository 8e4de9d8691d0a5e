"""Captions from an OpenAI-compatible server: a stub that misbehaves in every way."""

import base64
import io
import json
import os
import time

import pytest
from caption_stub import Stub
from program import SOME_FAILED, USER_ERROR, files_in, resflow

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return tmp_path / "cache" / "resflow" / "captions"


@pytest.fixture
def album(tmp_path, pictures):
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ("astronaut", "coffee"):
        Image.open(pictures / f"{name}.png").resize((64, 48), Image.LANCZOS).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def caption(tiny, cache):
    return lambda *arguments, **options: resflow("caption", "--model", tiny.model, *arguments, **options)


def test_a_caption_is_printed_and_the_request_is_what_such_servers_take(caption, album, cache):
    with Stub(' "A cup of coffee\n on a table."  ') as stub:
        said = caption(album / "coffee.png", "--caption-url", stub.url + "/").stdout
    assert said == f"{album}/coffee.png: A cup of coffee on a table.\n"
    question = stub.asked[0]
    assert question["model"] == "first-model" and question["temperature"] == 0 and question["stream"] is False and question["max_tokens"] == 200
    words, picture = question["messages"][0]["content"]
    assert words["type"] == "text" and "Do not mention blur" in words["text"] and picture["type"] == "image_url"
    kind, data = picture["image_url"]["url"].split(",")
    assert kind == "data:image/jpeg;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert sent.size == (256, 192), "the remover's version, at the result's size"
    assert "Authorization" not in stub.headers[0]


def test_a_second_time_the_cache_answers(caption, album, cache):
    with Stub("one", "two", "three") as stub:
        options = [album / "coffee.png", "--caption-url", stub.url]
        assert caption(*options).stdout.endswith(": one\n") and caption(*options).stdout.endswith(": one\n")
        assert len(stub.asked) == 1 and len(files_in(cache)) == 1
        assert caption(*options, "--caption-prompt", "Colours?").stdout.endswith(": two\n")
        assert caption(*options, "--no-caption-cache").stdout.endswith(": three\n") and len(files_in(cache)) == 2


def test_sidecars_are_written_kept_and_made_anew(caption, album):
    (album / "astronaut.txt").write_text("mine\n")
    with Stub("a drink", "a woman", "a beverage") as stub:
        report = json.loads(caption(album, "--sidecar", "--json", "--caption-url", stub.url).stdout)
        assert [item.get("caption") for item in report["items"]] == [None, "a drink"] and report["failed"] == 0
        assert (album / "astronaut.txt").read_text() == "mine\n" and (album / "coffee.txt").read_text() == "a drink\n"
        caption(album, "--sidecar", "--overwrite", "--no-caption-cache", "--caption-url", stub.url)
    assert (album / "astronaut.txt").read_text() == "a woman\n" and (album / "coffee.txt").read_text() == "a beverage\n"
    assert caption(album / "coffee.png", "--captioner", "sidecar").stdout.endswith(": a beverage\n")


def test_a_list_of_all_is_what_trainers_read(caption, album, tmp_path):
    (album / "astronaut.txt").write_text("mine\n")
    Image.new("RGB", (40, 30)).save(tmp_path / "elsewhere.png")
    (album / "broken.png").write_bytes(b"no picture")
    with Stub("a drink", 'a "dark" wall') as stub:
        options = ["--sidecar", "--list", album / "captions.jsonl", "--caption-url", stub.url]
        caption(album, tmp_path / "elsewhere.png", *options, code=SOME_FAILED)
    lines = [json.loads(line) for line in (album / "captions.jsonl").read_text().splitlines()]
    assert lines == [
        {"image": "astronaut.png", "caption": "mine"},
        {"image": "coffee.png", "caption": "a drink"},
        {"image": f"{tmp_path}/elsewhere.png", "caption": 'a "dark" wall'},
    ]
    resflow("pack", album / "captions.jsonl", "-o", tmp_path / "shard.safetensors")


@pytest.mark.parametrize("passing", [(503, {"error": "loading"}), (429, {"error": {"message": "slow down"}}), (500, b"<html>")], ids=["503", "429", "500"])
def test_what_may_pass_is_tried_again(caption, album, passing):
    with Stub(passing, "in the end") as stub:
        assert caption(album / "coffee.png", "--caption-url", stub.url).stdout.endswith(": in the end\n")
        assert len(stub.asked) == 2


@pytest.mark.parametrize(
    "answer, options, tries, said",
    [
        ((400, {"error": {"message": "this model sees no images"}}), [], 1, "this model sees no images"),
        ((401, {"error": {"message": "no key"}}), [], 1, "OPENAI_API_KEY"),
        ((503, {"error": "busy"}), ["--caption-retries", "1"], 2, "answered 503 (2 tries)"),
        ("  ", [], 1, "no words"),
        ((200, b"<html>hello"), [], 1, "no JSON"),
        ((200, {"choices": []}), [], 1, "no words"),
        ((200, [1]), [], 1, "no words"),
        (2.0, ["--caption-timeout", "0.3", "--caption-retries", "0"], 1, "no answer in time"),
    ],
    ids=str,
)
def test_what_does_not_pass_is_told(caption, album, answer, options, tries, said, cache):
    with Stub(answer) as stub:
        begun = time.monotonic()
        error = caption(album / "coffee.png", "--caption-url", stub.url, "--caption-model", "m", *options, code=USER_ERROR).stderr
        assert said in error and stub.url in error and len(stub.asked) == tries and time.monotonic() - begun < 20
        assert not cache.exists(), "a failure is not kept"


def test_no_server_and_wrong_addresses(caption, album):
    with Stub("x") as stub:
        gone = stub.url
    assert "cannot be reached" in caption(album / "coffee.png", "--caption-url", gone, "--caption-retries", "0", code=USER_ERROR).stderr
    assert caption(album, "--caption-url", gone, "--caption-retries", "0", code=SOME_FAILED).stderr.count("cannot be reached") == 2
    for wrong in ("127.0.0.1:8000", "file:///etc/passwd", "http://", "http://user:word@host/v1"):
        assert "is no address" in caption(album / "coffee.png", "--caption-url", wrong, code=USER_ERROR).stderr
    with Stub("x") as stub:
        error = caption(album / "coffee.png", "--caption-url", stub.url.removesuffix("/v1"), "--caption-model", "m", code=USER_ERROR).stderr
        assert "404" in error and "Does the address end with /v1?" in error


def test_key_and_address_come_from_the_environment(caption, album, monkeypatch):
    with Stub("yes") as stub:
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        monkeypatch.setenv("OPENAI_BASE_URL", stub.url)
        assert caption(album / "coffee.png").stdout.endswith(": yes\n")
        assert stub.headers[0]["Authorization"] == "Bearer secret"


def test_thoughts_and_parts_are_left_out(caption, album):
    parts = (200, {"choices": [{"message": {"content": [{"type": "text", "text": "a "}, {"type": "text", "text": "cup"}]}}]})
    with Stub("<think>What is it?</think>\n\nA cup", parts) as stub:
        assert caption(album / "coffee.png", "--caption-url", stub.url).stdout.endswith(": A cup\n")
        assert caption(album / "coffee.png", "--no-caption-cache", "--caption-url", stub.url).stdout.endswith(": a cup\n")


def test_restore_captions_each_picture_and_says_so_in_it(tiny, album, tmp_path, cache):
    restore = ["restore", "--model", tiny.model, album, "-o", tmp_path / "out", "--scale", 1, "--json", "--captioner", "openai"]
    with Stub("a woman", "a drink") as stub:
        items = json.loads(resflow(*restore, "--caption-url", stub.url).stdout)["items"]
    assert [item["options"]["caption"] for item in items] == ["a woman", "a drink"]
    record = json.loads(resflow("inspect", tmp_path / "out" / "coffee.png", "--json").stdout)["manifest"]
    assert record["options"]["caption"] == "a drink"
    # Without a server, or with a caption of one's own, it goes on.
    gone = [*restore[:5], tmp_path / "gone", *restore[6:], "--caption-url", stub.url, "--caption-retries", 0, "--no-caption-cache"]
    items = json.loads(resflow(*gone).stdout)["items"]
    assert [item["options"]["caption"] for item in items] == ["", ""] and all("no caption" in item["notes"][0] for item in items)
    items = json.loads(resflow(*gone, "--no-journal", "--caption", "my own").stdout)["items"]
    assert [item["options"]["caption"] for item in items] == ["my own", "my own"] and "notes" not in items[0]


def test_restore_reads_sidecars(tiny, album, tmp_path):
    (album / "coffee.txt").write_text("  a cup\n")
    arguments = ["restore", "--model", tiny.model, album, "-o", tmp_path / "out", "--scale", 1, "--json", "--captioner", "sidecar"]
    items = {os.path.basename(item["input"]): item for item in json.loads(resflow(*arguments).stdout)["items"]}
    assert items["coffee.png"]["options"]["caption"] == "a cup" and "has no caption" in items["astronaut.png"]["notes"][0]
