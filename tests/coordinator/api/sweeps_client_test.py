"""A sweep through the real programs, over a restart of the service, with a test double for the trainer.

    TUNEFLEET_BIN=build/release/bin sweeps_client_test.py
"""
import json
import subprocess
import tempfile
from pathlib import Path

from protocol_service import BIN, MODEL, ROWS, Service, wait_until

SWEEP = f"""
model: {MODEL}
dataset: rows.jsonl
name: devil
sweep:
  parameters:
    lora_rank: [4, 8]
    learning_rate: {{min: 1e-5, max: 1e-3, scale: log, count: 2}}
  metric: loss
  max_parallel: 1
"""


def tunefleet(service, *words, code=0):
    done = subprocess.run([BIN / "tunefleet", *words, "--data", service.data], capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done
    return done


def shown(service, sweep):
    return json.loads(tunefleet(service, "sweep", "show", sweep, "--json").stdout)


def main():
    with tempfile.TemporaryDirectory(prefix="tunefleet-sweeps-") as folder:
        folder = Path(folder)
        (folder / "sweep.yaml").write_text(SWEEP)
        (folder / "rows.jsonl").write_bytes(ROWS)
        service = Service(folder).start()
        try:
            sweep = tunefleet(service, "sweep", str(folder / "sweep.yaml")).stdout.strip()
            assert sweep.startswith("ftsweep-"), sweep
            wait_until("a first job", lambda: shown(service, sweep)["jobs"][0]["job"])
            service.stop()
            service.start()
            ended = wait_until("the sweep to end", lambda: (seen := shown(service, sweep))["status"] != "running" and seen, 60)
            assert ended["status"] == "succeeded", ended
            states = [job["state"] for job in ended["jobs"]]
            assert states == ["succeeded"] * 4, states
            assert len({job["job"] for job in ended["jobs"]}) == 4, ended
            assert len(list(service.client().fine_tuning.jobs.list())) == 4
            assert "lora_rank=8" in tunefleet(service, "sweep", "show", sweep).stdout
            assert sweep in tunefleet(service, "sweep", "list").stdout
            refused = tunefleet(service, "sweep", "cancel", sweep, code=2).stderr
            assert "succeeded" in refused, refused
            (folder / "bad.yaml").write_text(SWEEP.replace("lora_rank", "lora_rnak"))
            refused = tunefleet(service, "sweep", str(folder / "bad.yaml"), code=2).stderr
            assert "lora_rank" in refused, refused
        finally:
            service.stop()


if __name__ == "__main__":
    main()
    print("passed")
