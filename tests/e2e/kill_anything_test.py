#!/usr/bin/env python3
"""Kills whatever runs, at random, while jobs are submitted; then counts that no job was lost, doubled or run twice at a time.

  kill_anything_test.py [--kills 50] [--seconds 300] [--seed S]

Real Redis, coordinators, agents and mpirun; the ranks are rank_double.py. SIGKILL goes to a coordinator, Redis, an agent or a
rank, as the printed seed draws it, and each is started again after a moment.
"""
import argparse
import collections
import json
import random
import subprocess
import threading
import time

from chaos_clients import FINAL, Api, Follower, Submitter, until_answered
from chaos_fleet import Fleet
from service import programs

SUBMITTERS, FOLLOWERS = 2, 3
ROW = {"messages": [{"role": "user", "content": "Define happiness."}, {"role": "assistant", "content": "An agreeable sensation."}]}


def upload(api):
    boundary = "rows"
    parts = [("purpose", "", "fine-tune"), ("file", '; filename="rows.jsonl"', json.dumps(ROW) + "\n")]
    body = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
                   for name, more, value in parts) + f"--{boundary}--\r\n"
    status, answer = api.ask("POST", "/files", body.encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    assert status == 200, answer
    return answer["id"]


def all_jobs(apis, stop_at):
    """Every job there is, oldest first."""
    jobs, after = [], ""
    while True:
        _, page = until_answered(apis, "GET", f"/fine_tuning/jobs?limit=100{after}", stop_at)
        jobs += page["data"]
        if not page["has_more"]:
            return jobs[::-1]
        after = f"&after={jobs[-1]['id']}"


def events_of(apis, job, stop_at):
    """A job's events, oldest first, read in small pages."""
    events, after = [], ""
    while True:
        _, page = until_answered(apis, "GET", f"/fine_tuning/jobs/{job}/events?limit=4{after}", stop_at)
        events += page["data"]
        if not page["has_more"]:
            return events[::-1]
        after = f"&after={events[-1]['id']}"


class Chaos:
    def __init__(self, options, scratch):
        self.options, self.random = options, random.Random(options.seed)
        self.fleet = Fleet(scratch)
        self.killed = collections.Counter()
        self.mutex, self.to_follow, self.followed = threading.Lock(), [], set()

    def start(self):
        first = self.fleet.coordinators[0]
        self.fleet.start_first()
        key = (first.data / "admin.key").read_text().strip()
        self.apis = [Api(one.port, key) for one in self.fleet.coordinators]
        training_file = upload(self.apis[0])
        self.fleet.start_rest()
        self.submitters = [Submitter(i, self.apis, training_file, random.Random(f"{self.options.seed}/{i}"), self.options.pause)
                           for i in range(SUBMITTERS)]
        self.followers = [Follower(self.apis, self.next_to_follow) for _ in range(FOLLOWERS)]
        for thread in [*self.submitters, *self.followers]:
            thread.start()

    def next_to_follow(self):
        with self.mutex:
            for submitter in self.submitters:
                for job in list(submitter.accepted.values()):
                    if job not in self.followed:
                        self.followed.add(job)
                        return job
        return None

    def tend_for(self, seconds):
        stop_at = time.monotonic() + seconds
        while time.monotonic() < stop_at:
            self.fleet.tend()
            time.sleep(0.05)

    def kill(self):
        """All the kills, spread over the time there is for them."""
        begun = time.monotonic()
        while (left := self.options.kills - self.killed.total()) > 0:
            left_s = begun + self.options.seconds - time.monotonic()
            self.tend_for(self.random.uniform(0.2, 1.8) * max(0.1, left_s / left))
            kind, victim = self.next_victim()
            self.killed[kind] += 1
            print(f"  {time.monotonic() - begun:6.1f} s  killed {victim}", flush=True)

    def next_victim(self):
        """Draws until what was drawn is there to be killed."""
        while True:
            if killed := self.fleet.kill_one(self.random):
                return killed
            self.tend_for(0.05)

    def drain(self):
        """Lets everything come to its end; the jobs."""
        for submitter in self.submitters:
            submitter.stopping.set()
        stop_at = time.monotonic() + self.options.drain
        while True:
            self.tend_for(0.5)
            jobs = all_jobs(self.apis, stop_at + 30)
            submitting = any(submitter.is_alive() for submitter in self.submitters)
            if time.monotonic() > stop_at or (not submitting and all(job["status"] in FINAL for job in jobs)):
                break
        self.tend_for(1.5)
        for follower in self.followers:
            follower.stopping.set()
        for follower in self.followers:
            follower.join(timeout=12)
        return jobs

    def redis(self, *words):
        return subprocess.run(["redis-cli", "-s", self.fleet.scratch / "redis.sock", *words], capture_output=True, text=True,
                              timeout=10).stdout.strip()


def check_ends(checks, chaos, jobs):
    accepted = {name: job for submitter in chaos.submitters for name, job in submitter.accepted.items()}
    sent = [name for submitter in chaos.submitters for name in submitter.sent]
    cancelled = set().union(*(submitter.cancelled for submitter in chaos.submitters))
    kept = set().union(*(submitter.cancels_kept for submitter in chaos.submitters))
    stored = {job["id"]: job for job in jobs}
    made = collections.Counter(job["metadata"]["submission"] for job in jobs)
    checks.equal("nothing was refused", [refusal for submitter in chaos.submitters for refusal in submitter.refused][:3], [])
    checks.equal("every submission was answered in the end", sorted(set(sent) - set(accepted)), [])
    checks.equal("accepted jobs that are lost", sorted(job for job in accepted.values() if job not in stored), [])
    checks.equal("submissions that made two jobs", [name for name, count in made.items() if count > 1], [])
    open_jobs = [(job["id"], job["state"]) for job in jobs if job["status"] not in FINAL]
    checks.that("every job has ended", not open_jobs, f"{len(open_jobs)} have not {open_jobs[:3]}")
    checks.equal("cancels that are lost", sorted(job for job in kept if stored[job]["status"] != "cancelled"), [])
    wrong = []
    for job in jobs:
        fails = job["metadata"]["fails"] == "True"
        wanted = ("failed" if fails else "succeeded", *(("cancelled",) if job["id"] in cancelled else ()))
        if job["status"] in FINAL and job["status"] not in wanted:
            wrong.append((job["id"], job["status"], job["error"]))
    checks.equal("jobs that ended otherwise than they should", wrong[:3], [])
    return accepted


def check_events(checks, chaos, jobs):
    gaps, ends = [], []
    for job in jobs:
        events = events_of(chaos.apis, job["id"], time.monotonic() + 30)
        numbers = [int(event["id"].rsplit("-", 1)[-1]) for event in events]
        stored = int(chaos.redis("HGET", f"tf:{{{job['id']}}}:job", "events") or 0)
        if numbers != list(range(1, stored + 1)):
            gaps.append((job["id"], numbers, stored))
        final = [event["message"] for event in events
                 if event["message"].startswith(("The job has successfully", "The job failed", "The job was cancelled"))]
        if job["status"] in FINAL and (len(final) != 1 or final[0] != events[-1]["message"]):
            ends.append((job["id"], final))
    checks.equal("jobs whose event numbers have gaps", gaps[:3], [])
    checks.equal("jobs without exactly one end, told last", ends[:3], [])
    followed = {job: numbers for follower in chaos.followers for job, numbers in follower.seen.items() if job in follower.finished}
    broken = [(job, numbers) for job, numbers in followed.items() if numbers != list(range(1, len(numbers) + 1))]
    checks.equal("followers that missed an event or saw one twice", broken, [])
    checks.that("followers reached the end of jobs", len(followed) > 0,
                f"{len(followed)}, cut off {sum(follower.cut_off for follower in chaos.followers)} times")


def check_runs(checks, chaos):
    """What the ranks themselves wrote down."""
    lives = collections.defaultdict(list)
    for path in chaos.fleet.journals.iterdir():
        job, attempt, rank, _ = path.name.rsplit(".", 3)
        times = [float(line.split()[1]) for line in path.read_text().splitlines()]
        if times:
            lives[job].append((int(attempt), int(rank), times[0], times[-1]))
    twice = [job for job, ranks in lives.items() if len({life[:2] for life in ranks}) != len(ranks)]
    checks.equal("jobs of which a rank was started twice in one attempt", twice, [])
    overlaps = []
    for job, ranks in lives.items():
        for earlier in ranks:
            overlaps += [(job, earlier, later) for later in ranks if later[0] > earlier[0] and later[2] < earlier[3]]
    checks.equal("jobs that ran twice at a time", overlaps, [])
    attempts = [max(life[0] for life in ranks) for ranks in lives.values()]
    print(f"     {len(lives)} jobs ran, {sum(attempts)} attempts, {max(attempts, default=0)} at most of one job")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300, help="for kills and submissions; what is left then has --drain")
    parser.add_argument("--drain", type=float, default=120)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two jobs of a submitter, on average")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.kills} kills", flush=True)
    checks, chaos = programs.Checks(), Chaos(options, programs.scratch("chaos"))
    try:
        chaos.start()
        chaos.kill()
        jobs = chaos.drain()
        accepted = check_ends(checks, chaos, jobs)
        check_events(checks, chaos, jobs)
        check_runs(checks, chaos)
        checks.equal("jobs left in the indexes of what waits and runs",
                     (chaos.redis("ZCARD", "tf:queued"), chaos.redis("ZCARD", "tf:running")), ("0", "0"))
        checks.equal("programs that crashed by themselves", chaos.fleet.crashes(), [])
        checks.that("it was killed as often as asked for", chaos.killed.total() == options.kills, str(dict(chaos.killed)))
        statuses = collections.Counter(job["status"] for job in jobs)
        print(f"     {len(accepted)} jobs accepted, {dict(statuses)}; {sum(s.lost_replies for s in chaos.submitters)} replies "
              f"thrown away, {sum(s.repeats for s in chaos.submitters)} requests sent again")
    finally:
        chaos.fleet.stop()
    checks.equal("ranks left running", chaos.fleet.ranks(), [])
    checks.finish()


if __name__ == "__main__":
    main()
