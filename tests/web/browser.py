"""A server of the program under test, and a browser's page on it that sends nothing elsewhere."""

import base64
import io
import os
import re
import shutil
import subprocess
import threading

import requests
from PIL import Image
from program import RESFLOW

CHROMIUM = shutil.which("chromium")
FINAL = ("done", "failed", "cancelled")


class Server:
    """`resflow serve` on a free port of loopback (with a port: on that one) and on one core, which leaves the browser another."""

    def __init__(self, model, data, *arguments, port=0):
        self.data = data
        words = [RESFLOW, "serve", "--port", str(port), "--model", str(model), "--data", str(data), *map(str, arguments)]
        self.log = open(f"{data}.log", "ab")
        one_core = lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # noqa: E731
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=self.log, text=True, preexec_fn=one_core)
        line, found = "", None
        while found is None:
            line = self.process.stdout.readline()
            assert line, f"the server ended: {open(self.log.name).read()}"
            found = re.search(r"http://[^\s:]+:(\d+)", line)
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.process.stdout.read, daemon=True).start()  # or a full pipe would stop it

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def get(self, path, **options):
        return requests.get(self.url + path, timeout=20, **options)

    def job(self, identity):
        return self.get(f"/v1/jobs/{identity}").json()

    def calm(self):
        """Cancels what is not finished."""
        if self.process.poll() is None:
            for job in self.get("/v1/jobs").json().get("jobs", []):
                if job["state"] not in FINAL:
                    requests.delete(f"{self.url}/v1/jobs/{job['id']}", timeout=20)

    def result(self, identity):
        """The pixels of a finished job, RGB."""
        return Image.open(io.BytesIO(self.get(f"/v1/jobs/{identity}/result").content)).convert("RGB")


class Page:
    """A page of the server with the words of the tests. `requests` are the addresses that it asked for."""

    def __init__(self, browser, server, **context):
        self.server = server
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | context))
        self.context.set_default_timeout(40000)
        self.page = self.context.new_page()
        self.requests, self.faults = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda line: self.faults.append(line.text) if "Content Security Policy" in line.text else None)
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.page.goto(server.url)

    def ready(self):
        """Once the options are there."""
        self("#form .field").first.wait_for()
        return self

    def __call__(self, selector, **options):
        return self.page.locator(selector, **options)

    def close(self):
        self.context.close()

    def drop(self, *files):
        """Files fall on the page. -> the name of the first one."""
        content = [{"name": file.name, "data": base64.b64encode(file.read_bytes()).decode()} for file in files]
        transfer = self.page.evaluate_handle(
            """files => {
                 const transfer = new DataTransfer();
                 for (const {name, data} of files) {
                   const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
                   transfer.items.add(new File([bytes], name, {type: name.endsWith(".txt") ? "text/plain" : "image/png"}));
                 }
                 return transfer;
               }""",
            content,
        )
        for event in ("dragenter", "dragover", "drop"):
            self.page.dispatch_event("#view", event, {"dataTransfer": transfer})

    def option(self, name):
        """The input of an option, its fold opened."""
        field = self(f'.field[data-option="{name}"]')
        field.evaluate("node => { const fold = node.closest('details'); if (fold) fold.open = true; }")
        return field.locator("input[type=number], input[type=text], select, input[type=checkbox]").first

    def search(self, candidates=2):
        self("#search-on").click()
        self.option("search").select_option("best-of-n")
        self.option("candidates").fill(str(candidates))

    def row(self, name, index=0):
        return self("#list li", has_text=name).nth(index)

    def identity(self):
        """Of the job that is looked at."""
        return self.page.evaluate("location.hash.slice(1)")

    def restored(self, file):
        """Drops, restores, waits. -> the job's id."""
        self.drop(file)
        self("#restore").click()
        self('#list li[data-state="done"] .open[aria-current="true"]').wait_for()
        self("#divider").wait_for()
        return self.row(file.name).get_attribute("data-job")

    def drawn(self):
        """Once what was asked for is on the canvas: it is drawn with the next frame."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    def split(self):
        self.drawn()
        return int(self("#divider").get_attribute("aria-valuenow"))

    def zoom(self):
        """In percent."""
        self.drawn()
        return float(self("#zoom").inner_text().split()[0])

    def pixels(self, box=None):
        """What the canvas shows, or a box (left, top, right, bottom) of it, RGB."""
        self.drawn()
        data = self("#canvas").evaluate("node => node.toDataURL('image/png')")
        shown = Image.open(io.BytesIO(base64.b64decode(data.split(",", 1)[1]))).convert("RGB")
        return shown.crop(box) if box else shown
