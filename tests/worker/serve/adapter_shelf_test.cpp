#include "worker/serve/adapter_shelf.h"

#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/worker/models/tiny_model.h"
#include "tuners/config/llama_pro_options.h"
#include "tuners/config/lora_options.h"
#include "tuners/config/virtual_token_options.h"
#include "tuners/swift.h"
#include "worker/models/token_batch.h"
#include "worker/trainer/model_setup.h"

namespace tunefleet::serve {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

/// Stored adapters of several kinds with random values, and a base that they are used on in turn.
class AdapterShelfTest : public testing::Test {
 protected:
  AdapterShelfTest() { fs::create_directories(directory_); }
  ~AdapterShelfTest() override { fs::remove_all(directory_); }

  /// Makes an adapter that changes the logits, and returns its directory.
  std::string stored(const std::string& name, const tuners::TunerOptions& options) {
    const auto base = files_.load();
    const auto swift = tuners::Swift::prepare_model(*base, options, 3);
    EXPECT_TRUE(swift) << swift.error().message;
    const at::NoGradGuard no_grad;
    const auto trained = (*swift)->trainable_set();
    for (const auto& each : trained.tensors) at::Tensor(each.tensor).normal_(0.0, 0.3);
    const auto path = directory_ / name;
    EXPECT_TRUE((*swift)->save_pretrained(path, /*safe_serialization=*/true));
    return path.string();
  }
  std::string lora(const std::string& name) { return stored(name, tuners::LoraOptions{}); }
  static at::Tensor logits(const models::Decoder& model) {
    const at::NoGradGuard no_grad;
    const tuners::ForwardContext context;
    const auto batch = models::single_sequence(models::some_ids(9));
    return model.logits(model.hidden_states(batch, context), context);
  }
  /// Of a model that has this adapter and never had another.
  at::Tensor alone(const std::string& adapter) {
    const auto base = files_.load();
    const auto swift = trainer::attach_adapters(*base, adapter);
    EXPECT_TRUE(swift) << swift.error().message;
    return logits(*base);
  }
  void expect_as_alone(AdapterShelf& shelf, const std::string& adapter) {
    const auto used = shelf.use(adapter);
    ASSERT_TRUE(used) << used.error().message;
    EXPECT_TRUE(at::equal(logits(*model_), alone(adapter))) << adapter;
  }

  models::TinyModel files_;
  fs::path directory_ = files_.directory() / "adapters";
  std::unique_ptr<models::Decoder> model_ = files_.load();
};

TEST_F(AdapterShelfTest, EachAnswersAsIfItWereAlone) {
  tuners::PrefixTuningOptions prefix;
  prefix.tokens.num_virtual_tokens = 3;
  tuners::LlamaProOptions blocks;
  blocks.num_new_blocks = 1;
  blocks.model_type = "llama";
  const std::vector<std::string> all{"", lora("one"), lora("two"), stored("prefix", prefix),
                                     stored("blocks", blocks)};
  for (const size_t capacity : {1, 2, 5}) {
    AdapterShelf shelf(*model_, capacity);
    for (const size_t i : {0, 1, 2, 1, 3, 4, 0, 4, 2, 3, 1}) expect_as_alone(shelf, all[i]);
  }
  EXPECT_TRUE(at::equal(logits(*model_), alone(""))) << "the base is as it was";
}

TEST_F(AdapterShelfTest, KeepsThoseUsedLast) {
  AdapterShelf shelf(*model_, 2);
  const auto one = lora("one");
  const auto two = lora("two");
  const auto three = lora("three");
  for (const auto& each : {one, two, one, three}) ASSERT_TRUE(shelf.use(each));
  EXPECT_THAT(shelf.directories(), ElementsAre(three, one));
  fs::remove_all(one);
  EXPECT_TRUE(shelf.use(one)) << "it was loaded before";
}

TEST_F(AdapterShelfTest, OneThatCannotBeLoadedLeavesTheBase) {
  AdapterShelf shelf(*model_, 2);
  ASSERT_TRUE(shelf.use(lora("one")));
  const auto missing = shelf.use((directory_ / "nowhere").string());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(at::equal(logits(*model_), alone("")));
}

}  // namespace
}  // namespace tunefleet::serve
