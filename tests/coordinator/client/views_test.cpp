#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "coordinator/client/event_stream.h"
#include "coordinator/client/job_commands.h"
#include "coordinator/client/key_commands.h"
#include "coordinator/client/model_commands.h"
#include "coordinator/client/progress_bar.h"
#include "coordinator/client/text_format.h"
#include "coordinator/client/watch_view.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json running_job() {
  return {{"id", "ftjob-1"},
          {"status", "running"},
          {"progress",
           {{"phase", "training"},
            {"step", 12},
            {"max_steps", 200},
            {"loss", 2.345},
            {"learning_rate", 9.8e-5},
            {"tokens_per_s", 1234.0},
            {"remaining_s", 192.0}}}};
}

TEST(RenderProgress, ShowsTheBarAndEverythingBesideIt) {
  EXPECT_EQ(
      render_progress(running_job(), 100),
      "[#-----------------------------] step 12/200 loss 2.345 lr 9.8e-05 1.2k tok/s 3m12s left");
}

TEST(RenderProgress, LeavesOutFromTheEndWhatDoesNotFit) {
  EXPECT_EQ(render_progress(running_job(), 40), "[---------------] step 12/200 loss 2.345");
  for (size_t width = 0; width < 120; ++width)
    EXPECT_LE(display_width(render_progress(running_job(), width)), width);
}

TEST(RenderProgress, TellsWhereAWaitingJobStands) {
  const json job{
      {"status", "queued"}, {"queue_position", 2}, {"pending_reason", "waiting for 2 free slots"}};
  EXPECT_EQ(render_progress(job, 80), "queued: position 2, waiting for 2 free slots");
  EXPECT_EQ(render_progress({{"status", "queued"}, {"queue_position", nullptr}}, 80), "queued");
}

TEST(RenderProgress, TellsWhatHappensBeforeTheFirstStepAndAfterACancel) {
  json job = running_job();
  job["cancel_requested"] = true;
  EXPECT_THAT(render_progress(job, 100), HasSubstr("stopping ["));
  job = {{"status", "running"},
         {"agent", "node-1"},
         {"progress", {{"phase", "loading"}, {"max_steps", 0}}}};
  EXPECT_EQ(render_progress(job, 80), "running on node-1: loading");
  job["progress"] = nullptr;
  EXPECT_EQ(render_progress(job, 80), "running on node-1: starting the ranks");
}

TEST(RenderProgress, StandsAnythingAServiceCouldSay) {
  for (const json& job :
       {json(), json::array(), json("x"), json{{"status", 5}},
        json{{"status", "running"}, {"progress", 7}},
        json{{"status", "running"}, {"progress", {{"step", "x"}, {"max_steps", 1e300}}}}}) {
    EXPECT_NO_THROW(render_progress(job, 80)) << job;
    EXPECT_NO_THROW(end_text(job)) << job;
    EXPECT_NO_THROW(event_line(job)) << job;
  }
}

TEST(RenderBar, IsFullAtTheEndOnly) {
  EXPECT_EQ(render_bar(0, 10, 12), "[----------]");
  EXPECT_EQ(render_bar(5, 10, 12), "[#####-----]");
  EXPECT_EQ(render_bar(9.99, 10, 12), "[#########-]");
  EXPECT_EQ(render_bar(11, 10, 12), "[##########]");
  EXPECT_EQ(render_bar(1, 0, 12), "[----------]");
  EXPECT_EQ(render_bar(1, 1, 2), "");
}

TEST(EndText, TellsTheLossesAndTheCheckpoint) {
  const json job{{"id", "ftjob-1"},
                 {"status", "succeeded"},
                 {"fine_tuned_model", "ft:m:o:n:1"},
                 {"result",
                  {{"step", 120},
                   {"trained_tokens", 30200},
                   {"seconds", 242.0},
                   {"eval_loss_before", 2.914},
                   {"eval_loss", 2.31},
                   {"checkpoint", "/d/checkpoint-120"},
                   {"stopped_by", "max_minutes"}}}};
  EXPECT_EQ(end_text(job),
            "ftjob-1 succeeded, 120 steps, 30k tokens, 4m02s, stopped by max_minutes\n"
            "  held-out loss  2.9140 before, 2.3100 after\n"
            "  checkpoint     /d/checkpoint-120\n"
            "  model          ft:m:o:n:1\n");
}

TEST(EndText, TellsWhichRankFailedAndWhereToLook) {
  const json job{{"id", "ftjob-1"},
                 {"status", "failed"},
                 {"error", {{"message", "a rank died"}}},
                 {"failure", {{"rank", 1}, {"host", "node-1"}, {"message", "killed by SIGKILL"}}}};
  EXPECT_EQ(end_text(job),
            "ftjob-1 failed: a rank died\n"
            "  rank 1 on node-1: killed by SIGKILL\n"
            "  what the ranks printed: tunefleet logs ftjob-1\n");
}

