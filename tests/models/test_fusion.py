"""FLUX with a condition image: against an oracle of OminiControl's scheme, and against diffusers' ControlNet."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers.models.transformers.transformer_flux")

from diffusers.models.controlnets.controlnet_flux import FluxControlNetModel  # noqa: E402  (after the skips)
from flux_files import as_xlabs  # noqa: E402
from models_probe import relative_error, run  # noqa: E402
from omini_oracle import Omini, condition_ids, random_adapter  # noqa: E402
from program import USER_ERROR, resflow  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from test_flux import SMALL, random_input, random_model  # noqa: E402

RANK, ALPHA, ROWS, COLUMNS = 4, 6, 3, 5
CASES = ["both kinds, guidance", "heads of 128, no guidance"]
MODES = ["full", "independent"]


def weights_of(model):
    return {f"model.{name}": tensor for name, tensor in model.state_dict().items()}


def ours(folder, model, inputs, condition, trained, config, target=None, cached=0, checkpoint=0, rows=ROWS, columns=COLUMNS):
    tensors = weights_of(model) | inputs | {"condition": condition} | {f"fusion.{name}": tensor for name, tensor in trained.items()}
    if target is not None:
        tensors["target"] = target
    return run(folder, "fusion", tensors, config=json.dumps(dict(model.config)), fusion=json.dumps(config), cached=cached, checkpoint=checkpoint,
               rows=rows, columns=columns)  # fmt: skip


def peft_names(adapter):
    return {f"lora.{name}.lora_{part}.weight": tensor for name, pair in adapter.items() for part, tensor in zip("AB", pair, strict=True)}


def sequence(attention, **more):
    return {"fusion": "sequence", "condition_attention": attention, "rank": RANK, "alpha": ALPHA} | more


def random_condition(batch, tokens=ROWS * COLUMNS):
    torch.manual_seed(11)
    return torch.randn(batch, tokens, SMALL["in_channels"])


# Catches: an adapter that acts on other tokens or layers, alpha left out, the image's time or guidance for the condition, condition tokens with the
# text's weights, ones that see the image where they must not, or do not where they must, another order of tokens and positions.
@pytest.mark.parametrize("attention", MODES)
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_sequence_equals_the_oracle(tmp_path, case, attention):
    model = random_model(case)
    inputs, condition, adapter = random_input(model), random_condition(2), random_adapter(model, RANK)
    theirs = Omini(model, adapter, ALPHA / RANK)
    expected = theirs(inputs, condition, condition_ids(ROWS, COLUMNS), attention)
    out = ours(tmp_path, model, inputs, condition, peft_names(adapter), sequence(attention))["out"]
    assert relative_error(out, expected) < 1e-4
    other = MODES[1 - MODES.index(attention)]
    assert relative_error(theirs(inputs, condition, condition_ids(ROWS, COLUMNS), other), expected) > 1e-3  # so that the modes could not be mixed up
    assert relative_error(theirs(inputs, condition.flip(0), condition_ids(ROWS, COLUMNS), attention), expected) > 1e-2


@pytest.mark.parametrize("order", ["scale-delta", "delta-scale"])
@torch.no_grad()
def test_positions_of_the_condition(tmp_path, order):
    """Catches: an order taken for the other, rows for columns, a scale without its half token, Kontext's first axis lost."""
    model = random_model(CASES[0])
    inputs, condition, adapter = random_input(model), random_condition(2), random_adapter(model, RANK)
    ids = condition_ids(ROWS, COLUMNS, axis0=1, scale=2, delta=(3, -32), order=order)
    position = {"axis0": 1, "scale": 2, "delta_rows": 3, "delta_columns": -32, "order": order}
    done = ours(tmp_path, model, inputs, condition, peft_names(adapter), sequence("independent", position=position))
    assert torch.equal(done["condition_ids"].float(), ids)
    assert relative_error(done["out"], Omini(model, adapter, ALPHA / RANK)(inputs, condition, ids, "independent")) < 1e-4


@torch.no_grad()
def test_a_condition_prepared_once_serves_every_candidate_and_step(tmp_path):
    """Keys and values of one image for a batch of three at different noise levels. Catches: ones that depend on the candidate or on its time."""
    model = random_model(CASES[0])
    inputs, condition, adapter = random_input(model, batch=3), random_condition(1), random_adapter(model, RANK)
    inputs["pooled"] = inputs["pooled"][:1].expand(3, -1).clone()
    trained = peft_names(adapter)
    cached = ours(tmp_path, model, inputs, condition, trained, sequence("independent"), cached=1)["out"]
    again = ours(tmp_path, model, inputs, condition.expand(3, -1, -1).clone(), trained, sequence("independent"))["out"]
    assert relative_error(cached, again) < 1e-6
    assert relative_error(cached, Omini(model, adapter, ALPHA / RANK)(inputs, condition.expand(3, -1, -1), condition_ids(ROWS, COLUMNS), "independent")) < 1e-4


