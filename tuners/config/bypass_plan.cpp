#include "tuners/config/bypass_plan.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "proto/nearest_name.h"

namespace tunefleet::tuners {
namespace {

using nlohmann::json;
using Plan = BypassTunerPlan;

constexpr std::string_view kWords[] = {"res_adapter", "res_group_adapter", "upsample", "identity",
                                       "zero"};

Error bad(int64_t block, const std::string& what) {
  return {ErrorCode::kInvalidArgument, fmt::format("restuning, block {}: {}", block, what)};
}

/// One block's place in the options.
struct Place {
  const ResTuningOptions& options;
  int64_t block = 0;
  int64_t depth = 0;
  int64_t dim = 0;
  int64_t conv_channels = 0;
};

int64_t whole_number(const json& object, const char* key, int64_t otherwise) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return otherwise;
  return it->is_number_integer() ? it->get<int64_t>() : -1;
}

Status read_weight(const json& settings, const Place& place, Plan& plan) {
  const auto it = settings.find("adapter_weight");
  if (it == settings.end() || it->is_null()) return {};
  const std::string word = it->is_string() ? it->get<std::string>() : it->dump();
  if (word == "gate") plan.weight = Plan::Weight::kGate;
  if (word == "scale") plan.weight = Plan::Weight::kScale;
  if (word == "scale_channel") plan.weight = Plan::Weight::kScaleChannel;
  if (!word.starts_with("scalar")) return {};
  const std::string number = word.substr(word.rfind('_') + 1);
  char* end = nullptr;
  plan.weight = Plan::Weight::kScalar;
  plan.scalar = std::strtod(number.c_str(), &end);
  if (!number.empty() && *end == '\0') return {};
  return fail(bad(place.block, "adapter_weight is not scalar_<number>: " + word));
}

/// adapter_length of this block: a width, a list of widths, or a list of [in, width, out].
Status read_length(const json& settings, const Place& place, Plan& plan) {
  plan.in = plan.out = place.dim;
  plan.width = 32;
  const auto it = settings.find("adapter_length");
  if (it == settings.end() || it->is_null()) return {};
  json length = *it;
  if (length.is_array() && place.block < static_cast<int64_t>(length.size()))
    length = json(length[static_cast<size_t>(place.block)]);
  const bool whole = length.is_number_integer();
  const bool three = length.is_array() && length.size() == 3 && length[0].is_number_integer() &&
                     length[1].is_number_integer() && length[2].is_number_integer();
  if (!whole && !three) {
    return fail(bad(place.block, "adapter_length has no width for it: " + it->dump()));
  }
  plan.width = whole ? length.get<int64_t>() : length[1].get<int64_t>();
  if (three) plan.in = length[0].get<int64_t>(), plan.out = length[2].get<int64_t>();
  if (plan.in >= 1 && plan.width >= 1 && plan.out >= 1) return {};
  return fail(bad(place.block, "adapter_length is below 1: " + it->dump()));
}

Status read_groups(const json& settings, const Place& place, Plan& plan) {
  const int64_t channels = whole_number(settings, "dim", place.dim);
  const int64_t factor = whole_number(settings, "scale_factor", 2);
  plan.heads = whole_number(settings, "head", 4);
  if (plan.heads < 1 || channels < 1 || factor < 1 || channels % plan.heads != 0) {
    return fail(bad(place.block, fmt::format("channels are not a multiple of the heads: dim {}, "
                                             "head {}, scale_factor {}",
                                             channels, plan.heads, factor)));
  }
  plan.in = plan.out = channels / plan.heads;
  plan.width = plan.in * factor;
  return {};
}

/// The word of a part and its settings.
Result<std::pair<std::string, json>> read_word(const json& part, const Place& place) {
  if (part.is_string()) return std::pair{part.get<std::string>(), json::object()};
  for (const char* word : {"res_adapter", "res_group_adapter", "upsample"}) {
    if (!part.is_object() || !part.contains(word)) continue;
    const json& settings = part.at(word);
    return std::pair{std::string(word), settings.is_object() ? settings : json::object()};
  }
  if (part.is_object()) return std::pair{std::string("identity"), json::object()};
  return fail(bad(place.block, "a part is not a word or an object: " + part.dump()));
}

/// ms-swift takes any other word for identity; one that is nearly a known word is a mistake.
Status check_word(const std::string& word, const Place& place) {
  for (const auto known : kWords) {
    if (word == known) return {};
  }
  const auto near = nearest_name(word, {std::begin(kWords), std::end(kWords)});
  if (!near) return {};
  return fail(bad(place.block, fmt::format("no such part, did you mean {}?: {}", *near, word)));
}

Result<Plan> plan_part(const json& part, const Place& place) {
  const auto read = read_word(part, place);
  if (!read) return fail(read.error());
  const auto& [word, settings] = *read;
  if (auto status = check_word(word, place); !status) return fail(status.error());
  Plan plan{
      .zero = part.is_string() ? word.find("zero") != std::string::npos : part.contains("zero"),
      .zero_init = place.options.zero_init_last && place.block == place.depth - 1};
  Status status{};
  if (word == "res_adapter") {
    plan.kind = Plan::Kind::kResAdapter;
    status = read_length(settings, place, plan);
    plan.weight_dim = plan.out;
  } else if (word == "res_group_adapter") {
    plan.kind = Plan::Kind::kResGroupAdapter;
    status = read_groups(settings, place, plan);
    plan.weight_dim = place.dim;
  } else if (word == "upsample") {
    plan.kind = Plan::Kind::kUpsample;
    plan.in = place.dim;
    plan.conv_channels = place.conv_channels;
  }
  if (status) status = read_weight(settings, place, plan);
  if (!status) return fail(status.error());
  return plan;
}

/// {"lateral_cfg", "vertical_cfg", "aux_cfg"}, also for a word alone.
Result<json> parts_of(const json& config, const Place& place) {
  if (config.is_string()) {
    json parts{{"lateral_cfg", config}, {"vertical_cfg", config}};
    if (place.options.use_upsample && place.block != place.depth - 1) parts["aux_cfg"] = "upsample";
    return parts;
  }
  if (config.is_object() && config.contains("lateral_cfg") && config.contains("vertical_cfg"))
    return config;
  return fail(bad(place.block,
                  "tuner_cfg is a word, or an object with lateral_cfg and "
                  "vertical_cfg: " +
                      config.dump()));
}

Result<BypassBlockPlan> plan_block(const json& config, const Place& place) {
  const auto parts = parts_of(config, place);
  if (!parts) return fail(parts.error());
  const auto lateral = plan_part(parts->at("lateral_cfg"), place);
  if (!lateral) return fail(lateral.error());
  const auto vertical = plan_part(parts->at("vertical_cfg"), place);
  if (!vertical) return fail(vertical.error());
  if (lateral->zero && vertical->zero)
    return fail(bad(place.block, "nothing is left of it: lateral_cfg and vertical_cfg are zero"));
  BypassBlockPlan plan{.lateral = *lateral, .vertical = *vertical, .aux = std::nullopt};
  const json aux = parts->value("aux_cfg", json());
  if (aux.empty()) return plan;
  const auto aux_plan = plan_part(aux, place);
  if (!aux_plan) return fail(aux_plan.error());
  if (aux_plan->zero) return fail(bad(place.block, "nothing is left of it: aux_cfg is zero"));
  plan.aux = *aux_plan;
  return plan;
}

/// `list[block]`, or `list` itself when it is no list.
Result<json> of_block(const json& list, const char* key, int64_t block, int64_t depth) {
  if (!list.is_array()) return list;
  if (block < static_cast<int64_t>(list.size())) return json(list[static_cast<size_t>(block)]);
  return fail(bad(block, fmt::format("{} has fewer entries than there are stems: {} < {}", key,
                                     list.size(), depth)));
}

}  // namespace

