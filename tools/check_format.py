"""Every C++ file is as clang-format (the version of tools/requirements-test.txt) writes it. --fix writes it so."""

import pathlib
import re
import shutil
import subprocess
import sys

from sources import report, root_from_arguments, sources

FOLDERS = ("src", "apps", "python", "tests", "bench")


def program() -> str:
    """The one in .venv: another version formats otherwise."""
    beside = pathlib.Path(sys.executable).parent / "clang-format"
    found = str(beside) if beside.exists() else shutil.which("clang-format")
    if not found:
        sys.exit("format: clang-format is not there: run `make test` once")
    return found


def check(root) -> list[str]:
    files = sources(root, {".h", ".cpp"}, FOLDERS)
    if not files:
        return []
    run = subprocess.run([program(), "--dry-run", "-Werror", f"--style=file:{root / '.clang-format'}", *files], capture_output=True, text=True)
    bad = sorted(set(re.findall(r"^(.+?):\d+:\d+: ", run.stderr, re.MULTILINE)))
    if run.returncode != 0 and not bad:
        return [run.stderr.strip()]
    return [f"{pathlib.Path(name).relative_to(root)}: run `make format`" for name in bad]


if __name__ == "__main__":
    fix = "--fix" in sys.argv
    if fix:
        sys.argv.remove("--fix")
    root = root_from_arguments(__doc__)
    if fix:
        subprocess.run([program(), "-i", *sources(root, {".h", ".cpp"}, FOLDERS)], check=True)
    sys.exit(report("format", check(root)))
