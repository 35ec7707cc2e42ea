#include "agent/server.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

#include <fcntl.h>
#include <linux/random.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "caged_version.hpp"
#include "messages/text.hpp"

namespace caged::agent {

namespace ap = agent_protocol;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

/// Unfinished input of all connections together. Its specification allows
/// 1 MiB; less keeps the peak below 3 MB with everything else at its worst.
constexpr std::size_t unfinished_most = 144 * 1024;
/// Answers that wait for their readers, of all connections together.
constexpr std::size_t answers_most = 112 * 1024;
/// Promised input of all streams, and what a starving one gets in any case.
constexpr std::uint64_t promise_most = 128 * 1024;
constexpr std::uint64_t promise_least = 512;
constexpr std::size_t dials_most = 64;
constexpr std::size_t removals_most = 4;
/// What removals may take of one turn of the loop.
constexpr auto removal_slice = 10ms;
/// After everything has ended: for answers that clients have not taken yet.
constexpr auto flush_grace = 1s;

bool valid_stream_name(const std::string& name) {
  return !name.empty() && name.size() <= 64
         && std::all_of(name.begin(), name.end(), [](unsigned char c) {
              return std::isalnum(c) != 0 || c == '-';
            });
}

std::uint64_t env_number(const char* name) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : 0;
}

/// Number of a signal given as number or name without SIG.
result<int> signal_of(const json& payload) {
  auto it = payload.find("signal");
  if (it != payload.end() && it->is_number_unsigned()) {
    auto number = it->get<std::uint64_t>();
    if (number >= 1 && number <= 64)
      return static_cast<int>(number);
  }
  if (it != payload.end() && it->is_string()) {
    const auto& name = it->get_ref<const std::string&>();
    for (int number = 1; number < 32; ++number) {
      const char* known = ::sigabbrev_np(number);
      if (known && name == known)
        return number;
    }
  }
  return fail(ec::bad_request,
              "signal must be a number from 1 to 64 or a name such as TERM");
}

} // namespace

server::server(config options, bool as_init)
    : options_{std::move(options)},
      init_{as_init},
      boot_{make_uuid()},
      files_{options_.workspace},
      metrics_{options_.workspace} {
  auto memory = env_number("CAGED_MEMORY_BYTES");
  auto cpus = env_number("CAGED_CPUS");
  metrics_.set_limits(
      memory ? std::optional<double>{static_cast<double>(memory)}
             : std::nullopt,
      cpus ? std::optional<double>{static_cast<double>(cpus)} : std::nullopt);
}

server::~server() {
  connections_.clear();
  dials_.clear();
  execs_.clear();
}

result<void> server::listen() {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (options_.socket.size() >= sizeof to.sun_path)
    return fail(ec::bad_request, "--socket: the path has "
                                     + std::to_string(options_.socket.size())
                                     + " bytes; the most is "
                                     + std::to_string(sizeof to.sun_path - 1));
  std::memcpy(to.sun_path, options_.socket.c_str(), options_.socket.size() + 1);
  // Somebody may be listening there; a file that nobody listens on is stale.
  struct stat about {};
  if (::lstat(options_.socket.c_str(), &about) == 0) {
    if (!S_ISSOCK(about.st_mode))
      return fail(ec::conflict, options_.socket
                                    + " exists and is no socket; remove it or "
                                      "choose another --socket");
    unique_fd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (::connect(probe.get(), reinterpret_cast<sockaddr*>(&to), sizeof to)
        == 0)
      return fail(ec::conflict, "another agent listens on " + options_.socket
                                    + "; stop it or choose another --socket");
    ::unlink(options_.socket.c_str());
  } else {
    // Its directory may be missing: one level, as for /run/caged.
    auto slash = options_.socket.rfind('/');
    if (slash != std::string::npos && slash > 0)
      ::mkdir(options_.socket.substr(0, slash).c_str(), 0700);
  }
  listener_ = unique_fd{
      ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  auto mask = ::umask(0177); // 0600 from the first moment on
  int bound =
      ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to);
  int error = errno;
  ::umask(mask);
  if (bound != 0 || ::listen(listener_.get(), 128) != 0)
    return fail_errno(ec::io, "cannot listen on " + options_.socket,
                      bound != 0 ? error : errno);
  return {};
}

