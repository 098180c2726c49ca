#!/usr/bin/env python3
"""Chat completions of the whole service through the stock openai client: real trainer, real model server, a small model.

The answers of a model that a job has made, streamed and not, are those of `tunefleet generate` and of transformers with PEFT on
the same files. Draws repeat with their seed; a killed server is replaced; a client that goes away holds nobody up.
"""
import json
import os
import signal
import sys
import time

import openai

from service import Service, descendants, processes, programs, wait_until
import service_test
import tiny_models

MODEL = service_test.MODEL
PROMPT = "Define happiness."
TOKENS = 24
# Enough to change what the small random model says.
SETTINGS = {"workers": 1, "max_steps": 40, "learning_rate": 1e-2, "lora_rank": 8, "gradient_accumulation_steps": 1,
            "torch_dtype": "float32", "device": "cpu", "save_strategy": "steps", "save_steps": 20}


def ask(client, model, prompt=PROMPT, **fields):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}],
                                          **{"temperature": 0, "max_tokens": TOKENS, **fields})


def text_of(completion):
    return completion.choices[0].message.content


def streamed(client, model, **fields):
    """The text of a streamed answer, its finish reason, and the last chunk's usage."""
    text, reason, usage = "", None, None
    for chunk in ask(client, model, stream=True, stream_options={"include_usage": True}, **fields):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
        usage = chunk.usage or usage
    return text, reason, usage


def generated(models, adapter=None):
    """What `tunefleet generate` says."""
    command = [programs.program("tunefleet"), "generate", "--model", models / MODEL, "--prompt", PROMPT, "--device", "cpu",
               "--max-new-tokens", TOKENS, "--json"]
    return json.loads(programs.must_run(command + (["--adapter", adapter] if adapter else []), 60).out)["text"]


def generated_by_transformers(model_directory, adapter=None):
    """What transformers' generate() says, with PEFT's adapter where there is one."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_directory)
    model = AutoModelForCausalLM.from_pretrained(model_directory, dtype=torch.float32).eval()
    if adapter:
        model = PeftModel.from_pretrained(model, adapter).eval()
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": PROMPT}], add_generation_prompt=True,
                                           return_tensors="pt", return_dict=True)
    with torch.no_grad():
        ids = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False, pad_token_id=2)
    return tokenizer.decode(ids[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True,
                            clean_up_tokenization_spaces=False)


def servers(service):
    family = descendants(service.process.pid)
    return [pid for pid, _, words in processes() if pid in family and "serve" in words[1:2]]


def train(client, settings=SETTINGS):
    job = service_test.submit(client, settings, suffix="happy").id
    done = service_test.wait_for(client, job, service_test.FINAL)
    assert done.status == "succeeded", done
    return done


def same_texts(checks, service, client, job):
    tuned = job.fine_tuned_model
    answer = ask(client, tuned)
    text = text_of(answer)
    checks.equal("a tuned model's answer is that of `tunefleet generate`", text, generated(service.models, job.checkpoint))
    checks.equal("and of transformers with PEFT", text, generated_by_transformers(service.models / MODEL,
                                                                                         f"{job.checkpoint}/peft"))
    base = text_of(ask(client, MODEL))
    checks.equal("the base model's answer", base, generated(service.models))
    checks.that("tuning has changed the answer", base != text, repr(base))
    usage = answer.usage
    checks.equal("its tokens are counted", usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
    checks.equal("a checkpoint answers too",
                 text_of(ask(client, f"{tuned}:ckpt-step-20")),
                 generated(service.models, service.data / "jobs" / job.id / "checkpoint-20"))
    told, reason, last = streamed(client, tuned)
    checks.equal("streamed it is the same", (told, reason, last), (text, answer.choices[0].finish_reason, usage))
    cut = text[2:5]
    checks.equal("a stop text ends it", text_of(ask(client, tuned, stop=[cut])), text[:text.index(cut)])
    one = programs.must_run([programs.program("tunefleet"), "chat", tuned, PROMPT, "--temperature", "0", "--max-tokens", TOKENS,
                             "--data", service.data], 60)
    printed = (text + "\n").replace("\r\n", "\n").replace("\r", "\n")  # As Python reads what a process prints.
    checks.equal("`tunefleet chat` prints it", one.out, printed)
    checks.equal("all of this by one process", len(servers(service)), 1)


def fully_tuned(checks, client):
    job = train(client, {**SETTINGS, "tuner_type": "full", "learning_rate": 1e-3})
    answer = text_of(ask(client, job.fine_tuned_model))
    checks.equal("a fully tuned model's answer is that of transformers", answer, generated_by_transformers(job.checkpoint))
    checks.that("it is not the base model's", answer != text_of(ask(client, MODEL)))
    checks.equal("a checkpoint of it answers too", text_of(ask(client, f"{job.fine_tuned_model}:ckpt-step-20")),
                 generated_by_transformers(job.checkpoint.replace("checkpoint-40", "checkpoint-20")))


def draws(checks, client):
    texts = [text_of(ask(client, MODEL, temperature=1.5, seed=seed)) for seed in (1, 1, 2)]
    checks.equal("a seed repeats its text", texts[0], texts[1])
    checks.that("another seed another", texts[0] != texts[2])
    free = {text_of(ask(client, MODEL, temperature=1.5)) for _ in range(3)}
    checks.equal("without one the texts differ", len(free), 3)


def refusals(checks, client):
    cases = [("an unknown model", lambda: ask(client, "ft:nothing:a:b:c"), 404, "nothing"),
             ("a conversation longer than the context", lambda: ask(client, MODEL, prompt="word " * 600), 400, "context"),
             ("two answers", lambda: ask(client, MODEL, n=2), 400, "n:"),
             ("tools", lambda: ask(client, MODEL, tools=[{"type": "function", "function": {"name": "f"}}]), 400, "tools")]
    for what, attempt, status, named in cases:
        seen, message = service_test.refusal(attempt)
        checks.that(f"{what} is refused", seen == status and named in message, f"{seen} {message}")


def a_client_goes(checks, client):
    stream = ask(client, MODEL, stream=True, max_tokens=400, temperature=2, seed=1)
    next(iter(stream))
    stream.close()
    checks.that("one who goes holds nobody up", text_of(ask(client, MODEL)) is not None)


def a_server_dies(checks, service, client):
    before = text_of(ask(client, MODEL))
    [victim] = servers(service)
    os.kill(victim, signal.SIGKILL)
    wait_until("the killed server is gone", lambda: victim not in servers(service))
    begun = time.monotonic()
    checks.equal("after a server's death another answers", text_of(ask(service.client(retries=2), MODEL)), before)
    checks.that("it is a new one", victim not in servers(service), f"after {time.monotonic() - begun:.1f} s")


def main():
    checks, scratch = programs.Checks(), programs.scratch("chat")
    tiny_models.make(MODEL, scratch / "models")
    service = Service(scratch / "data", scratch / "models").start()
    try:
        client = service.client()
        job = train(client)
        same_texts(checks, service, client, job)
        fully_tuned(checks, client)
        draws(checks, client)
        refusals(checks, client)
        a_client_goes(checks, client)
        a_server_dies(checks, service, client)
        checks.equal("the service stops without leaving a process", service.stop(), [])
    except (TimeoutError, AssertionError, openai.APIError) as error:
        log = service.data / "serving.log"
        checks.that("the service keeps up", False,
                    f"{error!r}\n{service.log()[-3000:]}\n{log.read_text()[-2000:] if log.exists() else ''}")
    finally:
        service.stop()
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
