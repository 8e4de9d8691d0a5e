"""Native jobs: options, progress, previews, cancelling, priorities, files, searches."""

import io
import json
import threading
import time

import numpy as np
import pytest
from program import files_in, resflow
from served import LONG, MODEL, QUICK, Server

Image = pytest.importorskip("PIL.Image")
SEARCH = {"search": "best-of-n", "candidates": 3}


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_job_gives_the_picture_that_the_command_line_gives(server, photo, tmp_path):
    made = server.submit(photo, name="../a b.png", restore={"steps": 3, "scale": 2, "seed": 5, "sigma_s": 0.2})
    assert made.status == 202 and made.json["state"] in ("queued", "running") and made.headers["Location"] == made.json["links"]["self"]
    job = server.finished(made.json["id"])
    assert job["state"] == "done" and job["name"] == "a b.png" and job["attempts"] == 1 and not job["searched"]
    assert job["source"] == {"width": 48, "height": 36, "format": "png"} and job["result"]["width"] == 96
    assert job["created"] <= job["started"] <= job["finished"] and job["manifest"]["options"]["seed"] == 5
    reply = server.get(job["links"]["result"])
    assert reply.headers["Content-Type"] == "image/png" and len(reply.body) == job["result"]["bytes"]
    assert 'attachment; filename="a b-restored.png"' in reply.headers["Content-Disposition"]
    assert server.get(job["links"]["result"] + "?inline=1").headers["Content-Disposition"].startswith("inline")
    (tmp_path / "in.png").write_bytes(photo)
    resflow("restore", "--model", MODEL, tmp_path / "in.png", "-o", tmp_path / "out.png", "--steps", 3, "--scale", 2, "--seed", 5, "--sigma-s", 0.2)
    assert np.array_equal(pixels(reply.body), pixels((tmp_path / "out.png").read_bytes()))
    assert json.loads(Image.open(io.BytesIO(reply.body)).text["resflow"])["options"]["steps"] == 3
    assert server.get(job["links"]["source"]).body == photo


def test_events_tell_states_progress_and_the_end(server, photo):
    job = server.job(photo, restore={"steps": 12, "scale": 2})
    events = server.events(job)
    states = [data["state"] for kind, data in events if kind == "state"]
    assert states[-1] == "done" and sorted(states, key=["queued", "running", "done"].index) == states
    progress = [data for kind, data in events if kind == "progress"]
    assert progress and all(p["id"] == job and p["stage"] == "restore" and 0 < p["done"] <= p["of"] for p in progress)
    assert all(p["fraction"] == p["done"] / p["of"] and p["seconds_left"] >= 0 for p in progress) and progress[0]["fraction"] < 1
    assert progress[-1]["done"] == progress[-1]["of"] and progress[-1]["seconds_left"] == 0
    assert [kind for kind, _ in server.events(job)] == ["state"]  # of a job that is done: its state, and the end


def test_previews_are_small_pictures_of_the_running_estimate_made_for_watchers_only(server, photo):
    job = server.job(photo, restore=LONG)
    server.until(job, "running")
    time.sleep(1.2)
    assert not (server.data / "jobs" / job / "preview.jpg").exists()
    seen, previews = [], []
    connection = server.connection()
    connection.request("GET", f"/v1/jobs/{job}/events")
    reply = connection.getresponse()
    begun = time.monotonic()
    while len(seen) < 4 and time.monotonic() - begun < 30:
        line = reply.fp.readline().decode()
        if line.startswith("event: preview"):
            seen.append(time.monotonic())
            previews.append(json.loads(reply.fp.readline().decode()[6:])["url"])
    assert len(seen) == 4 and (seen[-1] - seen[0]) / 3 > 0.4, "at most two a second"
    picture = server.get(previews[-1])
    assert picture.headers["Content-Type"] == "image/jpeg"
    shown = np.asarray(Image.open(io.BytesIO(picture.body))).astype(float)
    source = np.asarray(Image.open(io.BytesIO(photo)).convert("RGB").resize(shown.shape[1::-1], Image.BICUBIC)).astype(float)
    assert shown.shape == (480, 640, 3) and np.corrcoef(shown.ravel(), source.ravel())[0, 1] > 0.5
    assert server.ask("DELETE", f"/v1/jobs/{job}").json["state"] == "cancelled"
    connection.close()


