#include "worker/trainer/update_rule.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "tuners/parallel.h"
#include "worker/trainer/adafactor_rule.h"
#include "worker/trainer/dynamic_8bit.h"
#include "worker/trainer/update_loops.h"

namespace tunefleet::trainer {
namespace {

constexpr int64_t kGrain = int64_t{1} << 14;  ///< Numbers of a thread at least.

double remaining(double beta, int64_t step) {
  return 1.0 - std::pow(beta, static_cast<double>(step));
}

/// Whether the loops on plain memory take it.
bool has_loop(const at::Tensor& t) {
  return t.is_cpu() && t.scalar_type() == at::kFloat && t.is_contiguous();
}

loops::Adam adam_of(const RuleOptions& options) {
  return {.kept1 = static_cast<float>(options.beta1),
          .new1 = static_cast<float>(1.0 - options.beta1),
          .kept2 = static_cast<float>(options.beta2),
          .new2 = static_cast<float>(1.0 - options.beta2),
          .epsilon = static_cast<float>(options.epsilon)};
}

loops::Move move_of(const StepSize& size) {
  return {.rate = static_cast<float>(size.rate), .kept = static_cast<float>(size.kept)};
}

class AdamRule : public UpdateRule {
 public:
  AdamRule(const RuleOptions& options, at::ScalarType dtype) : options_(options), dtype_(dtype) {}

  at::Tensor direction(const at::Tensor& gradient, int64_t step) override {
    make_moments(gradient);
    if (has_loop(gradient) && has_loop(exp_avg_)) return looped_direction(gradient, step);
    const auto m = exp_avg_.mul_(options_.beta1).add_(gradient, 1.0 - options_.beta1);
    const auto v = exp_avg_sq_.mul_(options_.beta2)
                       .addcmul_(gradient.to(dtype_), gradient.to(dtype_), 1.0 - options_.beta2);
    return m.to(at::kFloat).div(v.to(at::kFloat).sqrt().add_(options_.epsilon)).mul_(factor(step));
  }

  void move(at::Tensor& value, const at::Tensor& gradient, int64_t step,
            const StepSize& size) override {
    make_moments(gradient);
    if (!has_loop(gradient) || !has_loop(exp_avg_) || !has_loop(value))
      return UpdateRule::move(value, gradient, step, size);
    const auto* g = gradient.const_data_ptr<float>();
    auto* m = exp_avg_.mutable_data_ptr<float>();
    auto* v = exp_avg_sq_.mutable_data_ptr<float>();
    auto* w = value.mutable_data_ptr<float>();
    at::parallel_for(0, gradient.numel(), kGrain, [&](int64_t from, int64_t to) {
      loops::adam_move(g + from, m + from, v + from, w + from, to - from, adam_at(step),
                       move_of(size));
    });
    // The loop does not count as a change, and tuners keep what they derive from a tensor's
    // version.
    value.unsafeGetTensorImpl()->bump_version();
  }

  void append_state(const std::string& prefix, Optimizer::NamedTensors& out) const override {
    if (!exp_avg_.defined()) return;
    out.emplace_back(prefix + "exp_avg", exp_avg_);
    out.emplace_back(prefix + "exp_avg_sq", exp_avg_sq_);
  }

  void load(const std::string& prefix, at::IntArrayRef shape, at::Device device,
            SavedState& saved) override {
    exp_avg_ = saved.take(prefix + "exp_avg", shape, device);
    exp_avg_sq_ = saved.take(prefix + "exp_avg_sq", shape, device);
  }

 private:
  void make_moments(const at::Tensor& gradient) {
    if (exp_avg_.defined()) return;
    exp_avg_ = at::zeros(gradient.sizes(), gradient.options().dtype(dtype_));
    exp_avg_sq_ = at::zeros(gradient.sizes(), gradient.options().dtype(dtype_));
  }

  /// Both bias corrections: outside of the epsilon.
  double factor(int64_t step) const {
    return std::sqrt(remaining(options_.beta2, step)) / remaining(options_.beta1, step);
  }

