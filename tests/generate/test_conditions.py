"""Pictures that a model is shown, against diffusers' pipelines: ControlNets, Control models and adapters, Fill. As test_generate.py."""

import os
import pathlib
import shutil
import sys

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
image = pytest.importorskip("PIL.Image")
pytest.importorskip("sentencepiece")

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "models"))

from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution  # noqa: E402
from flux_files import as_xlabs, to_bfl  # noqa: E402
from generate_models import (  # noqa: E402
    CHANNELS, CLIP_WIDTH, CLOSE, T5_WIDTH, WORDS, difference, encoded, noise_for, options, ours, parts, photo, randomise, saved, shows_something, theirs,
)  # fmt: skip
from safetensors.torch import save_file  # noqa: E402

TOKEN = 4 * CHANNELS
CONTROLS = {
    "both kinds of blocks": dict(num_layers=1, num_single_layers=2),
    "an upscaler: one sample for two blocks each": dict(num_layers=1, num_single_layers=0),
    "a union": dict(num_layers=2, num_single_layers=1, num_mode=4),
    "x-labs: a picture, samples in turn": dict(num_layers=2, num_single_layers=0, conditioning_embedding_channels=CHANNELS, patch_size=2, axes_dims_rope=[4, 14, 14]),
    "without guidance": dict(num_layers=1, num_single_layers=1, guidance_embeds=False),
}  # fmt: skip


