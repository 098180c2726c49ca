#include "tuners/registry.h"

#include <c10/util/StringUtil.h>

#include <stdexcept>

#include "tuners/config/lora_json.h"
#include "tuners/lora_adapter.h"

namespace tunefleet::tuners {
namespace {

/// The entry's `read` from a reader of one kind of options.
template <auto Reader>
Result<ReadTunerOptions> read_options(std::string_view text, const std::string& file_name) {
  auto read = Reader(text, file_name);
  if (!read) return fail(read.error());
  return ReadTunerOptions{.options = std::move(read->options),
                          .warnings = std::move(read->warnings)};
}

/// The entry's `make` for an adapter class with options of its own.
template <typename Options, typename AdapterClass>
Result<std::unique_ptr<Adapter>> make_adapter(const TunerOptions& options,
                                              const AdapterRequest& request) {
  return AdapterClass::make(std::get<Options>(options), request.base, request.name, request.seed,
                            request.fresh);
}

std::string known_types() {
  std::vector<std::string_view> names;
  for (const auto& entry : builtin_tuners()) names.push_back(entry.peft_type);
  return c10::Join(", ", names);
}

}  // namespace

const std::vector<TunerEntry>& builtin_tuners() {
  static const std::vector<TunerEntry> entries{
      {LoraOptions::kPeftType, "LORA", "low-rank updates of linear layers (arXiv:2106.09685)",
       &read_options<&read_lora_config>, &make_adapter<LoraOptions, LoraAdapter>},
  };
  return entries;
}

Result<const TunerEntry*> find_tuner(const AdapterKind& kind) {
  for (const auto& entry : builtin_tuners()) {
    const bool named = kind.swift_type.empty() ? entry.peft_type == kind.peft_type
                                               : entry.swift_type == kind.swift_type;
    if (named) return &entry;
  }
  return fail(ErrorCode::kInvalidArgument,
              c10::str("no such tuner, known are ", known_types(), ": ",
                       kind.swift_type.empty() ? kind.peft_type : kind.swift_type));
}

const TunerEntry& tuner_of(const TunerOptions& options) {
  const std::string_view type =
      std::visit([](const auto& each) { return each.kPeftType; }, options);
  for (const auto& entry : builtin_tuners()) {
    if (entry.peft_type == type) return entry;
  }
  throw std::logic_error(c10::str("tuner is not in the registry: ", type));
}

}  // namespace tunefleet::tuners
