// Our side of tests/oracle/peft_files.py, on TinyModel:
//   peft_files_tool base OUT         the base's weights, as safetensors
//   peft_files_tool read DIR OUT     loads DIR and writes what its adapter amounts to
//   peft_files_tool write CASE DIR OUT  makes an adapter of that case, saves it to DIR in PEFT's
//   layout, writes the same
//   peft_files_tool pickle CASE DIR  saves an adapter of that case as the document's default does:
//   adapter_model.bin, and as safetensors in DIR/safe
// What an adapter amounts to: the delta of every layer under the layer's path, trained copies under
// the parameter's.

#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "storage/safetensors.h"
#include "tests/tuners/tiny_model.h"
#include "tuners/peft_files.h"
#include "tuners/swift.h"
#include "tuners/tensor_io.h"

namespace tunefleet::tuners {
namespace {

/// Kept beside the cases of peft_files.py.
const std::map<std::string, LoraOptions>& cases() {
  static const std::map<std::string, LoraOptions> table{
      {"plain", {.r = 2, .target_modules = {.names = {"q_proj", "v_proj"}}}},
      {"all_linear",
       {.r = 2, .lora_alpha = 5.5, .target_modules = {.all_linear = true}, .use_rslora = true}},
      {"patterns",
       {.r = 2,
        .target_modules = {.regex = R"(.*\.(up|down|q)_proj)"},
        .rank_pattern = {{R"(layers\.1\..*)", 3}},
        .alpha_pattern = {{"up_proj", 1.0}}}},
      {"saved",
       {.r = 1,
        .target_modules = {.names = {"q_proj"}},
        .modules_to_save = {"lm_head", "norm"},
        .layers_to_transform = {1},
        .bias = "lora_only"}},
      {"biases", {.r = 1, .target_modules = {.names = {"o_proj", "q_proj"}}, .bias = "all"}},
      {"saved_biases",
       {.r = 1,
        .target_modules = {.names = {"q_proj"}},
        .modules_to_save = {"v_proj"},
        .bias = "all"}},
      {"head", {.r = 2, .target_modules = {.names = {"lm_head"}}}}};
  return table;
}

Status write_tensors(const std::string& file, const std::map<std::string, at::Tensor>& tensors) {
  std::vector<storage::TensorView> views;
  for (const auto& [name, tensor] : tensors) views.push_back(view_of(name, tensor));
  return storage::write_safetensors(file, views, {{"format", "pt"}});
}

Status write_effect(const Adapter& adapter, const std::string& file) {
  std::map<std::string, at::Tensor> effect;
  for (const auto& tuner : adapter.linear_tuners()) {
    effect[tuner.site->path] = adapter.delta_weight(tuner).detach();
  }
  for (const auto& replaced : adapter.overrides())
    effect[replaced.slot->path] = replaced.value.detach();
  return write_tensors(file, effect);
}

Status write_base(const std::string& file) {
  TinyModel model;
  std::map<std::string, at::Tensor> tensors;
  for (const ParameterSlot* slot : model.parameters()) tensors[slot->path] = slot->base;
  return write_tensors(file, tensors);
}

Status read(const std::string& directory, const std::string& file) {
  TinyModel model;
  const auto loaded = Swift::from_pretrained(model, directory);
  if (!loaded) return fail(loaded.error());
  return write_effect(*(*loaded)->find_adapter("default"), file);
}

Status write(const std::string& name, const std::string& directory, const std::string& file) {
  TinyModel model;
  const auto made = Swift::prepare_model(model, cases().at(name));
  if (!made) return fail(made.error());
  const Adapter& adapter = *(*made)->find_adapter("default");
  randomise(adapter);
  if (auto status = save_peft(**made, directory); !status) return status;
  return write_effect(adapter, file);
}

Status pickle(const std::string& name, const std::string& directory) {
  TinyModel model;
  const auto made = Swift::prepare_model(model, cases().at(name));
  if (!made) return fail(made.error());
  randomise(*(*made)->find_adapter("default"));
  if (auto status = (*made)->save_pretrained(directory); !status) return status;
  return (*made)->save_pretrained(directory + "/safe", /*safe_serialization=*/true);
}

Status run(const std::vector<std::string>& args) {
  if (args.size() == 3 && args[0] == "pickle") return pickle(args[1], args[2]);
  if (args.size() == 2 && args[0] == "base") return write_base(args[1]);
  if (args.size() == 3 && args[0] == "read") return read(args[1], args[2]);
  if (args.size() == 4 && args[0] == "write") return write(args[1], args[2], args[3]);
  return fail(ErrorCode::kInvalidArgument,
              "usage: peft_files_tool base OUT | read DIR OUT | write CASE DIR OUT | "
              "pickle CASE DIR");
}

}  // namespace
}  // namespace tunefleet::tuners

int main(int argc, char** argv) {
  const auto status = tunefleet::tuners::run({argv + 1, argv + argc});
  if (status) return 0;
  std::cerr << status.error().message << "\n";
  return 1;
}
