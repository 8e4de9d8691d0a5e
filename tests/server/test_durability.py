"""What was accepted is done: kill -9, shutdown, many clients."""

import io
import os
import signal
import threading
import time

import pytest
from program import USER_ERROR, files_in, resflow
from served import LONG, MODEL, QUICK, Server

Image = pytest.importorskip("PIL.Image")


def whole(data):
    """The picture's size; it must decode to its end."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture.size


def test_kill_and_restart_finish_what_was_queued(photo, tmp_path):
    with Server(MODEL, tmp_path) as server:
        running = server.job(photo, restore={"steps": 80, "scale": 4})
        server.until(running, "running")
        queued = [server.job(photo, restore={**QUICK, "seed": seed}) for seed in range(4)]
        cancelled = server.job(photo, restore=QUICK)
        server.ask("DELETE", f"/v1/jobs/{cancelled}")
        server.process.kill()
        server.process.wait()
    (tmp_path / "uploads" / "half").write_bytes(b"what a client was sending")
    (tmp_path / "jobs" / ("f" * 32)).mkdir()  # a picture whose job never came into the queue
    with Server(MODEL, tmp_path) as server:
        for job in (running, *queued):
            done = server.finished(job, timeout=120)
            assert done["state"] == "done", done
            assert whole(server.get(done["links"]["result"]).body) == ((192, 144) if job == running else (48, 36))
        assert server.get(f"/v1/jobs/{running}").json["attempts"] == 2
        assert [server.get(f"/v1/jobs/{job}").json["attempts"] for job in queued] == [1] * 4
        assert server.get(f"/v1/jobs/{cancelled}").json["state"] == "cancelled"
        assert files_in(tmp_path / "uploads") == [] and not (tmp_path / "jobs" / ("f" * 32)).exists()


def test_a_picture_that_kills_the_server_is_given_up_after_three_times(photo, tmp_path):
    job = None
    for attempt in (1, 2, 3):
        with Server(MODEL, tmp_path) as server:
            job = job or server.job(photo, restore=LONG)
            server.until(job, "running")
            assert server.get(f"/v1/jobs/{job}").json["attempts"] == attempt
            server.process.kill()
            server.process.wait()
    with Server(MODEL, tmp_path) as server:
        given_up = server.get(f"/v1/jobs/{job}").json
        assert given_up["state"] == "failed" and given_up["error"]["code"] == "crashed"
        assert server.finished(server.job(photo, restore=QUICK))["state"] == "done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_shutdown_puts_a_long_job_back(photo, tmp_path, number):
    with Server(MODEL, tmp_path, "--grace", "0.5") as server:
        job, events = server.job(photo, restore=LONG), []
        server.until(job, "running")
        watcher = threading.Thread(target=lambda: events.extend(server.events(job)))
        watcher.start()
        time.sleep(0.3)
        begun = time.monotonic()
        assert server.stop(number) == 0 and time.monotonic() - begun < 15
        watcher.join(timeout=10)
        assert not watcher.is_alive()
    with Server(MODEL, tmp_path) as server:
        server.until(job, "running")
        assert server.get(f"/v1/jobs/{job}").json["attempts"] == 1  # being put back is no attempt
        server.ask("DELETE", f"/v1/jobs/{job}")


def test_shutdown_finishes_a_short_job_and_tells_that_it_ends(photo, tmp_path):
    with Server(MODEL, tmp_path, "--grace", "60") as server:
        job = server.job(photo, restore={"steps": 60, "scale": 4})
        server.until(job, "running")
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        health = server.get("/health")
        assert health.status == 503 and health.json["status"] == "ending"
        assert server.submit(photo, restore=QUICK).status == 503
        assert server.process.wait(timeout=60) == 0
    with Server(MODEL, tmp_path) as server:
        assert server.get(f"/v1/jobs/{job}").json["state"] == "done"


def test_two_servers_never_share_a_folder(photo, tmp_path):
    with Server(MODEL, tmp_path) as server:
        done = resflow("serve", "--port", "0", "--model", MODEL, "--data", tmp_path, code=USER_ERROR)
        assert "another server works on this folder" in done.stderr
        assert server.finished(server.job(photo, restore=QUICK))["state"] == "done"


def test_a_port_that_is_taken_is_told(server, tmp_path):
    done = resflow("serve", "--port", server.port, "--model", MODEL, "--data", tmp_path, code=USER_ERROR)
    assert "cannot listen there" in done.stderr


def test_a_file_that_is_no_queue_is_left_alone(tmp_path):
    (tmp_path / "queue.sqlite").write_text("Dear diary, " * 100)
    done = resflow("serve", "--port", "0", "--model", MODEL, "--data", tmp_path, code=USER_ERROR)
    assert "not a queue of resflow" in done.stderr and (tmp_path / "queue.sqlite").read_text().startswith("Dear diary")


def test_finished_jobs_are_kept_up_to_a_number(photo, tmp_path):
    with Server(MODEL, tmp_path) as server:
        jobs = [server.job(photo, restore=QUICK) for _ in range(4)]
        for job in jobs:
            server.finished(job)
    with Server(MODEL, tmp_path, "--keep-jobs", "2") as server:
        until = time.monotonic() + 10
        while len(server.get("/v1/jobs").json["jobs"]) > 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert [job["id"] for job in server.get("/v1/jobs").json["jobs"]] == jobs[:1:-1]
        assert sorted(os.listdir(tmp_path / "jobs")) == sorted(jobs[2:])


def crowd(server, photo, clients, each):
    """Every client sends jobs one after another and waits for each; -> seconds of the slowest answer of /health, the jobs, what went wrong."""
    jobs, wrong, slowest, over = [], [], [0.0], threading.Event()

    def work(number):
        try:
            for i in range(each):
                job = server.job(photo, name=f"{number}-{i}.png", restore={**QUICK, "seed": number * 1000 + i})
                jobs.append((job, number * 1000 + i))
                assert server.events(job, timeout=120)[-1][1]["state"] == "done"
        except Exception as error:  # noqa: BLE001 told by the test
            wrong.append((number, repr(error)))

    def watch():
        while not over.is_set():
            begun = time.monotonic()
            if server.get("/health").status != 200:
                wrong.append("health")
            slowest[0] = max(slowest[0], time.monotonic() - begun)
            time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    health = threading.Thread(target=watch)
    for thread in (*threads, health):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    health.join()
    return slowest[0], jobs, wrong


def memory(process):
    return next(int(line.split()[1]) for line in open(f"/proc/{process.pid}/status") if line.startswith("VmRSS")) / 1024


@pytest.mark.parametrize("each", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_many_clients_at_once(photo, tmp_path, each):
    """32 clients; the slow one brings 224 jobs through the queue."""
    with Server(MODEL, tmp_path, "--max-queue", "300") as server:
        server.finished(server.job(photo, restore=QUICK))
        before = memory(server.process)
        slowest, jobs, wrong = crowd(server, photo, clients=32, each=each)
        assert wrong == [] and len(jobs) == len({job for job, _ in jobs}) == 32 * each
        assert slowest < 1, f"health took {slowest:.2f} s"
        for job, seed in jobs:
            done = server.get(f"/v1/jobs/{job}").json
            assert done["state"] == "done" and done["attempts"] == 1 and done["options"]["restore"]["seed"] == seed
        assert whole(server.get(f"/v1/jobs/{jobs[-1][0]}/result").body) == (48, 36)
        assert memory(server.process) - before < 200, "MB more than before"


@pytest.mark.slow
def test_a_queue_of_200_survives_three_kills(photo, tmp_path):
    jobs = []
    with Server(MODEL, tmp_path, "--max-queue", "300") as server:
        jobs = [server.job(photo, restore={**QUICK, "seed": seed}) for seed in range(200)]
        time.sleep(0.5)
        server.process.kill()
        server.process.wait()
    for pause in (0.7, 0.3):
        with Server(MODEL, tmp_path, "--max-queue", "300") as server:
            time.sleep(pause)
            server.process.kill()
            server.process.wait()
    with Server(MODEL, tmp_path, "--max-queue", "300") as server:
        for job in jobs:
            done = server.finished(job, timeout=120)
            assert done["state"] == "done" and whole(server.get(done["links"]["result"]).body) == (48, 36)
        assert sum(server.get(f"/v1/jobs/{job}").json["attempts"] for job in jobs) <= 203
