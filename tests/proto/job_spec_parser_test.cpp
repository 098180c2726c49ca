#include "proto/job_spec_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

namespace tunefleet {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

/// The problems of a YAML job, as they are shown.
std::vector<std::string> problems_of(const std::string& yaml) {
  std::vector<std::string> texts;
  for (const auto& problem : parse_job_yaml(yaml, "job.yaml").problems)
    texts.push_back(to_string(problem));
  return texts;
}

/// The same with the required keys on lines 1 and 2, so that `yaml` starts on line 3.
std::vector<std::string> problems_with(const std::string& yaml) {
  return problems_of("model: m\ndataset: d.jsonl\n" + yaml);
}

JobSpec valid(const std::string& yaml) {
  const auto parsed = parse_job_yaml("model: m\ndataset: d.jsonl\n" + yaml, "job.yaml");
  for (const auto& problem : parsed.problems) ADD_FAILURE() << to_string(problem);
  return parsed.spec;
}

TEST(JobSpecParser, QuotedTextInATunersMapStaysText) {
  const auto read = valid("tuners: {a: {type: lora, r: 8, on: true, tag: '8', other: \"true\"}}\n");
  const nlohmann::json wanted{
      {"type", "lora"}, {"r", 8}, {"on", true}, {"tag", "8"}, {"other", "true"}};
  EXPECT_EQ(to_json(read)["tuners"]["a"], wanted);
  const auto again = parse_job_json(to_json(read));
  EXPECT_EQ(to_json(again.spec)["tuners"]["a"], wanted);
}

TEST(JobSpecParser, TheLearningRateOfFullTuningIsSmaller) {
  const std::string head = "model: m\ndataset: d\n";
  EXPECT_EQ(parse_job_yaml(head, "j").spec.learning_rate, 1e-4);
  EXPECT_EQ(parse_job_yaml(head + "tuner_type: full\n", "j").spec.learning_rate, 1e-5);
  const auto given = parse_job_yaml(head + "learning_rate: 3e-4\ntuner_type: full\n", "j");
  EXPECT_EQ(given.spec.learning_rate, 3e-4);
}

TEST(JobSpecParser, LeavesEveryOtherKeyAtItsDefault) {
  JobSpec expected;
  expected.model = "m";
  expected.dataset = {"d.jsonl"};
  EXPECT_EQ(to_json(valid("")), to_json(expected));
}

TEST(JobSpecParser, ReadsEveryKindOfValue) {
  const auto spec = valid(R"(
template: qwen
learning_rate: 2e-4
lora_rank: 16
packing: yes
max_length: 512
adapters: [a, b]
layers_to_transform: [0, 3]
rank_pattern: {q_proj: 4}
alpha_pattern:
  layers.0.self_attn.v_proj: 8.5
system: |
  two
  lines
)");
  EXPECT_EQ(spec.template_, "qwen");
  EXPECT_EQ(spec.learning_rate, 2e-4);
  EXPECT_EQ(spec.lora_rank, 16);
  EXPECT_TRUE(spec.packing);
  EXPECT_EQ(spec.max_length, 512);
  EXPECT_THAT(spec.adapters, ElementsAre("a", "b"));
  EXPECT_THAT(spec.layers_to_transform, ElementsAre(0, 3));
  EXPECT_EQ(spec.rank_pattern.at("q_proj"), 4);
  EXPECT_EQ(spec.alpha_pattern.at("layers.0.self_attn.v_proj"), 8.5);
  EXPECT_EQ(spec.system, "two\nlines\n");
}

TEST(JobSpecParser, TakesOneElementForAListAndTextForANumber) {
  const auto spec =
      valid("target_modules: q_proj\nlearning_rate: \"1e-5\"\nseed: '7'\nmax_steps: 1e3");
  EXPECT_THAT(spec.target_modules, ElementsAre("q_proj"));
  EXPECT_EQ(spec.learning_rate, 1e-5);
  EXPECT_EQ(spec.seed, 7);
  EXPECT_EQ(spec.max_steps, 1000);
}

TEST(JobSpecParser, TakesBooleansForTheWordsThatYamlReadersTurnIntoThem) {
  EXPECT_EQ(valid("init_weights: true").init_weights, "true");
  EXPECT_EQ(valid("init_weights: False").init_weights, "false");
  EXPECT_EQ(valid("init_weights: gaussian").init_weights, "gaussian");
  EXPECT_EQ(valid("save_strategy: no").save_strategy, "no");
  const auto parsed = parse_job_json(
      {{"model", "m"}, {"dataset", "d"}, {"init_weights", false}, {"save_strategy", false}});
  EXPECT_THAT(parsed.problems, SizeIs(0));
  EXPECT_EQ(parsed.spec.init_weights, "false");
  EXPECT_EQ(parsed.spec.save_strategy, "no");
}

TEST(JobSpecParser, KeepsTunersAsTheirJson) {
  const auto yaml = valid(R"(
tuners:
  style: {type: lora, r: 8, lora_alpha: 1e1, use_rslora: True, revision: null}
  notes:
    type: part
    target_modules: [up_proj, "down"]
)");
  const nlohmann::json style{{"type", "lora"},
                             {"r", 8},
                             {"lora_alpha", 10.0},
                             {"use_rslora", true},
                             {"revision", nullptr}};
  const nlohmann::json notes{{"type", "part"}, {"target_modules", {"up_proj", "down"}}};
  EXPECT_EQ(to_json(yaml)["tuners"], (nlohmann::json{{"style", style}, {"notes", notes}}));
  const auto again = parse_job_json(to_json(yaml));
  EXPECT_THAT(again.problems, SizeIs(0));
  EXPECT_EQ(again.spec.tuners, yaml.tuners);
}

TEST(JobSpecParser, TellsWhatACheckFindsAtItsLine) {
  std::set<std::string> seen;
  const JobCheck check = [&](JobSpec& spec, const std::set<std::string>& given) {
    seen = given;
    spec.lora_rank = 5;
    return std::vector<BrokenRule>{{"tuners.style.rr", "what is rr?"}, {"tuners.style.r", "no"}};
  };
  const std::string yaml = "model: m\ndataset: d\ntuners:\n  style:\n    type: lora\n    rr: 1\n";
  const auto parsed = parse_job_yaml(yaml, "job.yaml", check);
  ASSERT_THAT(parsed.problems, SizeIs(2));
  EXPECT_EQ(to_string(parsed.problems[0]), "job.yaml:6: tuners.style.rr: what is rr?");
  EXPECT_EQ(to_string(parsed.problems[1]), "job.yaml:4: tuners.style.r: no");
  EXPECT_THAT(seen, ElementsAre("dataset", "model", "tuners"));
  EXPECT_EQ(parsed.spec.lora_rank, 5);
  seen.clear();
  EXPECT_THAT(parse_job_yaml("model: m\ndataset: d\nlora_rank: 0\n", "j", check).problems,
              SizeIs(1));
  EXPECT_TRUE(seen.empty());
}

TEST(JobSpecParser, NamesTheNearestKeyAndTheLine) {
  EXPECT_THAT(problems_with("\nlora_rnak: 8"),
              ElementsAre("job.yaml:4: lora_rnak: unknown key, did you mean lora_rank?"));
  EXPECT_THAT(problems_with("Learning-Rate: 1"),
              ElementsAre("job.yaml:3: Learning-Rate: unknown key, did you mean learning_rate?"));
  EXPECT_THAT(problems_with("colour: blue"), ElementsAre(HasSubstr("lists all")));
}

TEST(JobSpecParser, ReportsEverythingAtOnceInTheOrderOfTheText) {
  EXPECT_THAT(
      problems_with(
          "lora_rank: 0\nlr_scheduler_type: cosin\nworkers: two\ndeepspeed: zero3\nworkers: 1"),
      ElementsAre(
          "job.yaml:3: lora_rank: must be at least 1, got 0",
          "job.yaml:4: lr_scheduler_type: must be one of linear, cosine, constant, got `cosin`, "
          "did you mean cosine?",
          "job.yaml:5: workers: wants a whole number or a range, 2..8: got `two`",
          AllOf(HasSubstr("job.yaml:6: deepspeed"), HasSubstr("not supported")),
          "job.yaml:7: workers: given twice, first on line 5: remove one"));
}

TEST(JobSpecParser, SeedsMayBeAsLargeAsTheyLike) {
  EXPECT_THAT(problems_with("seed: 9223372036854775807\ndata_seed: 9007199254740993"),
              testing::IsEmpty());
  EXPECT_THAT(problems_with("tuners: {a: {type: vera, projection_prng_key: 9007199254740993}}"),
              testing::IsEmpty());
}

/// Each name is compared with every key: a file of nothing else would cost minutes.
TEST(JobSpecParser, GivesAdviceOnSoManyUnknownKeysOnly) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "lora_rnak" + std::to_string(i) + ": 8\n";
  const auto problems = problems_with(text);
  ASSERT_EQ(problems.size(), 300);
  EXPECT_THAT(problems[0], HasSubstr("did you mean lora_rank?"));
  EXPECT_THAT(problems[299], testing::EndsWith("lora_rnak299: unknown key"));
}

