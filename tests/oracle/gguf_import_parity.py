#!/usr/bin/env python3
"""Compares an imported directory with transformers' own reading of the same GGUF file.

    tests/oracle/gguf_import_parity.py MODEL.gguf IMPORTED_DIRECTORY

Weights and logits must be equal bit for bit, chat prompts equal, and the tokenizer must agree with
transformers' conversion, given the pre-tokenizer that the file names: for "smollm" transformers 5.23
leaves out the splitting of digits, which the model was trained with (llama.cpp has it too)."""

import os
import random
import sys

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

TEXTS = [
    "Hello, world! It's 12:30 on 2024-01-02.", "  leading\tand  double   spaces 42   1000\n\n\tdef f(x):",
    "Zażółć gęślą jaźń – „cytat” … €5", "日本語テキスト、中文文本。한국어", "👩‍👩‍👧‍👦 🤖🎉 zero\u200dwidth",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>x", "العربية ١٢٣ ½²³", "", " ", "\n", "a" * 50,
]
MESSAGES = [{"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": "4"},
            {"role": "user", "content": "Thanks."}]


def random_texts(count):
    pool = [chr(c) for r in [(32, 127), (0xA0, 0x250), (0x370, 0x400), (0x4E00, 0x4E40)] for c in range(*r)]
    pool += list(" \n\t0123456789") * 20
    draw = random.Random(1)
    return ["".join(draw.choice(pool) for _ in range(60)) for _ in range(count)]


def compare_tokenizers(theirs, ours):
    theirs.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    texts = TEXTS + random_texts(2000)
    differing = [t for t in texts if theirs(t).input_ids != ours(t).input_ids]
    assert not differing, differing[:3]
    broken = [t for t in texts if ours.decode(ours(t).input_ids, clean_up_tokenization_spaces=False) != t]
    assert not broken, broken[:3]
    for prompt in (True, False):
        args = dict(tokenize=False, add_generation_prompt=prompt)
        assert theirs.apply_chat_template(MESSAGES, **args) == ours.apply_chat_template(MESSAGES, **args)
    for role in ("bos_token", "eos_token", "pad_token", "unk_token"):
        assert getattr(theirs, role) == getattr(ours, role), role
    print(f"tokenizer: {len(texts)} texts equal, and they decode to themselves")


@torch.no_grad()
def compare_models(theirs, ours, ids):
    mine = ours.state_dict()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, mine.pop(name)), name
    assert not mine, list(mine)
    difference = (theirs(ids).logits - ours(ids).logits).abs().max().item()
    print(f"weights: bit-equal; logits: max abs difference {difference}")
    assert difference == 0.0


def main():
    gguf, directory = sys.argv[1:]
    where = dict(pretrained_model_name_or_path=os.path.dirname(gguf), gguf_file=os.path.basename(gguf))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    compare_tokenizers(AutoTokenizer.from_pretrained(**where), tokenizer)
    ids = tokenizer("The capital of France is Paris, and 12 of its people", return_tensors="pt").input_ids
    config = GgufConfig(dequantize=True)
    compare_models(AutoModelForCausalLM.from_pretrained(**where, quantization_config=config),
                   AutoModelForCausalLM.from_pretrained(directory), ids)


if __name__ == "__main__":
    main()
