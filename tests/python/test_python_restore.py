"""restore() of the module: what `resflow restore` gives, for every kind of picture; its options, errors, threads and Ctrl-C."""

import ast
import inspect
import json
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from program import ROOT, resflow as program

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

OPTIONS = {"scale": 2, "seed": 5, "steps": 3, "sigma_s": 0.2, "color_fix": "wavelet"}
SEARCH = {"search": "best-of-n", "candidates": 2, "rewards": ("lq-consistency", "dr-consistency"), "reward_weights": [1, 0.5], "elitism": False}


@pytest.fixture(scope="module")
def photo(tmp_path_factory, pictures):
    path = tmp_path_factory.mktemp("photo") / "coffee.png"
    Image.open(pictures / "coffee.png").resize((45, 34), Image.LANCZOS).save(path)
    return path


@pytest.fixture(scope="module")
def restore(resflow, tiny):
    return lambda image, **options: resflow.restore(image, model=tiny.model, **options)


def by_program(source, output, tiny, options):
    words = ["restore", "--model", tiny.model, source, "-o", output, "--json"]
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value]
    return json.loads(program(*words).stdout)["items"][0]


def pixels(path):
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def wanted(tmp_path_factory, photo, tiny):
    """The program's own result."""
    output = tmp_path_factory.mktemp("wanted") / "out.png"
    by_program(photo, output, tiny, OPTIONS)
    return output


@pytest.mark.parametrize("more", [{}, SEARCH, {"strength": 0.0, "checks": False}])
@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_files_are_the_programs_byte_for_byte(tmp_path, restore, photo, tiny, more, ending):
    """Catches: an option that is dropped or renamed, another seed, a manifest that differs."""
    options, theirs, ours = OPTIONS | more, tmp_path / f"theirs.{ending}", tmp_path / f"ours.{ending}"
    entry = by_program(photo, theirs, tiny, options)
    path, report = restore(photo, output=ours, report=True, **options)
    assert path == ours and ours.read_bytes() == theirs.read_bytes()
    timed = {"seconds", "finished", "input", "output", "notes"}
    assert {k: v for k, v in report.items() if k not in timed} == {k: v for k, v in entry.items() if k not in timed}
    assert report["notes"] == entry.get("notes", [])


def test_a_result_goes_where_the_program_would_put_it(tmp_path, restore, photo):
    (tmp_path / "folder").mkdir()
    assert restore(photo, output=tmp_path / "folder", **OPTIONS) == tmp_path / "folder" / "coffee.png"
    array = np.zeros((4, 4, 3), np.uint8)
    assert restore(array, output=str(tmp_path / "black.webp"), **OPTIONS) == tmp_path / "black.webp"
    assert pixels(tmp_path / "black.webp").shape == (8, 8, 3)


def test_every_kind_comes_back_as_it_was_given(restore, photo, wanted):
    """Catches: planes and pixels exchanged, other rounding, a type or a full scale that changes."""
    expected, source = pixels(wanted), pixels(photo)
    for path in (photo, str(photo)):
        made = restore(path, **OPTIONS)
        assert made.mode == "RGB" and np.array_equal(np.asarray(made), expected)
    made = restore(Image.open(photo), **OPTIONS)
    assert isinstance(made, Image.Image) and np.array_equal(np.asarray(made), expected)
    for array in (source, source.astype(np.uint16) * 257, (source / 255).astype(np.float32), source / 255, np.asfortranarray(source)):
        before = array.copy()
        made = restore(array, **OPTIONS)
        assert type(made) is np.ndarray and made.dtype == array.dtype and made.shape == expected.shape and np.array_equal(array, before)
        full = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
        assert np.abs(made / full - expected / 255).max() <= (0 if array.dtype == np.uint8 else 0.5 / 255 + 1e-6)
    tensor = torch.from_numpy(source.copy()).permute(2, 0, 1)
    for given in (tensor, tensor.contiguous(), tensor / 255, (tensor / 255).double(), (tensor / 255).bfloat16()):
        made = restore(given, **OPTIONS)
        assert made.dtype == given.dtype and made.device == given.device and not made.is_inference()
        error = (made.double() / (255 if given.dtype == torch.uint8 else 1) - torch.from_numpy(expected).permute(2, 0, 1).double() / 255).abs().max()
        assert error <= {torch.uint8: 0, torch.bfloat16: 0.1}.get(given.dtype, 0.5 / 255 + 1e-6)
    assert not torch.allclose(torch.nn.functional.interpolate(tensor[None] / 255.0, scale_factor=2)[0], restore(tensor / 255, **OPTIONS), atol=0.05)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "I;16", "1", "CMYK"])
