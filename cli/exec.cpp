#include "cli/exec.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <iostream>
#include <memory>
#include <optional>

#include <sys/signalfd.h>
#include <unistd.h>
#include <zmq.h>

#include "cli/endpoint.hpp"
#include "cli/exec_stream.hpp"
#include "cli/terminal.hpp"
#include "messages/text.hpp"

namespace caged::cli {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

namespace {

constexpr auto reopen_interval = 100ms;
/// A node that is away for longer is worth a line.
constexpr auto quiet_time = 1s;
/// Messages taken before output is written: bounds what piles up.
constexpr int burst = 64;

/// The signals that we pass on, as a descriptor; the mask is put back.
class signals {
public:
  signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGPIPE})
      ::sigaddset(&set, number);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
    ::sigdelset(&set, SIGPIPE); // write(2) says EPIPE
    fd_ = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  }
  ~signals() {
    ::close(fd_);
    // A pending SIGPIPE must not end us now: the exit code is the command's.
    std::signal(SIGPIPE, SIG_IGN);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  signals(const signals&) = delete;
  signals& operator=(const signals&) = delete;

  int fd() const { return fd_; }
  /// 0 when none is there.
  int next() const {
    signalfd_siginfo info{};
    return ::read(fd_, &info, sizeof info) == sizeof info
               ? static_cast<int>(info.ssi_signo)
               : 0;
  }

private:
  int fd_ = -1;
  sigset_t before_{};
};

class exec_run {
public:
  exec_run(node_address address, api::exec what, const exec_ends& ends,
           const exec_target& to)
      : address_{std::move(address)},
        tty_{what.tty},
        attached_{what.attach_only},
        port_{to.port},
        ends_{ends},
        stream_{std::move(what)},
        id_{to.exec.empty() ? make_uuid() : to.exec} {}

  result<exec_end> run();

private:
  result<bool> reconnect();
  result<void> receive();
  void write_output(api::channel on, byte_sink& to);
  void read_stdin();
  bool leaves(std::string& bytes);
  void take_signals();
  void stop(int number);
  void send(api::request_body body);
  void send_outgoing();
  void wait();

  node_address address_;
  bool tty_;
  bool attached_;
  std::uint16_t port_; ///< 0: an exec
  exec_ends ends_;
  exec_stream stream_;
  std::string id_;
  std::unique_ptr<connection> node_;
  signals signals_; // before raw_: it must see what would leave it raw
  std::unique_ptr<raw_terminal> raw_;
  bool out_ready_ = true, err_ready_ = true;
  bool stdin_ready_ = false, stdin_over_ = false;
  steady_clock::time_point away_since_{};
  std::optional<steady_clock::time_point> refused_since_;
  bool ever_there_ = false;
  bool lost_before_ = false;
  int interrupts_ = 0;
  steady_clock::time_point last_interrupt_{};
  bool reader_gone_ = false;
  bool out_ended_ = false;
  bool said_waiting_ = false;
  bool held_key_ = false;        ///< Ctrl-P that may begin the keys to leave
  bool left_ = false;            ///< and they came
  std::optional<int> abandoned_; ///< signal that ends us without the node
  /// When a transfer that was told to end is killed.
  std::optional<steady_clock::time_point> stop_until_;
  exec_end end_;
};

void exec_run::send(api::request_body body) {
  if (!node_)
    return;
  api::request message;
  message.id = id_;
  message.body = std::move(body);
  node_->send(message);
}

void exec_run::send_outgoing() {
  if (!node_)
    return;
  for (auto& body : stream_.outgoing())
    send(std::move(body));
}

/// False: not yet, try again.
result<bool> exec_run::reconnect() {
  auto now = steady_clock::now();
  auto opened = connection::open(address_);
  if (!opened) {
    if (ever_there_ && !said_waiting_ && now - away_since_ > quiet_time) {
      said_waiting_ = true;
      std::cerr << "caged: the node is away; waiting for it"
                << (tty_ ? "\r\n" : "\n") << std::flush;
    }
    if (!ever_there_ || is_final(opened.error())
        || now - away_since_ > limits::reattach_grace)
      return tl::unexpected<failure>(opened.error());
    return false;
  }
  node_ = std::move(*opened);
  ever_there_ = true;
  auto want = stream_.attach();
  if (port_ != 0) {
    send(api::dial{want.sandbox, port_, want.stdout_credit, want.resume});
    return true;
  }
  send(std::move(want));
  if (tty_) {
    auto [rows, cols] = terminal_size();
    send(api::exec_resize{rows, cols});
  }
  return true;
}

