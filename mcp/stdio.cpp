#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mcp/line_buffer.hpp"
#include "mcp/log.hpp"
#include "mcp/session.hpp"
#include "mcp/workspace.hpp"

// One session over stdin and stdout: a message a line (MCP, basic/transports).
// The thread that reads also writes what it has answered, at the end of each
// chunk that it has read; workers write their own answers. Nobody else does.

namespace caged::mcp {

namespace {

/// Workers wait above it; the reader writes before it reads on.
constexpr std::size_t outbox_most = 256U << 10U;

class stdout_outlet final : public outlet {
public:
  /// `stop` is readable once the server is to end: then nobody waits for the
  /// client any more.
  stdout_outlet(int signals, int stop)
      : signals_{signals}, stop_{stop}, reader_{std::this_thread::get_id()} {
    struct stat about {};
    // A pipe or socket is ours alone, in contrast to a terminal: there a flag
    // would be the shell's, too.
    if (::fstat(STDOUT_FILENO, &about) == 0
        && (S_ISFIFO(about.st_mode) || S_ISSOCK(about.st_mode))) {
      flags_ = ::fcntl(STDOUT_FILENO, F_GETFL);
      if (flags_ >= 0)
        ::fcntl(STDOUT_FILENO, F_SETFL, flags_ | O_NONBLOCK);
    }
  }

  ~stdout_outlet() override {
    if (flags_ >= 0)
      ::fcntl(STDOUT_FILENO, F_SETFL, flags_);
  }

  bool send(std::string message) override {
    std::unique_lock lock{mutex_};
    if (std::this_thread::get_id() == reader_) {
      add(message);
      return !gone_;
    }
    room_.wait(lock, [this] { return gone_ || pending_.size() < outbox_most; });
    if (gone_)
      return false;
    add(message);
    drain(lock);
    return !gone_;
  }

  /// What the reader has answered. False: the client does not read any more,
  /// or we were told to stop.
  bool flush() {
    std::unique_lock lock{mutex_};
    // A worker that writes takes it along; but its turn may be long.
    drain(lock);
    room_.wait(lock, [this] { return gone_ || pending_.size() < outbox_most; });
    return !gone_;
  }

  /// Whether the reader should write before it goes on.
  bool crowded() {
    std::lock_guard lock{mutex_};
    return pending_.size() >= outbox_most;
  }

  /// Nothing is written any more; those who wait go on.
  void abandon() {
    std::lock_guard lock{mutex_};
    gone_ = true;
    room_.notify_all();
  }

private:
  void add(std::string& message) {
    message += '\n';
    if (pending_.empty() && message.size() > 4096)
      pending_.swap(message);
    else
      pending_ += message;
  }

  /// Writes until nothing is left, unless another thread does already.
  void drain(std::unique_lock<std::mutex>& lock) {
    if (writing_)
      return;
    writing_ = true;
    while (!pending_.empty() && !gone_) {
      auto text = std::move(pending_);
      pending_.clear();
      lock.unlock();
      room_.notify_all();
      const auto written = write_all(text);
      lock.lock();
      if (!written)
        gone_ = true;
      else if (pending_.empty() && text.capacity() <= outbox_most) {
        text.clear();
        pending_.swap(text); // its memory is of use again
      }
    }
    writing_ = false;
    room_.notify_all();
  }

  bool write_all(std::string_view text) const {
    while (!text.empty()) {
      const auto n = ::write(STDOUT_FILENO, text.data(), text.size());
      if (n > 0) {
        text.remove_prefix(static_cast<std::size_t>(n));
        continue;
      }
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0 && errno != EAGAIN)
        return false;
      pollfd ready[] = {{STDOUT_FILENO, POLLOUT, 0},
                        {signals_, POLLIN, 0},
                        {stop_, POLLIN, 0}};
      if (::poll(ready, 3, -1) < 0 && errno != EINTR)
        return false;
      if (ready[1].revents != 0 || ready[2].revents != 0)
        return false;
    }
    return true;
  }