def test_grey_alpha_and_other_modes(tmp_path, restore, photo, tiny, mode):
    """Against the same picture as a file. Catches: alpha that is lost or restored with noise, grey that comes back in colours."""
    image = Image.open(photo)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, 1))))
    image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    stored = image.convert("L" if mode == "1" else "RGB") if mode in ("P", "1", "CMYK") else image
    stored.save(tmp_path / "in.png")
    options = {"scale": 2, "seed": 3}
    by_program(tmp_path / "in.png", tmp_path / "out.png", tiny, options)
    expected, made = Image.open(tmp_path / "out.png"), restore(image, **options)
    assert made.mode == stored.mode == expected.mode
    assert np.array_equal(np.asarray(made), np.asarray(expected))
    array = np.asarray(stored)
    if mode in ("L", "RGBA", "I;16"):
        assert np.array_equal(restore(array, **options), np.asarray(expected))
        channels = torch.from_numpy(array.copy())
        channels = channels.permute(2, 0, 1) if array.ndim == 3 else channels[None]
        assert np.array_equal(restore(channels, **options).numpy(), np.asarray(expected).transpose(2, 0, 1) if array.ndim == 3 else np.asarray(expected)[None])


def test_a_profile_of_its_own_becomes_srgb_and_exif_stays(restore, photo):
    cms = pytest.importorskip("PIL.ImageCms")
    plain = restore(Image.open(photo), **OPTIONS)
    image = Image.open(photo)
    image.info["icc_profile"] = cms.ImageCmsProfile(cms.createProfile("sRGB")).tobytes()
    image.info["exif"] = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"
    made = restore(image, **OPTIONS)
    assert made.info["exif"] == image.info["exif"] and "icc_profile" not in made.info
    assert np.abs(np.asarray(made).astype(int) - np.asarray(plain)).max() <= 2
    image.info["icc_profile"] = b"no profile"  # taken as sRGB, as the program does with one that does not fit
    assert np.array_equal(np.asarray(restore(image, **OPTIONS)), np.asarray(plain))


def test_options_are_the_programs(resflow):
    """Catches: an option that one of the two has alone; a stub that tells others."""
    listed = {option["name"]: option for option in resflow.restore_options()}
    shown = program("restore", "--help").stdout
    assert all(f"--{name.replace('_', '-')}" in shown for name in listed)
    assert {"scale", "seed", "search", "rewards", "model", "device", "max_change"} <= listed.keys()
    signature = inspect.signature(resflow.restore).parameters
    assert list(signature) == ["image", "output", "report", *listed]
    assert all(signature[name].default == option["default"] for name, option in listed.items())
    assert all(option["help"] in resflow.restore.__doc__ for option in listed.values())
    sys.path.insert(0, str(ROOT / "python"))
    import write_options

    assert write_options.STUB.read_text() == write_options.stub(list(listed.values())), "run python/write_options.py"


def test_the_stub_names_what_the_module_has(resflow):
    tree = ast.parse((pathlib.Path(resflow.__file__).parent / "__init__.pyi").read_text())
    told = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert set(resflow.__all__) <= told.keys()
    for name in ("load_transformer", "load_autoencoder", "load_text_encoder"):
        found = inspect.signature(getattr(resflow, name)).parameters
        assert [argument.arg for argument in told[name].args.args] == list(found)
        assert [ast.literal_eval(d) for d in told[name].args.defaults] == [p.default for p in found.values() if p.default is not p.empty]
    for name in ("Transformer", "Autoencoder", "TextEncoder"):
        for member in told[name].body:
            if isinstance(member, ast.FunctionDef):
                assert hasattr(getattr(resflow._resflow, name), member.name), member.name
                assert ast.get_docstring(member)


