#include "tuners/pass_adapter.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <map>
#include <optional>

#include "tuners/config/python_regex.h"
#include "tuners/config/target_match.h"
#include "tuners/saved_modules.h"

namespace tunefleet::tuners {
namespace {

std::string escaped(const std::string& path) {
  std::string text;
  for (const char c : path) {
    if (c == '.' || c == '-') text += '\\';
    text += c;
  }
  return text;
}

bool ends_with_name(const std::string& path, const std::string& name) {
  return path == name || path.ends_with("." + name);
}

/// "3" of "down.3" when `path` is "down"; -1 for what is no numbered child.
int64_t child_number(const std::string& site, const std::string& path) {
  if (!site.starts_with(path + ".")) return -1;
  const std::string rest = site.substr(path.size() + 1);
  const std::string first = rest.substr(0, rest.find('.'));
  const bool number =
      !first.empty() && first.size() < 10 &&
      std::all_of(first.begin(), first.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  return number ? std::stoll(first) : -1;
}

/// The paths, and before them the names at their ends: what lists of targets are made of.
std::vector<std::string> names_of(const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const auto& path : paths) names.push_back(path.substr(path.rfind('.') + 1));
  names.insert(names.end(), paths.begin(), paths.end());
  return names;
}

}  // namespace

PassSites::PassSites(BaseModel& base) {
  std::map<std::string, PassSite> by_path;
  std::vector<std::string> order = model_modules(base).modules;
  const auto site_at = [&](const std::string& path) -> PassSite& {
    order.push_back(path);
    PassSite& site = by_path[path];
    site.path = path;
    return site;
  };
  for (LinearSite* site : base.linear_sites()) site_at(site->path).linear = site;
  for (ConvSite* site : base.conv_sites()) site_at(site->path).conv = site;
  for (ModuleSite* site : base.module_sites()) {
    PassSite& place = site_at(site->path);
    if (place.linear == nullptr && place.conv == nullptr) place.module = site;
  }
  for (const auto& path : order) {
    if (auto place = by_path.extract(path)) sites_.push_back(std::move(place.mapped()));
  }
  for (const ParameterSlot* slot : base.parameters()) {
    if (slot->base.defined()) device_ = slot->base.device();
  }
}

std::vector<std::string> PassSites::paths() const {
  std::vector<std::string> paths;
  for (const auto& site : sites_) paths.push_back(site.path);
  return paths;
}

const PassSite* PassSites::find(const std::string& path) const {
  for (const auto& site : sites_) {
    if (site.path == path) return &site;
  }
  return nullptr;
}

Result<std::vector<PassSite>> PassSites::matching(const ModuleNames& names,
                                                  const std::string& tuner) const {
  std::vector<PassSite> found;
  std::optional<PythonRegex> regex;
  if (names.regex) {
    auto compiled = PythonRegex::compile(*names.regex);
    if (!compiled) return fail(compiled.error());
    regex = *std::move(compiled);
  }
  for (const auto& site : sites_) {
    bool wanted = std::any_of(names.names.begin(), names.names.end(),
                              [&](const auto& name) { return ends_with_name(site.path, name); });
    if (regex) {
      const auto matched = regex->fullmatch(site.path);
      if (!matched) return fail(matched.error());
      wanted = *matched;
    }
    if (wanted) found.push_back(site);
  }
  if (!found.empty()) return found;
  const std::string asked = names.regex ? *names.regex : c10::Join(", ", names.names);
  return fail(
      ErrorCode::kInvalidArgument,
      c10::str(tuner, " matches no place of the model where it can act; nearest are ",
               c10::Join(", ", nearest_names(asked, names_of(paths()), 3)), ": \"", asked, "\""));
}

/// The path of the last module of a list; "" when `path` is not one.
std::string PassSites::last_of_list(const std::string& path) const {
  int64_t last = -1;
  for (const auto& site : sites_) last = std::max(last, child_number(site.path, path));
  return last < 0 ? "" : c10::str(path, ".", last);
}

Result<std::vector<PassSite>> PassSites::at_paths(const std::vector<std::string>& paths,
                                                  const std::string& tuner) const {
  std::vector<PassSite> found;
  for (const auto& asked : paths) {
    std::string path = asked;
    while (!path.empty() && find(path) == nullptr) path = last_of_list(path);
    if (path.empty()) {
      return fail(
          ErrorCode::kInvalidArgument,
          c10::str(tuner, " names a module that the model has not; nearest are ",
                   c10::Join(", ", nearest_names(asked, this->paths(), 3)), ": \"", asked, "\""));
    }
    found.push_back(*find(path));
  }
  return found;
}

std::string expression_for(const std::vector<std::string>& paths) {
  std::vector<std::string> escaped_paths;
  for (const auto& path : paths) escaped_paths.push_back(escaped(path));
  return c10::Join("|", escaped_paths);
}

std::string expression_for(const std::vector<PassSite>& sites) {
  std::vector<std::string> paths;
  for (const auto& site : sites) paths.push_back(site.path);
  return expression_for(paths);
}

void PassAdapter::attach(const PassSite& site, std::unique_ptr<PassTuner> tuner,
                         const std::string& stem) {
  parts_.push_back({.site = site, .tuner = std::move(tuner), .stem = site.path + "." + stem});
}

std::string PassAdapter::with_name(std::string stem) const {
  if (const size_t place = stem.find("{}"); place != std::string::npos)
    stem.replace(place, 2, name_);
  return stem;
}

AdapterTensor PassAdapter::named(const LayerTensor& tensor, const std::string& stem) const {
  const std::string file_key = stem + "." + tensor.name;
  const std::string path = with_name(file_key);
  return {.key = path,
          .path = path,
          .tensor = tensor.tensor,
          .decay = tensor.decay,
          .swift_key = file_key};
}

std::vector<AdapterTensor> PassAdapter::tensors() const {
  std::vector<AdapterTensor> tensors;
  for (const auto& part : parts_) {
    for (const auto& tensor : part.tuner->tensors()) tensors.push_back(named(tensor, part.stem));
  }
  return tensors;
}

std::vector<SiteTuner> PassAdapter::linear_tuners() const {
  std::vector<SiteTuner> tuners;
  for (const auto& part : parts_) {
    if (part.site.linear != nullptr) tuners.push_back({part.site.linear, part.tuner.get()});
  }
  return tuners;
}

std::vector<ConvPart> PassAdapter::conv_tuners() const {
  std::vector<ConvPart> tuners;
  for (const auto& part : parts_) {
    if (part.site.conv != nullptr) tuners.push_back({part.site.conv, part.tuner.get()});
  }
  return tuners;
}

std::vector<ModulePart> PassAdapter::module_tuners() const {
  std::vector<ModulePart> tuners;
  for (const auto& part : parts_) {
    if (part.site.module != nullptr) tuners.push_back({part.site.module, part.tuner.get()});
  }
  return tuners;
}

}  // namespace tunefleet::tuners
