// bench_client: the figures of one host that are taken inside one process.
// Prints a sample a line, in milliseconds; tests/bench/one_host.sh makes a
// table of them.
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <thread>

#include <spawn.h>
#include <sys/wait.h>

#include <CLI/CLI.hpp>

#include "messages/text.hpp"
#include "tests/bench/load.hpp"

using namespace caged;
using namespace caged::bench;
using namespace std::chrono_literals;

namespace {

struct options {
  std::string endpoint, sandbox;
  std::size_t count = 100, at_once = 1;
  double since = 0; ///< seconds since 1970
};

void print(milliseconds took) {
  std::printf("%.4f\n", took.count());
}

/// Asks for a sandbox; `then` gets its id once its agent answered.
void create(load& on, std::function<void(const std::string&)> then) {
  on.ask<api::up_reply>(smallest(),
                        [then = std::move(then)](api::reply_body& got) {
                          then(std::get<api::up_reply>(got).sandbox.id);
                        });
}

/// The floor of an exec: fork, exec and wait of a process on the host.
result<void> spawn(const options& what) {
  const char* const path = "/bin/true";
  for (std::size_t i = 0; i < what.count; ++i) {
    auto from = clock::now();
    char name[] = "true";
    char* argv[] = {name, nullptr};
    pid_t pid = 0;
    int status = 0;
    int error = ::posix_spawn(&pid, path, nullptr, nullptr, argv, environ);
    if (error != 0 || ::waitpid(pid, &status, 0) != pid || status != 0)
      return fail(ec::io, "/bin/true cannot be run on the host");
    print(clock::now() - from);
  }
  return {};
}

/// A request that the node answers itself: what client, ZeroMQ and actors cost.
result<void> hello(const options& what) {
  auto on = load::open(what.endpoint);
  if (!on)
    return tl::unexpected<failure>(on.error());
  return each(*on, what.count, 1, [&](std::size_t, auto done) {
    auto from = clock::now();
    on->ask<api::hello_reply>(api::hello{"bench"}, [=](api::reply_body&) {
      print(clock::now() - from);
      done();
    });
  });
}

/// Exec round trips in one sandbox, one after another.
result<void> exec(const options& what) {
  auto on = load::open(what.endpoint);
  if (!on)
    return tl::unexpected<failure>(on.error());
  return each(*on, what.count, 1, [&](std::size_t, auto done) {
    auto from = clock::now();
    on->exec_true(what.sandbox, [=] {
      print(clock::now() - from);
      done();
    });
  });
}

/// From the request for a sandbox to the exit of a first command in it. With
/// several at once, the next wave starts when the one before is destroyed.
result<void> cold(const options& what) {
  auto on = load::open(what.endpoint);
  if (!on)
    return tl::unexpected<failure>(on.error());
  for (std::size_t made = 0; made < what.count; made += what.at_once) {
    auto wave = std::min(what.at_once, what.count - made);
    std::vector<std::string> ids;
    auto from = clock::now();
    auto all = each(*on, wave, wave, [&](std::size_t, auto done) {
      create(*on, [&, done](const std::string& id) {
        ids.push_back(id);
        on->exec_true(id, [&, done] {
          print(clock::now() - from);
          done();
        });
      });
    });
    if (!all)
      return all;
    auto freed = each(*on, ids.size(), ids.size(), [&](std::size_t i, auto) {
      on->ask<api::destroy_reply>(api::destroy{ids[i]},
                                  [](api::reply_body&) {});
    });
    if (!freed)
      return freed;
  }
  return {};
}

milliseconds elapsed(const options& what) {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return now - std::chrono::duration<double>{what.since};
}

/// From the request for a sandbox to the word that its place is booked and
/// written; all are destroyed afterwards, which is not in the figures.
result<void> placed(const options& what) {
  auto on = load::open(what.endpoint);
  if (!on)
    return tl::unexpected<failure>(on.error());
  auto all = each(*on, what.count, 1, [&](std::size_t, auto done) {
    auto from = clock::now();
    on->ask<api::up_progress>(smallest(), [=](api::reply_body&) {
      print(clock::now() - from);
      done();
    });
  });
  if (!all)
    return all;
  std::vector<std::string> ids;
  on->ask<api::list_reply>(api::list{}, [&](api::reply_body& got) {
    for (const auto& one : std::get<api::list_reply>(got).sandboxes)
      if (one.spec.name.empty())
        ids.push_back(one.id);
  });
  if (auto listed = on->wait(); !listed)
    return listed;
  return each(*on, ids.size(), what.at_once, [&](std::size_t i, auto done) {
    on->ask<api::destroy_reply>(api::destroy{ids[i]},
                                [done](api::reply_body&) { done(); });
  });
}

/// From now until the sandbox is said to be lost: one line.
result<void> lost(const options& what) {
  auto on = load::open(what.endpoint);
  if (!on)
    return tl::unexpected<failure>(on.error());
  const auto until = clock::now() + load::patience;
  for (bool gone = false; !gone;) {
    on->ask<api::get_reply>(api::get{what.sandbox}, [&](api::reply_body& got) {
      gone = std::get<api::get_reply>(got).sandbox.state == phase::lost;
    });
    auto asked = on->wait();
    if (!asked && asked.error().code == ec::lost)
      break; // the link ended in the same moment as the lease
    // While the link is gone and the lease is not.
    if (!asked && asked.error().code != ec::unavailable)
      return asked;
    if (!asked) {
      on = load::open(what.endpoint);
      if (!on)
        return tl::unexpected<failure>(on.error());
    }
    if (clock::now() > until)
      return fail(ec::timeout, what.sandbox + " is not lost");
    std::this_thread::sleep_for(5ms); // there is nothing to wait on
  }
  print(elapsed(what));
  return {};
}

/// Creates and keeps: one line, the wall clock of all.
result<void> create_many(const options& what) {
  auto on = load::open(what.endpoint);
  if (!on)
    return tl::unexpected<failure>(on.error());
  auto from = clock::now();
  auto all = each(*on, what.count, what.at_once, [&](std::size_t, auto done) {
    create(*on, [done](const std::string&) { done(); });
  });
  if (all)
    print(clock::now() - from);
  return all;
}

/// After a start of the daemon at `since`: a line when it answers and lists
/// `count` sandboxes as running, a line when each of them ran a command.
result<void> adopted(const options& what) {
  auto until = clock::now() + load::patience;
  std::optional<load> on;
  std::vector<std::string> running;
  bool there = false;
  while (!there) {
    if (clock::now() > until)
      return fail(ec::timeout,
                  std::to_string(running.size()) + " of "
                      + std::to_string(what.count)
                      + " sandboxes are running after "
                      + format_duration(load::patience),
                  "look at the node's log");
    if (!on) {
      if (auto made = load::open(what.endpoint))
        on.emplace(std::move(*made));
      else
        std::this_thread::sleep_for(1ms); // there is nothing to wait on yet
      continue;
    }
    on->ask<api::list_reply>(api::list{}, [&](api::reply_body& got) {
      running.clear();
      for (const auto& one : std::get<api::list_reply>(got).sandboxes)
        if (one.state == phase::running)
          running.push_back(one.id);
      there = running.size() >= what.count;
    });
    if (auto answered = on->wait(); !answered)
      return answered;
  }
  print(elapsed(what));
  // A sandbox is running before the new daemon has called its agent: until
  // then it refuses.
  while (!running.empty()) {
    std::vector<std::string> later;
    auto all =
        each(*on, running.size(), what.at_once, [&](std::size_t i, auto done) {
          on->exec_true(running[i], done, [&, i, done] {
            later.push_back(running[i]);
            done();
          });
        });
    if (!all)
      return all;
    if (clock::now() > until)
      return fail(ec::timeout,
                  std::to_string(later.size())
                      + " adopted sandboxes run no command after "
                      + format_duration(load::patience),
                  "look at the node's log");
    running = std::move(later);
  }
  print(elapsed(what));
  return {};
}

} // namespace

