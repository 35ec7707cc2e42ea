#include "messages/agent_protocol.hpp"

#include <algorithm>
#include <cstring>

#include "messages/text.hpp"

namespace caged::agent_protocol {

using nlohmann::json;

namespace {

constexpr std::uint64_t whole_max = (1ULL << 53) - 1;

/// Builds the value while it counts: what goes over a limit stops the parser
/// before anything is allocated for it.
class bounded_builder final : public nlohmann::json_sax<json> {
public:
  json root;
  std::optional<std::uint64_t> id; ///< of the outermost object
  const char* over = nullptr;      ///< the limit that stopped it

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override {
    if (depth_ == 1 && key_ == "id")
      id = value <= whole_max ? std::optional{value} : std::nullopt;
    return put(value);
  }
  bool number_float(number_float_t value, const string_t&) override {
    return put(value);
  }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception&) override {
    return false;
  }

private:
  bool count() {
    if (++values_ <= limits::agent_values_max + 1) // the object itself is free
      return true;
    over = "it has more than 2048 values";
    static_assert(limits::agent_values_max == 2048);
    return false;
  }
  template <class T>
  json* add(T&& value) {
    if (depth_ == 0) {
      root = std::forward<T>(value);
      return &root;
    }
    auto& top = *stack_[depth_ - 1];
    if (top.is_array()) {
      top.push_back(std::forward<T>(value));
      return &top.back();
    }
    auto& slot = top[key_];
    slot = std::forward<T>(value);
    return &slot;
  }
  template <class T>
  bool put(T&& value) {
    if (!count())
      return false;
    add(std::forward<T>(value));
    return true;
  }
  bool open(json value) {
    if (!count())
      return false;
    if (depth_ == limits::agent_depth_max) {
      over = "it is deeper than 16 levels";
      return false;
    }
    // Growing an array moves its elements, but never while one of them is
    // open, so the addresses on the stack stay true.
    auto* added = add(std::move(value));
    stack_[depth_++] = added;
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }

  json* stack_[limits::agent_depth_max] = {};
  std::size_t depth_ = 0;
  std::size_t values_ = 0;
  std::string key_;
};

tl::unexpected<failure> malformed(const char* what) {
  return fail(ec::malformed, std::string{"the line "} + what);
}

std::string member(const char* key) {
  return std::string{"payload member \""} + key + "\"";
}

/// nullptr: absent. JSON null counts as absent.
const json* find(const json& payload, const char* key) {
  auto it = payload.find(key);
  return it == payload.end() || it->is_null() ? nullptr : &*it;
}

} // namespace

result<line> parse_line(std::string_view text,
                        std::optional<std::uint64_t>* id) {
  if (id)
    id->reset();
  if (text.size() > limits::agent_line_max)
    return fail(ec::too_large, "the line is longer than 131072 bytes");
  // The library's lexer takes a NUL for the end of its input.
  if (std::memchr(text.data(), 0, text.size()) != nullptr)
    return malformed("holds a NUL byte");
  bounded_builder builder;
  bool ok = json::sax_parse(text.begin(), text.end(), &builder);
  if (id)
    *id = builder.id;
  if (builder.over)
    return fail(ec::too_large,
                std::string{"the line is refused: "} + builder.over);
  if (!ok)
    return malformed("is no JSON");
  auto& root = builder.root;
  if (!root.is_object())
    return malformed("is no JSON object");
  auto type = root.find("type");
  if (type == root.end())
    return malformed("lacks \"type\"");
  if (!type->is_string())
    return malformed("has a \"type\" that is no string");
  line out;
  out.type = std::move(type->get_ref<std::string&>());
  if (auto it = root.find("id"); it != root.end()) {
    if (!it->is_number_unsigned() || it->get<std::uint64_t>() > whole_max)
      return malformed(
          "has an \"id\" that is no whole number from 0 to 2^53-1");
    out.id = it->get<std::uint64_t>();
  }
  if (auto it = root.find("payload"); it != root.end()) {
    if (!it->is_object())
      return malformed("has a \"payload\" that is no object");
    out.payload = std::move(*it);
  }
  return out;
}

void line_reader::feed(std::string_view bytes) {
  input_ = bytes;
}

void line_reader::drop_unfinished() {
  if (pending_) {
    raw_skip_ = raw_missing_;
    raw_missing_ = 0;
    pending_.reset();
  } else {
    skipping_ = true;
  }
  std::string{}.swap(partial_); // "= {}" would keep the memory
}