def test_queued_and_running_jobs_are_cancelled_and_finished_ones_removed(server, photo):
    running = server.job(photo, restore=LONG)
    server.until(running, "running")
    queued = server.job(photo, restore=QUICK)
    assert server.get(f"/v1/jobs/{queued}").json["position"] == 1
    for job in (queued, running):
        reply = server.ask("DELETE", f"/v1/jobs/{job}")
        assert reply.status == 200 and reply.json["state"] == "cancelled"
    begun = time.monotonic()
    after = server.job(photo, restore=QUICK)
    assert server.finished(after)["state"] == "done" and time.monotonic() - begun < 20  # the worker was free soon
    assert server.get(f"/v1/jobs/{running}/result").status == 404
    for job in (queued, running, after):
        assert server.ask("DELETE", f"/v1/jobs/{job}").status == 204
        assert server.get(f"/v1/jobs/{job}").status == 404 and not (server.data / "jobs" / job).exists()


def test_higher_priorities_come_first_and_equal_ones_in_order(server, photo):
    first = server.job(photo, restore=LONG)
    server.until(first, "running")
    wanted = {priority: server.job(photo, restore=QUICK, priority=priority) for priority in (0, -5, 7)}
    later = server.job(photo, restore=QUICK)
    listed = [job["id"] for job in server.get("/v1/jobs?state=queued&limit=3").json["jobs"]]
    assert listed == [later, wanted[7], wanted[-5]]
    positions = {job["id"]: job["position"] for job in server.get("/v1/jobs?state=queued").json["jobs"]}
    assert positions == {wanted[7]: 1, wanted[0]: 2, later: 3, wanted[-5]: 4}
    server.ask("DELETE", f"/v1/jobs/{first}")
    done = [server.finished(job) for job in (wanted[7], wanted[0], later, wanted[-5])]
    assert [job["started"] for job in done] == sorted(job["started"] for job in done)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"restore": {"stepps": 3}}, "Did you mean 'steps'"),
        ({"restore": {"steps": 900}}, "out of range"),
        ({"restore": {"steps": "many"}}, "a whole number"),
        ({"restore": {"scale": 2, "width": 9}}, "one or the other"),
        ({"search": {"search": "luck"}}, "wanted one of none"),
        ({"search": {"search": "greedy", "candidates": 3, "survivors": 4}}, "more survivors than candidates"),
        ({"search": {"search": "best-of-n", "rewards": ["niqe", "musiq"]}}, "musiq"),
        ({"search": {"search": "best-of-n", "rewards": ["niqe", "niqe"]}}, "a reward twice"),
        ({"search": {"search": "best-of-n", "reward_weights": [1, 2]}}, "wrong number of weights"),
        ({"search": {"search": "best-of-n", "rewards": ["niqe"], "reward_weights": [-1]}}, "0 or more"),
        ({"search": {"search": "best-of-n", "rewards": []}}, "no reward"),
        ({"files": {"format": "gif"}}, "wanted one of"),
        ({"files": {"bits": 7}}, "8 or 16"),
        ({"restore": {"tile": 2048, "width": 3000}}, "too large for this server"),
        ({"priority": 1000}, "priority"),
        ({"speed": {}}, "wanted one of restore"),
        ([], "an object"),
    ],
    ids=str,
)
def test_wrong_options_are_told(server, photo, options, said):
    reply = server.post_form("/v1/jobs", [("image", "a.png", photo)], {"options": json.dumps(options)})
    assert reply.status == 400 and reply.json["error"]["code"] == "bad_option" and said in reply.json["error"]["message"]
    assert files_in(server.data / "uploads") == []