result<void> exec_run::receive() {
  for (int i = 0; i < burst; ++i) {
    auto got = node_->receive();
    if (!got)
      return tl::unexpected<failure>(got.error());
    if (!*got)
      return {};
    if ((*got)->id != id_)
      continue;
    auto* error = std::get_if<api::error_reply>(&(*got)->body);
    // A daemon that is starting knows the sandbox but not yet its agent.
    bool waits = error && stream_.started() && is_transient(error->why.code)
                 && error->why.code != ec::agent_lost
                 && error->why.code != ec::lost;
    if (error && (attached_ || lost_before_))
      waits = waits || error->why.code == ec::unavailable;
    if (waits) {
      auto now = steady_clock::now();
      if (!refused_since_)
        refused_since_ = now;
      if (now - *refused_since_ > limits::reattach_grace)
        return tl::unexpected<failure>(error->why);
      node_.reset();
      return {};
    }
    if (auto taken = stream_.take((*got)->body); !taken)
      return taken;
    if (stream_.started()) {
      away_since_ = steady_clock::now();
      refused_since_.reset();
    }
  }
  return {};
}

void exec_run::write_output(api::channel on, byte_sink& to) {
  auto& ready = on == api::channel::out ? out_ready_ : err_ready_;
  while (ready) {
    auto bytes = stream_.pending(on);
    if (bytes.empty())
      return;
    auto n = to.write(bytes);
    if (n > 0) {
      stream_.written(on, static_cast<std::size_t>(n));
      if (to.must_poll())
        ready = false;
    } else if (n == 0) {
      ready = false;
    } else {
      // Nobody reads any more: the command learns it as it would locally.
      int error = errno;
      stream_.discard(on);
      if (on == api::channel::out) {
        end_.sink_error = error;
        if (ends_.transfer)
          stop(SIGPIPE);
        else if (!reader_gone_)
          send(api::exec_signal{SIGPIPE});
        reader_gone_ = true;
        last_interrupt_ = steady_clock::now();
      }
    }
  }
}

void exec_run::read_stdin() {
  auto room = stream_.stdin_room();
  if (!stdin_ready_ || stdin_over_ || room == 0)
    return;
  std::string bytes(room, '\0');
  auto n = ends_.in->read(bytes.data(), bytes.size());
  stdin_ready_ = false;
  if (n > 0) {
    bytes.resize(static_cast<std::size_t>(n));
    if (attached_ && tty_ && leaves(bytes))
      return;
    stream_.stdin_bytes(std::move(bytes));
  } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
    stdin_over_ = true;
    end_.source_error = n < 0 ? errno : 0;
    // What has come so far must not pass for the whole.
    if (n < 0 && ends_.transfer)
      stop(SIGTERM);
    else
      stream_.stdin_end();
  }
}

/// Ctrl-P Ctrl-Q leaves an attached terminal to itself. A Ctrl-P is held back
/// until the key behind it is known.
bool exec_run::leaves(std::string& bytes) {
  constexpr char ctrl_p = 0x10, ctrl_q = 0x11;
  std::string out;
  for (char key : bytes) {
    if (held_key_ && key == ctrl_q) {
      left_ = true;
      return true;
    }
    if (held_key_)
      out.push_back(ctrl_p);
    held_key_ = key == ctrl_p;
    if (!held_key_)
      out.push_back(key);
  }
  bytes = std::move(out);
  return bytes.empty();
}

/// Ends a transfer: what it was for is lost already.
void exec_run::stop(int number) {
  constexpr auto patience = 2s;
  if (stop_until_)
    return;
  stop_until_ = steady_clock::now() + patience;
  send(api::exec_signal{number});
}

void exec_run::take_signals() {
  constexpr auto repeat_time = 1s;
  constexpr int patience = 3;
  while (int number = signals_.next()) {
    if (number == SIGWINCH) {
      if (tty_) {
        auto [rows, cols] = terminal_size();
        send(api::exec_resize{rows, cols});
      }
      continue;
    }
    auto now = steady_clock::now();
    interrupts_ = now - last_interrupt_ <= repeat_time ? interrupts_ + 1 : 1;
    last_interrupt_ = now;
    if (end_.interrupted == 0)
      end_.interrupted = number;
    if (!node_ || !stream_.started()) {
      abandoned_ = number; // nobody to pass it on to
      return;
    }
    if (ends_.transfer) {
      stop(number);
      continue;
    }
    // A terminal's death reaches the shell inside as a hang-up.
    if (tty_)
      send(api::exec_signal{SIGHUP});
    else
      send(api::exec_signal{interrupts_ >= patience ? SIGKILL : number});
    if (interrupts_ > patience)
      abandoned_ = number; // the kill was not answered
  }
}

