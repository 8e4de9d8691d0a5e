"""The pages that people are sent to are there, their links lead somewhere, and the README's make targets exist."""

import re
import sys

from sources import report, root_from_arguments, sources

PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs/architecture.md", "docs/conventions.md", "docs/adding.md")
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(page) -> set[str]:
    """Those of a page's headings, as GitHub makes them."""
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE):
        plain = LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading)
        anchor = base = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        again = 0
        while anchor in found:
            again += 1
            anchor = f"{base}-{again}"
        found.add(anchor)
    return found


def check(root) -> list[str]:
    complaints = [f"{page}: is not there" for page in PAGES if not (root / page).is_file()]
    if complaints:
        return complaints
    readme = (root / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    for wanted in ("demo", "test"):
        if f"make {wanted}" not in readme:
            complaints.append(f"README.md: does not name `make {wanted}`")
    for page in sources(root, {".md"}):
        text = page.read_text()
        name = page.relative_to(root)
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE):
            if target not in targets:
                complaints.append(f"{name}: `make {target}`: no such target")
        for link, anchor in LINK.findall(text):
            if "://" in link or link.startswith("mailto:"):
                continue
            target = page.parent / link if link else page
            if not target.exists():
                complaints.append(f"{name}: link to {link}: no such file")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                complaints.append(f"{name}: link to {link}#{anchor}: no such heading")
    return complaints


if __name__ == "__main__":
    sys.exit(report("docs", check(root_from_arguments(__doc__))))