def gradients_agree(done, named, limit=1e-4):
    for name, tensor in named.items():
        assert tensor.grad.abs().max() > 0, name
        assert relative_error(done[f"grad.{name}"], tensor.grad) < limit, name
    assert {name for name in done if name.startswith("grad.")} == {f"grad.{name}" for name in named}


# Catches: a part of the adapter that is cut off from the loss, and a block that is computed again with something else.
@pytest.mark.parametrize("checkpoint", [0, 1])
@pytest.mark.parametrize("attention", MODES)
def test_gradients_of_a_sequence_equal_pytorchs(tmp_path, attention, checkpoint):
    model = random_model(CASES[0]).requires_grad_(False)
    inputs, condition = random_input(model), random_condition(2)
    adapter = {name: tuple(t.requires_grad_() for t in pair) for name, pair in random_adapter(model, RANK).items()}
    target = torch.randn_like(inputs["hidden_states"])
    out = Omini(model, adapter, ALPHA / RANK)(inputs, condition, condition_ids(ROWS, COLUMNS), attention)
    torch.nn.functional.mse_loss(out, target).backward()
    done = ours(tmp_path, model, inputs, condition, peft_names(adapter), sequence(attention), target, checkpoint=checkpoint)
    named = peft_names(adapter)
    last = f"single_transformer_blocks.{len(model.single_transformer_blocks) - 1}."
    for name in [name for name in named if last in name and any(part in name for part in (".to_q.", ".proj_"))]:
        grad = named.pop(name).grad  # what the last block makes of the condition's tokens is seen by nobody
        assert done.pop(f"grad.{name}").abs().max() == 0 and (grad is None or grad.abs().max() == 0)
    gradients_agree(done, named)


def with_addition(model, adapter, embedder, condition, inputs):
    """diffusers' own forward pass with the adapter merged into the weights of every token."""
    merged = {f"{name}.weight": model.get_submodule(name).weight + ALPHA / RANK * up @ down for name, (down, up) in adapter.items()}
    hook = model.x_embedder.register_forward_hook(lambda module, args, out: out + torch.nn.functional.linear(condition, *embedder))
    named = {"pooled_projections" if name == "pooled" else name: value for name, value in inputs.items()}
    out = torch.func.functional_call(model, merged, kwargs=named | {"return_dict": False})[0]
    hook.remove()
    return out


@pytest.mark.parametrize("checkpoint", [0, 1])
def test_addition_and_its_gradients_equal_pytorchs(tmp_path, checkpoint):
    """Catches: an adapter that still acts on the condition alone, which here has no tokens; a condition that is added elsewhere."""
    model = random_model(CASES[0]).requires_grad_(False)
    inputs = random_input(model)
    rows, columns = 1, inputs["hidden_states"].shape[1]
    condition = random_condition(2, columns)
    adapter = {name: tuple(t.requires_grad_() for t in pair) for name, pair in random_adapter(model, RANK).items()}
    width = model.inner_dim
    embedder = tuple(t.requires_grad_() for t in (torch.randn(width, SMALL["in_channels"]) / 4, torch.randn(width)))
    out = with_addition(model, adapter, embedder, condition, inputs)
    target = torch.randn_like(out)
    torch.nn.functional.mse_loss(out, target).backward()
    named = peft_names(adapter) | {"condition_embedder.weight": embedder[0], "condition_embedder.bias": embedder[1]}
    config = {"fusion": "addition", "rank": RANK, "alpha": ALPHA}
    done = ours(tmp_path, model, inputs, condition, named, config, target, checkpoint=checkpoint, rows=rows, columns=columns)
    assert relative_error(done["out"], out) < 1e-4
    gradients_agree(done, named)


# Configurations of control: so many blocks, which diffusers' transformer shares out among its own in its own way.
CONTROLS = {
    "both kinds": dict(num_layers=1, num_single_layers=2),
    "one sample for two blocks each": dict(num_layers=1, num_single_layers=0),
    "a union": dict(num_layers=2, num_single_layers=1, num_mode=3),
    "x-labs: a picture, samples in turn": dict(num_layers=2, num_single_layers=0, conditioning_embedding_channels=4, patch_size=2),
}  # fmt: skip


