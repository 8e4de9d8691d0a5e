"""Programs that people already have: the openai package, an A1111 client, curl."""

import base64
import io
import json
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest
from served import LONG, MODEL, Server, multipart

Image = pytest.importorskip("PIL.Image")


def size(data):
    return Image.open(io.BytesIO(data)).size


@pytest.fixture(scope="module")
def openai():
    return pytest.importorskip("openai")


@pytest.fixture(scope="module")
def client(openai, server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


def test_openai_edits_an_image(client, photo, server):
    extra = {"seed": 4, "steps": 2, "scale": 2, "sigma_s": 0.3}
    done = client.images.edit(model="compact", image=("photo.png", photo), prompt="a cup of coffee", n=2, extra_body=extra)
    pictures = [base64.b64decode(one.b64_json) for one in done.data]
    assert [size(p) for p in pictures] == [(96, 72)] * 2 and done.created > 1.7e9
    told = [json.loads(Image.open(io.BytesIO(p)).text["resflow"])["options"] for p in pictures]
    assert [t["seed"] for t in told] == [4, 5] and told[0]["steps"] == 2 and told[0]["caption"] == "a cup of coffee"
    assert not np.array_equal(*(np.asarray(Image.open(io.BytesIO(p))) for p in pictures))


def test_openai_sizes_formats_urls_and_search(client, photo, server):
    extra = {"steps": 2, "search": "best-of-n", "candidates": 2, "rewards": "lq-consistency,niqe", "elitism": "false"}
    done = client.images.edit(image=("a.png", photo), prompt="", size="64x40", output_format="jpeg", output_compression=70, response_format="url", extra_body=extra)
    path = done.data[0].url.removeprefix(server.url)
    reply = server.get(path)
    assert reply.headers["Content-Type"] == "image/jpeg" and size(reply.body) == (64, 40)
    job = server.get(path.removesuffix("/result")).json
    assert job["searched"] and job["options"]["search"]["rewards"] == ["lq-consistency", "niqe"] and job["options"]["search"]["elitism"] is False
    assert job["options"]["files"]["quality"] == 70


def test_an_openai_mask_restores_what_is_transparent(client, photo, server):
    mask = Image.new("RGBA", (96, 72), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 48, 72))
    held = io.BytesIO()
    mask.save(held, "PNG")
    options = {"prompt": "", "extra_body": {"seed": 4, "steps": 2, "scale": 2, "sigma_s": 0.3}}
    whole, part = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(client.images.edit(image=("a.png", photo), **options, **more).data[0].b64_json)))).astype(int)
        for more in ({}, {"mask": ("m.png", held.getvalue())})
    )
    assert np.abs(part[:, :46] - whole[:, :46]).max() <= 1 < np.abs(part[:, 50:] - whole[:, 50:]).mean()
    only_larger = np.asarray(Image.open(io.BytesIO(photo)).convert("RGB").resize((96, 72), Image.BICUBIC)).astype(int)
    assert np.abs(part[:, 50:] - only_larger[:, 50:]).max() <= 2


@pytest.mark.parametrize(
    "options, said",
    [
        ({"extra_body": {"stepps": 3}}, "Did you mean 'steps'"),
        ({"extra_body": {"steps": "many"}}, "a whole number"),
        ({"size": "wide"}, "WIDTHxHEIGHT"),
        ({"n": 9}, "from 1 to 4"),
        ({"mask": ("m.png", b"x")}, "not a picture"),
        ({"image": ("a.png", b"no picture")}, "not a picture"),
    ],
    ids=str,
)
def test_openai_errors_are_its_own(client, openai, photo, options, said):
    arguments = {"image": ("a.png", photo), "prompt": "", **options}
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.edit(**arguments)
    assert said in caught.value.message and caught.value.body["type"] == "invalid_request_error"


def test_openai_key(openai, photo, tmp_path):
    with Server(MODEL, tmp_path, environment={"RESFLOW_API_KEY": "sesame"}) as server:
        for key, good in (("sesame", True), ("wrong", False)):
            client = openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0)
            if good:
                assert [model.id for model in client.models.list()] == ["compact"]
                assert client.images.edit(image=("a.png", photo), prompt="", extra_body={"steps": 1, "scale": 1}).data[0].b64_json
            else:
                with pytest.raises(openai.AuthenticationError):
                    client.images.edit(image=("a.png", photo), prompt="")


