#include "tuners/prompt.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <stdexcept>

#include "tuners/initial_values.h"

namespace tunefleet::tuners {
namespace {

/// The number at the end of a path; -1 when there is none.
int64_t block_number(const std::string& path) {
  const std::string last = path.substr(path.rfind('.') + 1);
  const bool number =
      !last.empty() && last.size() < 10 &&
      std::all_of(last.begin(), last.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  return number ? std::stoll(last) : -1;
}

Status check_targets(const std::vector<PassSite>& sites, const PromptOptions& options) {
  for (const auto& site : sites) {
    if (block_number(site.path) >= 0) continue;
    return fail(ErrorCode::kInvalidArgument,
                c10::str("prompt acts on numbered blocks, this path does not end with a number: ",
                         site.path));
  }
  if (options.dim.size() == 1 || options.dim.size() >= sites.size()) return {};
  return fail(ErrorCode::kInvalidArgument,
              c10::str("prompt option dim has fewer entries than there are targets: ",
                       options.dim.size(), " < ", sites.size()));
}

/// ms-swift takes a name for any end of a path, also within a word: where that means more modules,
/// the file gets an expression.
ModuleNames names_for_file(const ModuleNames& names, const std::vector<PassSite>& targets,
                           const std::vector<std::string>& modules) {
  if (names.regex) return names;
  const auto selected = std::count_if(modules.begin(), modules.end(), [&](const auto& module) {
    return std::any_of(names.names.begin(), names.names.end(),
                       [&](const auto& name) { return module.ends_with(name); });
  });
  if (selected == static_cast<std::ptrdiff_t>(targets.size())) return names;
  return {.names = {}, .regex = expression_for(targets)};
}

}  // namespace

PromptLayer::PromptLayer(const Settings& settings, const TunerPlace& place) : settings_(settings) {
  const RandomStream stream(place.seed, stream_id(place.path + ".prompt_token"));
  prompt_ = trained(xavier_values({1, settings_.length, settings_.dim}, stream), place);
}

at::Tensor PromptLayer::joined(const at::Tensor& prompt, const at::Tensor& rest,
                               int64_t dim) const {
  return settings_.front ? at::cat({prompt, rest}, dim) : at::cat({rest, prompt}, dim);
}

at::Tensor PromptLayer::with_prompt(const at::Tensor& x) const {
  const at::Tensor prompt = prompt_.expand({x.size(0), -1, -1}).to(x.scalar_type());
  if (settings_.block == 0) return joined(prompt, x, 1);
  const int64_t kept = x.size(1) - settings_.length;
  return joined(prompt, x.narrow(1, settings_.front ? settings_.length : 0, kept), 1);
}

at::Tensor PromptLayer::forward(const at::Tensor& x, const TensorNext& next,
                                const ForwardContext&) const {
  const bool fits = x.dim() == 3 && x.size(2) == settings_.dim &&
                    (settings_.block == 0 || x.size(1) >= settings_.length);
  if (!fits) {
    throw std::invalid_argument(c10::str("prompt tokens do not fit the block's input: prompt [",
                                         settings_.length, ", ", settings_.dim, "], input ",
                                         x.sizes()));
  }
  const at::Tensor y = next(with_prompt(x));
  if (!settings_.extract) return y;
  return y.narrow(1, settings_.front ? settings_.length : 0, y.size(1) - settings_.length);
}

at::Tensor PromptLayer::attention_mask(const at::Tensor& mask) const {
  if (!settings_.has_mask) return mask;
  auto shape = mask.sizes().vec();
  shape.back() = settings_.length;
  return joined(at::full(shape, settings_.mask_value, mask.options()), mask, -1);
}

std::vector<LayerTensor> PromptLayer::tensors() const {
  return {{.name = "prompt_token", .tensor = prompt_}};
}

Result<std::unique_ptr<Adapter>> PromptAdapter::make(const TunerOptions& options,
                                                     const AdapterRequest& request) {
  auto prompt = options.as<PromptOptions>();
  if (auto status = check_options(options); !status) return fail(status.error());
  if (request.base.sequence_site() != nullptr) {
    return fail(ErrorCode::kInvalidArgument,
                "prompt acts on blocks over [B, T, C], this model's tokens lie flat: use "
                "prompt_tuning or prefix_tuning");
  }
  const PassSites places(request.base);
  const auto sites = places.matching(prompt.target_modules, "prompt");
  if (!sites) return fail(sites.error());
  if (auto status = check_targets(*sites, prompt); !status) return fail(status.error());
  prompt.target_modules =
      names_for_file(prompt.target_modules, *sites, model_modules(request.base).modules);
  std::unique_ptr<PromptAdapter> adapter(new PromptAdapter(prompt, request.name));
  for (size_t i = 0; i < sites->size(); ++i) {
    const PassSite& site = (*sites)[i];
    const PromptLayer::Settings settings{
        .dim = prompt.dim.size() == 1 ? prompt.dim[0] : prompt.dim[i],
        .length = prompt.prompt_length,
        .block = block_number(site.path),
        .front = prompt.attach_front,
        .extract = prompt.extract_embedding && i + 1 == sites->size(),
        .has_mask = prompt.attention_mask_pos.has_value(),
        .mask_value = mask_value(prompt)};
    const std::string stem = "prompt_{}";
    adapter->attach(site,
                    std::make_unique<PromptLayer>(
                        settings, TunerPlace{adapter->with_name(site.path + "." + stem),
                                             request.seed, places.device()}),
                    stem);
  }
  return adapter;
}

}  // namespace tunefleet::tuners