std::optional<result<line>> line_reader::take_raw() {
  auto n = std::min(raw_missing_, input_.size());
  if (pending_->raw.capacity() < pending_->raw.size() + n)
    pending_->raw.reserve(pending_->raw.size() + raw_missing_);
  pending_->raw.append(input_.data(), n);
  input_.remove_prefix(n);
  raw_missing_ -= n;
  if (raw_missing_ > 0)
    return std::nullopt;
  result<line> out{std::move(*pending_)};
  pending_.reset();
  return out;
}

std::optional<result<line>> line_reader::next() {
  for (;;) {
    if (pending_)
      return take_raw();
    if (raw_skip_ > 0) {
      auto n = std::min<std::uint64_t>(raw_skip_, input_.size());
      input_.remove_prefix(n);
      raw_skip_ -= n;
    }
    if (input_.empty())
      return std::nullopt;
    const auto* end = static_cast<const char*>(
        std::memchr(input_.data(), '\n', input_.size()));
    auto length =
        end ? static_cast<std::size_t>(end - input_.data()) : input_.size();
    auto piece = input_.substr(0, length);
    input_.remove_prefix(end ? length + 1 : length);
    if (skipping_) {
      skipping_ = end == nullptr;
      continue;
    }
    if (partial_.size() + piece.size() > line_max_) {
      std::string{}.swap(partial_); // "= {}" would keep the memory
      skipping_ = end == nullptr;
      last_id_.reset();
      return fail(ec::too_large, "the line is longer than "
                                     + std::to_string(line_max_) + " bytes");
    }
    if (!end) {
      partial_.append(piece);
      return std::nullopt;
    }
    std::optional<result<line>> out;
    if (partial_.empty()) {
      out = finish(piece);
    } else {
      // Moved out, so that the memory is free again once it was parsed.
      auto whole = std::exchange(partial_, {});
      whole.append(piece);
      out = finish(whole);
    }
    if (out)
      return out;
  }
}

/// nullopt: nothing to hand out yet (an empty line, or raw bytes follow).
std::optional<result<line>> line_reader::finish(std::string_view text) {
  if (!text.empty() && text.back() == '\r')
    text.remove_suffix(1);
  if (text.empty())
    return std::nullopt;
  auto parsed = parse_line(text, &last_id_);
  if (!parsed || !raw_)
    return parsed;
  auto len = parsed->payload.find("len");
  if (len == parsed->payload.end())
    return parsed;
  if (!len->is_number_unsigned())
    return fail(ec::malformed, "\"len\" is no whole number");
  auto n = len->get<std::uint64_t>();
  if (n > limits::agent_raw_max) {
    raw_skip_ = n;
    return fail(ec::too_large,
                "\"len\" is " + std::to_string(n) + "; the limit is 65536");
  }
  if (n == 0)
    return parsed;
  raw_missing_ = static_cast<std::size_t>(n);
  pending_ = std::move(*parsed);
  return std::nullopt;
}

namespace {

/// The line up to its payload's end, with room for `extra` bytes more. Built
/// in the payload's own string: a long line is in memory once, not twice.
std::string line_head(std::string_view type, std::optional<std::uint64_t> id,
                      const json& payload, std::size_t extra) {
  std::string head = "{\"type\":\"";
  head += type; // our own constants: nothing to escape
  head += '"';
  if (id) {
    head += ",\"id\":";
    head += std::to_string(*id);
  }
  head += ",\"payload\":";
  auto out = payload.dump(-1, ' ', false, json::error_handler_t::replace);
  out.reserve(out.size() + head.size() + extra);
  out.insert(0, head);
  return out;
}

} // namespace

std::string encode_line(std::string_view type, std::optional<std::uint64_t> id,
                        const json& payload) {
  auto out = line_head(type, id, payload, 2);
  out += "}\n";
  return out;
}

std::string encode_data(std::string_view type, std::optional<std::uint64_t> id,
                        json payload, std::string_view bytes, bool raw) {
  // The bytes never become a JSON value: they are put behind the other members.
  auto out = line_head(type, id, payload,
                       raw ? bytes.size() + 32 : bytes.size() / 3 * 4 + 32);
  out.pop_back();
  if (!payload.empty())
    out += ',';
  if (raw) {
    out += "\"len\":" + std::to_string(bytes.size()) + "}}\n";
    out += bytes;
  } else {
    out += "\"data\":\"";
    base64_append(out, bytes);
    out += "\"}}\n";
  }
  return out;
}

result<std::string> take_bytes(line& message) {
  auto& payload = message.payload;
  if (auto data = payload.find("data"); data != payload.end()) {
    if (!data->is_string())
      return fail(ec::bad_request, member("data") + " must be base64 text");
    auto bytes = base64_decode(data->get_ref<const std::string&>());
    if (bytes && bytes->size() > limits::agent_raw_max)
      return fail(ec::bad_request,
                  member("data") + " holds more than 65536 bytes");
    return bytes;
  }
  auto len = payload.find("len");
  if (len == payload.end())
    return fail(ec::bad_request, member("data") + " is missing");
  if (!len->is_number_unsigned()
      || len->get<std::uint64_t>() != message.raw.size())
    return fail(ec::bad_request,
                member("len") + " needs a hello with \"raw\": true");
  return std::move(message.raw);
}

