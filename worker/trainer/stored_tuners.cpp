#include "worker/trainer/stored_tuners.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "proto/log.h"
#include "storage/atomic_file.h"
#include "storage/checkpoint.h"
#include "storage/model_store.h"

namespace tunefleet::trainer {
namespace {

constexpr uint64_t kMaxArgsBytes = 16 << 20;

/// Options whose stored value the run found out itself, where the job has a word for it.
constexpr std::array<std::string_view, 6> kFound{"target_modules", "modules_to_save",
                                                 "total_step",     "base_model_name_or_path",
                                                 "revision",       "task_type"};

/// Whether a job leaves the option to the run.
bool is_open(const std::string& json) { return json == "null" || json == "[]" || json == "{}"; }

/// "r is 8 there and 4 in the job", for each option that differs.
std::vector<std::string> differences(const tuners::TunerOptions& stored,
                                     const tuners::TunerOptions& wanted) {
  std::vector<std::string> texts;
  for (const auto& option : stored.schema().options) {
    const bool found = std::find(kFound.begin(), kFound.end(), option.key) != kFound.end();
    if (found || option.in_files == tuners::InFiles::kNone) continue;
    const auto there = tuners::option_json(stored, option);
    const auto here = tuners::option_json(wanted, option);
    if (!is_open(here) && there != here)
      texts.push_back(
          c10::str(std::string(option.key), " is ", there, " there and ", here, " in the job"));
  }
  return texts;
}

/// Whether the job says itself what its tuners are; lora is what it says without words.
bool names_tuners(const JobSpec& spec) {
  return !spec.tuners.empty() || spec.tuner_type != JobSpec{}.tuner_type;
}

bool has_kind(const tuners::SwiftModel& swift, const tuners::TunerSchema& schema) {
  const auto names = swift.adapter_names();
  return std::any_of(names.begin(), names.end(), [&](const auto& name) {
    return &swift.find_adapter(name)->options().schema() == &schema;
  });
}

std::string text_of(const tuners::SwiftModel& swift) {
  std::vector<std::string> texts;
  for (const auto& name : swift.adapter_names()) {
    texts.push_back(
        c10::str(name, " (", std::string(swift.find_adapter(name)->options().schema().name), ")"));
  }
  return c10::Join(", ", texts);
}

}  // namespace

Status check_stored_tuners(const JobSpec& spec, const tuners::NamedOptions& wanted,
                           const tuners::SwiftModel& swift, std::string_view key) {
  for (const auto& [name, options] : wanted) {
    const auto& schema = options.schema();
    if (spec.neftune_noise_alpha && schema.name == "neftune") continue;
    const auto* stored = swift.find_adapter(name);
    const bool same = stored != nullptr && &stored->options().schema() == &schema;
    const bool fits = same || (spec.tuners.empty() && has_kind(swift, schema));
    if (!fits && names_tuners(spec)) {
      return fail(ErrorCode::kInvalidArgument,
                  c10::str("the job asks for a tuner that ", std::string(key), " does not bring: ",
                           name, " (", std::string(schema.name), "), there ", text_of(swift)));
    }
    if (!same) continue;
    const auto texts = differences(stored->options(), options);
    if (texts.empty()) continue;
    log::warning(c10::str(std::string(key), " goes on with ", name,
                          " as it was saved: ", c10::Join(", ", texts)));
  }
  return {};
}

Status check_started_tuners(const JobSpec& spec, const tuners::RunFacts& facts,
                            const tuners::SwiftModel& swift) {
  if (spec.adapters.empty()) return {};
  for (const auto& [name, text] : spec.tuners) {
    if (swift.find_adapter(name) == nullptr) continue;
    return fail(ErrorCode::kConflict,
                c10::str("tuners: an adapter under adapters has this name, and goes on as it is; "
                         "choose another for a new one: ",
                         name));
  }
  if (!spec.tuners.empty()) return {};
  JobSpec without = spec;
  without.adapters.clear();
  const auto flat = tuners::tuner_options_of_job(without, facts);
  return flat ? check_stored_tuners(spec, *flat, swift, "adapters") : Status{};
}

Status check_base_of_checkpoint(const std::filesystem::path& checkpoint, const JobSpec& spec,
                                const std::filesystem::path& model) {
  const auto manifest = storage::read_manifest(checkpoint);
  if (!manifest) return fail(manifest.error());
  const auto text = storage::read_small_file(checkpoint / "args.json", kMaxArgsBytes);
  if (!text || manifest->base_model_digest.empty()) return {};
  const auto args = nlohmann::json::parse(*text, nullptr, false);
  const auto named = args.is_object() ? args.value("model", nlohmann::json()) : nlohmann::json();
  if (!named.is_string() || named == spec.model) return {};
  const auto digest = storage::model_digest(model);
  if (!digest) return fail(digest.error());
  if (*digest == manifest->base_model_digest) return {};
  return fail(ErrorCode::kInvalidArgument,
              c10::str("resume_from_checkpoint is of another base: ", named.get<std::string>(),
                       " there, ", spec.model, " in the job, ", checkpoint.string()));
}

}  // namespace tunefleet::trainer
