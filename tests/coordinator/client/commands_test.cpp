#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

#include "coordinator/client/api_client.h"
#include "coordinator/client/command.h"
#include "coordinator/client/watch.h"
#include "tests/coordinator/client/fake_service.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

/// Runs commands as main() does, against a fake service, in a directory of its own.
class Commands : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(directory_);
    setenv("TUNEFLEET_URL", service_.url().c_str(), 1);
    setenv("TUNEFLEET_API_KEY", "right-key", 1);
  }
  void TearDown() override {
    unsetenv("TUNEFLEET_URL");
    unsetenv("TUNEFLEET_API_KEY");
    std::filesystem::remove_all(directory_);
  }

  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name) << text;
    return (directory_ / name).string();
  }

  static Outcome run(std::vector<std::string> words) {
    std::string program = "tunefleet " + words[0];
    std::vector<char*> arguments{program.data()};
    for (size_t i = 1; i < words.size(); ++i) arguments.push_back(words[i].data());
    const int count = static_cast<int>(arguments.size());
    arguments.push_back(nullptr);
    for (const auto& command : commands()) {
      if (command.name != words[0]) continue;
      testing::internal::CaptureStdout();
      testing::internal::CaptureStderr();
      const int code = command.run(count, arguments.data());
      std::fflush(nullptr);
      return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
    }
    return {};
  }

  std::filesystem::path directory_ =
      std::filesystem::temp_directory_path() / ("commands." + std::to_string(getpid()));
  FakeService service_;
};

TEST_F(Commands, EachHasHelpWithAnExampleAndTheExitCodes) {
  for (const auto* name : {"submit", "jobs", "watch", "logs", "cancel", "models", "fleet", "tuners",
                           "adapters", "keys", "chat"}) {
    const auto outcome = run({name, "--help"});
    EXPECT_EQ(outcome.code, kExitOk) << name;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("Example: tunefleet " + std::string(name)),
                                   HasSubstr("Exit codes:")))
        << name;
  }
}

TEST_F(Commands, KeysCreatePrintsTheKeyAloneToStdout) {
  const auto made = run({"keys", "create", "--tenant", "acme", "--scope", "read"});
  EXPECT_EQ(made.code, kExitOk);
  EXPECT_EQ(made.out, "tf-new\n");
  EXPECT_THAT(made.err, AllOf(HasSubstr("key-1 of acme may read, expires never")));
  const json shown = json::parse(run({"keys", "create", "--expires", "2h", "--json"}).out);
  EXPECT_EQ(shown["expires_after_s"], 7200);
  EXPECT_EQ(shown["scopes"], json::array({"submit"}));
}

TEST_F(Commands, KeysListGoesThroughEveryPageAndRevokeNamesTheKey) {
  EXPECT_THAT(run({"keys", "list"}).out, AllOf(HasSubstr("key-2"), HasSubstr("key-1")));
  EXPECT_EQ(run({"keys", "revoke", "key-1"}).out, "key-1 revoked\n");
  EXPECT_EQ(run({"keys", "revoke", "key-9"}).code, kExitUsage);
  EXPECT_EQ(run({"keys"}).code, kExitUsage);
}

TEST_F(Commands, TellWhichScopeAKeyMisses) {
  const auto refused = run({"keys", "list", "--tenant", "none"});
  EXPECT_EQ(refused.code, kExitUnavailable);
  EXPECT_THAT(refused.err, HasSubstr("it needs the scope admin"));
}

TEST_F(Commands, RefuseAnUnknownOptionAndNameTheNearest) {
  const auto outcome = run({"jobs", "--limt", "3"});
  EXPECT_EQ(outcome.code, kExitUsage);
  EXPECT_THAT(outcome.err, HasSubstr("unknown option --limt, did you mean --limit?"));
}

