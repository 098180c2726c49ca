// Our side of tests/oracle/peft_convolutions.py and weighted_adapters.py, on ConvNet
// (small_networks.h):
//   conv_net_tool base OUT               the base's weights, as safetensors
//   conv_net_tool values DIR BATCH OUT   loads the adapter in DIR; `x` and `target` are in
//   BATCH.
//     Writes the folder OUT/peft after training and OUT/values.safetensors: output,
//     disabled_output, merged_output (where it merges), loss (the mean square of output - target),
//     grad.<key>, and of three steps of AdamW step_losses [3], step.<key>, final_output
//   conv_net_tool make OPTIONS_JSON OUT  a fresh adapter in PEFT's layout
//   conv_net_tool combine DIR HOW_JSON OUT NAME=WEIGHT …   combines adapters of DIR as HOW_JSON
//   says
//     ({"combination_type": …}) and writes what merging the result adds to each weight, by layer
#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "storage/safetensors.h"
#include "tests/tuners/ms_swift_case.h"
#include "tests/tuners/small_networks.h"
#include "tuners/config/lora_options.h"
#include "tuners/peft_files.h"
#include "tuners/swift.h"
#include "tuners/tensor_io.h"

namespace tunefleet::tuners {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

Status write_tensors(const std::string& file, Tensors tensors) {
  std::vector<storage::TensorView> views;
  for (auto& [name, tensor] : tensors) {
    tensor = tensor.detach().contiguous();
    views.push_back(view_of(name, tensor));
  }
  return storage::write_safetensors(file, views, {{"format", "pt"}});
}

Tensors weights_of(SmallNetwork& network) {
  Tensors weights;
  for (const ParameterSlot* slot : network.parameters()) weights[slot->path] = slot->base;
  return weights;
}

/// The tensors that train, by their keys in PEFT's files.
Tensors trained_tensors(const Adapter& adapter) {
  Tensors trained;
  for (const auto& each : adapter.tensors()) {
    if (each.trains) trained[each.key] = each.tensor;
  }
  return trained;
}

Status measure(SmallNetwork& network, SwiftModel& swift, const at::Tensor& x, Tensors& out) {
  const at::NoGradGuard no_grad;
  out["output"] = network.forward(x);
  if (auto status = swift.set_active_adapters({}); !status) return status;
  out["disabled_output"] = network.forward(x);
  if (auto status = swift.set_active_adapters({"default"}); !status) return status;
  if (!swift.find_adapter("default")->can_merge()) return {};
  if (auto status = swift.merge(); !status) return status;
  out["merged_output"] = network.forward(x);
  return swift.unmerge();
}

void train(SmallNetwork& network, const Adapter& adapter, const Tensors& batch, Tensors& out) {
  auto trained = trained_tensors(adapter);
  const auto loss = [&] {
    return network.forward(batch.at("x")).sub(batch.at("target")).square().mean();
  };
  CaseAdamW optimizer;
  std::vector<at::Tensor> losses;
  for (int step = 0; step < 3; ++step) {
    const at::Tensor value = loss();
    value.backward();
    losses.push_back(value.detach());
    for (const auto& [key, tensor] : trained) {
      if (step == 0) out["grad." + key] = tensor.grad().clone();
    }
    optimizer.step(trained);
  }
  out["step_losses"] = at::stack(losses);
  for (const auto& [key, tensor] : trained) out["step." + key] = tensor;
  const at::NoGradGuard no_grad;
  out["final_output"] = network.forward(batch.at("x"));
}

Status values(const std::string& directory, const std::string& batch_file,
              const std::string& output) {
  ConvNet network;
  const auto swift = Swift::from_pretrained(network, directory);
  if (!swift) return fail(swift.error());
  const Tensors batch = read_tensors(batch_file);
  Tensors out;
  if (auto status = measure(network, **swift, batch.at("x"), out); !status) return status;
  train(network, *(*swift)->find_adapter("default"), batch, out);
  if (auto status = save_peft(**swift, output + "/peft"); !status) return status;
  return write_tensors(output + "/values.safetensors", out);
}

Status make(const std::string& options, const std::string& output) {
  const auto read = options_from_json(LoraOptions::schema(), options, "OPTIONS_JSON");
  if (!read) return fail(read.error());
  ConvNet network;
  const auto swift = Swift::prepare_model(network, *read);
  if (!swift) return fail(swift.error());
  return save_peft(**swift, output);
}

Combination combination(const nlohmann::json& how) {
  Combination read{.combination_type = how.at("combination_type")};
  if (how.contains("svd_clamp")) read.svd_clamp = how["svd_clamp"];
  if (how.contains("density")) read.density = how["density"];
  if (how.contains("majority_sign_method")) read.majority_sign_method = how["majority_sign_method"];
  return read;
}

Status combine(const std::string& directory, const std::string& how, const std::string& file,
               const std::vector<std::string>& pairs) {
  ConvNet network;
  const auto base = weights_of(network);
  const auto swift = Swift::from_pretrained(network, directory);
  if (!swift) return fail(swift.error());
  std::vector<std::string> names;
  std::vector<double> weights;
  for (const auto& pair : pairs) {
    const size_t equals = pair.find('=');
    names.push_back(pair.substr(0, equals));
    weights.push_back(std::stod(pair.substr(equals + 1)));
  }
  auto status = (*swift)->add_weighted_adapter(names, weights, "combined",
                                               combination(nlohmann::json::parse(how)));
  if (status) status = (*swift)->merge();
  if (!status) return status;
  Tensors added;
  for (const ParameterSlot* slot : network.parameters()) {
    const at::Tensor& before = base.at(slot->path);
    if (at::equal(slot->value(), before)) continue;
    added[slot->path.substr(0, slot->path.rfind('.'))] = slot->value().sub(before);
  }
  return write_tensors(file, added);
}

Status run(const std::vector<std::string>& args) {
  at::manual_seed(7);
  if (args.size() == 2 && args[0] == "base") {
    ConvNet network;
    return write_tensors(args[1], weights_of(network));
  }
  if (args.size() == 4 && args[0] == "values") return values(args[1], args[2], args[3]);
  if (args.size() == 3 && args[0] == "make") return make(args[1], args[2]);
  if (args.size() >= 5 && args[0] == "combine")
    return combine(args[1], args[2], args[3], {args.begin() + 4, args.end()});
  return fail(ErrorCode::kInvalidArgument,
              "usage: conv_net_tool base OUT | values DIR BATCH OUT | make OPTIONS_JSON OUT | "
              "combine DIR HOW_JSON OUT NAME=WEIGHT …");
}

}  // namespace
}  // namespace tunefleet::tuners

int main(int argc, char** argv) {
  const auto status = tunefleet::tuners::run({argv + 1, argv + argc});
  if (status) return 0;
  std::cerr << status.error().message << "\n";
  return 1;
}