@pytest.fixture(autouse=True)
def mean(monkeypatch):
    """diffusers takes a sample of the encoder's distribution; we the mean."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())


@pytest.fixture(scope="session")
def dev(tmp_path_factory):
    """-> (pipeline, its folder)"""
    folder = tmp_path_factory.mktemp("conditions")
    pipeline = diffusers.FluxPipeline(**parts(folder / "sources"))
    return pipeline, saved(pipeline, folder / "model", folder / "sources")


def control_net(name):
    torch.manual_seed(21)
    shape = dict(
        in_channels=TOKEN, attention_head_dim=32, num_attention_heads=2, axes_dims_rope=[8, 12, 12], joint_attention_dim=T5_WIDTH, pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=True,
    )  # fmt: skip
    return randomise(diffusers.FluxControlNetModel(**shape | CONTROLS[name]))


def signed(picture):
    """-1..1, as diffusers takes a control image that is a tensor."""
    return picture[None] * 2 - 1


def named_parts(pipeline):
    return {name: part for name, part in pipeline.components.items() if name not in ("image_encoder", "feature_extractor")}


def quiet(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


# Catches: the control image not brought to -1..1, its latent not scaled or shifted, tokens in another order; a scale that is left out; steps at the
# start or the end that it acts on, or not; the mode's token; the guidance of the other network fed.
@pytest.mark.parametrize("name, told", [
    ("both kinds of blocks", {}),
    ("both kinds of blocks", {"control_scale": 0.6, "control_start": 0.25, "control_end": 0.8}),
    ("both kinds of blocks", {"control_start": 0.5}),
    ("an upscaler: one sample for two blocks each", {"control_scale": 0.6}),
    ("a union", {"control_mode": 2}),
    ("x-labs: a picture, samples in turn", {"control_scale": 0.7, "control_end": 0.5}),
    ("without guidance", {}),
])  # fmt: skip
def test_a_control_net_is_diffusers(tmp_path, dev, name, told):
    pipeline, folder = dev
    net, shown, noise = control_net(name), photo(96, 64, seed=4), noise_for(96, 64)
    net.save_pretrained(tmp_path / "net")
    full = {"control_scale": 1.0, "control_start": 0.0, "control_end": 1.0} | told
    wanted = theirs(
        quiet(diffusers.FluxControlNetPipeline(**named_parts(pipeline), controlnet=net)), WORDS, noise, 96, 64, 4, 3.5, control_image=signed(shown),
        controlnet_conditioning_scale=full["control_scale"], control_guidance_start=full["control_start"], control_guidance_end=full["control_end"],
        control_mode=told.get("control_mode"),
    )  # fmt: skip
    assert shows_something(wanted)
    settings = {"control": str(tmp_path / "net")}
    found = ours(tmp_path, folder, WORDS, noise, options(96, 64, 4, 3.5, **told), settings=settings, control=shown)
    assert difference(found, wanted) < CLOSE
    for changed in ({"control_scale": full["control_scale"] + 0.1}, {"control_end": full["control_end"] - 0.26}, {"control_mode": 0} if net.union else {"control_start": 0.8, "control_end": 1}):
        other = ours(tmp_path, folder, WORDS, noise, options(96, 64, 4, 3.5, **told | changed), settings=settings, control=shown)
        assert difference(other, found) > 4 * CLOSE, changed


@pytest.mark.parametrize("form", ["x-labs' file", "diffusers' file", "a pipeline's folder"])
def test_a_control_net_in_other_forms_makes_the_same_picture(tmp_path, dev, form):
    pipeline, folder = dev
    net, shown, noise = control_net("x-labs: a picture, samples in turn"), photo(64, 64), noise_for(64, 64)
    net.save_pretrained(tmp_path / "net")
    path = tmp_path / "net.safetensors"
    if form == "x-labs' file":
        save_file({name: tensor.contiguous() for name, tensor in as_xlabs(net).items()}, path)
    elif form == "diffusers' file":
        save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, path)
    else:
        path = tmp_path / "whole"
        diffusers.FluxControlNetPipeline(**named_parts(pipeline), controlnet=net).save_pretrained(path)
    make = lambda control: ours(tmp_path, folder, WORDS, noise, options(64, 64, 2, 3.5), settings={"control": str(control)}, control=shown)  # noqa: E731
    assert difference(make(path), make(tmp_path / "net")) < 1e-5


@torch.no_grad()
def test_a_small_picture_is_enlarged_as_diffusers_does(tmp_path, dev):
    """The upscaler's way: by Pillow's Lanczos on 8 bits there. Catches: the result's size not the control image's, another kernel."""
    pipeline, folder = dev
    net = control_net("an upscaler: one sample for two blocks each")
    net.save_pretrained(tmp_path / "net")
    shown, noise = (photo(24, 16, seed=4) * 255).round() / 255, noise_for(96, 64)
    picture = image.fromarray((shown.permute(1, 2, 0) * 255).to(torch.uint8).numpy())
    wanted = theirs(
        quiet(diffusers.FluxControlNetPipeline(**named_parts(pipeline), controlnet=net)), "", noise, 96, 64, 2, 3.5, control_image=picture, controlnet_conditioning_scale=0.6
    )
    told = {"steps": 2, "guidance": 3.5, "max_sequence_length": 40, "control_enlarge": 4, "control_scale": 0.6}
    assert difference(ours(tmp_path, folder, "", noise, told, settings={"control": str(tmp_path / "net")}, control=shown), wanted) < 2 / 255


# Catches: shares of the whole schedule taken for those of the steps that strength leaves.
@torch.no_grad()
def test_a_control_net_and_an_image_to_start_from_are_diffusers(tmp_path, dev):
    pipeline, folder = dev
    net, shown, start = control_net("both kinds of blocks"), photo(64, 64, seed=4), photo(64, 64, seed=6)
    net.save_pretrained(tmp_path / "net")
    both = quiet(diffusers.FluxControlNetImg2ImgPipeline(**named_parts(pipeline), controlnet=net))
    wanted = both(
        WORDS, image=start[None], control_image=signed(shown), width=64, height=64, strength=0.6, num_inference_steps=10, guidance_scale=3.5, max_sequence_length=40,
        control_guidance_end=0.5, generator=torch.Generator().manual_seed(9), output_type="pt",
    ).images.float()  # fmt: skip
    assert shows_something(wanted)
    told = options(64, 64, 10, 3.5, strength=0.6, control_end=0.5)
    found = ours(tmp_path, folder, WORDS, noise_for(64, 64, seed=9), told, settings={"control": str(tmp_path / "net")}, control=shown, image=start)
    assert difference(found, wanted) < CLOSE


def wide_transformer(pipeline, in_channels):
    torch.manual_seed(31)
    shape = {name: value for name, value in pipeline.transformer.config.items() if not name.startswith("_")}
    return randomise(diffusers.FluxTransformer2DModel(**shape | {"in_channels": in_channels, "out_channels": TOKEN}))


# Catches: the control image's latent before the noise's, channels not counted for the schedule's shift alone.
def test_a_control_model_is_diffusers(tmp_path, dev):
    pipeline, folder = dev
    model = quiet(diffusers.FluxControlPipeline(**named_parts(pipeline) | {"transformer": wide_transformer(pipeline, 2 * TOKEN)}))
    saved(model, tmp_path / "model", folder.parent / "sources")
    shown, noise = photo(96, 64, seed=4), noise_for(96, 64)
    wanted = theirs(model, WORDS, noise, 96, 64, 3, 10.0, control_image=signed(shown))
    assert shows_something(wanted)
    found = ours(tmp_path, tmp_path / "model", WORDS, noise, options(96, 64, 3, 10.0), control=shown)
    assert difference(found, wanted) < CLOSE
    assert difference(ours(tmp_path, tmp_path / "model", WORDS, noise, options(96, 64, 3, 10.0), control=photo(96, 64, seed=5)), found) > 4 * CLOSE


def control_adapter(state):
    """A control adapter of a transformer with this state, random: under BFL's names, as FLUX.1-Canny-dev-lora has them, and under diffusers'."""
    torch.manual_seed(41)
    # Every row knows where it comes from.
    names = list(state)
    rows = {name: (torch.arange(len(tensor)) + i * 1e5).view(-1, *[1] * (tensor.dim() - 1)).expand_as(tensor) for i, (name, tensor) in enumerate(state.items())}
    theirs, ours = {}, {}
    for name, origin in to_bfl(rows).items():
        stem = name.removesuffix(".weight")
        if name.endswith(".scale"):
            norm = names[int(origin[0] // 1e5)]
            theirs[name] = ours[f"transformer.{norm}"] = state[norm] + 0.1 * torch.randn_like(state[norm])
        elif name.endswith(".weight"):
            columns = 2 * TOKEN if name == "img_in.weight" else origin.shape[1]
            down, up, bias = torch.randn(2, columns) / columns**0.5, torch.randn(len(origin), 2) / 4, torch.randn(len(origin)) / 20
            theirs |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up, f"{stem}.lora_B.bias": bias}
            for number in (origin[:, 0] // 1e5).unique():
                chosen = (origin[:, 0] // 1e5 == number).nonzero()[:, 0]
                chosen = chosen[origin[chosen, 0].argsort()]
                layer = "transformer." + names[int(number)].removesuffix(".weight")
                ours |= {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up[chosen], f"{layer}.lora_B.bias": bias[chosen]}
    return theirs, ours


@pytest.mark.parametrize("merge", [False, True])
def test_a_control_adapter_is_diffusers(tmp_path, dev, merge):
    """BFL's own names, which diffusers reads at the full size alone, on a plain model. Catches: the widened part, biases or norms left out."""
    pipeline, folder = dev
    in_bfls, in_diffusers = control_adapter(pipeline.transformer.state_dict())
    save_file({name: tensor.contiguous() for name, tensor in in_bfls.items()}, tmp_path / "control.safetensors")
    shown, noise = photo(64, 96, seed=4), noise_for(64, 96)
    settings = {"lora": [str(tmp_path / "control.safetensors")], "lora_merge": merge}
    found = ours(tmp_path, folder, WORDS, noise, options(64, 96, 3, 3.5), settings=settings, control=shown)
    own = diffusers.FluxTransformer2DModel.from_config(pipeline.transformer.config)
    own.load_state_dict(pipeline.transformer.state_dict())
    model = quiet(diffusers.FluxControlPipeline(**named_parts(pipeline) | {"transformer": own}))
    model.load_lora_weights(in_diffusers)
    wanted = theirs(model, WORDS, noise, 64, 96, 3, 3.5, control_image=signed(shown))
    assert shows_something(wanted)
    assert difference(found, wanted) < CLOSE
    told = ours(tmp_path, folder, WORDS, noise, options(64, 96, 3, 3.5), settings=settings, code=2)
    assert "no control image" in told


