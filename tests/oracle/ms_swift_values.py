#!/usr/bin/env python3
"""Writes the golden values of ms-swift's tuners that our tests compare with: tests/oracle/ms_swift/.

    python3.11 -m venv /tmp/msswift
    /tmp/msswift/bin/pip install torch==2.6.0 transformers==4.51.3 peft==0.15.2 accelerate safetensors modelscope \
        json_repair pandas "datasets<4" "huggingface_hub<1" pillow einops
    /tmp/msswift/bin/pip install --no-deps ms-swift==3.12.6
    /tmp/msswift/bin/python tests/oracle/ms_swift_values.py [CASE ...]      # default: all cases this interpreter can make

Four need a package more, put in front by PYTHONPATH (all with `pip install --no-deps --target DIR`):
    longlora*   transformers==4.46.3 tokenizers==0.20.3    ms-swift's patched attention does not run on later ones
    lisa        ms-swift==4.6.0                            the first release whose drawn layers are really updated
    q_galore    q_galore_torch==1.0                        its projector alone, which needs no GPU
    side_alexnet  torchvision==0.21.0                      for the shape of AlexNet; nothing is downloaded
They are left out with a line that says so when the package is not there. PYTHONHASHSEED is set to 0 (sets are written in
hash order). Everything is drawn from fixed seeds: running it again writes the same values within rounding.

What lies in tests/oracle/ms_swift/:
  model/                     the llama that all language-model cases share: Hugging Face config.json and model.safetensors
  CASE/adapter/              what SwiftModel.save_pretrained(safe_serialization=True) wrote, weights random: README.md,
                             configuration.json, NAME/adapter_config.json, NAME/adapter_model.safetensors
  CASE/case.json             the optimizer's numbers, what is trained and anything else a test needs to know
  CASE/values.safetensors    float32 unless said otherwise:
    input_ids                [B, T] int64 (language models); input, target, ... (small networks)
    logits                   in eval mode with the adapter(s) active (for small networks: output)
    base_logits              likewise with everything deactivated (base_output)
    train_logits             in train mode, no dropout anywhere (train_output); only where they differ from eval's
    losses                   [4]: before each of three AdamW steps on the same batch, and after the last
    grad.KEY                 gradient of the first loss with respect to the tensor KEY of adapter_model.safetensors
    step3.KEY                the tensor after three steps
The loss of a language model is the mean cross entropy of tokens 1..T-1 over all rows; of a small network the mean square
of (output - target). AdamW: lr 1e-3, betas 0.9 and 0.999, eps 1e-6, no weight decay. Other cases (galore_*, lisa,
neftune, lora_plus, q_galore) have a format of their own, told where they are made.

The language models are made in ms_swift_language.py, the small networks in ms_swift_networks.py, the optimizers and
schedules in ms_swift_optimizers.py.
"""
import argparse
import os
import sys


def main():
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    import ms_swift_language
    import ms_swift_networks
    import ms_swift_optimizers
    from ms_swift_record import Missing

    cases = {**ms_swift_language.CASES, **ms_swift_networks.CASES, **ms_swift_optimizers.CASES}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help="one of: " + " ".join(cases))
    for name in parser.parse_args().case or cases:
        try:
            cases[name](name)
            print("wrote", name)
        except Missing as problem:
            print("left out", name + ":", problem)


if __name__ == "__main__":
    main()
