"""`resflow serve --captioner openai`: jobs that bring no caption get one."""

import time

import pytest
from caption_stub import Stub
from program import USER_ERROR, files_in, resflow
from served import MODEL, QUICK, Server

SEARCH = {"search": "best-of-n", "candidates": 2}


@pytest.fixture
def environment(tmp_path):
    """Without a key, with a cache of its own, and without anybody's weight files."""
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OPENAI_API_KEY": "", "OPENAI_BASE_URL": "", "RESFLOW_DATA": str(tmp_path / "share")}


@pytest.fixture
def serve(environment, tmp_path):
    return lambda *options: Server(MODEL, tmp_path / "data", *options, environment=environment)


def test_a_job_without_a_caption_gets_one_and_a_job_with_one_keeps_it(serve, photo):
    with Stub("A cup of coffee.") as stub, serve("--captioner", "openai", "--caption-url", stub.url) as server:
        told = server.finished(server.job(photo, restore=QUICK))
        assert told["state"] == "done" and told["manifest"]["options"]["caption"] == "A cup of coffee." and "notes" not in told["manifest"]
        assert told["options"]["restore"]["caption"] == "", "what was asked for stays as it was asked"
        own = server.finished(server.job(photo, restore={**QUICK, "caption": "mine"}))
        assert own["manifest"]["options"]["caption"] == "mine" and len(stub.asked) == 1
        edit = {"prompt": "", "steps": "1", "scale": "2"}  # OpenAI's API: an empty prompt is none
        assert server.post_form("/v1/images/edits", [("image", "a.png", photo)], edit).status == 200
        assert server.get("/v1/jobs?limit=1").json["jobs"][0]["manifest"]["options"]["caption"] == "A cup of coffee."
        fields = {field["name"]: field for field in server.get("/v1/schema").json["groups"][0]["fields"]}
        assert "the server has the picture described" in fields["caption"]["help"]


def test_what_the_captioner_cannot_is_a_note_of_the_job(serve, photo):
    with Stub((400, {"error": {"message": "this model sees no images"}})) as stub, serve("--captioner", "openai", "--caption-url", stub.url) as server:
        job = server.finished(server.job(photo, restore=QUICK))
        assert job["state"] == "done" and job["manifest"]["options"]["caption"] == ""
        assert "no caption: " in job["manifest"]["notes"][0] and "sees no images" in job["manifest"]["notes"][0]


def test_a_slow_captioner_holds_up_neither_a_cancel_nor_the_end(serve, photo):
    with Stub(30.0) as stub, serve("--captioner", "openai", "--caption-url", stub.url, "--grace", "0") as server:
        job = server.job(photo, restore=QUICK)
        until = time.monotonic() + 20
        while not stub.asked:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert server.get(f"/v1/jobs/{job}").json["progress"]["stage"] == "caption"
        begun = time.monotonic()
        server.ask("DELETE", f"/v1/jobs/{job}")
        other = server.job(photo, restore={**QUICK, "caption": "mine"})
        assert server.finished(other)["state"] == "done" and server.get(f"/v1/jobs/{job}").json["state"] == "cancelled"
        server.until(server.job(photo, restore=QUICK), "running")
        while len(stub.asked) < 2:
            time.sleep(0.02)
        assert server.stop() == 0 and time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "options, said",
    [
        (["--captioner", "sidecar"], "wanted none or openai"),
        (["--captioner", "openai", "--caption-url", "example.org"], "is no address"),
        (["--captioner", "magic"], "magic"),
    ],
    ids=str,
)
def test_captioners_that_cannot_be_are_told_at_the_start(tmp_path, options, said):
    done = resflow("serve", "--model", MODEL, "--port", 0, "--data", tmp_path / "data", *options, code=USER_ERROR)
    assert said in done.stderr and not (tmp_path / "data").exists()


# --- rewards that ask for more than the picture

PUBLIC = {
    "clip-score": ("clip-vit-base-patch32", "huggingface.co/openai/clip-vit-base-patch32"),
    "aesthetic": ("sac+logos+ava1-l14-linearMSE.pth", "christophschuhmann"),
    "aesthetic-b32": ("sa_0_4_vit_b_32_linear.pth", "LAION-AI"),
    "clip-iqa": ("RN50.safetensors", "github.com/openai/CLIP"),
    "image-reward": ("ImageReward.pt", "THUDM/ImageReward"),
    "compact-iqa": ("compact-iqa.safetensors", "configs/iqa.toml"),
}


def test_weight_files_that_are_missing_are_told_when_a_job_is_sent(serve, photo):
    with serve() as server:
        for reward, told in PUBLIC.items():
            for way in (
                server.submit(photo, restore=QUICK, search={**SEARCH, "rewards": ["niqe", reward]}),
                server.post_form("/v1/images/edits", [("image", "a.png", photo)], {"prompt": "a cup", **SEARCH, "rewards": f"niqe,{reward}"}),
            ):
                message = way.json["error"]["message"]
                assert way.status == 400 and all(part in message for part in (*told, "RESFLOW_DATA")), message
        assert server.submit(photo, restore=QUICK, search={"rewards": ["clip-score"]}).status == 202  # nothing is searched
        assert server.get("/health").json["status"] == "ok" and files_in(server.data / "uploads") == []


def test_a_caption_that_is_missing_is_told_when_a_job_is_sent(serve, photo, tmp_path):
    (tmp_path / "share" / "rewards" / "clip-vit-base-patch32").mkdir(parents=True)  # looked for, not read
    wanted = {"restore": QUICK, "search": {**SEARCH, "rewards": ["clip-score"]}}
    with serve() as server:
        reply = server.submit(photo, **wanted)
        assert reply.status == 400 and "needs to know what the picture shows" in reply.json["error"]["message"]
        job = server.finished(server.job(photo, **{**wanted, "restore": {**QUICK, "caption": "a cup"}}))
        assert job["state"] == "failed" and "clip-vit-base-patch32" in job["error"]["message"], "the folder is empty: told when it is read"
    with Stub("words") as stub, serve("--captioner", "openai", "--caption-url", stub.url) as server:
        assert server.submit(photo, **wanted).status == 202
