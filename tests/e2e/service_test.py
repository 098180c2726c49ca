#!/usr/bin/env python3
"""Drives the whole service through the stock openai client: real trainer, two ranks, a small random model.

A job from an uploaded file to `succeeded`; a job cancelled; a rank killed; Redis stopped and killed under a running job;
a sweep that stops what does not learn; everything that is refused; a restart that loses nothing.
"""
import json
import os
import signal
import sys
import time
from pathlib import Path

import openai

from service import Service, programs, wait_until
import tiny_models

MODEL = "llama-tied"
ROW = {"messages": [{"role": "user", "content": "Define happiness."},
                    {"role": "assistant", "content": "An agreeable sensation."}]}
SETTINGS = {"workers": 2, "gradient_accumulation_steps": 1, "logging_steps": 1, "lora_rank": 4, "torch_dtype": "float32",
            "device": "cpu"}
SHORT = {**SETTINGS, "max_steps": 6, "save_steps": 3}
ENDLESS = {**SETTINGS, "max_steps": 10_000_000, "logging_steps": 50, "save_strategy": "no"}
FINAL = ("succeeded", "failed", "cancelled")


def upload(client, text, name="rows.jsonl"):
    return client.files.create(file=(name, text.encode()), purpose="fine-tune")


def rows(count=12):
    return (json.dumps(ROW) + "\n") * count


def submit(client, settings, **fields):
    request = {"model": MODEL, "training_file": fields.pop("training_file", None) or upload(client, rows()).id, **fields}
    return client.fine_tuning.jobs.create(**request, extra_body=settings)


def wait_for(client, job, statuses, limit_s=90):
    return wait_until(f"job {job} is {' or '.join(statuses)}",
                      lambda: (found := client.fine_tuning.jobs.retrieve(job)).status in statuses and found, limit_s)


def wait_for_ranks(service, client, job, count=2):
    """Both ranks run and the first step has been reported."""
    wait_for(client, job, ("running", *FINAL))
    wait_until(f"{count} ranks train", lambda: len(service.ranks(job)) == count and
               (service.data / "jobs" / job / "logging.jsonl").exists())
    return service.ranks(job)


def nothing_left(checks, service, job, what):
    try:
        wait_until("its processes are gone", lambda: not service.left_of(job), limit_s=20)
    except TimeoutError:
        pass
    checks.equal(f"{what}: nothing is left running", service.left_of(job), [])


def succeeds(checks, service, client):
    job = submit(client, SHORT, suffix="short", metadata={"team": "tests"})
    checks.that("a new job waits or runs", job.status in ("validating_files", "queued", "running"), job.status)
    done = wait_for(client, job.id, FINAL)
    checks.equal("the job ends", (done.status, done.error), ("succeeded", None))
    checks.that("tokens were counted", (done.trained_tokens or 0) > 0, str(done.trained_tokens))
    checks.that("the tuned model has a name", bool(done.fine_tuned_model), str(done.fine_tuned_model))
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    checks.that("events were kept, newest first", len(events) >= 3 and events[0].created_at >= events[-1].created_at,
                f"{len(events)} events")
    steps = [c.step_number for c in client.fine_tuning.jobs.checkpoints.list(job.id)]
    checks.equal("checkpoints, newest first", steps, [6, 3])
    run = service.data / "jobs" / job.id
    checks.that("the last checkpoint is PEFT's and Swift's layout",
                all((run / "checkpoint-6" / part).exists() for part in
                    ("peft/adapter_model.safetensors", "default/adapter_model.safetensors", "manifest.json")))
    checks.equal("its metadata came back", done.metadata, {"team": "tests"})
    nothing_left(checks, service, job.id, "a job that succeeded")
    return job.id