struct Refused {
  const char* yaml;
  const char* message;
};

class RefusedValue : public testing::TestWithParam<Refused> {};

TEST_P(RefusedValue, IsOneProblemThatSaysWhatWasGot) {
  EXPECT_THAT(problems_with(GetParam().yaml), ElementsAre(HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, RefusedValue,
    testing::Values(
        Refused{"lora_rank: 1.5", "lora_rank: wants a whole number, got `1.5`"},
        Refused{"lora_rank: 99999999999999999999", "wants a whole number"},
        Refused{"lora_rank:", "lora_rank: has no value"},
        Refused{"lora_rank: [8]", "got a list of 1 values"},
        Refused{"workers: 4..1", "the range ends below its start"},
        Refused{"workers: 0", "must be from 1 to 4096, got 0"},
        Refused{"learning_rate: .nan", "wants a number"},
        Refused{"learning_rate: inf", "wants a number"},
        Refused{"learning_rate: 0", "must be above 0, got 0"},
        Refused{"lora_dropout: 1", "must be from 0 to below 1"},
        Refused{"packing: maybe", "wants true or false, got `maybe`"},
        Refused{"system: [a]", "wants text, got a list of 1 values"},
        Refused{"torch_dtype: float16", "must be one of float32, bfloat16"},
        Refused{"adapters: [a, '']", "adapters[1]: is empty text"},
        Refused{"layers_to_transform: [0, x]",
                "layers_to_transform[1]: wants a whole number, got `x`"},
        Refused{"rank_pattern: {q_proj: 0}", "rank_pattern.q_proj: must be at least 1"},
        Refused{"per_device_train_batch_size: 4611686018427387904", "must be from 1 to 1000000"},
        Refused{"gradient_accumulation_steps: 1000001", "must be from 1 to 1000000"},
        Refused{"num_train_epochs: 1e300", "must be from 0 to 1000000"},
        Refused{"save_steps: 4294967296", "save_steps: must be at most 4294967295"},
        Refused{"rank_pattern: {q: 4294967296}", "must be at most 4294967295"},
        Refused{"tuners: {a: {x: [1, 1e300]}}", "tuners.a.x[1]: must be at most"},
        Refused{"tuners: {a: {r: 4611686018427387904}}", "tuners.a.r: must be at most 4294967295"},
        Refused{"rank_pattern: {q: 1, q: 2}", "rank_pattern.q: given twice"},
        Refused{"alpha_pattern: 3", "wants a map of names to numbers"},
        Refused{"tuners: [a]", "tuners: wants a map of names to maps"},
        Refused{"tuners: {a: lora}", "tuners.a: wants a map, {type: …, options}"},
        Refused{"tuners: {a: {r: 1, r: 2}}", "tuners.a.r: given twice in this map"},
        Refused{"tuners: {a: {x: [{k: 1, k: 2}]}}", "tuners.a.x[0].k: given twice"},
        Refused{"train_type: lora", "train_type: is called tuner_type here"},
        Refused{"quant_bits: 4", "quantised base models are not supported"},
        Refused{"galore_proj_type: middle", "must be one of std, reverse_std"}));

INSTANTIATE_TEST_SUITE_P(
    Rules, RefusedValue,
    testing::Values(
        Refused{"max_steps: 0", "job.yaml:3: max_steps: must be above 0, or -1"},
        Refused{"num_train_epochs: 0", "num_train_epochs: must be above 0"},
        Refused{"max_steps: 5\nwarmup_steps: 6",
                "job.yaml:4: warmup_steps: the warm-up is longer than the run"},
        Refused{"galore_rank: 4", "galore_rank: has no use without use_galore: true"},
        Refused{"use_galore: true", "use_galore: trains whole matrices: set tuner_type: full"},
        Refused{"lisa_activated_layers: 2",
                "lisa_activated_layers: has no use without tuner_type: full"},
        Refused{"freeze_parameters: [model]",
                "freeze_parameters: has no use without tuner_type: full"},
        Refused{"tuner_type: full\nadapters: a", "adapters: conflicts with tuner_type full"},
        Refused{"tuner_type: full\nuse_galore: true\ngalore_optim_per_parameter: true\n"
                "gradient_accumulation_steps: 2",
                "galore_optim_per_parameter: frees each gradient at once"},
        Refused{"tuner_type: full\nuse_galore: true\ngalore_quantization: true\noptim: adafactor",
                "optim: must be an AdamW with galore_quantization"},
        Refused{"tuner_type: full\nuse_galore: true\ngalore_quantization: true\n"
                "galore_proj_type: left",
                "galore_proj_type: must be std with galore_quantization, got left"},
        Refused{"tuner_type: full\nuse_galore: true\ngalore_proj_quant: true",
                "galore_proj_quant: has no use without galore_quantization: true"},
        Refused{"tuner_type: full\nuse_galore: true\ngalore_cos_threshold: 0.1",
                "galore_cos_threshold: has no use without galore_quantization: true"},
        Refused{"tuner_type: full\nuse_galore: true\ngalore_quantization: true\n"
                "galore_proj_bits: 8",
                "galore_proj_bits: has no use without galore_proj_quant: true"},
        Refused{"tuner_type: full\nlisa_step_interval: 5",
                "lisa_step_interval: has no use without lisa_activated_layers"},
        Refused{"tuner_type: ia3\ntuner_backend: unsloth",
                "tuner_backend: unsloth is a way to compute LoRA"},
        Refused{"eval_strategy: steps", "eval_strategy: needs data to evaluate on"},
        Refused{"eval_steps: 5", "eval_steps: needs data to evaluate on"},
        Refused{"val_dataset: v\nsplit_dataset_ratio: 0.1",
                "job.yaml:4: split_dataset_ratio: conflicts with val_dataset"},
        Refused{"packing_length: 5", "has no use without packing"},
        Refused{"packing: true\npacking_length: 5\nmax_length: 6",
                "does not hold a row of max_length: 5 < 6"},
        Refused{"target_modules: q_proj,v_proj", "several names are a list"},
        Refused{"target_modules: []", "is empty: name modules, or all-linear"},
        Refused{"target_modules: q\ntarget_regex: .*q", "conflicts with target_modules"},
        Refused{"layers_to_transform: 1\ntarget_regex: .*q", "conflicts with target_regex"},
        Refused{"beta: 0.2", "beta: has no use without rlhf_type: dpo"},
        Refused{"loss_type: ipo", "loss_type: has no use without rlhf_type: dpo"},
        Refused{"rpo_alpha: 1", "rpo_alpha: has no use without rlhf_type: dpo"},
        Refused{"rlhf_type: ppo", "rlhf_type: must be dpo, got `ppo`"},
        Refused{"rlhf_type: dpo\npacking: true", "packing: has no use with rlhf_type"},
        Refused{"rlhf_type: dpo\ntruncation_strategy: split",
                "truncation_strategy: must be delete, left or right with rlhf_type"},
        Refused{"rlhf_type: dpo\nlabel_smoothing: 0.5",
                "label_smoothing: must be from 0 to below 0.5"},
        Refused{"rlhf_type: dpo\nloss_type: hinge\nlabel_smoothing: 0.1",
                "label_smoothing: is for loss_type sigmoid and robust, got hinge"},
        Refused{"rlhf_type: dpo\nref_adapters: a", "ref_adapters: is not supported: merge"},
        Refused{"resume_from_checkpoint: latest\nadapters: a",
                "conflicts with resume_from_checkpoint"},
        Refused{"name: a/b", "name: holds a character"}));

TEST(JobSpecParser, NamesTheFileForWhatIsMissing) {
  EXPECT_THAT(problems_of("seed: 1"), ElementsAre(HasSubstr("job.yaml: model: is required"),
                                                  HasSubstr("job.yaml: dataset: is required")));
}

TEST(JobSpecParser, RefusesATextThatIsNoMap) {
  EXPECT_THAT(problems_of(""), ElementsAre(HasSubstr("job.yaml: is empty")));
  EXPECT_THAT(problems_of("- model"), ElementsAre(HasSubstr("got a list of 1 values")));
  EXPECT_THAT(problems_of("a: 1\nb: [1, 2\nc: 3"), ElementsAre(HasSubstr("is not valid YAML")));
  EXPECT_THAT(problems_of("model: \"m\ndataset"),
              ElementsAre(AllOf(HasSubstr("job.yaml:"), HasSubstr("not valid YAML"))));
  EXPECT_THAT(problems_of("model: m\n---\nmodel: n"),
              ElementsAre(HasSubstr("job.yaml:2: a second document")));
}

TEST(JobSpecParser, RefusesWhatCouldBeUsedToExhaustMemory) {
  EXPECT_THAT(problems_of("a: &x [1]\nb: [*x, *x]"), ElementsAre(HasSubstr("job.yaml:1: anchors")));
  const std::string brackets(1'000'000, '[');
  EXPECT_THAT(problems_of(brackets), SizeIs(1));
  EXPECT_THAT(problems_of(std::string(2 << 20, ' ')),
              ElementsAre(HasSubstr("longer than a job may be")));
  const auto parsed = parse_job_json_text(brackets, "job.json");
  ASSERT_THAT(parsed.problems, SizeIs(1));
  EXPECT_EQ(to_string(parsed.problems[0]), "job.json:1: is nested deeper than 16 levels");
}

TEST(JobSpecParser, RefusesBrokenTextEncoding) {
  EXPECT_THAT(problems_of("model: m\nsystem: \"\xff\xfe\""),
              ElementsAre(HasSubstr("job.yaml:2: text is not valid UTF-8")));
  EXPECT_THAT(problems_of("model: \"a\\0b\""), ElementsAre(HasSubstr("NUL")));
  EXPECT_THAT(parse_job_json({{"model", "\xc0\xaf"}}).problems, SizeIs(1));
}

TEST(JobSpecParser, ReadsJsonTextWithLines) {
  const auto parsed = parse_job_json_text(
      "{\n \"model\": \"m\",\n \"lora_rnak\": 8,\n \"dataset\": [\"d\"],\n"
      " \"seed\": 1,\n \"seed\": 2\n}",
      "job.json");
  ASSERT_THAT(parsed.problems, SizeIs(2));
  EXPECT_EQ(to_string(parsed.problems[0]),
            "job.json:3: lora_rnak: unknown key, did you mean lora_rank?");
  EXPECT_EQ(to_string(parsed.problems[1]),
            "job.json:6: seed: given twice, first on line 5: remove one");
  const auto broken = parse_job_json_text("{\n \"model\": }", "job.json");
  ASSERT_THAT(broken.problems, SizeIs(1));
  EXPECT_THAT(to_string(broken.problems[0]), HasSubstr("job.json:2: is not valid JSON"));
}

TEST(JobSpecParser, TellsJsonKindsApart) {
  const auto parsed =
      parse_job_json({{"model", 5}, {"dataset", {{"path", "d"}}}, {"seed", true}, {"packing", 1}});
  std::vector<std::string> texts;
  for (const auto& problem : parsed.problems) texts.push_back(to_string(problem));
  EXPECT_THAT(texts, ElementsAre("dataset: wants a list, got a map of 1 keys",
                                 "model: wants text, got the number 5",
                                 "packing: wants true or false, got the number 1",
                                 "seed: wants a whole number, got true"));
}

class JobFile : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name) << text;
    return directory_ / name;
  }
  void SetUp() override { std::filesystem::create_directories(directory_); }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::filesystem::path directory_ =
      std::filesystem::temp_directory_path() / ("job_file_test." + std::to_string(getpid()));
};