@pytest.mark.parametrize(
    "options, wanted",
    [
        ({"upscaling_resize": 3, "upscaler_1": "resflow"}, (144, 108)),
        ({"resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 64}, (64, 64)),
        ({"resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 64, "upscaling_crop": False}, (85, 64)),
        ({"upscaler_1": "None"}, (48, 36)),
    ],
    ids=str,
)
def test_a1111_upscales_one_picture(server, photo, options, wanted):
    # what its own web page and the usual clients send besides
    usual = {"show_extras_results": True, "gfpgan_visibility": 0, "codeformer_visibility": 0, "codeformer_weight": 0, "upscaler_2": "None", "extras_upscaler_2_visibility": 0}
    prefix = "data:image/png;base64," if "upscaler_1" in options else ""
    reply = server.post_json("/sdapi/v1/extra-single-image", {**usual, **options, "image": prefix + base64.b64encode(photo).decode()})
    assert reply.status == 200, reply.body
    assert size(base64.b64decode(reply.json["image"])) == wanted and "Sampler: euler" in reply.json["html_info"]
    assert Image.open(io.BytesIO(base64.b64decode(reply.json["image"]))).text["parameters"].startswith("Steps:")


def test_a1111_lists_and_progress(server, photo):
    assert [one["name"] for one in server.get("/sdapi/v1/upscalers").json] == ["None", "resflow"]
    assert server.post_json("/sdapi/v1/extra-single-image", {"image": base64.b64encode(photo).decode(), "upscaler_1": "R-ESRGAN 4x+"}).status == 400
    job = server.job(photo, restore=LONG)
    server.until(job, "running")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        told = server.get("/sdapi/v1/progress").json
        if told["current_image"] and told["progress"] > 0:
            break
        time.sleep(0.1)
    server.ask("DELETE", f"/v1/jobs/{job}")
    assert 0 < told["progress"] < 1 and told["eta_relative"] > 0 and told["state"]["job"] == job and told["state"]["sampling_steps"] > 0
    assert Image.open(io.BytesIO(base64.b64decode(told["current_image"]))).format == "JPEG"


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl(server, photo, tmp_path):
    (tmp_path / "photo.png").write_bytes(photo)
    curl = lambda *words: subprocess.run(["curl", "-sS", "--fail-with-body", "--noproxy", "*", *words], capture_output=True, check=True, timeout=60).stdout
    job = json.loads(curl(server.url + "/v1/jobs", "-F", f"image=@{tmp_path}/photo.png", "-F", 'options={"restore": {"steps": 1, "scale": 2}}'))
    events = curl("-N", f"{server.url}/v1/jobs/{job['id']}/events").decode()
    assert events.rstrip().splitlines()[-1].startswith("data: ") and '"state":"done"' in events
    curl("-o", str(tmp_path / "out.png"), f"{server.url}/v1/jobs/{job['id']}/result")
    assert size((tmp_path / "out.png").read_bytes()) == (96, 72)


def test_a_client_that_takes_its_time_does_not_stop_others(server, photo):
    """One waits for a long job by OpenAI's call; health still answers."""
    body, kind = multipart([("image", "a.png", photo)], LONG)
    reply = []
    waiting = threading.Thread(target=lambda: reply.append(server.ask("POST", "/v1/images/edits", body, {"Content-Type": kind})))
    waiting.start()
    until = time.monotonic() + 20
    while not (running := server.get("/v1/jobs?state=running").json["jobs"]) and time.monotonic() < until:
        time.sleep(0.05)
    begun = time.monotonic()
    assert server.get("/health").status == 200 and time.monotonic() - begun < 1
    server.ask("DELETE", f"/v1/jobs/{running[0]['id']}")
    waiting.join(timeout=20)
    assert reply[0].status == 409 and reply[0].json["error"]["code"] == "cancelled"