int server::run() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGCHLD);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  signals_ = unique_fd{::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)};
  loop_.watch(signals_.get(), EPOLLIN, [this](auto) { on_signal(); });
  loop_.watch(listener_.get(), EPOLLIN, [this](auto) { accept(); });
  loop_.after(options_.heartbeat_interval, [this] { beat(); });
  loop_.after(options_.metrics_interval, [this] { measure(); });
  log::info("listening", {{"socket", options_.socket},
                          {"version", CAGED_VERSION},
                          {"boot", boot_}});
  reap(); // whoever ended before the signals were watched
  while (!done_) {
    settle();
    if (!done_)
      loop_.step(!removals_.empty() ? 0ms
                 : stopping_        ? 20ms
                                    : std::chrono::milliseconds(60'000));
  }
  ::unlink(options_.socket.c_str());
  log::info("ended", {{"reason", stop_reason_}});
  return 0;
}

void server::remove_on() {
  if (removals_.empty())
    return;
  auto& job = removals_.front();
  if (!job.work->step(clock::now() + removal_slice))
    return;
  // Who asked may be gone; the tree is all the same.
  if (auto it = connections_.find(job.connection); it != connections_.end()) {
    if (job.work->error())
      it->second->error(job.id, *job.work->error());
    else
      it->second->reply(job.id, {{"removed", job.work->removed()}});
  }
  removals_.erase(removals_.begin());
}

/// What is due before the loop waits.
void server::settle() {
  remove_on();
  for (int round = 0; round < 4; ++round) {
    if (forget_) {
      forget_ = false;
      std::erase_if(execs_, [](auto& item) { return item.second->over(); });
      std::erase_if(dials_, [](auto& item) { return item.second->over(); });
    }
    if (room_made_) {
      room_made_ = false;
      for (auto& [_, item] : execs_)
        item->resume_reading();
      for (auto& [_, item] : dials_)
        item->resume_reading();
    }
    auto ready = std::exchange(flush_, {});
    for (auto* who : ready)
      if (!who->dead())
        who->flush();
    bound_answers();
    std::erase_if(connections_, [](auto& item) { return item.second->dead(); });
    if (!forget_ && !room_made_ && flush_.empty())
      break;
  }
  for (auto it = flush_.begin(); it != flush_.end();) {
    // A connection that was freed just now must not be flushed later.
    bool lives =
        std::any_of(connections_.begin(), connections_.end(),
                    [&](const auto& item) { return item.second.get() == *it; });
    it = lives ? std::next(it) : flush_.erase(it);
  }
  if (stopping_)
    shutdown_step();
}

/// Each connection's answers are bounded by not reading from it; all of them
/// together by giving up who owes most.
void server::bound_answers() {
  for (;;) {
    std::size_t sum = 0;
    connection* worst = nullptr;
    for (auto& [_, item] : connections_) {
      if (item->dead())
        continue;
      sum += item->queued();
      if (!worst || item->queued() > worst->queued())
        worst = item.get();
    }
    if (sum <= answers_most)
      return;
    log::warn("closing a connection that does not read its answers",
              {{"bytes", worst->queued()}});
    worst->die();
  }
}

void server::wants_flush(connection* who) {
  if (who && !who->dead())
    flush_.insert(who);
}

std::uint64_t server::promise(std::uint64_t wanted, bool starving) {
  auto room = promise_most > promised_ ? promise_most - promised_ : 0;
  auto given = std::min(wanted, room);
  if (given < promise_least && starving)
    given = std::min(wanted, promise_least);
  promised_ += given;
  return given;
}

void server::take_back(std::uint64_t bytes) {
  promised_ -= std::min(promised_, bytes);
}

void server::check_input(connection& last) {
  std::size_t sum = 0;
  for (auto& [_, item] : connections_)
    sum += item->unfinished();
  if (sum <= unfinished_most || last.unfinished() == 0)
    return;
  last.drop_unfinished();
  last.error({}, failure{ec::too_large,
                         "all connections together have more than "
                             + std::to_string(unfinished_most)
                             + " bytes of unfinished input",
                         {}});
}

void server::accept() {
  for (int i = 0; i < 16; ++i) {
    unique_fd fd{::accept4(listener_.get(), nullptr, nullptr,
                           SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (!fd)
      return;
    if (connections_.size() >= limits::agent_connections_max) {
      auto refusal = ap::encode_line(
          "error", {},
          {{"code", "too_large"},
           {"message", "there are "
                           + std::to_string(limits::agent_connections_max)
                           + " connections, which is the most"}});
      // One try: whoever does not read it gets the close alone.
      static_cast<void>(::send(fd.get(), refusal.data(), refusal.size(),
                               MSG_DONTWAIT | MSG_NOSIGNAL));
      continue;
    }
    auto number = next_connection_++;
    connections_.emplace(
        number, std::make_unique<connection>(*this, std::move(fd), number));
  }
}

// -- processes ---------------------------------------------------------------

void server::on_signal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info)
         == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGCHLD)
      continue; // below: several may have become one
    if (init_) {
      log::warn("ignored a signal", {{"signal", info.ssi_signo}});
      continue; // a tenant could send it (agent_protocol.md, section 8)
    }
    begin_shutdown(5s, "signal");
  }
  reap();
}

