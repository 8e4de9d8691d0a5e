"""What must be refused, each by the way an attacker would try it."""

import base64
import shutil
import socket
import struct
import time
import zlib

import pytest
from program import RESFLOW, USER_ERROR, files_in, resflow
from served import MODEL, QUICK, Server, multipart

KEY = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """With a key, small limits and one friendly site."""
    options = ("--max-body", "300000", "--max-pixels", "250000", "--max-connections", "24", "--cors-origin", "https://friend.example")
    with Server(MODEL, tmp_path_factory.mktemp("guarded"), *options, environment={"RESFLOW_API_KEY": KEY}) as running:
        yield running


def with_key(**more):
    return {"Authorization": f"Bearer {KEY}", **more}


def raw(server, data, pause=0.0):
    """Sends bytes as they are; -> all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=40) as connection:
        connection.sendall(data)
        time.sleep(pause)
        out = b""
        try:
            while piece := connection.recv(65536):
                out += piece
        except ConnectionResetError:
            pass
        return out


TRAVERSALS = ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/....//etc/passwd", "//etc/passwd", "/web/../../etc/passwd", "/index.html/../../CMakeLists.txt", "/%00", "/.git/config", "/..\\..\\etc\\passwd"]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out_of_the_page(server, path):
    reply = raw(server, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert reply.split()[1] in (b"404", b"400"), reply[:200]
    assert b"root:" not in reply and b"cmake_minimum" not in reply


@pytest.mark.parametrize("part", ["..%2f..%2f..%2fqueue.sqlite", "%2e%2e", "A" * 32, "0" * 31, "0" * 32, "0:0"])
def test_no_path_leads_out_of_the_jobs(server, part):
    for path in (f"/v1/jobs/{part}/result", f"/v1/jobs/{part}", f"/v1/jobs/{part}/candidates/{part}/picture"):
        reply = server.get(path)
        assert reply.status == 404 and b"SQLite" not in reply.body


def test_a_link_in_the_page_folder_leads_nowhere_else(tmp_path):
    web = tmp_path / "share" / "web"
    web.mkdir(parents=True)
    (web / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "secret.txt").write_text("secret")
    (web / "link.txt").symlink_to(tmp_path / "secret.txt")
    with Server(MODEL, tmp_path / "data", environment={"RESFLOW_DATA": str(tmp_path / "share")}) as server:
        page = server.get("/")
        assert page.status == 200 and page.headers["Content-Type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"] and page.headers["X-Frame-Options"] == "DENY"
        assert server.get("/link.txt").status == 404


def test_without_the_page_the_address_says_so(tmp_path):
    shutil.copy(RESFLOW, tmp_path / "resflow")  # away from the source tree
    with Server(MODEL, tmp_path / "data", program=tmp_path / "resflow", environment={"RESFLOW_DATA": ""}) as server:
        reply = server.get("/")
        assert reply.status == 404 and "web page is not installed" in reply.json["error"]["hint"]
        assert server.get("/health").status == 200


def test_a_body_above_the_limit_is_refused_before_it_is_read(guarded):
    body, kind = multipart([("image", "a.png", b"\0" * 400_000)])
    begun = time.monotonic()
    reply = raw(guarded, f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {kind}\r\nContent-Length: 99999999999\r\n\r\n".encode() + body)
    assert reply.split()[1] == b"413" and time.monotonic() - begun < 10
    assert guarded.ask("POST", "/v1/jobs", body, with_key(**{"Content-Type": kind})).status == 413
    expecting = raw(guarded, f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {kind}\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n".encode())
    assert expecting.split()[1] == b"413"
    assert files_in(guarded.data / "uploads") == []


def test_a_body_of_no_announced_length_ends_at_the_limit(guarded):
    _, kind = multipart([("image", "a.png", b"")])
    boundary = kind.split("=")[1]
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'.encode()
    chunk = lambda data: f"{len(data):x}\r\n".encode() + data + b"\r\n"
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    reply = raw(guarded, head + chunk(start) + chunk(b"\0" * 50_000) * 12)
    assert reply.split()[1] == b"413" and files_in(guarded.data / "uploads") == []


@pytest.mark.parametrize(
    "kind, body",
    [
        ("multipart/form-data; boundary=x", b"no form at all"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\ncut'),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--\r\n"),
        ("multipart/form-data", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b""),
        ("application/json", b"{}"),
        ("text/plain", b"image=x"),
    ],
    ids=range(8),
)
def test_malformed_forms(server, kind, body):
    reply = server.ask("POST", "/v1/jobs", body, {"Content-Type": kind})
    assert reply.status in (400, 415) and reply.json["error"]["message"]
    assert files_in(server.data / "uploads") == [] and server.get("/health").status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe", b'{"image": 7}', b'{"image": "%%%"}', b'{"image": ""}', b"[" * 100_000, b'{"a":' * 50_000, b'{"image": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"], ids=range(11))
def test_malformed_json(server, body):
    reply = server.ask("POST", "/sdapi/v1/extra-single-image", body, {"Content-Type": "application/json"})
    assert reply.status == 400 and reply.json["error"]["message"]


# Printed in a message, it would overflow the stack of whoever prints it.
DEEP = '{"restore": {"steps": ' + "[" * 200_000 + "]" * 200_000 + "}}"


@pytest.mark.parametrize("options", ['{"restore":', "[]", '{"restore": 7}', "\xff", '{"restore": {"steps": 1e99}}', '{"restore": {"caption": 7}}', DEEP], ids=range(7))
def test_malformed_options(server, photo, options):
    assert server.post_form("/v1/jobs", [("image", "a.png", photo)], {"options": options}).status == 400
    assert server.get("/health").status == 200


@pytest.mark.parametrize("request_text", ["\x16\x03\x01\x02\x00", "GET\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: b\r\n\r\n", "NONSENSE / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n", "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "GET /" + "a" * 20000 + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + "a" * 90000 + "\r\n\r\n", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + "X: y\r\n" * 20000 + "\r\n"], ids=lambda text: text[:24])
def test_requests_that_are_none(server, request_text):
    reply = raw(server, request_text.encode("latin-1") + b"\r\n\r\n")
    assert reply == b"" or reply.split()[1].startswith(b"4"), reply[:100]
    assert server.get("/health").status == 200


def test_a_second_request_cannot_hide_in_a_body_that_is_not_read(server):
    """Request smuggling: the body of a refused request is no request."""
    hidden = b"DELETE /v1/jobs/00000000000000000000000000000000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    reply = raw(server, b"POST /v1/jobs HTTP/1.1\r\nHost: evil.example\r\nContent-Length: %d\r\n\r\n" % len(hidden) + hidden)
    assert reply.count(b"HTTP/1.1") == 1
    reply = raw(server, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(hidden) + hidden)
    assert reply.count(b"HTTP/1.1") == 1 and reply.split()[1] == b"200"


def bomb(side):
    """A PNG of a few bytes whose header claims side x side pixels."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100_000)) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_by_its_header(server):
    begun = time.monotonic()
    reply = server.submit(bomb(60000), restore={"scale": 1})
    assert reply.status == 413 and reply.json["error"]["code"] == "too_many_pixels" and time.monotonic() - begun < 5


