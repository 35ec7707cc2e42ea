#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "messages/error.hpp"
#include "messages/limits.hpp"
#include "messages/samples.hpp"

/// The agent protocol, version 1: agent_protocol.md beside this file says what
/// everything means. Shared by the agent and the node; needs no CAF.
namespace caged::agent_protocol {

inline constexpr int version = 1;

/// One line, checked for shape but not yet for the meaning of its payload.
struct line {
  std::string type;
  std::optional<std::uint64_t> id;
  nlohmann::json payload = nlohmann::json::object(); ///< always an object
  std::string raw; ///< the bytes behind a line with "len"
};

/// Cuts a byte stream into lines. Bounded: never holds more than one line and
/// its raw bytes; parses by SAX and stops at the limits of limits.hpp.
/// Not thread-safe; one per connection.
class line_reader {
public:
  /// raw_allowed: whether "len" announces raw bytes (after hello).
  explicit line_reader(std::size_t line_max = limits::agent_line_max)
      : line_max_{line_max} {}
  void allow_raw(bool on) noexcept { raw_ = on; }

  /// Hands bytes over. The view must live until next() has returned nullopt.
  void feed(std::string_view bytes);

  /// The next message or refusal (malformed, too_large) in what was fed;
  /// nullopt: feed more. A refusal does not end the stream. An id that could
  /// still be read off a refused line is in last_id().
  std::optional<result<line>> next();

  std::optional<std::uint64_t> last_id() const noexcept { return last_id_; }

  /// Bytes held of an unfinished line and of raw bytes that go on.
  std::size_t buffered() const noexcept {
    return partial_.size() + (pending_ ? pending_->raw.size() : 0);
  }

  /// Lets go of the unfinished line: its rest is skipped, as one that was too
  /// long. For who has to keep a limit over several readers.
  void drop_unfinished();

  /// Takes back what was fed and not looked at yet, for who has to pause: feed
  /// it again later.
  std::string_view take_rest() noexcept { return std::exchange(input_, {}); }

private:
  std::optional<result<line>> finish(std::string_view text);
  std::optional<result<line>> take_raw();
  std::size_t line_max_;
  bool raw_ = false;
  bool skipping_ = false;       ///< inside a line that was too long
  std::size_t raw_missing_ = 0; ///< of pending_
  std::uint64_t raw_skip_ = 0;  ///< raw bytes that belong to nothing
  std::optional<line> pending_; ///< waits for its raw bytes
  std::optional<std::uint64_t> last_id_;
  std::string partial_;
  std::string_view input_;
};

/// Parses one line's text with the limits. Errors: malformed, too_large.
/// `id` receives the line's id where it could be read.
result<line> parse_line(std::string_view text,
                        std::optional<std::uint64_t>* id = nullptr);

/// One line with its '\n'. Invalid UTF-8 is replaced, never thrown.
std::string encode_line(std::string_view type, std::optional<std::uint64_t> id,
                        const nlohmann::json& payload);

/// A data line: base64 in "data", or raw bytes behind a line with "len".
/// `payload` gets the member added. bytes: at most agent_raw_max.
std::string encode_data(std::string_view type, std::optional<std::uint64_t> id,
                        nlohmann::json payload, std::string_view bytes,
                        bool raw);

/// The bytes of a message that carries data: raw, or decoded from "data".
/// Errors: bad_request (no bytes, invalid base64, too many).
result<std::string> take_bytes(line& message);

// -- checked access to a payload's members ---------------------------------
// Each names the member in its refusal (bad_request).

result<std::string> text(const nlohmann::json& payload, const char* key);
result<std::optional<std::string>> optional_text(const nlohmann::json& payload,
                                                 const char* key);
/// A whole number from 0 to max.
result<std::uint64_t> number(const nlohmann::json& payload, const char* key,
                             std::uint64_t max = (1ULL << 53) - 1);
result<std::uint64_t> number_or(const nlohmann::json& payload, const char* key,
                                std::uint64_t fallback,
                                std::uint64_t max = (1ULL << 53) - 1);
result<bool> flag_or(const nlohmann::json& payload, const char* key,
                     bool fallback);
result<std::vector<std::string>> text_list(const nlohmann::json& payload,
                                           const char* key);
result<std::map<std::string, std::string>>
text_map(const nlohmann::json& payload, const char* key);

/// Payload of `metrics`, both ways. from_json errors: bad_request when a
/// member is missing or no number; plausibility is the reader's business.
nlohmann::json to_json(const agent_metrics& sample);
result<agent_metrics> metrics_from_json(const nlohmann::json& payload);

} // namespace caged::agent_protocol
