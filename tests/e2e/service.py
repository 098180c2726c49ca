"""A running `tunefleet up` on a directory of its own, for the tests beside this file."""
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))
import programs


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, happened, limit_s=60, pause_s=0.05):
    """Calls `happened` until it gives something true, and returns that; ends the test when it does not in time."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        seen = happened()
        if seen:
            return seen
        time.sleep(pause_s)
    raise TimeoutError(f"waited {limit_s} s for: {what}")


def processes():
    """(pid, parent, words of the command line) of every process that can be read."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] != "Z":
            yield int(entry.name), int(fields[1]), words


def descendants(root):
    children = {}
    for pid, parent, _ in processes():
        children.setdefault(parent, []).append(pid)
    found, waiting = [], [root]
    while waiting:
        waiting += (born := children.get(waiting.pop(), []))
        found += born
    return found


class Service:
    """Starts the service in the foreground of a child process; `stop()` ends it as Ctrl-C does."""

    def __init__(self, data, models, slots=2, options=()):
        self.data, self.models, self.slots, self.port = Path(data), Path(models), slots, free_port()
        self.options = options
        self.process = None

    def start(self):
        log = (self.data.parent / f"{self.data.name}.up.log").open("a")
        command = [programs.program("tunefleet"), "up", "--data", self.data, "--port", self.port, "--models", self.models,
                   "--slots", self.slots, *self.options]
        self.process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, start_new_session=True)
        wait_until("the service answers", self.answers, limit_s=30)
        return self

    def answers(self):
        if self.process.poll() is not None:
            sys.exit(f"tunefleet up ended with exit code {self.process.returncode}:\n{self.log()[-3000:]}")
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return (self.data / "admin.key").exists()

    def log(self):
        return (self.data.parent / f"{self.data.name}.up.log").read_text(errors="replace")

    @property
    def key(self):
        return (self.data / "admin.key").read_text().strip()

    def client(self, key=None, retries=0):
        from openai import OpenAI

        return OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key or self.key, max_retries=retries,
                      timeout=20, _strict_response_validation=True)

    def redis(self):
        """Process id of the private redis-server."""
        return next((pid for pid, _, words in processes()
                     if pid in descendants(self.process.pid) and words[0].startswith("redis-server")
                     or (words[0].endswith("redis-server") and str(self.data) in " ".join(words))), None)

    def ranks(self, job):
        """Process ids of the trainers of a job, in the order they were started."""
        return sorted(pid for pid, _, words in processes()
                      if words[0].endswith("tunefleet-trainer") and any(job in word for word in words))

    def left_of(self, job):
        """Every process whose command line names the job."""
        return [(pid, " ".join(words)) for pid, _, words in processes() if any(job in word for word in words)]

    def stop(self):
        """Ends the service; returns the processes that it left behind, which should be none."""
        if self.process is None or self.process.poll() is not None:
            return []
        family = descendants(self.process.pid)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        alive = [pid for pid, _, _ in processes() if pid in family]
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
        return alive
