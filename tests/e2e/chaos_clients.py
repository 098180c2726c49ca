"""Clients of a service that keeps failing: they send again until they are answered, and follow events to their end."""
import http.client
import json
import threading
import time

ANSWER_S = 10
PAUSE_S = 0.15
BACKOFF_S = 0.4  # What OpenAI's client waits at least before it sends again; with a key nobody has to wait.
FINAL = ("succeeded", "failed", "cancelled")


class Unanswered(Exception):
    """The reply was lost, or there was nobody to ask: what was asked may have been done."""


class Api:
    """One request at a time to one coordinator, on a connection of its own."""

    def __init__(self, port, key):
        self.port, self.key = port, key

    def open(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        connection.request(method, "/v1" + path, body, {"Authorization": f"Bearer {self.key}", **(headers or {})})
        return connection

    def ask(self, method, path, body=None, headers=None):
        """(status, object); raises Unanswered."""
        try:
            connection = self.open(method, path, body, headers)
            reply = connection.getresponse()
            text = reply.read()
            connection.close()
            return reply.status, json.loads(text)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unanswered(str(error)) from error

    def lose(self, method, path, body, headers):
        """Sends a request and goes away before the reply."""
        try:
            self.open(method, path, body, headers).close()
        except OSError:
            pass


def until_answered(apis, method, path, stop_at, **options):
    """Asks one coordinator after the other until one answers with anything but 503; TimeoutError at `stop_at`."""
    turn = 0
    while time.monotonic() < stop_at:
        try:
            status, answer = apis[turn % len(apis)].ask(method, path, **options)
            if status != 503:
                return status, answer
        except Unanswered:
            pass
        turn += 1
        time.sleep(PAUSE_S)
    raise TimeoutError(f"nobody answers: {method} {path}")


ROW = {"messages": [{"role": "user", "content": "Define happiness."}, {"role": "assistant", "content": "An agreeable sensation."}]}


def upload_body(rows):
    """The form of an upload, and its headers."""
    boundary = "rows"
    parts = [("purpose", "", "fine-tune"), ("file", '; filename="rows.jsonl"', (json.dumps(ROW) + "\n") * rows)]
    body = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
                   for name, more, value in parts) + f"--{boundary}--\r\n"
    return {"body": body.encode(), "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"}}


class Submitter(threading.Thread):
    """Submits jobs until it is told to stop, each until it is answered; loses some replies on purpose.

    Every third job begins a new file, uploaded to whichever coordinator answers; the job may go to the other one.
    Every other job carries an Idempotency-Key and is sent again to whichever coordinator is there. The others do as OpenAI's
    client does: x-stainless-retry-count, to the same address.
    """

    def __init__(self, number, apis, random, pause_s):
        super().__init__(daemon=True)
        self.number, self.apis, self.random, self.pause_s = number, apis, random, pause_s
        self.stopping = threading.Event()
        self.accepted = {}   # submission -> job id
        self.sent = []       # submissions
        self.files = {}      # id of what was uploaded -> rows
        self.refused = []    # (submission, status, answer): there should be none
        self.cancelled, self.cancels_kept = set(), set()  # asked for; answered with 200
        self.lost_replies = self.repeats = 0

    def run(self):
        while not self.stopping.is_set():
            self.submit(f"{self.number}-{len(self.sent)}")
            self.stopping.wait(self.random.uniform(0, 2 * self.pause_s))

    def upload(self):
        """To whichever coordinator answers first; the id of the file."""
        rows = self.random.randint(1, 50)
        apis = self.random.sample(self.apis, len(self.apis))
        status, answer = until_answered(apis, "POST", "/files", time.monotonic() + 60, **upload_body(rows))
        if status != 200:
            self.refused.append(("an upload", status, answer))
            return None
        self.files[answer["id"]] = rows
        return answer["id"]

    def submit(self, name):
        if len(self.sent) % 3 == 0:
            self.file = self.upload()
        draw = self.random
        fails = draw.random() < 0.1
        body = json.dumps({"model": "small", "training_file": self.file, "workers": draw.choice((1, 1, 2, 2, 3)),
                           "max_steps": draw.randint(20, 150), "name": "fails" if fails else "works",
                           "metadata": {"submission": name, "fails": str(fails)}})
        headers = {"Content-Type": "application/json"}
        apis = draw.sample(self.apis, len(self.apis))
        if len(self.sent) % 2 == 0:
            headers["Idempotency-Key"] = f"key-{name}"
        else:
            apis = apis[:1]
        self.sent.append(name)
        if draw.random() < 0.3:
            apis[0].lose("POST", "/fine_tuning/jobs", body, headers)
            self.lost_replies += 1
            time.sleep(0.0 if "Idempotency-Key" in headers else BACKOFF_S)
            headers["x-stainless-retry-count"] = "1"
        self.send_until_answered(name, apis, body, headers)
        if name in self.accepted and draw.random() < 0.1:
            self.cancel(name)

    def send_until_answered(self, name, apis, body, headers):
        turn = 0
        while True:
            try:
                status, answer = apis[turn % len(apis)].ask("POST", "/fine_tuning/jobs", body, headers)
                if status == 200:
                    self.accepted[name] = answer["id"]
                    return
                if status != 503:
                    self.refused.append((name, status, answer))
                    return
            except Unanswered:
                pass
            turn += 1
            self.repeats += 1
            headers["x-stainless-retry-count"] = str(turn)
            time.sleep(PAUSE_S)

    def cancel(self, name):
        job = self.accepted[name]
        self.cancelled.add(job)  # Also when it has ended before (409), or nobody answers: either end is right then.
        try:
            status, _ = until_answered(self.apis, "POST", f"/fine_tuning/jobs/{job}/cancel", time.monotonic() + 20)
            if status == 200:
                self.cancels_kept.add(job)
        except TimeoutError:
            pass


class Follower(threading.Thread):
    """Follows the events of one job after the other by SSE, going on `after` the last one seen when it is cut off."""

    def __init__(self, apis, take_job):
        super().__init__(daemon=True)
        self.apis, self.take_job = apis, take_job
        self.seen = {}        # job -> event numbers in the order they came
        self.finished = set()
        self.cut_off = 0
        self.stopping = threading.Event()

    def run(self):
        turn = 0
        while not self.stopping.is_set():
            job = self.take_job()
            if job is None:
                self.stopping.wait(0.1)
                continue
            self.seen[job], last = [], ""
            while not self.stopping.is_set() and job not in self.finished:
                last = self.follow(self.apis[turn % len(self.apis)], job, last)
                turn += 1
                self.stopping.wait(PAUSE_S)

    def follow(self, api, job, last):
        """Reads until the end or until it is cut off; the id of the last event seen."""
        try:
            connection = api.open("GET", f"/fine_tuning/jobs/{job}/events?stream=true" + (f"&after={last}" if last else ""))
            reply = connection.getresponse()
            for line in reply if reply.status == 200 else []:
                text = line.decode().strip()
                if text == "data: [DONE]":
                    self.finished.add(job)
                    return last
                event = json.loads(text[6:]) if text.startswith("data: ") else {}
                if "id" in event:
                    last = event["id"]
                    self.seen[job].append(int(last.rsplit("-", 1)[-1]))
        except (OSError, http.client.HTTPException, ValueError):
            pass
        self.cut_off += 1
        return last
