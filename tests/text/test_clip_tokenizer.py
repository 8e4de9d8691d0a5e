"""The byte-pair tokenizer against transformers' CLIPTokenizer, number by number."""

import gzip
import importlib.util
import json
import os
import pathlib

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from text_probe import probe, tokens  # noqa: E402
from texts import texts  # noqa: E402

START, END = "<|startoftext|>", "<|endoftext|>"


def write_folder(folder, vocabulary, merges):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A vocabulary of CLIP's kind, of 2,000 merges, trained on this test's own strings: every byte, with and without the end of word."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    learner = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=2500, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator([text.lower() for text in texts(1500)] * 2, trainer)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    words = alphabet + [letter + "</w>" for letter in alphabet] + [merge.replace(" ", "") for merge in merges] + [START, END]
    return write_folder(tmp_path_factory.mktemp("bpe") / "trained", {word: i for i, word in enumerate(dict.fromkeys(words))}, merges)


@pytest.fixture(scope="session")
def openai(tmp_path_factory):
    """CLIP's own vocabulary, where the package open_clip_torch is installed: it carries the file (MIT)."""
    found = importlib.util.find_spec("open_clip")
    if found is None:
        pytest.skip("open_clip_torch is not installed")
    lines = gzip.open(pathlib.Path(found.origin).parent / "bpe_simple_vocab_16e6.txt.gz").read().decode().split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    letters = [tokenizers_byte(byte) for byte in [*range(33, 127), *range(161, 173), *range(174, 256), *range(33), *range(127, 161), 173]]
    words = letters + [letter + "</w>" for letter in letters] + [merge.replace(" ", "") for merge in merges] + [START, END]
    return write_folder(tmp_path_factory.mktemp("bpe") / "openai", {word: i for i, word in enumerate(words)}, merges)


def tokenizers_byte(byte):
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return chr(byte) if byte in visible else chr(256 + [b for b in range(256) if b not in visible].index(byte))


@pytest.mark.parametrize("vocabulary", ["trained", "openai"])
def test_the_numbers_are_transformers(tmp_path, request, vocabulary):
    """2,500 strings, exact. Catches: a wrong order of merges, bytes as the wrong visible characters, a wrong class or normal form of a
    character, special words not cut out before lower case, contractions, numbers not one by one."""
    folder = request.getfixturevalue(vocabulary)
    theirs = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    lines = texts()
    ours = tokens(tmp_path, "bpe", folder, lines, 0)
    for line, row in zip(lines, ours.tolist(), strict=True):
        assert [number for number in row if number >= 0] == theirs(line, add_special_tokens=False)["input_ids"], repr(line)


def test_the_real_vocabulary_gives_known_numbers(tmp_path, openai):
    """Catches: a vocabulary that is shifted as a whole, which transformers would read the same way."""
    assert tokens(tmp_path, "bpe", openai, ["a photo of a cat"], 77)[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 49407]


@pytest.mark.parametrize("length", [5, 77])
def test_start_end_padding_and_cut_are_transformers(tmp_path, trained, length):
    """Catches: the end cut off with what is too long, padding with 0 instead of the end."""
    theirs = transformers.CLIPTokenizer(str(trained / "vocab.json"), str(trained / "merges.txt"))
    lines = texts(200)
    expected = theirs(lines, padding="max_length", truncation=True, max_length=length)["input_ids"]
    assert tokens(tmp_path, "bpe", trained, lines, length).tolist() == expected


def test_tokenizer_json_alone_gives_the_same(tmp_path, trained):
    """What transformers 5 saves: no vocab.json, no merges.txt. Catches: merges as pairs not read, a padding that only tokenizer_config.json names."""
    theirs = transformers.CLIPTokenizer(str(trained / "vocab.json"), str(trained / "merges.txt"), pad_token="!")
    theirs.save_pretrained(tmp_path / "saved")
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json"):
        (tmp_path / "saved" / name).unlink(missing_ok=True)
    lines = [line for line in texts(300) if "!" not in line]  # a text's own would be padding to transformers
    expected = theirs(lines, padding="max_length", truncation=True, max_length=77)["input_ids"]
    assert tokens(tmp_path, "bpe", tmp_path / "saved", lines, 77).tolist() == expected
    file = tmp_path / "saved" / "tokenizer.json"
    spaced = json.loads(file.read_text())
    spaced["model"]["merges"] = [" ".join(pair) for pair in spaced["model"]["merges"]]  # as older releases write them
    file.write_text(json.dumps(spaced))
    assert tokens(tmp_path, "bpe", tmp_path / "saved", lines, 77).tolist() == expected


def test_the_folder_names_its_padding(tmp_path, trained):
    """Catches: special_tokens_map.json not read, whose padding is "!" in some published folders."""
    folder = write_folder(tmp_path / "padded", json.loads((trained / "vocab.json").read_text()), [])
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": "!"}}))
    assert tokens(tmp_path, "bpe", folder, ["a"], 5)[0, -1].item() == json.loads((folder / "vocab.json").read_text())["!"]


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("vocab.json", "{", "not JSON"),
        ("vocab.json", '{"a": 1}', "<|startoftext|>"),
        ("merges.txt", "a b c\n", "two symbols"),
        ("tokenizer.json", "[]", "not CLIP's tokenizer"),
        ("tokenizer.json", '{"model": {"type": "BPE", "end_of_word_suffix": "", "vocab": {}, "merges": []}}', "not CLIP's tokenizer"),
        ("tokenizer.json", '{"model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"a": "b"}, "merges": [["a", "b"]]}}', "'a' has no number"),
        ("tokenizer.json", '{"model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {}, "merges": [["a"]]}}', "two symbols"),
    ],
)
def test_a_damaged_folder_is_told(tmp_path, trained, name, content, told):
    """Catches: numbers from a file that is not a vocabulary."""
    folder = write_folder(tmp_path / "damaged", json.loads((trained / "vocab.json").read_text()), ["a b"])
    (folder / name).write_text(content)
    if name == "tokenizer.json":
        (folder / "vocab.json").unlink()
    (tmp_path / "texts.json").write_text('["a"]')
    assert told in probe("bpe", folder, tmp_path / "texts.json", 0, tmp_path / "out", code=2)