TEST_F(Commands, EndWithFourWhenNobodyAnswersOrTheKeyIsRefused) {
  auto outcome = run({"jobs", "--url", "http://127.0.0.1:1"});
  EXPECT_EQ(outcome.code, kExitUnavailable);
  EXPECT_THAT(outcome.err,
              HasSubstr("no service at http://127.0.0.1:1: start one with `tunefleet up`"));
  setenv("TUNEFLEET_API_KEY", "wrong-key", 1);
  for (const auto& words : std::vector<std::vector<std::string>>{{"jobs"},
                                                                 {"models"},
                                                                 {"fleet"},
                                                                 {"watch", "ftjob-1"},
                                                                 {"logs", "ftjob-1"},
                                                                 {"cancel", "ftjob-1"}}) {
    outcome = run(words);
    EXPECT_EQ(outcome.code, kExitUnavailable) << words[0];
    EXPECT_THAT(outcome.err, HasSubstr("refuses this key")) << words[0];
  }
}

TEST_F(Commands, EndWithTwoForAJobThatIsNotThere) {
  for (const auto* name : {"watch", "logs", "cancel"}) {
    const auto outcome = run({name, "nobody"});
    EXPECT_EQ(outcome.code, kExitUsage) << name;
    EXPECT_EQ(outcome.err, "error: no such job: nobody\n") << name;
  }
}

TEST_F(Commands, SubmitTellsEveryProblemBeforeItConnects) {
  const auto job = write("job.yaml", "model: base\ndataset: d.jsonl\nlora_rnak: 8\nworkers: 0\n");
  const auto outcome = run({"submit", job, "--url", "http://127.0.0.1:1"});
  EXPECT_EQ(outcome.code, kExitUsage);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("job.yaml:3: lora_rnak"),
                                 HasSubstr("job.yaml:4: workers"), HasSubstr("2 problems")));
}

