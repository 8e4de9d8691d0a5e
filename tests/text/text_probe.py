"""Runs the text probe; small CLIP models and vocabularies for it."""

import json
import os
import pathlib
import subprocess

from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = pathlib.Path(os.environ.get("RESFLOW", ROOT / "build" / "resflow")).parent / "tests" / "text_probe"


def probe(*arguments, code=0):
    done = subprocess.run([str(word) for word in (PROBE, *arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr


def tokens(tmp_path, command, vocabulary, texts, length):
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    probe(command, vocabulary, tmp_path / "texts.json", length, tmp_path / "tokens.safetensors")
    return load_file(tmp_path / "tokens.safetensors")["tokens"]
