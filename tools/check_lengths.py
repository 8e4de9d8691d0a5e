"""No source file is longer than 600 lines. Aim at 100; ask at 400 whether it is one thing."""

import sys

from sources import report, root_from_arguments, sources

LONGEST = 600
MADE = {"docs/options.md"}  # by the program, of its own tables


def check(root) -> list[str]:
    complaints = []
    for path in sources(root, {".h", ".cpp", ".inc", ".py", ".sh", ".cmake", ".md"}):
        lines = len(path.read_text().splitlines())
        if lines > LONGEST and path.relative_to(root).as_posix() not in MADE:
            complaints.append(f"{path.relative_to(root)}: {lines} lines: wanted at most {LONGEST}: split it by what its parts do")
    return complaints


if __name__ == "__main__":
    sys.exit(report("lengths", check(root_from_arguments(__doc__))))
