"""`resflow train` in several processes: equal to one process, one that records, and ends that are clear. Most tests start the ranks themselves, with the
variables that torchrun sets; what is torchrun's own doing runs under it."""

import json
import math
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from program import CANCELLED, RESFLOW, USER_ERROR, files_in, resflow
from test_train import losses, wait_for_step

load_file = pytest.importorskip("safetensors.numpy").load_file

STEPS = 40  # long enough to be killed in the middle
SOON = 60  # seconds in which an end must come, on a busy machine; what is waited for without an end would take half an hour


def rank_environment(rank, count, port):
    told = {"WORLD_SIZE": count, "RANK": rank, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return os.environ | {name: str(value) for name, value in told.items()} | {"OMP_NUM_THREADS": "1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def ranks_of(*arguments, count=2, own=None):
    """Starts all ranks; own: what a rank is told beyond the others. -> the processes, which are gone afterwards"""
    port = free_port()
    words = [RESFLOW, *map(str, arguments)]
    started = []
    for rank in range(count):
        told = words + [str(word) for word in (own or {}).get(rank, [])]
        started.append(subprocess.Popen(told, env=rank_environment(rank, count, port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def ended(process, within=600):
    """-> exit code, standard output, standard error"""
    out, said = process.communicate(timeout=within)
    return process.returncode, out, said


def run_ranks(*arguments, count=2, own=None):
    """Runs to the end, which is good. -> [(standard output, standard error)] by rank"""
    with ranks_of(*arguments, count=count, own=own) as started:
        ends = [ended(process) for process in started]
    assert [code for code, _, _ in ends] == [0] * count, ends
    return [end[1:] for end in ends]


@pytest.fixture(scope="session", autouse=True)
def several_processes():
    """Skips where the program was built without libgloo-dev."""
    lone = rank_environment(0, 2, free_port())
    said = subprocess.run([RESFLOW, "train", "nowhere.toml"], env=lone, capture_output=True, text=True).stderr
    assert "nowhere.toml" in said
    config = pathlib.Path("/dev/null")
    said = subprocess.run([RESFLOW, "train", config, "--ranks.timeout", "1"], env=lone, capture_output=True, text=True).stderr
    if "cannot train in several processes" in said:
        pytest.skip("built without libgloo-dev")


TASKS = ["dr", "flow", "iqa", "flux-batches", "flux-samples"]


@pytest.fixture(params=TASKS)
def task(request, tiny):
    """-> the arguments of a run, without its folder: each task, with all that it draws at random; for FLUX a step of two batches, which the ranks take
    one each, or of one, of whose samples each takes half (its blocks are checkpointed)."""
    compact = ["train", tiny.config, "--batch", "4", "--loaders", "2", "--learning-rate", "1e-3"]
    if request.param == "dr":
        return compact
    if request.param == "flow":
        return [*compact, "--task", "flow", "--remover", tiny.dr / "weights.safetensors", "--faithful", "0.3", "--chosen", "0.4", "--choices", "2",
                "--crop", "64", "--lattice-weight", "10", "--model.shared-noise", "0.5"]  # fmt: skip
    if request.param == "iqa":
        network = request.getfixturevalue("feature_network")
        return [*compact, "--task", "iqa", "--remover", tiny.dr / "weights.safetensors", "--flow", tiny.flow / "weights.safetensors",
                "--feature-network", network, "--crop", "64"]  # fmt: skip
    folder, _ = request.getfixturevalue("tiny_flux")
    accumulate = 2 if request.param == "flux-batches" else 1
    return ["train", folder / "train.toml", "--flux.accumulate", accumulate, "--flux.optimizer", "adamw"]


def farthest(one, two, prefix):
    """The largest difference of tensors of two checkpoints, as a share of the tensor's largest value."""
    worst = 0.0
    one, two = load_file(one / "checkpoint.safetensors"), load_file(two / "checkpoint.safetensors")
    assert set(one) == set(two) and any(name.startswith(prefix) for name in one)
    for name in one:
        if name.startswith(prefix):
            worst = max(worst, float(abs(one[name] - two[name]).max() / max(abs(one[name]).max(), 1e-6)))
    return worst


# Catches: gradients that are summed, or averaged over other shares; noise, crops or choices that are named by a rank's own counting; a parameter whose
# gradient stays behind or goes twice; ranks that start from other weights.
def test_two_ranks_with_half_the_batch_are_one_with_all_of_it(task, tmp_path):
    resflow(*task, "--steps", "1", "--output", tmp_path / "one")
    run_ranks(*task, "--steps", "1", "--output", tmp_path / "two", "--ranks.bucket", "0.01")
    assert farthest(tmp_path / "one", tmp_path / "two", "adam.m.") < 1e-5  # the first step's gradient

    resflow(*task, "--steps", "8", "--output", tmp_path / "one", "--learning-rate", "1e-4")
    run_ranks(*task, "--steps", "8", "--output", tmp_path / "two", "--learning-rate", "1e-4")
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert list(two) == list(range(1, 9)) and len(set(two.values())) == 8
    assert two == pytest.approx(one, rel=1e-5)
    # AdamW turns a gradient of rounding errors alone into a whole step, whatever its size: so the weights as one.
    weights = [load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two")]
    apart = math.sqrt(sum(float(((weights[0][name] - weights[1][name]) ** 2).sum()) for name in weights[0] if name.startswith("model.")))
    size = math.sqrt(sum(float((tensor**2).sum()) for name, tensor in weights[0].items() if name.startswith("model.")))
    assert apart < 1e-5 * size


def test_prodigy_on_two_ranks_is_prodigy_on_one(tiny_flux, tmp_path):
    run = ["train", tiny_flux[0] / "train.toml", "--flux.optimizer", "prodigy", "--learning-rate", "1", "--steps", "8"]
    resflow(*run, "--output", tmp_path / "one")
    run_ranks(*run, "--output", tmp_path / "two")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


@pytest.fixture(scope="session")
def arguments(tiny):
    """-> f(folder): the arguments of one run of the remover."""
    return lambda folder: ["train", tiny.config, "--steps", STEPS, "--save-every", "5", "--batch", "4", "--loaders", "1", "--output", folder]


@pytest.fixture(scope="session")
def unbroken(arguments, tmp_path_factory):
    """A run of two ranks that nobody disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    said = run_ranks(*arguments(folder))
    assert "2 ranks by gloo" in said[0][1]
    return folder


def same_run(folder, unbroken):
    assert list(losses(folder)) == list(range(1, STEPS + 1))
    assert losses(folder) == losses(unbroken)
    assert (folder / "weights.safetensors").read_bytes() == (unbroken / "weights.safetensors").read_bytes()


def test_buckets_and_workers_of_any_size_are_one_run(arguments, unbroken, tmp_path):
    run_ranks(*arguments(tmp_path / "buckets"), "--ranks.bucket", "0.002")
    same_run(tmp_path / "buckets", unbroken)
    # Two threads of each rank, whose gradients go when they have been added up.
    resflow(*arguments(tmp_path / "one"), "--steps", "4")
    run_ranks(*arguments(tmp_path / "workers"), "--steps", "4", "--workers", "2")
    assert losses(tmp_path / "workers") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_the_first_rank_alone_records(tiny, tmp_path):
    run = ["train", tiny.config, "--steps", "4", "--validation", tiny.shard, "--validate-every", "2", "--validation-crop", "64", "--json"]
    alone = json.loads(resflow(*run, "--output", tmp_path / "one").stdout)
    (out, said), (silent, other) = run_ranks(*run, "--output", tmp_path / "two")
    result = json.loads(out)
    assert silent == "" and "train" not in other and "training dr" in said
    assert result["step"] == 4 and set(result["validation"]) == set(alone["validation"])

    names = [[name.split("tfevents")[0] for name in files_in(tmp_path / folder)] for folder in ("one", "two")]
    assert names[0] == names[1]
    steps = [[json.loads(line)["step"] for line in (tmp_path / folder / "log.jsonl").read_text().splitlines()] for folder in ("one", "two")]
    assert steps[0] == steps[1] == [1, 2, 2, 3, 4, 4]


def test_the_first_rank_alone_is_profiled(tiny, tmp_path):
    (_, said), (_, other) = run_ranks("train", tiny.config, "--steps", "25", "--output", tmp_path / "run", own={0: ["--profile", tmp_path / "a.json"], 1: ["--profile", tmp_path / "b.json"]})
    assert "profile of 4 steps" in said and "profile" not in other
    assert (tmp_path / "a.json").exists() and not (tmp_path / "b.json").exists()


def test_one_rank_under_torchrun_is_a_plain_run(tiny, tmp_path):
    resflow("train", tiny.config, "--output", tmp_path / "plain")
    resflow("train", tiny.config, "--output", tmp_path / "one", env=os.environ | {"WORLD_SIZE": "1", "RANK": "0"})
    assert (tmp_path / "plain/weights.safetensors").read_bytes() == (tmp_path / "one/weights.safetensors").read_bytes()
    assert losses(tmp_path / "plain") == losses(tmp_path / "one")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_run_and_the_same_command_goes_on(arguments, unbroken, tmp_path, victim):
    with ranks_of(*arguments(tmp_path)) as started:
        wait_for_step(started[0], tmp_path, 8)
        started[victim].kill()
        code, _, said = ended(started[1 - victim], within=SOON)
    assert code == USER_ERROR and f"rank {1 - victim} of 2 has lost the others" in said and "the same command goes on" in said, said
    assert "bug" not in said
    assert "resuming at step" in run_ranks(*arguments(tmp_path))[0][1]
    same_run(tmp_path, unbroken)


def test_a_stop_of_one_rank_stops_all_at_one_step(arguments, unbroken, tmp_path):
    with ranks_of(*arguments(tmp_path), "--save-every", "1000") as started:
        wait_for_step(started[0], tmp_path, 3)
        started[1].send_signal(signal.SIGTERM)
        ends = [ended(process, within=SOON) for process in started]
    assert [code for code, _, _ in ends] == [CANCELLED] * 2, ends
    stopped = max(losses(tmp_path))
    assert 3 <= stopped < STEPS
    assert f"resuming at step {stopped}" in run_ranks(*arguments(tmp_path))[0][1]
    same_run(tmp_path, unbroken)


def test_a_run_goes_on_with_another_number_of_ranks(arguments, tmp_path):
    calm = ["--learning-rate", "1e-4"]  # so that rounding does not grow
    with ranks_of(*arguments(tmp_path / "run"), *calm) as started:
        wait_for_step(started[0], tmp_path / "run", 8)
        started[0].kill()
        ended(started[1], within=SOON)
    assert "resuming at step" in resflow(*arguments(tmp_path / "run"), *calm).stderr
    resflow(*arguments(tmp_path / "one"), *calm)
    assert list(losses(tmp_path / "run")) == list(range(1, STEPS + 1))
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_a_rank_that_hangs_is_given_up(arguments, tmp_path):
    with ranks_of(*arguments(tmp_path), "--ranks.timeout", "3") as started:
        wait_for_step(started[0], tmp_path, 3)
        started[1].send_signal(signal.SIGSTOP)
        code, _, said = ended(started[0], within=SOON)
    assert code == USER_ERROR and "has lost the others" in said, said


def test_an_error_of_the_first_rank_ends_the_others(arguments, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with ranks_of(*arguments(tmp_path / "file" / "run")) as started:
        ends = [ended(process, within=SOON) for process in started]
    assert [code for code, _, _ in ends] == [USER_ERROR] * 2
    assert "cannot be created" in ends[0][2] and "has lost the others" in ends[1][2], ends


def test_an_error_of_another_rank_ends_the_first(arguments, tmp_path):
    with ranks_of(*arguments(tmp_path), own={1: ["--data", tmp_path / "nowhere.safetensors"]}) as started:
        ends = [ended(process, within=SOON) for process in started]
    assert [code for code, _, _ in ends] == [USER_ERROR] * 2
    assert "has lost the others" in ends[0][2] and "nowhere.safetensors" in ends[1][2], ends


def test_pictures_are_packed_once(tiny, pictures, tmp_path):
    run_ranks("train", tiny.config, "--data", pictures, "--output", tmp_path / "run")
    assert (tmp_path / "run" / "shards" / "data0.safetensors").read_bytes() == tiny.shard.read_bytes()
    run_ranks("train", tiny.config, "--output", tmp_path / "shard")
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == (tmp_path / "shard" / "weights.safetensors").read_bytes()


def test_a_time_to_end_in_is_the_first_ranks(tiny, tmp_path):
    run_ranks("train", tiny.config, "--steps", "100000", "--minutes", "0.03", "--log-every", "1000", "--output", tmp_path)
    assert 1 <= max(losses(tmp_path)) < 100000


def test_what_one_process_does_is_done_once(tiny, tmp_path):
    resflow("train", tiny.config, "--output", tmp_path)
    run = ["train", tiny.config, "--output", tmp_path, "--validation", tiny.shard, "--validation-crop", "64", "--validate-only"]
    outs = [out for out, _ in run_ranks(*run)]
    assert set(json.loads(outs[0])) == {"bicubic", "restored"} and outs[1] == ""


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: wanted a whole number of 1 to 1048576, got 'two'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE"),
        ({"RANK": None}, "WORLD_SIZE is set, RANK is not"),
        ({"RANK": "2"}, "RANK: wanted a whole number of 0 to 1, got '2'"),
        ({"MASTER_ADDR": None}, "WORLD_SIZE is set, MASTER_ADDR is not"),
        ({"MASTER_PORT": None}, "WORLD_SIZE is set, MASTER_PORT is not"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT: wanted a whole number of 1 to 65535"),
        ({"RANK": "1"}, "rank 1 did not meet the other 1 at 127.0.0.1"),  # rank 0 is not there
        ({"RANK": "0"}, "rank 0 did not meet the other 1 at 127.0.0.1"),
        ({"MASTER_ADDR": "no-such-machine.invalid", "RANK": "1"}, "rank 1 did not meet the other 1 at no-such-machine.invalid"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(f"{name}={text}" for name, text in value.items()),
)
def test_wrong_surroundings_are_told(tiny, tmp_path, changed, said):
    env = rank_environment(0, 2, free_port())
    for name, value in changed.items():
        env.pop(name)
        if value is not None:
            env[name] = value
    began = time.monotonic()
    done = resflow("train", tiny.config, "--output", tmp_path, "--ranks.timeout", "2", code=USER_ERROR, env=env)
    assert said in done.stderr and "bug" not in done.stderr, done.stderr
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize(
    "options, own, said",
    [
        (["--batch", "3"], {}, "`batch` cannot be shared evenly between 2 ranks: wanted a multiple of 2, got 3"),
        (["--ranks.backend", "nccl"], {}, "nccl carries between GPUs only: wanted gloo"),
        ([], {1: ["--learning-rate", "1e-4"]}, "rank 1 has another `learning_rate` than rank 0: wanted 0.01, got 0.0001"),
        ([], {1: ["--model.width", "64"]}, "rank 1 has another `model/width` than rank 0"),
    ],
)
def test_wrong_options_are_told_and_end_all(tiny, tmp_path, options, own, said):
    with ranks_of("train", tiny.config, "--device", "cpu", "--output", tmp_path, *options, own=own) as started:
        ends = [ended(process, within=SOON) for process in started]
    assert all(code == USER_ERROR and said in told for code, _, told in ends), ends


def test_flux_is_shared_by_batches_or_by_samples_or_refused(tiny_flux, tmp_path):
    run = ["train", tiny_flux[0] / "train.toml", "--output", tmp_path, "--batch", "3", "--flux.accumulate", "3"]
    with ranks_of(*run) as started:
        ends = [ended(process, within=SOON) for process in started]
    assert all(code == USER_ERROR and "`batch` cannot be shared evenly" in said for code, _, said in ends), ends


# --- under torchrun itself ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def torchrun():
    pytest.importorskip("torch.distributed.run")
    return [sys.executable, "-m", "torch.distributed.run", "--no-python", "--standalone", "--nproc-per-node=2"]


def launched(torchrun, *words):
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*torchrun, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def process_of(rank, folder):
    """The process that runs as `rank` into the folder."""
    for entry in pathlib.Path("/proc").iterdir():
        try:
            words, told = (entry / "cmdline").read_bytes().split(b"\0"), (entry / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if words[0] == RESFLOW.encode() and str(folder).encode() in words and b"RANK=%d" % rank in told:
            return int(entry.name)
    raise AssertionError(f"no rank {rank}")


def test_torchrun_ends_with_a_killed_rank_and_the_same_command_goes_on(torchrun, arguments, unbroken, tmp_path):
    process = launched(torchrun, RESFLOW, *arguments(tmp_path))
    wait_for_step(process, tmp_path, 8)
    os.kill(process_of(1, tmp_path), signal.SIGKILL)
    code, _, said = ended(process, within=SOON)
    assert code != 0 and "SIGKILL" in said, said
    process = launched(torchrun, RESFLOW, *arguments(tmp_path))
    code, out, said = ended(process)
    assert code == 0 and "resuming at step" in said and out.count("done: step") == 1, said
    same_run(tmp_path, unbroken)


def test_torchrun_starts_all_again_from_the_checkpoint(torchrun, arguments, unbroken, tmp_path):
    process = launched([*torchrun, "--max-restarts=1"], RESFLOW, *arguments(tmp_path))
    wait_for_step(process, tmp_path, 8)
    os.kill(process_of(1, tmp_path), signal.SIGKILL)
    code, out, said = ended(process)
    assert code == 0 and "resuming at step" in said and out.count("done: step") == 1, said
    same_run(tmp_path, unbroken)


def test_torchrun_that_is_stopped_leaves_a_checkpoint(torchrun, arguments, unbroken, tmp_path):
    process = launched(torchrun, RESFLOW, *arguments(tmp_path), "--save-every", "1000")
    wait_for_step(process, tmp_path, 3)
    process.send_signal(signal.SIGTERM)
    code, _, said = ended(process, within=SOON)
    assert code != 0 and "cancelled" in said, said
    assert 3 <= max(losses(tmp_path)) < STEPS and (tmp_path / "checkpoint.safetensors").exists()
    run_ranks(*arguments(tmp_path))  # and torchrun or not, it goes on
    same_run(tmp_path, unbroken)