TEST_F(JobFile, IsReadByTheEndOfItsName) {
  EXPECT_TRUE(load_job_file(write("a.yaml", "model: m\ndataset: d\n")));
  EXPECT_TRUE(load_job_file(write("a.json", R"({"model": "m😀", "dataset": "d"})")));
  EXPECT_THAT(load_job_file(write("b.json", "model: m\n")).error().message,
              HasSubstr("not valid JSON"));
}

TEST_F(JobFile, IsReplacedKeyByKeyBySettings) {
  const auto path = write("a.yaml", "model: m\ndataset: d\nlora_rank: 8\n");
  const auto spec = load_job_file(path, {"lora_rank=4", "adapters=[a, b]", "system=be brief"});
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->lora_rank, 4);
  EXPECT_THAT(spec->adapters, ElementsAre("a", "b"));
  EXPECT_EQ(spec->system, "be brief");
  EXPECT_EQ(load_job_file(path, {"rank=4", "workers"}).error().message,
            "--set: rank: is called lora_rank here\n--set: wants key=value, got `workers`");
}

TEST_F(JobFile, SaysWhyItCannotBeRead) {
  EXPECT_THAT(load_job_file(directory_ / "none.yaml").error().message,
              HasSubstr("none.yaml: cannot be read: No such file"));
  EXPECT_THAT(load_job_file(directory_).error().message, HasSubstr("is a directory"));
}

}  // namespace
}  // namespace tunefleet
