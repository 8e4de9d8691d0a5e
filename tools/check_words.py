"""Files are named for what they hold, and nothing is left for later in a comment."""

import re
import sys

from sources import report, root_from_arguments, sources

EMPTY_NAMES = re.compile(r"(^|_)(util|utils|common|helper|helpers|misc|manager)(_|$)")
LEFT_FOR_LATER = re.compile(r"\b(" + "TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def check(root) -> list[str]:
    complaints = []
    for path in sources(root, {".h", ".cpp", ".inc", ".py", ".sh", ".cmake", ".txt", ".md", ".toml", ".json"}):
        name = path.relative_to(root)
        for part in name.parts:
            if EMPTY_NAMES.search(part.split(".")[0].lower()):
                complaints.append(f"{name}: '{part}' says nothing: name it for what it holds")
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := LEFT_FOR_LATER.search(line):
                complaints.append(f"{name}:{number}: {found.group()}: do it, or file an issue")
    return complaints


if __name__ == "__main__":
    sys.exit(report("words", check(root_from_arguments(__doc__))))
