"""`resflow train` for FLUX: against the same training in PyTorch, on a transformer of a few thousand parameters."""

import json
import math
import os
import pathlib
import signal
import subprocess

import pytest
from program import USER_ERROR, resflow, started

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers.models.transformers.transformer_flux")

from flux_runs import ALPHA, RANK, ROOT, SIDE, STEPS, pack  # noqa: E402  (after the skips)
from omini_oracle import Omini, condition_ids  # noqa: E402
from safetensors.torch import load_file, safe_open, save_file  # noqa: E402
from test_train import losses, wait_for_step  # noqa: E402

PROBE = pathlib.Path(os.environ.get("RESFLOW", ROOT / "build" / "resflow")).parent / "tests" / "train_probe"


def options_of(folder, **fusion):
    return {
        "task": "flux-lora",
        "data": [str(folder / "a.safetensors")],
        "batch": 2,
        "flux": {"model": str(folder / "transformer"), "drop_text": 0.3, "drop_image": 0.3},
        "fusion": {"rank": RANK, "alpha": ALPHA} | fusion,
    }


def drawn(folder, options, count):
    save_file({"none": torch.zeros(1)}, folder / "in", {"options": json.dumps(options), "count": str(count)})
    done = subprocess.run([PROBE, folder / "in", folder / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = load_file(folder / "out")
    batches = [{name: out[f"{i}.{name}"] for name in ("clean", "condition", "t5", "pooled", "noise", "t")} for i in range(count)]
    return batches, {name.removeprefix("start."): tensor for name, tensor in out.items() if name.startswith("start.")}


def validation_noise(folder, options):
    drawn(folder, options, 1)
    out = load_file(folder / "out")
    return {tuple(map(int, name.split(".")[1:])): tensor for name, tensor in out.items() if name.startswith("validation.")}


def reference_loss(model, adapter, batch, attention):
    """Its condition: [B, pictures, 4, h, w]"""
    t = batch["t"].view(-1, 1, 1, 1)
    z, target = (1 - t) * batch["clean"] + t * batch["noise"], batch["noise"] - batch["clean"]
    ids = condition_ids(SIDE // 2, SIDE // 2)
    inputs = {"hidden_states": pack(z), "encoder_hidden_states": batch["t5"], "pooled": batch["pooled"], "timestep": batch["t"], "img_ids": ids,
              "txt_ids": torch.zeros(5, 3), "guidance": torch.ones(2)}  # fmt: skip
    shown = batch["condition"].unbind(1)
    places = torch.cat([condition_ids(SIDE // 2, SIDE // 2, axis0=float(i)) for i in range(len(shown))])
    out = Omini(model, adapter, ALPHA / RANK)(inputs, torch.cat([pack(picture) for picture in shown], 1), places, attention)
    return torch.nn.functional.mse_loss(out, pack(target))


def learning_rate(step):
    if step <= 5:
        return 2e-3 * step / 5
    return 1e-6 + (2e-3 - 1e-6) * 0.5 * (1 + math.cos(math.pi * (step - 5) / (STEPS - 5)))


# Catches: another loss, target, time, guidance or order of tokens than FLUX's; a gradient that is summed instead of averaged, clipped or decayed
# otherwise than torch does; batches that are seen twice; an adapter that is not what was trained.
@pytest.mark.parametrize(("attention", "condition"), [("independent", "lq"), ("full", "lq"), ("independent", "both")])
def test_fifty_steps_follow_pytorch(tiny_flux, tmp_path, attention, condition):
    folder, model = tiny_flux
    resflow("train", folder / "train.toml", "--output", tmp_path, "--fusion.condition-attention", attention, "--fusion.condition", condition)
    ours = losses(tmp_path)
    batches, start = drawn(tmp_path, options_of(folder, condition=condition), 2 * STEPS)
    names = sorted({name.removeprefix("lora.").rsplit(".lora_", 1)[0] for name in start})
    adapter = {name: tuple(start[f"lora.{name}.lora_{part}.weight"].clone().requires_grad_() for part in "AB") for name in names}
    untrained = {name: tuple(t.detach().clone() for t in pair) for name, pair in adapter.items()}
    parameters = [tensor for pair in adapter.values() for tensor in pair]
    optimizer = torch.optim.AdamW(parameters, lr=1.0, betas=(0.9, 0.99), weight_decay=0.01)
    theirs, gained = [], []
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss = sum(reference_loss(model, adapter, batches[2 * (step - 1) + i], attention) / 2 for i in range(2))
        loss.backward()
        with torch.no_grad():
            gained.append(float(sum(reference_loss(model, untrained, batches[2 * (step - 1) + i], attention) / 2 for i in range(2)) - loss))
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.param_groups[0]["lr"] = learning_rate(step)
        optimizer.step()
        theirs.append(float(loss))
    assert list(ours) == list(range(1, STEPS + 1))
    for step, loss in enumerate(theirs, 1):
        assert ours[step] == pytest.approx(loss, rel=1e-4 if step <= 10 else 1e-3), step
    assert sum(gained[-10:]) > 0.01 * sum(theirs[-10:])  # it learns, so that a frozen adapter could not follow the curve
    saved = load_file(tmp_path / "adapter.safetensors")
    assert set(saved) == {f"transformer.{name}.lora_{part}.weight" for name in names for part in "AB"}
    for name, (down, up) in adapter.items():
        change = ((up @ down) - (untrained[name][1] @ untrained[name][0])).abs().max()
        merged = saved[f"transformer.{name}.lora_B.weight"].float() @ saved[f"transformer.{name}.lora_A.weight"].float()
        assert (merged - up @ down).abs().max() <= 0.02 * change + 1e-7, name


def test_draws_are_logit_normal_shifted_and_dropped(tiny_flux, tmp_path):
    """Catches: a shift the other way, a text dropped with the image, noise of another deviation, samples that never come."""
    folder, _ = tiny_flux
    batches, _ = drawn(tmp_path, options_of(folder), 400)
    given = load_file(folder / "a.safetensors")
    times = torch.cat([batch["t"] for batch in batches]).double()
    mu = 0.5 + (1.15 - 0.5) / (4096 - 256) * (SIDE * SIDE // 4 - 256)
    logits = torch.logit(times)
    assert abs(float(logits.mean()) - mu) < 0.12 and abs(float(logits.std()) - 1) < 0.1
    noise = torch.cat([batch["noise"] for batch in batches])
    assert abs(float(noise.mean())) < 0.01 and abs(float(noise.std()) - 1) < 0.01
    no_text = torch.cat([(batch["t5"] == given["empty.t5"]).all(-1).all(-1) for batch in batches])
    no_pooled = torch.cat([(batch["pooled"] == given["empty.pooled"]).all(-1) for batch in batches])
    no_image = torch.cat([(batch["condition"][:, 0] == given["empty.condition"]).flatten(1).all(1) for batch in batches])
    assert torch.equal(no_text, no_pooled)
    assert 0.25 < no_text.float().mean() < 0.35 and 0.25 < no_image.float().mean() < 0.35
    assert 0.06 < (no_text & no_image).float().mean() < 0.13  # 0.09: independent of each other
    clean = torch.cat([batch["clean"] for batch in batches])
    which = (clean[:, None] == given["latents"][None]).flatten(2).all(2)
    assert which.any(1).all() and which.float().mean(0).min() > 0.1
    first = int((~no_image).int().argmax()) // 2  # the first batch in which a picture is shown
    for condition, shown in (("lq", ["conditions"]), ("reference", ["references"]), ("both", ["conditions", "references"])):
        batch = drawn(tmp_path, options_of(folder, condition=condition), first + 1)[0][first]
        for row in range(2):
            for i, name in enumerate(shown):
                own = given[name][which[2 * first + row].int().argmax()].float()
                assert torch.equal(batch["condition"][row, i], given["empty.condition"] if no_image[2 * first + row] else own), (condition, row, name)
    texts = torch.cat([batch["t5"] for batch in batches])[~no_text]
    assert torch.equal(texts, given["t5"].float()[which[~no_text].int().argmax(1)])  # a sample's own text


def test_a_killed_run_goes_on_to_the_very_losses_of_an_unbroken_one(tiny_flux, tmp_path):
    folder, _ = tiny_flux
    arguments = lambda output: ["train", folder / "train.toml", "--output", output, "--ema", "0.9"]  # noqa: E731
    resflow(*arguments(tmp_path / "whole"))
    process = started(*arguments(tmp_path / "killed"))
    wait_for_step(process, tmp_path / "killed", 8)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert max(losses(tmp_path / "killed")) < STEPS
    assert "resuming at step" in resflow(*arguments(tmp_path / "killed")).stderr
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole") and len(losses(tmp_path / "whole")) == STEPS
    assert (tmp_path / "killed" / "adapter.safetensors").read_bytes() == (tmp_path / "whole" / "adapter.safetensors").read_bytes()


def test_checkpointing_changes_nothing_but_memory(tiny_flux, tmp_path):
    folder, _ = tiny_flux
    for flag in ("--flux.checkpoint", "--no-flux.checkpoint"):
        resflow("train", folder / "train.toml", "--output", tmp_path / flag, flag, "--steps", "6")
    with_it, without = losses(tmp_path / "--flux.checkpoint"), losses(tmp_path / "--no-flux.checkpoint")
    assert with_it == pytest.approx(without, rel=1e-5)


def test_a_trained_control_net_is_one_of_diffusers(tiny_flux, tmp_path):
    """Starts as the transformer's first blocks, with zero maps: the first loss is that of the transformer alone."""
    folder, model = tiny_flux
    from diffusers.models.controlnets.controlnet_flux import FluxControlNetModel

    control = ["--fusion.fusion", "controlnet", "--fusion.control-layers", "1", "--fusion.control-single-layers", "1"]
    resflow("train", folder / "train.toml", "--output", tmp_path, *control, "--steps", "3")
    net, report = FluxControlNetModel.from_pretrained(tmp_path / "controlnet", output_loading_info=True)
    assert not any(report.values())
    assert torch.allclose(net.transformer_blocks[0].attn.to_q.weight, model.transformer_blocks[0].attn.to_q.weight, atol=0.02)
    assert net.controlnet_blocks[0].weight.abs().max() > 0
    batches, _ = drawn(tmp_path, options_of(folder), 2)
    ids = condition_ids(SIDE // 2, SIDE // 2)
    expected = 0
    for batch in batches:
        t = batch["t"].view(-1, 1, 1, 1)
        z = (1 - t) * batch["clean"] + t * batch["noise"]
        out = model(pack(z), batch["t5"], batch["pooled"], batch["t"], ids, torch.zeros(5, 3), torch.ones(2), return_dict=False)[0]
        expected += torch.nn.functional.mse_loss(out, pack(batch["noise"] - batch["clean"])) / 2
    assert losses(tmp_path)[1] == pytest.approx(float(expected), rel=1e-4)


def test_addition_trains_an_adapter_for_every_token(tiny_flux, tmp_path):
    folder, _ = tiny_flux
    resflow("train", folder / "train.toml", "--output", tmp_path, "--fusion.fusion", "addition", "--steps", "3")
    with safe_open(tmp_path / "adapter.safetensors", "pt") as file:
        assert file.metadata()["resflow.tokens"] == "all"
    assert load_file(tmp_path / "condition_embedder.safetensors")["weight"].abs().max() > 0


def test_what_flux_1_dev_would_need_is_told_without_it(tmp_path):
    """The published 58 M of methods and numbers; catches a configuration that needs weights to be counted."""
    run = lambda *more: json.loads(resflow("train", "configs/flux-ummf.toml", "--dry-run", "--json", *more).stdout)  # noqa: E731
    told = run()
    assert told["trainable_parameters"] == 57_951_232 and told["frozen_parameters"] == 11_901_408_320
    assert told["bytes"]["frozen_weights"] == 2 * 11_901_408_320
    assert told["bytes"]["total_estimate"] == sum(told["bytes"][part] for part in ("frozen_weights", "training_state", "activations_estimate"))
    assert run("--fusion.rank", "4")["trainable_parameters"] == 14_487_808
    assert run("--no-flux.checkpoint")["bytes"]["activations_estimate"] > 10 * told["bytes"]["activations_estimate"]
    said = resflow("train", "configs/flux-ummf.toml", "--dry-run").stdout
    assert "57951232 trainable parameters" in said and "GB" in said


def test_what_does_not_fit_is_told(tiny_flux, tmp_path):
    folder, _ = tiny_flux
    run = lambda *more: resflow("train", folder / "train.toml", "--output", tmp_path / "run", *more, code=USER_ERROR).stderr  # noqa: E731
    assert "--dry-run" in run("--flux.model", tmp_path / "nothing")
    save_file({"latents": torch.zeros(2, 4, 8, 8)}, tmp_path / "half.safetensors")
    config = (folder / "train.toml").read_text().replace(str(folder / "a.safetensors"), str(tmp_path / "half.safetensors"))
    (tmp_path / "half.toml").write_text(config)
    assert "no tensor 'conditions'" in resflow("train", tmp_path / "half.toml", "--output", tmp_path / "run", code=USER_ERROR).stderr
    given = load_file(folder / "a.safetensors")
    given.pop("references")
    save_file(given, tmp_path / "half.safetensors")
    for condition in ("reference", "both"):
        told = resflow("train", tmp_path / "half.toml", "--output", tmp_path / "run", "--fusion.condition", condition, code=USER_ERROR).stderr
        assert "no tensor 'references'" in told and "--removed" in told
    assert "two pictures need a sequence" in run("--fusion.condition", "both", "--fusion.fusion", "addition")
    assert "flux-lora" in resflow("train", "configs/dr.toml", "--dry-run", code=USER_ERROR).stderr
    assert "does not end by `minutes`" in run("--minutes", "1")
