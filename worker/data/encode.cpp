#include "worker/data/encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

namespace tunefleet::data {
namespace {

/// Rows that a thread takes at a time.
constexpr size_t kBlockRows = 64;

constexpr std::array<std::string_view, 4> kTruncations{"delete", "left", "right", "split"};

bool learns(std::span<const int32_t> labels) {
  return std::ranges::any_of(labels, [](int32_t label) { return label != kIgnoreLabel; });
}

/// Cuts off what follows the last learnt token.
void drop_unlearnt_end(Sample& sample) {
  while (!sample.labels.empty() && sample.labels.back() == kIgnoreLabel) sample.labels.pop_back();
  sample.input_ids.resize(sample.labels.size());
}

/// Appends [begin, end) of a sample as an example, unless nothing in it is learnt.
void append_part(const Sample& sample, size_t begin, size_t end, EncodedDataset& examples,
                 EncodeReport& report) {
  const auto ids = std::span(sample.input_ids).subspan(begin, end - begin);
  std::vector<int32_t> labels(sample.labels.begin() + static_cast<std::ptrdiff_t>(begin),
                              sample.labels.begin() + static_cast<std::ptrdiff_t>(end));
  if (!labels.empty()) labels.front() = kIgnoreLabel;
  if (!learns(labels)) {
    ++report.no_answer;
    return;
  }
  examples.append(ids, labels);
  ++report.examples;
}

/// The other answer of a preference, as a row of its own.
DatasetRow rejected_answer(const DatasetRow& preference) {
  DatasetRow row;
  row.form = preference.form;
  row.messages = preference.rejected_messages;
  row.input_ids = preference.rejected_input_ids;
  row.labels = preference.rejected_labels;
  return row;
}

struct Block {
  EncodedRows encoded;
  Status status;
};

Block encode_block(std::span<const DatasetRow> rows, const RowEncoder& encoder,
                   std::string_view file) {
  Block block;
  for (const auto& row : rows) {
    const auto report = encoder.encode(row, block.encoded.examples);
    if (!report) {
      block.status = fail(fmt::format("{}:{}", file, row.line), report.error());
      return block;
    }
    block.encoded.report += *report;
  }
  return block;
}

}  // namespace

Result<Truncation> truncation_named(std::string_view name) {
  const auto* found = std::ranges::find(kTruncations, name);
  if (found != kTruncations.end()) return static_cast<Truncation>(found - kTruncations.begin());
  return fail(ErrorCode::kInvalidArgument, fmt::format("unknown truncation_strategy: {}; known: {}",
                                                       name, fmt::join(kTruncations, ", ")));
}

EncodeReport& EncodeReport::operator+=(const EncodeReport& other) {
  rows += other.rows;
  examples += other.examples;
  too_long += other.too_long;
  shortened += other.shortened;
  no_answer += other.no_answer;
  return *this;
}

std::string EncodeReport::text(const EncodeOptions& options) const {
  auto text = fmt::format("{} rows, {} examples", rows, examples);
  const auto strategy = kTruncations[static_cast<size_t>(options.truncation)];
  const auto add = [&](int64_t count, std::string_view what) {
    if (count > 0) {
      text += fmt::format(", {} {} {} tokens (truncation_strategy: {})", count, what,
                          options.max_length, strategy);
    }
  };
  add(too_long, "left out as longer than");
  add(shortened, "cut to");
  if (no_answer > 0) text += fmt::format(", {} left out as nothing in them is learnt", no_answer);
  return text;
}

RowEncoder::RowEncoder(Tokenizer tokenizer, std::optional<ChatTemplate> chat_template,
                       EncodeOptions options)
    : tokenizer_(std::move(tokenizer)),
      template_(std::move(chat_template)),
      options_(std::move(options)) {}

/// Encodes neighbours of one kind together, so that the ids are those of the joined text, and what
/// is learnt apart from what is not, as generation sees it.
Status RowEncoder::append_segments(std::span<const Segment> segments, Sample& sample) const {
  std::vector<TextPart> parts;
  for (size_t begin = 0, end = 0; begin < segments.size(); begin = end) {
    parts.clear();
    const bool train = segments[begin].train;
    for (; end < segments.size() && segments[end].train == train; ++end) {
      parts.push_back({segments[end].text, segments[end].special});
    }
    const auto ids = tokenizer_.encode_parts(parts);
    if (!ids) return fail(ids.error());
    sample.input_ids.insert(sample.input_ids.end(), ids->begin(), ids->end());
    if (train) {
      sample.labels.insert(sample.labels.end(), ids->begin(), ids->end());
    } else {
      sample.labels.resize(sample.input_ids.size(), kIgnoreLabel);
    }
  }
  return {};
}

Result<Sample> RowEncoder::encode_conversation(std::span<const Message> messages,
                                               bool add_generation_prompt) const {
  if (!template_) {
    return fail(ErrorCode::kInvalidArgument,
                "conversations need a chat template; choose one with --template");
  }
  std::vector<Message> with_system;
  const bool has_system = !messages.empty() && messages.front().role == "system";
  if (options_.system && !has_system) {
    with_system.push_back({"system", *options_.system, std::nullopt});
    with_system.insert(with_system.end(), messages.begin(), messages.end());
    messages = with_system;
  }
  const auto segments = template_->render(messages, add_generation_prompt);
  if (!segments) return fail(segments.error());
  Sample sample;
  if (template_->needs_begin_of_text()) {
    sample.input_ids = tokenizer_.prefix_ids();
    sample.labels.resize(sample.input_ids.size(), kIgnoreLabel);
  }
  if (auto status = append_segments(*segments, sample); !status) return fail(status.error());
  return sample;
}

Result<Sample> RowEncoder::encode_row(const DatasetRow& row) const {
  if (row.form != DatasetForm::kPretokenised) return encode_conversation(row.messages, false);
  const int64_t vocabulary =
      options_.vocab_size > 0 ? options_.vocab_size : tokenizer_.vocab_size();
  const auto highest = std::ranges::max_element(row.input_ids);
  if (highest != row.input_ids.end() && *highest >= vocabulary) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("token id past the vocabulary: {} >= {}", *highest, vocabulary));
  }
  return Sample{row.input_ids, row.labels};
}

