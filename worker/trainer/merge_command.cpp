#include "worker/trainer/merge_command.h"

#include <c10/util/StringUtil.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <system_error>

#include "proto/log.h"
#include "storage/atomic_file.h"
#include "storage/model_store.h"
#include "storage/staging_directory.h"
#include "tuners/adapter_files.h"
#include "tuners/model_files.h"
#include "tuners/swift.h"
#include "worker/trainer/device.h"
#include "worker/trainer/model_setup.h"

namespace tunefleet::trainer {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 16 << 20;

/// Where the original layers of the model stand in the longer list, and what follows them.
std::vector<int64_t> insertions_of(const tuners::SwiftModel& swift) {
  std::vector<int64_t> after;
  for (const auto& name : swift.active_adapters()) {
    for (const auto& insertion : swift.find_adapter(name)->insertions())
      after.push_back(insertion.after);
  }
  return after;
}

/// A list with an entry for each layer, for the longer list: a copy is as what it copies.
nlohmann::ordered_json longer(const nlohmann::ordered_json& list,
                              const std::vector<int64_t>& after) {
  auto entries = nlohmann::ordered_json::array();
  for (size_t i = 0; i < list.size(); ++i) {
    const auto copies = std::count(after.begin(), after.end(), static_cast<int64_t>(i));
    for (int64_t copy = 0; copy <= copies; ++copy) entries.push_back(list[i]);
  }
  return entries;
}

/// Makes config.json that of a model with these layers more.
Status add_layers_to_config(const fs::path& directory, const std::vector<int64_t>& after) {
  if (after.empty()) return {};
  const auto text = storage::read_small_file(directory / "config.json", kMaxConfigBytes);
  if (!text) return fail(text.error());
  auto config = nlohmann::ordered_json::parse(*text);
  const auto layers = config.at("num_hidden_layers").get<int64_t>();
  for (auto& [key, value] : config.items()) {
    if (value.is_array() && static_cast<int64_t>(value.size()) == layers && key == "layer_types")
      value = longer(value, after);
  }
  if (auto windows = config.find("max_window_layers"); windows != config.end()) {
    const auto limit = windows->get<int64_t>();
    *windows = limit + std::count_if(after.begin(), after.end(),
                                     [&](int64_t layer) { return layer < limit; });
  }
  config["num_hidden_layers"] = layers + static_cast<int64_t>(after.size());
  return storage::write_file_atomically(directory / "config.json", config.dump(2) + "\n");
}

Status check_output(const fs::path& output) {
  std::error_code error;
  if (!fs::exists(output, error) ||
      (fs::is_directory(output, error) && fs::is_empty(output, error)))
    return {};
  return fail(ErrorCode::kConflict,
              c10::str("the output directory is not empty, choose another or remove it: ",
                       output.string()));
}

/// By name, before any weight is touched.
Status check_mergeable(const tuners::SwiftModel& swift) {
  for (const auto& name : swift.active_adapters()) {
    const auto* adapter = swift.find_adapter(name);
    if (adapter->can_merge()) continue;
    return fail(ErrorCode::kInvalidArgument,
                c10::str("adapter cannot become part of the weights, load it beside them instead: ",
                         name, " (", std::string(adapter->options().schema().name), ")"));
  }
  return {};
}

/// Tells of written parameters, on a terminal.
class WriteProgress {
 public:
  explicit WriteProgress(size_t parameters) : total_(parameters) {}
  void count() {
    // Each is asked for twice: to plan the files, then to write them.
    if (++seen_ <= total_ || isatty(STDERR_FILENO) == 0) return;
    std::fprintf(stderr, "\r\x1b[Kwriting tensor %zu of %zu%s", seen_ - total_, total_,
                 seen_ == 2 * total_ ? "\r\x1b[K" : "");
  }

 private:
  size_t total_;
  size_t seen_ = 0;
};

Status write_model(models::Decoder& model, const fs::path& source, const fs::path& directory) {
  WriteProgress progress(model.parameters().size());
  const auto value_of = [&](const tuners::ParameterSlot& slot) {
    progress.count();
    return slot.value();
  };
  return tuners::save_model(model, value_of, source, directory);
}

/// Without a slash at its end, and absolute.
fs::path output_of(const MergeRequest& request) {
  fs::path output = request.output;
  if (output.empty()) {
    fs::path first = fs::path(request.adapters.front()).lexically_normal();
    if (!first.has_filename()) first = first.parent_path();
    output = first.string() + "-merged";
  }
  output = fs::absolute(output).lexically_normal();
  return output.has_filename() ? output : output.parent_path();
}

}  // namespace

Result<fs::path> base_of_adapters(const std::string& wanted,
                                  const std::vector<std::string>& adapters) {
  std::string name = wanted;
  if (name.empty()) {
    const auto stored = tuners::list_adapters(adapters.front());
    if (!stored) return fail(stored.error());
    const auto config = nlohmann::json::parse(stored->front().config_text, nullptr, false);
    const auto named = config.find("base_model_name_or_path");
    if (named != config.end() && named->is_string()) name = named->get<std::string>();
    if (name.empty()) {
      return fail(
          ErrorCode::kInvalidArgument,
          c10::str("the adapter does not say its base, name it with --model: ", adapters.front()));
    }
  }
  const char* models = std::getenv("TUNEFLEET_MODELS");
  auto found = storage::resolve_model(models == nullptr ? "." : models, name,
                                      storage::ModelPaths::kPathsAllowed);
  if (!found) return fail("the adapter's base", found.error());
  return found;
}

Result<std::vector<std::string>> load_adapters(tuners::SwiftModel& swift,
                                               const std::vector<std::string>& directories) {
  std::vector<std::string> names;
  for (const auto& directory : directories) {
    const auto stored = tuners::list_adapters(directory);
    if (!stored) return fail(stored.error());
    std::map<std::string, std::string> renames;
    for (const auto& each : *stored) {
      std::string name = each.name;
      for (int i = 2; std::find(names.begin(), names.end(), name) != names.end(); ++i)
        name = each.name + "-" + std::to_string(i);
      renames[each.name] = name;
      names.push_back(name);
    }
    if (auto status = tuners::Swift::from_pretrained(swift, directory, renames, false); !status)
      return fail(status.error());
  }
  return names;
}

Status merge_adapters(const MergeRequest& request) {
  set_threads(1);
  const fs::path output = output_of(request);
  if (auto status = check_output(output); !status) return status;
  const auto source = base_of_adapters(request.model, request.adapters);
  if (!source) return fail(source.error());
  const auto model = load_base(*source, request.dtype, "cpu", 0);
  if (!model) return fail(model.error());
  tuners::SwiftModel swift(**model);
  const auto names = load_adapters(swift, request.adapters);
  if (!names) return fail(names.error());
  if (auto status = check_mergeable(swift); !status) return status;
  const auto after = insertions_of(swift);
  log::info(c10::str("merging ", c10::Join(", ", *names), " into ", source->string()));
  if (auto status = swift.merge_and_unload(); !status) return status;

  std::error_code error;
  fs::create_directories(output.parent_path(), error);
  auto staging = storage::StagingDirectory::create(
      output.parent_path() / ("." + output.filename().string() + "." + storage::unique_name()));
  if (!staging) return fail(staging.error());
  if (auto status = write_model(**model, *source, staging->path()); !status) return status;
  if (auto status = add_layers_to_config(staging->path(), after); !status) return status;
  if (auto status = staging->sync(); !status) return status;
  if (auto status = staging->rename_to(output); !status) return status;
  std::printf("%s\n", output.c_str());
  return {};
}

}  // namespace tunefleet::trainer
