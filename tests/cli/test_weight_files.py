"""`resflow pack`, `merge` and `inspect`, and the program's help."""

import json
import resource
import signal

import numpy as np
import pytest
from program import GOOD, SOME_FAILED, USER_ERROR, files_in, resflow
from safetensors import safe_open

Image = pytest.importorskip("PIL.Image")
safetensors = pytest.importorskip("safetensors.numpy")


def test_a_shard_holds_the_pixels_by_stem(pictures, tmp_path):
    (tmp_path / "names.txt").write_text("# held out\ncoffee.png\n")
    resflow("pack", pictures, "-o", tmp_path / "new" / "all.safetensors")
    packed = safetensors.load_file(tmp_path / "new" / "all.safetensors")
    assert set(packed) == {"astronaut", "chelsea", "coffee"}
    for name, planes in packed.items():
        assert (planes.transpose(1, 2, 0) == np.asarray(Image.open(pictures / f"{name}.png"))).all()
    for choice, names in (("--only", {"coffee"}), ("--except", {"astronaut", "chelsea"})):
        resflow("pack", pictures, "-o", tmp_path / "some.safetensors", choice, tmp_path / "names.txt")
        assert set(safetensors.load_file(tmp_path / "some.safetensors")) == names


def test_packing_tells_what_is_wrong(pictures, tmp_path):
    shard = tmp_path / "out.safetensors"
    (tmp_path / "folder").mkdir()
    assert "no pictures" in resflow("pack", tmp_path / "folder", "-o", shard, code=USER_ERROR).stderr
    (tmp_path / "none.txt").write_text("other.png\n")
    assert "no picture left" in resflow("pack", pictures, "-o", shard, "--only", tmp_path / "none.txt", code=USER_ERROR).stderr
    assert "cannot be read" in resflow("pack", pictures, "-o", shard, "--only", tmp_path / "nowhere.txt", code=USER_ERROR).stderr
    Image.open(pictures / "coffee.png").save(tmp_path / "coffee.jpg")
    assert "two pictures of one name" in resflow("pack", pictures, tmp_path / "coffee.jpg", "-o", shard, code=USER_ERROR).stderr
    assert "no picture could be read" in resflow("pack", tmp_path / "nowhere.png", "-o", shard, code=USER_ERROR).stderr
    assert not shard.exists()
    done = resflow("pack", pictures, tmp_path / "nowhere.png", "-o", shard, code=SOME_FAILED)
    assert "1 of 4 pictures failed" in done.stderr and len(safetensors.load_file(shard)) == 3


