"""The WordPiece tokenizer against transformers' BertTokenizer, number by number."""

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from text_probe import probe, tokens  # noqa: E402
from texts import texts  # noqa: E402

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MORE = [
    "[CLS] a [SEP] b[MASK]c [DEC]d [ENC] [enc] [ SEP ] [PAD]", "a" * 100, "a" * 101, "é" * 99 + "e\u0301", "x\u200by z\x0b\x85w", "\U0002b830\U0002b930\u4e00a",
    "E\u0301COLE ÀÉÎ ŁØß ǅ İ", "$5^2=25 `a` {b}|~ «c» —d… ¿e?", "\ufffd\x00a", "\u2028a\u2029b\u3000c", "日本語abc한국어", "\u1100\u1161\u11a8 각",
]  # fmt: skip


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory):
    """2,500 pieces, trained on this test's own strings as BERT cuts them."""
    learner = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    learner.normalizer, learner.pre_tokenizer = tokenizers.normalizers.BertNormalizer(), tokenizers.pre_tokenizers.BertPreTokenizer()
    # Rare letters stay unknown.
    trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=2500, limit_alphabet=600, special_tokens=SPECIAL, show_progress=False)
    learner.train_from_iterator(lines(1500) * 2, trainer)
    words = sorted(learner.get_vocab(), key=learner.get_vocab().get)
    path = tmp_path_factory.mktemp("wordpiece") / "vocab.txt"
    path.write_text("".join(word + "\n" for word in words))
    return path


def lines(count=2500):
    """Without three signs that later versions of Unicode added to these blocks: transformers' tables are those of 8, ours of 14."""
    return [text.translate(dict.fromkeys((0x061D, 0x09FD, 0x09FE))) for text in texts(count)]


def theirs(path):
    out = transformers.BertTokenizer(vocab={word: i for i, word in enumerate(path.read_text().split("\n")[:-1])})
    out.add_special_tokens({"bos_token": "[DEC]"})
    out.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return out


def test_the_numbers_are_transformers(tmp_path, vocabulary):
    """2,512 strings, exact. Catches: accents or controls that stay, a wrong class of a character, ideographs or ASCII's symbols that do not stand alone,
    a shortest instead of a longest piece, a word cut at 100 letters, an unknown piece that does not make the whole word unknown."""
    strings, tokenizer = lines() + MORE, theirs(vocabulary)
    seen = set()
    for line, row in zip(strings, tokens(tmp_path, "wordpiece", vocabulary, strings, 0).tolist(), strict=True):
        wanted = tokenizer(line, add_special_tokens=False)["input_ids"]
        assert [number for number in row if number >= 0] == wanted, repr(line)
        seen |= set(wanted)
    assert len(seen) > 1500 and set(range(5)) <= seen and {len(tokenizer) - 1, len(tokenizer) - 2} <= seen


@pytest.mark.parametrize("length", [2, 9, 35])
def test_start_end_and_cut_are_transformers(tmp_path, vocabulary, length):
    """Catches: the end cut off with what is too long."""
    strings, tokenizer = lines(300), theirs(vocabulary)
    for line, row in zip(strings, tokens(tmp_path, "wordpiece", vocabulary, strings, length).tolist(), strict=True):
        assert [number for number in row if number >= 0] == tokenizer(line, truncation=True, max_length=length)["input_ids"], repr(line)


def test_a_file_that_is_no_vocabulary_is_a_user_error(tmp_path):
    """Catches: numbers of nothing."""
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    (tmp_path / "texts.json").write_text('["a"]')
    said = probe("wordpiece", tmp_path / "vocab.txt", tmp_path / "texts.json", 0, tmp_path / "out", code=2)
    assert "vocab.txt" in said and "[UNK]" in said
