#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/tuners/small_networks.h"
#include "tests/worker/models/tiny_model.h"
#include "tuners/registry.h"
#include "tuners/swift_model.h"

/// The laws that hold for every tuner of the registry and for full tuning, on small decoders and
/// networks. A new tuner adds one line to tuner_laws_cases.cpp.
namespace tunefleet::models {

/// One tuner with options, and which laws do not hold by design. Most act on the small decoder
/// (tiny_model.h: hidden 24, q and o 24, k and v 12, feed-forward 40, vocabulary 61, two layers).
struct LawCase {
  std::string tuner;               ///< TunerSchema::name.
  std::string options;             ///< JSON, as in a job's `tuners:` map.
  std::string label = {};          ///< Tells several cases of one tuner apart.
  std::string network = {};        ///< The LawModel it acts on; empty: every llama.
  bool families = false;           ///< Also on the decoders of the other families.
  bool starts_as_identity = true;  ///< Fresh, it changes nothing.
  bool acts_in_evaluation = true;  ///< False: noise in training only.
  double deviation = 0.1;          ///< Of the noise that makes it no longer fresh.
  bool reads_base = false;         ///< What it does follows from the base's weights (PiSSA, HiRA).
  bool caches = true;              ///< Generation with a cache is that of the whole text.
  bool whole_gradient = true;      ///< False: a part is held constant by design (DoRA's norm).
  double slope_error = 5e-3;       ///< Of difference quotients; more where ReLU has its kinks.
  std::string target =
      {};  ///< A module it can act on; empty: q_proj of a decoder, head of a network.
};
const std::vector<LawCase>& law_cases();
inline void PrintTo(const LawCase& law, std::ostream* out) { *out << law.tuner << law.options; }

/// A tuner with options, as JSON: one that goes beside a case's.
using OtherTuner = std::pair<std::string, std::string>;

/// A decoder or a network (tests/tuners/small_networks.h) that the laws are tested on.
struct LawModel {
  std::string name;
  std::string config = {};           ///< Of a decoder: members of config.json over TinyModel's.
  std::string model_type = "llama";  ///< Likewise.
  at::ScalarType dtype = at::kFloat;
  std::unique_ptr<tuners::SmallNetwork> (*network)() = nullptr;  ///< Null: a decoder.
  std::vector<int64_t> input = {};                               ///< Of a network: its shape.
  /// One that adds to outputs and, where there are linear layers, one that scales them. What they
  /// target overlaps with what the cases do.
  std::vector<OtherTuner> others = {
      {"lora", R"({"r": 2, "target_modules": ["v_proj", "o_proj", "up_proj", "down_proj"]})"},
      {"ia3", R"({"target_modules": ["v_proj", "o_proj", "up_proj", "down_proj"],)"
              R"( "feedforward_modules": ["down_proj"]})"}};

  bool is_decoder() const { return network == nullptr; }
  /// Largest difference of results that are equal but for rounding, relative to the largest value.
  double tolerance() const { return dtype == at::kFloat ? 2e-5 : 5e-2; }
};
const std::vector<LawModel>& law_models();
/// Null when there is no such tuner.
const tuners::TunerSchema* schema_of(const std::string& tuner);
inline void PrintTo(const LawModel& model, std::ostream* out) { *out << model.name; }

/// A model with adapters on it.
struct Tuned {
  std::unique_ptr<tuners::BaseModel> base;
  std::unique_ptr<tuners::SwiftModel> swift;

  const tuners::Adapter& adapter(const std::string& name = "default") const {
    return *swift->find_adapter(name);
  }
  Decoder& decoder() const { return dynamic_cast<Decoder&>(*base); }
};

/// Sequences of several lengths, flat, every token a label.
TokenBatch law_batch();

/// A directory that is removed with this object.
class LawDirectory {
 public:
  LawDirectory();
  ~LawDirectory();
  LawDirectory(const LawDirectory&) = delete;
  LawDirectory& operator=(const LawDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

using LawParam = std::tuple<LawCase, LawModel>;

class TunerLaws : public testing::TestWithParam<LawParam> {
 protected:
  const LawCase& law() const { return std::get<0>(GetParam()); }
  const LawModel& on() const { return std::get<1>(GetParam()); }
  const tuners::TunerSchema& schema() const;
  tuners::TunerOptions options() const;
  /// Of the tuners that go beside it.
  std::vector<tuners::TunerOptions> others() const;

  std::unique_ptr<tuners::BaseModel> load() const;
  /// A model without adapters.
  Tuned plain() const;
  /// With the case's tuner as "default", fresh or with noise on every trained tensor.
  Tuned fresh() const;
  Tuned drawn() const;
  /// Puts a tuner on the model as a job does; with LISA, the layers of step 0 train.
  static Status attach(const Tuned& tuned, const std::string& name,
                       const tuners::TunerOptions& options);
  void add(const Tuned& tuned, const std::string& name, const tuners::TunerOptions& options,
           double deviation) const;

  /// What the model gives for the laws' input, in evaluation.
  at::Tensor output(tuners::BaseModel& base) const;
  at::Tensor output(const Tuned& tuned) const { return output(*tuned.base); }
  /// A training step's loss, regularization included; step 0 of seed 42. An anchor turns a
  /// decoder's gradient checkpointing on.
  at::Tensor loss(const Tuned& tuned, const at::Tensor& checkpoint_anchor = {}) const;

  /// The layouts in which the tuner has files.
  std::vector<tuners::FileLayout> layouts() const;
  static void save(const Tuned& tuned, tuners::FileLayout layout,
                   const std::filesystem::path& directory);
  static void load_adapter(const Tuned& tuned, const std::filesystem::path& directory,
                           const std::string& name = "default");

  void expect_near(const at::Tensor& seen, const at::Tensor& wanted, const char* what) const {
    kernels::expect_close(seen, wanted, on().tolerance(), what);
  }
};

/// The cases of tuners that there are, each on its models.
std::vector<LawParam> law_params();
std::vector<LawParam> exact_law_params();    ///< float32 models only.
std::vector<LawParam> decoder_law_params();  ///< Decoders only.
std::string law_name(const testing::TestParamInfo<LawParam>& info);

}  // namespace tunefleet::models