def test_a_shard_that_does_not_fit_the_disk_is_not_there_at_all(pictures, tmp_path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    done = resflow("pack", pictures, "-o", tmp_path / "out.safetensors", code=USER_ERROR, preexec_fn=limit)
    assert "cannot be written" in done.stderr and "out.safetensors" in done.stderr
    assert files_in(tmp_path) == []


def test_merging_joins_the_parts(tiny):
    merged = safetensors.load_file(tiny.model)
    parts = [safetensors.load_file(folder / "weights.safetensors") for folder in (tiny.dr, tiny.flow)]
    assert set(merged) == set(parts[0]) | set(parts[1])
    for part in parts:
        assert all((merged[name] == value).all() for name, value in part.items())


def test_merging_takes_a_file_that_was_written_before_a_field_of_the_shape_came(tiny, tmp_path):
    flow, old = tiny.flow / "weights.safetensors", tmp_path / "old.safetensors"
    with safe_open(flow, "np") as file:
        metadata = file.metadata()
    config = json.loads(metadata["config"])
    del config["fusion"]
    safetensors.save_file(safetensors.load_file(flow), old, {**metadata, "config": json.dumps(config)})
    resflow("merge", tiny.dr / "weights.safetensors", old, "-o", tmp_path / "out.safetensors")
    assert set(safetensors.load_file(tmp_path / "out.safetensors")) == set(safetensors.load_file(tiny.model))


def test_merging_tells_what_is_wrong(tiny, tmp_path):
    dr, flow, out = tiny.dr / "weights.safetensors", tiny.flow / "weights.safetensors", tmp_path / "out.safetensors"
    assert "is in another file too" in resflow("merge", dr, dr, "-o", out, code=USER_ERROR).stderr
    assert "wanted name=number, got steps" in resflow("merge", dr, flow, "-o", out, "--default", "steps", code=USER_ERROR).stderr
    assert "Did you mean 'steps'" in resflow("merge", dr, flow, "-o", out, "--default", "stepz=3", code=USER_ERROR).stderr
    assert "nowhere" in resflow("merge", dr, tmp_path / "nowhere", "-o", out, code=USER_ERROR).stderr
    resflow("train", tiny.config, "--output", tmp_path / "other", "--steps", "1", "--model.mlp-ratio", "2")
    (tmp_path / "flow.safetensors").write_bytes(flow.read_bytes())
    done = resflow("merge", flow, tmp_path / "other" / "weights.safetensors", "-o", out, code=USER_ERROR)
    assert "metadata 'config' differs" in done.stderr and "parts of one model" in done.stderr
    assert not out.exists()


def test_the_mean_of_trainings_of_one_part(tiny, tmp_path):
    """Half-precision weights and shares that do not sum up to one. Catches: shares of the wrong file, a sum in half precision, a part that is no longer
    one."""
    one, out = tiny.flow / "weights.safetensors", tmp_path / "mean.safetensors"
    with safe_open(one, "np") as file:
        metadata = file.metadata()
    first = {name: value.astype(np.float16) for name, value in safetensors.load_file(one).items()}
    second = {name: (value + 1).astype(np.float32) for name, value in first.items()}
    safetensors.save_file(first, tmp_path / "first.safetensors", metadata)
    safetensors.save_file(second, tmp_path / "second.safetensors", {**metadata, "step": "9"})
    resflow("merge", tmp_path / "first.safetensors", tmp_path / "second.safetensors", "--mean", "1,3", "-o", out)
    for name, value in safetensors.load_file(out).items():
        assert value.dtype == np.float16 and (value == (first[name].astype(float) / 4 + second[name].astype(float) * 0.75).astype(np.float16)).all()
    resflow("merge", tiny.dr / "weights.safetensors", out, "-o", tmp_path / "model.safetensors")
    assert set(safetensors.load_file(tmp_path / "model.safetensors")) == set(safetensors.load_file(tiny.model))

    said = lambda *files, mean: resflow("merge", *files, "--mean", mean, "-o", tmp_path / "no.safetensors", code=USER_ERROR).stderr
    assert "wanted 2 numbers, one a file, with a sum above 0, got [1.0]" in said(one, out, mean="1")
    assert "sum above 0" in said(one, out, mean="1,-1")
    assert "its tensors are not those of" in said(one, tiny.dr / "weights.safetensors", mean="1,1")
    assert "its tensors are not those of" in said(one, tmp_path / "model.safetensors", mean="1,1")
    assert not (tmp_path / "no.safetensors").exists()


def test_inspecting(tiny, pictures, tmp_path):
    report = json.loads(resflow("inspect", tiny.model, "--json").stdout)
    weights = safetensors.load_file(tiny.model)
    assert report["tensors"] == len(weights) and report["parameters"] == sum(value.size for value in weights.values())
    assert report["types"] == {"f16": {"tensors": report["tensors"], "parameters": report["parameters"]}}
    assert report["names"] == {name: list(value.shape) for name, value in weights.items()}
    assert report["metadata"]["family"] == "compact" and json.loads(report["metadata"]["defaults"]) == {"steps": 2, "sigma_s": 0.1}
    plain = resflow("inspect", tiny.model).stdout
    assert f"{len(weights)} tensors" in plain and "family: compact" in plain
    assert "nowhere" in resflow("inspect", tmp_path / "nowhere", code=USER_ERROR).stderr
    (tmp_path / "model.safetensors").write_bytes(b"no header at all")
    assert "not a safetensors file" in resflow("inspect", tmp_path / "model.safetensors", code=USER_ERROR).stderr
    assert "not made by resflow" in resflow("inspect", pictures / "coffee.png").stdout  # pictures have a report of their own
    (tmp_path / "model.pth").write_bytes(b"PK\x03\x04" + bytes(100))
    assert "incomplete download" in resflow("inspect", tmp_path / "model.pth", code=USER_ERROR).stderr


def test_inspecting_a_pytorch_checkpoint(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a.weight": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.float16)}, tmp_path / "model.pth")
    report = json.loads(resflow("inspect", tmp_path / "model.pth", "--json").stdout)
    assert report["names"] == {"a.weight": [3, 4], "b": [5]} and report["types"]["f16"] == {"tensors": 1, "parameters": 5}


COMMANDS = ("restore", "search-report", "degrade", "eval", "train", "pack", "merge", "inspect", "bench", "bench-flux")


def test_the_bare_program_shows_its_commands():
    shown = resflow(code=USER_ERROR).stderr
    assert all(f"\n  {command} " in shown for command in COMMANDS)
    assert resflow("--help").stdout.strip() == shown.strip()
    assert resflow("--version").stdout.startswith("resflow ")


def test_help_has_groups_and_examples():
    shown = resflow("restore", "--help").stdout
    for part in ("Restoring:", "Model:", "Files:", "--scale", "--color-fix", "wavelet", "Examples:", "Exit codes:", "resflow restore old.jpg -o restored.png"):
        assert part in shown
    assert "--model.width" in resflow("train", "--help").stdout
    for command in COMMANDS:
        assert "Example" in resflow(command, "--help").stdout


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["restor", "a.png"], "unknown command 'restor'. Did you mean 'restore'?"),
        (["polish", "a.png"], "unknown command 'polish'. Try: resflow --help"),
        (["restore", "a.png"], "--output is required"),
        (["restore", "-o", "b.png"], "inputs is required"),
        (["train", "a.toml", "--model.widht", "3"], "unknown option '--model.widht'. Did you mean '--model.width'?"),
        (["inspect", "a", "--jsno"], "Did you mean '--json'? Try: resflow inspect --help"),
        (["--thread", "2", "inspect", "a"], "Did you mean '--threads'?"),
        (["bench", "--side", "3"], "--side"),
    ],
    ids=str,
)
def test_command_lines_that_are_wrong(arguments, said):
    done = resflow(*arguments, code=USER_ERROR)
    assert said in done.stderr and done.stdout == "", done.stderr


