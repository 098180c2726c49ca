"""Runs the project's programs for the comparisons beside this file, and reads what they leave.

Where things are: TUNEFLEET_BIN (default build/release/bin) and TUNEFLEET_MODEL (default the model deploy/prepare-model makes).
Every process has a time limit, and its whole group is killed when that has passed.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("TUNEFLEET_BIN", ROOT / "build/release/bin"))
MODEL = Path(os.environ.get("TUNEFLEET_MODEL", ROOT / ".data/models/SmolLM2-135M-Instruct"))
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
          "--mca", "btl_vader_single_copy_mechanism", "none"]

# A step that adds nothing to what is compared: no clipping, decay, schedule, dropout or shuffling.
PLAIN_STEP = dict(learning_rate=1e-4, lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=0.0,
                  gradient_accumulation_steps=1, gradient_checkpointing=False, lora_dropout=0.0, lora_alpha=16,
                  lora_rank=8, dataset_shuffle=False, logging_steps=1, save_strategy="no", device="cpu")


class Finished:
    """How a process ended: `code`, negative for a signal, and its `out` and `err`."""

    def __init__(self, command, code, out, err, timed_out=False):
        self.command, self.code, self.out, self.err, self.timed_out = command, code, out, err, timed_out

    def __str__(self):
        ended = "ran past its time limit" if self.timed_out else f"exit code {self.code}"
        return f"{' '.join(map(str, self.command))}\n{ended}\n{self.out[-2000:]}{self.err[-4000:]}"


def program(name):
    path = BIN / name
    if not path.exists():
        sys.exit(f"{path} is missing; build it first (tests/run does), or set TUNEFLEET_BIN")
    return path


def model_directory():
    if not (MODEL / "config.json").exists():
        sys.exit(f"the model is missing; run deploy/prepare-model, or set TUNEFLEET_MODEL: {MODEL}")
    return MODEL


def run(command, timeout_s, **options):
    """Runs `command` to its end as a process group of its own."""
    command = list(map(str, command))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                               start_new_session=True, **options)
    try:
        out, err = process.communicate(timeout=timeout_s)
        return Finished(command, process.returncode, out, err)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return Finished(command, process.returncode, out, err, timed_out=True)


def must_run(command, timeout_s, **options):
    finished = run(command, timeout_s, **options)
    if finished.code != 0:
        sys.exit(f"a program failed that should not have: {finished}")
    return finished


def trainer_command(job, output, ranks=1):
    """Writes `job` (the job file's keys) beside `output` and returns the command that runs it."""
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    job_file = output.parent / f"{output.name}.job.json"
    job_file.write_text(json.dumps(job, indent=1))
    launcher = [*MPIRUN, "-np", str(ranks)] if ranks > 1 else []
    return [*launcher, program("tunefleet-trainer"), "run", job_file, "--output-dir", output]


def train(job, output, ranks=1, timeout_s=900):
    """Runs a job to its end; returns the per-step records of logging.jsonl."""
    must_run(trainer_command(job, output, ranks), timeout_s)
    return step_records(output)


def records(output):
    lines = (Path(output) / "logging.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def step_records(output):
    """The records of training steps, each once: the last line written for a step counts."""
    by_step = {record["global_step/max_steps"]: record for record in records(output)
               if "loss" in record and "global_step/max_steps" in record}
    return list(by_step.values())


def result(output):
    return json.loads((Path(output) / "result.json").read_text())


def checkpoint(output):
    return Path(result(output)["checkpoint"])


def logits(model, rows, output, adapter=None, dtype="float32", timeout_s=600):
    """Our logits of token rows: a list of float32 tensors [T, vocab]."""
    from safetensors.torch import load_file
    output = Path(output)
    tokens = output.with_suffix(".rows.json")
    tokens.write_text(json.dumps(rows))
    command = [program("tunefleet-trainer"), "logits", "--model", model, "--tokens", tokens, "--output", output, "--dtype", dtype]
    if adapter:
        command += ["--adapter", adapter]
    must_run(command, timeout_s)
    tensors = load_file(str(output))
    return [tensors[f"logits.{i}"] for i in range(len(rows))]


def write_rows(path, rows):
    """Writes pre-tokenised rows as the data set form `input_ids`."""
    Path(path).write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in rows))
    return str(path)


def scratch(name):
    """A directory that is removed when the script ends; TUNEFLEET_KEEP=1 keeps it and prints its path."""
    if os.environ.get("TUNEFLEET_KEEP"):
        path = tempfile.mkdtemp(prefix=f"tunefleet-{name}-")
        print(f"kept: {path}")
        return Path(path)
    scratch.holders.append(tempfile.TemporaryDirectory(prefix=f"tunefleet-{name}-", ignore_cleanup_errors=True))
    return Path(scratch.holders[-1].name)


scratch.holders = []


class Checks:
    """Collects what was compared; `finish()` prints the verdict and ends the script."""

    def __init__(self):
        self.failed = 0

    def at_most(self, what, seen, limit):
        self.that(what, seen <= limit, f"{seen:.3g} (limit {limit:g})")

    def equal(self, what, seen, wanted):
        self.that(what, seen == wanted, f"{seen!r}" if seen == wanted else f"{seen!r}, wanted {wanted!r}")

    def that(self, what, holds, detail=""):
        self.failed += not holds
        print(f"{'ok  ' if holds else 'FAIL'} {what}{': ' if detail else ''}{detail}", flush=True)

    def finish(self):
        print("all checks hold" if not self.failed else f"{self.failed} checks failed")
        sys.exit(1 if self.failed else 0)
