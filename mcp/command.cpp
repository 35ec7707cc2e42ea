#include "mcp/command.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mcp/process_tree.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Keepers of trees that could not be ended (another user's process, one stuck
/// in the kernel): looked at again at the next start.
std::mutex abandoned_mutex;
std::vector<keeper> abandoned; // NOLINT: guarded by abandoned_mutex

bool readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, 0) > 0;
}

void sweep_abandoned() {
  const std::lock_guard lock{abandoned_mutex};
  for (auto each = abandoned.begin(); each != abandoned.end();)
    if (readable(each->channel()) && each->next().gone)
      each = abandoned.erase(each);
    else
      ++each;
}

/// A number of ours above those that a command gets: dup2 must not hit it.
int beyond_standard(int fd) {
  if (fd < 0 || fd > 2)
    return fd;
  const auto moved = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  ::close(fd);
  return moved;
}

struct pipe_ends {
  owned_fd read, write;
};

result<pipe_ends> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return fail_errno(ec::resource, "no pipe for a command", errno);
  pipe_ends out{owned_fd{beyond_standard(ends[0])},
                owned_fd{beyond_standard(ends[1])}};
  if (!out.read || !out.write
      || ::fcntl(out.read.get(), F_SETFL, O_NONBLOCK) != 0)
    return fail_errno(ec::resource, "no pipe for a command", errno);
  return out;
}

/// A file in memory and not a pipe: nobody has to write while the command
/// runs, and one that does not read its input stops nobody.
result<owned_fd> make_stdin(const std::optional<std::string>& text) {
  if (!text || text->empty()) {
    owned_fd null{beyond_standard(::open("/dev/null", O_RDONLY | O_CLOEXEC))};
    if (!null)
      return fail_errno(ec::host_setup, "no /dev/null", errno);
    return null;
  }
  owned_fd out{beyond_standard(::memfd_create("stdin", MFD_CLOEXEC))};
  std::string_view rest = *text;
  while (out && !rest.empty()) {
    const auto put = ::write(out.get(), rest.data(), rest.size());
    if (put < 0 && errno == EINTR)
      continue;
    if (put <= 0)
      break;
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
  if (!out || !rest.empty() || ::lseek(out.get(), 0, SEEK_SET) != 0)
    return fail_errno(ec::resource, "no memory for the command's stdin", errno);
  return out;
}

std::vector<std::string> candidates(const command_request& what) {
  if (!what.program.empty())
    return {what.program};
  const auto& name = what.argv[0];
  if (name.find('/') != std::string::npos)
    return {name};
  std::vector<std::string> out;
  for (auto path = variable(what.env, "PATH"); !name.empty();) {
    const auto end = path.find(':');
    const auto folder = path.substr(0, end);
    out.push_back((folder.empty() ? "." : std::string{folder}) + "/" + name);
    if (end == std::string_view::npos)
      break;
    path.remove_prefix(end + 1);
  }
  return out;
}

bool drain(owned_fd& from, std::size_t most, const command::sink& to) {
  char piece[64U << 10U];
  while (from && most > 0) {
    const auto got = ::read(from.get(), piece, std::min(most, sizeof piece));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0 && errno == EAGAIN)
      return false;
    if (got <= 0) {
      from = owned_fd{};
      return false;
    }
    const auto size = static_cast<std::size_t>(got);
    if (to)
      to({piece, size});
    // A short read has emptied the pipe: no second call to learn it.
    if (size < sizeof piece && size < most)
      return false;
    most -= size;
  }
  return static_cast<bool>(from);
}

int timeout_ms(clock::time_point until) {
  const auto left =
      std::chrono::ceil<milliseconds>(until - clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

/// Now, as proc(5) counts the starts of processes; a tick earlier.
std::uint64_t ticks_now() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  const auto ticks =
      static_cast<std::uint64_t>(now.tv_sec) * per_second
      + static_cast<std::uint64_t>(now.tv_nsec) * per_second / 1'000'000'000U;
  return ticks == 0 ? 0 : ticks - 1;
}

/// Waits for news of a command until `until`, takes them, and what it wrote.
void turn(command& what, clock::time_point until, int cancel,
          const command::sink& out, const command::sink& err) {
  constexpr std::size_t at_once = 256U << 10U;
  pollfd fds[4] = {{what.channel(), POLLIN, 0},
                   {what.out(), POLLIN, 0},
                   {what.err(), POLLIN, 0},
                   {cancel, POLLIN, 0}};
  if (::poll(fds, 4, timeout_ms(until)) <= 0)
    return;
  if (fds[1].revents != 0)
    what.drain_out(at_once, out);
  if (fds[2].revents != 0)
    what.drain_err(at_once, err);
  if (fds[0].revents != 0)
    what.look();
}

} // namespace

