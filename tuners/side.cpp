#include "tuners/side.h"

#include <ATen/ops/zeros.h>

#include <utility>

namespace tunefleet::tuners {

SideLayer::SideLayer(std::unique_ptr<SideNetwork> network, const TunerPlace& place)
    : network_(std::move(network)), alpha_(trained(at::zeros({}), place)) {}

at::Tensor SideLayer::forward(const at::Tensor& x, const TensorNext& next,
                              const ForwardContext&) const {
  const at::Tensor y = next(x);
  const at::Tensor share = alpha_.sigmoid();
  const at::Tensor side = network_->forward(x.to(at::kFloat));
  return y.to(at::kFloat).mul(share).add(side.mul(share.neg().add(1))).to(y.scalar_type());
}

std::vector<LayerTensor> SideLayer::tensors() const {
  std::vector<LayerTensor> tensors{{.name = "alpha", .tensor = alpha_, .decay = false}};
  for (auto tensor : network_->tensors()) {
    tensor.name = "side_net." + tensor.name;
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

Result<std::unique_ptr<Adapter>> SideAdapter::make(const TunerOptions& options,
                                                   const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  auto side = options.as<SideOptions>();
  const PassSites places(request.base);
  const auto sites = places.matching(side.target_modules, "side");
  if (!sites) return fail(sites.error());
  // ms-swift knows expressions only.
  if (!side.target_modules.regex)
    side.target_modules = {.names = {}, .regex = expression_for(*sites)};
  std::unique_ptr<SideAdapter> adapter(new SideAdapter(side, request.name));
  for (const auto& site : *sites) {
    const std::string stem = "side_{}";
    const TunerPlace place{adapter->with_name(site.path + "." + stem), request.seed,
                           places.device()};
    auto network = make_side_network(side.side_module_name, side.dim, place.inside("side_net"));
    adapter->attach(site, std::make_unique<SideLayer>(std::move(network), place), stem);
  }
  return adapter;
}

}  // namespace tunefleet::tuners