def test_measuring_flux(tmp_path):
    small = ["--heads", "1", "--double-blocks", "1", "--single-blocks", "1", "--size", "32", "--train-size", "32", "--text-tokens", "8", "--device", "cpu"]
    report = json.loads(resflow("bench-flux", *small, "--repeats", "1", "-o", tmp_path / "bench.json").stdout)
    assert json.loads((tmp_path / "bench.json").read_text()) == report and {"machine", "version", "commit"} <= set(report)
    cases = report["cases"]
    assert set(cases) == {"plain", "fp8", "stream", "condition", "train", "train-checkpoint"}
    for case in (*(cases[name] for name in cases if name != "condition"), *cases["condition"].values()):
        assert case["seconds"] > 0 and case["peak_bytes"] is None  # a CPU's memory is not told by its allocator
    assert set(cases["condition"]) == {"prepared", "computed_in_the_pass", "preparing"}
    assert cases["train"]["trainable"] > 0
    assert "multiple of 16" in resflow("bench-flux", *small, "--size", "40", code=USER_ERROR).stderr
    assert "plain" in resflow("bench-flux", "--cases", "slow", code=USER_ERROR).stderr


def test_measuring_speed(tiny, tmp_path):
    report = json.loads(resflow("bench", "--model", tiny.model, "--side", "16", "--repeats", "1", "-o", tmp_path / "bench.json", code=GOOD).stdout)
    assert json.loads((tmp_path / "bench.json").read_text()) == report
    assert {"machine", "version", "commit", "baseline"} <= set(report)
    for row in ("remover_alone", "restore_1_step", "restore_4_steps"):
        assert report[row]["seconds"] > 0 and report[row]["in_bare_convolutions"] > 0


