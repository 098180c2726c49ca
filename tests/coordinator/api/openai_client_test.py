"""The stock OpenAI client, in strict mode, against `tunefleet up` with a test double for the trainer.

    TUNEFLEET_BIN=build/release/bin openai_client_test.py
"""
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class Receiver(ThreadingHTTPServer):
    """A user's server for webhooks: answers 500 to the first `failures` deliveries, 200 to the others."""

    def __init__(self, failures=0):
        self.failures, self.deliveries = failures, []
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server.deliveries.append((dict(self.headers.items()), body))
            self.send_response(500 if len(self.server.deliveries) <= self.server.failures else 200)
            self.end_headers()

        def log_message(self, *_):
            pass


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


def test_chunked_upload(service):
    client = service.client()
    path = service.data.parent / "large.jsonl"
    path.write_bytes(ROWS * 1000)
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    done = client.uploads.upload_file_chunked(file=path, mime_type="application/jsonl", purpose="fine-tune",
                                              part_size=50_000, md5=digest)
    assert (done.status, done.filename, done.bytes) == ("completed", "large.jsonl", path.stat().st_size), done
    assert client.files.content(done.file.id).content == path.read_bytes()
    assert client.files.retrieve(done.file.id).status == "processed"
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=done.file.id)
    assert finished(client, job.id).status == "succeeded"


def test_upload_over_a_restart(service):
    client = service.client()
    upload_ = client.uploads.create(filename="a.jsonl", purpose="fine-tune", bytes=2 * len(ROWS), mime_type="text/plain")
    second = client.uploads.parts.create(upload_.id, data=b"\n" + ROWS[:-1])
    service.stop()
    service.start()
    first = client.uploads.parts.create(upload_.id, data=ROWS)
    parts = [first.id, second.id]
    wrong = expect(openai.BadRequestError, lambda: client.uploads.complete(upload_.id, part_ids=parts[:1]))
    assert "bytes" in str(wrong), wrong
    proxy = LosingProxy(service.port, lose=2)
    done = service.client(port=proxy.port, max_retries=2).uploads.complete(upload_.id, part_ids=parts)
    assert proxy.seen == 3 and done.status == "completed", done
    assert client.files.content(done.file.id).content == ROWS + b"\n" + ROWS[:-1]
    assert [file.id for file in client.files.list() if file.filename == "a.jsonl"] == [done.file.id]


def test_cancelled_upload(service):
    client = service.client()
    upload_ = client.uploads.create(filename="a.jsonl", purpose="fine-tune", bytes=10, mime_type="text/plain")
    client.uploads.parts.create(upload_.id, data=b"0123456789")
    assert client.uploads.cancel(upload_.id).status == "cancelled"
    expect(openai.ConflictError, lambda: client.uploads.parts.create(upload_.id, data=b"x"))


def test_webhook_endpoints(service):
    client = service.client()
    events = list(client.webhooks.event_types.list().data)
    assert events == [f"fine_tuning.job.{end}" for end in ("succeeded", "failed", "cancelled")], events
    made = client.webhooks.create(name="mine", url="https://hooks.example/path", event_types=events[:1])
    assert made.signing_secret.startswith("whsec_") and made.signing_secret.endswith(made.signing_secret_hint[-4:]), made
    assert client.webhooks.update(made.id, name="ours", event_types=events).name == "ours"
    seen = client.webhooks.retrieve(made.id)
    assert seen.event_types == events and "signing_secret" not in seen.to_dict(), seen
    assert client.webhooks.rotate_secret(made.id).signing_secret != made.signing_secret
    other = client.webhooks.create(name="second", url="https://hooks.example/", event_types=events)
    assert {entry.id for entry in client.webhooks.list(limit=1)} == {made.id, other.id}
    for url in ("http://hooks.example/", "https://169.254.169.254/", "https://[::ffff:10.0.0.1]/", "https://2130706433/"):
        error = expect(openai.BadRequestError, lambda url=url: client.webhooks.update(made.id, url=url))
        assert error.param == "url", error
    for endpoint in (made, other):
        assert client.webhooks.delete(endpoint.id).deleted
    expect(openai.NotFoundError, lambda: client.webhooks.retrieve(made.id))


