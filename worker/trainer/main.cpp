#include <c10/util/Exception.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <functional>
#include <iostream>

#include "proto/log.h"
#include "worker/serve/serve_command.h"
#include "worker/trainer/adapter_command_line.h"
#include "worker/trainer/generate_command.h"
#include "worker/trainer/logits_command.h"
#include "worker/trainer/run_command.h"

namespace {

using namespace tunefleet::trainer;

void add_run(CLI::App& app, RunRequest& request) {
  auto* run = app.add_subcommand(
      "run", "Train what a job file says: one rank under mpirun or srun, or the whole job alone");
  run->add_option("job", request.job, "The job: job.yaml or job.json (keys: proto/job_spec.md)")
      ->required();
  run->add_option("--output-dir", request.output_dir,
                  "Where checkpoints and logs go [output/<model>]");
  run->add_option("--set", request.settings,
                  "key=value over the file's; may be given several times")
      ->take_all()
      ->expected(1);
  run->footer(
      "Exit codes: 0 done, 2 wrong input, 3 the machine failed, 143 stopped by a signal after "
      "saving.\n"
      "Examples:\n  tunefleet-trainer run job.yaml --set max_steps=10\n"
      "  mpirun -np 2 tunefleet-trainer run job.yaml --set workers=2");
}

void add_generate(CLI::App& app, GenerateRequest& request) {
  auto* generate =
      app.add_subcommand("generate", "Let a model, with or without an adapter, answer prompts");
  generate->add_option("--model", request.model, "Hugging Face directory of the base model")
      ->required();
  generate->add_option("--adapter", request.adapter,
                       "A checkpoint, a Swift or a PEFT adapter directory");
  generate->add_option("--prompt", request.prompts, "What to answer; may be given several times")
      ->take_all()
      ->expected(1);
  generate->add_option("--prompts", request.prompts_file,
                       "JSONL file with a \"prompt\" in each line");
  generate->add_option("--system", request.system, "System prompt [the template's]");
  generate->add_option("--template", request.template_name,
                       "chatml, llama3, qwen or plain [as the model says]");
  generate->add_flag("--raw", request.raw, "Continue the text itself, without a chat template");
  generate->add_flag("--json", request.json, "One JSON line for each prompt");
  generate->add_option("--max-new-tokens", request.options.max_new_tokens, "Tokens at most")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  generate
      ->add_option("--temperature", request.options.temperature, "0: always the likeliest token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  generate
      ->add_option("--top-p", request.options.top_p,
                   "Draw from the likeliest that reach this probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  generate->add_option("--top-k", request.options.top_k, "Draw from that many [all]");
  generate->add_option("--seed", request.options.seed, "Of the draws")->capture_default_str();
  generate->add_option("--dtype", request.dtype, "float32 or bfloat16 [the model's own]");
  generate->add_option("--device", request.device, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
}

void add_logits(CLI::App& app, LogitsRequest& request) {
  auto* logits = app.add_subcommand(
      "logits", "Write the logits of token rows, to compare with other programs");
  logits->add_option("--model", request.model, "Hugging Face directory of the base model")
      ->required();
  logits->add_option("--adapter", request.adapter,
                     "A checkpoint, a Swift or a PEFT adapter directory");
  logits->add_option("--tokens", request.tokens, "JSON list of rows of token ids")->required();
  logits
      ->add_option("--output", request.output, "safetensors file: logits.<row>, float32 [T, vocab]")
      ->required();
  logits->add_option("--dtype", request.dtype, "float32 or bfloat16 [the model's own]");
  logits->add_option("--device", request.device, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
}

void add_serve(CLI::App& app, tunefleet::serve::ChatModelOptions& options,
               std::function<tunefleet::Status()>& chosen) {
  auto* serve = app.add_subcommand(
      "serve", "Keep a model loaded and answer conversations on stdin (proto/serve_lines.md)");
  serve->add_option("--model", options.model, "Hugging Face directory of the base model")
      ->required();
  serve->add_option("--adapters", options.adapters, "Adapters that stay loaded")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  serve->add_option("--dtype", options.dtype, "float32 or bfloat16 [the model's own]");
  serve->add_option("--device", options.device, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  serve->callback([&] {
    chosen = [&options] {
      tunefleet::serve::serve_chats(options);
      return tunefleet::Status{};
    };
  });
}

int finish(const tunefleet::Status& status) {
  if (status) return 0;
  tunefleet::log::error(status.error().message);
  return exit_code_of(status.error());
}

int dispatch(const CLI::App& app, const RunRequest& run, const GenerateRequest& generate,
             const LogitsRequest& logits, const std::function<tunefleet::Status()>& chosen) {
  if (chosen) return finish(chosen());
  if (app.got_subcommand("run")) return run_training(run);
  if (app.got_subcommand("generate")) return finish(generate_text(generate));
  return finish(write_logits(logits));
}

}  // namespace

int main(int argc, char** argv) {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  tunefleet::log::configure(rank == nullptr ? "trainer" : std::string("rank ") + rank);
  CLI::App app("tunefleet's trainer: fine-tunes a model, alone or as one of several ranks");
  app.require_subcommand(1);
  RunRequest run;
  GenerateRequest generate;
  LogitsRequest logits;
  std::function<tunefleet::Status()> chosen;
  add_run(app, run);
  add_generate(app, generate);
  add_logits(app, logits);
  tunefleet::serve::ChatModelOptions serve;
  add_serve(app, serve, chosen);
  add_adapter_commands(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    return dispatch(app, run, generate, logits, chosen);
  } catch (const c10::Error& e) {
    tunefleet::log::error(e.what_without_backtrace());
  } catch (const std::exception& e) {
    tunefleet::log::error(e.what());
  }
  return 3;
}
