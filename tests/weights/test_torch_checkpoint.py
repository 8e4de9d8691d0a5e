"""Checkpoints that torch.save and TorchScript write are read as PyTorch reads them; damaged and hostile ones are refused, and nothing
in them is executed. The reference is PyTorch itself: values must be equal bit for bit."""

import collections
import os
import pathlib
import pickle
import struct
import subprocess
import zipfile

import pytest
import torch
from safetensors.torch import load_file

PROBE = pathlib.Path(os.environ["RESFLOW"]).parent / "tests" / "weights_probe"
TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
FORMATS = {"zip": True, "legacy": False}
LIMITS = "ulimit -v 4000000; ulimit -t 60; "  # a file must not make the reader take memory or time that it does not fill itself


def probe(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", "-c", LIMITS + 'exec "$0" "$@"', PROBE, *arguments], capture_output=True, text=True, errors="replace")


def read(source: pathlib.Path) -> dict:
    target = source.with_suffix(".safetensors")
    run = probe("copy", source, target)
    assert run.returncode == 0, run.stderr
    return load_file(target)


def error_of(source: pathlib.Path) -> str:
    """What the user is told. A crash or an error of another kind is a failure of the test."""
    run = probe("copy", source, source.with_suffix(".safetensors"))
    assert run.returncode == 1 and run.stderr.startswith("["), (run.returncode, run.stderr)
    return run.stderr


def answers(tmp_path, files: list[bytes]) -> list[str]:
    """What opening each file says ("ok", or the user's error), in one process. A crash or an error of another kind fails the test."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number, content in enumerate(files):
        (folder / f"{number:06}").write_bytes(content)
    run = probe("check", folder)
    lines = run.stdout.splitlines()
    assert run.returncode == 0 and len(lines) == len(files), (run.returncode, run.stderr, len(lines))
    assert all(line == "ok" or line.startswith("[") for line in lines)
    return lines


def saved(tmp_path, value, format="zip", **options) -> pathlib.Path:
    path = tmp_path / "x.pth"
    torch.save(value, path, _use_new_zipfile_serialization=FORMATS[format], **options)
    return path


def assert_same(ours: dict, expected: dict):
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert ours[name].dtype == tensor.dtype and ours[name].shape == tensor.shape, name
        assert ours[name].contiguous().view(-1).view(torch.uint8).equal(tensor.detach().contiguous().view(-1).view(torch.uint8)), name


def state() -> dict:
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    return {
        **{str(dtype): (torch.randn(3, 5) * 10).abs().to(dtype) for dtype in TYPES},
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 4),
        "ünïcode.name": torch.ones(2),
        "base": base,
        "tied": base,
        "transposed": base.t(),
        "slice": base[2:5, 1::3],
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "expanded": torch.randn(3, 1).expand(3, 40),
        "strided bool": (torch.arange(12) % 3 == 0)[::2],
        "parameter": torch.nn.Parameter(torch.randn(4)),
    }


@pytest.mark.parametrize("format", FORMATS)
def test_every_type_layout_and_alias_is_read_bit_for_bit(tmp_path, format):
    """Catches: a wrong offset, stride, element size or byte order; names mixed up; tied and overlapping tensors read as one."""
    assert_same(read(saved(tmp_path, state(), format)), {name: tensor for name, tensor in state().items()})


@pytest.mark.parametrize("format", FORMATS)
def test_a_module_s_state_dict(tmp_path, format):
    """Catches: an OrderedDict with `_metadata`, or batch norm's int64 scalar, being refused; more storages than one-byte memo numbers."""
    model = torch.nn.Sequential(*[torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)) for _ in range(40)])
    assert_same(read(saved(tmp_path, model.state_dict(), format)), model.state_dict())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("format", FORMATS)
