#!/usr/bin/env python3
"""Kills whatever runs, at random, while jobs are submitted; then counts that no job was lost, doubled or run twice at a time.

  kill_anything_test.py [--kills 50] [--seconds 300] [--seed S]

Real Redis, coordinators, agents and mpirun; the ranks are rank_double.cpp. SIGKILL goes to a coordinator, Redis, an agent or a
rank, as the printed seed draws it, and each is started again after a moment.
"""
import argparse
import collections
import json
import random
import subprocess
import threading
import time

from chaos_clients import FINAL, Api, Follower, Submitter, Unanswered, until_answered, upload_body
from chaos_fleet import Fleet
from service import programs, wait_until

SUBMITTERS, FOLLOWERS = 2, 3


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


TAKEOVER_STEPS = 500  # Longer than a takeover, and than ranks and agents take to find who leads.


def check_takeover(checks, fleet, apis):
    """The one that leads is killed and stays away: a running job goes on undisturbed, and is heard of again."""
    _, file = until_answered(apis, "POST", "/files", time.monotonic() + 20, **upload_body(3))
    body = json.dumps({"model": "small", "training_file": file["id"], "workers": 2, "max_steps": TAKEOVER_STEPS, "name": "works",
                       "metadata": {"submission": "takeover", "fails": "False"}}).encode()
    _, job = until_answered(apis, "POST", "/fine_tuning/jobs", time.monotonic() + 20, body=body,
                            headers={"Content-Type": "application/json"})

    def job_at(api):
        try:
            return api.ask("GET", f"/fine_tuning/jobs/{job['id']}")[1]
        except Unanswered:
            return {}

    def step_at(api):
        return (job_at(api).get("progress") or {}).get("step", 0)

    leader = next(i for i, one in enumerate(fleet.coordinators) if "agents connect to" in one.log.read_text())
    other = apis[1 - leader]
    wait_until("the job makes progress", lambda: step_at(other) > 5, limit_s=20)
    fleet.coordinators[leader].process.kill()
    fleet.coordinators[leader].process.wait()
    killed = time.monotonic()
    before = step_at(other)
    try:
        wait_until("progress is told again", lambda: step_at(other) > before + 100, limit_s=12)
    except TimeoutError as error:
        return checks.that("ranks report to the coordinator that has taken over", False, str(error))
    print(f"     progress again {time.monotonic() - killed:.1f} s after the leader was killed")
    wait_until("the job ends", lambda: job_at(other).get("status") in FINAL, limit_s=25)
    ended = job_at(other)
    checks.equal("the job that ran through the takeover", (ended["status"], ended["attempt"]), ("succeeded", 1))
    told = [event["data"]["step"] for event in events_of([other], job["id"], time.monotonic() + 10) if event["type"] == "metrics"]
    checks.equal("its metrics, told before, during and after", told, list(range(10, TAKEOVER_STEPS + 1, 10)))
    fleet.coordinators[leader].start()


class Chaos:
    def __init__(self, options, scratch):
        self.options, self.random = options, random.Random(options.seed)
        self.fleet = Fleet(scratch)
        self.killed = collections.Counter()
        self.mutex, self.to_follow, self.followed = threading.Lock(), [], set()

    def start(self):
        self.fleet.start()
        key = (self.fleet.shared / "admin.key").read_text().strip()
        self.apis = [Api(one.port, key) for one in self.fleet.coordinators]

    def submit(self):
        self.submitters = [Submitter(i, self.apis, random.Random(f"{self.options.seed}/{i}"), self.options.pause)
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
        self.tend_for(2.0)  # Whatever was killed last is back: nobody tends while an answer is waited for.
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


def check_files(checks, chaos):
    """Every coordinator has every file that one of them took, whole."""
    files = {file: rows for submitter in chaos.submitters for file, rows in submitter.files.items()}
    checks.that("files were uploaded", len(files) > 0, str(len(files)))
    for api in chaos.apis:
        _, page = until_answered([api], "GET", "/files", time.monotonic() + 30)
        stored = {file["id"]: file["rows"] for file in page["data"]}
        checks.equal(f"files that port {api.port} does not have as they were sent",
                     sorted(file for file, rows in files.items() if stored.get(file) != rows), [])


def check_events(checks, chaos, jobs):
    gaps, ends = [], []
    for job in jobs:
        events = events_of(chaos.apis, job["id"], time.monotonic() + 30)
        numbers = [int(event["id"].rsplit("-", 1)[-1]) for event in events]
        stored = int(chaos.redis("LLEN", f"tf:{{{job['id']}}}:events") or 0)
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
        check_takeover(checks, chaos.fleet, chaos.apis)
        chaos.submit()
        chaos.kill()
        jobs = chaos.drain()
        accepted = check_ends(checks, chaos, jobs)
        check_files(checks, chaos)
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
