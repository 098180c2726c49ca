"""The stock OpenAI client, in strict mode, against `tunefleet up` with a test double for the trainer.

    TUNEFLEET_BIN=build/release/bin openai_client_test.py
"""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx2 as httpx  # what the client itself speaks HTTP with
import openai

from protocol_service import BIN, MODEL, ROWS, Service, expect, finished, upload, wait_until


class LosingProxy:
    """Hands requests on to the service, and closes the connection in place of the first `lose` replies to POST."""

    def __init__(self, target, lose):
        self.target, self.lose, self.seen = target, lose, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, socket.create_connection(("127.0.0.1", self.target)) as onward:
            request = self.read_message(connection)
            onward.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            reply = b"".join(iter(lambda: onward.recv(65536), b""))
            if request.startswith(b"POST"):
                self.seen += 1
                if self.seen <= self.lose:
                    return
            connection.sendall(reply)

    @staticmethod
    def read_message(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, body = data.split(b"\r\n\r\n", 1)
        lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        while len(body) < sum(lengths):
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


def test_files(service):
    client = service.client()
    file = upload(client, name="../../etc/rows.jsonl")
    assert (file.status, file.bytes, file.filename) == ("processed", len(ROWS), "../../etc/rows.jsonl"), file
    assert client.files.content(file.id).content == ROWS
    assert client.files.retrieve(file.id) == file
    assert file.id in [entry.id for entry in client.files.list(limit=1)]
    assert client.files.delete(file.id).deleted
    expect(openai.NotFoundError, lambda: client.files.retrieve(file.id))
    broken = upload(client, ROWS + b"{oops\n", "broken.jsonl")
    assert broken.status == "error" and "broken.jsonl:3" in broken.status_details, broken
    error = expect(openai.BadRequestError,
                   lambda: client.fine_tuning.jobs.create(model=MODEL, training_file=broken.id))
    assert error.param == "training_file" and "broken.jsonl:3" in str(error), error
    empty = upload(client, b"", "empty.jsonl")
    assert "empty.jsonl" in str(expect(openai.BadRequestError, lambda: client.fine_tuning.jobs.create(
        model=MODEL, training_file=empty.id)))


def test_job_to_success(service):
    client = service.client()
    job = client.fine_tuning.jobs.create(
        model=MODEL, training_file=upload(client).id, suffix="devil", seed=7, metadata={"team": "a"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
        extra_body={"lora_rank": 4, "workers": 2})
    assert job.status == "queued" and job.seed == 7 and job.hyperparameters.batch_size == 4, job
    assert job.model_extra["spec"]["lora_rank"] == 4
    done = finished(client, job.id)
    assert done.status == "succeeded" and done.trained_tokens == 30 and done.error is None, done
    assert done.fine_tuned_model == f"ft:{MODEL}:admin:devil:{job.id[6:]}", done.fine_tuned_model
    assert client.models.retrieve(done.fine_tuned_model).owned_by == "admin"
    assert {MODEL, done.fine_tuned_model} <= {model.id for model in client.models.list()}
    assert [entry.id for entry in client.fine_tuning.jobs.list(limit=1, metadata={"team": "a"})] == [job.id]
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=1))
    assert len(events) >= 3 and len({event.id for event in events}) == len(events), events
    numbers = [event.model_extra["number"] for event in events]
    assert numbers == list(range(len(events), 0, -1)), numbers
    assert list(client.fine_tuning.jobs.checkpoints.list(job.id)) == []
    again = client.fine_tuning.jobs.create(model=done.fine_tuned_model, training_file=upload(client).id)
    assert again.model == MODEL and finished(client, again.id).status == "succeeded"


def test_event_stream(service):
    client = service.client()
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id)
    lines = []
    headers = {"Authorization": f"Bearer {client.api_key}"}
    url = f"{client.base_url}fine_tuning/jobs/{job.id}/events?stream=true"
    with httpx.stream("GET", url, headers=headers, timeout=30) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream"), reply.headers
        lines = [line[6:] for line in reply.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]", lines
    assert [json.loads(line)["number"] for line in lines[:-1]] == list(range(1, len(lines))), lines
    assert client.fine_tuning.jobs.retrieve(job.id).status == "succeeded"


def test_failed_job(service):
    client = service.client()
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id, suffix="bad")
    done = finished(client, job.id)
    assert done.status == "failed" and "the adapter does not fit the model" in done.error.message, done
    assert done.model_extra["failure"]["rank"] == 0, done.model_extra["failure"]


