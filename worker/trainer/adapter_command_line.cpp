#include "worker/trainer/adapter_command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "tuners/swift.h"
#include "worker/trainer/combine_command.h"
#include "worker/trainer/merge_command.h"

namespace tunefleet::trainer {
namespace {

constexpr const char* kExitCodes = "Exit codes: 0 done, 2 wrong input, 3 the machine failed.";

void add_merge(CLI::App& app, std::function<Status()>& chosen) {
  auto request = std::make_shared<MergeRequest>();
  auto* merge = app.add_subcommand(
      "merge", "Write a model with adapters merged into its weights, as a Hugging Face directory");
  merge
      ->add_option("--adapter", request->adapters,
                   "A checkpoint, a Swift or a PEFT adapter directory; may be given several times")
      ->required();
  merge->add_option(
      "--model", request->model,
      "The base: a directory, or a name under TUNEFLEET_MODELS [as the adapter says]");
  merge->add_option("-o,--output", request->output, "Directory to write [ADAPTER-merged]");
  merge->add_option("--dtype", request->dtype, "Number format of the weights [the model's own]")
      ->check(CLI::IsMember({"float32", "bfloat16"}));
  merge->footer(
      std::string(
          "Example: tunefleet merge --model SmolLM2 --adapter run/checkpoint-100 -o tuned\n") +
      kExitCodes);
  merge->callback([request, &chosen] { chosen = [request] { return merge_adapters(*request); }; });
}

void add_combine(CLI::App& app, std::function<Status()>& chosen) {
  auto request = std::make_shared<CombineRequest>();
  auto* combine =
      app.add_subcommand("combine", "Make one LoRA adapter of several, each with a weight");
  combine->add_option("adapters", request->adapters, "Directories of LoRA adapters")->required();
  combine->add_option("--weights", request->weights, "One number for each adapter [1 each]")
      ->expected(1, -1)
      ->delimiter(',');
  combine->add_option("--type", request->how.combination_type, "How they are combined")
      ->check(CLI::IsMember(tuners::combination_types()))
      ->capture_default_str();
  combine->add_option("--svd-rank", request->how.svd_rank,
                      "Rank of the result of an svd type [the largest]");
  combine->add_option("--svd-clamp", request->how.svd_clamp,
                      "Quantile that the result's values are clamped to");
  combine->add_option("--density", request->how.density,
                      "Part of the values that the pruning types keep");
  combine->add_option("--majority-sign", request->how.majority_sign_method, "Of the ties types")
      ->check(CLI::IsMember({"total", "frequency"}))
      ->capture_default_str();
  combine->add_option("--seed", request->how.seed, "Of the draws of the dare types")
      ->capture_default_str();
  combine->add_option("--model", request->model,
                      "Their base: a directory, or a name under TUNEFLEET_MODELS [as they say]");
  combine->add_option("-o,--output", request->output, "Directory to write, in PEFT's layout")
      ->required();
  combine->footer(std::string("Example: tunefleet adapters combine style facts --weights 0.7 0.3 "
                              "--type cat -o both\n") +
                  kExitCodes);
  combine->callback(
      [request, &chosen] { chosen = [request] { return combine_adapters(*request); }; });
}

struct ExportRequest {
  std::filesystem::path directory;
  std::filesystem::path output;
};

Status export_to_peft(ExportRequest request) {
  if (request.output.empty()) {
    auto directory = request.directory.lexically_normal();
    if (!directory.has_filename()) directory = directory.parent_path();
    request.output = directory.string() + "-peft";
  }
  const auto status = tuners::Swift::save_to_peft_format(request.directory, request.output);
  if (status) std::printf("%s\n", request.output.c_str());
  return status;
}

void add_export(CLI::App& app, std::function<Status()>& chosen) {
  auto request = std::make_shared<ExportRequest>();
  auto* convert = app.add_subcommand("export", "Write adapters in another layout");
  convert
      ->add_option("--to-peft", request->directory,
                   "A checkpoint of LoRA adapters in ms-swift's layout")
      ->required();
  convert->add_option("-o,--output", request->output, "Directory to write [DIRECTORY-peft]");
  convert->footer(
      std::string("Example: tunefleet export --to-peft run/checkpoint-100 -o for-peft\n") +
      kExitCodes);
  convert->callback(
      [request, &chosen] { chosen = [request] { return export_to_peft(*request); }; });
}

}  // namespace

void add_adapter_commands(CLI::App& app, std::function<Status()>& chosen) {
  add_merge(app, chosen);
  add_combine(app, chosen);
  add_export(app, chosen);
}

}  // namespace tunefleet::trainer
