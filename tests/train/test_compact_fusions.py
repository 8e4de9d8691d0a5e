"""The compact model's fusions from training to a restored picture, and `train --profile`."""

import json

import pytest
from program import USER_ERROR, resflow

Image = pytest.importorskip("PIL.Image")
safe_open = pytest.importorskip("safetensors").safe_open


@pytest.mark.parametrize("fusion", ["addition", "controlnet"])
def test_a_fusion_is_trained_and_restores(fusion, tiny, pictures, tmp_path):
    dr = tiny.dr / "weights.safetensors"
    flow = tmp_path / "flow" / "weights.safetensors"
    resflow("train", tiny.config, "--task", "flow", "--remover", dr, "--model.fusion", fusion, "--steps", "4", "--output", flow.parent)
    with safe_open(flow, "np") as file:
        assert json.loads(file.metadata()["config"])["fusion"] == fusion
        control = [name for name in file.keys() if name.startswith("flow.control_out.")]
        assert bool(control) == (fusion == "controlnet")
        assert all(abs(file.get_tensor(name)).max() > 0 for name in [*control, "flow.condition_embedder.weight"]), "it was not trained"
        assert not [name for name in file.keys() if ".condition.down" in name]
    # The remover's configuration names another fusion: parts of two models are told apart.
    assert "metadata 'config' differs" in resflow("merge", dr, flow, "-o", tmp_path / "no.safetensors", code=USER_ERROR).stderr
    model = tmp_path / "model.safetensors"
    resflow("train", tiny.config, "--model.fusion", fusion, "--steps", "1", "--output", tmp_path / "dr")
    resflow("merge", tmp_path / "dr/weights.safetensors", flow, "-o", model, "--default", "steps=2", "--default", "sigma_s=0.1")
    source = sorted(pictures.iterdir())[0]
    resflow("restore", source, "-o", tmp_path / "out.png", "--model", model, "--scale", "1", "--no-checks")
    assert Image.open(tmp_path / "out.png").size == Image.open(source).size


def test_words_are_trained_validated_and_heard_in_captions(tiny, pictures, tmp_path):
    dr, config = tmp_path / "dr/weights.safetensors", [tiny.config, "--model.words"]
    resflow("train", *config, "--steps", "1", "--output", dr.parent)
    told = ["--validation", tiny.shard, "--validation-sigma-s", "0.1", "--validate-every", "0"]
    run = ["train", *config, "--task", "flow", "--remover", dr, "--steps", "6", *told]
    resflow(*run, "--output", tmp_path / "flow")
    scores = [json.loads(line).get("validation") for line in (tmp_path / "flow/log.jsonl").read_text().splitlines()][-1]
    assert {"sigma_s=0.1", "sigma_s=0.1 told"} <= set(scores) and scores["sigma_s=0.1"] != scores["sigma_s=0.1 told"]
    flow = tmp_path / "flow/weights.safetensors"
    with safe_open(flow, "np") as file:
        assert json.loads(file.metadata()["config"])["words"] is True
        assert abs(file.get_tensor("flow.word_embedder.weight")).max() > 0
    # Never told anything, it is another training.
    resflow(*run, "--word-dropout", "1", "--output", tmp_path / "deaf")
    with safe_open(tmp_path / "deaf/weights.safetensors", "np") as deaf, safe_open(flow, "np") as file:
        name = "flow.transformer_blocks.0.attn.add_v_proj.weight"
        assert (deaf.get_tensor(name) != file.get_tensor(name)).any()

    model, source = tmp_path / "model.safetensors", sorted(pictures.iterdir())[0]
    resflow("merge", dr, flow, "-o", model, "--default", "steps=1", "--default", "sigma_s=0.1")
    made = {}
    for i, caption in enumerate(["", "a church", "strong noise", "no noise"]):
        out = tmp_path / f"{i}.png"
        done = resflow("restore", source, "-o", out, "--model", model, "--scale", "1", "--no-checks", "--caption", caption)
        made[caption] = Image.open(out).tobytes()
        told = {"": "", "a church": "the caption says nothing of blur"}.get(caption, f"heard in the caption: {caption}")
        assert told in done.stderr
    assert made[""] == made["a church"]  # words that it was not taught
    assert len({made[""], made["strong noise"], made["no noise"]}) == 3
    refused = resflow("train", *config, "--task", "flow", "--remover", dr, "--model.fusion", "addition", "--output", tmp_path / "no", code=USER_ERROR)
    assert "words are tokens of a sequence" in refused.stderr


def test_a_profile_names_what_steps_spend_their_time_on(tiny, tmp_path):
    trace = tmp_path / "deep" / "trace.json"
    done = resflow("train", tiny.config, "--steps", "26", "--profile", trace, "--output", tmp_path / "run")
    assert "profile of 4 steps" in done.stderr
    names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert {"aten::conv2d", "aten::_foreach_lerp_"} <= names  # the network, and the optimiser's step


def test_a_run_too_short_for_a_profile_says_so(tiny, tmp_path):
    done = resflow("train", tiny.config, "--steps", "10", "--profile", tmp_path / "trace.json", "--output", tmp_path / "run")
    assert "no profile" in done.stderr and not (tmp_path / "trace.json").exists()