def test_every_pickle_protocol(tmp_path, format, protocol):
    """Catches: framed pickles, memoised values or short texts of newer protocols being misread."""
    assert_same(read(saved(tmp_path, state(), format, pickle_protocol=protocol)), state())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "wrap,chosen",
    [
        (lambda a, b: {"params": a}, "a"),
        (lambda a, b: {"params": b, "params_ema": a}, "a"),
        (lambda a, b: {"epoch": 3, "lr": 1e-4, "best": -1, "big": 2**40, "note": None, "state_dict": a, "optimizer": {"state": {0: {"m": b["x"]}}}}, "a"),
        (lambda a, b: {"model": collections.OrderedDict(a), "sizes": [1, (2, 3)], "done": True}, "a"),
        (lambda a, b: {**a, "version": 3}, "a"),
    ],
)
def test_a_state_dict_one_level_down(tmp_path, format, wrap, chosen):
    """Catches: the wrong one of several dicts being chosen (the average of the weights comes first), or plain values tripping it."""
    a, b = {"x": torch.randn(3), "y": torch.randn(2, 2)}, {"x": torch.zeros(3)}
    assert_same(read(saved(tmp_path, wrap(a, b), format)), {"a": a, "b": b}[chosen])


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = torch.nn.Parameter(torch.randn(4, 3).half())
        self.register_buffer("steps", torch.tensor(7))
        self.blocks = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))

    def forward(self, x):
        return self.blocks(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_a_torchscript_archive_gives_its_parameters_by_path(tmp_path, how):
    """Catches: objects' attributes that are no tensors (training, sizes) tripping it; a wrong path of names."""
    model = torch.nn.Module()
    model = Inner().eval()
    script = torch.jit.script(model) if how == "script" else torch.jit.trace(model, torch.randn(1, 3))
    script.save(tmp_path / "x.pt")
    assert_same(read(tmp_path / "x.pt"), model.state_dict())


@pytest.mark.parametrize("format", FORMATS)
def test_no_prefix_of_a_file_is_read_and_none_crashes(tmp_path, format):
    """Catches: reading past the end anywhere in the magic numbers, directories, pickles or storages."""
    whole = saved(tmp_path, {"x": torch.randn(4, 4).t(), "y": torch.ones(3)}, format).read_bytes()
    assert "ok" not in answers(tmp_path, [whole[:size] for size in range(len(whole))])


@pytest.mark.parametrize("format", FORMATS)
def test_a_changed_byte_is_read_or_refused_never_worse(tmp_path, format):
    """Catches: a number of the file that is trusted. (Bytes of the tensors themselves may change unnoticed.)"""
    whole = saved(tmp_path, {"x": torch.randn(2, 3).t(), "y": torch.ones(3).half()}, format).read_bytes()
    files = [whole[:at] + bytes([changed]) + whole[at + 1 :] for at in range(len(whole)) for changed in (0x00, 0x28, 0x80, 0xFF)]
    assert answers(tmp_path, files).count("ok") < 0.9 * len(files)


class Command:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("format", FORMATS)
def test_code_in_a_pickle_is_named_and_not_run(tmp_path, format):
    """Catches: any import or call. The hostile file would leave a file behind."""
    path = saved(tmp_path, {"x": torch.ones(2), "y": Command(os.system, f"touch {tmp_path}/executed")}, format)
    message = error_of(path)
    assert "posix.system" in message and "nothing is executed" in message
    assert not (tmp_path / "executed").exists()


def test_a_whole_module_and_training_objects_are_named(tmp_path):
    """Catches: a message that does not say what in the file is not a weight."""
    assert "torch.nn.modules.linear.Linear" in error_of(saved(tmp_path, torch.nn.Linear(2, 2)))
    assert "torch.device" in error_of(saved(tmp_path, {"x": torch.ones(1), "on": torch.device("cpu")}))


def test_what_holds_no_state_dict_is_described(tmp_path):
    """Catches: an empty answer where there is nothing by name."""
    assert "wanted a dict of tensors by name, got torch._utils._rebuild_tensor_v2" in error_of(saved(tmp_path, torch.ones(2)))
    assert "'generator', 'step'" in error_of(saved(tmp_path, {"generator": {"x": torch.ones(2)}, "step": 1}))
    assert "no state dict" in error_of(saved(tmp_path, {}))
    assert "without a name, wanted" in error_of(saved(tmp_path, {3: torch.ones(2)})).replace(":", ",")


def archive(path: pathlib.Path, pickled: bytes, storages: dict, compression=zipfile.ZIP_STORED, **extra):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        for key, data in {**{f"data/{k}": v for k, v in storages.items()}, **extra}.items():
            file.writestr(f"archive/{key}", data)
    return path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(shape=(2,), strides=(1,), offset=0, count=4, kind="FloatStorage", key="0") -> bytes:
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cuda:3") + number(count) + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(shape) + numbers(strides) + b"\x89}tR"


