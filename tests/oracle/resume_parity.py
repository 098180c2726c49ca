#!/usr/bin/env python3
"""Stops runs and resumes them; every file of the last checkpoint must be byte-equal to that of the run never stopped.

  resume_parity.py [--ranks 1 2]

Two ways to stop: a finished checkpoint of an earlier step, and SIGTERM, after which the trainer saves and exits with 143.
The job shuffles, drops out, warms up, decays and accumulates, so that every kind of state matters; on a small random model.
"""
import argparse
import os
import signal
import subprocess
import time
from pathlib import Path

import programs
import tiny_models

STEPS, STOP = 12, 5
SIGTERM_EXIT_CODE = 143
MPIRUN_STOPPED_EXIT_CODE = 1  # mpirun passes SIGTERM on, waits for the ranks, and then says 1 for itself.


def job(scratch):
    import random

    random.seed(9)
    rows = [[random.randrange(3, 300) for _ in range(random.randrange(5, 60))] for _ in range(40)]
    return dict(model=str(tiny_models.make("llama-tied", scratch)), torch_dtype="float32", device="cpu",
                dataset=[programs.write_rows(scratch / "rows.jsonl", rows)], max_steps=STEPS, save_steps=STOP,
                per_device_train_batch_size=1, gradient_accumulation_steps=2, lora_dropout=0.1, warmup_steps=3,
                learning_rate=1e-3, logging_steps=1, lora_rank=4)


def contents(checkpoint):
    """Every file of a checkpoint that says what was learned and where the run stands, by relative path."""
    return {str(path.relative_to(checkpoint)): path.read_bytes()
            for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.suffix == ".safetensors"}


def compare(checks, what, checkpoint, reference):
    ours, wanted = contents(checkpoint), contents(reference)
    different = sorted(name for name in ours.keys() | wanted.keys() if ours.get(name) != wanted.get(name))
    checks.that(f"{what}: bit-identical", not different and len(wanted) >= 3, ", ".join(different) or f"{len(wanted)} files")


def wait_for_step(output, step, process, limit_s=120):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and process.poll() is None:
        log = Path(output) / "logging.jsonl"
        if log.exists() and len(log.read_text().splitlines()) >= step:
            return
        time.sleep(0.005)


def stop_by_signal(checks, settings, output, ranks):
    """Starts a run, sends SIGTERM during its first steps; returns the checkpoint it saved on the way out."""
    process = subprocess.Popen(list(map(str, programs.trainer_command(settings, output, ranks))), start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for_step(output, 2, process)
    os.kill(process.pid, signal.SIGTERM)
    try:
        process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    saved = programs.result(output) if (Path(output) / "result.json").exists() else {}
    wanted = SIGTERM_EXIT_CODE if ranks == 1 else MPIRUN_STOPPED_EXIT_CODE
    checks.that(f"{ranks} ranks: SIGTERM ends the run with a checkpoint",
                process.returncode == wanted and saved.get("stopped_by") == "signal",
                f"exit code {process.returncode}, step {saved.get('step')}")
    return Path(saved["checkpoint"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    checks, scratch = programs.Checks(), programs.scratch("resume")
    base = job(scratch)
    for ranks in options.ranks:
        settings = {**base, "workers": ranks}
        whole = scratch / f"whole-{ranks}"
        programs.train(settings, whole, ranks)
        compare(checks, f"{ranks} ranks: the same run again",
                *[programs.checkpoint(o) for o in (whole, again(settings, scratch / f"again-{ranks}", ranks))])
        resumed = scratch / f"resumed-{ranks}"
        records = programs.train({**settings, "resume_from_checkpoint": str(whole / f"checkpoint-{STOP}")}, resumed, ranks)
        checks.equal(f"{ranks} ranks: steps after the checkpoint", len(records), STEPS - STOP)
        compare(checks, f"{ranks} ranks: resumed at step {STOP}", programs.checkpoint(resumed), programs.checkpoint(whole))
        # A constant schedule: then the length of the run may be chosen after it was stopped.
        long_run = {**settings, "lr_scheduler_type": "constant", "max_steps": 100_000, "save_steps": 100_000}
        saved = stop_by_signal(checks, long_run, scratch / f"stopped-{ranks}", ranks)
        long_run["max_steps"] = programs.result(scratch / f"stopped-{ranks}")["step"] + STOP
        programs.train({**long_run, "resume_from_checkpoint": str(saved)}, scratch / f"continued-{ranks}", ranks)
        programs.train(long_run, scratch / f"undisturbed-{ranks}", ranks)
        compare(checks, f"{ranks} ranks: stopped by SIGTERM and resumed",
                *[programs.checkpoint(scratch / f"{run}-{ranks}") for run in ("continued", "undisturbed")])
    checks.finish()


def again(settings, output, ranks):
    programs.train(settings, output, ranks)
    return output


if __name__ == "__main__":
    main()
