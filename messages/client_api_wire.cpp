#include "messages/client_api_wire.hpp"

#include <algorithm>
#include <limits>

#include <google/protobuf/stubs/logging.h>

#include "messages/client_api_wire_detail.hpp"

// The envelope, and what requests and replies share.
namespace caged::api {

namespace wire {

namespace {

v1::Channel wire_channel(channel on) {
  return static_cast<v1::Channel>(on);
}

} // namespace

void fill(v1::SandboxSpec* to, const sandbox_spec& from) {
  to->set_name(from.name);
  to->set_template_name(from.template_name);
  to->set_runtime(from.runtime);
  to->set_cpus(from.cpus);
  to->set_memory_mb(from.memory_mb);
  to->set_disk_gb(from.disk_gb);
  to->set_pids(from.pids);
  to->set_network(static_cast<v1::NetworkMode>(from.network));
  to->mutable_env()->insert(from.env.begin(), from.env.end());
  to->mutable_labels()->insert(from.labels.begin(), from.labels.end());
  to->set_workdir(from.workdir);
  to->set_init_script(from.init_script);
  to->set_idle_timeout_ms(
      static_cast<std::uint64_t>(from.idle_timeout.count()));
  to->set_ttl_ms(static_cast<std::uint64_t>(from.ttl.count()));
}

void fill(v1::Cause* to, const cause& from) {
  to->set_time_ms(from.time_ms);
  to->set_from(static_cast<v1::Phase>(from.from));
  to->set_to(static_cast<v1::Phase>(from.to));
  to->set_who(from.who);
  to->set_text(from.text);
}

void fill(v1::SandboxInfo* to, const sandbox_info& from) {
  to->set_id(from.id);
  to->set_owner(from.owner);
  to->set_node(from.node);
  to->set_state(static_cast<v1::Phase>(from.state));
  fill(to->mutable_spec(), from.spec);
  to->set_created_ms(from.created_ms);
  fill(to->mutable_last_cause(), from.last_cause);
  to->set_agent_version(from.agent_version);
  to->set_last_heartbeat_ms(from.last_heartbeat_ms);
  to->set_init_state(from.init_state);
}

void fill(v1::Envelope& to, const stream_data& from) {
  auto* data = to.mutable_data();
  data->set_channel(wire_channel(from.on));
  data->set_offset(from.offset);
  data->set_bytes(from.bytes);
}
void fill(v1::Envelope& to, const stream_ack& from) {
  to.mutable_ack()->set_channel(wire_channel(from.on));
  to.mutable_ack()->set_offset(from.offset);
}
void fill(v1::Envelope& to, const stream_credit& from) {
  to.mutable_credit()->set_channel(wire_channel(from.on));
  to.mutable_credit()->set_limit(from.limit);
}
void fill(v1::Envelope& to, const stream_eof& from) {
  to.mutable_eof()->set_channel(wire_channel(from.on));
  to.mutable_eof()->set_offset(from.offset);
}

phase read_phase(int value) {
  return value >= 1 && value <= 8 ? static_cast<phase>(value) : phase::lost;
}

sandbox_spec read_spec(const v1::SandboxSpec& from) {
  sandbox_spec out;
  out.name = from.name();
  out.template_name = from.template_name();
  out.runtime = from.runtime();
  out.cpus = from.cpus();
  out.memory_mb = from.memory_mb();
  out.disk_gb = from.disk_gb();
  out.pids = from.pids();
  out.network = from.network() >= 1 && from.network() <= 3
                    ? static_cast<network_mode>(from.network())
                    : network_mode::none;
  out.env = read_map(from.env());
  out.labels = read_map(from.labels());
  out.workdir = from.workdir();
  out.init_script = from.init_script();
  auto milliseconds = [](std::uint64_t value) { // validate() says the limits
    constexpr std::uint64_t most = 1ULL << 50U;
    return std::chrono::milliseconds(std::min(value, most));
  };
  out.idle_timeout = milliseconds(from.idle_timeout_ms());
  out.ttl = milliseconds(from.ttl_ms());
  return out;
}

cause read_cause(const v1::Cause& from) {
  return {from.time_ms(), read_phase(from.from()), read_phase(from.to()),
          from.who(), from.text()};
}

sandbox_info read_info(const v1::SandboxInfo& from) {
  sandbox_info out;
  out.id = from.id();
  out.owner = from.owner();
  out.node = from.node();
  out.state = read_phase(from.state());
  out.spec = read_spec(from.spec());
  out.created_ms = from.created_ms();
  out.last_cause = read_cause(from.last_cause());
  out.agent_version = from.agent_version();
  out.last_heartbeat_ms = from.last_heartbeat_ms();
  out.init_state = from.init_state();
  return out;
}

std::optional<channel> read_channel(int value) {
  if (value < 0 || value > 3)
    return std::nullopt;
  return static_cast<channel>(value);
}

std::optional<role> read_role(int value) {
  if (value < 1 || value > 3)
    return std::nullopt;
  return static_cast<role>(value);
}

tl::unexpected<failure> too_long(const char* what, std::size_t is,
                                 std::size_t most) {
  return fail(ec::too_large, std::string{what} + " has " + std::to_string(is)
                                 + " bytes; the most is "
                                 + std::to_string(most));
}

} // namespace wire

namespace {

using namespace wire;

/// "key:" and a name, "uid:" and a number.
constexpr std::size_t caller_max = 255;

int hex_value(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  return c - 'a' + 10;
}

/// 36 characters to 16 bytes; the text must be a UUID.
std::string uuid_bytes(const std::string& text) {
  std::string out;
  int high = -1;
  for (char c : text) {
    if (c == '-')
      continue;
    if (high < 0) {
      high = hex_value(c);
    } else {
      out.push_back(static_cast<char>(high * 16 + hex_value(c)));
      high = -1;
    }
  }
  return out;
}

std::string uuid_text(const std::string& bytes) {
  static const char* digits = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      out.push_back('-');
    auto byte = static_cast<unsigned char>(bytes[i]);
    out.push_back(digits[byte >> 4]);
    out.push_back(digits[byte & 15]);
  }
  return out;
}

/// Protobuf prints a line on stderr for every text that is no UTF-8: anybody
/// could fill the log, and the error says it already.
bool parse(v1::Envelope& to, std::string_view bytes) {
  static const bool silent = [] {
    google::protobuf::SetLogHandler(nullptr);
    return true;
  }();
  return silent
         && to.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

/// FNV-1a, 64 bits (draft-eastlake-fnv): tells a repeat from a conflict, not a
/// defence against a caller who looks for collisions with itself.
std::uint64_t fnv1a(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (char c : bytes) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ULL;
  }
  return hash;
}

/// Maps have no order on the wire: the digest is taken over a sorted form.
std::uint64_t digest_of(const request_body& body) {
  auto* what = std::get_if<up>(&body);
  if (!what)
    return 0; // only `up` is remembered by its body
  std::string text;
  auto add = [&](const std::string& part) {
    text += std::to_string(part.size()) + ":" + part;
  };
  const auto& s = what->spec;
  add(s.name);
  add(s.template_name);
  add(s.runtime);
  for (auto number :
       {std::uint64_t{s.cpus}, s.memory_mb, s.disk_gb, std::uint64_t{s.pids},
        static_cast<std::uint64_t>(s.network),
        static_cast<std::uint64_t>(s.idle_timeout.count()),
        static_cast<std::uint64_t>(s.ttl.count())})
    add(std::to_string(number));
  for (const auto* map : {&s.env, &s.labels})
    for (const auto& [key, value] : *map) {
      add(key);
      add(value);
    }
  add(s.workdir);
  add(s.init_script);
  if (!what->node.empty() || !what->require.empty())
    add(what->node);
  for (const auto& [key, value] : what->require) {
    add(key);
    add(value);
  }
  return fnv1a(text) >> 1; // fits the journal's signed integer
}

} // namespace

