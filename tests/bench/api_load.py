#!/usr/bin/env python3
"""How long the API takes at a fixed rate with many jobs stored: the real coordinator, Redis, and an agent with a long job.

  api_load.py [--rate 200] [--seconds 20] [--stored 10000] [--waiting 10000] [--json FILE]

Open loop: requests are sent when they are due, whether or not earlier ones were answered, and a reply's time counts from when
its request was due. --waiting of the stored jobs wait in the queue, the rest have ended.
"""
import argparse
import http.client
import json
import random
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from chaos_fleet import Fleet
from chaos_clients import Api, upload_body
from service import programs, wait_until

# Parts of a hundred requests. The list's pages are the newest ones and those after a job anywhere in it.
MIXTURE = {"create": 20, "retrieve": 35, "list": 15, "list after": 10, "events": 20}
CALLERS = 48


class Caller:
    """One kept-alive connection; reconnects when it was closed."""

    def __init__(self, port, key):
        self.port, self.headers = port, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.connection = None

    def ask(self, method, path, body=None):
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            self.connection.request(method, "/v1/fine_tuning/jobs" + path, body, self.headers)
            reply = self.connection.getresponse()
            text = reply.read()
        except (OSError, http.client.HTTPException):
            self.connection = None
            raise
        return reply.status, text


class Load:
    def __init__(self, options, port, key, training_file):
        self.options, self.port, self.key, self.file = options, port, key, training_file
        self.random, self.mutex = random.Random(options.seed), threading.Lock()
        self.jobs, self.times, self.failures = [], {kind: [] for kind in MIXTURE}, []

    def body(self):
        return json.dumps({"model": "small", "training_file": self.file, "workers": 1, "max_steps": 10_000_000})

    def at_once(self, calls):
        """Runs `calls` (functions of a Caller) from many threads."""
        waiting = list(calls)[::-1]

        def work():
            caller = Caller(self.port, self.key)
            while True:
                with self.mutex:
                    if not waiting:
                        return
                    call = waiting.pop()
                call(caller)

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def create(self, caller):
        status, text = caller.ask("POST", "", self.body())
        assert status == 200, text
        self.jobs.append(json.loads(text)["id"])

    def fill(self):
        begun = time.monotonic()
        self.at_once([self.create] * self.options.stored)
        made_s = time.monotonic() - begun
        ended = self.random.sample(self.jobs, self.options.stored - self.options.waiting)
        self.at_once([lambda caller, job=job: caller.ask("POST", f"/{job}/cancel") for job in ended])
        return self.options.stored / made_s

    def request(self):
        kind = self.random.choices(list(MIXTURE), MIXTURE.values())[0]
        job = self.random.choice(self.jobs)
        return {"create": (kind, "POST", "", self.body()), "retrieve": (kind, "GET", f"/{job}", None),
                "list": (kind, "GET", "?limit=20", None), "list after": (kind, "GET", f"?limit=20&after={job}", None),
                "events": (kind, "GET", f"/{job}/events?limit=20", None)}[kind]

    def run(self):
        """Each caller takes the next request that is due; there are enough of them for many late replies."""
        begun = time.monotonic() + 0.5
        due = [(begun + i / self.options.rate, *self.request()) for i in range(int(self.options.rate * self.options.seconds))][::-1]

        def work():
            caller = Caller(self.port, self.key)
            while True:
                with self.mutex:
                    if not due:
                        return
                    at, kind, method, path, body = due.pop()
                time.sleep(max(0.0, at - time.monotonic()))
                try:
                    status, text = caller.ask(method, path, body)
                    good = status == 200
                except (OSError, http.client.HTTPException) as error:
                    good, text = False, str(error)
                took_ms = (time.monotonic() - at) * 1000
                with self.mutex:
                    self.times[kind].append(took_ms)
                    if not good:
                        self.failures.append((kind, text[:200]))

        threads = [threading.Thread(target=work) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def summary(times):
    times = sorted(times)
    at = lambda part: round(times[min(len(times) - 1, int(part * len(times)))], 2)
    return {"requests": len(times), "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": round(times[-1], 2)}


def start(fleet):
    """Redis, one coordinator and one agent; returns the coordinator and a key."""
    fleet.redis.start()
    wait_until("Redis listens", (fleet.scratch / "redis.sock").exists)
    coordinator = fleet.coordinators[0]
    coordinator.start()
    wait_until("the coordinator answers", coordinator.answers, limit_s=15)
    fleet.agents[0].start()
    return coordinator, (fleet.shared / "admin.key").read_text().strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--stored", type=int, default=10_000)
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results there")
    options = parser.parse_args()
    fleet = Fleet(programs.scratch("api-load"))
    try:
        coordinator, key = start(fleet)
        status, file = Api(coordinator.port, key).ask("POST", "/files", **upload_body(1))
        assert status == 200, file
        load = Load(options, coordinator.port, key, file["id"])
        creates_per_s = load.fill()
        print(f"stored {options.stored} jobs, {options.waiting} of them wait; {creates_per_s:.0f} created a second", flush=True)
        time.sleep(3)
        load.run()
    finally:
        fleet.stop()
    results = {kind: summary(times) for kind, times in load.times.items()}
    results["all"] = summary([ms for times in load.times.values() for ms in times])
    for kind, result in results.items():
        print(f"{kind:<12} {result['requests']:>6} requests   p50 {result['p50_ms']:>8} ms   p99 {result['p99_ms']:>8} ms   "
              f"max {result['max_ms']:>8} ms")
    print(f"{len(load.failures)} failed {load.failures[:3]}")
    if options.json:
        options.json.write_text(json.dumps({
            "command": "tests/bench/api_load.py " + " ".join(sys.argv[1:]), "date": time.strftime("%Y-%m-%d"),
            "rate_per_s": options.rate, "seconds": options.seconds, "stored": options.stored, "waiting": options.waiting,
            "mixture_percent": MIXTURE, "fill_creates_per_s": round(creates_per_s), "failures": len(load.failures),
            "routes": results}, indent=1) + "\n")
    sys.exit(1 if load.failures else 0)


if __name__ == "__main__":
    main()
