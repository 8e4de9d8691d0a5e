"""`resflow generate` as a person uses it: files, seeds, texts in the picture, the cache of Hugging Face, what is wrong."""

import json
import os
import signal
import time

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
image = pytest.importorskip("PIL.Image")
pytest.importorskip("sentencepiece")

from generate_models import WORDS, parts, randomise, saved  # noqa: E402
from program import CANCELLED, USER_ERROR, files_in, resflow, started  # noqa: E402

SMALL = ("--width", 64, "--height", 48, "--steps", 2, "--max-sequence-length", 40, "--device", "cpu", "--dtype", "f32")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    return saved(diffusers.FluxPipeline(**parts(folder / "sources")), folder / "tiny-flux", folder / "sources")


def test_a_picture_says_how_it_was_made(tmp_path, model):
    done = resflow("generate", WORDS, "-o", tmp_path / "new/a.png", "--model", model, "--seed", 7, "--guidance", 2.5, "--json", *SMALL)
    picture = image.open(tmp_path / "new/a.png")
    assert picture.size == (64, 48) and files_in(tmp_path) == ["new/a.png"]
    assert picture.text["parameters"] == (
        f"{WORDS}\nSteps: 2, Sampler: euler, Distilled CFG Scale: 2.5, Seed: 7, Size: 64x48, Model: tiny-flux, Version: resflow 0.1.0"
    )
    item = json.loads(done.stdout)["items"][0]
    assert item["prompt"] == WORDS and item["evaluations"] == 2 and item["options"]["seed"] == 7 and item["result"] == {"width": 64, "height": 48}
    assert item["seconds"].keys() == {"text", "denoise", "decode"}
    assert item["memory"]["offload"] == "stream" and item["memory"]["needed"] > 1 << 20
    assert item["notes"] == ["CLIP reads the first 77 of the text's 89 tokens", "T5 reads the first 40 of the text's 42 tokens"]
    inside = json.loads(picture.text["resflow"])
    assert inside == {key: value for key, value in item.items() if key not in ("seconds", "output", "notes", "memory")}
    assert str(tmp_path) not in picture.text["resflow"] and str(model.parent) not in picture.text["resflow"]


def test_a_seed_is_a_picture_alone_or_among_several(tmp_path, model):
    resflow("generate", WORDS, "-o", tmp_path / "a.png", "--model", model, "--seed", 7, "--n", 3, *SMALL)
    assert files_in(tmp_path) == ["a-1.png", "a-2.png", "a-3.png"]
    resflow("generate", WORDS, "-o", tmp_path / "b.png", "--model", model, "--seed", 8, *SMALL)
    contents = [(tmp_path / name).read_bytes() for name in ("a-1.png", "a-2.png", "a-3.png", "b.png")]
    assert contents[1] == contents[3] and len(set(contents)) == 3


def test_a_start_and_a_reference_are_taken(tmp_path, model):
    image.effect_noise((70, 50), 90).convert("RGB").save(tmp_path / "photo.png")
    small = SMALL[4:]  # the size follows
    done = resflow("generate", WORDS, "-o", tmp_path / "a.png", "--model", model, "--image", tmp_path / "photo.png", "--strength", 0.4, "--json", *small)
    item = json.loads(done.stdout)["items"][0]
    assert item["result"] == {"width": 64, "height": 48} and item["options"]["strength"] == 0.4 and item["evaluations"] == 1
    assert "Denoising strength: 0.4" in image.open(tmp_path / "a.png").text["parameters"]
    done = resflow("generate", WORDS, "-o", tmp_path / "b.png", "--model", model, "--reference", tmp_path / "photo.png", "--no-reference-resize", *SMALL)
    assert "was not trained with a reference" in done.stderr
    assert (tmp_path / "b.png").read_bytes() != (tmp_path / "a.png").read_bytes()


@pytest.fixture(scope="session")
def control_net(tmp_path_factory):
    shape = dict(num_attention_heads=2, attention_head_dim=32, axes_dims_rope=[8, 12, 12], joint_attention_dim=32, pooled_projection_dim=64)
    net = diffusers.FluxControlNetModel(in_channels=16, num_layers=1, num_single_layers=0, guidance_embeds=True, **shape)
    folder = tmp_path_factory.mktemp("control") / "tiny-upscaler"
    randomise(net).save_pretrained(folder)
    return folder


def test_a_control_net_enlarges_a_small_picture(tmp_path, model, control_net):
    """The upscaler's way, with the program. Catches: an option that does not arrive, a record without them, a ControlNet that nobody is told of."""
    image.effect_noise((36, 20), 90).convert("RGB").save(tmp_path / "small.png")
    told = ("--control", control_net, "--control-image", tmp_path / "small.png", "--control-scale", 0.6, "--control-end", 0.5, "--control-enlarge", 2)
    done = resflow("generate", "", "-o", tmp_path / "a.png", "--model", model, "--json", *told, *SMALL[4:])
    item = json.loads(done.stdout)["items"][0]
    assert item["result"] == {"width": 64, "height": 32} and item["model"]["control"] == "tiny-upscaler"
    assert {name: value for name, value in item["options"].items() if name.startswith("control")} == {
        "control_scale": 0.6, "control_start": 0, "control_end": 0.5, "control_enlarge": 2,
    }  # fmt: skip
    assert str(tmp_path) not in image.open(tmp_path / "a.png").text["resflow"]
    resflow("generate", "", "-o", tmp_path / "b.png", "--model", model, *told, *SMALL[4:], "--control-scale", 0)
    assert image.open(tmp_path / "a.png").tobytes() != image.open(tmp_path / "b.png").tobytes()
    assert "`resflow generate --control`" in resflow("inspect", control_net / "diffusion_pytorch_model.safetensors").stdout