def test_a_result_that_would_be_a_bomb_is_refused(guarded, photo):
    reply = guarded.submit(photo, headers=with_key(), restore={"scale": 16})
    assert reply.status == 413 and "result" in reply.json["error"]["message"]


def test_a_compressed_request_is_not_unpacked(server):
    body = zlib.compress(b"\0" * 50_000_000, 9)
    reply = server.ask("POST", "/sdapi/v1/extra-single-image", body, {"Content-Type": "application/json", "Content-Encoding": "deflate"})
    assert reply.status == 415


@pytest.mark.parametrize("data, said", [(b"", "empty"), (b"GIF87a", "gif"), (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"), (b"%PDF-1.4", "not a picture")])
def test_what_is_no_picture(server, data, said):
    reply = server.submit(data, name="thing")
    assert reply.status == 415 and said in reply.json["error"]["message"] and "/" not in reply.json["error"]["message"].split("]")[0]


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", KEY, "Basic !!!"])
def test_a_wrong_key(guarded, photo, header):
    headers = {} if header is None else {"Authorization": header}
    for method, path in (("GET", "/v1/jobs"), ("GET", "/v1/schema"), ("GET", "/metrics"), ("GET", "/openapi.json"), ("DELETE", "/v1/jobs/" + "0" * 32), ("GET", "/sdapi/v1/progress")):
        reply = guarded.ask(method, path, headers=headers)
        assert reply.status == 401 and reply.headers["WWW-Authenticate"] == "Bearer" and reply.json["error"]["code"] == "wrong_key", (method, path)
    assert guarded.submit(photo, headers=headers).status == 401
    assert guarded.get("/health").status == 200


def test_the_right_key(guarded, photo):
    basic = "Basic " + base64.b64encode(f"me:{KEY}".encode()).decode()
    for value in (f"Bearer {KEY}", basic):
        assert guarded.get("/v1/jobs", Authorization=value).status == 200
    assert guarded.submit(photo, headers=with_key(), restore=QUICK).status == 202


def test_other_addresses_need_a_key(tmp_path):
    done = resflow("serve", "--host", "0.0.0.0", "--port", "0", "--model", MODEL, "--data", tmp_path, code=USER_ERROR)
    assert "API key" in done.stderr and "RESFLOW_API_KEY" in done.stderr


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example", "https://friend.example.evil.example"])
def test_another_sites_page_changes_nothing(server, photo, origin):
    reply = server.submit(photo, headers={"Origin": origin})
    assert reply.status == 403 and reply.json["error"]["code"] == "foreign_origin"
    assert server.ask("DELETE", "/v1/jobs/" + "0" * 32, headers={"Origin": origin}).status == 403
    assert "Access-Control-Allow-Origin" not in server.get("/health", Origin=origin).headers


def test_the_page_itself_may(server, photo):
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{server.port}"
        assert server.submit(photo, headers={"Origin": f"http://{host}", "Host": host}, restore=QUICK).status == 202


def test_a_friendly_site_may(guarded, photo):
    origin = "https://friend.example"
    before = guarded.ask("OPTIONS", "/v1/jobs", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
    assert before.status == 204 and before.headers["Access-Control-Allow-Origin"] == origin
    assert guarded.submit(photo, headers=with_key(Origin=origin), restore=QUICK).headers["Access-Control-Allow-Origin"] == origin
    assert guarded.submit(photo, headers=with_key(Origin="https://evil.example")).status == 403
    assert "Access-Control-Allow-Origin" not in guarded.ask("OPTIONS", "/v1/jobs", headers={"Origin": "https://evil.example"}).headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8188", "127.0.0.1.evil.example", "192.168.1.1", "[::2]"])
def test_a_foreign_host_name_is_refused(server, host):
    """DNS rebinding: a site's name that points to this machine."""
    for path in ("/", "/health", "/v1/jobs"):
        reply = server.get(path, Host=host)
        assert reply.status == 403 and reply.json["error"]["code"] == "foreign_host"


def test_a_reverse_proxys_name_is_accepted_when_named(tmp_path):
    with Server(MODEL, tmp_path, "--allowed-host", "photos.example.org") as server:
        assert server.get("/health", Host="photos.example.org").status == 200
        assert server.get("/health", Host="other.example.org").status == 403


@pytest.mark.slow
def test_slow_clients_are_cut_off_and_others_are_served(guarded):
    """Slow-loris, in the head and in the body: more of them than the server has room for."""
    clients = []
    for i in range(30):
        client = socket.create_connection(("127.0.0.1", guarded.port), timeout=60)
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 200000\r\n"
        client.sendall(head.encode() + (b"\r\n--x" if i % 2 else b""))
        clients.append(client)
    begun, ended = time.monotonic(), {}
    while len(ended) < 30 and time.monotonic() - begun < 40:
        for i, client in enumerate(clients):
            if i in ended:
                continue
            try:
                client.sendall(b"a" if i % 2 else b"X")  # a byte a second: never idle
                client.setblocking(False)
                if client.recv(65536) == b"":
                    ended[i] = time.monotonic() - begun
            except BlockingIOError:
                pass
            except OSError:
                ended[i] = time.monotonic() - begun
            finally:
                client.setblocking(True)
        time.sleep(1)
    assert len(ended) == 30 and max(ended.values()) < 35, ended
    assert guarded.get("/health").status == 200


def test_a_slow_head_does_not_keep_others_waiting(guarded):
    clients = [socket.create_connection(("127.0.0.1", guarded.port)) for _ in range(20)]
    for client in clients:
        client.sendall(b"GET /health HT")
    begun = time.monotonic()
    assert guarded.get("/health").status == 200 and time.monotonic() - begun < 1
    for client in clients:
        client.close()


def test_more_connections_than_there_is_room_for_are_turned_away(guarded):
    clients = [socket.create_connection(("127.0.0.1", guarded.port), timeout=20) for _ in range(40)]
    turned_away = 0
    time.sleep(0.5)
    for client in clients:
        client.setblocking(False)
        try:
            turned_away += client.recv(100).startswith(b"HTTP/1.1 503")
        except BlockingIOError:
            pass
        client.close()
    assert turned_away >= 16
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            if guarded.get("/health").status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("not free again")


def test_a_client_that_goes_away_takes_its_job_along(server, photo):
    body, kind = multipart([("image", "a.png", photo)], {"steps": 200, "scale": 16, "tile": 256, "overlap": 32})
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"POST /v1/images/edits HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        until = time.monotonic() + 20
        while not (running := server.get("/v1/jobs?state=running").json["jobs"]) and time.monotonic() < until:
            time.sleep(0.05)
    assert server.finished(running[0]["id"], timeout=20)["state"] == "cancelled"