@pytest.fixture(scope="session")
def fill(dev, tmp_path_factory):
    pipeline, folder = dev
    out = quiet(diffusers.FluxFillPipeline(**named_parts(pipeline) | {"transformer": wide_transformer(pipeline, 2 * TOKEN + 4 * 64)}))
    return out, saved(out, tmp_path_factory.mktemp("fill") / "model", folder.parent / "sources")


def mask_of(width, height):
    """Nothing regular, so that pixels in another order show."""
    rough = torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(2))
    return (torch.nn.functional.interpolate(rough, (height, width), mode="bicubic") > 0.5).float().expand(1, 3, height, width)[0]


# Catches: the mask's pixels or the parts of a token in another order, what is painted left in the picture or black instead of grey, a strength of
# img2img's.
@pytest.mark.parametrize("told", [{}, {"strength": 1.0}, {"strength": 0.7}])
def test_fill_is_diffusers(tmp_path, fill, told):
    model, folder = fill
    shown, mask = photo(96, 64, seed=4), mask_of(96, 64)
    wanted = model(
        prompt=WORDS, image=shown[None], mask_image=mask[None, :1], width=96, height=64, num_inference_steps=4, guidance_scale=30.0, max_sequence_length=40,
        output_type="pt", generator=torch.Generator().manual_seed(9), **told,
    ).images.float()  # fmt: skip
    assert shows_something(wanted)
    found = ours(tmp_path, folder, WORDS, noise_for(96, 64, seed=9), options(96, 64, 4, 30.0, **told), image=shown, mask=mask)
    assert difference(found, wanted) < CLOSE
    other = ours(tmp_path, folder, WORDS, noise_for(96, 64, seed=9), options(96, 64, 4, 30.0, **told), image=shown, mask=1 - mask)
    assert difference(found, other) > 4 * CLOSE


