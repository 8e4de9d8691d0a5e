"""A running `resflow serve`, and a plain HTTP client for it."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import time
import uuid

from program import RESFLOW, ROOT

MODEL = ROOT / "weights" / "compact.safetensors"  # the shipped one: a picture of 48 x 36 takes it some hundredths of a second
QUICK = {"steps": 1, "scale": 1}
LONG = {"steps": 200, "scale": 16, "tile": 256, "overlap": 32}  # works for minutes, until it is stopped


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


def multipart(files=(), fields=None):
    """-> body, content type. files: (field, name, bytes)."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, value in (fields or {}).items():
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + str(value).encode() + b"\r\n")
    for field, name, data in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


class Server:
    """Starts it on a free port; `stop()` ends it by a signal and gives the exit code."""

    def __init__(self, model, data, *options, environment=None, program=RESFLOW):
        self.data = data
        self.words = [str(program), "serve", "--port", "0", "--model", str(model), "--data", str(data), *map(str, options)]
        self.process = subprocess.Popen(self.words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
        line = self.process.stdout.readline()
        found = re.fullmatch(r"resflow: listening on (http://\S+:(\d+)/)\n", line)
        assert found, f"said {line!r}, then {self.process.communicate(timeout=20)}"
        self.url, self.port = found[1].rstrip("/"), int(found[2])

    def stop(self, number=signal.SIGTERM, timeout=60):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.said = self.process.communicate(timeout=timeout)[1]
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        with contextlib.suppress(ValueError):
            self.process.communicate(timeout=20)

    def connection(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None, timeout=60):
        connection = self.connection(timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def post_json(self, path, value, headers=None):
        return self.ask("POST", path, json.dumps(value), {"Content-Type": "application/json", **(headers or {})})

    def post_form(self, path, files=(), fields=None, headers=None):
        body, kind = multipart(files, fields)
        return self.ask("POST", path, body, {"Content-Type": kind, **(headers or {})})

    def submit(self, data, name="photo.png", headers=None, **options):
        """A job of restore=..., search=..., files=..., priority=...; -> the reply."""
        return self.post_form("/v1/jobs", [("image", name, data)], {"options": json.dumps(options)}, headers)

    def job(self, data, **options):
        """-> the job's id; it must have been accepted."""
        reply = self.submit(data, **options)
        assert reply.status == 202, (reply.status, reply.body)
        return reply.json["id"]

    def finished(self, job, timeout=60):
        """Waits for a job's end; -> the job."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            state = self.get(f"/v1/jobs/{job}").json
            if state["state"] in ("done", "failed", "cancelled"):
                return state
            time.sleep(0.05)
        raise AssertionError(f"job {job} is still {state['state']} after {timeout} s")

    def until(self, job, state, timeout=60):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            now = self.get(f"/v1/jobs/{job}").json["state"]
            if now == state:
                return
            assert now in ("queued", "running"), f"wanted {state}, is {now}"
            time.sleep(0.01)
        raise AssertionError(f"job {job} never was {state}")

    def events(self, job, timeout=60):
        """All server-sent events of a job until the stream ends: [(kind, data)]."""
        connection = self.connection(timeout)
        try:
            connection.request("GET", f"/v1/jobs/{job}/events")
            reply = connection.getresponse()
            assert reply.status == 200 and reply.headers["Content-Type"] == "text/event-stream"
            out = []
            for block in reply.read().decode().split("\n\n"):
                lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
                if lines:
                    out.append((lines["event"], json.loads(lines["data"])))
            return out
        finally:
            connection.close()
