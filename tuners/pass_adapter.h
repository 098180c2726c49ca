#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/result.h"
#include "tuners/adapter.h"
#include "tuners/config/module_selection.h"
#include "tuners/linear_adapter.h"
#include "tuners/trained_layers.h"

/// Tuners around a place where one tensor goes in and one comes out, whatever kind of site that is.
namespace tunefleet::tuners {

/// A tuner at a linear layer, a convolution or a whole module: (x, next, context) -> y.
class PassTuner : public LinearTuner, public ConvTuner, public ModuleTuner {
 public:
  at::Tensor forward(const at::Tensor& x, const TensorNext& next,
                     const ForwardContext& context) const override = 0;
  /// Names as files have them after the place's path and the tuner's own name.
  virtual std::vector<LayerTensor> tensors() const { return {}; }
};

/// Such a place; one of the pointers is set.
struct PassSite {
  std::string path;
  LinearSite* linear = nullptr;
  ConvSite* conv = nullptr;
  ModuleSite* module = nullptr;
};

/// Every such place of a model, in module order; modules without parameters come last.
class PassSites {
 public:
  explicit PassSites(BaseModel& base);

  /// Those that `names` select: an expression for the whole path, or names at the end of a path
  /// (PEFT's rule). kInvalidArgument, opening with `tuner`, when there is none.
  Result<std::vector<PassSite>> matching(const ModuleNames& names, const std::string& tuner) const;
  /// Those with exactly these paths, in their order; the path of a list of modules stands for its
  /// last one. kInvalidArgument when there is no such place, listing the nearest.
  Result<std::vector<PassSite>> at_paths(const std::vector<std::string>& paths,
                                         const std::string& tuner) const;
  at::Device device() const { return device_; }  ///< Of the model's parameters.

 private:
  const PassSite* find(const std::string& path) const;
  std::string last_of_list(const std::string& path) const;
  std::vector<std::string> paths() const;

  std::vector<PassSite> sites_;
  at::Device device_ = at::kCPU;
};

/// An expression that matches exactly these paths, for files of tuners that know no lists.
std::string expression_for(const std::vector<std::string>& paths);
std::string expression_for(const std::vector<PassSite>& sites);

/// An adapter of PassTuners. Derived classes make them and call `attach`.
class PassAdapter : public Adapter {
 public:
  const std::string& name() const override { return name_; }
  const TunerOptions& options() const override { return options_; }
  std::vector<AdapterTensor> tensors() const override;
  std::vector<SiteTuner> linear_tuners() const override;
  std::vector<ConvPart> conv_tuners() const override;
  std::vector<ModulePart> module_tuners() const override;

 protected:
  PassAdapter(const TunerOptions& options, std::string name)
      : name_(std::move(name)), options_(options) {}

  /// Puts a tuner on a site. `stem`: what stands between the site's path and the tensor's name, {}
  /// for the adapter's name: "scetuner_{}.tuner_op".
  void attach(const PassSite& site, std::unique_ptr<PassTuner> tuner, const std::string& stem = {});
  /// A tensor under its names; `stem` with {} for the adapter's name.
  AdapterTensor named(const LayerTensor& tensor, const std::string& stem) const;
  /// `stem` with the adapter's name in it.
  std::string with_name(std::string stem) const;
  void set_options(const TunerOptions& options) { options_ = options; }

 private:
  struct Part {
    PassSite site;
    std::unique_ptr<PassTuner> tuner;
    std::string stem;
  };

  std::string name_;
  TunerOptions options_;
  std::vector<Part> parts_;  ///< In the order of attaching: outermost first at one site.
};

}  // namespace tunefleet::tuners
