"""Writes python/resflow/_options.pyi, the types of restore()'s options, from the built module's own list of them (a test compares the two).

    .venv/bin/python python/write_options.py
"""

import json
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
STUB = ROOT / "python" / "resflow" / "_options.pyi"


def stub(options):
    lines = ['"""Written by python/write_options.py from the library\'s field lists."""', "", "from collections.abc import Sequence", "from typing import TypedDict", ""]
    lines += ["class RestoreOptions(TypedDict, total=False):", '    """The options of restore(), all by keyword."""', ""]
    for option in options:
        choices = f" ({' | '.join(option['choices'])})" if "choices" in option else ""
        lines += [f"    {option['name']}: {option['type']}", f"    {json.dumps(option['help'] + choices + '. Default: ' + json.dumps(option['default']))}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(os.environ.get("RESFLOW", ROOT / "build" / "resflow")).parent / "python"))
    import resflow

    STUB.write_text(stub(resflow.restore_options()))
