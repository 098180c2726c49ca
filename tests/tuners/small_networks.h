#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tuners/sites.h"

/// The networks of tests/oracle/ms_swift_networks.py, which tells what each one is: a few layers
/// under the same names, with sites for tuners.
namespace tunefleet::tuners {

/// How a convolution of a small network is shaped, beside its channels.
struct ConvShape {
  std::vector<int64_t> kernel{3, 3}, stride{1, 1}, padding{1, 1}, dilation{1, 1};
  int64_t groups = 1;
  bool bias = true;
};

/// A network of linear layers, embeddings, convolutions and modules. Derived classes name them and
/// say what a forward pass does.
class SmallNetwork : public BaseModel {
 public:
  std::vector<LinearSite*> linear_sites() override { return of_kind(&Part::linear); }
  std::vector<EmbeddingSite*> embedding_sites() override { return of_kind(&Part::embedding); }
  std::vector<ConvSite*> conv_sites() override { return of_kind(&Part::conv); }
  std::vector<ModuleSite*> module_sites() override { return of_kind(&Part::module); }
  std::vector<ParameterSlot*> parameters() override {
    std::vector<ParameterSlot*> slots;
    for (auto& part : parts_) {
      if (part.linear) slots.insert(slots.end(), {&part.linear->weight, &part.linear->bias});
      if (part.embedding) slots.push_back(&part.embedding->weight);
      if (part.conv) slots.push_back(&part.conv->weight);
      if (part.conv && part.conv->bias.base.defined()) slots.push_back(&part.conv->bias);
    }
    return slots;
  }
  std::string output_embedding() const override { return ""; }
  std::string model_type() const override { return "small"; }
  std::string name_or_path() const override { return "small"; }

  /// `mask` only where the network takes one.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& mask = {}) { return pass(x, mask); }

  ParameterSlot& parameter(const std::string& path) {
    for (ParameterSlot* slot : parameters()) {
      if (slot->path == path) return *slot;
    }
    throw std::out_of_range(path);
  }

 protected:
  virtual at::Tensor pass(const at::Tensor& x, const at::Tensor& mask) = 0;

  void linear(const std::string& path, int64_t in, int64_t out) {
    auto site = std::make_unique<LinearSite>();
    init(*site, path, {out, in});
    parts_.push_back({.linear = std::move(site)});
  }
  void embedding(const std::string& path, int64_t rows, int64_t width) {
    auto site = std::make_unique<EmbeddingSite>();
    init(*site, path, {rows, width});
    parts_.push_back({.embedding = std::move(site)});
  }
  void conv(const std::string& path, int64_t in, int64_t out, int64_t stride = 1) {
    conv(path, in, out, ConvShape{.stride = {stride, stride}});
  }
  void conv(const std::string& path, int64_t in, int64_t out, const ConvShape& shape) {
    auto site = std::make_unique<ConvSite>();
    init(*site, path, {out, in / shape.groups, shape.kernel[0], shape.kernel[1]});
    if (!shape.bias) site->bias.base.reset();
    site->stride = shape.stride;
    site->padding = shape.padding;
    site->dilation = shape.dilation;
    site->groups = shape.groups;
    parts_.push_back({.conv = std::move(site)});
  }
  void module(const std::string& path) {
    auto site = std::make_unique<ModuleSite>();
    site->path = path;
    parts_.push_back({.module = std::move(site)});
  }

  /// A linear layer, embedding or convolution with its tuners.
  at::Tensor run(const std::string& path, const at::Tensor& x) {
    for (auto& part : parts_) {
      if (part.linear && part.linear->path == path) return run_linear(*part.linear, x);
      if (part.embedding && part.embedding->path == path) return run_embedding(*part.embedding, x);
      if (part.conv && part.conv->path == path) return run_conv(*part.conv, x);
    }
    throw std::out_of_range(path);
  }
  at::Tensor run(const std::string& path, const at::Tensor& x, const TensorNext& inside) {
    return run_tuners(module_at(path).tuners, x, inside, context_);
  }
  ModuleSite& module_at(const std::string& path) {
    for (auto& part : parts_) {
      if (part.module && part.module->path == path) return *part.module;
    }
    throw std::out_of_range(path);
  }
  static at::Tensor larger(const at::Tensor& x, int64_t factor) {
    return at::upsample_nearest2d(x, std::vector<int64_t>{x.size(2) * factor, x.size(3) * factor});
  }

