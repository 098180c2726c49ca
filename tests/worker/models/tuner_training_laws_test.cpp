// Laws of training: gradients, what trains, tuners side by side.
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include "tests/worker/models/tuner_laws.h"

namespace tunefleet::models {
namespace {

class TunerTrainingLaws : public TunerLaws {};
class ExactTunerTrainingLaws : public TunerLaws {};

/// The base's parameters; layers that the adapter itself has put in are not of the base.
std::map<tuners::ParameterSlot*, at::Tensor> base_of(const Tuned& tuned) {
  const auto brought = tuned.adapter().insertions();
  std::map<tuners::ParameterSlot*, at::Tensor> copies;
  for (auto* slot : tuned.base->parameters()) {
    const bool own = std::any_of(brought.begin(), brought.end(),
                                 [&](const auto& each) { return each.block->owns(slot); });
    if (!own) copies[slot] = slot->base.clone();
  }
  return copies;
}

bool has_trained_tensors(const tuners::Adapter& adapter) {
  for (const auto& each : adapter.tensors()) {
    if (each.trains) return true;
  }
  return false;
}

TEST_P(TunerTrainingLaws, OnlyTheDeclaredTensorsTrain) {
  const Tuned tuned = drawn();
  const auto base = base_of(tuned);
  const auto set = tuned.swift->trainable_set();
  std::map<std::string, at::Tensor> before;
  size_t declared = 0;
  for (const auto& each : tuned.adapter().tensors()) {
    before[each.path] = each.tensor.clone();
    declared += each.trains ? 1 : 0;
    if (!each.derived) {
      EXPECT_EQ(each.tensor.requires_grad(), each.trains) << each.path;
    }
  }
  EXPECT_EQ(set.tensors.size(), declared);
  if (declared == 0) return;
  loss(tuned).backward();
  {
    const at::NoGradGuard no_grad;
    for (const auto& each : set.tensors) {
      ASSERT_TRUE(each.tensor.grad().defined()) << each.path;
      EXPECT_TRUE(each.tensor.grad().isfinite().all().item<bool>()) << each.path;
      each.tensor.sub_(each.tensor.grad().to(each.tensor.scalar_type()));
    }
  }
  for (const auto& each : tuned.adapter().tensors()) {
    EXPECT_EQ(!at::equal(before[each.path], each.tensor), each.trains || each.derived) << each.path;
  }
  for (const auto& [slot, value] : base) {
    EXPECT_FALSE(slot->base.requires_grad()) << slot->path;
    EXPECT_FALSE(slot->base.grad().defined()) << slot->path;
    EXPECT_TRUE(at::equal(slot->base, value)) << slot->path;
  }
}

/// The slope of the loss along `direction` (of length 1) by a fourth-order difference quotient.
template <typename Loss>
double slope(const Loss& loss, const at::Tensor& tensor, const at::Tensor& direction, double h) {
  const at::NoGradGuard no_grad;
  const auto start = tensor.clone();
  const auto at = [&](double steps) {
    tensor.copy_(start + direction * (steps * h));
    return loss();
  };
  const double quotient = (8.0 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12.0 * h);
  tensor.copy_(start);
  return quotient;
}

TEST_P(ExactTunerTrainingLaws, GradientsMatchDifferenceQuotients) {
  const Tuned tuned = drawn();
  if (!has_trained_tensors(tuned.adapter())) GTEST_SKIP() << "trains nothing";
  if (!law().whole_gradient) GTEST_SKIP() << "holds a part constant";
  loss(tuned).backward();
  const auto value = [&] { return loss(tuned).item<double>(); };
  at::manual_seed(29);
  for (const auto& each : tuned.adapter().tensors()) {
    if (!each.trains) continue;
    ASSERT_TRUE(each.tensor.grad().defined()) << each.path;
    const auto gradient = each.tensor.grad().clone(at::MemoryFormat::Contiguous);
    const double length = gradient.norm().item<double>();
    ASSERT_GT(length, 0.0) << each.path;
    const auto random = at::randn_like(gradient);
    // The steepest direction shows a wrong scale, a random one a wrong direction, an entry a wrong
    // place.
    auto entry = at::zeros_like(gradient);
    entry.view(-1)[gradient.abs().argmax()] = 1.0;
    for (const auto& direction : {gradient / length, random / random.norm(), entry}) {
      const double seen = gradient.mul(direction).sum().item<double>();
      // A long step has the error of the curvature, a short one that of rounding.
      double wanted = slope(value, each.tensor, direction, 0.02);
      for (const double h : {0.004, 0.001}) {
        const double shorter = slope(value, each.tensor, direction, h);
        if (std::abs(shorter - seen) < std::abs(wanted - seen)) wanted = shorter;
      }
      EXPECT_NEAR(seen, wanted, law().slope_error * length + 5e-5)
          << each.path << ", length " << length;
    }
  }
}

TEST_P(ExactTunerTrainingLaws, CheckpointingChangesNoGradient) {
  if (!on().is_decoder()) GTEST_SKIP() << "has none";
  const auto gradients = [&](bool checkpointing) {
    const Tuned tuned = drawn();
    const auto anchor = at::zeros({1}).requires_grad_(true);
    loss(tuned, checkpointing ? anchor : at::Tensor()).backward();
    std::vector<at::Tensor> out;
    for (const auto& each : tuned.swift->trainable_set().tensors) out.push_back(each.tensor.grad());
    return out;
  };
  if (!has_trained_tensors(fresh().adapter())) GTEST_SKIP() << "trains nothing";
  const auto wanted = gradients(false);
  const auto seen = gradients(true);
  for (size_t i = 0; i < wanted.size(); ++i)
    kernels::expect_close(seen[i], wanted[i], 1e-5, "gradient");
}

/// Two tuners on one model, the case's and another.
class TunerCompositionLaws : public TunerLaws {
 protected:
  /// The case's tuner outside of one of these.
  void expect_composition_outside(const tuners::TunerOptions& other) const {
    const LawDirectory files;
    Tuned together = plain();
    add(together, "other", other, 0.2);
    const auto other_alone = output(together);
    add(together, "default", options(), law().deviation);
    save(together, layouts().front(), files.path());
    if (law().acts_in_evaluation) {
      EXPECT_FALSE(at::equal(output(together), other_alone));
    }

    Tuned composed = plain();
    load_adapter(composed, files.path(), "other");
    expect_ok(composed.swift->merge_and_unload());
    load_adapter(composed, files.path(), "default");
    expect_near(output(together), output(composed), "on a base that the other is part of");
  }

