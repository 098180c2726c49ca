// Laws of the forward pass: activation, merging, what a sequence sees.
#include "tests/worker/models/tuner_laws.h"

#include <gmock/gmock.h>

#include "worker/models/generation.h"

namespace tunefleet::models {
namespace {

TEST(TunerLawsTest, EveryTunerOfTheRegistryIsCovered) {
  for (const auto& entry : tuners::builtin_tuners()) {
    const bool covered =
        std::any_of(law_cases().begin(), law_cases().end(),
                    [&](const LawCase& law) { return law.tuner == entry.schema->name; });
    EXPECT_TRUE(covered) << "a tuner without a line in tuner_laws_cases.cpp: "
                         << entry.schema->name;
  }
}

TEST(TunerLawsTest, EveryCaseIsOfATunerThatThereIs) {
  for (const auto& law : law_cases()) EXPECT_NE(schema_of(law.tuner), nullptr) << law.tuner;
}

TEST(TunerLawsTest, EveryCaseHasAModel) {
  std::map<std::string, int> tested;
  for (const auto& [law, model] : law_params()) ++tested[law.tuner + " " + law.label];
  for (const auto& law : law_cases())
    EXPECT_GT(tested[law.tuner + " " + law.label], 0) << law.tuner << " " << law.label;
}

TEST_P(TunerLaws, DisabledIsTheBaseBitForBit) {
  const auto base = output(*load());
  const Tuned tuned = drawn();
  const auto active = output(tuned);
  if (law().acts_in_evaluation) {
    EXPECT_FALSE(at::equal(active, base)) << "the case shows nothing";
  }
  expect_ok(tuned.swift->set_active_adapters({}));
  EXPECT_TRUE(at::equal(output(tuned), base)) << "disabled";
  expect_ok(tuned.swift->activate_adapter("default"));
  EXPECT_TRUE(at::equal(output(tuned), active)) << "active again";
  expect_ok(tuned.swift->deactivate_adapter("default"));
  EXPECT_TRUE(at::equal(output(tuned), base)) << "deactivated";
  expect_ok(tuned.swift->activate_adapter("default"));
  expect_ok(tuned.swift->delete_adapter("default"));
  EXPECT_TRUE(at::equal(output(tuned), base)) << "deleted";
}

TEST_P(TunerLaws, LeavesTheBaseAsItWasWhenItGoes) {
  Tuned tuned = drawn();
  tuned.swift.reset();
  EXPECT_TRUE(at::equal(output(tuned), output(*load())));
}

TEST_P(TunerLaws, OffloadedAndBackItIsTheSameBitForBit) {
  const Tuned tuned = drawn();
  const auto active = output(tuned);
  const auto trains = [&] {
    std::map<std::string, bool> trains;
    for (const auto& each : tuned.adapter().tensors()) {
      trains[each.path] = each.tensor.requires_grad();
    }
    return trains;
  };
  const auto trained = trains();
  for (const auto where : {tuners::Offload::kNone, tuners::Offload::kCpu, tuners::Offload::kMeta}) {
    expect_ok(tuned.swift->deactivate_adapter("default", where));
    EXPECT_TRUE(at::equal(output(tuned), output(*load()))) << "off";
    expect_ok(tuned.swift->activate_adapter("default"));
    EXPECT_TRUE(at::equal(output(tuned), active)) << "back";
    EXPECT_EQ(trains(), trained);
  }
}

TEST_P(TunerLaws, FreshIsTheBase) {
  const auto base = output(*load());
  const auto seen = output(fresh());
  if (law().starts_as_identity) {
    expect_near(seen, base, "fresh");
  } else {
    const bool same = seen.sizes() == base.sizes() && at::allclose(seen, base, 1e-6, 1e-6);
    EXPECT_FALSE(same) << "starts as the identity: say so";
  }
}

TEST_P(TunerLaws, MergedEqualsUnmerged) {
  const Tuned tuned = drawn();
  EXPECT_EQ(tuned.adapter().can_merge(), schema().can_merge);
  const auto unmerged = output(tuned);
  const Status status = tuned.swift->merge();
  if (!schema().can_merge) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(status.error().message, testing::HasSubstr("default"));
    EXPECT_TRUE(at::equal(output(tuned), unmerged));
    return;
  }
  expect_ok(status);
  const auto merged = output(tuned);
  expect_near(merged, unmerged, "merged");
  expect_ok(tuned.swift->merge());
  EXPECT_TRUE(at::equal(output(tuned), merged)) << "merged twice";
  expect_ok(tuned.swift->unmerge());
  EXPECT_TRUE(at::equal(output(tuned), unmerged)) << "unmerged";
  expect_ok(tuned.swift->merge());
  expect_ok(tuned.swift->set_active_adapters({}));
  EXPECT_TRUE(at::equal(output(tuned), output(*load()))) << "merged, then off";
}

TEST_P(TunerLaws, MergedForGoodItIsPartOfTheBase) {
  if (!schema().can_merge) GTEST_SKIP() << "cannot merge";
  const Tuned tuned = drawn();
  const auto unmerged = output(tuned);
  expect_ok(tuned.swift->merge_and_unload());
  EXPECT_TRUE(tuned.swift->adapter_names().empty());
  expect_near(output(tuned), unmerged, "merged for good");
}

class DecoderTunerLaws : public TunerLaws {};

TEST_P(DecoderTunerLaws, SequencesInABatchDoNotSeeEachOther) {
  const Tuned tuned = drawn();
  const std::vector<std::vector<int32_t>> rows{some_ids(9, 1), some_ids(1, 2), some_ids(14, 3)};
  const auto together = logits_of(tuned.decoder(), flat_batch(rows));
  int64_t from = 0;
  for (const auto& row : rows) {
    const auto alone = logits_of(tuned.decoder(), single_sequence(row));
    expect_near(together.narrow(0, from, alone.size(0)), alone, "row");
    from += alone.size(0);
  }
  EXPECT_EQ(from, together.size(0));
}

TEST_P(DecoderTunerLaws, TheFutureDoesNotReachThePast) {
  const Tuned tuned = drawn();
  auto ids = some_ids(12);
  const auto before = logits_of(tuned.decoder(), single_sequence(ids));
  ids.back() = (ids.back() + 1) % static_cast<int32_t>(TinyModel::kVocabulary);
  const auto after = logits_of(tuned.decoder(), single_sequence(ids));
  expect_near(after.narrow(0, 0, 11), before.narrow(0, 0, 11), "first eleven");
}

TEST_P(DecoderTunerLaws, CachedGenerationIsThatOfTheWholeText) {
  if (on().dtype != at::kFloat) GTEST_SKIP() << "too coarse for equal text";
  if (!law().caches) GTEST_SKIP() << "not by design";
  const Tuned tuned = drawn();
  auto text = some_ids(5);
  const auto continued =
      generate(tuned.decoder(), text, {.max_new_tokens = 8, .stop_at_eos = false});
  ASSERT_EQ(continued.size(), 8U);
  for (const int32_t token : continued) {
    const auto logits = logits_of(tuned.decoder(), single_sequence(text));
    ASSERT_EQ(logits[logits.size(0) - 1].argmax().item<int64_t>(), token);
    text.push_back(token);
  }
}

INSTANTIATE_TEST_SUITE_P(All, TunerLaws, testing::ValuesIn(law_params()), law_name);
INSTANTIATE_TEST_SUITE_P(All, DecoderTunerLaws, testing::ValuesIn(decoder_law_params()), law_name);

}  // namespace
}  // namespace tunefleet::models
