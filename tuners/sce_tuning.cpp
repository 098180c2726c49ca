#include "tuners/sce_tuning.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <c10/util/StringUtil.h>

#include <set>
#include <stdexcept>

namespace tunefleet::tuners {
namespace {

Status check_targets(const std::vector<PassSite>& sites, const SceTuningOptions& options) {
  std::set<std::string> seen;
  for (const auto& site : sites) {
    if (seen.insert(site.path).second) continue;
    return fail(ErrorCode::kInvalidArgument,
                c10::str("scetuning option target_modules names a module twice: ", site.path));
  }
  if (options.dims.size() == 1 || options.dims.size() == sites.size()) return {};
  return fail(ErrorCode::kInvalidArgument,
              c10::str("scetuning option dims has not one entry for each target: ",
                       options.dims.size(), " instead of ", sites.size()));
}

}  // namespace

SceLayer::SceLayer(const Settings& settings, const TunerPlace& place)
    : settings_(settings),
      ln1_(TrainedLinear::make(settings.dim, settings.length, LayerStart::kKaiming,
                               place.inside("ln1"))),
      ln2_(TrainedLinear::make(settings.length, settings.dim, LayerStart::kZero,
                               place.inside("ln2"))) {}

at::Tensor SceLayer::tuned(const at::Tensor& z) const {
  if (z.dim() < 2 || z.size(z.dim() == 4 ? 1 : -1) != settings_.dim) {
    throw std::invalid_argument(
        c10::str("what is tuned has another number of channels than option dims says: dims ",
                 settings_.dim, ", tensor ", z.sizes()));
  }
  const at::Tensor hidden = ln1_(channels_last(z.to(at::kFloat)));
  const at::Tensor update = channels_first(ln2_(at::gelu(hidden)), z);
  return z.add(update).to(z.scalar_type());
}

at::Tensor SceLayer::forward(const at::Tensor& x, const TensorNext& next,
                             const ForwardContext&) const {
  if (!settings_.decoder) return tuned(next(x));
  const int64_t rest = x.dim() < 2 ? 0 : x.size(1) - settings_.dim;
  if (rest < settings_.dim) {
    throw std::invalid_argument(
        c10::str("the module's input has no room for the skip connection's channels beside its "
                 "own: dims ",
                 settings_.dim, ", input ", x.sizes()));
  }
  const at::Tensor skip = x.narrow(1, rest, settings_.dim);
  return next(at::cat({x.narrow(1, 0, rest), tuned(skip)}, 1));
}

std::vector<LayerTensor> SceLayer::tensors() const {
  std::vector<LayerTensor> tensors;
  ln1_.append("ln1", tensors);
  ln2_.append("ln2", tensors);
  return tensors;
}

Result<std::unique_ptr<Adapter>> SceTuningAdapter::make(const TunerOptions& options,
                                                        const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  const auto& sce = options.as<SceTuningOptions>();
  const PassSites places(request.base);
  const auto& names = sce.target_modules;
  const auto sites =
      names.regex ? places.matching(names, "scetuning") : places.at_paths(names.names, "scetuning");
  if (!sites) return fail(sites.error());
  if (auto status = check_targets(*sites, sce); !status) return fail(status.error());
  std::unique_ptr<SceTuningAdapter> adapter(new SceTuningAdapter(options, request.name));
  for (size_t i = 0; i < sites->size(); ++i) {
    const PassSite& site = (*sites)[i];
    const int64_t dim = sce.dims.size() == 1 ? sce.dims[0] : sce.dims[i];
    const SceLayer::Settings settings{
        .dim = dim, .length = tuner_length(sce, dim), .decoder = sce.tuner_mode == "decoder"};
    const std::string stem = "scetuner_{}.tuner_op";
    adapter->attach(
        site,
        std::make_unique<SceLayer>(settings, TunerPlace{adapter->with_name(site.path + "." + stem),
                                                        request.seed, places.device()}),
        stem);
  }
  return adapter;
}

}  // namespace tunefleet::tuners