  loops::Adam adam_at(int64_t step) const {
    auto adam = adam_of(options_);
    adam.first = static_cast<float>(factor(step));
    return adam;
  }

  at::Tensor looped_direction(const at::Tensor& gradient, int64_t step) {
    auto out = at::empty_like(gradient);
    const auto* g = gradient.const_data_ptr<float>();
    auto* m = exp_avg_.mutable_data_ptr<float>();
    auto* v = exp_avg_sq_.mutable_data_ptr<float>();
    auto* d = out.mutable_data_ptr<float>();
    at::parallel_for(0, gradient.numel(), kGrain, [&](int64_t from, int64_t to) {
      loops::adam_direction(g + from, m + from, v + from, d + from, to - from, adam_at(step));
    });
    return out;
  }

  RuleOptions options_;
  at::ScalarType dtype_;
  at::Tensor exp_avg_, exp_avg_sq_;
};

class Adam8BitRule : public UpdateRule {
 public:
  explicit Adam8BitRule(const RuleOptions& options) : options_(options) {}

  at::Tensor direction(const at::Tensor& gradient, int64_t step) override {
    make_moments(gradient.sizes(), gradient.device());
    if (has_loop(gradient)) {
      auto out = at::empty_like(gradient);
      auto* d = out.mutable_data_ptr<float>();
      for_each_block(gradient, step, [&](const Block& block, const loops::Adam& adam) {
        loops::adam_direction(block.g, block.m, block.v, d + block.from, block.count, adam);
      });
      return out;
    }
    const auto m = exp_avg_->read().mul_(options_.beta1).add_(gradient, 1.0 - options_.beta1);
    const auto v =
        exp_avg_sq_->read().mul_(options_.beta2).addcmul_(gradient, gradient, 1.0 - options_.beta2);
    exp_avg_->write(m);
    exp_avg_sq_->write(v);
    const auto root = v.div(remaining(options_.beta2, step)).sqrt_().add_(options_.epsilon);
    return m.div(root).div_(remaining(options_.beta1, step));
  }

  void move(at::Tensor& value, const at::Tensor& gradient, int64_t step,
            const StepSize& size) override {
    make_moments(gradient.sizes(), gradient.device());
    if (!has_loop(gradient) || !has_loop(value))
      return UpdateRule::move(value, gradient, step, size);
    auto* w = value.mutable_data_ptr<float>();
    for_each_block(gradient, step, [&](const Block& block, const loops::Adam& adam) {
      loops::adam_move(block.g, block.m, block.v, w + block.from, block.count, adam, move_of(size));
    });
    value.unsafeGetTensorImpl()->bump_version();  // As above.
  }

  void append_state(const std::string& prefix, Optimizer::NamedTensors& out) const override {
    if (!exp_avg_) return;
    out.emplace_back(prefix + "exp_avg.codes", exp_avg_->codes());
    out.emplace_back(prefix + "exp_avg.largest", exp_avg_->largest());
    out.emplace_back(prefix + "exp_avg_sq.codes", exp_avg_sq_->codes());
    out.emplace_back(prefix + "exp_avg_sq.largest", exp_avg_sq_->largest());
  }

  void load(const std::string& prefix, at::IntArrayRef shape, at::Device device,
            SavedState& saved) override {
    make_moments(shape, device);
    for (auto& [name, moment] : {std::pair("exp_avg", &*exp_avg_), {"exp_avg_sq", &*exp_avg_sq_}}) {
      const std::string stem = prefix + name;
      auto codes = saved.take(stem + ".codes", moment->codes().sizes(), device);
      moment->load(std::move(codes),
                   saved.take(stem + ".largest", moment->largest().sizes(), device));
    }
  }

 private:
  /// Numbers that have a largest one of their own, as float32.
  struct Block {
    int64_t from, count;
    const float* g;
    float *m, *v;
  };

