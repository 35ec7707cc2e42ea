#include "tests/bench/mcp/pipe_client.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <stdexcept>
#include <unordered_map>

#include <poll.h>
#include <unistd.h>

namespace caged::bench {

namespace {

constexpr auto patience = std::chrono::seconds(60);

double microseconds(clock::duration took) {
  return std::chrono::duration<double, std::micro>(took).count();
}

/// What the server used from construction on.
class cpu_meter {
public:
  explicit cpu_meter(const server_process& of) : of_{of}, before_{of.cpu()} {}
  cpu_used per(std::size_t operations) const {
    auto now = of_.cpu();
    auto n = double(operations);
    return {(now.own - before_.own) / n, (now.children - before_.children) / n};
  }

private:
  const server_process& of_;
  cpu_used before_;
};

std::uint64_t id_in(std::string_view part, bool last) {
  constexpr std::string_view key = "\"id\":";
  auto at = last ? part.rfind(key) : part.find(key);
  std::uint64_t id = 0;
  if (at != std::string_view::npos)
    std::from_chars(part.data() + at + key.size(), part.data() + part.size(),
                    id);
  return id;
}

} // namespace

double figures::rank(double part) const {
  if (each_us.empty())
    return 0;
  auto sorted = each_us;
  std::sort(sorted.begin(), sorted.end());
  auto at =
      std::min(std::size_t(part * double(sorted.size())), sorted.size() - 1);
  return sorted[at];
}

request tool_call(const std::string& name, json arguments) {
  return {"tools/call", {{"name", name}, {"arguments", std::move(arguments)}}};
}

std::string text_of(const request& what, std::uint64_t id) {
  return R"({"jsonrpc":"2.0","id":)" + std::to_string(id) + R"(,"method":")"
         + what.method + R"(","params":)" + what.params.dump() + "}";
}

std::uint64_t id_of(std::string_view message) {
  constexpr std::size_t ends = 64;
  if (auto id = id_in(message.substr(0, ends), false); id != 0)
    return id;
  if (message.size() <= ends)
    return 0;
  return id_in(message.substr(message.size() - ends), true);
}

void must_be_result(std::string_view message, const request& of,
                    bool thoroughly) {
  bool good = message.find("\"result\"") != std::string_view::npos;
  if (good && thoroughly) {
    auto parsed = json::parse(message, nullptr, false);
    good = parsed.is_object() && parsed.contains("result")
           && !parsed["result"].value("isError", false);
  } else if (good && message.size() < 4096) {
    good = message.find("\"isError\":true") == std::string_view::npos;
  }
  if (!good)
    throw std::runtime_error(of.method + " " + of.params.dump().substr(0, 200)
                             + " is answered with "
                             + std::string{message.substr(0, 500)});
}

std::uint64_t pipe_client::send(const request& what) {
  output_ += text_of(what, ++last_id_);
  output_ += '\n';
  pump(false);
  return last_id_;
}

/// Writes what is there to write and, when asked to, waits until something was
/// read. Both at a time: a server may not read while its answers are not.
void pipe_client::pump(bool wait_for_input) {
  for (;;) {
    if (sent_ < output_.size()) {
      auto n =
          ::write(to_.in(), output_.data() + sent_, output_.size() - sent_);
      if (n > 0)
        sent_ += std::size_t(n);
      else if (errno != EAGAIN)
        throw std::runtime_error("the server reads no more");
      if (sent_ == output_.size()) {
        output_.clear();
        sent_ = 0;
      }
    }
    if (!wait_for_input)
      return;
    pollfd both[] = {{to_.out(), POLLIN, 0}, {to_.in(), POLLOUT, 0}};
    auto n = ::poll(both, output_.empty() ? 1 : 2,
                    int(std::chrono::milliseconds(patience).count()));
    if (n == 0)
      throw std::runtime_error("the server does not answer for a minute");
    if (both[0].revents == 0)
      continue;
    if (taken_ > 0) {
      input_.erase(0, taken_);
      looked_at_ -= taken_;
      taken_ = 0;
    }
    auto old = input_.size();
    constexpr std::size_t chunk = 256U << 10U;
    input_.resize(old + chunk);
    auto got = ::read(to_.out(), input_.data() + old, chunk);
    input_.resize(old + std::size_t(std::max<ssize_t>(got, 0)));
    if (got == 0)
      throw std::runtime_error("the server has ended");
    return;
  }
}

