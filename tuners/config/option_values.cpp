#include "tuners/config/option_values.h"

#include <algorithm>
#include <cmath>

#include "tuners/config/target_match.h"

namespace tunefleet::tuners {
namespace {

using Json = nlohmann::ordered_json;

bool is_digits(const std::string& text) {
  return !text.empty() && text.size() < 10 &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isdigit(c) != 0; });
}

struct ToJson {
  const TunerOption& option;

  nlohmann::json operator()(const int64_t* v) const { return *v; }
  nlohmann::json operator()(const bool* v) const { return *v; }
  nlohmann::json operator()(const double* v) const {
    const bool whole = std::floor(*v) == *v && std::abs(*v) < 1e15;
    if (option.whole_as_integer && whole) return static_cast<int64_t>(*v);
    return *v;
  }
  nlohmann::json operator()(const std::string* v) const {
    const auto& words = option.allowed;
    if ((*v == "true" || *v == "false") &&
        std::find(words.begin(), words.end(), std::string_view(*v)) != words.end()) {
      return *v == "true";
    }
    return *v;
  }
  template <typename T>
  nlohmann::json operator()(const std::optional<T>* v) const {
    return *v ? (*this)(&**v) : nlohmann::json();
  }
  template <typename T>
  nlohmann::json operator()(const std::vector<T>* v) const {
    if (v->size() == 1 && option.one_as_scalar) return (*this)(v->data());
    return v->empty() ? nlohmann::json() : nlohmann::json(*v);
  }
  template <typename T>
  nlohmann::json operator()(const Pattern<T>* v) const {
    nlohmann::json object = nlohmann::json::object();
    for (const auto& [key, value] : *v) object[key] = (*this)(&value);
    return object;
  }
  nlohmann::json operator()(const ModuleNames* v) const {
    return v->regex ? nlohmann::json(*v->regex) : (*this)(&v->names);
  }
  /// None at all is null, none of the modules is [].
  nlohmann::json operator()(const std::optional<ModuleNames>* v) const {
    return *v && (*v)->empty() ? nlohmann::json::array() : *v ? (*this)(&**v) : nlohmann::json();
  }
  nlohmann::json operator()(const TargetModules* v) const {
    if (v->regex) return *v->regex;
    if (v->all_linear && v->names.empty()) return "all-linear";
    if (!v->all_linear) return (*this)(&v->names);
    auto names = v->names;
    names.insert(names.begin(), "all-linear");
    return names;
  }
  nlohmann::json operator()(const NumberOrText* v) const {
    if (is_digits(v->text)) return std::stoll(v->text);
    return v->text;
  }
  nlohmann::json operator()(const JsonText* v) const { return nlohmann::json::parse(v->text); }
};

/// Each returns what is wrong, "" when nothing is. `json` is not null.
struct FromJson {
  const Json& json;

  std::string operator()(int64_t* to) const {
    if (!json.is_number_integer()) return "not a whole number";
    *to = json.get<int64_t>();
    return {};
  }
  std::string operator()(double* to) const {
    if (!json.is_number()) return "not a number";
    *to = json.get<double>();
    return {};
  }
  std::string operator()(bool* to) const {
    if (!json.is_boolean()) return "not true or false";
    *to = json.get<bool>();
    return {};
  }
  std::string operator()(std::string* to) const {
    if (json.is_boolean()) {
      *to = json.get<bool>() ? "true" : "false";
      return {};
    }
    if (!json.is_string()) return "not a text";
    *to = json.get<std::string>();
    return {};
  }
  template <typename T>
  std::string operator()(std::optional<T>* to) const {
    T value{};
    auto wrong = (*this)(&value);
    if (wrong.empty()) *to = std::move(value);
    return wrong;
  }
  template <typename T>
  std::string operator()(std::vector<T>* to) const {
    std::vector<T> values;
    for (const auto& each : json.is_array() ? json : Json::array({json})) {
      T value{};
      if (auto wrong = FromJson{each}(&value); !wrong.empty()) {
        return "not a list of the right kind";
      }
      values.push_back(std::move(value));
    }
    *to = std::move(values);
    return {};
  }
  template <typename T>
  std::string operator()(Pattern<T>* to) const {
    if (!json.is_object()) return "not an object of numbers";
    Pattern<T> values;
    for (const auto& [key, each] : json.items()) {
      T value{};
      if (auto wrong = FromJson{each}(&value); !wrong.empty()) return "not an object of numbers";
      values.emplace_back(key, value);
    }
    *to = std::move(values);
    return {};
  }
  std::string operator()(ModuleNames* to) const {
    *to = {};
    if (!json.is_string()) return (*this)(&to->names);
    to->regex = json.get<std::string>();
    return {};
  }
  std::string operator()(TargetModules* to) const {
    *to = {};
    if (json.is_string()) {
      to->all_linear = is_all_linear(json.get<std::string>());
      if (!to->all_linear) to->regex = json.get<std::string>();
      return {};
    }
    if (auto wrong = (*this)(&to->names); !wrong.empty()) return wrong;
    to->all_linear =
        std::erase_if(to->names, [](const auto& name) { return is_all_linear(name); }) > 0;
    return {};
  }
  std::string operator()(NumberOrText* to) const {
    if (json.is_number_integer()) {
      to->text = std::to_string(json.get<int64_t>());
      return {};
    }
    return (*this)(&to->text);
  }
  std::string operator()(JsonText* to) const {
    to->text = json.dump();
    return {};
  }
};

/// What null does: nothing to a plain value, it empties the others.
struct Unset {
  void operator()(int64_t*) const {}
  void operator()(double*) const {}
  void operator()(bool*) const {}
  void operator()(std::string*) const {}
  void operator()(NumberOrText*) const {}
  void operator()(JsonText* v) const { *v = {}; }
  template <typename T>
  void operator()(T* v) const {
    *v = T{};
  }
};

}  // namespace

nlohmann::json value_to_json(const TunerOption& option, const OptionRef& ref) {
  return std::visit(ToJson{option}, ref);
}

std::string value_from_json(const Json& json, const OptionRef& ref) {
  if (json.is_null()) {
    std::visit(Unset{}, ref);
    return {};
  }
  return std::visit(FromJson{json}, ref);
}

}  // namespace tunefleet::tuners
