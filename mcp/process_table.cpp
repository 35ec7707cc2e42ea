#include "mcp/process_table.hpp"

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::mcp {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// A command that nobody waits for.
struct watched {
  std::unique_ptr<command> run;
  /// Its output is not read before: one that floods would keep the thread, and
  /// itself, busy for ever. So it gets about 30 MB/s.
  clock::time_point rest;

  /// Reads what is there and notices a flood.
  template <class Sink>
  void drain(bool out, bool err, const Sink& sink) {
    constexpr std::size_t at_once = 64U << 10U, much = at_once / 2;
    constexpr milliseconds pause{2};
    std::size_t got = 0;
    const command::sink count = [&](std::string_view bytes) {
      got += bytes.size();
      sink(bytes);
    };
    if (out)
      run->drain_out(at_once, count);
    if (err)
      run->drain_err(at_once, count);
    if (got >= much)
      rest = clock::now() + pause;
  }
};

struct entry : watched {
  std::string id, label;
  ring_output kept{1};
  clock::time_point begin;
  std::optional<clock::time_point> end; ///< Of its first process.
  std::optional<clock::time_point> deadline;
  std::optional<clock::time_point> kill_at; ///< SIGTERM was sent.
  bool end_wanted = false, timed_out = false;
  std::size_t denied = 0; ///< Times that nobody could be killed.
};

} // namespace

struct process_table::impl {
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::list<std::shared_ptr<entry>> entries; ///< Oldest first.
  std::vector<watched> left;
  std::uint64_t last_id = 0;
  owned_fd wake;
  std::thread pump;
  bool stopping = false;

  void poke() { ::eventfd_write(wake.get(), 1); }
  bool start_pump();
  void work();
  clock::time_point look_after(entry& each);
  std::shared_ptr<entry> find(const std::string& id) const;
};

namespace {

process_table::output describe(const entry& of) {
  process_table::output out;
  out.total = of.kept.total();
  out.running = !of.run->ended();
  out.timed_out = of.timed_out;
  out.processes_left = of.run->ended() && !of.run->gone();
  out.exit_code = of.run->exit_code();
  out.signal = of.run->end_signal();
  out.age = std::chrono::duration_cast<milliseconds>(
      of.end.value_or(clock::now()) - of.begin);
  out.offset = out.next = out.total;
  return out;
}

} // namespace

process_table::process_table() : impl_{std::make_unique<impl>()} {}

process_table::~process_table() {
  constexpr milliseconds grace{100};
  auto& all = *impl_;
  {
    const std::lock_guard lock{all.mutex};
    all.stopping = true;
  }
  if (all.pump.joinable()) {
    all.poke();
    all.pump.join();
  }
  // Together, so that they share the time.
  std::vector<std::unique_ptr<command>> ending;
  for (auto& each : all.left)
    ending.push_back(std::move(each.run));
  for (const auto& each : all.entries)
    ending.push_back(std::move(each->run));
  for (const auto& each : ending)
    each->signal(SIGTERM);
  const auto until = clock::now() + grace;
  for (const auto& each : ending)
    await_gone(*each, until);
  for (const auto& each : ending)
    each->signal(SIGKILL);
} // ~command does the rest