result<std::unique_ptr<command>> command::start(const command_request& what) {
  if (what.argv.empty() || what.argv[0].empty())
    return fail(ec::bad_request, "the command is empty",
                "give a command such as \"ls -l\"");
  sweep_abandoned();
  auto in = make_stdin(what.in);
  if (!in)
    return tl::unexpected(in.error());
  auto out = make_pipe();
  if (!out)
    return tl::unexpected(out.error());
  pipe_ends err;
  if (!what.one_stream) {
    auto made = make_pipe();
    if (!made)
      return tl::unexpected(made.error());
    err = std::move(*made);
  }
  keeper_request request;
  request.programs = candidates(what);
  request.argv = what.argv;
  request.env = what.env;
  request.cwd = what.cwd.get();
  request.in = in->get();
  request.out = out->write.get();
  request.err = what.one_stream ? request.out : err.write.get();
  const auto born = ticks_now();
  auto kept = keeper::start(request);
  if (!kept)
    return tl::unexpected(kept.error());
  std::unique_ptr<command> made{new command};
  made->keeper_ = std::move(*kept);
  made->born_ = born;
  made->out_ = std::move(out->read);
  made->err_ = std::move(err.read);
  return made;
}

command::~command() {
  if (gone_)
    return;
  out_ = owned_fd{};
  err_ = owned_fd{};
  if (!end_command(*this, milliseconds{0})) {
    const std::lock_guard lock{abandoned_mutex};
    abandoned.push_back(std::move(keeper_));
  }
}

std::size_t command::pipe_bytes() {
  return 1U << 20U; // what F_SETPIPE_SZ allows without privileges (pipe(7))
}

bool command::drain_out(std::size_t most, const sink& to) {
  return drain(out_, most, to);
}

bool command::drain_err(std::size_t most, const sink& to) {
  return drain(err_, most, to);
}

void command::look() {
  const std::lock_guard lock{reaping_};
  if (gone_)
    return;
  const auto news = keeper_.next();
  if (news.ended)
    status_ = news.status;
  gone_ = news.gone;
  if (gone_ && !status_) {
    // Somebody killed the keeper, and with it the command (its parent-death
    // signal); the others of the tree are ours now.
    status_ = SIGKILL;
    end_strays(born_);
  }
}

std::optional<int> command::exit_code() const {
  if (status_ && WIFEXITED(*status_))
    return WEXITSTATUS(*status_);
  return std::nullopt;
}

int command::end_signal() const {
  return status_ && WIFSIGNALED(*status_) ? WTERMSIG(*status_) : 0;
}

command::hits command::signal(int number) {
  const std::lock_guard lock{reaping_};
  if (gone_)
    return {};
  const auto found = signal_below(keeper_.pid(), number);
  return {found.hit, found.denied};
}

bool await_gone(command& what, clock::time_point until,
                const command::sink& out, const command::sink& err) {
  while (!what.gone() && clock::now() < until)
    turn(what, until, -1, out, err);
  return what.gone();
}

bool end_command(command& what, milliseconds grace, const command::sink& out,
                 const command::sink& err) {
  constexpr milliseconds again{20}, patience{5000};
  if (grace.count() > 0) {
    what.signal(SIGTERM);
    await_gone(what, clock::now() + grace, out, err);
  }
  std::size_t denied = 0;
  for (const auto end = clock::now() + patience;
       !what.gone() && clock::now() < end && denied < 10;) {
    const auto found = what.signal(SIGKILL);
    denied = found.hit == 0 && found.denied > 0 ? denied + 1 : 0;
    await_gone(what, clock::now() + again, out, err);
  }
  what.drain_out(command::pipe_bytes(), out);
  what.drain_err(command::pipe_bytes(), err);
  return what.gone();
}

result<outcome> run_command(const command_request& what, const run_options& how,
                            cancellation& cancel,
                            std::unique_ptr<command>* left) {
  constexpr milliseconds beat{500};
  const auto begin = clock::now();
  auto started = command::start(what);
  if (!started)
    return tl::unexpected(started.error());
  auto& running = **started;
  kept_output kept{how.output_bytes};
  const command::sink out = [&kept](auto bytes) { kept.out(bytes); };
  const command::sink err = [&kept](auto bytes) { kept.err(bytes); };
  outcome done;
  const auto deadline = begin + how.timeout;
  auto next_beat = begin + beat;
  while (!running.ended()) {
    auto until = how.progress ? std::min(deadline, next_beat) : deadline;
    if (cancel.fd() < 0)
      until = std::min(until, clock::now() + milliseconds{100});
    turn(running, until, cancel.fd(), out, err);
    if (running.ended())
      break;
    const auto now = clock::now();
    done.cancelled = cancel.cancelled();
    done.timed_out = !done.cancelled && now >= deadline;
    if (done.cancelled || done.timed_out)
      break;
    if (how.progress && now >= next_beat) {
      how.progress(std::chrono::duration_cast<milliseconds>(now - begin),
                   kept.last_line());
      next_beat = now + beat;
    }
  }
  if (done.cancelled || done.timed_out) {
    end_command(running, end_grace, out, err);
  } else {
    running.drain_out(command::pipe_bytes(), out);
    running.drain_err(command::pipe_bytes(), err);
  }
  done.exit_code = running.exit_code();
  done.signal = running.end_signal();
  done.processes_left = !running.gone();
  done.out = kept.take_out();
  done.err = kept.take_err();
  done.duration = std::chrono::duration_cast<std::chrono::microseconds>(
      clock::now() - begin);
  if (done.processes_left && left != nullptr)
    *left = std::move(*started);
  return done;
}

} // namespace caged::mcp