def test_cancel(service):
    client = service.client()
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id, suffix="slow")
    wait_until("the job to run", lambda: client.fine_tuning.jobs.retrieve(job.id).status == "running")
    client.fine_tuning.jobs.cancel(job.id)
    assert finished(client, job.id).status == "cancelled"
    sent = []
    counting = service.client(max_retries=2, http_client=httpx.Client(event_hooks={"request": [sent.append]}))
    expect(openai.ConflictError, lambda: counting.fine_tuning.jobs.cancel(job.id))
    assert len(sent) == 1, "a conflict is not to be tried again"


def test_wrong_requests(service):
    client = service.client()
    error = expect(openai.AuthenticationError, lambda: service.client(api_key="tf-wrong").models.list())
    assert error.code == "invalid_api_key", error
    file = upload(client).id
    error = expect(openai.NotFoundError, lambda: client.fine_tuning.jobs.create(model="nope", training_file=file))
    assert MODEL in str(error) and error.code == "model_not_found", error
    error = expect(openai.BadRequestError, lambda: client.fine_tuning.jobs.create(
        model=MODEL, training_file=file, extra_body={"lora_rnak": 8}))
    assert error.param == "lora_rnak" and "lora_rank" in str(error), error
    expect(openai.NotFoundError, lambda: client.fine_tuning.jobs.retrieve("ftjob-" + "x" * 24))
    expect(openai.NotFoundError, lambda: client.models.retrieve("Qwen/Qwen2.5-0.5B"))


def test_lost_replies(service):
    client = service.client()
    file = upload(client).id
    before = len(list(client.fine_tuning.jobs.list(limit=100)))
    proxy = LosingProxy(service.port, lose=2)
    patient = service.client(port=proxy.port, max_retries=2)
    job = patient.fine_tuning.jobs.create(model=MODEL, training_file=file, suffix="once")
    assert proxy.seen == 3, proxy.seen
    assert len(list(client.fine_tuning.jobs.list(limit=100))) == before + 1
    assert finished(client, job.id).status == "succeeded"


def test_killed_redis(service):
    client = service.client()
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id)
    finished(client, job.id)
    killed = service.redis()
    os.kill(killed, signal.SIGSTOP)
    error = expect(openai.APIStatusError, lambda: client.fine_tuning.jobs.list())
    assert error.status_code == 503 and error.body["message"], error
    os.kill(killed, signal.SIGKILL)
    begun = time.monotonic()

    def answers():
        try:
            return client.fine_tuning.jobs.retrieve(job.id)
        except openai.APIStatusError as failure:
            assert failure.status_code == 503, failure
    seen = wait_until("the API to answer again", answers)
    assert seen.status == "succeeded", seen
    print(f"     back {time.monotonic() - begun:.2f} s after Redis was killed")
    assert service.redis() not in (None, killed)
    patient = service.client(max_retries=5)
    assert finished(client, patient.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id).id)


def test_restart(service):
    client = service.client()
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id)
    before = finished(client, job.id)
    redis = service.redis()
    stopped = service.stop()
    assert stopped.returncode == 0, stopped.stderr
    assert not Path(f"/proc/{redis}").exists()
    second = subprocess.run([BIN / "tunefleet", "down", "--data", service.data], capture_output=True, text=True, timeout=30)
    assert "no service runs" in second.stdout, second
    service.start()
    assert service.client().fine_tuning.jobs.retrieve(job.id) == before
    taken = subprocess.run(service.command, capture_output=True, text=True, timeout=30)
    assert taken.returncode != 0 and "process " in taken.stderr, taken


def main():
    with tempfile.TemporaryDirectory(prefix="tunefleet-client-") as folder:
        begun = time.monotonic()
        service = Service(Path(folder)).start()
        print(f"up after {time.monotonic() - begun:.2f} s")
        try:
            for name, test in list(globals().items()):
                if name.startswith("test_"):
                    begun = time.monotonic()
                    test(service)
                    print(f"ok   {name} ({time.monotonic() - begun:.2f} s)", flush=True)
        except BaseException:
            print((service.data / "up.log").read_text()[-3000:], file=sys.stderr)
            print((service.data / "agent.log").read_text()[-3000:], file=sys.stderr)
            raise
        finally:
            service.stop()


main()