TEST_F(Commands, SubmitUploadsEachDataSetOnceAndCreatesTheJob) {
  write("d \"1\".jsonl", std::string(700'000, 'x') + "\n");
  const auto job =
      write("job.yaml",
            "model: base\ndataset: ['d \"1\".jsonl', file-there]\nval_dataset: 'd \"1\".jsonl'\n");
  const auto outcome = run({"submit", job, "--set", "lora_rank=4", "--set", "name=devil"});
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
  EXPECT_EQ(outcome.out, "ftjob-1\n");
  ASSERT_THAT(service_.uploads(), SizeIs(1));
  EXPECT_EQ(service_.uploads().at("d _1_.jsonl").size(), 700'001U);
  ASSERT_THAT(service_.created(), SizeIs(1));
  const json created = service_.created()[0];
  EXPECT_EQ(created["dataset"], json({"file-d _1_.jsonl", "file-there"}));
  EXPECT_EQ(created["val_dataset"], json({"file-d _1_.jsonl"}));
  EXPECT_EQ(created["lora_rank"], 4);
  EXPECT_EQ(created["name"], "devil");
  EXPECT_FALSE(created.contains("output_dir"));
  EXPECT_FALSE(created.contains("max_length"));
}

TEST_F(Commands, SubmitUploadsNothingWhenADataSetIsMissing) {
  write("d.jsonl", "{}\n");
  const auto job = write("job.yaml", "model: base\ndataset: [d.jsonl, gone.jsonl]\n");
  const auto outcome = run({"submit", job});
  EXPECT_EQ(outcome.code, kExitUsage);
  EXPECT_EQ(outcome.err, "error: dataset: no such file: gone.jsonl\n");
  EXPECT_THAT(service_.uploads(), SizeIs(0));
}

TEST_F(Commands, SubmitTriesAgainWithTheSameKeyWhenTheServiceFalters) {
  write("d.jsonl", "{}\n");
  service_.fail_next_creates(2);
  const auto outcome = run({"submit", write("job.yaml", "model: base\ndataset: d.jsonl\n")});
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
  ASSERT_THAT(service_.created(), SizeIs(1));
  EXPECT_THAT(service_.created()[0]["idempotency_key"].get<std::string>(), HasSubstr("submit-"));
}

TEST_F(Commands, SubmitTellsWhatTheServiceRefuses) {
  write("d.jsonl", "{}\n");
  const auto outcome = run({"submit", write("job.yaml", "model: unknown\ndataset: d.jsonl\n")});
  EXPECT_EQ(outcome.code, kExitUsage);
  EXPECT_EQ(outcome.err, "error: no such model: unknown\n");
}

TEST_F(Commands, SubmitAndWatchEndsAsTheJobDoes) {
  write("d.jsonl", "{}\n");
  const auto job = write("job.yaml", "model: base\ndataset: d.jsonl\n");
  for (const auto& [status, code] : std::map<std::string, int>{
           {"succeeded", kExitOk}, {"failed", kExitFailed}, {"cancelled", kExitCancelled}}) {
    service_.set_job({{"status", status}});
    const auto outcome = run({"submit", job, "--watch"});
    EXPECT_EQ(outcome.code, code) << status;
    EXPECT_THAT(outcome.out, HasSubstr("ftjob-1 " + status));
  }
}

TEST_F(Commands, JobsPagesUntilTheLimit) {
  EXPECT_EQ(json::parse(run({"jobs", "--json", "--limit", "3"}).out).size(), 3U);
  EXPECT_EQ(json::parse(run({"jobs", "--json", "--all"}).out).size(), 5U);
  EXPECT_THAT(run({"jobs"}).out, AllOf(HasSubstr("ID"), HasSubstr("ftjob-5")));
}

TEST_F(Commands, ModelsAndFleetAreShown) {
  EXPECT_THAT(run({"models"}).out, HasSubstr("base"));
  EXPECT_THAT(run({"fleet"}).out, AllOf(HasSubstr("node-1"), HasSubstr("3 jobs waiting")));
}

TEST_F(Commands, ImportRefusesWhatIsNoGgufFile) {
  const auto file = write("m.gguf", "not a model");
  const auto outcome =
      run({"models", "import", file, "--models", (directory_ / "models").string()});
  EXPECT_NE(outcome.code, kExitOk);
  EXPECT_THAT(outcome.err, HasSubstr("m.gguf"));
  EXPECT_EQ(run({"models", "import", file, "--name", "../x"}).code, kExitUsage);
  EXPECT_EQ(run({"models", "import", (directory_ / "gone.gguf").string()}).code, kExitUsage);
}

TEST_F(Commands, ChatPrintsTheAnswerAsItComes) {
  EXPECT_EQ(run({"chat", "base", "hello"}).out, "you said hello\n");
  const auto lines = run({"chat", "base", "hello", "--json"}).out;
  EXPECT_EQ(json::parse(lines.substr(0, lines.find('\n')))["choices"][0]["delta"]["content"],
            "you said ");
  const auto unknown = run({"chat", "unknown", "hello"});
  EXPECT_EQ(unknown.code, kExitUsage);
  EXPECT_THAT(unknown.err, HasSubstr("no such model: unknown"));
}

TEST_F(Commands, ChatTellsAnAnswerThatIsNotWhole) {
  const auto broken = run({"chat", "base", "break"});
  EXPECT_EQ(broken.code, kExitUnavailable);
  EXPECT_EQ(broken.out, "you said \n");
  EXPECT_THAT(broken.err, HasSubstr("cut short"));
  const auto died = run({"chat", "base", "die"});
  EXPECT_EQ(died.code, kExitUnavailable);
  EXPECT_THAT(died.err, HasSubstr("the model's server died"));
}

TEST_F(Commands, LogsPrintsAllPieces) {
  service_.set_job({{"status", "succeeded"}});
  service_.set_log("rank 0: one\nrank 1: two\nthe end\n");
  EXPECT_EQ(run({"logs", "ftjob-1"}).out, "rank 0: one\nrank 1: two\nthe end\n");
  EXPECT_EQ(run({"logs", "ftjob-1", "--follow"}).out, "rank 0: one\nrank 1: two\nthe end\n");
}

TEST_F(Commands, CancelTellsWhetherTheJobIsGone) {
  service_.set_job({{"status", "cancelled"}});
  EXPECT_EQ(run({"cancel", "ftjob-1"}).out, "ftjob-1 cancelled\n");
  service_.set_job({{"status", "running"}, {"state", "stopping"}});
  EXPECT_THAT(run({"cancel", "ftjob-1"}).out, HasSubstr("is stopping"));
}

TEST_F(Commands, WatchShowsEachEventOnceOverBrokenConnections) {
  service_.set_job({{"status", "running"}});
  service_.break_streams_after(2);
  for (int i = 1; i <= 5; ++i) service_.add_event("event " + std::to_string(i));
  std::thread ending([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    service_.add_event("last");
    service_.set_job({{"status", "succeeded"}});
  });
  const auto outcome = run({"watch", "ftjob-1", "--json"});
  ending.join();
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
  std::vector<std::string> messages;
  json last;
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) {
    last = json::parse(line);
    if (last["object"] == "fine_tuning.job.event") messages.push_back(last["message"]);
  }
  EXPECT_THAT(messages,
              testing::ElementsAre("event 1", "event 2", "event 3", "event 4", "event 5", "last"));
  EXPECT_EQ(last["status"], "succeeded");
}

TEST_F(Commands, WatchTellsAWaitingJobsPlaceOnceForEachChange) {
  service_.set_job({{"status", "queued"},
                    {"queue_position", 2},
                    {"pending_reason", "waiting for 2 free slots"}});
  std::thread ending([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    service_.set_job({{"status", "cancelled"}});
  });
  const auto outcome = run({"watch", "ftjob-1"});
  ending.join();
  EXPECT_EQ(outcome.code, kExitCancelled);
  EXPECT_EQ(outcome.out, "queued: position 2, waiting for 2 free slots\nftjob-1 cancelled\n");
}

TEST_F(Commands, CtrlCEndsTheWatchingAndSaysThatTheJobGoesOn) {
  service_.set_job({{"status", "running"}});
  std::thread interrupting([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    kill(getpid(), SIGINT);
  });
  const auto outcome = run({"watch", "ftjob-1"});
  interrupting.join();
  EXPECT_EQ(outcome.code, kExitInterrupted);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("the job goes on"), HasSubstr("tunefleet cancel ftjob-1")));
}