def dict_of(value: bytes, name="x") -> bytes:
    return b"\x80\x02}" + text(name) + value + b"s."


FOUR = {"0": struct.pack("<4f", 1, 2, 3, 4)}


def test_hand_built_pickles_are_read_so_their_defects_below_are_what_is_refused(tmp_path):
    assert read(archive(tmp_path / "x.pth", dict_of(tensor(offset=2)), FOUR))["x"].tolist() == [3, 4]
    assert read(archive(tmp_path / "x.pth", dict_of(tensor((2, 3), (0, 1))), FOUR))["x"].tolist() == [[1, 2, 3]] * 2


DEFECTS = [
    (tensor(shape=(5,)), "outside its storage"),
    (tensor(offset=3), "outside its storage"),
    (tensor(offset=2**62), "outside its storage"),
    (tensor(shape=(2,), strides=(4,)), "outside its storage"),
    (tensor(shape=(2**62, 2), strides=(0, 1)), "outside its storage"),
    (tensor(shape=(0, 2**62, 4), strides=(0, 0, 0)), "outside its storage"),
    (tensor(shape=(2**62,), strides=(0,)), "too large"),
    (tensor(shape=(2**26,), strides=(0,)), "too large"),
    (tensor(shape=(3, 2**61), strides=(2**61, 0)), "outside its storage"),
    (tensor(shape=(-1,)), "bad shape"),
    (tensor(strides=(-1,)), "bad strides"),
    (tensor(strides=(1, 1)), "bad strides"),
    (tensor(shape=(1,) * 65, strides=(1,) * 65), "bad strides"),
    (tensor(offset=-1), "bad offset"),
    (tensor(count=-4), "bad storage"),
    (tensor(count=2**61), "bad storage"),
    (tensor(count=5), "of another size: wanted 20 bytes, got 16"),
    (tensor(kind="DoubleStorage"), "of another size"),
    (tensor(key="1"), "its storage is not in the file"),
    (tensor(kind="QInt8Storage"), "torch.QInt8Storage"),
    (b"cbuiltins\neval\n(" + text("1") + b"tR", "builtins.eval"),
    (text("builtins") + text("eval") + b"\x93", "builtins.eval"),
    (b"i__main__\nX\n", "opcode 0x69"),
    (b"\x82\x01", "opcode 0x82"),
    (b"h\x07", "refers to value 7"),
    (b"X\xff\xff\xff\xff", "cut short"),
    (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "cut short"),
    (b"\x8b\x40\0\0\0" + b"\0" * 64, "more than 64 bits"),
    (b"0000", "empty stack"),
    (b"t", "mark that is not there"),
    (b"(K\x01d", "key without a value"),
    (b"N)R", "something to call"),
    (b"ccollections\nOrderedDict\n(NtR", "bad OrderedDict"),
    (b"NNb", "state out of place"),
    (b"2", "opcode 0x32"),
]


def test_each_defect_of_a_pickle_has_its_own_message(tmp_path):
    """Catches: sizes, strides, offsets, lengths and stack operations that are trusted (an overflow would read memory of others)."""
    files = [archive(tmp_path / "x.pth", dict_of(value), FOUR).read_bytes() for value, _ in DEFECTS]
    for (value, message), got in zip(DEFECTS, answers(tmp_path, files), strict=True):
        assert message in got, (value, got)