bool process_table::impl::start_pump() {
  if (pump.joinable())
    return true;
  wake = owned_fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!wake)
    return false;
  try {
    pump = std::thread{[this] { work(); }};
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

std::shared_ptr<entry> process_table::impl::find(const std::string& id) const {
  for (const auto& each : entries)
    if (each->id == id)
      return each;
  return nullptr;
}

/// What its clock asks for; returns when to look again.
clock::time_point process_table::impl::look_after(entry& each) {
  constexpr milliseconds again{50};
  constexpr std::size_t most_denied = 20;
  auto& run = *each.run;
  const auto now = clock::now();
  if (run.gone() || each.denied >= most_denied)
    return clock::time_point::max();
  if (each.deadline && now >= *each.deadline && !run.ended()) {
    each.timed_out = each.end_wanted = true;
    each.deadline.reset();
  }
  if (each.end_wanted && !each.kill_at) {
    run.signal(SIGTERM);
    each.kill_at = now + end_grace;
  } else if (each.kill_at && now >= *each.kill_at) {
    const auto found = run.signal(SIGKILL);
    each.denied = found.hit == 0 && found.denied > 0 ? each.denied + 1 : 0;
    each.kill_at = now + again;
  }
  auto next = clock::time_point::max();
  if (each.kill_at)
    next = *each.kill_at;
  if (each.deadline)
    next = std::min(next, *each.deadline);
  return next;
}

void process_table::impl::work() {
  std::vector<pollfd> fds;
  std::unique_lock lock{mutex};
  while (!stopping) {
    auto until = clock::time_point::max();
    fds.assign(1, {wake.get(), POLLIN, 0});
    const auto begin = clock::now();
    const auto watch = [&](const watched& each) {
      const auto rests = each.rest > begin;
      if (rests)
        until = std::min(until, each.rest);
      // -1 is passed over.
      fds.push_back({each.run->channel(), POLLIN, 0});
      fds.push_back({rests ? -1 : each.run->out(), POLLIN, 0});
      fds.push_back({rests ? -1 : each.run->err(), POLLIN, 0});
    };
    for (const auto& each : entries) {
      until = std::min(until, look_after(*each));
      watch(*each);
    }
    for (const auto& each : left)
      watch(each);
    // While the lock is away `left` only grows, at its end.
    const std::vector<std::shared_ptr<entry>> now{entries.begin(),
                                                  entries.end()};
    const auto left_now = left.size();
    lock.unlock();
    auto wait = -1;
    if (until != clock::time_point::max())
      wait = static_cast<int>(std::clamp<std::int64_t>(
          std::chrono::ceil<milliseconds>(until - clock::now()).count(), 0,
          60'000));
    const auto ready = ::poll(fds.data(), fds.size(), wait);
    lock.lock();
    if (ready <= 0)
      continue;
    if (fds[0].revents != 0) {
      eventfd_t ignored = 0;
      ::eventfd_read(wake.get(), &ignored);
    }
    std::size_t at = 1;
    for (const auto& each : now) {
      const auto sink = [&each](auto bytes) { each->kept.add(bytes); };
      const auto* const ready_fds = &fds[std::exchange(at, at + 3)];
      if (!each->run) // evicted meanwhile
        continue;
      each->drain(ready_fds[1].revents != 0, false, sink);
      if (ready_fds[0].revents == 0)
        continue;
      each->run->look();
      if (each->run->ended() && !each->end) {
        each->run->drain_out(command::pipe_bytes(), sink);
        each->end = clock::now();
      }
    }
    for (std::size_t i = 0; i < left_now; ++i) {
      const auto* const ready_fds = &fds[std::exchange(at, at + 3)];
      left[i].drain(ready_fds[1].revents != 0, ready_fds[2].revents != 0,
                    [](auto) {});
      if (ready_fds[0].revents != 0)
        left[i].run->look();
    }
    left.erase(
        std::remove_if(left.begin(), left.end(),
                       [](const auto& each) { return each.run->gone(); }),
        left.end());
    changed.notify_all();
  }
}

result<std::string> process_table::start(const command_request& what,
                                         options how) {
  auto& all = *impl_;
  const std::lock_guard lock{all.mutex};
  std::shared_ptr<entry> evicted;
  if (all.entries.size() >= most) {
    // The one that ended first, rather one with nobody left.
    for (const auto& each : all.entries) {
      if (!each->end)
        continue;
      const auto rank = [](const entry& of) {
        return std::pair{!of.run->gone(), *of.end};
      };
      if (!evicted || rank(*each) < rank(*evicted))
        evicted = each;
    }
    if (!evicted)
      return fail(ec::no_capacity,
                  std::to_string(most)
                      + " background commands run, which is the limit",
                  "end one with terminal_kill, or wait for one");
  }
  if (!all.start_pump())
    return fail(ec::resource, "no thread for background commands");
  auto started = command::start(what);
  if (!started)
    return tl::unexpected(started.error());
  auto made = std::make_shared<entry>();
  made->id = "bg-" + std::to_string(++all.last_id);
  made->label = std::move(how.label);
  made->run = std::move(*started);
  made->kept = ring_output{std::max<std::size_t>(how.kept_bytes, 1)};
  made->begin = clock::now();
  if (how.timeout)
    made->deadline = made->begin + *how.timeout;
  if (evicted) {
    all.entries.remove(evicted);
    if (!evicted->run->gone())
      all.left.push_back({std::move(evicted->run), {}});
  }
  all.entries.push_back(made);
  all.poke();
  return made->id;
}

namespace {

tl::unexpected<failure> no_such(const std::string& id) {
  return fail(ec::not_found,
              "there is no background command " + caged::quoted(id),
              "terminal_exec with background true gives an id; at most "
                  + std::to_string(process_table::most)
                  + " are remembered, and they end with the session");
}

} // namespace

result<process_table::output>
process_table::read(const std::string& id, std::optional<std::uint64_t> since,
                    std::size_t at_most, milliseconds wait,
                    cancellation& cancel) {
  constexpr milliseconds slice{50}; // between two looks at `cancel`
  auto& all = *impl_;
  std::unique_lock lock{all.mutex};
  const auto found = all.find(id);
  if (!found)
    return no_such(id);
  const auto& kept = found->kept;
  if (since && *since > kept.total())
    return fail(ec::bad_request,
                "offset " + std::to_string(*since)
                    + " is beyond the end of the output of " + id + ", "
                    + std::to_string(kept.total()),
                "go on from next_offset of the last answer");
  const auto until = clock::now() + wait;
  while (found->run && !found->run->ended() && kept.total() == since.value_or(0)
         && !cancel.cancelled() && clock::now() < until)
    all.changed.wait_until(lock, std::min(until, clock::now() + slice));
  if (!found->run)
    return no_such(id); // its place was taken meanwhile
  auto out = describe(*found);
  auto from = std::max(since.value_or(kept.first()), kept.first());
  from = std::max(from,
                  kept.total()
                      - std::min<std::uint64_t>(at_most, kept.total() - from));
  out.bytes = kept.slice(from, kept.total());
  if (from > since.value_or(0)) { // cut: begin with a whole letter
    const auto part = utf8_tail(out.bytes);
    out.bytes.erase(0, part);
    from += part;
  }
  if (out.running)
    out.bytes.resize(whole_utf8(out.bytes));
  out.offset = from;
  out.next = from + out.bytes.size();
  out.left_out = from - since.value_or(0);
  return out;
}

result<process_table::output> process_table::kill(const std::string& id,
                                                  std::optional<int> signal) {
  constexpr std::chrono::seconds patience{6};
  auto& all = *impl_;
  std::unique_lock lock{all.mutex};
  const auto found = all.find(id);
  if (!found)
    return no_such(id);
  if (found->run->gone())
    return fail(ec::wrong_state, "background command " + id + " has ended",
                "terminal_output shows what it wrote");
  if (signal) {
    const auto hits = found->run->signal(*signal);
    if (hits.hit == 0 && hits.denied > 0)
      return fail(ec::denied,
                  "the processes of " + id + " belong to another user");
    return describe(*found);
  }
  found->end_wanted = true;
  found->denied = 0;
  all.poke();
  const auto until = clock::now() + patience;
  while (found->run && !found->run->gone() && clock::now() < until)
    all.changed.wait_until(lock, until);
  if (!found->run)
    return no_such(id);
  if (!found->run->gone())
    return fail(ec::denied,
                "processes of " + id
                    + " are still there: they belong to another user, or wait "
                      "for a device");
  return describe(*found);
}

std::vector<process_table::row> process_table::list() const {
  const std::lock_guard lock{impl_->mutex};
  std::vector<row> out;
  for (const auto& each : impl_->entries)
    out.push_back({each->id, each->label, !each->run->ended()});
  return out;
}

void process_table::adopt(std::unique_ptr<command> some) {
  {
    const std::lock_guard lock{impl_->mutex};
    if (impl_->left.size() < most_left && impl_->start_pump()) {
      impl_->left.push_back({std::move(some), {}});
      impl_->poke();
      return;
    }
  }
  end_command(*some, end_grace);
}

} // namespace caged::mcp