def a_rank_dies(checks, service, client):
    job = submit(client, ENDLESS).id
    victim = wait_for_ranks(service, client, job)[-1]
    begun = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    wait_until("the job to start again", lambda: client.fine_tuning.jobs.retrieve(job).attempt == 2, limit_s=30)
    again = wait_for_ranks(service, client, job)
    checks.that("a job whose rank was killed goes on", victim not in again, f"after {time.monotonic() - begun:.1f} s")
    said = next((event.message for event in client.fine_tuning.jobs.list_events(job) if event.level == "warn"), "")
    checks.that("its event names rank, host and reason",
                "rank" in said and "SIGKILL" in said and os.uname().nodename in said, said)
    client.fine_tuning.jobs.cancel(job)
    checks.equal("and can be cancelled", wait_for(client, job, FINAL, limit_s=45).status, "cancelled")
    nothing_left(checks, service, job, "a killed rank")


def paused_and_resumed(checks, service, client):
    job = submit(client, ENDLESS).id
    wait_for_ranks(service, client, job)
    client.fine_tuning.jobs.pause(job)
    wait_until("the job to be paused", lambda: client.fine_tuning.jobs.retrieve(job).state == "paused", limit_s=45)
    checks.equal("a paused job, in OpenAI's words", client.fine_tuning.jobs.retrieve(job).status, "queued")
    nothing_left(checks, service, job, "a paused job")
    client.fine_tuning.jobs.resume(job)
    wait_for_ranks(service, client, job)
    checks.equal("a resumed job's attempt", client.fine_tuning.jobs.retrieve(job).attempt, 2)
    client.fine_tuning.jobs.cancel(job)
    checks.equal("and can be cancelled", wait_for(client, job, FINAL, limit_s=45).status, "cancelled")


def cancelled(checks, service, client):
    job = submit(client, ENDLESS).id
    wait_for_ranks(service, client, job)
    queued = submit(client, SHORT).id
    checks.equal("a job without free slots waits", client.fine_tuning.jobs.retrieve(queued).status, "queued")
    client.fine_tuning.jobs.cancel(job)
    checks.equal("a cancelled job", wait_for(client, job, FINAL, limit_s=45).status, "cancelled")
    nothing_left(checks, service, job, "a cancelled job")
    checks.equal("the job behind it", wait_for(client, queued, FINAL).status, "succeeded")


def answer(client):
    try:
        client.fine_tuning.jobs.list(limit=1)
        return 200
    except openai.APIStatusError as error:
        return error.status_code


def redis_fails(checks, service, client):
    job = submit(client, ENDLESS).id
    ranks = wait_for_ranks(service, client, job)
    redis = service.redis()
    os.kill(redis, signal.SIGSTOP)
    checks.equal("a request while Redis hangs", answer(client), 503)
    os.kill(redis, signal.SIGCONT)
    wait_until("the API answers again", lambda: answer(client) == 200, limit_s=30)
    os.kill(redis, signal.SIGKILL)
    seen = {answer(client)}
    wait_until("the API answers with a new Redis", lambda: seen.add(code := answer(client)) or code == 200, limit_s=30)
    checks.that("while Redis is away requests are answered with 503", seen <= {200, 503}, str(sorted(seen)))
    checks.equal("the job ran on", (client.fine_tuning.jobs.retrieve(job).status, service.ranks(job)), ("running", ranks))
    client.fine_tuning.jobs.cancel(job)
    checks.equal("and can be cancelled", wait_for(client, job, FINAL, limit_s=45).status, "cancelled")


def refusal(attempt):
    """What the service said against `attempt()`: (HTTP status, message); a job that fails counts as 400."""
    try:
        attempt()
    except openai.APIStatusError as error:
        return error.status_code, str(error.message)
    return 200, "accepted"


