#include "worker/trainer/update_rule.h"

#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "worker/kernels/flat_norm.h"
#include "worker/trainer/dynamic_8bit.h"

namespace tunefleet::trainer {
namespace {

double remaining(double beta, int64_t step) {
  return 1.0 - std::pow(beta, static_cast<double>(step));
}

class AdamRule : public UpdateRule {
 public:
  AdamRule(const RuleOptions& options, at::ScalarType dtype) : options_(options), dtype_(dtype) {}

  at::Tensor direction(const at::Tensor& gradient, int64_t step) override {
    if (!exp_avg_.defined()) {
      exp_avg_ = at::zeros(gradient.sizes(), gradient.options().dtype(dtype_));
      exp_avg_sq_ = at::zeros(gradient.sizes(), gradient.options().dtype(dtype_));
    }
    const auto m = exp_avg_.mul_(options_.beta1).add_(gradient, 1.0 - options_.beta1);
    const auto v = exp_avg_sq_.mul_(options_.beta2)
                       .addcmul_(gradient.to(dtype_), gradient.to(dtype_), 1.0 - options_.beta2);
    const double factor =
        std::sqrt(remaining(options_.beta2, step)) / remaining(options_.beta1, step);
    return m.to(at::kFloat).div(v.to(at::kFloat).sqrt().add_(options_.epsilon)).mul_(factor);
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
  RuleOptions options_;
  at::ScalarType dtype_;
  at::Tensor exp_avg_, exp_avg_sq_;
};

class Adam8BitRule : public UpdateRule {
 public:
  explicit Adam8BitRule(const RuleOptions& options) : options_(options) {}

  at::Tensor direction(const at::Tensor& gradient, int64_t step) override {
    make_moments(gradient.sizes(), gradient.device());
    const auto m = exp_avg_->read().mul_(options_.beta1).add_(gradient, 1.0 - options_.beta1);
    const auto v =
        exp_avg_sq_->read().mul_(options_.beta2).addcmul_(gradient, gradient, 1.0 - options_.beta2);
    exp_avg_->write(m);
    exp_avg_sq_->write(v);
    const auto root = v.div(remaining(options_.beta2, step)).sqrt_().add_(options_.epsilon);
    return m.div(root).div_(remaining(options_.beta1, step));
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

class AdafactorRule : public UpdateRule {
 public:
  at::Tensor direction(const at::Tensor& gradient, int64_t step) override {
    const double beta = 1.0 - std::pow(static_cast<double>(step), kDecayRate);
    make_state(gradient.sizes(), gradient.device());
    at::Tensor update;
    if (gradient.dim() >= 2) {
      add_mean_squares(gradient, beta);
      const auto row = row_.div(row_.mean(-1, /*keepdim=*/true)).rsqrt_().unsqueeze(-1);
      update = row.mul(column_.unsqueeze(-2).rsqrt()).mul_(gradient);
    } else {
      exp_avg_sq_.mul_(beta).add_(gradient.square().add_(kLeastSquare), 1.0 - beta);
      update = exp_avg_sq_.rsqrt().mul_(gradient);
    }
    const auto norm = update.is_cpu()
                          ? at::scalar_tensor(kernels::flat_norm(update.view(-1)), at::kFloat)
                          : update.norm(2.0);  // Waits for no GPU.
    const auto root_mean_square = norm.div(std::sqrt(static_cast<double>(update.numel())));
    return update.div_(root_mean_square.div(kClip).clamp_min(1.0));
  }

  bool decays_first() const override { return true; }

  void append_state(const std::string& prefix, Optimizer::NamedTensors& out) const override {
    if (row_.defined()) {
      out.emplace_back(prefix + "exp_avg_sq_row", row_);
      out.emplace_back(prefix + "exp_avg_sq_col", column_);
    } else if (exp_avg_sq_.defined()) {
      out.emplace_back(prefix + "exp_avg_sq", exp_avg_sq_);
    }
  }

  void load(const std::string& prefix, at::IntArrayRef shape, at::Device device,
            SavedState& saved) override {
    make_state(shape, device);
    if (row_.defined()) {
      row_ = saved.take(prefix + "exp_avg_sq_row", row_.sizes(), device);
      column_ = saved.take(prefix + "exp_avg_sq_col", column_.sizes(), device);
    } else {
      exp_avg_sq_ = saved.take(prefix + "exp_avg_sq", shape, device);
    }
  }

 private:
  static constexpr double kDecayRate = -0.8, kLeastSquare = 1e-30, kClip = 1.0;
  static constexpr int64_t kPiece = int64_t{1} << 22;  ///< Numbers whose squares are held at once.

  /// Moves the means of rows and columns on, some rows at a time: an embedding's gradient is large.
  void add_mean_squares(const at::Tensor& gradient, double beta) {
    const int64_t rows = gradient.size(-2);
    const int64_t at_once =
        std::max<int64_t>(1, kPiece * rows / std::max<int64_t>(1, gradient.numel()));
    row_.mul_(beta);
    column_.mul_(beta);
    for (int64_t from = 0; from < rows; from += at_once) {
      const int64_t count = std::min(at_once, rows - from);
      const auto square = gradient.narrow(-2, from, count).square().add_(kLeastSquare);
      row_.narrow(-1, from, count).add_(square.mean(-1), 1.0 - beta);
      column_.add_(square.sum(-2), (1.0 - beta) / static_cast<double>(rows));
    }
  }

  void make_state(at::IntArrayRef shape, at::Device device) {
    if (row_.defined() || exp_avg_sq_.defined()) return;
    const auto zeros = [&](std::vector<int64_t> of) { return at::zeros(of, device); };
    if (shape.size() < 2) {
      exp_avg_sq_ = zeros(shape.vec());
      return;
    }
    auto columns = shape.slice(0, shape.size() - 2).vec();
    columns.push_back(shape.back());
    row_ = zeros(shape.slice(0, shape.size() - 1).vec());
    column_ = zeros(std::move(columns));
  }

  at::Tensor row_, column_, exp_avg_sq_;
};

}  // namespace

std::unique_ptr<UpdateRule> make_rule(const RuleOptions& options, at::ScalarType dtype) {
  switch (options.kind) {
    case RuleKind::kAdam:
      return std::make_unique<AdamRule>(options, dtype);
    case RuleKind::kAdam8Bit:
      return std::make_unique<MixedAdamRule>(options);
    case RuleKind::kAdafactor:
      break;
  }
  return std::make_unique<AdafactorRule>();
}

}  // namespace tunefleet::trainer
