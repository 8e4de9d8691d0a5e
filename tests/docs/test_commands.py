"""What the documents tell people to type: every fenced block that is marked ```sh test runs, page by page, in a folder with a few pictures, on a
tiny model in the shipped one's place."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from program import RESFLOW, ROOT

sys.path.insert(0, str(ROOT / "tests" / "captioning"))
from test_captions import Stub  # noqa: E402

Image = pytest.importorskip("PIL.Image")
BLOCK = re.compile(r"^```sh test\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {page.relative_to(ROOT).as_posix(): BLOCK.findall(page.read_text()) for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}


def test_the_pages_that_should_have_commands_have_them():
    counts = {name: len(blocks) for name, blocks in PAGES.items() if blocks}
    assert counts.keys() >= {"README.md", "docs/guide.md", "docs/cookbook.md"} and counts["docs/guide.md"] >= 5
    # A fence that is marked otherwise would be passed over.
    for name in PAGES:
        assert not re.search(r"^```sh (?!test$)", (ROOT / name).read_text(), re.MULTILINE), name


@pytest.fixture
def folder(tmp_path, pictures, tiny):
    tifffile = pytest.importorskip("tifffile")
    photo = Image.open(pictures / "coffee.png").resize((48, 36), Image.LANCZOS)
    photo.save(tmp_path / "photo.jpg", quality=80)
    for name in ("album", "scans", "archive/1955"):
        (tmp_path / name).mkdir(parents=True)
    photo.rotate(90, expand=True).save(tmp_path / "album" / "a.jpg")
    photo.save(tmp_path / "album" / "b.png")
    photo.save(tmp_path / "archive" / "1955" / "c.png")
    tifffile.imwrite(tmp_path / "scans" / "scan.tif", np.asarray(photo).astype(np.uint16) * 257)
    mask = Image.new("L", (48, 36), 0)
    mask.paste(255, (0, 0, 24, 36))
    mask.save(tmp_path / "mask.png")
    data = tmp_path / ".data"
    (data / "weights").mkdir(parents=True)
    (data / "weights" / "compact.safetensors").symlink_to(tiny.model)
    (data / "weights" / "niqe.safetensors").symlink_to(ROOT / "weights" / "niqe.safetensors")
    (data / "web").symlink_to(ROOT / "web")
    return tmp_path


@pytest.mark.parametrize("page", [name for name, blocks in PAGES.items() if blocks])
def test_the_commands_of_a_page_run(page, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Stub("a cup of coffee") as captions:
        script = "\n".join(PAGES[page]).replace("127.0.0.1:8080/v1", captions.url.removeprefix("http://")).replace("8188", str(port))
        (folder / "bin").mkdir()
        (folder / "bin" / "resflow").symlink_to(Path(RESFLOW).resolve())
        environment = {
            **os.environ,
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "RESFLOW_DATA": str(folder / ".data"),
            "XDG_CACHE_HOME": str(folder / ".cache"),
            "XDG_STATE_HOME": str(folder / ".state"),
        }
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "RESFLOW_API_KEY"):
            environment.pop(name, None)
        done = subprocess.run(["bash", "-xeuo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{page}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
