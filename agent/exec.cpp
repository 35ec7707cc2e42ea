#include "agent/exec.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/connection.hpp"
#include "agent/processes.hpp"
#include "agent/server.hpp"
#include "agent/spawn.hpp"
#include "agent/users.hpp"
#include "messages/text.hpp"

namespace caged::agent {

namespace ap = agent_protocol;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

/// How long whoever holds the pipes may keep the output from being complete.
constexpr auto output_grace = 1s;
/// Between SIGTERM and SIGKILL of a timeout.
constexpr auto kill_delay = 1s;
/// An exit that nobody attached fetches is kept that long.
constexpr auto exit_kept = std::chrono::minutes(10);
constexpr int child_oom_score = 500;
constexpr char end_of_transmission = 4; // VEOF of a fresh terminal

void set_nonblocking(int fd) {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

result<std::vector<std::string>> argv_of(const json& payload) {
  auto has = [&](const char* key) { return payload.contains(key); };
  auto login = ap::flag_or(payload, "login", false);
  if (!login)
    return tl::unexpected{login.error()};
  if (has("argv") + has("shell") + (*login ? 1 : 0) != 1)
    return fail(ec::bad_request,
                "exactly one of argv, shell and login must be given");
  if (has("shell")) {
    auto line = ap::text(payload, "shell");
    if (!line)
      return tl::unexpected{line.error()};
    return std::vector<std::string>{"/bin/sh", "-c", *line};
  }
  if (*login)
    return std::vector<std::string>{};
  auto argv = ap::text_list(payload, "argv");
  if (argv && argv->empty())
    return fail(ec::bad_request, "argv is empty");
  return argv;
}

bool valid_name(const std::string& text) {
  return !text.empty() && text.find('=') == std::string::npos
         && text.find('\0') == std::string::npos;
}

} // namespace

result<credits> parse_credits(const json& payload) {
  auto it = payload.find("credit");
  if (it == payload.end() || it->is_null())
    return credits{};
  if (!it->is_object())
    return fail(ec::bad_request, "credit must be an object");
  auto out = ap::number_or(*it, "stdout", 0);
  auto err = ap::number_or(*it, "stderr", 0);
  if (!out || !err)
    return tl::unexpected{out ? err.error() : out.error()};
  return credits{*out, *err};
}

exec::exec(server& owner, std::string name) : stream{owner, std::move(name)} {}

exec::~exec() {
  for (auto* timer : {&timeout_, &grace_, &forget_})
    if (*timer)
      owner_.loop().cancel(**timer);
}

result<void> exec::start(const json& payload,
                         const std::map<std::string, std::string>& defaults,
                         const std::string& workspace) {
  auto argv = argv_of(payload);
  auto cwd = ap::optional_text(payload, "cwd");
  auto env = ap::text_map(payload, "env");
  auto user = ap::optional_text(payload, "user");
  auto tty = ap::flag_or(payload, "tty", false);
  auto rows = ap::number_or(payload, "rows", 24, 10000);
  auto cols = ap::number_or(payload, "cols", 80, 10000);
  auto wants_in = ap::flag_or(payload, "stdin", false);
  // A year: more would overflow a clock.
  auto timeout =
      ap::number_or(payload, "timeout_ms", 0, 366ULL * 24 * 3600 * 1000);
  auto credit = parse_credits(payload);
  auto first_error = [](const auto&... results) -> const failure* {
    const failure* out = nullptr;
    ((out = out || results ? out : &results.error()), ...);
    return out;
  };
  if (const auto* why = first_error(argv, cwd, env, user, tty, rows, cols,
                                    wants_in, timeout, credit))
    return tl::unexpected{*why};

  // System calls would take a text only up to its NUL: somebody else's command.
  auto has_nul = [](const std::string& text) {
    return text.find('\0') != std::string::npos;
  };
  if (std::any_of(argv->begin(), argv->end(), has_nul)
      || has_nul(cwd->value_or("")))
    return fail(ec::bad_request, "argv, shell or cwd holds a NUL byte");

  spawn_request what;
  auto who = find_user(user->value_or(""));
  if (!who)
    return tl::unexpected{who.error()};
  what.user = *who;
  what.change_user = user->has_value() && !(*user)->empty();
  what.oom_score_adj = owner_.is_init() ? child_oom_score : 0;
  if (argv->empty()) { // login
    what.program = who->shell.empty() ? "/bin/sh" : who->shell;
    auto slash = what.program.rfind('/');
    what.argv = {
        "-" + what.program.substr(slash == std::string::npos ? 0 : slash + 1)};
  } else {
    what.argv = *argv;
    what.program = what.argv[0];
  }
  std::map<std::string, std::string> all = {
      {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
      {"HOME", who->home},
      {"USER", who->name},
      {"LOGNAME", who->name},
      {"SHELL", who->shell}};
  if (*tty)
    all["TERM"] = "xterm";
  const std::map<std::string, std::string>& own = *env;
  for (const auto* more : {&defaults, &own})
    for (const auto& [key, value] : *more) {
      if (!valid_name(key) || value.find('\0') != std::string::npos)
        return fail(ec::bad_request,
                    caged::quoted(key) + " is no name of a variable");
      all[key] = value;
    }
  for (const auto& [key, value] : all)
    what.env.push_back(key + "=" + value);

  auto directory = cwd->value_or("");
  auto path = directory.empty() || directory[0] != '/'
                  ? workspace + (directory.empty() ? "" : "/" + directory)
                  : directory;
  if (path == workspace)
    ::mkdir(path.c_str(), 0755); // the open below tells what is wrong
  unique_fd place{::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!place)
    return fail_errno(ec::bad_request,
                      "the working directory " + caged::quoted(path)
                          + " cannot be used",
                      errno);
  what.cwd = place.get();

  // Our ends, and the child's, which are closed when this returns.
  unique_fd child_in, child_out, child_err;
  tty_ = *tty;
  if (tty_) {
    auto pty = make_pty(static_cast<unsigned>(*rows ? *rows : 24),
                        static_cast<unsigned>(*cols ? *cols : 80));
    if (!pty)
      return tl::unexpected{pty.error()};
    child_in = std::move(pty->slave);
    what.tty = true;
    what.in = what.out = what.err = child_in.get();
    if (*wants_in)
      input_.fd = unique_fd{::fcntl(pty->master.get(), F_DUPFD_CLOEXEC, 3)};
    outputs_[0].fd = std::move(pty->master);
  } else {
    if (*wants_in) {
      auto in = make_pipe();
      if (!in)
        return tl::unexpected{in.error()};
      child_in = std::move(in->read);
      input_.fd = std::move(in->write);
    } else {
      child_in = unique_fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    }
    auto out = make_pipe();
    auto err = make_pipe();
    if (!out)
      return tl::unexpected{out.error()};
    if (!err)
      return tl::unexpected{err.error()};
    child_out = std::move(out->write);
    child_err = std::move(err->write);
    outputs_[0].fd = std::move(out->read);
    outputs_[1].fd = std::move(err->read);
    what.in = child_in.get();
    what.out = child_out.get();
    what.err = child_err.get();
  }
  auto pid = spawn(what);
  if (!pid)
    return tl::unexpected{pid.error()};
  pid_ = *pid;
  if (input_.fd) {
    set_nonblocking(input_.fd.get());
    input_.present = true;
  }
  for (std::size_t i = 0; i < outputs; ++i) {
    if (!outputs_[i].fd)
      continue;
    outputs_[i].present = true;
    outputs_[i].credit = i == 0 ? credit->out : credit->err;
    set_nonblocking(outputs_[i].fd.get());
    watch_output(i);
  }
  if (*timeout > 0)
    timeout_ = owner_.loop().after(std::chrono::milliseconds(*timeout), [this] {
      timeout_.reset();
      terminate("timeout");
      timeout_ = owner_.loop().after(kill_delay, [this] {
        timeout_.reset();
        kill_tree();
      });
    });
  return {};
}

result<void> exec::go_on_from(std::optional<std::uint64_t> out,
                              std::optional<std::uint64_t> err,
                              const credits& given) {
  const std::uint64_t from[outputs] = {out.value_or(outputs_[0].kept.base()),
                                       err.value_or(outputs_[1].kept.base())};
  for (std::size_t i = 0; i < outputs; ++i) {
    auto& channel = outputs_[i];
    if (!channel.present)
      continue;
    if (from[i] < channel.kept.base())
      return fail(ec::not_found, std::string{output_name(i)} + " is kept from "
                                     + std::to_string(channel.kept.base())
                                     + " on, not from "
                                     + std::to_string(from[i]));
    auto known = std::max(channel.sent_highest, channel.kept.base());
    if (from[i] > known)
      return fail(ec::bad_request, std::string{output_name(i)}
                                       + " was sent up to "
                                       + std::to_string(known) + ", not to "
                                       + std::to_string(from[i]));
  }
  // A frame that is half sent stands on pages which may be freed below.
  if (link_)
    link_->finish_frame(*this);
  for (std::size_t i = 0; i < outputs; ++i) {
    auto& channel = outputs_[i];
    if (!channel.present)
      continue;
    channel.sent = from[i];
    channel.eof_sent = false;
    // What was granted to the receiver before is not this one's.
    channel.credit = i == 0 ? given.out : given.err;
    channel.kept.release(from[i]); // named by its receiver: it has these
  }
  exit_sent_ = false;
  if (forget_) {
    owner_.loop().cancel(*forget_);
    forget_.reset();
  }
  owner_.room_was_made();
  return {};
}

bool exec::complete() const noexcept {
  if (!status_)
    return false;
  for (const auto& out : outputs_)
    if (out.present && !out.ended)
      return false;
  return true;
}

void exec::ended(int status) {
  status_ = status;
  if (reason_.empty())
    reason_ = WIFSIGNALED(status) ? "signaled" : "exited";
  if (timeout_) {
    // What is left of its tree is killed all the same when it was timed out.
    owner_.loop().cancel(*timeout_);
    timeout_.reset();
    if (reason_ == "timeout")
      signal_tree(pid_, SIGKILL, true);
  }
  if (!complete())
    grace_ = owner_.loop().after(output_grace, [this] { grace_over(); });
  progressed();
}

/// Somebody else still holds the pipes: what is in them now is the rest.
void exec::grace_over() {
  grace_.reset();
  for (std::size_t i = 0; i < outputs; ++i) {
    auto& out = outputs_[i];
    if (!out.present || out.ended || out.drain_left)
      continue;
    int waiting = 0;
    if (::ioctl(out.fd.get(), FIONREAD, &waiting) != 0 || waiting < 0)
      waiting = 0;
    out.drain_left = static_cast<std::uint64_t>(waiting);
    if (!out.stalled || waiting == 0)
      read_output(i);
  }
}

void exec::progressed() {
  if (!complete())
    return;
  if (grace_) {
    owner_.loop().cancel(*grace_);
    grace_.reset();
  }
  if (!input_.closed && input_.present)
    drop_input();
  if (!link_ && !forget_)
    detached();
  owner_.wants_flush(link_);
}

void exec::detached() {
  stream::detached();
  if (complete() && !forget_)
    forget_ = owner_.loop().after(exit_kept, [this] {
      forget_.reset();
      over_ = true;
      owner_.forget_later();
    });
}

result<void> exec::signal(int number) {
  if (!running())
    return fail(ec::not_found, "the exec has exited");
  pid_t group = pid_;
  if (tty_ && outputs_[0].fd) {
    pid_t foreground = ::tcgetpgrp(outputs_[0].fd.get());
    if (foreground > 0)
      group = foreground;
  }
  if (::kill(-group, number) != 0 && ::kill(pid_, number) != 0)
    return fail_errno(ec::io, "the signal cannot be sent", errno);
  return {};
}

result<void> exec::resize(unsigned rows, unsigned cols) {
  if (!tty_)
    return fail(ec::bad_request, "the exec has no terminal");
  if (!outputs_[0].fd)
    return fail(ec::not_found, "the exec has exited");
  winsize size{};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(cols);
  if (::ioctl(outputs_[0].fd.get(), TIOCSWINSZ, &size) != 0)
    return fail_errno(ec::io, "the terminal cannot be resized", errno);
  return {};
}

void exec::terminate(const char* reason) {
  if (!running())
    return;
  reason_ = reason;
  signal_tree(pid_, SIGTERM, false);
  // A stopped process would never get to it.
  signal_tree(pid_, SIGCONT, false);
}

void exec::kill_tree() {
  signal_tree(pid_, SIGKILL, !running());
}

json exec::exit_payload() const {
  json out = {{"reason", reason_},
              {"stdout", outputs_[0].kept.end()},
              {"stderr", outputs_[1].kept.end()}};
  if (WIFSIGNALED(*status_))
    out["signal"] = WTERMSIG(*status_);
  else
    out["code"] = WEXITSTATUS(*status_);
  return out;
}

json exec::describe() const {
  json out = {{"exec", name_},
              {"state", running() ? "running" : "exited"},
              {"pid", pid_},
              {"tty", tty_},
              {"stdin", input_.received},
              {"stdout", outputs_[0].kept.base()},
              {"stderr", outputs_[1].kept.base()}};
  if (status_) {
    out["reason"] = reason_;
    if (WIFSIGNALED(*status_))
      out["signal"] = WTERMSIG(*status_);
    else
      out["code"] = WEXITSTATUS(*status_);
  }
  return out;
}

result<void> exec::on_ack(std::string_view channel, std::uint64_t offset) {
  if (channel != "exit")
    return stream::on_ack(channel, offset);
  if (!exit_sent_)
    return fail(ec::bad_request, "there was no exit to acknowledge yet");
  over_ = true;
  owner_.forget_later();
  return {};
}

std::string exec::next_notice() {
  auto eof = stream::next_notice();
  if (!eof.empty())
    return eof;
  if (!complete() || exit_sent_)
    return {};
  for (const auto& out : outputs_)
    if (out.present && !out.eof_sent)
      return {};
  exit_sent_ = true;
  auto payload = exit_payload();
  payload["exec"] = name_;
  return ap::encode_line("exit", {}, payload);
}

void exec::end_input() {
  if (tty_) {
    // At the beginning of a line one ^D ends the input, elsewhere the first
    // only pushes what was typed (termios(3), VEOF).
    char marks[2] = {end_of_transmission, end_of_transmission};
    auto count = input_.last == '\n' ? 1U : 2U;
    if (::write(input_.fd.get(), marks, count) < 0 && errno != EIO)
      return;
    owner_.loop().forget(input_.fd.get());
    input_.closed = true;
    input_.fd.reset();
    return;
  }
  owner_.loop().forget(input_.fd.get());
  input_.fd.reset();
  input_.closed = true;
}

} // namespace caged::agent