TEST(TerminalView, DrawsTheBarBelowTheEvents) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = open_memstream(&text, &size);
  const auto view = make_terminal_view(out);
  view->show_job({{"status", "queued"}});
  view->show_event({{"message", "a checkpoint"}, {"type", "message"}, {"created_at", 0}});
  view->show_event({{"message", "step 5"}, {"type", "metrics"}, {"data", {{"loss", 2.0}}}});
  view->show_event({{"message", "evaluated"}, {"type", "metrics"}, {"data", {{"eval_loss", 2.0}}}});
  view->show_end({{"id", "ftjob-1"}, {"status", "succeeded"}});
  std::fclose(out);
  const std::string shown(text, size);
  std::free(text);
  EXPECT_THAT(shown, AllOf(HasSubstr("\r\x1b[Kqueued\r\x1b[K"),
                           HasSubstr(" a checkpoint\n\r\x1b[Kqueued")));
  EXPECT_THAT(shown, AllOf(HasSubstr("evaluated\n"), testing::Not(HasSubstr("step 5"))));
  EXPECT_TRUE(shown.ends_with("\r\x1b[Kftjob-1 succeeded\n")) << shown;
}

TEST(ApiClient, RefusesAnAnswerThatIsNotJson) {
  httplib::Server server;
  server.Get("/v1/models",
             [](const auto&, auto& response) { response.set_content("<html>", "text/html"); });
  const int port = server.bind_to_any_port("127.0.0.1");
  std::thread thread([&] { server.listen_after_bind(); });
  while (!server.is_running()) std::this_thread::yield();
  const std::string url = "http://127.0.0.1:" + std::to_string(port);
  const auto answer = ApiClient({.url = url, .key = "k"}).get("/v1/models");
  server.stop();
  thread.join();
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message, HasSubstr("is not a tunefleet service"));
}

TEST(EscapedSegment, KeepsAnIdInItsPlace) {
  EXPECT_EQ(escaped_segment("ftjob-1"), "ftjob-1");
  EXPECT_EQ(escaped_segment("../a?b=c d"), "..%2Fa%3Fb%3Dc%20d");
}

}  // namespace
}  // namespace tunefleet::coordinator
