#!/usr/bin/env python3
"""Fuzzes a running service against the OpenAPI document that it serves itself, with schemathesis.

  python3 -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install schemathesis==4.32.5
  .venv/bin/python tests/e2e/openapi_fuzz.py --schemathesis /tmp/fuzz/bin/schemathesis [--examples 100] [--seed 1]

Every address, every phase (examples, coverage of the schemas' boundaries, random bodies, chains of requests that use what
earlier ones made), every check: no 5xx, only documented statuses and types, replies as the schemas say, wrong data refused, good
data taken, no access without a key, none to what was deleted. And ours: the process stays small. Ends with schemathesis' exit code.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))
import tiny_models
from service import Service

ROWS = b'{"query": "Define love.", "response": "A temporary insanity curable by marriage."}\n' * 4
# Rules over several keys, whether parts are an upload's, and whether a URL may be called are no matter of a schema. QUERY is no
# method to the HTTP library: 400.
CONFIG = """
hooks = "{hooks}"
generation.allow-x00 = false
phases.coverage.unexpected-methods = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"]
[[operations]]
include-path-regex = "/(jobs|jobs/plan|sweeps|chat/completions|complete|webhook_endpoints|webhook_endpoints/.*|models/.*)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429"]
"""


class Api:
    def __init__(self, service):
        self.base, self.key = f"http://127.0.0.1:{service.port}", service.key

    def post(self, path, body, content_type="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Authorization": f"Bearer {self.key}",
                                                                  "Content-Type": content_type})
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)


def form(**fields):
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"
             for name, (more, value) in fields.items()]
    return b"".join(parts) + b"--b--\r\n"


def make_known(api, model):
    """One thing of each kind, so that the addresses have something to find."""
    file = api.post("/v1/files", form(purpose=("", b"fine-tune"), file=('; filename="rows.jsonl"', ROWS)),
                    "multipart/form-data; boundary=b")["id"]
    job = {"model": model, "training_file": file, "max_steps": 1, "workers": 1}
    sweep = {"parameters": {"lora_rank": [2, 4]}, "metric": "loss"}
    webhook = {"name": "a", "url": "https://hooks.example/x", "event_types": ["fine_tuning.job.failed"]}
    upload = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": 10, "mime_type": "text/plain"}
    with urllib.request.urlopen(api.base + "/openapi.json", timeout=20) as reply:
        fields = list(json.load(reply)["components"]["schemas"]["CreateJob"]["properties"])
    return {"file": [file], "model": [model], "job fields": [*fields, "sweep"],
            "job": [api.post("/v1/fine_tuning/jobs", job)["id"] for _ in range(2)],
            "sweep": [api.post("/v1/fine_tuning/sweeps", {**job, "sweep": sweep})["id"]],
            "webhook": [api.post("/v1/webhook_endpoints", webhook)["id"]],
            "upload": [api.post("/v1/uploads", upload)["id"]],
            "key": [api.post("/v1/keys", {"scopes": ["read"]})["id"]]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemathesis", default=shutil.which("schemathesis"))
    parser.add_argument("--examples", type=int, default=50, help="random requests of each operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("rest", nargs="*", help="further arguments of schemathesis, after --")
    options = parser.parse_args()
    if not options.schemathesis:
        sys.exit("no schemathesis: pip install schemathesis==4.32.5 into an environment of its own")
    directory = Path(tempfile.mkdtemp(prefix="tunefleet-fuzz-"))
    model = tiny_models.make("llama", directory / "models")
    service = Service(directory / "data", directory / "models", slots=1,
                      options=["--rate-limit", 0, "--create-limit", 0, "--wrong-key-limit", 0]).start()
    try:
        known = make_known(Api(service), Path(model).name)
        (directory / "schemathesis.toml").write_text(CONFIG.format(hooks=Path(__file__).with_name("openapi_hooks.py")))
        code = subprocess.run(
            [options.schemathesis, "--config-file", "schemathesis.toml", "run", f"http://127.0.0.1:{service.port}/openapi.json",
             "-H", f"Authorization: Bearer {service.key}", "--max-examples", str(options.examples), "--seed", str(options.seed),
             "--request-timeout", "20", "--continue-on-failure", *options.rest], cwd=directory,
            env={**os.environ, "TUNEFLEET_KNOWN": json.dumps(known), "TUNEFLEET_PID": str(service.process.pid)}).returncode
        if service.process.poll() is not None:
            sys.exit(f"the service has ended with exit code {service.process.returncode}:\n{service.log()[-3000:]}")
    finally:
        left = service.stop()
    if left:
        sys.exit(f"the service left processes behind: {left}")
    if code == 0 and "TUNEFLEET_KEEP" not in os.environ:
        shutil.rmtree(directory)
    sys.exit(code)


if __name__ == "__main__":
    main()