 private:
  struct Part {
    std::unique_ptr<LinearSite> linear = nullptr;
    std::unique_ptr<EmbeddingSite> embedding = nullptr;
    std::unique_ptr<ConvSite> conv = nullptr;
    std::unique_ptr<ModuleSite> module = nullptr;
  };

  template <typename Site>
  std::vector<Site*> of_kind(std::unique_ptr<Site> Part::*kind) {
    std::vector<Site*> sites;
    for (auto& part : parts_) {
      if (part.*kind) sites.push_back((part.*kind).get());
    }
    return sites;
  }
  template <typename Site>
  static void init(Site& site, const std::string& path, std::vector<int64_t> shape) {
    site.path = path;
    site.weight.path = path + ".weight";
    site.weight.base = at::randn(shape).mul(0.4);
    if constexpr (requires { site.bias; }) {
      site.bias.path = path + ".bias";
      site.bias.base = at::randn({shape[0]}).mul(0.1);
    }
  }
  at::Tensor run_linear(const LinearSite& site, const at::Tensor& x) {
    const auto inside = [&](const at::Tensor& in) {
      return at::linear(in, site.weight.value(), site.bias.value());
    };
    return run_tuners(site.tuners, x, inside, context_);
  }
  at::Tensor run_embedding(const EmbeddingSite& site, const at::Tensor& ids) {
    const auto inside = [&](const at::Tensor& in) {
      return at::embedding(site.weight.value(), in);
    };
    return run_tuners(site.tuners, ids, inside, context_);
  }
  at::Tensor run_conv(const ConvSite& site, const at::Tensor& x) {
    const auto inside = [&](const at::Tensor& in) {
      return at::conv2d(in, site.weight.value(), site.bias.value(), site.stride, site.padding,
                        site.dilation, site.groups);
    };
    return run_tuners(site.tuners, x, inside, context_);
  }

  std::vector<Part> parts_;
  ForwardContext context_;
};

class TokenNet : public SmallNetwork {
 public:
  TokenNet() {
    linear("embed", 6, 8);
    for (int i = 0; i < 3; ++i) {
      const std::string block = "blocks." + std::to_string(i);
      module(block);
      linear(block + ".qkv", 8, 24);
      linear(block + ".proj", 8, 8);
      linear(block + ".fc", 8, 8);
    }
    linear("head", 8, 5);
  }
  at::Tensor pass(const at::Tensor& x, const at::Tensor& mask) override {
    at::Tensor h = run("embed", x);
    for (int i = 0; i < 3; ++i) {
      const std::string path = "blocks." + std::to_string(i);
      const at::Tensor own_mask = mask.defined() ? module_at(path).attention_mask(mask) : mask;
      h = run(path, h, [&](const at::Tensor& in) { return block(path, in, own_mask); });
    }
    return run("head", h);
  }