def test_what_the_schema_tells_is_what_jobs_take(server, photo):
    schema = server.get("/v1/schema").json
    assert [group["name"] for group in schema["groups"]] == ["restore", "search", "files"] and schema["limits"]["queue"] == 100
    fields = {group["name"]: {field["name"]: field for field in group["fields"]} for group in schema["groups"]}
    assert fields["restore"]["steps"] == {"name": "steps", "type": "integer", "default": 0, "help": fields["restore"]["steps"]["help"], "minimum": 0, "maximum": 200}
    assert "euler" in fields["restore"]["sampler"]["choices"] and fields["search"]["rewards"]["items"] == "string"
    defaults = {group: {name: field["default"] for name, field in of.items()} for group, of in fields.items()}
    defaults["restore"].update(QUICK)
    job = server.finished(server.job(photo, **defaults))
    assert job["state"] == "done" and job["options"]["restore"] == defaults["restore"]


def test_a_picture_that_is_bad_inside_fails_by_its_name(server, photo):
    reply = server.submit(photo[:-600], name="holiday.png")
    job = server.finished(reply.json["id"])
    assert job["state"] == "failed" and job["error"]["code"] == "bad_picture" and job["error"]["message"].startswith("[holiday.png]")
    assert server.get(job["links"]["result"]).status == 404


def test_sixteen_bits_and_formats_that_browsers_do_not_show(server, photo):
    tifffile = pytest.importorskip("tifffile")
    data = io.BytesIO()
    tifffile.imwrite(data, (np.asarray(Image.open(io.BytesIO(photo)).convert("RGB")).astype(np.uint16) * 257))
    job = server.finished(server.job(data.getvalue(), name="scan.tif", restore=QUICK))
    result = server.get(job["links"]["result"])
    assert result.headers["Content-Type"] == "image/tiff" and tifffile.imread(io.BytesIO(result.body)).dtype == np.uint16
    shown = [server.get(job["links"][what] + "?inline=1") for what in ("source", "result")]
    assert [reply.headers["Content-Type"] for reply in shown] == ["image/png", "image/png"]
    assert np.array_equal(pixels(shown[0].body), pixels(photo)[..., :3])


def test_a_part_of_a_file_can_be_asked_for(server, photo):
    job = server.finished(server.job(photo, restore=QUICK))
    whole = server.get(job["links"]["result"]).body
    part = server.get(job["links"]["result"], Range="bytes=10-19")
    assert part.status == 206 and part.body == whole[10:20]


@pytest.fixture(scope="module")
def searched(server, photo):
    return server.finished(server.job(photo, restore={"steps": 3, "scale": 2, "sigma_s": 0.3}, search=SEARCH))


def test_a_search_keeps_its_candidates_and_another_can_be_picked(server, searched):
    assert searched["state"] == "done" and searched["searched"]
    told = server.get(searched["links"]["candidates"]).json
    finished = [c for c in told["candidates"] if c["finished"]]
    winner = next(c for c in finished if c["winner"])
    assert told["tiles"] == 1 and len(finished) == 3 and set(winner["scores"]) == {"dr-consistency", "lq-consistency", "niqe"}
    small, whole = server.get(winner["thumbnail"]), server.get(winner["thumbnail"] + "?whole=1")
    assert small.headers["Content-Type"] == "image/jpeg" and pixels(small.body).shape[1] <= 128
    assert whole.headers["Content-Type"] == "image/png" and pixels(whole.body).shape[0] >= 72
    other = next(c for c in finished if not c["winner"])
    made = {}
    for chosen in (other, winner):
        reply = server.post_json(searched["links"]["self"] + "/pick", {"candidate": f"0:{chosen['id']}"})
        assert reply.status == 200 and reply.json["manifest"]["picked"] == {"0": chosen["id"]}
        made[chosen["id"]] = pixels(server.get(searched["links"]["result"]).body).astype(float)
        tile = np.asarray(Image.open(io.BytesIO(server.get(chosen["thumbnail"] + "?whole=1").body))).astype(float)[:72, :96]
        assert np.abs(made[chosen["id"]] - tile).max() <= 1
        again = server.get(searched["links"]["candidates"]).json["candidates"]
        assert [c["id"] for c in again if c["winner"]] == [chosen["id"]]
    assert np.abs(made[other["id"]] - made[winner["id"]]).mean() > 0.5
    assert server.post_json(searched["links"]["self"] + "/pick", {"candidate": winner["id"]}).status == 200