/// One table of children for all: as PID 1 whoever loses its parent comes here
/// too, and is only reaped.
void server::reap() {
  int status = 0;
  pid_t pid = 0;
  while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0)
    for (auto& [_, item] : execs_)
      if (item->pid() == pid && item->running()) {
        item->ended(status);
        break;
      }
}

// -- clocks ------------------------------------------------------------------

std::string server::heartbeat_line() {
  auto uptime = std::chrono::duration_cast<std::chrono::milliseconds>(
      clock::now() - started_);
  return ap::encode_line("heartbeat", {},
                         {{"sequence", sequence_},
                          {"uptime_ms", uptime.count()},
                          {"agent", CAGED_VERSION},
                          {"boot", boot_}});
}

std::string server::metrics_line() {
  return ap::encode_line("metrics", {}, ap::to_json(metrics_.sample()));
}

void server::beat() {
  loop_.after(options_.heartbeat_interval, [this] { beat(); });
  ++sequence_;
  std::string text;
  for (auto& [_, item] : connections_)
    if (item->greeted && item->heartbeats && item->queued() < 64 * 1024) {
      if (text.empty())
        text = heartbeat_line();
      item->send(text);
    }
}

void server::measure() {
  loop_.after(options_.metrics_interval, [this] { measure(); });
  std::string text;
  for (auto& [_, item] : connections_)
    if (item->greeted && item->metrics && item->queued() < 64 * 1024) {
      if (text.empty())
        text = metrics_line();
      item->send(text);
    }
}

// -- messages ----------------------------------------------------------------

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
  if (message.payload.contains("env") && !env)
    return from.error(message.id, env.error());
  if (!time)
    return from.error(message.id, time.error());
  if (!entropy)
    return from.error(message.id, entropy.error());
  if (message.payload.contains("env"))
    defaults_ = *env;
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

// -- the end -----------------------------------------------------------------

void server::on_shutdown(connection& from, line& message) {
  auto deadline =
      ap::number_or(message.payload, "deadline_ms", 5000, 1000ULL * 3600);
  if (!deadline)
    return from.error(message.id, deadline.error());
  from.reply(message.id, json::object());
  begin_shutdown(std::chrono::milliseconds(*deadline), "shutdown");
}

void server::begin_shutdown(std::chrono::milliseconds deadline,
                            const std::string& reason) {
  if (stopping_)
    return;
  stopping_ = true;
  stop_reason_ = reason;
  stop_deadline_ = clock::now() + deadline;
  log::info("shutting down", {{"reason", reason}, {"execs", execs_.size()}});
  for (auto& [_, item] : execs_)
    item->terminate("shutdown");
}

void server::shutdown_step() {
  auto now = clock::now();
  auto running = [this] {
    return std::any_of(execs_.begin(), execs_.end(),
                       [](auto& item) { return item.second->running(); });
  };
  if (running() && now < stop_deadline_)
    return;
  if (!killed_) {
    killed_ = true;
    for (auto& [_, item] : execs_)
      item->kill_tree();
    stop_deadline_ = now + flush_grace;
  }
  // Exits and output go out first, then the farewell.
  auto unfinished = [this] {
    return std::any_of(execs_.begin(), execs_.end(),
                       [](auto& item) {
                         return item.second->link()
                                && !item.second->told_exit();
                       })
           || std::any_of(connections_.begin(), connections_.end(),
                          [](auto& item) { return !item.second->idle(); });
  };
  if (now < stop_deadline_ && unfinished())
    return;
  if (!bye_said_) {
    bye_said_ = true;
    stop_deadline_ = now + flush_grace;
    for (auto& [_, item] : connections_)
      item->send(ap::encode_line("bye", {}, {{"reason", stop_reason_}}));
    return;
  }
  done_ = now >= stop_deadline_
          || std::none_of(connections_.begin(), connections_.end(),
                          [](auto& item) { return !item.second->idle(); });
}

} // namespace caged::agent
