// A rank above what a layer has, for every tuner of the registry that has one.
#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/worker/models/tiny_model.h"
#include "tuners/registry.h"
#include "tuners/swift_model.h"

namespace tunefleet::models {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using tuners::TunerEntry;

/// Tuners that a large rank suits: LoKr's factors are then themselves, OFT takes the nearest number
/// of blocks that there can be (as PEFT does), RandLoRA needs fewer bases, and in VB-LoRA and VeRA the
/// layers share what they are made of.
constexpr std::string_view kTakeAnyRank[] = {"lokr", "oft", "randlora", "vblora", "vera"};

/// "r", or "init_r" where that is the one meant; empty when the tuner has none.
std::string rank_option(const TunerEntry& entry) {
  for (const char* key : {"init_r", "r"}) {
    if (tuners::find_option(*entry.schema, key) != nullptr) return key;
  }
  return {};
}

std::vector<TunerEntry> tuners_with_a_rank() {
  auto entries = tuners::builtin_tuners();
  std::erase_if(entries, [](const auto& entry) { return rank_option(entry).empty(); });
  return entries;
}

class RankLimitTest : public testing::TestWithParam<TunerEntry> {
 protected:
  tuners::TunerOptions options(json set) const {
    const auto& schema = *GetParam().schema;
    if (tuners::find_option(schema, "target_modules") != nullptr)
      set["target_modules"] = {"v_proj"};
    if (schema.name == "oft") set["oft_block_size"] = 0;  // its rank is meant, not its block size
    if (schema.name == "vblora") set["vector_length"] = 12;
    const auto read = tuners::options_from_json(schema, set.dump(), "test");
    if (!read) throw std::runtime_error(read.error().message);
    return *read;
  }
  Status add(const json& set) {
    tuners::SwiftModel swift(*model_);
    return swift.add_adapter("default", options(set));
  }
  bool takes_any_rank() const {
    return std::find(std::begin(kTakeAnyRank), std::end(kTakeAnyRank), GetParam().schema->name) !=
           std::end(kTakeAnyRank);
  }

  const TinyModel stored_{};
  const std::unique_ptr<Decoder> model_ = stored_.load();  ///< v_proj is [12, 24].
  const std::string key_ = rank_option(GetParam());
};

TEST_P(RankLimitTest, ALargerOneIsRefusedWhereItAddsNothing) {
  const auto status = add({{key_, 1000}});
  if (takes_any_rank()) {
    EXPECT_TRUE(status) << status.error().message;
    return;
  }
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(status.error().message, HasSubstr("1000"));
}

TEST_P(RankLimitTest, TheLayersOwnIsTheLimit) {
  if (GetParam().schema->rank_key.empty()) GTEST_SKIP() << "a layer does not bound it";
  const auto status = add({{key_, 12}});
  EXPECT_TRUE(status) << status.error().message;
  EXPECT_THAT(add({{key_, 13}}).error().message,
              HasSubstr(key_ + " 13, model.layers.0.self_attn.v_proj is [12, 24]"));
}

TEST_P(RankLimitTest, APatternCountsToo) {
  const auto* pattern = tuners::find_option(*GetParam().schema, "rank_pattern");
  if (GetParam().schema->rank_key.empty() || pattern == nullptr || key_ != "r")
    GTEST_SKIP() << "has no ranks of single modules";
  EXPECT_TRUE(add({{key_, 4}, {"rank_pattern", {{"v_proj", 12}}}}));
  EXPECT_THAT(add({{key_, 4}, {"rank_pattern", {{"v_proj", 13}}}}).error().message,
              HasSubstr("rank_pattern"));
}

TEST_P(RankLimitTest, WhatIsStoredIsTakenAsItIs) {
  if (GetParam().schema->rank_key.empty()) GTEST_SKIP() << "a layer does not bound it";
  const auto made =
      GetParam().make(options({{key_, 13}}), {.base = *model_, .name = "default", .fresh = false});
  EXPECT_TRUE(made) << made.error().message;
}

INSTANTIATE_TEST_SUITE_P(Registry, RankLimitTest, testing::ValuesIn(tuners_with_a_rank()),
                         [](const auto& info) { return std::string(info.param.schema->name); });

}  // namespace
}  // namespace tunefleet::models