def random_control(model, control):
    shape = {name: model.config[name] for name in ("in_channels", "attention_head_dim", "num_attention_heads", "joint_attention_dim", "pooled_projection_dim", "guidance_embeds", "axes_dims_rope")}  # fmt: skip
    net = FluxControlNetModel(**(shape | CONTROLS[control])).eval()
    torch.manual_seed(5)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.5)
    return net


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("control", CONTROLS)
@torch.no_grad()
def test_a_control_net_equals_diffusers(tmp_path, control, case):
    """Catches: a sample for the wrong block, strength left out, the mode's token elsewhere than before the text, residuals on the text's tokens too."""
    model, scale = random_model(case), 0.6
    net = random_control(model, control)
    inputs = random_input(model, rows=3, columns=4)
    length = inputs["hidden_states"].shape[1]
    torch.manual_seed(12)
    if net.input_hint_block is not None:  # 2 x 9 tokens of 16 x 16 px
        inputs["hidden_states"], inputs["img_ids"] = inputs["hidden_states"][:, :18], inputs["img_ids"][:18]
        hint = torch.rand(2, 3, 32, 144) * 2 - 1
    else:
        hint = torch.randn(2, length, SMALL["in_channels"])
    mode = torch.tensor([2, 0]) if net.union else None
    named = {"pooled_projections" if name == "pooled" else name: value for name, value in inputs.items()}
    doubles, singles = net(**named, controlnet_cond=hint, controlnet_mode=mode[:, None] if mode is not None else None, conditioning_scale=scale, return_dict=False)
    expected = model(**named, controlnet_block_samples=doubles, controlnet_single_block_samples=singles, return_dict=False,
                     controlnet_blocks_repeat=net.input_hint_block is not None)[0]  # fmt: skip
    tensors = weights_of(model) | {f"control.{name}": tensor for name, tensor in net.state_dict().items()} | inputs | {"hint": hint}
    if mode is not None:
        tensors["mode"] = mode
    done = run(tmp_path, "control_net", tensors, config=json.dumps(dict(model.config)), control=json.dumps(dict(net.config)), scale=scale)
    for kind, samples in (("double", doubles), ("single", singles)):
        assert sum(name.startswith(kind) for name in done) == len(samples or ())
        for i, sample in enumerate(samples or ()):
            assert relative_error(done[f"{kind}.{i}"], sample) < 1e-4
    assert relative_error(done["out"], expected) < 1e-4
    plain = model(**named, return_dict=False)[0]
    assert relative_error(plain, expected) > 1e-2


@pytest.mark.parametrize("checkpoint", [0, 1])
def test_a_control_nets_gradients_equal_pytorchs(tmp_path, checkpoint):
    model = random_model(CASES[0]).requires_grad_(False)
    net = random_control(model, "both kinds").requires_grad_(True)
    inputs = random_input(model)
    columns = inputs["hidden_states"].shape[1]
    hint = random_condition(2, columns)
    named = {"pooled_projections" if name == "pooled" else name: value for name, value in inputs.items()}
    doubles, singles = net(**named, controlnet_cond=hint, return_dict=False)
    out = model(**named, controlnet_block_samples=doubles, controlnet_single_block_samples=singles, return_dict=False)[0]
    target = torch.randn_like(out)
    torch.nn.functional.mse_loss(out, target).backward()
    parameters = {f"controlnet.{name}": tensor for name, tensor in net.named_parameters()}
    config = {"fusion": "controlnet", "control_layers": 1, "control_single_layers": 2}
    done = ours(tmp_path, model, inputs, hint, parameters, config, target, checkpoint=checkpoint, rows=1, columns=columns)
    assert relative_error(done["out"], out) < 1e-4
    gradients_agree(done, parameters)


@torch.no_grad()
def test_an_xlabs_control_net_becomes_diffusers(tmp_path):
    """Catches: convolutions in another order, q for k, a shape that is guessed wrong."""
    net = random_control(random_model(CASES[1]), "x-labs: a picture, samples in turn")  # heads of 128 have FLUX.1's positions
    tensors = as_xlabs(net)
    assert "double_blocks.1.img_attn.qkv.weight" in tensors and "input_hint_block.14.weight" in tensors and "pos_embed_input.weight" in tensors
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "controlnet.safetensors")
    assert "every number is as it was" in resflow("convert", tmp_path / "controlnet.safetensors", "-o", tmp_path / "net").stderr
    made, report = FluxControlNetModel.from_pretrained(tmp_path / "net", output_loading_info=True)
    assert not any(report.values())
    assert {name: value for name, value in made.config.items() if not name.startswith("_")} == {name: value for name, value in net.config.items() if not name.startswith("_")}
    for name, tensor in net.state_dict().items():
        assert torch.equal(made.state_dict()[name], tensor), name
    # What is no longer x-labs' goes the same way; other forms are not written, and half a file is told.
    resflow("convert", tmp_path / "net", "-o", tmp_path / "again")
    assert (tmp_path / "again" / "config.json").read_text() == (tmp_path / "net" / "config.json").read_text()
    assert "as diffusers has it" in resflow("convert", tmp_path / "controlnet.safetensors", "-o", tmp_path / "net.gguf", code=USER_ERROR).stderr
    del tensors["double_blocks.0.img_attn.norm.query_norm.scale"]
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "half.safetensors")
    assert "attn.norm_q.weight" in resflow("convert", tmp_path / "half.safetensors", "-o", tmp_path / "half", code=USER_ERROR).stderr


def test_what_is_trained_of_flux_1_dev(tmp_path):
    """OminiControl's published 14.5 M at rank 4, the paper's 58 M at 16. Catches: a layer too many or too few."""
    count = lambda **config: int(run(tmp_path, "fusion_count", {"none": torch.zeros(1)}, config=json.dumps({"guidance_embeds": True}), fusion=json.dumps(config))["parameters"])  # noqa: E731
    assert count(rank=4) == 14_487_808
    assert count(rank=16) == 57_951_232
    assert count(rank=16, fusion="addition") == 57_951_232 + 64 * 3072 + 3072
