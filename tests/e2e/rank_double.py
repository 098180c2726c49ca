#!/usr/bin/env python3
"""Stands in for tunefleet-trainer where only the service is tried: `rank_double.py JOURNALS run JOB.json --output-dir RUN`.

Takes `max_steps` steps of STEP_S, goes on from the last step an earlier attempt has noted, and writes down when it lived: a
file of its own, JOURNALS/<job>.<attempt>.<rank>.<pid>, gets a line for the start, each step and the end with the time of the
monotonic clock, which all processes of a machine share. A job named "fails" ends with a user's mistake.
"""
import json
import os
import signal
import sys
import time

STEP_S = 0.02
USER_MISTAKE, ASKED_TO_STOP = 2, 143


class Journal:
    def __init__(self, directory):
        job, attempt = os.environ["TUNEFLEET_JOB"], os.environ["TUNEFLEET_ATTEMPT"]
        self.rank = int(os.environ.get("OMPI_COMM_WORLD_RANK", 0))
        self.file = os.open(f"{directory}/{job}.{attempt}.{self.rank}.{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, word):
        os.write(self.file, f"{word} {time.monotonic():.4f}\n".encode())


def replace(path, value):
    with open(f"{path}.aside", "w") as file:
        json.dump(value, file)
    os.rename(f"{path}.aside", path)


def last_step(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return 0


def main():
    directory, job_file, run = sys.argv[1], sys.argv[3], sys.argv[5]
    journal = Journal(directory)
    journal.note("start")

    def asked_to_stop(*_):
        journal.note("end")
        os._exit(ASKED_TO_STOP)

    signal.signal(signal.SIGTERM, asked_to_stop)
    with open(job_file) as file:
        job = json.load(file)
    noted = f"{run}/double.step"
    for step in range(last_step(noted), job["max_steps"]):
        time.sleep(STEP_S)
        journal.note("step")
        if journal.rank == 0:
            replace(noted, step + 1)
    journal.note("end")
    if job.get("name") == "fails":
        sys.exit(USER_MISTAKE)
    if journal.rank == 0:
        replace(f"{run}/result.json", {"step": job["max_steps"]})


if __name__ == "__main__":
    main()