  const int signals_, stop_;
  const std::thread::id reader_;
  int flags_ = -1;
  std::mutex mutex_;
  std::condition_variable room_;
  std::string pending_;
  bool writing_ = false;
  bool gone_ = false;
};

enum class ended { by_signal, by_input, by_output };

/// One line: parsed, and given to the session.
void take(std::string_view line, session& to,
          const std::shared_ptr<stdout_outlet>& out, line_buffer& from) {
  if (!line.empty() && line.back() == '\r')
    line.remove_suffix(1);
  if (line.empty())
    return; // no message
  auto text = parse_text(line);
  from.done(); // a large line goes before its message is worked on
  if (text)
    to.receive(std::move(*text), out);
  else
    out->send(std::move(text.error()));
}

ended read_all(const server& of, session& to,
               const std::shared_ptr<stdout_outlet>& out, int signals) {
  line_buffer in{of.config().max_message_bytes};
  for (;;) {
    if (!out->flush()) {
      pollfd told{signals, POLLIN, 0};
      return ::poll(&told, 1, 0) == 1 ? ended::by_signal : ended::by_output;
    }
    pollfd ready[] = {{STDIN_FILENO, POLLIN, 0}, {signals, POLLIN, 0}};
    if (::poll(ready, 2, -1) < 0) {
      if (errno == EINTR)
        continue;
      return ended::by_input;
    }
    if (ready[1].revents != 0)
      return ended::by_signal;
    const auto n = in.fill(STDIN_FILENO);
    if (n == 0) {
      // A last line without its end: whole if it is JSON, else half a message.
      if (auto text = parse_text(in.rest()))
        to.receive(std::move(*text), out);
      return ended::by_input;
    }
    if (n < 0)
      continue;
    while (auto line = in.next()) {
      if (in.too_long())
        out->send(
            error_response(nullptr, rpc_code::invalid_request,
                           "a message may have at most "
                               + std::to_string(of.config().max_message_bytes)
                               + " bytes: send less at once"));
      else
        take(*line, to, out, in);
      if (out->crowded() && !out->flush())
        break;
    }
  }
}

/// Waits until no call is left. False: not in this time.
bool settle(const session& of, std::chrono::milliseconds most, int signals) {
  const auto until = std::chrono::steady_clock::now() + most;
  while (of.busy() > 0) {
    if (std::chrono::steady_clock::now() > until)
      return false;
    pollfd told[] = {{signals, POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    if (::poll(told, 2, 2) > 0)
      return false; // told to stop, or the client does not read any more
  }
  return true;
}

} // namespace

int serve_stdio(server& of) {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t told;
  sigemptyset(&told);
  for (const auto number : {SIGTERM, SIGINT})
    sigaddset(&told, number);
  // Before the first worker, which inherits it. Commands get an empty mask.
  ::pthread_sigmask(SIG_BLOCK, &told, nullptr);
  const owned_fd signals{::signalfd(-1, &told, SFD_CLOEXEC | SFD_NONBLOCK)};
  const owned_fd stop{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!signals || !stop) {
    log::error("no descriptor for signals", {{"error", std::strerror(errno)}});
    return 1;
  }
  auto out = std::make_shared<stdout_outlet>(signals.get(), stop.get());
  auto client = session::make(of, out);
  log::info("serving stdio", {{"workspace", of.config().workspace},
                              {"read_only", of.config().read_only}});
  const auto why = read_all(of, *client, out, signals.get());
  // What runs when the input ends has a second: "printf ... | server" is worth
  // an answer. A client that is gone closes both.
  if (why == ended::by_input)
    settle(*client, std::chrono::seconds{1}, signals.get());
  if (why == ended::by_input)
    out->flush();
  client->close();
  ::eventfd_write(stop.get(), 1);
  out->abandon();
  log::info("ending", {{"reason", why == ended::by_signal  ? "signal"
                                  : why == ended::by_input ? "end of input"
                                                           : "output closed"}});
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::seconds{5};
  while (client->busy() > 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  if (client->busy() > 0) {
    // A system call that never returns (a dead network file system): its thread
    // cannot be ended, the process can.
    log::warn("ending although calls have not ended",
              {{"calls", client->busy()}});
    std::_Exit(0);
  }
  return 0;
}

} // namespace caged::mcp