  /// Reads each block's moments, calls `visit`, which moves them on, and writes them again.
  template <typename Visit>
  void for_each_block(const at::Tensor& gradient, int64_t step, const Visit& visit) {
    constexpr int64_t kSize = Dynamic8Bit::kBlock;
    const int64_t count = gradient.numel();
    const auto* g = gradient.const_data_ptr<float>();
    auto adam = adam_of(options_);
    adam.first = static_cast<float>(1.0 / remaining(options_.beta1, step));
    adam.second = static_cast<float>(1.0 / remaining(options_.beta2, step));
    const auto m_blocks = exp_avg_->blocks(), v_blocks = exp_avg_sq_->blocks();
    at::parallel_for(0, (count + kSize - 1) / kSize, kGrain / kSize, [&](int64_t b, int64_t end) {
      float m[kSize], v[kSize];
      for (; b < end; ++b) {
        const int64_t from = b * kSize, numbers = std::min(kSize, count - from);
        m_blocks.read(b, numbers, m);
        v_blocks.read(b, numbers, v);
        visit(Block{from, numbers, g + from, m, v}, adam);
        m_blocks.write(b, numbers, m);
        v_blocks.write(b, numbers, v);
      }
    });
  }

  void make_moments(at::IntArrayRef shape, at::Device device) {
    if (exp_avg_) return;
    exp_avg_.emplace(shape, device, /*is_signed=*/true);
    exp_avg_sq_.emplace(shape, device, /*is_signed=*/false);
  }

  RuleOptions options_;
  std::optional<Dynamic8Bit> exp_avg_, exp_avg_sq_;
};

/// Keeps small tensors in float, as the package that 8-bit Adam comes from does.
class MixedAdamRule : public UpdateRule {
 public:
  explicit MixedAdamRule(const RuleOptions& options) : options_(options) {}

  at::Tensor direction(const at::Tensor& gradient, int64_t step) override {
    return rule_for(gradient.numel()).direction(gradient, step);
  }
  void move(at::Tensor& value, const at::Tensor& gradient, int64_t step,
            const StepSize& size) override {
    rule_for(gradient.numel()).move(value, gradient, step, size);
  }
  void append_state(const std::string& prefix, Optimizer::NamedTensors& out) const override {
    if (rule_) rule_->append_state(prefix, out);
  }
  void load(const std::string& prefix, at::IntArrayRef shape, at::Device device,
            SavedState& saved) override {
    rule_for(c10::multiply_integers(shape)).load(prefix, shape, device, saved);
  }

 private:
  static constexpr int64_t kLeast8Bit = 4096;

  UpdateRule& rule_for(int64_t numel) {
    if (rule_) return *rule_;
    if (numel < kLeast8Bit) {
      rule_ = std::make_unique<AdamRule>(options_, at::kFloat);
    } else {
      rule_ = std::make_unique<Adam8BitRule>(options_);
    }
    return *rule_;
  }

  RuleOptions options_;
  std::unique_ptr<UpdateRule> rule_;
};

}  // namespace

void UpdateRule::move(at::Tensor& value, const at::Tensor& gradient, int64_t step,
                      const StepSize& size) {
  move_along(value, direction(gradient, step), size, decays_first());
}

void move_along(at::Tensor& value, const at::Tensor& direction, const StepSize& size,
                bool decays_first) {
  if (decays_first && size.kept != 1.0) value.mul_(size.kept);
  value.add_(direction, -size.rate);
  if (!decays_first && size.kept != 1.0) value.mul_(size.kept);
}

std::unique_ptr<UpdateRule> make_rule(const RuleOptions& options, at::ScalarType dtype) {
  switch (options.kind) {
    case RuleKind::kAdam:
      return std::make_unique<AdamRule>(options, dtype);
    case RuleKind::kAdam8Bit:
      return std::make_unique<MixedAdamRule>(options);
    case RuleKind::kAdafactor:
      break;
  }
  return make_adafactor_rule();
}

}  // namespace tunefleet::trainer