std::string encode(const request& message) {
  v1::Envelope out;
  out.set_request_id(uuid_bytes(message.id));
  out.set_remaining_ms(static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(message.remaining.count(), 0,
                               std::numeric_limits<std::uint32_t>::max())));
  if (message.hop != 0) {
    out.set_hop(message.hop);
    out.set_caller(message.caller);
    out.set_caller_role(message.admin    ? v1::ROLE_ADMIN
                        : message.viewer ? v1::ROLE_VIEWER
                                         : v1::ROLE_USER);
  }
  fill_request(out, message.body);
  return out.SerializeAsString();
}

std::string encode(const reply& message) {
  v1::Envelope out;
  out.set_request_id(uuid_bytes(message.id));
  out.set_hop(message.hop);
  fill_reply(out, message.body);
  return out.SerializeAsString();
}

std::string encode_probe(std::uint64_t hop) {
  v1::Envelope out;
  out.set_hop(hop);
  return out.SerializeAsString();
}

tl::unexpected<failure> behalf_denied() {
  return fail(ec::denied, "only nodes may say on whose behalf they ask");
}

result<request> decode_request(std::string_view bytes, std::string* id) {
  if (bytes.size() > limits::envelope_max)
    return too_long("the message", bytes.size(), limits::envelope_max);
  v1::Envelope in;
  if (!parse(in, bytes))
    return fail(ec::malformed, "the message is no envelope of caged.v1",
                "client and node may be of different versions");
  if (in.request_id().size() != 16)
    return fail(ec::malformed, "the request id has "
                                   + std::to_string(in.request_id().size())
                                   + " bytes, not the 16 of a UUID");
  request out;
  out.id = uuid_text(in.request_id());
  if (id)
    *id = out.id;
  if (!in.caller().empty() && in.hop() == 0)
    return behalf_denied();
  if (in.hop() != 0) {
    const auto as = read_role(in.caller_role());
    if (in.caller().empty() || in.caller().size() > caller_max || !as)
      return fail(ec::malformed,
                  "a node does not say for whom it asks, or as what");
    out.hop = in.hop();
    out.caller = in.caller();
    out.admin = *as == role::admin;
    out.viewer = *as == role::viewer;
  }
  out.remaining = std::chrono::milliseconds(in.remaining_ms());
  auto body = read_request_body(in);
  if (!body)
    return tl::unexpected<failure>(body.error());
  out.body = std::move(*body);
  out.digest = digest_of(out.body);
  return out;
}

result<std::optional<reply>> decode_reply(std::string_view bytes) {
  v1::Envelope in;
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())
      || !parse(in, bytes))
    return fail(ec::malformed, "the node's answer is no envelope of caged.v1",
                "client and node may be of different versions");
  if (in.body_case() == v1::Envelope::BODY_NOT_SET && in.hop() == 0)
    return std::optional<reply>{};
  if (in.body_case() == v1::Envelope::BODY_NOT_SET)
    return std::optional<reply>{reply{{}, {}, probe{}, in.hop()}};
  if (in.request_id().size() != 16)
    return fail(ec::malformed, "the node's answer names no request");
  auto body = read_reply_body(in);
  if (!body)
    return tl::unexpected<failure>(body.error());
  return std::optional<reply>{
      reply{{}, uuid_text(in.request_id()), std::move(*body), in.hop()}};
}

} // namespace caged::api
