"""Writes src/resflow/text/unicode_*.inc from the Unicode database that Python carries, and the graphemes' from that of `regex`.

    python tools/unicode_tables.py      (needs `pip install regex`)

Tokenizers need to know letters, numbers, marks and punctuation, lower case and the normal forms NFC and NFD; a library for that
would be one more to install. The tables are of Unicode 14 (Python 3.11); characters that were assigned later are of no class.
"""

import pathlib
import sys
import unicodedata

import regex

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "src" / "resflow" / "text"
HEAD = f"// Unicode {unicodedata.unidata_version}, by tools/unicode_tables.py. Not edited by hand.\n"
WIDTH = 150
HANGUL = range(0xAC00, 0xD7A4)
CHARACTERS = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def ranges(wanted) -> list[str]:
    found, start, last = [], None, None
    for code in CHARACTERS:
        if not wanted(chr(code)):
            continue
        if last is None or code != last + 1:
            if last is not None:
                found.append(f"{{{start:#x},{last:#x}}}")
            start = code
        last = code
    return found + [f"{{{start:#x},{last:#x}}}"]


def lower_runs() -> list[str]:
    """{first, last, stride, difference}: runs of characters whose lower case is as far away, one after another or every second."""
    runs = []
    for code in CHARACTERS:
        lower = chr(code).lower()
        if lower == chr(code) or len(lower) != 1:
            continue
        difference = ord(lower) - code
        if runs and runs[-1][3] == difference:
            first, last, stride, _ = runs[-1]
            if code - last in (1, 2) and (first == last or code - last == stride):
                runs[-1] = (first, code, code - last, difference)
                continue
        runs.append((code, code, 1, difference))
    return [f"{{{first:#x},{last:#x},{stride},{difference}}}" for first, last, stride, difference in runs]


def combining_runs() -> list[str]:
    runs = []
    for code in CHARACTERS:
        order = unicodedata.combining(chr(code))
        if order and runs and runs[-1][1] == code - 1 and runs[-1][2] == order:
            runs[-1] = (runs[-1][0], code, order)
        elif order:
            runs.append((code, code, order))
    return [f"{{{first:#x},{last:#x},{order}}}" for first, last, order in runs]


def decompositions() -> tuple[list[str], list[str]]:
    """Those that compose again, and those that do not (0 as second where there is one part only)."""
    both, one_way = [], []
    for code in CHARACTERS:
        parts = unicodedata.decomposition(chr(code)).split()
        if not parts or parts[0].startswith("<") or code in HANGUL:
            continue
        first, second = (*parts, "0")[:2]
        composes = unicodedata.normalize("NFC", chr(code)) == chr(code)
        (both if composes else one_way).append(f"{{{code:#x},{int(first, 16):#x},{int(second, 16):#x}}}")
    return both, one_way


def table(kind: str, name: str, items: list[str]) -> str:
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return f"constexpr {kind} {name}[] = {{\n" + "\n".join([*lines, line]) + "\n};\n"


def main() -> int:
    category = unicodedata.category
    classes = [
        ("kLetters", lambda c: category(c)[0] == "L"),
        ("kNumbers", lambda c: category(c)[0] == "N"),
        ("kNonspacingMarks", lambda c: category(c) == "Mn"),
        ("kPunctuation", lambda c: category(c)[0] == "P"),
        ("kControls", lambda c: category(c) in ("Cc", "Cf", "Co")),
    ]
    text = HEAD + "".join(table("Range", name, ranges(wanted)) for name, wanted in classes)
    (FOLDER / "unicode_classes.inc").write_text(text + table("CaseRun", "kLower", lower_runs()))
    breaks = lambda names: lambda c: regex.match("|".join(rf"\p{{GCB={name}}}" for name in names), c) is not None
    graphemes = [
        ("kGraphemeExtenders", breaks(["Extend", "SpacingMark", "ZWJ"])),
        ("kGraphemePrepended", breaks(["Prepend"])),
        ("kGraphemeBreakers", breaks(["Control", "CR", "LF"])),
    ]
    head = "// Grapheme_Cluster_Break of a later Unicode than the other tables, by tools/unicode_tables.py. Not edited by hand.\n"
    (FOLDER / "unicode_graphemes.inc").write_text(head + "".join(table("Range", name, ranges(wanted)) for name, wanted in graphemes))
    both, one_way = decompositions()
    text = HEAD + table("CombiningRun", "kCombining", combining_runs())
    (FOLDER / "unicode_decompositions.inc").write_text(
        text + table("Decomposition", "kCompositions", both) + table("Decomposition", "kOneWay", one_way)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
