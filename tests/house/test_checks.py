"""Each check of tools/ sees the fault it is there for, and lets a good tree pass."""

import pathlib
import shutil
import subprocess
import sys

import pytest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
ROOT = TOOLS.parent

GOOD = {
    "tools/layers.txt": "core:\nnn: core\nflow: core\npython: core\n",
    "src/resflow/core/a.h": "#pragma once\n\n#include <ATen/core/Tensor.h>\n",
    "src/resflow/nn/b.h": '#pragma once\n\n#include "resflow/core/a.h"\n',
    "python/c.h": '#pragma once\n\n#include "resflow/core/a.h"\n',
    "python/c.cpp": '#include "c.h"\n',
    "src/resflow/nn/b.cpp": '#include "resflow/nn/b.h"\n\n#include <ATen/ATen.h>\n\nint b() { return 1; }\n',
    "Makefile": "demo:\n\ntest:\n",
    "README.md": "`make demo` and `make test`, see [how](docs/adding.md) and [why](#the-why-of-it), or [again](#the-why-of-it-1).\n\n"
    "## The `why` of [it](LICENSE)\n\n```sh\n# none\n```\n\n## The why of it\n",
} | {page: "text\n" for page in ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs/architecture.md", "docs/conventions.md", "docs/adding.md")}


def run(check: str, folder: pathlib.Path, changes: dict[str, str]) -> subprocess.CompletedProcess:
    for name, text in (GOOD | changes).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy(ROOT / ".clang-format", folder)
    return subprocess.run([sys.executable, TOOLS / f"check_{check}.py", "--root", folder], capture_output=True, text=True)


@pytest.mark.parametrize("check", ["layers", "lengths", "words", "format", "docs"])
def test_a_good_tree_passes(check, tmp_path):
    result = run(check, tmp_path, {})
    assert result.returncode == 0, result.stdout + result.stderr


FAULTS = [
    ("layers", "src/resflow/core/x.cpp", '#include "resflow/nn/b.h"\n', "core may not include nn"),
    ("layers", "src/resflow/flow/x.cpp", '#include "resflow/nn/b.h"\n', "flow may not include nn"),
    ("layers", "src/resflow/new/x.cpp", "\n", "folder new is not in tools/layers.txt"),
    ("layers", "src/resflow/nn/x.cpp", '#include "b.h"\n', "write the path from src"),
    ("layers", "python/x.cpp", '#include "resflow/nn/b.h"\n', "python may not include nn"),
    ("layers", "python/x.cpp", '#include "nowhere.h"\n', "write the path from src"),
    ("layers", "src/resflow/nn/x.cpp", "#include <torch/torch.h>\n", "take the ATen headers"),
    ("layers", "src/resflow/nn/x.h", "#pragma once\n#include <ATen/ATen.h>\n", "ATen/core/Tensor.h only"),
    ("layers", "src/resflow/nn/x.h", "int x();\n", "no #pragma once"),
    ("layers", "src/resflow/stray.h", "#pragma once\n", "wanted a place in src/resflow/<folder>/"),
    ("layers", "tools/layers.txt", "core: nn\nnn: core\nflow: core\npython: core\n", "core uses nn, which is not listed before it"),
    ("lengths", "src/resflow/nn/x.cpp", "\n" * 601, "601 lines"),
    ("words", "src/resflow/nn/string_utils.h", "#pragma once\n", "says nothing"),
    ("words", "tests/helpers/x.py", "", "says nothing"),
    ("words", "src/resflow/nn/x.cpp", "// TO" + "DO: later\n", ":1: TO" + "DO"),
    ("format", "src/resflow/nn/x.cpp", "int  x( ){return 1;}\n", "run `make format`"),
    ("docs", "README.md", "`make demo`\n", "does not name `make test`"),
    ("docs", "docs/adding.md", "[gone](nowhere.md)\n", "link to nowhere.md"),
    ("docs", "docs/adding.md", "[moved](../README.md#the-how-of-it)\n", "link to ../README.md#the-how-of-it: no such heading"),
    ("docs", "docs/adding.md", "```sh\n# none\n```\n[in a listing](#none)\n", "no such heading"),
    ("docs", "CONTRIBUTING.md", "Run `make coffee`.\n", "no such target"),
]


@pytest.mark.parametrize("check, name, text, complaint", FAULTS)
def test_a_fault_is_named(check, name, text, complaint, tmp_path):
    result = run(check, tmp_path, {name: text})
    assert result.returncode == 1, result.stdout + result.stderr
    assert complaint in result.stdout
    assert "1 complaints" in result.stdout


def test_a_missing_page_is_named(tmp_path):
    run("docs", tmp_path, {})
    (tmp_path / "docs/adding.md").unlink()
    result = subprocess.run([sys.executable, TOOLS / "check_docs.py", "--root", tmp_path], capture_output=True, text=True)
    assert result.returncode == 1 and "docs/adding.md: is not there" in result.stdout