/// Whether there is something to read within a millisecond.
bool pipe_client::readable() const {
  if (input_.find('\n', taken_) != std::string::npos)
    return true;
  pollfd input{to_.out(), POLLIN, 0};
  return ::poll(&input, 1, 1) > 0;
}

std::string_view pipe_client::next() {
  for (;;) {
    auto end = input_.find('\n', std::max(taken_, looked_at_));
    if (end == std::string::npos) {
      looked_at_ = input_.size();
      pump(true);
      continue;
    }
    std::string_view line{input_.data() + taken_, end - taken_};
    taken_ = looked_at_ = end + 1;
    if (id_of(line) != 0)
      return line;
  }
}

void pipe_client::initialize() {
  ask({"initialize",
       {{"protocolVersion", "2025-06-18"},
        {"capabilities", json::object()},
        {"clientInfo", {{"name", "bench"}, {"version", "1"}}}}});
  output_ += R"({"jsonrpc":"2.0","method":"notifications/initialized"})"
             "\n";
  pump(false);
}

json pipe_client::ask(const request& what) {
  auto id = send(what);
  for (;;) {
    auto line = next();
    if (id_of(line) != id)
      continue;
    must_be_result(line, what, true);
    return json::parse(line)["result"];
  }
}

figures pipe_client::sequence(const request& what, const effort& much) {
  ask(what); // warm, and thoroughly looked at
  figures out;
  cpu_meter used{to_};
  auto from = clock::now();
  auto until = from + std::chrono::duration<double>(much.seconds);
  auto sent = from;
  while (out.each_us.size() < much.most
         && (sent < until || out.each_us.size() < much.least)) {
    auto id = send(what);
    auto line = next();
    if (id_of(line) != id)
      throw std::runtime_error("an answer to something else: "
                               + std::string{line.substr(0, 200)});
    auto now = clock::now();
    must_be_result(line, what, false);
    out.each_us.push_back(microseconds(now - sent));
    sent = clock::now();
  }
  out.ops_per_s = 1e6 * double(out.each_us.size()) / microseconds(sent - from);
  out.cpu_per_op = used.per(out.each_us.size());
  return out;
}

figures pipe_client::pipeline(const request& what, std::size_t window,
                              const effort& much) {
  ask(what);
  figures out;
  std::unordered_map<std::uint64_t, clock::time_point> flying;
  cpu_meter used{to_};
  auto from = clock::now();
  auto until = from + std::chrono::duration<double>(much.seconds);
  auto launch = [&] {
    auto now = clock::now();
    flying.emplace(send(what), now);
  };
  for (std::size_t i = 0; i < window; ++i)
    launch();
  auto last = from;
  while (!flying.empty()) {
    auto line = next();
    auto found = flying.find(id_of(line));
    if (found == flying.end())
      throw std::runtime_error("an answer to nothing: "
                               + std::string{line.substr(0, 200)});
    must_be_result(line, what, false);
    last = clock::now();
    out.each_us.push_back(microseconds(last - found->second));
    flying.erase(found);
    if (last < until || out.each_us.size() + flying.size() < much.least)
      launch();
  }
  out.ops_per_s = 1e6 * double(out.each_us.size()) / microseconds(last - from);
  out.cpu_per_op = used.per(out.each_us.size());
  return out;
}

figures pipe_client::during(const request& busy, const request& what,
                            std::size_t n) {
  figures out;
  std::unordered_map<std::uint64_t, clock::time_point> flying;
  auto exec = send(busy);
  bool running = true;
  auto due = clock::now();
  std::size_t sent = 0;
  while (running || !flying.empty() || sent < n) {
    if (sent < n && clock::now() >= due) {
      flying.emplace(send(what), clock::now());
      due = clock::now() + std::chrono::milliseconds(10);
      ++sent;
    }
    // A server that does one thing at a time answers none until later.
    if (sent < n && !readable())
      continue;
    auto line = next();
    auto id = id_of(line);
    if (id == exec) {
      must_be_result(line, busy, true);
      running = false;
    } else if (auto found = flying.find(id); found != flying.end()) {
      must_be_result(line, what, false);
      out.each_us.push_back(microseconds(clock::now() - found->second));
      flying.erase(found);
    }
  }
  return out;
}

} // namespace caged::bench