int main(int argc, char** argv) {
  options what;
  std::function<result<void>(const options&)> run;
  CLI::App app{"Takes the figures of a node inside one process; a sample a "
               "line, in milliseconds.",
               "bench_client"};
  app.require_subcommand(1);
  auto add = [&](const char* name, const char* says, auto measure) {
    auto* sub = app.add_subcommand(name, says);
    sub->add_option("-n,--count", what.count, "how many")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    sub->callback([&run, measure] { run = measure; });
    return sub;
  };
  auto at_node = [&](CLI::App* sub) {
    sub->add_option("--endpoint", what.endpoint, "where the node listens")
        ->envname("CAGED_ENDPOINT")
        ->required();
    return sub;
  };
  auto at_once = [&](CLI::App* sub) {
    sub->add_option("--at-once", what.at_once, "in flight at a time")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    return sub;
  };
  add("spawn", "run /bin/true on the host", spawn);
  at_node(add("hello", "ask the node for nothing", hello));
  at_node(add("exec", "run true in a sandbox", exec))
      ->add_option("sandbox", what.sandbox, "id or name")
      ->required();
  at_once(at_node(add("cold", "create, run true, destroy", cold)));
  at_once(at_node(add("create", "create and keep", create_many)));
  at_once(at_node(add("placed", "create until it is booked, destroy", placed)));
  auto* dead = at_node(add("lost", "wait until a sandbox is lost", lost));
  dead->add_option("sandbox", what.sandbox, "id or name")->required();
  dead->add_option("--since", what.since,
                   "when its node died, seconds since 1970")
      ->required();
  at_once(at_node(add("adopted", "wait for a started node", adopted)))
      ->add_option("--since", what.since, "its start, seconds since 1970")
      ->required();
  CLI11_PARSE(app, argc, argv);

  auto done = run(what);
  if (done)
    return EXIT_SUCCESS;
  std::fflush(stdout);
  std::fprintf(stderr, "bench_client: %s\n", done.error().message.c_str());
  if (!done.error().hint.empty())
    std::fprintf(stderr, "hint: %s\n", done.error().hint.c_str());
  return EXIT_FAILURE;
}
