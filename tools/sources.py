"""The files that the checks look at."""

import argparse
import pathlib

FOLDERS = ("src", "apps", "python", "tests", "bench", "tools", "cmake", "docs", "configs")


def root_from_arguments(description: str) -> pathlib.Path:
    """--root FOLDER, by default the repository that holds this file."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    return parser.parse_args().root


def sources(root: pathlib.Path, suffixes: set[str], folders: tuple[str, ...] = FOLDERS) -> list[pathlib.Path]:
    """Files of the folders (and those at the top) with one of the suffixes, in a fixed order."""
    found = [path for path in root.glob("*") if path.is_file()]
    for folder in folders:
        found += (root / folder).rglob("*")
    return sorted(path for path in found if path.suffix in suffixes and path.is_file() and "__pycache__" not in path.parts)


def report(name: str, complaints: list[str]) -> int:
    """Prints the complaints; the exit code."""
    for complaint in complaints:
        print(f"{name}: {complaint}")
    print(f"{name}: {len(complaints)} complaints" if complaints else f"{name}: good")
    return 1 if complaints else 0