def test_fill_paints_what_the_mask_names(tmp_path, model):
    """By its folder; what is missing is told."""
    torch.manual_seed(3)
    shape = {name: value for name, value in json.loads((model / "transformer" / "config.json").read_text()).items() if not name.startswith("_")}
    wide = randomise(diffusers.FluxTransformer2DModel(**shape | {"in_channels": 32 + 256, "out_channels": 16}))
    folder = saved(diffusers.FluxFillPipeline(**parts(tmp_path / "sources") | {"transformer": wide}), tmp_path / "tiny-fill", tmp_path / "sources")
    image.effect_noise((64, 48), 90).convert("RGB").save(tmp_path / "photo.png")
    mask = image.new("L", (64, 48), 0)
    mask.paste(255, (0, 0, 32, 48))
    mask.save(tmp_path / "mask.png")
    told = ("--model", folder, "--image", tmp_path / "photo.png", *SMALL[4:])
    done = resflow("generate", WORDS, "-o", tmp_path / "a.png", "--mask", tmp_path / "mask.png", "--json", *told)
    item = json.loads(done.stdout)["items"][0]
    assert item["options"]["strength"] == 1 and item["evaluations"] == 2 and item["result"] == {"width": 64, "height": 48}
    assert "--image and --mask" in resflow("generate", WORDS, "-o", tmp_path / "b.png", *told, code=USER_ERROR).stderr
    assert "a model that takes none" in resflow("generate", WORDS, "-o", tmp_path / "b.png", "--mask", tmp_path / "mask.png", *told, "--model", model, code=USER_ERROR).stderr
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("setting", ["HF_HUB_CACHE", "HF_HOME"])
def test_a_model_in_the_cache_is_found_by_its_name(tmp_path, model, setting):
    """As Hugging Face's tools lay it out: blobs, and links to them in the snapshot."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "hub" / "models--someone--tiny.flux-1"
    (cache / "refs").mkdir(parents=True)
    (cache / "blobs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    for i, file in enumerate(path for path in sorted(model.rglob("*")) if path.is_file()):
        link = cache / "snapshots" / commit / file.relative_to(model)
        link.parent.mkdir(parents=True, exist_ok=True)
        (cache / "blobs" / str(i)).write_bytes(file.read_bytes())
        link.symlink_to(os.path.relpath(cache / "blobs" / str(i), link.parent))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_") and name != "HUGGINGFACE_HUB_CACHE"}
    environment = clean | {setting: str(tmp_path / "hub" if setting == "HF_HUB_CACHE" else tmp_path)}
    resflow("generate", WORDS, "-o", tmp_path / "a.png", "--model", "someone/tiny.flux-1", *SMALL, env=environment)
    text = image.open(tmp_path / "a.png").text["parameters"]
    assert f"Model hash: {commit[:10]}, Model: someone/tiny.flux-1," in text
    (cache / "blobs" / "0").unlink()  # model_index.json's, the first in order: what an interrupted download leaves
    first = next(path for path in sorted(model.rglob("*")) if path.is_file())
    done = resflow("generate", WORDS, "-o", tmp_path / "b.png", "--model", "someone/tiny.flux-1", *SMALL, env=environment, code=USER_ERROR)
    assert first.name in done.stderr and "download" in done.stderr
    done = resflow("generate", WORDS, "-o", tmp_path / "b.png", "--model", "someone/else", *SMALL, env=environment, code=USER_ERROR)
    assert str(tmp_path / "hub" / "models--someone--else") in done.stderr and "Nothing is downloaded" in done.stderr
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("arguments, told", [
    (("--width", 100, "--height", 64), "--width 96 --height 64"),
    (("--steps", 0.5), "steps"),
    (("--steps", 500), "steps"),
    (("--sampler", "eulr"), "Did you mean 'euler'"),
    (("--guidance", -1), "guidance"),
    (("--image", "absent.png"), "absent.png"),
    (("--model", "no/such/folder/at/all"), "no such folder"),
    (("--model", "MODEL/model_index.json"), "a single file is not a whole model"),
    (("--transformer", "MODEL/vae/diffusion_pytorch_model.safetensors"), "vae/diffusion_pytorch_model.safetensors"),
    (("-o", "MODEL.xyz"), "extension"),
    (("--lora", "MODEL/vae/diffusion_pytorch_model.safetensors"), "lora"),
    (("--control", "MODEL/transformer"), "no ControlNet for FLUX"),
    (("--control", "no/such/folder/at/all"), "no such file or folder"),
    (("--control-image", "absent.png"), "absent.png"),
    (("--control-scale", -1), "control_scale"),
])  # fmt: skip
def test_what_is_wrong_is_told_and_nothing_is_written(tmp_path, model, arguments, told):
    arguments = [str(word).replace("MODEL", str(model)) for word in arguments]
    usual = () if "-o" in arguments else ("-o", tmp_path / "a.png")
    done = resflow("generate", WORDS, *usual, "--model", model, *arguments, code=USER_ERROR)
    assert told in done.stderr
    assert files_in(tmp_path) == []


def test_ctrl_c_ends_between_two_steps_and_keeps_what_is_done(tmp_path, model):
    running = started("generate", WORDS, "-o", tmp_path / "a.png", "--model", model, "--n", 10000, *SMALL)
    deadline = time.time() + 120
    while not (tmp_path / "a-2.png").exists() and running.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == CANCELLED and "cancelled" in told
    for name in files_in(tmp_path):
        image.open(tmp_path / name).load()
