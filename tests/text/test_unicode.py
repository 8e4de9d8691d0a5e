"""Lower case and normal forms against Python's own Unicode database."""

import json
import unicodedata

from text_probe import probe
from texts import texts


def told(tmp_path, lines):
    (tmp_path / "in.json").write_text(json.dumps(lines))
    probe("unicode", tmp_path / "in.json", tmp_path / "out.json")
    return json.loads((tmp_path / "out.json").read_text())


def lower(text):
    """Character by character: Python's own lower() knows the final sigma."""
    return "".join(c.lower() for c in text)


def test_every_character_and_many_strings(tmp_path):
    """Exact. Catches: a wrong run or entry of a table, Hangul arithmetic, marks not in canonical order, compositions that are excluded."""
    characters = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    lines = characters + texts() + ["a" + "".join(marks) for marks in zip(characters[700:1000], characters[650:950], strict=True)]
    for line, (low, nfc, nfd) in zip(lines, told(tmp_path, lines), strict=True):
        assert (low, nfc, nfd) == (lower(line), unicodedata.normalize("NFC", line), unicodedata.normalize("NFD", line)), repr(line)
