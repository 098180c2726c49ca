"""A whole fleet as processes that can be killed: Redis, two coordinators, agents, ranks. For the test beside this file."""
import ctypes
import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

from service import free_port, processes, programs, wait_until

HOSTS = ("host-a", "host-b", "host-c")
SLOTS = 2
KINDS = ("coordinator", "redis", "agent", "rank")


def make_stand_in_model(directory):
    """What the service needs to see of a model to accept jobs for it; nobody trains it."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (directory / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")


PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def die_with_the_test():
    """In a child, before it becomes its program: nothing outlives a test that is killed itself."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Supervised:
    """A program that is started again whenever it has ended, as systemd would."""

    def __init__(self, name, command, log):
        self.name, self.command, self.log = name, list(map(str, command)), log
        self.process, self.restart_at, self.crashes = None, 0.0, []

    def start(self):
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, start_new_session=True,
                                            preexec_fn=die_with_the_test)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self, pause_s):
        self.process.kill()
        self.process.wait()
        self.restart_at = time.monotonic() + pause_s

    def tend(self):
        """Starts it when it is time; notes when it was ended by a signal that nobody sent."""
        if self.alive():
            return
        if self.restart_at == 0.0:
            if self.process.returncode < 0:
                self.crashes.append(signal.Signals(-self.process.returncode).name)
            self.restart_at = time.monotonic() + 0.3
        if time.monotonic() >= self.restart_at:
            self.restart_at = 0.0
            self.start()


class Coordinator(Supervised):
    """One of two that stand by for each other, with a data directory of its own and a shared one."""

    def __init__(self, name, fleet):
        self.data, self.port, fleet_port = fleet.scratch / name, free_port(), free_port()
        self.fleet_endpoint = f"tcp://127.0.0.1:{fleet_port}"
        super().__init__(name, [
            programs.program("tunefleet"), "coordinator", "--data", self.data, "--shared", fleet.shared, "--models", fleet.models, "--redis", fleet.redis_url,
            "--port", self.port, "--fleet-endpoint", self.fleet_endpoint, "--rate-limit", 0, "--create-limit", 0],
            fleet.scratch / f"{name}.log")

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False


class Fleet:
    """Everything that may be killed. Used by one thread; `kill_one` and `tend` are called from its loop."""

    def __init__(self, scratch):
        self.scratch, self.models, self.journals = scratch, scratch / "models", scratch / "journals"
        self.shared = scratch / "shared"
        self.journals.mkdir()
        make_stand_in_model(self.models / "small")
        self.redis_url = f"unix://{scratch}/redis.sock"
        self.redis = Supervised("redis", [
            "redis-server", "--port", 0, "--unixsocket", scratch / "redis.sock", "--dir", scratch, "--save", "", "--appendonly",
            "yes", "--appendfsync", "always"], scratch / "redis.log")
        self.coordinators = [Coordinator("one", self), Coordinator("two", self)]
        self.trainer = scratch / "trainer"
        double = Path(programs.program("tunefleet")).resolve().parents[1] / "tests" / "rank_double"
        self.trainer.write_text(f"#!/bin/sh\nexec {shlex.quote(str(double))} {shlex.quote(str(self.journals))} \"$@\"\n")
        self.trainer.chmod(0o755)
        endpoints = ",".join(one.fleet_endpoint for one in self.coordinators)
        keys = self.shared / "keys" / "node.json"
        self.agents = [Supervised(host, [
            programs.program("tunefleet-agent"), "run", "--coordinator", endpoints, "--curve", keys, "--slots", SLOTS, "--host",
            host, "--trainer", self.trainer], scratch / f"{host}.log") for host in HOSTS]

    def start(self):
        self.redis.start()
        wait_until("Redis listens", (self.scratch / "redis.sock").exists)
        for coordinator in self.coordinators:  # Both at once: one of them makes the keys.
            coordinator.start()
        for coordinator in self.coordinators:
            wait_until(f"coordinator {coordinator.name} answers", coordinator.answers, limit_s=15)
        for agent in self.agents:
            agent.start()

    def all(self):
        return [self.redis, *self.coordinators, *self.agents]

    def tend(self):
        for each in self.all():
            each.tend()

    def ranks(self):
        """(pid, job) of the trainer's doubles that run now."""
        found = []
        for pid, _, words in processes():
            if words[0].endswith("/rank_double") and str(self.journals) in words:
                found.append((pid, words[-2].rsplit("/", 1)[-1]))
        return found

    def kill_one(self, random):
        """Sends SIGKILL to one process; returns what it was, or None when there is none of the drawn kind."""
        kind = random.choice(KINDS)
        pause_s = random.uniform(0.1, 1.5)
        if kind == "rank":
            ranks = sorted(self.ranks())
            if not ranks:
                return None
            pid, job = random.choice(ranks)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return None
            return kind, f"a rank of {job}"
        group = {"redis": [self.redis], "agent": self.agents, "coordinator": self.coordinators}[kind]
        victim = random.choice(group)
        if not victim.alive():
            return None
        victim.kill(pause_s)
        return kind, f"{victim.name}, back in {pause_s:.1f} s"

    def crashes(self):
        return [f"{each.name}: {crash}" for each in self.all() for crash in each.crashes]

    def stop(self):
        for each in [*self.agents, *self.coordinators, self.redis]:
            if each.alive():
                each.process.terminate()
        for each in self.all():
            try:
                if each.process:
                    each.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                each.process.kill()