@pytest.mark.parametrize("pick, status", [({"candidate": "0:99"}, 400), ({"candidate": "7:0"}, 400), ({"candidate": "../x"}, 400), ({}, 400), ({"candidate": []}, 400)])
def test_picks_that_cannot_be(server, searched, pick, status):
    assert server.post_json(searched["links"]["self"] + "/pick", pick).status == status


def test_without_a_search_there_are_no_candidates(server, photo):
    job = server.finished(server.job(photo, restore=QUICK))
    assert server.get(job["links"]["candidates"]).status == 404
    assert server.post_json(job["links"]["self"] + "/pick", {"candidate": "0"}).status == 404


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_a_mask_leaves_places_as_they_were(server, photo, tmp_path):
    mask = Image.new("L", (48, 36), 0)
    mask.paste(255, (0, 0, 24, 36))
    mask.save(tmp_path / "mask.png")
    (tmp_path / "in.png").write_bytes(photo)
    options = {"restore": {"steps": 2, "scale": 2, "seed": 5}}
    made = server.post_form("/v1/jobs", [("image", "a.png", photo), ("mask", "m.png", png(mask))], {"options": json.dumps(options)})
    assert made.status == 202
    job = server.finished(made.json["id"])
    assert job["state"] == "done" and job["manifest"]["mask"] is True
    arguments = ["--steps", 2, "--scale", 2, "--seed", 5, "--mask", tmp_path / "mask.png"]
    resflow("restore", "--model", MODEL, tmp_path / "in.png", "-o", tmp_path / "out.png", *arguments)
    assert np.array_equal(pixels(server.get(job["links"]["result"]).body), pixels((tmp_path / "out.png").read_bytes()))


@pytest.mark.parametrize(
    "masks, status, said",
    [
        ([("m.png", png(Image.new("L", (48, 48))))], 400, "another shape"),
        ([("m.png", b"no picture")], 415, "m.png"),
        ([("m.png", png(Image.new("L", (48, 36))))] * 2, 400, "one file in the form's field mask"),
    ],
    ids=["shape", "no picture", "two"],
)
def test_masks_that_cannot_be(server, photo, masks, status, said):
    reply = server.post_form("/v1/jobs", [("image", "a.png", photo), *[("mask", *mask) for mask in masks]])
    assert reply.status == status and said in reply.json["error"]["message"]
    assert files_in(server.data / "uploads") == []


def test_a_mask_holds_for_a_picked_candidate_too(server, photo):
    mask = png(Image.new("L", (48, 36), 0))
    options = {"restore": {"steps": 2, "scale": 2, "sigma_s": 0.3}, "search": {"search": "best-of-n", "candidates": 2}}
    job = server.finished(server.post_form("/v1/jobs", [("image", "a.png", photo), ("mask", "m.png", mask)], {"options": json.dumps(options)}).json["id"])
    before = pixels(server.get(job["links"]["result"]).body)
    other = next(c for c in server.get(job["links"]["candidates"]).json["candidates"] if c["finished"] and not c["winner"])
    assert server.post_json(job["links"]["self"] + "/pick", {"candidate": f"0:{other['id']}"}).json["manifest"]["mask"] is True
    assert np.array_equal(pixels(server.get(job["links"]["result"]).body), before)


def test_a_pick_for_one_tile_keeps_those_of_the_others(server, photo):
    options = {"restore": {"steps": 2, "scale": 4, "tile": 128, "overlap": 32, "sigma_s": 0.3}, "search": {"search": "best-of-n", "candidates": 2}}
    job = server.finished(server.job(photo, **options))
    told = server.get(job["links"]["candidates"]).json
    others = {c["tile"]: c["id"] for c in told["candidates"] if c["finished"] and not c["winner"]}
    winners = {c["tile"]: c["id"] for c in told["candidates"] if c["winner"]}
    assert told["tiles"] == 4
    picked = {}
    for tile in (2, 0):
        picked = server.post_json(job["links"]["self"] + "/pick", {"candidate": f"{tile}:{others[tile]}"}).json["manifest"]["picked"]
    assert picked == {"0": others[0], "1": winners[1], "2": others[2], "3": winners[3]}
    back = server.post_json(job["links"]["self"] + "/pick", {"candidate": f"2:{winners[2]}"}).json["manifest"]["picked"]
    assert back["0"] == others[0] and back["2"] == winners[2]