void exec_run::wait() {
  std::array<zmq_pollitem_t, 6> items{};
  std::size_t count = 0;
  auto add = [&](void* socket, int fd, short events) {
    items[count] = {socket, fd, events, 0};
    return count++;
  };
  auto none = items.size();
  add(nullptr, signals_.fd(), ZMQ_POLLIN);
  auto in = none, out = none, err = none;
  if (node_) {
    // With a full reader no message is asked for beyond the window: credit
    // bounds what can come, so the socket is always drained.
    add(node_->socket(), -1, ZMQ_POLLIN);
    add(node_->monitor(), -1, ZMQ_POLLIN);
  }
  if (!stdin_over_ && stream_.stdin_room() > 0)
    in = add(nullptr, ends_.in->fd(), ZMQ_POLLIN);
  if (!stream_.pending(api::channel::out).empty() && ends_.out.fd() >= 0)
    out = add(nullptr, ends_.out.fd(), ZMQ_POLLOUT);
  if (!stream_.pending(api::channel::err).empty() && ends_.err.fd() >= 0)
    err = add(nullptr, ends_.err.fd(), ZMQ_POLLOUT);
  constexpr long tick_ms = 500;
  auto timeout = node_ ? tick_ms : static_cast<long>(reopen_interval.count());
  if (zmq_poll(items.data(), static_cast<int>(count), timeout) < 0)
    return;
  if (in != none)
    stdin_ready_ = items[in].revents != 0; // errors are seen by read
  if (out != none)
    out_ready_ = items[out].revents != 0;
  if (err != none)
    err_ready_ = items[err].revents != 0;
}

result<exec_end> exec_run::run() {
  constexpr auto pipe_patience = 1s;
  away_since_ = steady_clock::now();
  if (tty_)
    raw_ = std::make_unique<raw_terminal>();
  stdin_over_ = !ends_.in;
  while (true) {
    if (node_ && node_->lost()) {
      if (port_ != 0 && stream_.started())
        return fail(ec::unavailable,
                    "the node went away, and with it the connection",
                    "connect again");
      node_.reset();
      lost_before_ = true;
      refused_since_.reset();
      away_since_ = steady_clock::now();
    }
    if (!node_) {
      auto there = reconnect();
      if (!there)
        return tl::unexpected<failure>(there.error());
    }
    if (node_)
      if (auto got = receive(); !got)
        return tl::unexpected<failure>(got.error());
    write_output(api::channel::out, ends_.out);
    write_output(api::channel::err, ends_.err);
    read_stdin();
    take_signals();
    send_outgoing();
    if (!out_ended_ && ends_.out_ended && stream_.ended(api::channel::out)) {
      out_ended_ = true;
      ends_.out_ended();
    }
    if (stream_.finished())
      break;
    if (left_) {
      end_.ended = {0, 0, "left"};
      return end_;
    }
    auto now = steady_clock::now();
    if (stop_until_ && now > *stop_until_) {
      send(api::exec_signal{SIGKILL});
      abandoned_ = end_.interrupted != 0 ? end_.interrupted : SIGPIPE;
    }
    if (abandoned_) {
      end_.ended = {-1, *abandoned_, "abandoned"};
      return end_;
    }
    if (!ends_.transfer && reader_gone_ && node_
        && now - last_interrupt_ > pipe_patience) {
      // It ignores SIGPIPE: what it has lost is its terminal.
      send(api::exec_signal{SIGHUP});
      last_interrupt_ = now;
    }
    if (!stream_.started()
        && now - away_since_ > limits::request_deadline_default)
      return fail(ec::timeout,
                  "the command did not start within "
                      + format_duration(limits::request_deadline_default),
                  "caged why shows how the sandbox is");
    wait();
  }
  send(api::stream_ack{api::channel::exit, 0});
  end_.ended = *stream_.exit();
  return end_;
}

} // namespace

bool is_utf8(std::string_view text) {
  std::uint32_t point = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    auto size = utf8_sequence(text, at, point);
    if (size == 0)
      return false;
    at += size;
  }
  return true;
}

int exit_code_of(const api::exec_exit& ended) {
  if (ended.reason == "timeout")
    return exit_timeout;
  return ended.signal > 0 ? 128 + ended.signal : ended.code;
}

result<exec_end> run_exec(const node_address& node, api::exec what,
                          const exec_ends& ends, const exec_target& to) {
  for (const auto& arg : what.argv)
    if (!is_utf8(arg))
      return fail(ec::bad_request,
                  "the argument " + quoted(arg) + " is no valid UTF-8",
                  "that is all that a command in a sandbox can be given");
  what.wants_stdin = ends.in != nullptr;
  exec_run running{node, std::move(what), ends, to};
  return running.run();
}

result<int> run_exec(const node_address& node, api::exec what,
                     const exec_target& to) {
  descriptor_source in{STDIN_FILENO};
  descriptor_sink out{STDOUT_FILENO}, err{STDERR_FILENO};
  auto* from = what.wants_stdin ? &in : nullptr;
  auto ended = run_exec(node, std::move(what), {from, out, err}, to);
  if (!ended)
    return tl::unexpected<failure>(ended.error());
  return exit_code_of(ended->ended);
}

} // namespace caged::cli
