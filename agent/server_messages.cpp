#include "agent/server.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <ctime>

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "caged_version.hpp"
#include "messages/text.hpp"

// What each message of agent_protocol.md does.
namespace caged::agent {

namespace ap = agent_protocol;
using nlohmann::json;

namespace {

constexpr std::size_t dials_most = 64;
constexpr std::size_t removals_most = 4;

bool valid_stream_name(const std::string& name) {
  return !name.empty() && name.size() <= 64
         && std::all_of(name.begin(), name.end(), [](unsigned char c) {
              return std::isalnum(c) != 0 || c == '-';
            });
}

/// Number of a signal given as number or name without SIG.
result<int> signal_of(const json& payload) {
  auto it = payload.find("signal");
  if (it != payload.end() && it->is_number_unsigned())
    return parse_signal(std::to_string(it->get<std::uint64_t>()));
  if (it != payload.end() && it->is_string())
    return parse_signal(it->get_ref<const std::string&>());
  return parse_signal("");
}

} // namespace

void server::answer(connection& to, const line& message,
                    const result<json>& what) {
  if (what)
    to.reply(message.id, *what);
  else
    to.error(message.id, what.error());
}

void server::dispatch(connection& from, line& message) {
  const auto& type = message.type;
  if (type == "data" || type == "ack" || type == "credit" || type == "eof")
    on_stream(from, message);
  else if (type == "ping")
    from.reply(message.id, message.payload, "pong");
  else if (type == "hello")
    on_hello(from, message);
  else if (type == "metrics")
    from.reply(message.id, ap::to_json(metrics_.sample()), "metrics");
  else if (type == "exec")
    on_exec(from, message);
  else if (type == "attach")
    on_attach(from, message);
  else if (type == "signal")
    on_signal_message(from, message);
  else if (type == "resize")
    on_resize(from, message);
  else if (type == "dial")
    on_dial(from, message);
  else if (type == "close")
    on_close(from, message);
  else if (type == "resumed")
    on_resumed(from, message);
  else if (type == "shutdown")
    on_shutdown(from, message);
  else if (!on_file(from, message))
    from.error(message.id, failure{ec::bad_request,
                                   "there is no message "
                                       + caged::quoted(type.substr(0, 64)),
                                   {}});
}

void server::on_hello(connection& from, line& message) {
  auto version = ap::number_or(message.payload, "protocol", ap::version);
  auto raw = ap::flag_or(message.payload, "raw", false);
  auto beats = ap::flag_or(message.payload, "heartbeats", true);
  auto metrics = ap::flag_or(message.payload, "metrics", true);
  for (const auto* flag : {&raw, &beats, &metrics})
    if (!*flag)
      return from.error(message.id, flag->error());
  if (!version)
    return from.error(message.id, version.error());
  if (*version != ap::version)
    return from.error(message.id,
                      failure{ec::unsupported,
                              "protocol " + std::to_string(*version)
                                  + " is not spoken here; this agent speaks "
                                  + std::to_string(ap::version),
                              {}});
  json execs = json::array();
  for (auto& [_, item] : execs_)
    execs.push_back(item->describe());
  from.reply(message.id,
             {{"protocol", ap::version},
              {"agent", CAGED_VERSION},
              {"boot", boot_},
              {"init", init_},
              {"raw", *raw},
              {"execs", std::move(execs)}},
             "hello");
  from.set_raw(*raw);
  from.greeted = true;
  from.heartbeats = *beats;
  from.metrics = *metrics;
  if (*beats)
    from.send(heartbeat_line());
  if (*metrics)
    from.send(metrics_line());
}

void server::on_exec(connection& from, line& message) {
  auto name = ap::text(message.payload, "exec");
  if (!name)
    return from.error(message.id, name.error());
  if (!valid_stream_name(*name))
    return from.error(
        message.id,
        failure{ec::bad_request, "exec must be 1 to 64 of [0-9a-zA-Z-]", {}});
  auto known = execs_.find(*name);
  if (known != execs_.end()) {
    // An attachment at the lowest offsets that are kept.
    attach_to(from, *known->second, message, false);
    return;
  }
  if (stopping_)
    return from.error(
        message.id,
        failure{ec::shutting_down, "the agent is shutting down", {}});
  if (dials_.count(*name) != 0)
    return from.error(message.id,
                      failure{ec::conflict, "a dial has that name", {}});
  if (execs_.size() >= limits::execs_per_sandbox)
    return from.error(message.id,
                      failure{ec::too_large,
                              "there are " + std::to_string(execs_.size())
                                  + " execs, which is the most",
                              {}});
  auto made = std::make_unique<exec>(*this, *name);
  if (auto started =
          made->start(message.payload, defaults_, options_.workspace);
      !started)
    return from.error(message.id, started.error(), *name);
  auto& item = *execs_.emplace(*name, std::move(made)).first->second;
  item.attach(from);
  from.reply(message.id,
             {{"exec", *name}, {"pid", item.pid()}, {"created", true}});
  item.grant_input();
}

result<exec*> server::find_exec(const json& payload) {
  auto name = ap::text(payload, "exec");
  if (!name)
    return tl::unexpected{name.error()};
  auto it = execs_.find(*name);
  if (it == execs_.end())
    return fail(ec::not_found, "no exec " + caged::quoted(name->substr(0, 64)));
  return it->second.get();
}

void server::on_attach(connection& from, line& message) {
  auto item = find_exec(message.payload);
  if (!item)
    return from.error(message.id, item.error());
  attach_to(from, **item, message, true);
}

/// attach names its offsets (0 when absent); a repeated exec, which has none,
/// gets everything that is kept.
void server::attach_to(connection& from, exec& item, const line& message,
                       bool named) {
  std::optional<std::uint64_t> offsets[stream::outputs];
  for (std::size_t i = 0; named && i < stream::outputs; ++i) {
    std::string name{item.output_name(i)};
    auto offset = ap::number_or(message.payload, name.c_str(), 0);
    if (!offset)
      return from.error(message.id, offset.error(), item.name());
    offsets[i] = *offset;
  }
  auto given = parse_credits(message.payload);
  if (!given)
    return from.error(message.id, given.error(), item.name());
  if (auto done = item.go_on_from(offsets[0], offsets[1], *given); !done)
    return from.error(message.id, done.error(), item.name());
  item.attach(from);
  from.reply(message.id, {{"exec", item.name()},
                          {"pid", item.pid()},
                          {"created", false},
                          {"stdin", item.input().received},
                          {"stdout", item.output(0).kept.base()},
                          {"stderr", item.output(1).kept.base()}});
  item.grant_input();
}

stream* server::find_stream(const std::string& name) {
  if (auto it = execs_.find(name); it != execs_.end())
    return it->second.get();
  if (auto it = dials_.find(name); it != dials_.end())
    return it->second.get();
  return nullptr;
}

void server::on_stream(connection& from, line& message) {
  const auto& payload = message.payload;
  auto name = ap::text(payload, "stream");
  auto channel = ap::text(payload, "channel");
  auto position =
      ap::number(payload, message.type == "credit" ? "limit" : "offset");
  if (!name)
    return from.error(message.id, name.error());
  if (!channel)
    return from.error(message.id, channel.error(), *name);
  if (!position)
    return from.error(message.id, position.error(), *name, *channel);
  auto* item = find_stream(*name);
  if (!item)
    return from.error(message.id,
                      failure{ec::not_found,
                              "no stream " + caged::quoted(name->substr(0, 64)),
                              {}});
  if (item->link() != &from)
    return from.error(
        message.id,
        failure{ec::denied, "this connection is not attached to " + *name, {}},
        *name, *channel);
  result<void> done;
  if (message.type == "data") {
    auto bytes = ap::take_bytes(message);
    done = bytes ? item->on_data(*channel, *position, *bytes)
                 : result<void>{tl::unexpect, bytes.error()};
  } else if (message.type == "ack") {
    done = item->on_ack(*channel, *position);
  } else if (message.type == "credit") {
    done = item->on_credit(*channel, *position);
  } else {
    done = item->on_eof(*channel, *position);
  }
  if (!done)
    from.error(message.id, done.error(), *name, *channel);
}

void server::on_signal_message(connection& from, line& message) {
  auto item = find_exec(message.payload);
  if (!item)
    return from.error(message.id, item.error());
  auto number = signal_of(message.payload);
  if (!number)
    return from.error(message.id, number.error());
  if (auto done = (*item)->signal(*number); !done)
    return from.error(message.id, done.error());
  from.reply(message.id, json::object());
}

void server::on_resize(connection& from, line& message) {
  auto item = find_exec(message.payload);
  auto rows = ap::number(message.payload, "rows", 10000);
  auto cols = ap::number(message.payload, "cols", 10000);
  if (!item)
    return from.error(message.id, item.error());
  if (!rows || !cols)
    return from.error(message.id, rows ? cols.error() : rows.error());
  if (auto done = (*item)->resize(static_cast<unsigned>(*rows),
                                  static_cast<unsigned>(*cols));
      !done)
    return from.error(message.id, done.error());
  from.reply(message.id, json::object());
}

void server::on_dial(connection& from, line& message) {
  auto name = ap::text(message.payload, "stream");
  if (!name)
    return from.error(message.id, name.error());
  if (!valid_stream_name(*name))
    return from.error(
        message.id,
        failure{ec::bad_request, "stream must be 1 to 64 of [0-9a-zA-Z-]", {}});
  if (find_stream(*name))
    return from.error(message.id,
                      failure{ec::conflict, "a stream has that name", {}});
  if (stopping_)
    return from.error(
        message.id,
        failure{ec::shutting_down, "the agent is shutting down", {}});
  if (dials_.size() >= dials_most)
    return from.error(message.id,
                      failure{ec::too_large,
                              "there are " + std::to_string(dials_most)
                                  + " dials, which is the most",
                              {}});
  auto made = std::make_unique<dial>(*this, *name);
  if (auto done = made->start(message.payload); !done)
    return from.error(message.id, done.error());
  auto& item = *dials_.emplace(*name, std::move(made)).first->second;
  item.attach(from);
  from.reply(message.id, {{"stream", *name}});
  item.grant_input();
}

void server::on_close(connection& from, line& message) {
  auto name = ap::text(message.payload, "stream");
  auto it = name ? dials_.find(*name) : dials_.end();
  if (it == dials_.end() || it->second->link() != &from)
    return from.error(
        message.id,
        failure{ec::not_found, "no such dial of this connection", {}});
  it->second->close();
}

void server::on_resumed(connection& from, line& message) {
  auto env = ap::text_map(message.payload, "env");
  auto time = ap::number_or(message.payload, "time_ns", 0, UINT64_MAX);
  auto entropy = ap::optional_text(message.payload, "entropy");
  auto memory = ap::number_or(message.payload, "memory_bytes", 0);
  auto cpus = ap::number_or(message.payload, "cpus", 0);
  if (message.payload.contains("env") && !env)
    return from.error(message.id, env.error());
  if (!time)
    return from.error(message.id, time.error());
  if (!entropy)
    return from.error(message.id, entropy.error());
  if (!memory)
    return from.error(message.id, memory.error());
  if (!cpus)
    return from.error(message.id, cpus.error());
  if (message.payload.contains("env"))
    defaults_ = *env;
  metrics_.change_limits(*memory, *cpus);
  // Both are a VM's business; in a container they are not permitted, and not
  // needed.
  if (*time > 0) {
    timespec now{static_cast<time_t>(*time / 1'000'000'000),
                 static_cast<long>(*time % 1'000'000'000)};
    if (::clock_settime(CLOCK_REALTIME, &now) != 0)
      log::debug("the clock cannot be set here");
  }
  if (*entropy) {
    auto bytes = base64_decode(**entropy);
    if (!bytes)
      return from.error(message.id, bytes.error());
    const std::string seed = std::move(*bytes);
    unique_fd pool{::open("/dev/urandom", O_WRONLY | O_CLOEXEC)};
    if (pool && ::write(pool.get(), seed.data(), seed.size()) >= 0)
      ::ioctl(pool.get(), RNDRESEEDCRNG);
  }
  from.reply(message.id, json::object());
}

bool server::on_file(connection& from, line& message) {
  const auto& type = message.type;
  if (type == "read") {
    std::string bytes;
    auto done = files_.read(message.payload, bytes);
    if (!done) {
      from.error(message.id, done.error());
    } else if (message.id) {
      from.send(ap::encode_data("result", message.id, std::move(*done), bytes,
                                from.raw()));
    }
  } else if (type == "write") {
    answer(from, message, files_.write(message, from.uploads));
  } else if (type == "list") {
    answer(from, message, files_.list(message.payload));
  } else if (type == "stat") {
    answer(from, message, files_.stat(message.payload));
  } else if (type == "remove") {
    auto begun = files_.remove(message.payload);
    if (!begun)
      from.error(message.id, begun.error());
    else if (!*begun)
      from.reply(message.id, {{"removed", 1}});
    else if (removals_.size() >= removals_most)
      from.error(message.id,
                 failure{ec::too_large,
                         std::to_string(removals_most)
                             + " trees are being removed, which is the most",
                         {}});
    else
      removals_.push_back({from.number(), message.id, std::move(*begun)});
  } else if (type == "mkdir") {
    answer(from, message, files_.mkdir(message.payload));
  } else {
    return false;
  }
  return true;
}

} // namespace caged::agent
