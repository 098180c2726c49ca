"""`tunefleet up` on a directory of its own with a test double for the trainer, for the tests of this folder and the client's."""
import os
import socket
import subprocess
import time
from pathlib import Path

import openai

HERE = Path(__file__).resolve().parent
BIN = Path(os.environ.get("TUNEFLEET_BIN", HERE.parents[2] / "build/release/bin"))
ROWS = b'{"query": "What is 2+2?", "response": "4"}\n{"query": "Capital of France?", "response": "Paris"}\n'
MODEL = "Base-0.1B"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, happened, limit_s=20):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if seen := happened():
            return seen
        time.sleep(0.05)
    raise TimeoutError(f"waited {limit_s} s for: {what}")


def expect(kind, call):
    """The exception of that kind that `call` raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


class Service:
    def __init__(self, folder):
        self.data, self.port = folder / "data", free_port()
        (folder / "models" / MODEL).mkdir(parents=True)
        (folder / "models" / MODEL / "config.json").write_text("{}")
        (folder / "models" / MODEL / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
        self.command = [BIN / "tunefleet", "up", "--data", self.data, "--models", folder / "models", "--port", str(self.port),
                        "--webhook-allow", "127.0.0.1", "--detach"]
        self.environment = {**os.environ, "TUNEFLEET_TRAINER": str(HERE / "fake_trainer.py")}

    def start(self):
        started = subprocess.run(self.command, capture_output=True, text=True, timeout=60, env=self.environment)
        assert started.returncode == 0, started.stderr
        return self

    def stop(self):
        return subprocess.run([BIN / "tunefleet", "down", "--data", self.data], capture_output=True, text=True, timeout=60)

    def client(self, port=None, **options):
        options.setdefault("api_key", (self.data / "admin.key").read_text().strip())
        options.setdefault("max_retries", 0)
        return openai.OpenAI(base_url=f"http://127.0.0.1:{port or self.port}/v1", timeout=20,
                             _strict_response_validation=True, **options)

    def redis(self):
        """Process id of the private redis-server; None while there is none."""
        for entry in Path("/proc").iterdir():
            try:
                here = entry.name.isdigit() and (entry / "cwd").resolve() == self.data / "redis"
                if here and (entry / "comm").read_text().strip() == "redis-server":
                    return int(entry.name)
            except OSError:
                continue
        return None


def upload(client, rows=ROWS, name="train.jsonl"):
    return client.files.create(file=(name, rows), purpose="fine-tune")


def finished(client, job, limit_s=30):
    return wait_until(f"job {job} to end", lambda: (seen := client.fine_tuning.jobs.retrieve(job)).status
                      in ("succeeded", "failed", "cancelled") and seen, limit_s)
