"""`resflow train`: resume, logs, configs, on a model that trains in seconds."""

import io
import json
import os
import resource
import signal
import time

import events
import pytest
from program import CANCELLED, USER_ERROR, files_in, resflow, started

STEPS = 48  # long enough to be stopped in the middle


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder):
    return {entry["step"]: entry["loss"] for entry in log_of(folder) if "loss" in entry}


def last_step(folder):
    """The last step in the log while a run writes it; 0 before its first."""
    try:
        lines = (folder / "log.jsonl").read_text().splitlines()
        return max([json.loads(line)["step"] for line in lines if line.endswith("}")], default=0)
    except FileNotFoundError:
        return 0


def wait_for_step(process, folder, step):
    until = time.monotonic() + 120
    while last_step(folder) < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "the run does not get there"
        time.sleep(0.005)


@pytest.fixture(scope="session", params=["dr", "flow", "adversary"])
def arguments(request, tiny):
    """-> f(folder): the arguments of one run of either task, the flow's with every kind of sample and all that a run remembers; or with an adversary, from
    a pool of samples."""
    samples = ["--faithful", "0.3", "--chosen", "0.4", "--choices", "2", "--crop", "64", "--lattice-weight", "10", "--model.shared-noise", "0.5"]
    if request.param == "adversary":
        samples += ["--feature-network", request.getfixturevalue("feature_network"), "--feature-weight", "1", "--adversarial-weight", "1", "--reuse", "2"]
    extra = [] if request.param == "dr" else ["--task", "flow", "--remover", tiny.dr / "weights.safetensors", *samples]
    return lambda folder: ["train", tiny.config, "--steps", STEPS, "--save-every", "5", "--batch", "4", "--loaders", "2", "--output", folder, *extra]