result<std::string> text(const json& payload, const char* key) {
  const auto* value = find(payload, key);
  if (!value)
    return fail(ec::bad_request, member(key) + " is missing");
  if (!value->is_string())
    return fail(ec::bad_request, member(key) + " must be a string");
  return value->get<std::string>();
}

result<std::optional<std::string>> optional_text(const json& payload,
                                                 const char* key) {
  if (!find(payload, key))
    return std::optional<std::string>{};
  auto value = text(payload, key);
  if (!value)
    return tl::unexpected{value.error()};
  return std::optional{std::move(*value)};
}

result<std::uint64_t> number(const json& payload, const char* key,
                             std::uint64_t max) {
  const auto* value = find(payload, key);
  if (!value)
    return fail(ec::bad_request, member(key) + " is missing");
  if (!value->is_number_unsigned() || value->get<std::uint64_t>() > max)
    return fail(ec::bad_request, member(key)
                                     + " must be a whole number from 0 to "
                                     + std::to_string(max));
  return value->get<std::uint64_t>();
}

result<std::uint64_t> number_or(const json& payload, const char* key,
                                std::uint64_t fallback, std::uint64_t max) {
  return find(payload, key) ? number(payload, key, max) : fallback;
}

result<bool> flag_or(const json& payload, const char* key, bool fallback) {
  const auto* value = find(payload, key);
  if (!value)
    return fallback;
  if (!value->is_boolean())
    return fail(ec::bad_request, member(key) + " must be true or false");
  return value->get<bool>();
}

result<std::vector<std::string>> text_list(const json& payload,
                                           const char* key) {
  std::vector<std::string> out;
  const auto* value = find(payload, key);
  if (!value)
    return out;
  if (!value->is_array())
    return fail(ec::bad_request, member(key) + " must be a list of strings");
  out.reserve(value->size());
  for (const auto& item : *value) {
    if (!item.is_string())
      return fail(ec::bad_request, member(key) + " must be a list of strings");
    out.push_back(item.get<std::string>());
  }
  return out;
}

result<std::map<std::string, std::string>> text_map(const json& payload,
                                                    const char* key) {
  std::map<std::string, std::string> out;
  const auto* value = find(payload, key);
  if (!value)
    return out;
  if (!value->is_object())
    return fail(ec::bad_request, member(key) + " must be an object of strings");
  for (const auto& [name, item] : value->items()) {
    if (!item.is_string())
      return fail(ec::bad_request,
                  member(key) + " must be an object of strings");
    out.emplace(name, item.get<std::string>());
  }
  return out;
}

json to_json(const agent_metrics& sample) {
  json out = {{"cpu_percent", sample.cpu_percent},
              {"cpu_seconds", sample.cpu_seconds},
              {"memory_used_bytes", sample.memory_used_bytes},
              {"memory_total_bytes", sample.memory_total_bytes},
              {"disk_used_bytes", sample.disk_used_bytes},
              {"disk_total_bytes", sample.disk_total_bytes},
              {"processes", sample.processes}};
  if (sample.network_receive_bytes)
    out["network_receive_bytes"] = *sample.network_receive_bytes;
  if (sample.network_transmit_bytes)
    out["network_transmit_bytes"] = *sample.network_transmit_bytes;
  return out;
}

result<agent_metrics> metrics_from_json(const json& payload) {
  agent_metrics out;
  std::optional<failure> why;
  auto take = [&](const char* key) -> double {
    const auto* value = find(payload, key);
    if (value && value->is_number())
      return value->get<double>();
    if (!why)
      why = failure{ec::bad_request,
                    member(key) + (value ? " must be a number" : " is missing"),
                    {}};
    return 0;
  };
  out.cpu_percent = take("cpu_percent");
  out.cpu_seconds = take("cpu_seconds");
  out.memory_used_bytes = take("memory_used_bytes");
  out.memory_total_bytes = take("memory_total_bytes");
  out.disk_used_bytes = take("disk_used_bytes");
  out.disk_total_bytes = take("disk_total_bytes");
  out.processes = take("processes");
  if (find(payload, "network_receive_bytes"))
    out.network_receive_bytes = take("network_receive_bytes");
  if (find(payload, "network_transmit_bytes"))
    out.network_transmit_bytes = take("network_transmit_bytes");
  if (why)
    return tl::unexpected{std::move(*why)};
  return out;
}

} // namespace caged::agent_protocol