TEST(JobsTable, ShowsStateStepLossAndAge) {
  json queued{{"id", "ftjob-2"},
              {"model", "m"},
              {"status", "queued"},
              {"queue_position", 1},
              {"created_at", 940}};
  json running = running_job();
  running["name"] = "devil";
  running["created_at"] = 1000;
  EXPECT_EQ(jobs_table({queued, running}, 1000),
            "ID       NAME   MODEL  STATE      STEP    LOSS   AGE\n"
            "ftjob-2  -      m      queued #1  -       -      1m00s\n"
            "ftjob-1  devil  -      running    12/200  2.345  0s\n");
}

TEST(ModelsTable, TellsBaseAndTunedApart) {
  const json models{{{"id", "m"}, {"created", 0}},
                    {{"id", "ft:m"}, {"created", 0}, {"job", "ftjob-1"}, {"checkpoint", "/c"}}};
  EXPECT_EQ(models_table(models, 60),
            "NAME  KIND   AGE    CHECKPOINT\nm     base   1m00s\nft:m  tuned  1m00s  /c\n");
}

TEST(FleetTable, ShowsSlotsAndJobs) {
  const json agents{
      {{"host", "a"}, {"alive", true}, {"slots", 2}, {"free_slots", 1}, {"jobs", {"ftjob-1"}}}};
  EXPECT_EQ(
      fleet_table(agents),
      "AGENT  STATE  FREE  SLOTS  DEVICE  JOBS\na      up     1     2      cpu     ftjob-1\n");
}

TEST(KeysTable, ShowsScopesAndWhenEachExpires) {
  const std::string table = keys_table({{{"id", "key-a"},
                                         {"tenant", "acme"},
                                         {"scopes", {"read", "submit"}},
                                         {"prefix", "tf-AbCd"},
                                         {"created_at", 1'000},
                                         {"expires_at", 4'600},
                                         {"name", "nightly\x1b[2J"}},
                                        {{"id", "key-b"}, {"expires_at", 900}}},
                                       1'000);
  EXPECT_NE(table.find("acme    read,submit  tf-AbCd…  0s   in 1h00m  nightly?[2J"),
            std::string::npos)
      << table;
  EXPECT_NE(table.find("expired"), std::string::npos);
}

TEST(Lifetime, TakesDaysHoursMinutesAndSeconds) {
  EXPECT_EQ(lifetime_seconds("30d"), 30 * 86'400);
  EXPECT_EQ(lifetime_seconds("12h"), 43'200);
  EXPECT_EQ(lifetime_seconds("90m"), 5'400);
  EXPECT_EQ(lifetime_seconds("60s"), 60);
  for (const char* wrong :
       {"", "30", "d", "-1d", "1.5h", "59s", "9999999d", "1w", "1d ", "99999999999999999999s"}) {
    EXPECT_FALSE(lifetime_seconds(wrong)) << wrong;
  }
}

TEST(ModelName, LeavesOutTheEndingAndTheQuantisation) {
  EXPECT_EQ(model_name_of("/x/SmolLM2-135M-Instruct.Q4_1.gguf"), "SmolLM2-135M-Instruct");
  EXPECT_EQ(model_name_of("qwen2.5-0.5b-instruct-q8_0.gguf"), "qwen2.5-0.5b-instruct");
  EXPECT_EQ(model_name_of("model-f16.gguf"), "model");
  EXPECT_EQ(model_name_of("model.IQ3_XS.gguf"), "model");
  EXPECT_EQ(model_name_of("Qwen.gguf"), "Qwen");
  EXPECT_EQ(model_name_of("a-queen.gguf"), "a-queen");
  EXPECT_EQ(model_name_of(".gguf"), "");
}

TEST(EventStreamReader, GivesTheSameWhereverTheStreamIsCut) {
  const std::string stream =
      ": ping\n\ndata: one\r\n\r\nevent: x\ndata:two\ndata: lines\n\nid: 5\n\ndata: [DONE]\n\n";
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    std::vector<std::string> seen;
    EventStreamReader reader([&](const std::string& data) {
      seen.push_back(data);
      return true;
    });
    EXPECT_TRUE(reader.feed(stream.substr(0, cut)) && reader.feed(stream.substr(cut)));
    EXPECT_THAT(seen, ElementsAre("one", "two\nlines", "[DONE]"));
  }
}

TEST(EventStreamReader, StopsWhenAskedAndAtAnEndlessLine) {
  EventStreamReader reader([](const std::string&) { return false; });
  EXPECT_FALSE(reader.feed("data: a\n\ndata: b\n\n"));
  EventStreamReader endless([](const std::string&) { return true; });
  bool taken = true;
  for (int i = 0; i < 10 && taken; ++i) taken = endless.feed(std::string(1 << 20, 'x'));
  EXPECT_FALSE(taken);
}

}  // namespace
}  // namespace tunefleet::coordinator
