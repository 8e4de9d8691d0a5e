"""Drives tests/image/probe.cpp: one process for all calls, since starting it costs more than most calls."""

import functools
import json
import os
import subprocess
from pathlib import Path

PROBE = Path(os.environ["RESFLOW"]).parent / "tests" / "image_probe"


@functools.cache
def server():
    return subprocess.Popen([PROBE, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(*arguments, code=0, alone=None):
    """What the command prints, or the error's text where `code` (one, or a tuple of those allowed) is none of success. `alone`: in a
    process of its own, which runs that function first."""
    words = [str(a) for a in arguments]
    if alone:
        line = subprocess.run([PROBE, *words], capture_output=True, text=True, timeout=120, preexec_fn=alone).stdout
    else:
        server().stdin.write(json.dumps(words) + "\n")
        server().stdin.flush()
        line = server().stdout.readline()
    assert line, f"image_probe died in {words}"
    answer = json.loads(line)
    assert answer["code"] in (code if isinstance(code, tuple) else (code,)), answer
    return answer.get("answer", answer.get("error"))