@torch.no_grad()
def test_a_picture_and_a_mask_of_other_sizes_are_diffusers(tmp_path, fill):
    """Both resized by Pillow on 8 bits there. Green is light and pink dark by luma alone: catches a mean or one channel in its place."""
    model, folder = fill
    as_bytes = lambda tensor: image.fromarray((tensor.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())  # noqa: E731
    green, pink = torch.tensor([0, 1, 0]).view(3, 1, 1), torch.tensor([1, 0, 153 / 255]).view(3, 1, 1)
    shown, colour = (photo(80, 50, seed=4) * 255).round() / 255, torch.where(mask_of(48, 32) > 0, green, pink)
    wanted = model(
        prompt=WORDS, image=as_bytes(shown), mask_image=as_bytes(colour), width=96, height=64, num_inference_steps=1, guidance_scale=30.0, max_sequence_length=40,
        output_type="pt", generator=torch.Generator().manual_seed(9),
    ).images.float()  # fmt: skip
    found = ours(tmp_path, folder, WORDS, noise_for(96, 64, seed=9), options(96, 64, 1, 30.0), image=shown, mask=colour)
    assert difference(found, wanted) < 2 / 255


def test_a_single_file_of_fill_beside_devs_folder_is_fill(tmp_path, dev, fill):
    """The transformer's width is the file's. Catches: dev's configuration taken for another model's file."""
    model, folder = fill
    save_file({name: tensor.contiguous() for name, tensor in to_bfl(model.transformer.state_dict()).items()}, tmp_path / "fill.safetensors")
    shown, mask, noise = photo(64, 64, seed=4), mask_of(64, 64), noise_for(64, 64)
    make = lambda where, **settings: ours(tmp_path, where, WORDS, noise, options(64, 64, 2, 30.0), settings=settings, image=shown, mask=mask)  # noqa: E731
    assert difference(make(dev[1], transformer=str(tmp_path / "fill.safetensors")), make(folder)) < 1e-5


def test_a_control_net_that_does_not_fit_is_told(tmp_path, dev, fill):
    pipeline, folder = dev
    net = control_net("both kinds of blocks")
    net.save_pretrained(tmp_path / "net")
    shown, noise, usual = photo(64, 64), noise_for(64, 64), options(64, 64, 1, 3.5)
    told = lambda model, control: ours(tmp_path, model, WORDS, noise, usual, code=2, settings={"control": str(control)}, control=shown)  # noqa: E731
    assert "beside a model that is shown a picture of its own" in told(fill[1], tmp_path / "net")
    assert "no ControlNet for FLUX" in told(folder, folder / "transformer")
    assert "no such file or folder" in told(folder, tmp_path / "absent")
    other = diffusers.FluxControlNetModel(**{name: value for name, value in dict(net.config).items() if not name.startswith("_")} | {"joint_attention_dim": T5_WIDTH + 16})
    other.save_pretrained(tmp_path / "other")
    assert "a ControlNet of another model" in told(folder, tmp_path / "other")
    shutil.copytree(tmp_path / "net", tmp_path / "half")
    save_file({name: tensor for name, tensor in net.state_dict().items() if name != "transformer_blocks.0.attn.to_q.weight"}, tmp_path / "half" / "diffusion_pytorch_model.safetensors")
    assert "transformer_blocks.0.attn.to_q.weight" in told(folder, tmp_path / "half")
