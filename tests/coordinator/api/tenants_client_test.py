"""Tenants as the stock OpenAI client and the command line see them, against `tunefleet up` with a test double for the trainer.

    TUNEFLEET_BIN=build/release/bin tenants_client_test.py
"""
import json
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2 as httpx  # what the client itself speaks HTTP with
import openai
from openapi_spec_validator import validate

from protocol_service import BIN, MODEL, Service, expect, finished, upload


def keys(service, *words, code=0):
    done = subprocess.run([BIN / "tunefleet", "keys", *words, "--data", service.data], capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done
    return done


def new_key(service, *words):
    return keys(service, "create", *words).stdout.strip()


def tuned_model(client):
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id, suffix="shared")
    return finished(client, job.id).fine_tuned_model


def test_openapi_document(service):
    document = httpx.get(f"http://127.0.0.1:{service.port}/openapi.json").json()
    validate(document)
    assert document["openapi"].startswith("3.1") and "/v1/fine_tuning/jobs/{id}/events" in document["paths"]


def test_keys_command(service):
    made = keys(service, "create", "--tenant", "acme", "--scope", "read", "--expires", "30d", "--name", "nightly")
    key = made.stdout.strip()
    assert key.startswith("tf-") and "\n" not in key and key not in made.stderr, made
    listed = json.loads(keys(service, "list", "--tenant", "acme", "--json").stdout)
    assert [(entry["name"], entry["scopes"], entry["prefix"]) for entry in listed] == [("nightly", ["read"], key[:7])], listed
    assert abs(listed[0]["expires_at"] - time.time() - 30 * 86400) < 60, listed
    reader = service.client(api_key=key)
    assert list(reader.files.list()) == []
    error = expect(openai.PermissionDeniedError, lambda: upload(reader))
    assert error.code == "insufficient_scope" and "submit" in str(error), error
    assert listed[0]["id"] in keys(service, "list").stdout
    keys(service, "revoke", listed[0]["id"])
    expect(openai.AuthenticationError, lambda: reader.files.list())
    assert "no such API key" in keys(service, "revoke", listed[0]["id"], code=2).stderr
    assert "30d, 12h or 90m" in keys(service, "create", "--expires", "soon", code=2).stderr
    assert key not in (service.data / "keys/api_keys.json").read_text()


def test_tenants_are_apart(service):
    client, acme = service.client(), service.client(api_key=new_key(service, "--tenant", "acme"))
    file, mine = upload(client), upload(acme)
    assert [entry.id for entry in acme.files.list()] == [mine.id]
    expect(openai.NotFoundError, lambda: acme.files.retrieve(file.id))
    job = acme.fine_tuning.jobs.create(model=MODEL, training_file=mine.id)
    assert job.organization_id == "acme"
    expect(openai.NotFoundError, lambda: client.fine_tuning.jobs.retrieve(job.id))
    finished(acme, job.id)


def test_permissions_of_checkpoints(service):
    client, beta = service.client(), service.client(api_key=new_key(service, "--tenant", "beta"))
    model = tuned_model(client)
    expect(openai.NotFoundError, lambda: beta.models.retrieve(model))
    permissions = client.fine_tuning.checkpoints.permissions
    made = permissions.create(model, project_ids=["beta", "gamma"])
    assert {entry.project_id for entry in made} == {"beta", "gamma"}, made
    assert len(list(permissions.list(model, limit=1))) == 2
    assert [entry.project_id for entry in permissions.list(model, project_id="beta")] == ["beta"]
    assert beta.models.retrieve(model).owned_by == "admin" and model in [entry.id for entry in beta.models.list()]
    job = beta.fine_tuning.jobs.create(model=model, training_file=upload(beta).id)
    assert finished(beta, job.id).status == "succeeded"
    expect(openai.PermissionDeniedError, lambda: beta.fine_tuning.checkpoints.permissions.create(model, project_ids=["x"]))
    allowed = next(entry for entry in permissions.list(model) if entry.project_id == "beta")
    assert permissions.delete(allowed.id, fine_tuned_model_checkpoint=model).deleted
    expect(openai.NotFoundError, lambda: beta.models.retrieve(model))


def test_deleted_model(service):
    client = service.client()
    model = tuned_model(client)
    checkpoint = Path(client.models.retrieve(model).model_extra["checkpoint"])
    assert checkpoint.exists()
    assert client.models.delete(model).deleted
    assert not checkpoint.exists() and model not in [entry.id for entry in client.models.list()]
    expect(openai.NotFoundError, lambda: client.models.retrieve(model))


def test_audit_log(service):
    path = service.data / "audit.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {"tenant": "acme", "route": "/v1/fine_tuning/jobs", "status": 200}.items() <= next(
        line for line in lines if line["tenant"] == "acme" and line["object"].startswith("ftjob-")).items()
    assert any(line["status"] == 403 for line in lines) and any(line["status"] == 401 for line in lines)
    assert (service.data / "admin.key").read_text().strip() not in path.read_text()


def test_rate_limit_flags(service):
    service.stop()
    service.command += ["--rate-limit", "2", "--rate-limit-burst", "2"]
    service.start()
    client = service.client()
    reply = client.models.with_raw_response.list()
    assert reply.headers["x-ratelimit-limit-requests"] == "2", reply.headers
    client.models.list()
    error = expect(openai.RateLimitError, lambda: client.models.list())
    assert error.code == "rate_limit_exceeded" and error.response.headers["retry-after"] == "1", error
    assert service.client(max_retries=2).models.list().data, "the client waits as it is told and succeeds"


def main():
    with tempfile.TemporaryDirectory(prefix="tunefleet-tenants-") as folder:
        service = Service(Path(folder)).start()
        try:
            for name, test in list(globals().items()):
                if name.startswith("test_"):
                    begun = time.monotonic()
                    test(service)
                    print(f"ok   {name} ({time.monotonic() - begun:.2f} s)", flush=True)
        except BaseException:
            print((service.data / "up.log").read_text()[-3000:], file=sys.stderr)
            raise
        finally:
            service.stop()


main()
