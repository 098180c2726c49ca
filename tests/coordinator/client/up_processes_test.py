"""What `tunefleet up` does when it or one of its processes is stopped or killed: nothing is left running, nothing is lost.

    TUNEFLEET_BIN=build/release/bin up_processes_test.py
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "api"))
from protocol_service import BIN, MODEL, Service, finished, upload, wait_until


def family(service):
    """(pid, name) of every process that works for this service, by the paths in its command line or its directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            directory = os.readlink(entry / "cwd")
        except OSError:
            continue
        if str(service.data) in words or directory.startswith(str(service.data)):
            found.append((int(entry.name), words.replace("\0", " ")[:120]))
    return found


def in_foreground(service):
    command = [word for word in service.command if word != "--detach"]
    log = (service.data.parent / "foreground.log").open("w+")
    process = subprocess.Popen(command, stdout=log, stderr=log, env=service.environment, start_new_session=True)
    wait_until("the service to be announced", (service.data / "endpoint.json").exists)
    return process, log


def run_slow_job(service, client, workers=1):
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id, suffix="slow",
                                         extra_body={"workers": workers})
    wait_until("the ranks to run", lambda: any("fake_trainer" in words for _, words in family(service)))
    return job.id


def nothing_left(service, limit_s=10):
    wait_until("every process to end: " + str(family(service)), lambda: not family(service), limit_s)


def test_interrupt_stops_everything(service):
    process, log = in_foreground(service)
    client = service.client()
    job = run_slow_job(service, client, workers=2)
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 0
    nothing_left(service, limit_s=1)
    print(f"     stopped with two ranks running in {time.monotonic() - begun:.2f} s")
    assert not (service.data / "endpoint.json").exists()
    log.seek(0)
    assert "OPENAI_BASE_URL" in log.read()
    service.start()
    client = service.client()
    told = [event.message for event in client.fine_tuning.jobs.list_events(job)]
    assert any("The service was stopped; the job goes on" in message for message in told), told
    wait_until("the job to go on", lambda: client.fine_tuning.jobs.retrieve(job).attempt == 2)
    client.fine_tuning.jobs.cancel(job)
    assert finished(client, job).status == "cancelled"
    service.stop()


def test_kill_leaves_nothing_running(service):
    process, _ = in_foreground(service)
    run_slow_job(service, service.client())
    process.kill()
    process.wait()
    nothing_left(service)
    service.start()
    client = service.client()
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id)
    assert finished(client, job.id).status == "succeeded"
    service.stop()


def test_killed_agent_comes_back(service):
    service.start()
    client = service.client()
    agent = next(pid for pid, words in family(service) if "tunefleet-agent" in words.split()[0])
    os.kill(agent, signal.SIGKILL)
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client).id)
    assert finished(client, job.id).status == "succeeded"
    assert "tunefleet-agent was killed by SIGKILL, starting it again" in (service.data / "up.log").read_text()
    service.stop()
    nothing_left(service, limit_s=1)


def test_port_in_use(service):
    service.start()
    with tempfile.TemporaryDirectory() as other:
        command = [BIN / "tunefleet", "up", "--data", other, "--port", str(service.port), "--detach"]
        taken = subprocess.run(command, capture_output=True, text=True, timeout=30, env=service.environment)
        assert taken.returncode == 1 and "--port" in taken.stderr and str(service.port) in taken.stderr, taken
        assert not (Path(other) / "endpoint.json").exists()
    service.stop()


def test_without_redis_server(service):
    with tempfile.TemporaryDirectory() as empty:
        missing = subprocess.run(service.command, capture_output=True, text=True, timeout=30, env={"PATH": empty})
    assert missing.returncode == 1 and "apt-get install redis-server" in missing.stderr, missing


def test_ended_agent_is_told(service):
    environment = {**service.environment, "TUNEFLEET_TRAINER": "/nowhere/trainer"}
    failed = subprocess.run(service.command, capture_output=True, text=True, timeout=30, env=environment)
    assert failed.returncode == 1 and "/nowhere/trainer" in failed.stderr, failed
    nothing_left(service, limit_s=1)


def main():
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            with tempfile.TemporaryDirectory(prefix="tunefleet-up-") as folder:
                service, begun = Service(Path(folder)), time.monotonic()
                try:
                    test(service)
                    print(f"ok   {name} ({time.monotonic() - begun:.2f} s)", flush=True)
                except BaseException:
                    for log in ("up.log", "agent.log", "../foreground.log"):
                        shutil.copyfileobj((service.data / log).open(), sys.stderr) if (service.data / log).exists() else None
                    raise
                finally:
                    service.stop()
                    for pid, _ in family(service):
                        os.kill(pid, signal.SIGKILL)


main()
