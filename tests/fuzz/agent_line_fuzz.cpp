// The agent's reader: bytes of a connection, cut into lines and raw bytes,
// parsed, their members checked as the messages do it. Without side effects:
// nothing is executed, no file is touched.
//
// The first byte chooses whether raw bytes are allowed and how the rest is cut
// into pieces; whatever it is, the same messages must come out.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "messages/agent_protocol.hpp"
#include "messages/text.hpp"

namespace {

namespace ap = caged::agent_protocol;
using caged::result;
using nlohmann::json;

void require(bool holds) {
  if (!holds)
    std::abort();
}

/// What a reader makes of the bytes, as text that can be compared.
std::vector<std::string> outcome(std::string_view bytes, std::size_t step,
                                 bool raw) {
  ap::line_reader reader;
  reader.allow_raw(raw);
  std::vector<std::string> out;
  while (!bytes.empty()) {
    reader.feed(bytes.substr(0, step));
    while (auto message = reader.next()) {
      if (!*message) {
        require(!message->error().message.empty());
        out.emplace_back(caged::to_string(message->error().code));
        continue;
      }
      auto& line = **message;
      require(line.payload.is_object());
      require(line.raw.size() <= caged::limits::agent_raw_max);
      out.push_back(line.type + "|"
                    + ap::encode_line("x", line.id, line.payload) + line.raw);
    }
    // One line and its raw bytes, never more.
    require(reader.buffered() <= caged::limits::agent_line_max);
    bytes.remove_prefix(std::min(step, bytes.size()));
  }
  return out;
}

/// Every check that a message does on its payload; none may throw.
void check_members(ap::line& line) {
  const auto& payload = line.payload;
  for (const auto* key :
       {"exec", "stream", "channel", "path", "user", "cwd", "shell", "host",
        "upload", "after", "entropy", "client"}) {
    if (auto text = ap::optional_text(payload, key); text && *text)
      require(caged::escape_text(**text, 64).size() <= 64);
    static_cast<void>(ap::text(payload, key));
  }
  for (const auto* key : {"protocol", "offset", "limit", "length", "mode",
                          "rows", "cols", "port", "timeout_ms", "deadline_ms"})
    if (auto number = ap::number_or(payload, key, 0, 1000))
      require(*number <= 1000);
  for (const auto* key : {"raw", "tty", "stdin", "more", "recursive", "login"})
    static_cast<void>(ap::flag_or(payload, key, false));
  static_cast<void>(ap::text_list(payload, "argv"));
  static_cast<void>(ap::text_map(payload, "env"));
  static_cast<void>(ap::metrics_from_json(payload));
  if (auto bytes = ap::take_bytes(line))
    require(bytes->size() <= caged::limits::agent_raw_max);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  if (size == 0)
    return 0;
  bool raw = (data[0] & 1U) != 0;
  auto step = static_cast<std::size_t>(data[0] >> 1) + 1;
  std::string_view bytes{reinterpret_cast<const char*>(data) + 1, size - 1};
  require(outcome(bytes, step, raw) == outcome(bytes, bytes.size() + 1, raw));
  auto end = bytes.find('\n');
  if (auto line = ap::parse_line(bytes.substr(0, end))) {
    // What is written again is read as the same.
    auto again = ap::encode_line("x", line->id, line->payload);
    auto read = ap::parse_line({again.data(), again.size() - 1});
    require(read.has_value() || again.size() > caged::limits::agent_line_max);
    require(!read || read->payload == line->payload);
    check_members(*line);
  }
  return 0;
}