BOMBS = {
    "itself in itself": b"\x80\x02]q\x00h\x00ah\x00.",
    "deep nesting": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "a tuple repeated": b"\x80\x02(" + b"K\x01" * 100_000 + b"tq\x00ctorch\nSize\nq\x01]" + b"h\x01h\x00Ra" * 100_000 + b".",
    "marks": b"\x80\x02" + b"(" * 1_000_000 + b".",
    "Nones": b"\x80\x02" + b"N" * 6_000_000 + b".",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_neither_much_memory_nor_a_stack(tmp_path, name):
    """Catches: recursion over nested values, references that never free, and copies that multiply. The process is limited to 4 GB."""
    error_of(archive(tmp_path / "x.pth", BOMBS[name], {}))


def script_object(attributes: bytes, put=b"") -> bytes:
    return b"c__torch__\nM\n)\x81" + put + b"}(" + attributes + b"ub"


def test_a_module_that_is_part_of_itself_ends(tmp_path):
    """Catches: endless recursion, and 2^64 names of modules that share parts."""
    itself = b"\x80\x02" + script_object(text("m") + b"h\x00", b"q\x00") + b"."
    assert "part of itself" in error_of(archive(tmp_path / "x.pth", itself, {}, **{"constants.pkl": b""}))
    doubled = b"\x80\x02" + b"".join(
        script_object(text("a") + b"h%c" % (i - 1) + text("b") + b"h%c" % (i - 1) if i else b"", b"q%c" % i) + b"0" for i in range(50)
    )
    assert "part of itself" in error_of(archive(tmp_path / "x.pth", doubled + b"h\x31.", {}, **{"constants.pkl": b""}))


def test_archives_that_are_no_checkpoints_say_why(tmp_path):
    """Catches: compressed entries read as they are, and foreign archives without a word of what to do."""
    path = tmp_path / "x.pth"
    assert "data.pkl' of this zip archive is compressed" in error_of(archive(path, dict_of(tensor()) + b" " * 100, FOUR, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/weights.bin", "x")
    assert "no data.pkl" in error_of(path)
    assert "byte order" in error_of(archive(path, dict_of(tensor()), FOUR, byteorder="big"))
    path.write_bytes(pickle.dumps({"x": 1}, protocol=2))
    assert "plain Python pickle" in error_of(path)
    whole = bytearray(saved(tmp_path, {"x": torch.ones(1)}, "legacy").read_bytes())
    at = whole.index(b"little_endian") + len(b"little_endianq\0")
    assert whole[at] == 0x88  # True
    whole[at] = 0x89
    path.write_bytes(whole)
    assert "byte order" in error_of(path)


def test_a_zip64_directory_is_read(tmp_path):
    """Catches: files of more than 4 GB, whose sizes and offsets stand in Zip64 fields. Built by hand, small."""
    path = archive(tmp_path / "x.pth", dict_of(tensor(offset=1)), FOUR)
    whole = bytearray(path.read_bytes())
    end = whole.rindex(b"PK\5\6")
    count, size, begin = struct.unpack("<HII", whole[end + 10 : end + 20])
    directory, at = b"", begin
    for _ in range(count):
        name_size = struct.unpack("<H", whole[at + 28 : at + 30])[0]
        entry = bytearray(whole[at : at + 46 + name_size])
        stored, full = struct.unpack("<II", entry[20:28])
        local = struct.unpack("<I", entry[42:46])[0]
        entry[20:28], entry[42:46], entry[30:32] = b"\xff" * 8, b"\xff" * 4, struct.pack("<H", 4 + 5 + 28)
        directory += bytes(entry) + struct.pack("<HH5s", 0x5455, 5, b"time.") [:9] + struct.pack("<HHQQQ", 1, 24, full, stored, local)
        at += 46 + name_size
    end64 = begin + len(directory)
    tail = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), begin)
    tail += struct.pack("<4sIQI", b"PK\6\7", 0, end64, 1) + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(bytes(whole[:begin]) + directory + tail)
    assert read(path)["x"].tolist() == [2, 3]
