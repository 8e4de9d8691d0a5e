"""`resflow pull` against a server of our own: resumed after a cut, checked, refused, from a mirror, and Hugging Face's hub as its tools keep it."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from program import CANCELLED, RESFLOW, USER_ERROR, files_in, resflow

CONTENT = np.random.default_rng(1).bytes(3_000_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
NONE = {"HF_TOKEN", "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"}


@contextlib.contextmanager
def serving(replies, **settings):
    """Serves {path: bytes, int (a status) or str (a redirect)}. cut: sends at most so many bytes a reply and breaks the connection; ranges: honours
    Range; slow: seconds before each 64 kB; token: what it wants to see. -> address, and what was asked: (path, Range, Authorization)."""
    state = SimpleNamespace(cut=None, ranges=True, slow=0, token=None, asked=[], **{})
    state.__dict__.update(settings)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            state.asked.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
            reply = replies.get(unquote(self.path), 404)
            if state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
                reply = 401
            if isinstance(reply, (int, str)):
                self.send_response(reply if isinstance(reply, int) else 302)
                if isinstance(reply, str):
                    self.send_header("Location", reply)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first = int(re.match(r"bytes=(\d+)-", self.headers["Range"])[1]) if state.ranges and self.headers.get("Range") else 0
            if first >= len(reply) > 0 and first > 0:
                self.send_error(416)
                return
            body = reply[first:]
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(reply) - 1}/{len(reply)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            whole = body if state.cut is None else body[: state.cut]
            with contextlib.suppress(OSError):
                for at in range(0, len(whole), 65536):
                    time.sleep(state.slow)
                    self.wfile.write(whole[at : at + 65536])
            if len(whole) < len(body):
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", asked=state.asked, state=state)
    finally:
        server.shutdown()
        server.server_close()


def environment(**more):
    return {key: value for key, value in os.environ.items() if key not in NONE} | {key: str(value) for key, value in more.items()}


def pull(*arguments, code=0, **more):
    return resflow("pull", *arguments, code=code, env=environment(**more))


def test_a_file_arrives_whole_and_only_once(tmp_path):
    with serving({"/a/weights.bin": CONTENT}) as server:
        told = json.loads(pull(f"{server.url}/a/weights.bin", "--sha256", SHA, "--to", tmp_path / "new", "--json").stdout)
        assert told["path"] == str(tmp_path / "new/weights.bin") and not told["there_before"]
        assert (tmp_path / "new/weights.bin").read_bytes() == CONTENT and files_in(tmp_path) == ["new/weights.bin"]
        told = json.loads(pull(f"{server.url}/a/weights.bin", "--sha256", SHA, "--to", tmp_path / "new", "--json").stdout)
        assert told["there_before"] and len(server.asked) == 1
        (tmp_path / "new/weights.bin").write_bytes(CONTENT[:-1] + b"x")
        pull(f"{server.url}/a/weights.bin", "--sha256", SHA, "--to", tmp_path / "new")
        assert (tmp_path / "new/weights.bin").read_bytes() == CONTENT, "a damaged one is fetched again"


def test_a_connection_that_breaks_is_gone_on_with(tmp_path):
    with serving({"/w.bin": CONTENT}, cut=1_200_000) as server:
        pull(f"{server.url}/w.bin", "--sha256", SHA, "--to", tmp_path)
        assert (tmp_path / "w.bin").read_bytes() == CONTENT
        assert [asked[1] for asked in server.asked] == [None, "bytes=1200000-", "bytes=2400000-"]


def test_the_next_command_goes_on_where_the_last_was_cut(tmp_path):
    with serving({"/w.bin": CONTENT}, cut=1_000_000) as server:
        told = pull(f"{server.url}/w.bin", "--sha256", SHA, "--to", tmp_path, "--retries", 0, code=USER_ERROR).stderr
        assert "the connection broke" in told and "goes on" in told and files_in(tmp_path) == ["w.bin.part"]
        server.state.cut = None
        pull(f"{server.url}/w.bin", "--sha256", SHA, "--to", tmp_path)
        assert server.asked[-1][1] == "bytes=1000000-" and (tmp_path / "w.bin").read_bytes() == CONTENT and files_in(tmp_path) == ["w.bin"]


def test_killed_and_stopped_it_goes_on(tmp_path):
    with serving({"/w.bin": CONTENT}, slow=0.05) as server:
        for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, CANCELLED)):
            asked = len(server.asked)
            words = [RESFLOW, "pull", f"{server.url}/w.bin", "--sha256", SHA, "--to", tmp_path]
            process = subprocess.Popen(list(map(str, words)), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            before = (tmp_path / "w.bin.part").stat().st_size if asked else 0
            end = time.time() + 30
            while time.time() < end and not ((tmp_path / "w.bin.part").exists() and (tmp_path / "w.bin.part").stat().st_size > before + 200_000):
                time.sleep(0.01)
            process.send_signal(number)
            assert process.wait(timeout=30) == code and files_in(tmp_path) == ["w.bin.part"]
        server.state.slow = 0
        pull(f"{server.url}/w.bin", "--sha256", SHA, "--to", tmp_path)
        assert int(server.asked[-1][1][6:-1]) > 400_000 and (tmp_path / "w.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_begins_again(tmp_path):
    (tmp_path / "w.bin.part").write_bytes(b"x" * 1000)
    with serving({"/w.bin": CONTENT}, ranges=False) as server:
        pull(f"{server.url}/w.bin", "--sha256", SHA, "--to", tmp_path)
        assert server.asked[0][1] == "bytes=1000-" and (tmp_path / "w.bin").read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_begins_again(tmp_path):
    (tmp_path / "w.bin.part").write_bytes(b"x" * (len(CONTENT) + 10))
    with serving({"/w.bin": CONTENT}) as server:
        pull(f"{server.url}/w.bin", "--sha256", SHA, "--to", tmp_path)
    assert (tmp_path / "w.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "case, reply, wanted",
    [
        ("another checksum", CONTENT[:-1] + b"x", ["not the file that was expected", SHA, "thrown away"]),
        ("not there", 404, ["no such file (HTTP 404)"]),
        ("forbidden", 403, ["does not give it to us (HTTP 403)"]),
        ("a busy server", 503, ["HTTP 503"]),
        ("a circle", "/w.bin", ["too many redirects"]),
        ("a redirect to nowhere", "ftp://example.org/w.bin", ["not an address"]),
    ],
)
def test_what_goes_wrong_is_told_and_nothing_stays(case, reply, wanted, tmp_path):
    with serving({"/w.bin": reply}) as server:
        told = pull(f"{server.url}/w.bin", "--sha256", SHA, "--to", tmp_path, "--retries", 1, code=USER_ERROR).stderr
    for words in wanted:
        assert words in told
    assert files_in(tmp_path) == []


def test_no_server_is_told(tmp_path):
    told = pull("http://127.0.0.1:9/w.bin", "--sha256", SHA, "--to", tmp_path, "--retries", 0, code=USER_ERROR).stderr
    assert "no connection" in told and "https_proxy" in told


def test_an_address_needs_a_checksum(tmp_path):
    for checksum in ([], ["--sha256", "abc"], ["--sha256", SHA.upper()]):
        assert "64 hexadecimal digits" in pull("http://127.0.0.1:9/w.bin", "--to", tmp_path, *checksum, code=USER_ERROR).stderr


def test_redirects_are_followed_and_the_token_stays_home(tmp_path):
    with serving({"/blob": b"hello"}) as other:
        with serving({"/api/models/o/m/revision/main?blobs=true": hub_reply({"a.txt": b"hello"}), f"/o/m/resolve/{COMMIT}/a.txt": f"{other.url}/blob"}) as hub:
            pull("o/m", HF_ENDPOINT=hub.url, HF_HUB_CACHE=tmp_path, HF_TOKEN="hf_secret")
            assert [asked[2] for asked in hub.asked] == ["Bearer hf_secret"] * 2 and [asked[2] for asked in other.asked] == [None]


def test_a_name_of_the_list_is_found_again_by_restore(tmp_path):
    path = "/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/realesr-general-x4v3.pth"
    with serving({path: CONTENT}) as server:
        told = pull("real-esrgan-general", "--mirror", server.url, code=USER_ERROR, RESFLOW_CACHE=tmp_path).stderr
        assert server.asked[0][0] == path and "wanted 4885111 bytes, got 3000000" in told and files_in(tmp_path) == []
    listed = resflow("pull", "--list", env=environment(RESFLOW_CACHE=tmp_path)).stdout
    assert "real-esrgan-general" in listed and "[here]" not in listed
    (tmp_path / "photo.png").write_bytes(b"")
    told = resflow("restore", tmp_path / "photo.png", "-o", tmp_path / "o.png", "--dr-file", "real-esrgan", code=USER_ERROR, env=environment(RESFLOW_CACHE=tmp_path))
    assert "`resflow pull real-esrgan` fetches it" in told.stderr


def test_a_proxy_of_the_environment_is_asked(tmp_path):
    with serving({"http://files.invalid/w.bin": CONTENT, "http://files.invalid:80/w.bin": CONTENT}) as proxy:
        address = proxy.url.replace("//", "//me:secret@")
        pull("http://files.invalid/w.bin", "--sha256", SHA, "--to", tmp_path, http_proxy=address)
        assert (tmp_path / "w.bin").read_bytes() == CONTENT
        told = pull("http://files.invalid/v.bin", "--sha256", SHA, "--to", tmp_path, "--retries", 0, code=USER_ERROR, http_proxy=address, no_proxy="invalid")
        assert "no connection" in told.stderr and len(proxy.asked) == 1
        assert "a proxy that is not used" in pull("http://files.invalid/v.bin", "--sha256", SHA, "--to", tmp_path, code=USER_ERROR, http_proxy="socks5://a:1").stderr


def test_a_listing_that_is_none_is_told(tmp_path):
    for reply in (b"<html>", b"[]", b'{"sha": 1}', json.dumps({"sha": COMMIT, "siblings": [{"rfilename": "a", "size": None, "lfs": None}]}).encode()):
        with serving({"/api/models/o/m/revision/main?blobs=true": reply}) as server:
            assert "not the hub's" in pull("o/m", code=USER_ERROR, HF_ENDPOINT=server.url, HF_HUB_CACHE=tmp_path).stderr


def test_an_unknown_name_is_told():
    assert "Did you mean 'real-esrgan'" in pull("real-esrgam", code=USER_ERROR).stderr
    assert "--list" in pull(code=USER_ERROR).stderr


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def hub_reply(files):
    siblings = []
    for name, content in files.items():
        file = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
        if len(content) > 1000:
            file["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        siblings.append(file)
    return json.dumps({"id": "o/m", "sha": COMMIT, "siblings": siblings}).encode()


@pytest.fixture
def hub():
    files = {
        "model_index.json": b'{"_class_name": "FluxPipeline"}',
        "vae/config.json": b"{}",
        "vae/diffusion_pytorch_model.safetensors": CONTENT,
        "flux1-dev.safetensors": CONTENT + b"1",
        "LICENSE.md": b"licence",
    }
    replies = {f"/api/models/o/m/revision/{revision}?blobs=true": hub_reply(files) for revision in ("main", "refs/pr/1", COMMIT)}
    with serving(replies | {f"/o/m/resolve/{COMMIT}/{name}": content for name, content in files.items()}) as server:
        server.files = files
        yield server


def test_a_model_of_the_hub_lies_as_its_own_tools_keep_it(hub, tmp_path):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    where = pull("o/m", HF_ENDPOINT=hub.url, HF_HUB_CACHE=tmp_path).stdout.strip()
    root = tmp_path / "models--o--m"
    assert where == str(root / "snapshots" / COMMIT) and (root / "refs/main").read_text() == COMMIT
    fetched = {name for name in hub.files if name != "flux1-dev.safetensors"}
    for name in fetched:
        link = root / "snapshots" / COMMIT / name
        assert link.is_symlink() and not os.path.isabs(os.readlink(link)) and link.read_bytes() == hub.files[name]
        assert huggingface_hub.try_to_load_from_cache("o/m", name, cache_dir=tmp_path) == str(link)
    assert (root / "blobs" / SHA).read_bytes() == CONTENT
    assert not (root / "snapshots" / COMMIT / "flux1-dev.safetensors").exists(), "the folders' weights again, in one file"
    asked = len(hub.asked)
    pull("o/m", HF_ENDPOINT=hub.url, HF_HUB_CACHE=tmp_path)
    assert len(hub.asked) == asked + 1, "only the listing is asked for again"
    told = resflow("generate", "a lighthouse", "-o", tmp_path / "o.png", "--model", "o/m", code=USER_ERROR, env=environment(HF_HUB_CACHE=tmp_path))
    assert str(root / "snapshots" / COMMIT) in told.stderr, "it is found; what it lacks is another matter"


def test_patterns_and_revisions_of_the_hub(hub, tmp_path):
    pull("o/m@refs/pr/1", "--include", "*.safetensors", "--exclude", "vae/*", HF_ENDPOINT=hub.url, HF_HUB_CACHE=tmp_path)
    assert files_in(tmp_path / "models--o--m/snapshots") == [f"{COMMIT}/flux1-dev.safetensors"]
    assert (tmp_path / "models--o--m/refs/refs/pr/1").read_text() == COMMIT
    pull(f"o/m@{COMMIT}", "--include", "LICENSE.md", HF_ENDPOINT=hub.url, HF_HUB_CACHE=tmp_path)
    assert files_in(tmp_path / "models--o--m/refs") == ["refs/pr/1"]
    assert "nothing is left" in pull("o/m", "--include", "x*", code=USER_ERROR, HF_ENDPOINT=hub.url, HF_HUB_CACHE=tmp_path).stderr


def test_a_gated_model_is_told(hub, tmp_path):
    hub.state.token = "hf_right"
    told = pull("o/m", code=USER_ERROR, HF_ENDPOINT=hub.url, HF_HUB_CACHE=tmp_path).stderr
    assert "HTTP 401" in told and f"accept its licence at {hub.url}/o/m" in told and "HF_TOKEN" in told
    assert "HF_TOKEN accepted" in pull("o/m", code=USER_ERROR, HF_ENDPOINT=hub.url, HF_HUB_CACHE=tmp_path, HF_TOKEN="hf_wrong").stderr
    pull("o/m", HF_ENDPOINT=hub.url, HF_HUB_CACHE=tmp_path, HF_TOKEN="hf_right")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", ""])
def test_a_listing_that_leads_out_of_the_cache_is_refused(name, tmp_path):
    with serving({"/api/models/o/m/revision/main?blobs=true": hub_reply({name: b"x"})}) as server:
        assert "not the hub's" in pull("o/m", code=USER_ERROR, HF_ENDPOINT=server.url, HF_HUB_CACHE=tmp_path / "hub").stderr
        assert len(server.asked) == 1 and files_in(tmp_path) == []
