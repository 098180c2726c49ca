#include "tuners/model_files.h"

#include <c10/util/StringUtil.h>

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "storage/atomic_file.h"
#include "storage/safetensors.h"
#include "tuners/adapter_files.h"
#include "tuners/tensor_io.h"

namespace tunefleet::tuners {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 16 << 20;

/// What goes along with the weights, where the source has it.
constexpr const char* kOtherFiles[] = {"generation_config.json",
                                       "tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "vocab.json",
                                       "merges.txt",
                                       "tokenizer.model",
                                       "chat_template.jinja",
                                       "chat_template.json",
                                       "additional_chat_templates"};

/// One file's parameters.
struct Shard {
  std::string name;
  std::vector<const ParameterSlot*> slots;
  std::vector<storage::TensorSpec> specs;
  uint64_t bytes = 0;
};

/// The parameters to write, in files, and what config.json has to say about them.
struct Plan {
  std::vector<Shard> shards;
  uint64_t bytes = 0;
  bool untied = false;  ///< The output embedding has a tensor of its own.
  at::ScalarType dtype = at::kFloat;
};

/// Tensors that several parameters share, with the value the first of them has.
class Ties {
 public:
  /// Whether an earlier parameter on the same tensor has the same value.
  bool known(const ParameterSlot& slot, const at::Tensor& value) {
    const auto [place, is_new] = first_.emplace(slot.base.const_data_ptr(), value.const_data_ptr());
    return !is_new && place->second == value.const_data_ptr();
  }

 private:
  std::map<const void*, const void*> first_;
};

Plan make_plan(BaseModel& base, const std::function<at::Tensor(const ParameterSlot&)>& value_of,
               uint64_t shard_bytes) {
  Plan plan;
  Ties ties;
  for (const ParameterSlot* slot : base.parameters()) {
    if (!slot->base.defined()) continue;
    const at::Tensor value = value_of(*slot);
    if (ties.known(*slot, value)) continue;
    const auto bytes = static_cast<uint64_t>(value.nbytes());
    if (plan.shards.empty() || plan.shards.back().bytes + bytes > shard_bytes)
      plan.shards.emplace_back();
    auto& shard = plan.shards.back();
    storage::TensorSpec spec;
    spec.name = slot->path;
    spec.dtype = storage_dtype(value.scalar_type());
    spec.shape = value.sizes().vec();
    shard.slots.push_back(slot);
    shard.specs.push_back(std::move(spec));
    shard.bytes += bytes;
    plan.bytes += bytes;
    plan.dtype = value.scalar_type();
    plan.untied = plan.untied || slot->path == base.output_embedding() + ".weight";
  }
  return plan;
}

void name_shards(std::vector<Shard>& shards) {
  if (shards.size() == 1) {
    shards.front().name = "model.safetensors";
    return;
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    shards[i].name = name;
  }
}

Status write_shard(const Shard& shard,
                   const std::function<at::Tensor(const ParameterSlot&)>& value_of,
                   const fs::path& directory) {
  auto writer =
      storage::SafetensorsWriter::create(directory / shard.name, shard.specs, {{"format", "pt"}});
  if (!writer) return fail(writer.error());
  std::map<std::string, const ParameterSlot*> by_name;
  for (const auto* slot : shard.slots) by_name.emplace(slot->path, slot);
  for (const auto& spec : writer->order()) {
    const at::Tensor value = value_of(*by_name.at(spec.name)).detach().cpu().contiguous();
    const auto* bytes = static_cast<const std::byte*>(value.const_data_ptr());
    if (auto status = writer->append(std::span(bytes, value.nbytes())); !status) return status;
  }
  return writer->finish();
}

Status write_index(const Plan& plan, const fs::path& directory) {
  if (plan.shards.size() == 1) return {};
  nlohmann::json files = nlohmann::json::object();
  for (const auto& shard : plan.shards) {
    for (const auto& spec : shard.specs) files[spec.name] = shard.name;
  }
  const nlohmann::json index{{"metadata", {{"total_size", plan.bytes}}}, {"weight_map", files}};
  return storage::write_file_atomically(directory / "model.safetensors.index.json",
                                        index.dump(2) + "\n");
}

Status write_config(const Plan& plan, const fs::path& source, const fs::path& directory) {
  const auto text = storage::read_small_file(source / "config.json", kMaxConfigBytes);
  if (!text) return fail(text.error());
  auto config = nlohmann::ordered_json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return fail(ErrorCode::kDataLoss,
                "not a model's configuration: " + (source / "config.json").string());
  }
  const char* dtype = plan.dtype == at::kBFloat16 ? "bfloat16"
                      : plan.dtype == at::kHalf   ? "float16"
                                                  : "float32";
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = dtype;
  if (plan.untied) config["tie_word_embeddings"] = false;
  return storage::write_file_atomically(directory / "config.json", config.dump(2) + "\n");
}

Status copy_others(const fs::path& source, const fs::path& directory) {
  for (const char* name : kOtherFiles) {
    std::error_code error;
    if (!fs::exists(source / name, error)) continue;
    fs::copy(source / name, directory / name,
             fs::copy_options::recursive | fs::copy_options::overwrite_existing, error);
    if (error) {
      return fail(ErrorCode::kInternal, c10::str("cannot copy a file of the model: ",
                                                 error.message(), ", ", (source / name).string()));
    }
  }
  return {};
}

}  // namespace

Status save_model(BaseModel& base, const std::function<at::Tensor(const ParameterSlot&)>& value_of,
                  const fs::path& source, const fs::path& directory, uint64_t shard_bytes) {
  if (auto status = make_directory(directory); !status) return status;
  auto plan = make_plan(base, value_of, shard_bytes);
  name_shards(plan.shards);
  for (const auto& shard : plan.shards) {
    if (auto status = write_shard(shard, value_of, directory); !status) return status;
  }
  if (auto status = write_index(plan, directory); !status) return status;
  if (auto status = copy_others(source, directory); !status) return status;
  return write_config(plan, source, directory);
}

}  // namespace tunefleet::tuners