Result<std::vector<BypassBlockPlan>> plan_bypass(const ResTuningOptions& options, int64_t depth) {
  const json configs = json::parse(options.tuner_cfg.text, nullptr, false);
  const json channels = json::parse(options.upsample_out_channels.text, nullptr, false);
  const json dims = options.dims.size() == 1 ? json(options.dims[0]) : json(options.dims);
  std::vector<BypassBlockPlan> plan;
  for (int64_t block = 0; block < depth; ++block) {
    const auto config = of_block(configs, "tuner_cfg", block, depth);
    const auto dim = of_block(dims, "dims", block, depth);
    const auto out = of_block(channels, "upsample_out_channels", block, depth);
    if (!config || !dim || !out)
      return fail(!config ? config.error() : !dim ? dim.error() : out.error());
    if (!out->is_null() && !(out->is_number_integer() && *out >= 0))
      return fail(bad(block, "upsample_out_channels is not a whole number: " + out->dump()));
    const Place place{.options = options,
                      .block = block,
                      .depth = depth,
                      .dim = dim->get<int64_t>(),
                      .conv_channels = out->is_null() ? 0 : out->get<int64_t>()};
    auto block_plan = plan_block(*config, place);
    if (!block_plan) return fail(block_plan.error());
    plan.push_back(*std::move(block_plan));
  }
  return plan;
}

}  // namespace tunefleet::tuners
