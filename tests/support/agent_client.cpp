#include "tests/support/agent_client.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::test {

namespace ap = agent_protocol;
using clock = std::chrono::steady_clock;
using nlohmann::json;

agent_client::agent_client(const std::string& path) {
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strncpy(to.sun_path, path.c_str(), sizeof to.sun_path - 1);
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    ::close(fd_);
    fd_ = -1;
  }
}

agent_client::~agent_client() {
  if (fd_ >= 0)
    ::close(fd_);
}

bool agent_client::send(std::string_view bytes) {
  auto deadline = clock::now() + 20s;
  while (!bytes.empty() && clock::now() < deadline) {
    auto n =
        ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (errno != EAGAIN && errno != EINTR)
      return false;
    // The agent may be waiting for us to take its answers.
    pollfd room{fd_, POLLOUT | POLLIN, 0};
    ::poll(&room, 1, 1000);
    if ((room.revents & POLLIN) != 0 && !receive(clock::now()))
      return false;
  }
  return bytes.empty();
}

bool agent_client::tell(std::string_view type, const json& payload,
                        std::optional<std::uint64_t> id) {
  return send(ap::encode_line(type, id, payload));
}

void agent_client::end_input() {
  ::shutdown(fd_, SHUT_WR);
}

/// Takes what is there or comes before the deadline. False: nothing came.
bool agent_client::receive(clock::time_point deadline) {
  if (closed_ || fd_ < 0)
    return false;
  auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - clock::now());
  pollfd ready{fd_, POLLIN, 0};
  if (::poll(&ready, 1,
             static_cast<int>(std::max<std::int64_t>(0, left.count())))
      <= 0)
    return false;
  static char buffer[256 * 1024];
  auto n = ::recv(fd_, buffer, sizeof buffer, 0);
  if (n <= 0) {
    closed_ = true;
    return false;
  }
  reader_.feed({buffer, static_cast<std::size_t>(n)});
  while (auto message = reader_.next()) {
    if (*message) {
      kept_.push_back(std::move(**message));
    } else {
      line broken;
      broken.type = "test: " + message->error().message;
      kept_.push_back(std::move(broken));
    }
  }
  return true;
}

std::optional<agent_client::line>
agent_client::wait(const std::function<bool(const line&)>& wanted,
                   std::chrono::milliseconds timeout) {
  auto deadline = clock::now() + timeout;
  for (;;) {
    auto it = std::find_if(kept_.begin(), kept_.end(), wanted);
    if (it != kept_.end()) {
      auto found = std::move(*it);
      kept_.erase(it);
      return found;
    }
    if (!receive(deadline))
      return std::nullopt;
  }
}

std::optional<agent_client::line>
agent_client::wait_type(std::string_view type,
                        std::chrono::milliseconds timeout) {
  return wait([&](const line& got) { return got.type == type; }, timeout);
}

agent_client::line agent_client::call(std::string_view type,
                                      const json& payload,
                                      std::chrono::milliseconds timeout) {
  auto id = next_id_++;
  line none;
  none.type = "none";
  if (!tell(type, payload, id))
    return none;
  return wait([&](const line& got) { return got.id == id; }, timeout)
      .value_or(none);
}

agent_client::line agent_client::hello(bool raw, bool heartbeats,
                                       bool metrics) {
  // What follows the answer may be raw already.
  reader_.allow_raw(raw);
  return call("hello", {{"protocol", 1},
                        {"raw", raw},
                        {"heartbeats", heartbeats},
                        {"metrics", metrics},
                        {"client", "test"}});
}

bool agent_client::wait_closed(std::chrono::milliseconds timeout) {
  auto deadline = clock::now() + timeout;
  while (!closed_ && clock::now() < deadline)
    receive(deadline);
  return closed_;
}

exec_outcome follow(agent_client& client, const std::string& exec,
                    std::uint64_t out_from, std::uint64_t err_from,
                    std::chrono::milliseconds timeout) {
  constexpr std::uint64_t window = 256 * 1024;
  exec_outcome got;
  std::uint64_t next[2] = {out_from, err_from};
  auto deadline = clock::now() + timeout;
  while (clock::now() < deadline) {
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - clock::now());
    auto message = client.wait(
        [&](const agent_client::line& line) {
          auto is = [&](const char* key) {
            auto it = line.payload.find(key);
            return it != line.payload.end() && *it == exec;
          };
          return (line.type == "data" && is("stream"))
                 || (line.type == "exit" && is("exec"));
        },
        left);
    if (!message)
      return got;
    auto& payload = message->payload;
    if (message->type == "exit") {
      got.code = payload.value("code", -1);
      got.signal = payload.value("signal", 0);
      got.reason = payload.value("reason", "");
      got.ended = payload.value("stdout", std::uint64_t{0}) == next[0]
                  && payload.value("stderr", std::uint64_t{0}) == next[1];
      client.tell("ack",
                  {{"stream", exec}, {"channel", "exit"}, {"offset", 0}});
      return got;
    }
    auto channel = payload.value("channel", "");
    auto which = channel == "stdout" ? 0U : 1U;
    auto offset = payload.value("offset", std::uint64_t{0});
    auto bytes = ap::take_bytes(*message);
    if (!bytes || offset != next[which]) {
      got.reason = "test: wrong data";
      return got;
    }
    next[which] += bytes->size();
    (which == 0 ? got.out : got.err) += *bytes;
    client.tell(
        "ack",
        {{"stream", exec}, {"channel", channel}, {"offset", next[which]}});
    client.tell("credit", {{"stream", exec},
                           {"channel", channel},
                           {"limit", next[which] + window}});
  }
  return got;
}

exec_outcome run_exec(agent_client& client, json order,
                      std::chrono::milliseconds timeout) {
  auto name = make_uuid();
  order["exec"] = name;
  order["credit"] = {{"stdout", 262144}, {"stderr", 262144}};
  auto answer = client.call("exec", order);
  if (answer.type != "result") {
    exec_outcome refused;
    refused.reason = answer.payload.value("message", answer.type);
    return refused;
  }
  return follow(client, name, 0, 0, timeout);
}

agent_process::agent_process(std::vector<std::string> flags,
                             std::map<std::string, std::string> env) {
  socket_ = dir_ / "agent.sock";
  ::mkdir(workspace().c_str(), 0755);
  std::vector<std::string> argv = {bin_dir() + "/caged-agent", "--socket",
                                   socket_, "--workspace", workspace()};
  argv.insert(argv.end(), flags.begin(), flags.end());
  process_options options;
  options.env = std::move(env);
  process_ = std::make_unique<background>(argv, options);
}

bool agent_process::ready() {
  return eventually(10s,
                    [&] {
                      return !process_->alive()
                             || agent_client{socket_}.connected();
                    })
         && process_->alive();
}

std::uint64_t agent_process::peak_kb() const {
  return status_kb(process_->pid(), "VmHWM");
}

} // namespace caged::test