def test_what_a_caller_did_wrong_is_told(tmp_path, restore, resflow, photo):
    with pytest.raises(TypeError, match="unexpected option 'sede'. Did you mean 'seed'"):
        restore(photo, sede=1)
    with pytest.raises(TypeError, match="a path, a PIL image, a numpy array or a torch tensor, not list"):
        restore([1, 2])
    picture = np.zeros((8, 8, 3), np.uint8)
    for change, where, part in [
        ({"steps": 2.5}, "restore.steps", "whole number"),
        ({"scale": "big"}, "restore.scale", "a number"),
        ({"scale": 2, "width": 100}, "restore", "--scale together"),
    ]:
        with pytest.raises(resflow.Error) as error:
            restore(picture, **change)
        assert error.value.where == where and part in str(error.value)
    with pytest.raises(resflow.Error) as error:
        restore(picture, sampler="eulr")
    assert error.value.what == "unknown sampler 'eulr'" and error.value.wanted.startswith("one of ") and error.value.hint == "Did you mean 'euler'?"
    with pytest.raises(resflow.Error) as error:
        restore(picture, steps=900)
    assert error.value.wanted == "a number in [0, 200]" and error.value.got == "900"
    with pytest.raises(resflow.Error, match="no such model"):
        resflow.restore(picture, model="nowhere.safetensors")
    with pytest.raises(resflow.Error):
        restore(tmp_path / "nowhere.png")
    for output in (photo, tmp_path / "out.xyz"):
        with pytest.raises(resflow.Error):
            restore(photo, output=output)
    with pytest.raises(resflow.Error):
        restore(picture, output=tmp_path / "out.xyz")
    assert not list(tmp_path.iterdir())
    for wrong in (np.zeros((8, 8, 2), np.uint8), np.zeros((0, 8, 3), np.uint8), np.zeros((8, 8, 3), np.int64), np.zeros((8, 8, 3), object),
                  torch.zeros(1, 3, 8, 8), torch.zeros(8, 8, 3), torch.zeros(3, 8, 8, dtype=torch.int32)):  # fmt: skip
        with pytest.raises(resflow.Error) as error:
            restore(wrong)
        assert error.value.where == "image"
    assert restore(np.zeros((8, 8, 3), np.uint8), scale=np.float32(2), seed=np.int64(4)).shape == (16, 16, 3)


def run_python(built, code, *words, **options):
    return subprocess.Popen([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(built)!r})\n{code}", *map(str, words)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # fmt: skip


def test_a_float_tensor_is_not_copied(built, tiny):
    """A picture of 268 MB made into one of 64 x 64: what the process grows by is what was copied of it. Catches: a copy of the source, in C++ or Python."""
    code = """
import resource, torch, resflow
side, small = 4736, torch.rand(3, 64, 64)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resflow.restore(small, model=sys.argv[1], width=64, height=64)
image = torch.rand(3, side, side)
before = peak()
made = resflow.restore(image, model=sys.argv[1], width=64, height=64)
assert made.shape == (3, 64, 64)
print((peak() - before) * 1024 / image.nbytes)
"""
    done = run_python(built, code, tiny.model)
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    assert float(out) < 0.5


def test_two_threads_at_once(restore, photo):
    """Catches: a model that two calls use at once, options of the other's call."""
    alone = [np.asarray(restore(photo, **OPTIONS | {"seed": seed})) for seed in range(4)]
    assert not np.array_equal(alone[0], alone[1])
    found = {}

    def work(seed):
        found[seed] = np.asarray(restore(photo, **OPTIONS | {"seed": seed}))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[seed], alone[seed]) for seed in range(4))


def test_the_gil_is_released_meanwhile(restore, photo):
    """This thread counts while another computes for a second or so. Catches: the GIL held by the work, which would stop it."""
    thread = threading.Thread(target=restore, args=(photo,), kwargs={"scale": 8, "steps": 12})
    gaps, last = [], time.monotonic()
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        now = time.monotonic()
        gaps.append(now - last)
        last = now
    assert len(gaps) > 20 and max(gaps) < sum(gaps) / 2


@pytest.mark.parametrize("search", [{}, {"search": "best-of-n", "candidates": 64, "candidate_batch": 2, "rewards": ["lq-consistency"]}])
def test_ctrl_c_ends_it(built, tiny, photo, search):
    """Catches: a signal that waits for the whole picture, or is lost."""
    code = """
import json, resflow
print("begun", flush=True)
try:
    resflow.restore(sys.argv[2], model=sys.argv[1], width=2600, height=2000, steps=60, **json.loads(sys.argv[3]))
except KeyboardInterrupt:
    made = resflow.restore(sys.argv[2], model=sys.argv[1])  # and it can go on
    print("interrupted", made.size, flush=True)
"""
    import signal

    done = run_python(built, code, tiny.model, photo, json.dumps(search))
    assert done.stdout.readline() == "begun\n"
    time.sleep(1.5)
    assert done.poll() is None
    done.send_signal(signal.SIGINT)
    begun = time.monotonic()
    out, err = done.communicate(timeout=120)
    assert out.startswith("interrupted (180, 136)") and done.returncode == 0, (out, err)
    assert time.monotonic() - begun < 45  # the whole picture takes minutes