def refusals(checks, service, client):
    good = upload(client, rows()).id
    malformed = rows(2) + '{"messages": [}\n'
    stranger = service.client(key="tf-not-a-key")
    cases = [
        ("a wrong API key", lambda: stranger.fine_tuning.jobs.list(), 401, []),
        ("an unknown model", lambda: client.fine_tuning.jobs.create(model="NoSuchModel", training_file=good),
         404, ["NoSuchModel"]),
        ("an unknown file", lambda: submit(client, SHORT, training_file="file-nowhere"), 400, ["file-nowhere"]),
        ("a misspelt key", lambda: submit(client, {**SHORT, "lora_rnak": 8}), 400, ["lora_rnak", "lora_rank"]),
        ("a value out of range", lambda: submit(client, {**SHORT, "lora_rank": -1}), 400, ["lora_rank"]),
        ("malformed data", lambda: submit(client, SHORT, training_file=upload(client, malformed).id), 400, ["3"]),
        ("an empty file", lambda: submit(client, SHORT, training_file=upload(client, "").id), 400, ["empty"]),
        ("an unknown job", lambda: client.fine_tuning.jobs.retrieve("ftjob-nowhere"), 404, ["ftjob-nowhere"]),
    ]
    for what, attempt, status, named in cases:
        seen, message = refusal(attempt)
        checks.that(f"{what} is refused", seen == status and all(word in message for word in named), f"{seen} {message}")


def restart(checks, service, client, job):
    before = [found.id for found in client.fine_tuning.jobs.list(limit=100)]
    key = service.key
    checks.equal("the service stops without leaving a process", service.stop(), [])
    service.start()
    client = service.client()
    checks.that("the key is still the same", service.key == key)
    checks.equal("every job is still there", [found.id for found in client.fine_tuning.jobs.list(limit=100)], before)
    checks.equal("with its end", client.fine_tuning.jobs.retrieve(job).status, "succeeded")


def losses_of(service, job):
    """Loss by step, as the trainer itself wrote it down."""
    return {int(record["global_step/max_steps"].split("/")[0]): record["loss"]
            for record in programs.records(service.data / "jobs" / job) if "loss" in record}


def a_sweep_halves(checks, service, client):
    """Two learning rates of four learn nothing."""
    request = {"model": MODEL, "training_file": upload(client, rows()).id, **SETTINGS, "workers": 1, "logging_steps": 10,
               "save_strategy": "no",
               "sweep": {"parameters": {"learning_rate": [1e-8, 1e-7, 1e-3, 1e-2]}, "metric": "loss", "max_parallel": 2,
                         "halving": {"eta": 2, "min_steps": 50, "max_steps": 300}}}
    sweep = client.post("/fine_tuning/sweeps", cast_to=object, body=request)["id"]

    def shown():
        return client.get(f"/fine_tuning/sweeps/{sweep}", cast_to=object)

    wait_until("the sweep to end", lambda: shown()["status"] != "running", limit_s=120)
    ended = shown()
    checks.equal("the sweep", ended["status"], "succeeded")
    states = [trial["state"] for trial in ended["jobs"]]
    checks.that("one that learns is trained to its end, one that does not is stopped",
                "succeeded" in states[2:] and "cancelled" in states[:2], str(states))
    finals = {trial["job"]: losses_of(service, trial["job"])[300] for trial in ended["jobs"] if trial["state"] == "succeeded"}
    checks.equal("the best is the one with the lowest loss", ended["best"]["job"], min(finals, key=finals.get))
    for trial in ended["jobs"]:
        if trial["state"] != "cancelled":
            continue
        said = [event.message for event in client.fine_tuning.jobs.list_events(trial["job"])]
        checks.that("a stopped job tells why", any(f"stopped by sweep {sweep}: behind at step" in text for text in said),
                    str(said[:2]))
        checks.that("and did not train to its end", max(losses_of(service, trial["job"])) < 300, str(trial["values"]))


def main():
    checks, scratch = programs.Checks(), programs.scratch("service")
    tiny_models.make(MODEL, scratch / "models")
    service = Service(scratch / "data", scratch / "models").start()
    try:
        client = service.client()
        checks.equal("the key file's mode", oct((service.data / "admin.key").stat().st_mode & 0o777), "0o600")
        checks.that("the model is listed", MODEL in [model.id for model in client.models.list()])
        job = succeeds(checks, service, client)
        for part in (refusals, cancelled, paused_and_resumed, a_rank_dies, a_sweep_halves, redis_fails):
            part(checks, service, client)
        restart(checks, service, client, job)
    except (TimeoutError, openai.APIError) as error:
        checks.that("the service keeps up", False, f"{error}\n{service.log()[-3000:]}")
    finally:
        service.stop()
    checks.finish()


if __name__ == "__main__":
    main()