Result<EncodeReport> RowEncoder::encode(const DatasetRow& row, EncodedDataset& examples) const {
  if (row.is_preference() == options_.preferences)
    return options_.preferences ? encode_pair(row, examples) : encode_supervised(row, examples);
  return fail(ErrorCode::kInvalidArgument,
              options_.preferences
                  ? "the row has no rejected answer, which rlhf_type: dpo learns from"
                  : "the row is a preference, which supervised training does not learn: set "
                    "rlhf_type: dpo, or remove what is rejected");
}

Result<EncodeReport> RowEncoder::encode_pair(const DatasetRow& row,
                                             EncodedDataset& examples) const {
  const DatasetRow other = rejected_answer(row);
  EncodeReport report;
  report.rows = 1;
  EncodedDataset pair;
  EncodeReport kept;
  for (const auto* answer : {&row, &other}) {
    auto sample = encode_row(*answer);
    if (!sample) return fail(sample.error());
    drop_unlearnt_end(*sample);
    const size_t length = sample->input_ids.size();
    const size_t limit =
        options_.max_length == 0 ? length : static_cast<size_t>(options_.max_length);
    if (length > limit && options_.truncation == Truncation::kDelete) {
      report.too_long = 1;
      return report;
    }
    if (length > limit) report.shortened = 1;
    const size_t size = std::min(length, limit);
    const size_t begin = options_.truncation == Truncation::kLeft ? length - size : 0;
    append_part(*sample, begin, begin + size, pair, kept);
  }
  report.no_answer = kept.no_answer > 0 ? 1 : 0;
  if (report.no_answer > 0) return report;
  examples.append(pair);
  report.examples = 1;
  return report;
}

Result<EncodeReport> RowEncoder::encode_supervised(const DatasetRow& row,
                                                   EncodedDataset& examples) const {
  auto sample = encode_row(row);
  if (!sample) return fail(sample.error());
  drop_unlearnt_end(*sample);
  EncodeReport report;
  report.rows = 1;
  const size_t length = sample->input_ids.size();
  const auto limit = static_cast<size_t>(options_.max_length);
  if (limit == 0 || length <= limit) {
    append_part(*sample, 0, length, examples, report);
    return report;
  }
  if (options_.truncation == Truncation::kDelete) {
    report.too_long = 1;
    return report;
  }
  report.shortened = 1;
  if (options_.truncation == Truncation::kLeft) {
    append_part(*sample, length - limit, length, examples, report);
  } else if (options_.truncation == Truncation::kRight) {
    append_part(*sample, 0, limit, examples, report);
  } else {
    for (size_t begin = 0; begin < length; begin += limit) {
      append_part(*sample, begin, std::min(begin + limit, length), examples, report);
    }
  }
  return report;
}

Result<EncodedRows> encode_rows(std::span<const DatasetRow> rows, const RowEncoder& encoder,
                                std::string_view file) {
  const size_t count = (rows.size() + kBlockRows - 1) / kBlockRows;
  std::vector<Block> blocks(count);
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) {
      const size_t begin = i * kBlockRows;
      blocks[i] = encode_block(rows.subspan(begin, std::min(kBlockRows, rows.size() - begin)),
                               encoder, file);
    }
  };
  const int64_t wanted = encoder.options().threads;
  const size_t cores =
      wanted > 0 ? static_cast<size_t>(wanted) : std::thread::hardware_concurrency();
  {
    std::vector<std::jthread> threads;
    for (size_t i = 1; i < std::min(cores, count); ++i) threads.emplace_back(work);
    work();
  }
  EncodedRows all;
  for (auto& block : blocks) {
    if (!block.status) return fail(block.status.error());
    all.examples.append(block.encoded.examples);
    all.report += block.encoded.report;
    block = {};
  }
  return all;
}

}  // namespace tunefleet::data
