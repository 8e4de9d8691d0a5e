"""Readers of weight files and configurations on files that nobody meant to write: the known bad ones are refused in words, and a few thousand
mutations are read or refused, each within seconds and a bounded amount of memory."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from program import RESFLOW

pytest.importorskip("torch")
pytest.importorskip("gguf")
from seeds import write_seeds  # noqa: E402

BUILT = Path(RESFLOW).parent / "tests"
MUTATIONS = {"safetensors": 4000, "gguf": 4000, "torch": 4000, "json": 4000}
SECONDS, MEGABYTES = 5, 256  # for each input; beyond what the program takes at its start


@pytest.fixture(scope="session")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    return folder, write_seeds(folder)


def fuzzed(target, runs, files, folder):
    words = [BUILT / f"fuzz_{target}", runs, SECONDS, MEGABYTES, *files]
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=folder, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize("target", MUTATIONS)
def test_no_file_does_worse_than_be_refused(target, seeds, tmp_path):
    folder, names = seeds
    good, bad = names[target]
    done = fuzzed(target, MUTATIONS[target], [folder / target / name for name in good + bad], tmp_path)
    assert done.returncode == 0 and not (tmp_path / "crash-input").exists(), done.stdout + done.stderr
    said = dict(re.findall(r"^([^:\n]+): (.*)$", done.stdout, re.MULTILINE))
    assert {name for name in good + bad if said.get(name) == "read"} == set(good), done.stdout
    assert said.keys() >= set(bad), done.stdout
    read, refused = map(int, re.search(r"mutations: (\d+) read, (\d+) refused", done.stdout).groups())
    assert read + refused == MUTATIONS[target] and read > 5 and refused > 500, done.stdout


SAYS = {
    ("safetensors", "absurd header length"): "header",
    ("safetensors", "duplicate keys"): "'a'",
    ("safetensors", "wrong dtype"): "F33",
    ("gguf", "a bad type"): "999",
    ("torch", "pickle with code"): "__builtin__.print",
    ("torch", "zip bomb"): "compressed",
    ("json", "missing shard"): "c.safetensors",
    ("json", "a shard elsewhere"): "passwd",
}


def test_what_is_wrong_is_named(seeds, tmp_path):
    folder, _ = seeds
    for (target, name), words in SAYS.items():
        done = fuzzed(target, 0, [folder / target / name], tmp_path)
        assert words in done.stdout.split(": ", 1)[1], done.stdout


def test_the_same_mutations_each_time(seeds, tmp_path):
    folder, names = seeds
    files = [folder / "safetensors" / name for name in names["safetensors"][0]]
    counts = {re.search(r"mutations: (.*);", fuzzed("safetensors", 300, files, tmp_path).stdout).group(1) for _ in range(2)}
    assert len(counts) == 1
