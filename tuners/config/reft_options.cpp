#include "tuners/config/reft_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tuners/config/activation_names.h"

namespace tunefleet::tuners {
namespace {

using nlohmann::json;

Error bad(const std::string& what, const std::string& key, const json& value) {
  return {ErrorCode::kInvalidArgument,
          fmt::format("ReFT option args: {}: {} {}", what, key, value.dump())};
}

Status set_argument(const std::string& key, const json& value, ReftArguments& arguments) {
  if (key == "act_fn") {
    const auto names = activation_names();
    const bool known = value.is_string() && std::find(names.begin(), names.end(),
                                                      value.get<std::string>()) != names.end();
    if (!known && !value.is_null())
      return fail(bad(fmt::format("takes {}", fmt::join(names, ", ")), key, value));
    if (known) arguments.act_fn = value.get<std::string>();
    return {};
  }
  if (key == "add_bias") {
    if (!value.is_boolean()) return fail(bad("not true or false", key, value));
    arguments.add_bias = value.get<bool>();
    return {};
  }
  if (key == "dropout") {
    arguments.dropout = value.is_number() ? value.get<double>() : -1.0;
    if (arguments.dropout >= 0.0 && arguments.dropout < 1.0) return {};
    return fail(bad("not from 0 to below 1", key, value));
  }
  return fail(bad("knows act_fn, add_bias and dropout only", key, value));
}

std::vector<TunerOption> option_rows() {
  return {
      {.key = "r",
       .help = "Directions that an intervention changes.",
       .ref = ref_of<&ReftOptions::r>,
       .limits = at_least(1)},
      {.key = "layers",
       .help = "Numbers of the layers; empty: all.",
       .ref = ref_of<&ReftOptions::layers>,
       .limits = at_least(0)},
      {.key = "intervention_type",
       .help = "How a layer's output h changes, with R orthonormal: Loreft h + R'(Wh + b - Rh), "
               "Direft h + R'(Wh + b), Consreft h + R'(b - Rh), Lobireft h + R'b; with V free: "
               "Noreft h + V'(Wh + b - Vh), Nodireft h + V'(Wh + b).",
       .ref = ref_of<&ReftOptions::intervention_type>,
       .allowed = {"LoreftIntervention", "NoreftIntervention", "ConsreftIntervention",
                   "LobireftIntervention", "DireftIntervention", "NodireftIntervention"}},
      {.key = "args",
       .help = "More settings as an object: act_fn around Wh + b, dropout of the changed "
               "output, add_bias to Vh.",
       .ref = ref_of<&ReftOptions::args>},
      {.key = "layer_key",
       .help = "Path of the list of layers; unset: the model's.",
       .ref = ref_of<&ReftOptions::layer_key>},
      {.key = "model_type",
       .help = "ms-swift's name of the architecture, for its files.",
       .ref = ref_of<&ReftOptions::model_type>}};
}

/// A job gives args as text, ms-swift's file may have null.
void normalise(void* options) {
  auto& args = static_cast<ReftOptions*>(options)->args;
  const json value = json::parse(args.text, nullptr, false);
  if (value.is_string()) args.text = value.get<std::string>();
  if (value.is_null()) args.text = "{}";
}

}  // namespace

Result<ReftArguments> reft_arguments(const ReftOptions& options) {
  const json value = json::parse(options.args.text, nullptr, false);
  if (!value.is_object()) {
    return fail(ErrorCode::kInvalidArgument,
                "ReFT option args is not a JSON object: " + options.args.text);
  }
  ReftArguments arguments;
  for (const auto& [key, each] : value.items()) {
    if (auto status = set_argument(key, each, arguments); !status) return fail(status.error());
  }
  return arguments;
}

Status validate(const ReftOptions& options) {
  const auto arguments = reft_arguments(options);
  if (!arguments) return fail(arguments.error());
  return {};
}

const TunerSchema& ReftOptions::schema() {
  static const TunerSchema schema{.name = "reft",
                                  .peft_type = {},
                                  .swift_type = "reft",
                                  .summary = "trained interventions on the output of layers",
                                  .source = "arXiv:2404.03592",
                                  .options = option_rows(),
                                  .make = &make_options<ReftOptions>,
                                  .clone = &clone_options<ReftOptions>,
                                  .check = &checked<ReftOptions, &validate>,
                                  .normalise = &normalise};
  return schema;
}

}  // namespace tunefleet::tuners