def saved(path, names):
    safetensors.save_file({name: np.zeros((2, 2), np.float16) for name in names}, path)
    return path


@pytest.mark.parametrize(
    ("names", "families"),
    [
        (["transformer_blocks.0.attn.to_q.weight", "single_transformer_blocks.0.attn.to_q.weight"], ["flux-transformer"]),
        (["model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "model.diffusion_model.single_blocks.0.linear1.weight",
          "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.weight",
          "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight", "vae.decoder.up.0.block.0.conv1.weight"],
         ["flux-transformer", "t5-encoder", "clip-text", "autoencoder"]),
        (["embeddings.token_embedding.weight", "encoder.layers.0.mlp.fc1.weight", "final_layer_norm.weight"], ["clip-text"]),
        (["embeddings.class_embedding", "embeddings.patch_embedding.weight", "encoder.layers.0.mlp.fc1.weight", "pre_layrnorm.weight"], ["clip-vision"]),
        (["text_model.embeddings.token_embedding.weight", "text_model.encoder.layers.0.mlp.fc1.weight"], ["clip-text"]),
        (["text_model.encoder.layers.0.mlp.fc1.weight", "vision_model.embeddings.class_embedding", "vision_model.pre_layrnorm.weight", "vision_model.encoder.layers.0.mlp.fc1.weight"], ["clip"]),
        (["transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", "transformer.single_transformer_blocks.0.attn.to_q.lora_B.weight"], ["lora"]),
        (["lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "lora_unet_double_blocks_0_img_attn_qkv.alpha"], ["lora"]),
        (["double_blocks.0.processor.qkv_lora1.down.weight"], ["lora"]),
        (["double_blocks.0.img_attn.qkv.lora_A.weight", "single_blocks.0.linear1.lora_A.weight"], ["lora"]),
        (["controlnet_blocks.0.weight", "transformer_blocks.0.attn.to_q.weight"], ["flux-controlnet"]),
        (["enc.blk.0.attn_q.weight"], ["t5-encoder"]),
        (["encoder.layers.0.weight", "decoder.layers.0.weight"], ["autoencoder-tiny"]),
        (["something.else"], []),
    ],
)  # fmt: skip
def test_inspect_names_what_a_file_is(tmp_path, names, families):
    """Catches: a family that another's names are taken for (a LoRA for its base, a control network for the model it copies)."""
    report = json.loads(resflow("inspect", saved(tmp_path / "x.safetensors", names), "--json").stdout)
    assert [family["name"] for family in report["families"]] == families
    text = resflow("inspect", tmp_path / "x.safetensors").stdout
    assert all(family["what"] in text and family["use"] in text for family in report["families"])
    assert families or "nothing that resflow knows" in text


def test_inspect_knows_our_own_files_and_counts_types_as_stored(tiny, tmp_path):
    gguf = pytest.importorskip("gguf")
    names = lambda path: [family["name"] for family in json.loads(resflow("inspect", path, "--json").stdout)["families"]]
    assert names(tiny.model) == ["compact"] and names(tiny.shard) == ["resflow-shard"]
    assert names(tiny.dr / "weights.safetensors") == names(tiny.flow / "weights.safetensors") == ["compact-part"]
    writer = gguf.GGUFWriter(str(tmp_path / "x.gguf"), "t5encoder")
    writer.add_tensor("enc.blk.0.attn_q.weight", np.zeros((4, 144), np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q4_K)
    writer.add_tensor("enc.output_norm.weight", np.zeros(3, np.float32))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    report = json.loads(resflow("inspect", tmp_path / "x.gguf", "--json").stdout)
    assert report["format"] == "gguf" and report["metadata"]["general.architecture"] == "t5encoder"
    assert report["types"] == {"Q4_K": {"tensors": 1, "parameters": 1024}, "f32": {"tensors": 1, "parameters": 3}}
