#include <filesystem>
#include <fstream>

#include "storage/safetensors.h"
#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

/// A decoder of one layer in the models directory, with weights of the right shapes.
class PlanApiTest : public ApiTest {
 protected:
  PlanApiTest() {
    const auto directory = directory_.path() / "models/tiny";
    std::filesystem::create_directories(directory);
    std::ofstream(directory / "config.json") << R"({"architectures": ["LlamaForCausalLM"],
      "model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
      "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 32,
      "max_position_embeddings": 1024, "tie_word_embeddings": true})";
    const std::vector<std::byte> zeros(4096);
    std::vector<storage::TensorView> tensors;
    const auto add = [&](const std::string& name, int64_t rows, int64_t cols) {
      storage::TensorView view;
      view.name = name;
      view.shape = {rows, cols};
      view.data = zeros.data();
      view.bytes = static_cast<size_t>(4 * rows * cols);
      tensors.push_back(view);
    };
    add("model.embed_tokens.weight", 32, 8);
    add("model.layers.0.self_attn.q_proj.weight", 8, 8);
    add("model.layers.0.self_attn.k_proj.weight", 4, 8);
    add("model.layers.0.mlp.up_proj.weight", 16, 8);
    EXPECT_TRUE(storage::write_safetensors(directory / "model.safetensors", tensors, {}));
  }

  httplib::Result ask(json more) {
    json body = {{"model", "tiny"}, {"training_file", good_file()}};
    body.update(more);
    return client().Post("/v1/fine_tuning/jobs/plan", body.dump(), "application/json");
  }
  json plan(const json& more = json::object()) {
    const auto reply = ask(more);
    EXPECT_EQ(reply->status, 200) << reply->body;
    return body_of(reply);
  }
};

TEST_F(PlanApiTest, TellsWhatAJobTakesAndStoresNothing) {
  const json told = plan({{"lora_rank", 2}, {"gradient_accumulation_steps", 1}});
  EXPECT_EQ(told["object"], "fine_tuning.job.plan");
  EXPECT_EQ(told["trainable"]["total"], 2 * (8 + 8) + 2 * (8 + 4) + 2 * (8 + 16));
  EXPECT_EQ(told["trainable"]["of"], 32 * 8 + 64 + 32 + 128);
  EXPECT_EQ(told["steps"]["rows"], 2);
  EXPECT_EQ(told["steps"]["total"], 6);  // Two rows, three epochs, one row a step.
  EXPECT_EQ(told["steps"]["bound"], "exact");
  EXPECT_EQ(told["memory"]["parts"]["weights"], 4 * (32 * 8 + 64 + 32 + 128));
  EXPECT_GT(told["memory"]["per_rank"], 0);
  EXPECT_EQ(told["model"], "tiny");
  EXPECT_EQ(told["spec"]["lora_rank"], 2);
  EXPECT_EQ(body_of(client().Get("/v1/fine_tuning/jobs"))["data"], json::array());
  EXPECT_EQ(fleet_.wakes, 0);
}

TEST_F(PlanApiTest, TellsWhenItWouldStart) {
  const json now = plan({{"workers", 1}})["start"];
  EXPECT_EQ(now["now"], true);
  EXPECT_EQ(now["placement"], json::array({json::array({"node-a", 1})}));
  const json later = plan({{"workers", 2}})["start"];
  EXPECT_EQ(later["now"], false);
  EXPECT_EQ(later["queue_position"], 1);
  EXPECT_EQ(later["pending_reason"], "waiting for 2 slots (1 free of 2)");
  EXPECT_TRUE(later["estimated_start"].is_null());
}

TEST_F(PlanApiTest, TimeFollowsFromTheCallersFinishedJobs) {
  const json unknown = plan()["time"];
  EXPECT_TRUE(unknown["seconds"].is_null());
  EXPECT_NE(unknown["unknown"].get<std::string>().find("no job of yours"), std::string::npos);
  const std::string id = waiting_job({{"model", "tiny"}, {"gradient_accumulation_steps", 1}});
  start(id);
  now_ms_ += 14'000;
  finish(id);  // Seven steps of one row.
  const json known = plan({{"gradient_accumulation_steps", 2}, {"max_steps", 5}})["time"];
  EXPECT_EQ(known["jobs"], 1);
  EXPECT_DOUBLE_EQ(known["device_seconds_per_step"], 4.0);
  EXPECT_DOUBLE_EQ(known["seconds"], 20.0);
  EXPECT_DOUBLE_EQ(known["device_hours"], 20.0 / 3600);
}

TEST_F(PlanApiTest, CountsBothAnswersOfAPreference) {
  const std::string row = R"({"query":"q","response":"a","rejected_response":"b"})";
  const json file = body_of(upload(row + "\n" + row));
  const json told = plan({{"training_file", file["id"]},
                          {"method", {{"type", "dpo"}}},
                          {"lora_rank", 2},
                          {"gradient_accumulation_steps", 1}});
  ASSERT_TRUE(told["memory"].contains("tokens_per_pass")) << told;
  EXPECT_EQ(told["steps"]["rows"], 2);
  EXPECT_EQ(told["memory"]["tokens_per_pass"], 2 * row.size());
}

TEST_F(PlanApiTest, RefusesWhatCreatingRefuses) {
  const json body = {{"model", "tiny"}, {"training_file", good_file()}, {"lora_rnak", 3}};
  const json error = error_of(ask({{"lora_rnak", 3}}), 400);
  EXPECT_EQ(error["message"], error_of(create(body), 400)["message"]);
  EXPECT_EQ(error["param"], "lora_rnak");
  EXPECT_EQ(error_of(ask({{"model", "none"}}), 404)["code"], "model_not_found");
}

TEST_F(PlanApiTest, SaysWhenTheTrainerWouldRefuseOrAloneKnows) {
  const json refused = plan({{"target_modules", {"q_porj"}}});
  EXPECT_TRUE(refused["trainable"]["total"].is_null());
  EXPECT_NE(refused["trainable"]["unknown"].get<std::string>().find("q_proj"), std::string::npos);
  EXPECT_TRUE(refused["memory"]["per_rank"].is_null());
  const json part = plan({{"tuners", {{"p", {{"type", "part"}, {"target_modules", {"mlp"}}}}}}});
  EXPECT_TRUE(part["trainable"]["total"].is_null());
  EXPECT_TRUE(part["trainable"]["tuners"][0]["numbers"].is_null());
}

TEST_F(PlanApiTest, NeedsAKeyThatMaySubmit) {
  httplib::Client reader = client(key_of("admin", Scope::kRead));
  const json error =
      error_of(reader.Post("/v1/fine_tuning/jobs/plan", "{}", "application/json"), 403);
  EXPECT_EQ(error["code"], "insufficient_scope");
}

}  // namespace
}  // namespace tunefleet::coordinator