@pytest.fixture(scope="session")
def unbroken(arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    resflow(*arguments(folder))
    return folder


def test_a_killed_run_goes_on_to_the_very_losses_of_an_unbroken_one(arguments, unbroken, tmp_path):
    for step in (8, 13):  # killed twice, each time between two checkpoints
        process = started(*arguments(tmp_path))
        wait_for_step(process, tmp_path, step)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert last_step(tmp_path) < STEPS, "it was done before it was killed"
    done = resflow(*arguments(tmp_path))
    assert "resuming at step" in done.stderr
    assert list(losses(tmp_path)) == list(range(1, STEPS + 1))
    assert losses(tmp_path) == losses(unbroken)
    assert (tmp_path / "weights.safetensors").read_bytes() == (unbroken / "weights.safetensors").read_bytes()


def test_ctrl_c_writes_a_checkpoint_to_go_on_from(arguments, unbroken, tmp_path):
    process = started(*arguments(tmp_path), "--save-every", "1000")
    wait_for_step(process, tmp_path, 3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == CANCELLED and "cancelled" in said
    stopped = max(losses(tmp_path))
    assert 3 <= stopped < STEPS and {"checkpoint.safetensors", "weights.safetensors"} <= set(files_in(tmp_path))
    assert f"resuming at step {stopped}" in resflow(*arguments(tmp_path)).stderr
    assert losses(tmp_path) == losses(unbroken)


def test_two_workers_find_the_losses_of_one(arguments, unbroken, tmp_path):
    resflow(*arguments(tmp_path), "--workers", "2")
    one, two = losses(unbroken), losses(tmp_path)
    assert len(two) == STEPS
    for step in range(1, 11):  # sums of another order, and of other kernels on other processors: their rounding grows from step to step
        assert two[step] == pytest.approx(one[step], rel=1e-4 if step <= 4 else 1e-2), step


def test_the_time_left_is_not_told_before_it_can_be_known(tiny, tmp_path):
    """The first report is of many steps. Catches: all of the time so far taken for that of one step."""
    said = resflow("train", tiny.config, "--steps", "40", "--log-every", "10", "--output", tmp_path).stderr
    first = next(line for line in said.splitlines() if "train loss" in line)
    assert first.endswith("10/40"), said


def test_weights_to_start_from_with_a_fresh_optimiser(arguments, unbroken, tmp_path):
    load = pytest.importorskip("safetensors.numpy").load_file
    start = ["--init-from", unbroken / "weights.safetensors"]
    resflow(*arguments(tmp_path / "still"), *start, "--steps", "2", "--learning-rate", "0", "--final-learning-rate", "0")
    before, after = load(unbroken / "weights.safetensors"), load(tmp_path / "still" / "weights.safetensors")
    assert set(before) == set(after) and all((before[name] == after[name]).all() for name in before)
    assert not any("adversary" in name for name in before), "an adversary is for the training alone"

    done = resflow(*arguments(tmp_path / "next"), *start, "--seed", "2")
    assert "resuming" not in done.stderr and list(losses(tmp_path / "next")) == list(range(1, STEPS + 1))
    assert log_of(tmp_path / "next")[0]["learning_rate"] == log_of(unbroken)[0]["learning_rate"]


def test_an_adversary_is_in_the_loss_and_learns(tiny, feature_network, tmp_path):
    """Catches: a term that is logged and not minimised, on either side."""
    resflow("train", tiny.config, "--task", "flow", "--remover", tiny.dr / "weights.safetensors", "--feature-network", feature_network, "--crop", "64",
            "--feature-weight", "2", "--adversarial-weight", "3", "--faithful", "1", "--steps", "40", "--output", tmp_path)  # fmt: skip
    log = [entry for entry in log_of(tmp_path) if "loss" in entry]
    for entry in log:
        parts = entry["velocity"] + 2 * entry["feature"] + 3 * (entry["adversary"] + entry["seen_through"])
        assert entry["loss"] == pytest.approx(parts, rel=1e-4)
    own = [entry["adversary"] for entry in log]
    assert own[0] > 1.5 and sum(own[-8:]) < 0.8 * sum(own[:8]), own  # of 2 where it knows nothing


def test_an_adversary_may_have_nothing_to_judge(tiny, feature_network, tmp_path):
    """Where no sample of a part is one that the feature loss sees. Catches: terms of the log that the parts do not share."""
    resflow("train", tiny.config, "--task", "flow", "--remover", tiny.dr / "weights.safetensors", "--feature-network", feature_network, "--crop", "64",
            "--feature-weight", "1", "--adversarial-weight", "1", "--feature-sigma-s", "0.001", "--workers", "2", "--output", tmp_path)  # fmt: skip
    assert all(entry["adversary"] == entry["seen_through"] == entry["feature"] == 0 for entry in log_of(tmp_path))


@pytest.fixture(scope="session")
def validated(tiny, tmp_path_factory):
    """A run of the flow with validation at steps 2, 4 and 5."""
    folder = tmp_path_factory.mktemp("validated")
    extra = ["--task", "flow", "--remover", tiny.dr / "weights.safetensors", "--output", folder]
    done = resflow("train", tiny.config, *extra, "--validation", tiny.shard, "--validate-every", "2", "--validation-crop", "64", "--validation-steps", "2",
                   "--validation-sigma-s", "0.1,0.4", "--json")
    return folder, json.loads(done.stdout)


def test_validation_stands_in_the_log_and_the_result(validated):
    folder, result = validated
    entries = [entry for entry in log_of(folder) if "validation" in entry]
    assert [entry["step"] for entry in entries] == [2, 4, 5]
    assert set(entries[-1]["validation"]) == {"bicubic", "sigma_s=0.1", "sigma_s=0.4"}
    for scores in entries[-1]["validation"].values():
        assert 10 < scores["psnr"] < 50 and 0 < scores["ssim"] < 1
    assert entries[0]["validation"]["bicubic"] == entries[2]["validation"]["bicubic"]
    assert result["validation"] == entries[-1]["validation"] and result["step"] == 5 and result["loss"] == log_of(folder)[-2]["loss"]


def test_sample_grids_are_pictures(validated):
    image = pytest.importorskip("PIL.Image")
    grids = sorted((validated[0] / "samples").iterdir())
    assert [path.name for path in grids] == ["0000002.png", "0000004.png", "0000005.png"]
    grid = image.open(grids[0])
    grid.load()
    assert grid.size == (4 * 64, 3 * 64) and grid.mode == "RGB"  # degraded, two start noises, clean; three pictures


def test_event_files_hold_what_the_log_holds(validated):
    folder, _ = validated
    (path,) = folder.glob("events.out.tfevents.*")
    version, scalars, images = events.read(path)
    assert version == "brain.Event:2"
    assert [step for step, _ in scalars["train/loss"]] == [1, 2, 3, 4, 5]
    assert dict(scalars["train/loss"]) == pytest.approx(losses(folder), rel=1e-6)
    psnr = {entry["step"]: entry["validation"]["sigma_s=0.4"]["psnr"] for entry in log_of(folder) if "validation" in entry}
    assert dict(scalars["validation/psnr/sigma_s=0.4"]) == pytest.approx(psnr, rel=1e-6)
    image = pytest.importorskip("PIL.Image")
    step, height, width, png = images["validation/samples"][-1]
    assert step == 5 and image.open(io.BytesIO(png)).size == (width, height)
    assert png == (folder / "samples" / "0000005.png").read_bytes()


def test_the_command_line_wins_over_the_file(tiny, tmp_path):
    resflow("train", tiny.config, "--output", tmp_path, "--steps", "2", "--model.width", "64", "--model.channels=8", "--scales", "2,4", "--scale-weights", "1,0")
    report = json.loads(resflow("inspect", tmp_path / "weights.safetensors", "--json").stdout)
    config = json.loads(report["metadata"]["config"])
    assert (config["width"], config["channels"], config["heads"], config["remover_blocks"]) == (64, 8, 2, 1)
    assert report["metadata"]["step"] == "2" and report["names"]["dr.conv_in.weight"] == [8, 48, 3, 3]
    (checkpoint,) = [json.loads(resflow("inspect", tmp_path / "checkpoint.safetensors", "--json").stdout)["metadata"]]
    options = json.loads(checkpoint["options"])
    assert options["scales"] == [2, 4] and options["batch"] == 2 and options["learning_rate"] == 1e-2


@pytest.mark.parametrize(
    "text, said",
    [
        ("stepz = 3", "Did you mean 'steps'"),
        ("[model]\nwidht = 32", "Did you mean 'width'"),
        ('steps = "many"', "steps] wrong type: wanted a whole number"),
        ("steps = 4.5", "wanted a whole number, got 4.5"),
        ("steps = 0", "steps is out of range"),
        ('task = "flwo"', "Did you mean 'flow'"),
        ("batch = 2\nsteps == 3", "line 2"),
        ("model = 3", "model] not a table"),
        ('recipes = ["sea-sr"]\nrecipe_weights = [1]', "Did you mean 'see-sr'"),
        ("recipe_weights = [1]", "equal length"),
        ("recipe_weights = [0, 0]", "one above 0"),
        ("scales = [0]", "whole numbers of 1 to 8"),
        ("crop = 40", "a multiple of 16, got 40"),
        ("crop = 48\nlattice_weight = 1", "a multiple of 32, at least 64, with lattice_weight, got 48"),
        ("faithful = 0.7\nchosen = 0.4", "a sum of at most 1"),
        ("[model]\nwidth = 40", "width 40, heads 3"),
        ("sigma_s_low = 0.6", "at most sigma_s_high"),
        ('task = "flow"', "wanted weights of a trained remover"),
        ("feature_weight = 1", "feature_network is not"),
        ("adversarial_weight = 1", "feature_weight is not"),
        ("reuse = 3", "a divisor of the batch, 8"),
        ('data = ["nowhere.safetensors"]', "nowhere.safetensors: cannot be opened"),
        ("data = []", "no training data"),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)
def test_wrong_configs_are_told(tiny, tmp_path, text, said):
    config = tmp_path / "config.toml"
    data = "" if "data =" in text else f'data = ["{tiny.shard}"]\n'
    config.write_text(f'{data}output = "{tmp_path}/run"\n{text}\n' if "line 2" not in said else text)
    done = resflow("train", config, code=USER_ERROR)
    assert said in done.stderr and "bug" not in done.stderr, done.stderr


def test_a_missing_config_and_pictures_in_place_of_shards(tiny, pictures, tmp_path):
    assert "cannot be read" in resflow("train", tmp_path / "nowhere.toml", code=USER_ERROR).stderr
    done = resflow("train", tiny.config, "--data", pictures / "coffee.png", "--output", tmp_path / "run", code=USER_ERROR)
    assert "coffee.png" in done.stderr
    done = resflow("train", tiny.config, "--data", tiny.model, "--output", tmp_path / "run", code=USER_ERROR)
    assert "resflow pack" in done.stderr
    done = resflow("train", tiny.config, "--crop", "256", "--output", tmp_path / "run", code=USER_ERROR)
    assert "sides of at least 256 px" in done.stderr


def test_a_checkpoint_that_does_not_fit_or_is_damaged(tiny, tmp_path):
    run = ["train", tiny.config, "--output", tmp_path, "--steps", "6"]
    whole = (tiny.dr / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint.safetensors").write_bytes(whole)
    done = resflow(*run, "--model.channels", "8", code=USER_ERROR)
    assert "does not fit the model" in done.stderr and "another output folder" in done.stderr
    (tmp_path / "checkpoint.safetensors").write_bytes(whole[:-100])
    assert "checkpoint.safetensors" in resflow(*run, code=USER_ERROR).stderr
    (tmp_path / "checkpoint.safetensors").write_bytes((tiny.flow / "weights.safetensors").read_bytes())
    assert "checkpoint.safetensors" in resflow(*run, code=USER_ERROR).stderr


def test_outputs_that_cannot_be_written(tiny, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be created" in resflow("train", tiny.config, "--output", tmp_path / "file" / "run", code=USER_ERROR).stderr

    def small_files():  # a full disk, without one
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = resflow("train", tiny.config, "--output", tmp_path / "run", code=USER_ERROR, preexec_fn=small_files)
    assert "checkpoint.safetensors" in done.stderr and "cannot be written" in done.stderr
    assert [name for name in files_in(tmp_path / "run") if "part" in name or name.endswith("safetensors")] == []

    def tiny_files():  # too small even for the log
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))

    done = resflow("train", tiny.config, "--output", tmp_path / "logless", "--steps", "20", code=USER_ERROR, preexec_fn=tiny_files)
    assert "cannot be written" in done.stderr and ("log.jsonl" in done.stderr or "tfevents" in done.stderr)


def test_validation_alone(tiny):
    before = os.stat(tiny.dr / "checkpoint.safetensors").st_mtime_ns
    done = resflow("train", tiny.config, "--output", tiny.dr, "--validation", tiny.shard, "--validation-crop", "64", "--validate-only")
    assert set(json.loads(done.stdout)) == {"bicubic", "restored"}
    assert os.stat(tiny.dr / "checkpoint.safetensors").st_mtime_ns == before


def test_folders_of_pictures_are_packed_once_and_train_as_shards_do(tiny, pictures, tmp_path):
    run = tmp_path / "run"
    resflow("train", tiny.config, "--data", pictures, "--output", run)
    shard = run / "shards" / "data0.safetensors"
    packed = shard.stat().st_mtime_ns
    assert shard.read_bytes() == tiny.shard.read_bytes()
    assert (run / "weights.safetensors").read_bytes() == (tiny.dr / "weights.safetensors").read_bytes()
    resflow("train", tiny.config, "--data", pictures, "--output", run, "--steps", "6")
    assert shard.stat().st_mtime_ns == packed


def test_loading_alone_is_timed_and_leaves_nothing_behind(tiny, tmp_path):
    run = ["train", tiny.config, "--batch", "4", "--loaders", "2", "--output", tmp_path / "run", "--loading-only"]
    speed = json.loads(resflow(*run, "0.5", "--json").stdout)
    assert speed["loaders"] == 2 and speed["seconds"] >= 0.5 and speed["crops"] > 0 and speed["crops"] % 4 == 0
    assert speed["crops_per_second"] == pytest.approx(speed["crops"] / speed["seconds"])
    assert not (tmp_path / "run").exists()
    # Crops of nine times the pixels take longer: it is the work that is timed.
    assert json.loads(resflow(*run, "0.5", "--json", "--crop", "96").stdout)["crops_per_second"] < speed["crops_per_second"]
    assert "crops of 32 px a second by 2 loaders" in resflow(*run, "0.1").stdout
    assert "--loading-only is for the compact model" in resflow(*run, "0.1", "--task", "flux-lora", code=USER_ERROR).stderr