  /// The case's tuner inside of it.
  void expect_composition_inside(const tuners::TunerOptions& other) const {
    const LawDirectory files;
    Tuned together = plain();
    add(together, "default", options(), law().deviation);
    add(together, "other", other, 0.2);
    save(together, layouts().front(), files.path());

    Tuned composed = plain();
    load_adapter(composed, files.path(), "default");
    expect_ok(composed.swift->merge_and_unload());
    load_adapter(composed, files.path(), "other");
    expect_near(output(together), output(composed), "the other on a base that it is part of");
    expect_ok(together.swift->merge());
    expect_near(output(together), output(composed), "both merged");
  }
};

TEST_P(TunerCompositionLaws, BesideAnotherTunerItIsTheComposition) {
  if (law().reads_base) GTEST_SKIP() << "its files belong to one base";
  if (layouts().empty()) GTEST_SKIP() << "has no files of its own";
  for (const auto& other : others()) {
    SCOPED_TRACE(other.schema().name);
    // BOFT scales the outputs without the base's own bias, and a trained bias takes its place: a
    // merged IA3 is part of that bias.
    const bool minds_bias =
        schema().name == "boft" || law().options.find("_only") != std::string::npos;
    if (minds_bias && other.schema().name == "ia3") continue;
    expect_composition_outside(other);
  }
}

TEST_P(TunerCompositionLaws, AnotherTunerBesideItIsTheComposition) {
  if (!schema().can_merge) GTEST_SKIP() << "cannot merge";
  if (layouts().empty()) GTEST_SKIP() << "has no files of its own";
  for (const auto& other : others()) {
    SCOPED_TRACE(other.schema().name);
    expect_composition_inside(other);
  }
}

INSTANTIATE_TEST_SUITE_P(All, TunerTrainingLaws, testing::ValuesIn(law_params()), law_name);
INSTANTIATE_TEST_SUITE_P(All, ExactTunerTrainingLaws, testing::ValuesIn(exact_law_params()),
                         law_name);
INSTANTIATE_TEST_SUITE_P(All, TunerCompositionLaws, testing::ValuesIn(exact_law_params()),
                         law_name);

}  // namespace
}  // namespace tunefleet::models
