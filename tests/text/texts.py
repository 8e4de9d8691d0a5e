"""Strings that tokenizers trip over: many scripts, marks, controls, emoji, digits, contractions. The same on every run."""

import random
import unicodedata

SENTENCES = [
    "a photo of a cat", "A Photo Of A CAT!!", "  spaced\t\tout \r\n text  ", "don't you've we'll I'm it's they'd we're O'Reilly's 'Tis rock'n'roll",
    "12345 3.14159 1,000,000 ½ ² Ⅷ ٣٤٥ ১২৩", "naïve café Ångström Å Å ﬁne", "İstanbul ISTANBUL ıI ΣΊΣΥΦΟΣ ςσ ẞ ß ǅ",
    "Привет, мир! Ёлка ёлка", "こんにちは世界。カタカナ ｶﾀｶﾅ", "한국어 문장 각", "العربية مَرْحَبًا", "עִבְרִית שלום", "हिन्दी में क़ क़", "ไทย ภาษาไทย",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 ☃️ ❤", "<|startoftext|>a<|endoftext|>b <|ENDOFTEXT|> <|endoftext|", "zero\u200bwidth soft\u00adhyphen bom\ufeff nul\u0000x\u0007\u001f\u0085",
    "a\u0301\u0323 a\u0323\u0301 \u0301lone \u1100\u1161\u11a8 \uac00\u11a8", "https://example.org/?q=a&b=c#d user@example.org C:\\dir", "___ --- ... !?!? $€£¥ 100% #hash @at ~`^|",
    "", " ", "\n", "'", "''s 's's ''", "\U0001d49c\U0001d4b7 \U00020000\U0002a6df", "ǆ ﷺ ㎏ Ⅳ ① ™ ®", "word" * 60, "a " * 120, "\u00a0\u2003\u3000x", "\x1c\x1d", "[CLS] a [SEP] [MASK] [UNK] [PAD]",
]  # fmt: skip
BLOCKS = [
    (0x20, 0x7E), (0xA0, 0x17F), (0x180, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x6FF),
    (0x900, 0x97F), (0x980, 0x9FF), (0xB80, 0xBFF), (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF),
    (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x2BFF), (0x3000, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA640, 0xA69F),
    (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFE6F), (0xFF00, 0xFFEF), (0x10400, 0x1044F), (0x1D400, 0x1D7FF),
    (0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF), (0x20000, 0x20FFF), (0x0, 0x1F), (0x7F, 0x9F),
]  # fmt: skip
WORDS = "photo of a the an old portrait can't it's I'm you've we'll they'd blurry 1920s restored, (sepia) high-resolution 4k x2 face; faces".split()


def texts(count=2500):
    """Sentences, then random strings of one to three scripts with English words among them. Only characters that Unicode 14 knows."""
    draw = random.Random(7)
    out = list(SENTENCES)
    while len(out) < count:
        blocks = draw.sample(BLOCKS, draw.randint(1, 3))
        parts = []
        for _ in range(draw.randint(1, 9)):
            if draw.random() < 0.3:
                parts.append(draw.choice(WORDS))
                continue
            found = (chr(draw.randint(*draw.choice(blocks))) for _ in range(draw.randint(1, 8)))
            parts.append("".join(c for c in found if unicodedata.category(c) != "Cn"))
        out.append(draw.choice(["", " ", " ", "  ", "\n"]).join(parts))
    return out