 private:
  at::Tensor block(const std::string& path, const at::Tensor& x, const at::Tensor& mask) {
    const auto parts = run(path + ".qkv", x).chunk(3, -1);
    at::Tensor scores = parts[0].matmul(parts[1].transpose(1, 2)).div(std::sqrt(8.0));
    if (mask.defined()) scores = scores.add(mask);
    const at::Tensor y = x.add(run(path + ".proj", scores.softmax(-1).matmul(parts[2])));
    return y.add(run(path + ".fc", y).tanh());
  }
};

class BodyNet : public SmallNetwork {
 public:
  BodyNet() {
    module("body");
    linear("body.0", 8, 8);
    linear("body.2", 8, 8);
    linear("head", 8, 3);
  }
  at::Tensor pass(const at::Tensor& x, const at::Tensor&) override {
    return run("head", run("body", x, [&](const at::Tensor& in) {
                 return run("body.2", run("body.0", in).tanh());
               }));
  }
};

class PictureNet : public SmallNetwork {
 public:
  PictureNet() {
    module("features");
    conv("features.conv", 3, 6, 2);
    linear("features.fc", 6, 7);
    linear("head", 7, 3);
  }
  at::Tensor pass(const at::Tensor& x, const at::Tensor&) override {
    return run("head", run("features", x, [&](const at::Tensor& in) {
                 return run("features.fc", run("features.conv", in).relu().mean({2, 3}));
               }));
  }
};

class StackNet : public SmallNetwork {
 public:
  StackNet() {
    linear("embed", 6, 8);
    for (int i = 0; i < 3; ++i) {
      module("blocks." + std::to_string(i));
      linear("blocks." + std::to_string(i) + ".fc", 8, 8);
    }
    linear("last", 8, 8);
    linear("head", 8, 5);
  }
  at::Tensor pass(const at::Tensor& x, const at::Tensor&) override {
    at::Tensor h = run("embed", x);
    for (int i = 0; i < 3; ++i) {
      const std::string path = "blocks." + std::to_string(i);
      h = run(path, h, [&](const at::Tensor& in) { return in.add(run(path + ".fc", in).tanh()); });
    }
    return run("head", run("last", h));
  }
};

class PyramidNet : public SmallNetwork {
 public:
  explicit PyramidNet(int64_t channels) {
    conv("down.0", 3, channels);
    conv("down.1", channels, 8, 2);
    conv("down.2", 8, 8, 2);
    conv("mid", 8, 8);
    conv("expand", 8, channels);
    conv("out", channels, 2);
  }
  at::Tensor pass(const at::Tensor& x, const at::Tensor&) override {
    at::Tensor h = x;
    for (const char* down : {"down.0", "down.1", "down.2"}) h = run(down, h).tanh();
    return run("out", run("expand", larger(run("mid", h), 4)));
  }
};

class SkipNet : public SmallNetwork {
 public:
  SkipNet() {
    conv("conv_in", 3, 4);
    conv("down.0", 4, 4, 2);
    conv("down.1", 4, 8, 2);
    conv("mid", 8, 8);
    module("up.0");
    conv("up.0.conv", 16, 4);
    module("up.1");
    conv("up.1.conv", 8, 4);
    conv("conv_out", 4, 3);
  }
  at::Tensor pass(const at::Tensor& x, const at::Tensor&) override {
    const at::Tensor b = run("down.0", run("conv_in", x).tanh());
    const at::Tensor c = run("down.1", b.tanh());
    at::Tensor h = up("up.0", run("mid", c.tanh()), c);
    h = up("up.1", h, b);
    return run("conv_out", h);
  }

 private:
  at::Tensor up(const std::string& path, const at::Tensor& h, const at::Tensor& skip) {
    const auto inside = [&](const at::Tensor& in) { return run(path + ".conv", in); };
    return larger(run(path, at::cat({h, skip}, 1), inside).tanh(), 2);
  }
};

/// Convolutions of several kinds, an embedding of each picture's number and a linear layer; in
/// Python it is in tests/oracle/conv_net.py.
class ConvNet : public SmallNetwork {
 public:
  ConvNet() {
    conv("stem", 3, 6);
    conv("grouped", 6, 8, ConvShape{.stride = {2, 2}, .groups = 2});
    conv("wide", 8, 6, ConvShape{.kernel = {5, 3}, .padding = {2, 1}, .bias = false});
    conv("point", 6, 4, ConvShape{.kernel = {1, 1}, .padding = {0, 0}});
    embedding("labels", 7, 4);
    linear("head", 4, 5);
  }
  at::Tensor pass(const at::Tensor& x, const at::Tensor&) override {
    at::Tensor h = x;
    for (const char* layer : {"stem", "grouped", "wide", "point"}) h = run(layer, h).tanh();
    return run("head", h.mean({2, 3}).add(run("labels", at::arange(x.size(0)))));
  }
};

}  // namespace tunefleet::tuners