def test_webhook_deliveries(service):
    client, receiver = service.client(), Receiver()
    hook = client.webhooks.create(name="all", url=receiver.url,
                                  event_types=[f"fine_tuning.job.{end}" for end in ("succeeded", "failed", "cancelled")])
    result = client.webhooks.test(hook.id, event_type="fine_tuning.job.failed")
    assert result.status_code == 200 and result.success and len(receiver.deliveries) == 1, result
    rotated = client.webhooks.rotate_secret(hook.id, keep_old_secret_active_for_24_hours=True)
    jobs = {}
    for suffix, end in (("good", "succeeded"), ("bad", "failed"), ("slow", "cancelled")):
        job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id, suffix=suffix)
        if end == "cancelled":
            wait_until("the job to run", lambda job=job: client.fine_tuning.jobs.retrieve(job.id).status == "running")
            client.fine_tuning.jobs.cancel(job.id)
        jobs[job.id] = f"fine_tuning.job.{finished(client, job.id).status}"
        assert jobs[job.id].endswith(end), jobs
    wait_until("three deliveries", lambda: len(receiver.deliveries) >= 4)
    told = {}
    for headers, body in receiver.deliveries[1:]:
        for secret in (hook.signing_secret, rotated.signing_secret):
            event = client.webhooks.unwrap(body, headers, secret=secret)
            told[event.data.id] = event.type
        wrong = "whsec_" + "A" * 43 + "="
        expect(openai.InvalidWebhookSignatureError, lambda: client.webhooks.unwrap(body, headers, secret=wrong))
        expect(openai.InvalidWebhookSignatureError,
               lambda: client.webhooks.unwrap(body + b" ", headers, secret=hook.signing_secret))
    assert told == jobs, (told, jobs)
    client.webhooks.delete(hook.id)


def test_webhook_after_failures_and_a_restart(service):
    client, receiver = service.client(), Receiver(failures=2)
    hook = client.webhooks.create(name="late", url=receiver.url, event_types=["fine_tuning.job.succeeded"])
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id)
    finished(client, job.id)
    wait_until("the first attempt", lambda: receiver.deliveries)
    service.stop()
    service.start()
    wait_until("the second attempt", lambda: len(receiver.deliveries) >= 2)
    wait_until("the third attempt", lambda: len(receiver.deliveries) >= 3, limit_s=45)
    assert len({headers["webhook-id"] for headers, _ in receiver.deliveries}) == 1, receiver.deliveries
    for headers, body in receiver.deliveries:
        assert client.webhooks.unwrap(body, headers, secret=hook.signing_secret).data.id == job.id
    wait_until("the outbox to be empty", lambda: not list((service.data / "webhooks/outbox").glob("*.json")))
    client.webhooks.delete(hook.id)


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


def test_dpo_job(service):
    client = service.client()
    turns = {"input": {"messages": [{"role": "user", "content": "What is 2+2?"}]},
             "preferred_output": [{"role": "assistant", "content": "4"}],
             "non_preferred_output": [{"role": "assistant", "content": "5"}]}
    preferences = upload(client, json.dumps(turns).encode() + b"\n", "preferences.jsonl")
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 2, "batch_size": 4,
                                                         "learning_rate_multiplier": 0.5}}}
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=preferences.id, method=method)
    assert job.method.type == "dpo" and job.method.supervised is None, job.method
    assert job.method.dpo.hyperparameters.to_dict() == method["dpo"]["hyperparameters"], job.method
    assert finished(client, job.id).status == "succeeded"
    arrived = [json.loads(path.read_text()) for path in service.data.rglob("job.json") if job.id in str(path)]
    assert len(arrived) == 1, arrived
    wanted = {"rlhf_type": "dpo", "beta": 0.2, "loss_type": "sigmoid", "num_train_epochs": 2, "learning_rate": 0.5e-4,
              "gradient_accumulation_steps": 4}
    assert {key: arrived[0][key] for key in wanted} == wanted, arrived
    for file, kind in ((upload(client), {"type": "dpo"}), (preferences, {"type": "supervised"})):
        error = expect(openai.BadRequestError, lambda: client.fine_tuning.jobs.create(
            model=MODEL, training_file=file.id, method=kind))
        assert error.param == "training_file" and "the first on line 1" in str(error), error


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
