#include "worker/data/bpe.h"

#include <fmt/format.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "worker/data/bpe_merge.h"
#include "worker/data/byte_alphabet.h"
#include "worker/data/word_cache.h"

namespace tunefleet::data {
namespace {

/// More than any vocabulary has; bounds what a file can make us allocate.
constexpr int64_t kMaxId = int64_t{1} << 24;

std::atomic<uint64_t> next_instance{1};

tl::unexpected<Error> malformed(std::string reason) {
  return fail(ErrorCode::kInvalidArgument, std::move(reason));
}

/// "a b", or ["a", "b"] as newer files write it.
std::pair<std::string, std::string> merge_parts(const nlohmann::json& merge) {
  if (merge.is_array()) return {merge.at(0).get<std::string>(), merge.at(1).get<std::string>()};
  const auto text = merge.get<std::string>();
  const auto space = text.find(' ');
  if (space == std::string::npos) return {text, ""};
  return {text.substr(0, space), text.substr(space + 1)};
}

}  // namespace

Bpe::Bpe() : instance_(next_instance++) { byte_ids_.fill(-1); }

Result<Bpe> Bpe::from_json(const nlohmann::json& config) {
  const auto type = config.value("type", "BPE");
  if (type != "BPE") return malformed(fmt::format("the tokenizer's model is not BPE: {}", type));
  Bpe bpe;
  if (auto status = bpe.read_vocabulary(config.at("vocab")); !status) return fail(status.error());
  if (auto status = bpe.read_merges(config.at("merges")); !status) return fail(status.error());
  if (auto status = bpe.read_options(config); !status) return fail(status.error());
  return bpe;
}

Status Bpe::read_vocabulary(const nlohmann::json& vocabulary) {
  for (const auto& [spelling, value] : vocabulary.items()) {
    const auto id = value.get<int64_t>();
    if (id < 0 || id >= kMaxId) {
      return malformed(fmt::format("token id out of range: {}, {}", spelling, id));
    }
    const auto index = static_cast<size_t>(id);
    if (index >= tokens_.size()) tokens_.resize(index + 1);
    if (tokens_[index].known) return malformed(fmt::format("two tokens with one id: {}", id));
    const auto bytes = unspell_bytes(spelling);
    if (bytes && bytes->size() == 1) {
      byte_ids_[static_cast<unsigned char>(bytes->front())] = static_cast<int32_t>(id);
    }
    tokens_[index] = {true, bytes.value_or(spelling)};
    ids_.emplace(spelling, static_cast<int32_t>(id));
  }
  return {};
}

Status Bpe::read_merges(const nlohmann::json& merges) {
  merges_ = MergeTable(merges.size());
  int32_t rank = 0;
  for (const auto& merge : merges) {
    const auto [left, right] = merge_parts(merge);
    const auto left_id = token_id(left);
    const auto right_id = token_id(right);
    const auto merged_id = token_id(left + right);
    if (!left_id || !right_id || !merged_id) {
      return malformed(
          fmt::format("merge of tokens that are not in the vocabulary: {} {}", left, right));
    }
    merges_.add(*left_id, *right_id, {rank++, *merged_id});
  }
  return {};
}

Status Bpe::read_options(const nlohmann::json& config) {
  const auto text = [&](const char* key) {
    return config.contains(key) && config[key].is_string() ? config[key].get<std::string>() : "";
  };
  for (const auto* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!text(key).empty()) return malformed(fmt::format("not a byte-level BPE: {} is set", key));
  }
  if (config.value("byte_fallback", false))
    return malformed("not a byte-level BPE: byte_fallback is set");
  if (config.contains("dropout") && config["dropout"].is_number() && config["dropout"] > 0.0) {
    return malformed("dropout in the tokenizer's model makes ids random; remove it");
  }
  if (const auto unknown = text("unk_token"); !unknown.empty()) {
    const auto id = token_id(unknown);
    if (!id) return malformed(fmt::format("unk_token is not in the vocabulary: {}", unknown));
    unknown_ = *id;
  }
  fuse_unknown_ = config.value("fuse_unk", false);
  ignore_merges_ = config.value("ignore_merges", false);
  return {};
}

void Bpe::append_ids(std::string_view word, std::vector<int32_t>& ids) const {
  if (word.size() > WordCache::kMaxBytes) return merge(word, ids);
  thread_local WordCache cache;
  const uint64_t hash = WordCache::hash(word, instance_);
  if (cache.append(word, hash, ids)) return;
  const size_t before = ids.size();
  merge(word, ids);
  cache.keep(word, hash, std::span(ids).subspan(before));
}

void Bpe::merge(std::string_view word, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const auto whole = token_id(spell_bytes(word))) {
      ids.push_back(*whole);
      return;
    }
  }
  thread_local std::vector<int32_t> symbols;
  symbols.clear();
  append_symbols(word, symbols);
  merge_symbols(merges_, symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void Bpe::append_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  bool after_unknown = false;
  for (const char byte : word) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
    const bool repeats = id < 0 && after_unknown && fuse_unknown_;
    after_unknown = id < 0;
    if (id >= 0) {
      symbols.push_back(id);
    } else if (unknown_ >= 0 && !repeats) {
      symbols.push_back(unknown_);
    }
  }
}

std::optional<int32_t> Bpe::token_id(const std::string& spelling) const {
  const auto found = ids_.find(spelling);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string_view> Bpe::token_bytes(int32_t id) const {
  if (id < 0 || id >= id_limit() || !tokens_[static_cast<size_t>(id)].known) return std::nullopt;
  return tokens_[static_cast<size_t>(id)].bytes;
}

}  // namespace tunefleet::data