def test_a_search_of_one_tile_tells_its_progress(server, photo):
    job = server.job(photo, restore={"steps": 4, "scale": 2}, search={"search": "best-of-n", "candidates": 6, "candidate_batch": 2})
    told = [data for kind, data in server.events(job) if kind == "progress"]
    done = [p["done"] for p in told]
    assert done == sorted(done) and len(set(done)) >= 3 and {p["stage"] for p in told} == {"search"} and {p["of"] for p in told} == {24}
    assert told[-1]["done"] == 24 and told[-1]["fraction"] == 1


def test_every_search_tells_how_far_it_is(server, photo):
    fields = {field["name"]: field for field in server.get("/v1/schema").json["groups"][1]["fields"]}
    for strategy in sorted(set(fields["search"]["choices"]) - {"none"}):
        for limit in ({}, {"budget": 14}):
            search = {"search": strategy, "candidates": 4, "rewards": ["lq-consistency"], "stop_early": False, **limit}
            job = server.job(photo, restore={"steps": 6, "scale": 2, "checks": False}, search=search)
            told = [data for kind, data in server.events(job) if kind == "progress"]
            last, nfe = told[-1], server.get(f"/v1/jobs/{job}").json["manifest"]["nfe"]
            assert all(p["of"] and p["stage"] == "search" for p in told), (strategy, told)
            assert abs(last["of"] - nfe) <= 0.35 * nfe, f"{strategy}: said {last['of']} model calls, made {nfe}"
            assert all(0 < p["fraction"] <= 1 for p in told) and [p["done"] for p in told] == sorted(p["done"] for p in told)


def test_a_full_queue_is_told_with_when_to_come_again(photo, tmp_path):
    with Server(MODEL, tmp_path, "--max-queue", "2") as server:
        server.until(server.job(photo, restore=LONG), "running")
        for _ in range(2):
            server.job(photo, restore=QUICK)
        refused = server.submit(photo, restore=QUICK)
        assert refused.status == 429 and refused.json["error"]["code"] == "queue_full" and int(refused.headers["Retry-After"]) > 0
        assert server.get("/health").json["queue"] == {"waiting": 2, "running": 1}
        assert len(list((tmp_path / "jobs").iterdir())) == 3 and files_in(tmp_path / "uploads") == []


def test_a_job_that_works_too_long_is_ended(photo, tmp_path):
    with Server(MODEL, tmp_path, "--job-timeout", "2s") as server:
        begun = time.monotonic()
        job = server.finished(server.job(photo, restore=LONG, search={"search": "best-of-n", "candidates": 64}))
        assert job["state"] == "failed" and job["error"]["code"] == "timeout" and time.monotonic() - begun < 15
        assert server.finished(server.job(photo, restore=QUICK))["state"] == "done"


def test_metrics_and_models(photo, tmp_path):
    with Server(MODEL, tmp_path) as server:
        server.finished(server.job(photo, restore={"steps": 1, "scale": 2}))
        server.get("/nowhere")
        text = server.get("/metrics").body.decode()
        for line in (
            'resflow_jobs_total{state="done"} 1',
            'resflow_jobs_total{state="failed"} 0',
            "resflow_queue_length 0",
            "resflow_pixels_total 6912",
            "resflow_job_work_seconds_count 1",
            'resflow_http_requests_total{code="202",route="/v1/jobs"} 1',
            'resflow_http_requests_total{code="404",route="other"} 1',
        ):
            assert line in text.splitlines(), text
        model = server.get("/v1/models").json["data"][0]
        assert model["object"] == "model" and len(model["fingerprint"]) >= 8


def test_many_watchers_of_one_job_all_see_its_end(server, photo):
    job, ends = server.job(photo, restore={"steps": 12, "scale": 2}), []
    threads = [threading.Thread(target=lambda: ends.append(server.events(job)[-1])) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 12 and all(kind == "state" and data["state"] == "done" for kind, data in ends)
