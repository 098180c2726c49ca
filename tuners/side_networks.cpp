#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/max_pool2d.h>
#include <c10/util/StringUtil.h>

#include <stdexcept>

#include "tuners/side.h"

/// The networks of ms-swift's side.py.
namespace tunefleet::tuners {
namespace {

void check_picture(const at::Tensor& x, int64_t least, const char* name) {
  const bool fits = x.dim() == 4 && x.size(1) == 3 && x.size(2) >= least && x.size(3) >= least;
  if (fits) return;
  throw std::invalid_argument(c10::str("side network ", name, " takes pictures [B, 3, H, W] of ",
                                       least, " or more: ", x.sizes()));
}

class MlpNetwork : public SideNetwork {
 public:
  MlpNetwork(int64_t dim, const TunerPlace& place)
      : fc1_(TrainedLinear::make(dim, dim, LayerStart::kKaiming, place.inside("fc1"))),
        fc2_(TrainedLinear::make(dim, dim, LayerStart::kKaiming, place.inside("fc2"))) {}
  at::Tensor forward(const at::Tensor& x) const override { return fc2_(at::gelu(fc1_(x))); }
  std::vector<LayerTensor> tensors() const override {
    std::vector<LayerTensor> tensors;
    fc1_.append("fc1", tensors);
    fc2_.append("fc2", tensors);
    return tensors;
  }

 private:
  TrainedLinear fc1_;
  TrainedLinear fc2_;
};

class Fcn4Network : public SideNetwork {
 public:
  Fcn4Network(int64_t dim, const TunerPlace& place)
      : fc_(TrainedLinear::make(64, dim, LayerStart::kKaiming, place.inside("fc"))) {
    constexpr TrainedConv::Shape kShapes[] = {
        {.in = 3, .out = 16, .kernel = 3, .stride = 1, .padding = 1, .bias = false},
        {.in = 16, .out = 16, .kernel = 3, .stride = 2, .bias = false},
        {.in = 16, .out = 32, .kernel = 3, .stride = 2, .bias = false},
        {.in = 32, .out = 64, .kernel = 3, .stride = 1, .bias = false}};
    for (const auto& shape : kShapes) {
      const TunerPlace block = place.inside(c10::str("conv", blocks_.size() + 1));
      blocks_.push_back({.conv = TrainedConv::make(shape, LayerStart::kKaiming, block.inside("0")),
                         .norm = TrainedGroupNorm::make(2, shape.out, block.inside("1"))});
    }
  }
  at::Tensor forward(const at::Tensor& x) const override {
    check_picture(x, 15, "fcn4");
    at::Tensor h = x;
    for (const auto& block : blocks_) h = block.norm(block.conv(h)).relu();
    return fc_(h.mean({2, 3}));
  }
  std::vector<LayerTensor> tensors() const override {
    std::vector<LayerTensor> tensors;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      blocks_[i].conv.append(c10::str("conv", i + 1, ".0"), tensors);
      blocks_[i].norm.append(c10::str("conv", i + 1, ".1"), tensors);
    }
    fc_.append("fc", tensors);
    return tensors;
  }

 private:
  struct Block {
    TrainedConv conv;
    TrainedGroupNorm norm;
  };
  std::vector<Block> blocks_;
  TrainedLinear fc_;
};

/// Krizhevsky 2014, arXiv:1404.5997, as torchvision has it, with one linear layer behind.
class AlexNetwork : public SideNetwork {
 public:
  AlexNetwork(int64_t dim, const TunerPlace& place)
      : fc_(TrainedLinear::make(9216, dim, LayerStart::kKaiming, place.inside("fc"), false)) {
    for (const auto& layer : kLayers) {
      const TunerPlace at = place.inside(c10::str("features.", layer.index));
      convs_.push_back(TrainedConv::make(layer.shape, LayerStart::kKaiming, at));
    }
  }
  at::Tensor forward(const at::Tensor& x) const override {
    check_picture(x, 63, "alexnet");
    at::Tensor h = x;
    for (size_t i = 0; i < convs_.size(); ++i) {
      h = convs_[i](h).relu();
      if (kLayers[i].pool) h = at::max_pool2d(h, {3, 3}, {2, 2});
    }
    return fc_(at::adaptive_avg_pool2d(h, {6, 6}).flatten(1));
  }
  std::vector<LayerTensor> tensors() const override {
    std::vector<LayerTensor> tensors;
    for (size_t i = 0; i < convs_.size(); ++i)
      convs_[i].append(c10::str("features.", kLayers[i].index), tensors);
    fc_.append("fc", tensors);
    return tensors;
  }

 private:
  struct Layer {
    int index;  ///< In torchvision's Sequential, which counts ReLU and pooling.
    TrainedConv::Shape shape;
    bool pool;
  };
  static constexpr Layer kLayers[] = {
      {0, {.in = 3, .out = 64, .kernel = 11, .stride = 4, .padding = 2}, true},
      {3, {.in = 64, .out = 192, .kernel = 5, .padding = 2}, true},
      {6, {.in = 192, .out = 384, .kernel = 3, .padding = 1}, false},
      {8, {.in = 384, .out = 256, .kernel = 3, .padding = 1}, false},
      {10, {.in = 256, .out = 256, .kernel = 3, .padding = 1}, true}};

  std::vector<TrainedConv> convs_;
  TrainedLinear fc_;
};

}  // namespace

std::unique_ptr<SideNetwork> make_side_network(const std::string& name, int64_t dim,
                                               const TunerPlace& place) {
  if (name == "mlp") return std::make_unique<MlpNetwork>(dim, place);
  if (name == "fcn4") return std::make_unique<Fcn4Network>(dim, place);
  if (name == "alexnet") return std::make_unique<AlexNetwork>(dim, place);
  throw std::invalid_argument("no such side network: " + name);
}

}  // namespace tunefleet::tuners
