"""T5's tokenizer against transformers', number by number, on a Unigram model with T5's settings that is trained here."""

import json
import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

from text_probe import probe, tokens  # noqa: E402
from texts import texts  # noqa: E402

MORE = [
    "a </s> b<extra_id_0>c <extra_id_99><pad> <unk>d </S> <extra_id_100>", "\u2581 a\u2581b \u2581\u2581c\u2581", "x\r\ny \r z\x00w", "\uff21\u0301\u0300 \uff21\u0301",
    "\u00aa\u20dd \u0600\u0661 e\u0301\u0323\u0302 \u00bd\u0338", "\u1100\u1161\u11a8\u0301", "\u304b\u3099 \u0915\u093c", "a\u200d\u200cb\u00ad", "q" * 300,
]  # fmt: skip


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """-> (a folder with spiece.model, one with tokenizer.json), as T5's and FLUX's: up to 6,000 pieces, nmt_nfkc, <pad> </s> <unk>, no <s>."""
    spiece, fast = tmp_path_factory.mktemp("spiece"), tmp_path_factory.mktemp("fast")
    # Most ideographs and syllables stay unknown.
    lines = ["".join(c for c in line if not 0x3400 <= ord(c) < 0xE000 and ord(c) < 0x20000 and c != "\x00") for line in texts(1500)]
    (spiece / "lines.txt").write_text("\n".join(" ".join(line.split()) for line in lines if line.strip()))
    sentencepiece.SentencePieceTrainer.train(
        input=str(spiece / "lines.txt"), model_prefix=str(spiece / "spiece"), vocab_size=6000, character_coverage=0.98, model_type="unigram",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", hard_vocab_limit=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    theirs(spiece).save_pretrained(fast)
    (fast / "spiece.model").unlink(missing_ok=True)
    assert (fast / "tokenizer.json").exists()
    return spiece, fast


def theirs(folder):
    return transformers.T5Tokenizer.from_pretrained(str(folder))


@pytest.mark.parametrize("kind", [0, 1], ids=["spiece.model", "tokenizer.json"])
def test_the_numbers_are_transformers(tmp_path, folders, kind):
    """2,509 strings, exact. Catches: another normal form, a grapheme that is normalised as SentencePiece does it, unknown characters that are not
    one, a cut that is not the most probable, a lost space or a second one, a special piece that is cut, sentinels in the wrong order."""
    folder, strings = folders[kind], texts() + MORE
    tokenizer, seen = theirs(folder), set()
    assert "Precompiled" in str(tokenizer.backend_tokenizer.normalizer)
    wrong = []
    for line, row in zip(strings, tokens(tmp_path, "t5", folder, strings, 0).tolist(), strict=True):
        wanted = tokenizer(line, add_special_tokens=False)["input_ids"]
        if [number for number in row if number >= 0] != wanted:
            wrong.append((line, row[: len(wanted)], wanted))
        seen |= set(wanted)
    assert not wrong, (len(wrong), wrong[:5])
    assert len(seen) > 1200 and {0, 1, 2, tokenizer.convert_tokens_to_ids("<extra_id_0>"), len(tokenizer) - 100} <= seen


@pytest.mark.parametrize("length", [1, 9, 512])
def test_end_padding_and_cut_are_transformers(tmp_path, folders, length):
    """Catches: the end cut off with what is too long, padding by another number."""
    strings, tokenizer = texts(300), theirs(folders[0])
    wanted = tokenizer(strings, padding="max_length", truncation=True, max_length=length)["input_ids"]
    assert tokens(tmp_path, "t5", folders[0] / "spiece.model", strings, length).tolist() == wanted


@pytest.mark.parametrize(
    ("name", "contents", "said"),
    [
        ("spiece.model", b"", "no pieces"),
        ("spiece.model", b"\x0a\x05\x0a\x7fabc", "in the middle of a field"),
        ("spiece.model", b"\x0a\x03\x0a\x01a", "<pad>"),
        ("spiece.model", b"{}", "not a Unigram tokenizer"),
        ("tokenizer.json", b"{}", "model"),
        ("tokenizer.json", b"nothing", "tokenizer.json"),
        ("tokenizer.json", json.dumps({"model": {"type": "BPE"}}).encode(), "BPE"),
        ("tokenizer.json", json.dumps({"model": {"type": "Unigram", "unk_id": 5, "vocab": [["a", -1]]}}).encode(), "unknown piece 5 of 1"),
        ("tokenizer.json", json.dumps({"model": {"unk_id": 0, "vocab": [["a", -1]]}, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AQ=="}}).encode(), "damaged"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_such_tokenizer_is_a_user_error(tmp_path, name, contents, said):
    (tmp_path / name).write_bytes(contents)
    (tmp_path / "texts.json").write_text('["a"]')
    message = probe("t5", tmp_path, tmp_path / "texts.json", 0, tmp_path / "out", code=2)
    assert name in message and said in message
