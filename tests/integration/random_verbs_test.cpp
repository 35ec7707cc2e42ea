#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <mutex>
#include <thread>

#include <sys/syscall.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tests/support/books.hpp"
#include "tests/support/chance.hpp"
#include "tests/support/test_node.hpp"

// Verbs on many sandboxes at a time while daemon, agents and crun are killed.
// $CAGED_SEED repeats the verbs, their sandboxes and the kills; which of them
// meet is up to the machine. ops/check --soak goes on with new seeds.
using namespace caged::test;
using nlohmann::json;
using std::chrono::steady_clock;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// -- what is done -------------------------------------------------------------

struct choice {
  const char* verb;
  unsigned weight;
};

/// Names with a space are done by a function, not by one command line.
constexpr choice choices[] = {
    {"up", 20},        {"exec", 14},       {"pipe", 5},     {"detach", 6},
    {"attach", 4},     {"ps", 3},          {"kill", 3},     {"pause", 8},
    {"resume", 9},     {"exec-resume", 4}, {"get", 3},      {"list", 2},
    {"top", 1},        {"why", 2},         {"logs", 2},     {"events", 1},
    {"cp-in", 4},      {"cp-out", 3},      {"files-ls", 2}, {"files-write", 3},
    {"files-cat", 2},  {"files-rm", 2},    {"forward", 2},  {"destroy", 12},
    {"audit", 1},      {"fix", 1},         {"status", 1},   {"kill agent", 3},
    {"stop agent", 2}, {"kill crun", 4}};

struct step {
  std::string verb, sandbox;
  unsigned number = 0, salt = 0;
};

struct plan {
  std::vector<step> steps;
  std::vector<std::size_t> kills; ///< of the daemon, before these steps
};

plan make_plan(unsigned verbs, unsigned sandboxes, unsigned kills) {
  chance random{seed()};
  unsigned total = 0;
  for (const auto& one : choices)
    total += one.weight;
  plan out;
  for (unsigned i = 0; i < verbs; ++i) {
    auto at = random.below(total);
    const auto* one = std::begin(choices);
    for (; at >= one->weight; ++one)
      at -= one->weight;
    step next;
    next.verb = one->verb;
    next.sandbox = "s" + std::to_string(random.below(sandboxes));
    next.number = i;
    next.salt = random.below(1000);
    out.steps.push_back(std::move(next));
  }
  for (unsigned i = 0; i < kills; ++i)
    out.kills.push_back(random.below(verbs));
  std::sort(out.kills.begin(), out.kills.end());
  return out;
}

/// Signals a process by a handle, when it still is what it was taken for.
bool send_signal(pid_t pid, int number,
                 const std::function<bool(pid_t)>& is_it) {
  auto fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0)
    return false;
  bool sent = is_it(pid)
              && ::syscall(SYS_pidfd_send_signal, fd, number, nullptr, 0) == 0;
  ::close(fd);
  return sent;
}

class storm {
public:
  storm(unsigned verbs, unsigned sandboxes, unsigned kills)
      : plan_{make_plan(verbs, sandboxes, kills)},
        node_{{"--cpus", "100", "--memory-mb", "100000", "--disk-gb", "500",
               "--heartbeat-interval", "500ms"}} {
    write_file(dir_ / "file", std::string(100000, 'x'));
    write_file(dir_ / "init.sh", "echo init; touch /workspace/made\n");
  }

  void run_all();

private:
  void perform(const step& what);
  std::vector<std::string> line_of(const step& what) const;
  process_result ask(const std::vector<std::string>& line,
                     process_options options);
  void judge(const step& what, const process_result& got);
  void forward(const step& what);
  void kill_an_exec(const step& what);
  void hurt_agent(const step& what);
  void kill_crun(const step& what);
  std::vector<pid_t> cruns() const;
  void problem(const step& what, const std::string& text);
  void count(const std::string& what);
  std::vector<std::string> unsettled() const;
  void everybody_answers();

  plan plan_;
  test_node node_;
  temp_dir dir_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::map<std::string, int> counts_;
  std::set<std::string> killed_; ///< sandboxes whose agent was
  std::vector<std::string> problems_;
};

void storm::problem(const step& what, const std::string& text) {
  std::lock_guard guard{mutex_};
  problems_.push_back("step " + std::to_string(what.number) + ", " + what.verb
                      + " " + what.sandbox + ": " + text);
}

void storm::count(const std::string& what) {
  std::lock_guard guard{mutex_};
  ++counts_[what];
}

std::vector<std::string> storm::line_of(const step& what) const {
  const auto& s = what.sandbox;
  auto word = std::to_string(what.number);
  if (what.verb == "up") {
    std::vector<std::string> line = {
        "up",     "--no-config", "--cpus", "1", "--memory", "128",
        "--disk", "1",           "--name", s,   "--timeout"};
    line.emplace_back(what.salt % 5 == 0 ? "2s" : "0"); // paused when idle
    if (what.salt % 4 == 1)
      line.insert(line.end(), {"--init-script", dir_ / "init.sh"});
    if (what.salt % 8 == 2)
      line.insert(line.end(), {"--ttl", "10s"});
    return line;
  }
  const std::map<std::string, std::vector<std::string>> lines = {
      {"exec", {"exec", s, "--", "echo", word}},
      {"exec-resume", {"exec", "--resume", s, "--", "echo", word}},
      {"pipe", {"exec", s, "--", "wc", "-c"}},
      {"detach",
       {"exec", "-d", s, "--", "sh", "-c", "echo begun; sleep 1; echo over"}},
      {"attach", {"attach", "--no-stdin", s}},
      {"top", {"top", "--once", "--interval", "100ms"}},
      {"cp-in", {"cp", "-q", dir_ / "file", s + ":/tmp/copy"}},
      {"cp-out", {"cp", "-q", s + ":/etc/passwd", "-"}},
      {"files-ls", {"files", "ls", s, "/etc"}},
      {"files-write", {"files", "write", s, "written"}},
      {"files-cat", {"files", "cat", s, "/etc/passwd"}},
      {"files-rm", {"files", "rm", s, "written"}},
      {"list", {"list", "-a"}},
      {"audit", {"node", "audit"}},
      {"fix", {"node", "audit", "--fix"}},
      {"status", {"node", "status"}}};
  auto found = lines.find(what.verb);
  return found != lines.end() ? found->second
                              : std::vector<std::string>{what.verb, s};
}

/// A client that finds no node at all asks again: it is being restarted.
process_result storm::ask(const std::vector<std::string>& line,
                          process_options options) {
  process_result got;
  eventually(30s, [&] {
    got = node_.caged(line, options);
    return got.exit == 0
           || (!has(got.err, "no node answers")
               && !has(got.err, "does not answer"));
  });
  return got;
}

/// What is refused is refused in a sentence; what works gives what was asked.
void storm::judge(const step& what, const process_result& got) {
  const auto& verb = what.verb;
  // What runs in a sandbox waits while that is paused.
  bool may_wait = verb == "exec" || verb == "exec-resume" || verb == "pipe"
                  || verb == "attach" || verb.rfind("cp-", 0) == 0
                  || verb.rfind("files-", 0) == 0;
  auto text = "exit " + std::to_string(got.exit) + ": " + got.err;
  if (got.timed_out) {
    count(verb + ", waited");
    if (!may_wait)
      problem(what, "no answer in time; " + got.err);
    return;
  }
  if (got.signal != 0)
    return problem(what, "caged was ended by " + std::to_string(got.signal));
  count(verb + (got.exit == 0 ? "" : ", refused"));
  if (got.exit == 0) {
    auto word = std::to_string(what.number) + "\n";
    if ((verb == "exec" || verb == "exec-resume") && got.out != word)
      problem(what, "printed \"" + got.out + "\"");
    if (verb == "pipe" && std::atoi(got.out.c_str()) != 100000)
      problem(what, "counted " + got.out);
    return;
  }
  // A command that somebody killed: its own code.
  if (got.exit > 128 && (verb == "attach" || verb == "exec"))
    return;
  if (!has(got.err, "caged: ") || has(got.err, "CAF")
      || has(got.err, "a part of the node failed"))
    problem(what, "no clear sentence: " + text);
  for (const char* never : {"list", "status", "audit", "fix", "top"})
    if (verb == never)
      problem(what, "was refused: " + text);
  bool absent = has(got.err, "no sandbox") || has(got.err, " fits ");
  if (verb == "destroy" && !absent)
    problem(what, "was refused: " + text);
}

void storm::forward(const step& what) {
  auto job = node_.start_caged({"forward", what.sandbox, "0:80"});
  eventually(15s, [&] { return has(job->out(), " -> ") || !job->alive(); });
  job->signal(SIGINT);
  process_result got;
  got.timed_out = !job->wait(15s);
  got.exit = job->exit();
  got.err = job->err();
  if (got.exit == 128 + SIGINT) // by us, before it listened
    return count(what.verb + ", interrupted");
  judge(what, got);
}

void storm::kill_an_exec(const step& what) {
  auto known = json::parse(
      ask({"ps", what.sandbox, "--format", "json"}, within(30s)).out, nullptr,
      false);
  std::string exec = "none";
  if (known.is_array())
    for (const auto& item : known)
      if (item.value("detached", false) && !item.value("exited", true))
        exec = item.value("exec", "");
  judge(what, ask({"kill", "-s", "KILL", what.sandbox, exec}, within(30s)));
}

void storm::hurt_agent(const step& what) {
  auto got = json::parse(
      ask({"get", what.sandbox, "--format", "json"}, within(30s)).out, nullptr,
      false);
  auto id = got.is_object() ? got.value("id", "") : std::string{};
  auto pid = id.empty() ? 0 : node_.init_of(id);
  auto of_it = [&](pid_t which) {
    return has(read_file("/proc/" + std::to_string(which) + "/cgroup"), id);
  };
  bool kills = what.verb == "kill agent";
  if (pid <= 0 || !send_signal(pid, kills ? SIGKILL : SIGSTOP, of_it))
    return count(what.verb + ", none there");
  count(what.verb);
  if (kills) {
    std::lock_guard guard{mutex_};
    killed_.insert(id);
    return;
  }
  eventually(3s, [&] { return node_.state(id) != "running"; });
  send_signal(pid, SIGCONT, of_it);
}

/// Those of this node: its run directory is their --root.
std::vector<pid_t> storm::cruns() const {
  std::vector<pid_t> out;
  std::error_code none;
  for (const auto& item : std::filesystem::directory_iterator("/proc", none)) {
    auto pid = item.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos)
      continue;
    auto line = read_file((item.path() / "cmdline").string());
    if (line.rfind("crun", 0) == 0 && has(line, node_.run_dir()))
      out.push_back(std::stoi(pid));
  }
  return out;
}

void storm::kill_crun(const step& what) {
  auto up = what;
  up.verb = "up";
  auto job = node_.start_caged(line_of(up));
  bool killed = false;
  eventually(3s, [&] {
    for (auto pid : cruns())
      killed = send_signal(pid, SIGKILL,
                           [&](pid_t which) {
                             auto line = read_file(
                                 "/proc/" + std::to_string(which) + "/cmdline");
                             return has(line, node_.run_dir());
                           })
               || killed;
    return killed || !job->alive();
  });
  count(killed ? what.verb : what.verb + ", none there");
  process_result got;
  got.timed_out = !job->wait(120s);
  got.exit = job->exit();
  got.err = job->err();
  judge(up, got);
}

void storm::perform(const step& what) {
  if (what.verb == "kill agent" || what.verb == "stop agent")
    return hurt_agent(what);
  if (what.verb == "kill crun")
    return kill_crun(what);
  if (what.verb == "forward")
    return forward(what);
  if (what.verb == "kill")
    return kill_an_exec(what);
  process_options options;
  options.timeout = 15s;
  for (const char* whole : {"up", "destroy", "fix", "audit", "top"})
    if (what.verb == whole)
      options.timeout = 150s;
  if (what.verb == "pipe" || what.verb == "files-write")
    options.in = std::string(100000, 'y');
  judge(what, ask(line_of(what), options));
}

std::vector<std::string> storm::unsettled() const {
  auto out = disagreements(node_);
  auto all = json::parse(node_.caged({"list", "--format", "json"}).out, nullptr,
                         false);
  if (!all.is_array())
    return {"caged list does not answer"};
  for (const auto& item : all) {
    auto state = item.value("state", "");
    if (state != "running" && state != "paused" && state != "failed")
      out.push_back(item.value("id", "") + " is still " + state);
  }
  for (auto pid : cruns())
    out.push_back("crun still runs: " + std::to_string(pid));
  return out;
}

/// Whatever is listed as alive is.
void storm::everybody_answers() {
  auto all = json::parse(node_.caged({"list", "--format", "json"}).out);
  for (const auto& item : all) {
    auto id = item["id"].get<std::string>();
    auto got = node_.caged({"exec", "--resume", id, "--", "echo", "alive"});
    INFO(item.dump() << got.err);
    if (has(got.err, "no sandbox") || has(got.err, "is destroyed")
        || has(got.err, "is being destroyed"))
      continue; // its time to live is over
    using std::chrono::system_clock;
    if (auto ttl = item.value("ttl_ms", std::int64_t{0});
        ttl > 0
        && system_clock::now().time_since_epoch() >= std::chrono::milliseconds{
               item["created_ms"].get<std::int64_t>() + ttl}) {
      ++counts_["expired while asked"]; // the command was ended with it
      continue;
    }
    // A frozen agent that was killed dies when it is thawed (cgroup v1).
    bool dies = item["state"] == "paused" && killed_.count(id) != 0
                && has(got.err, "init has ended");
    if (item["state"] == "failed" || dies)
      CHECK(has(got.err, "has failed"));
    else
      CHECK(got.out == "alive\n");
    ++counts_["left " + item["state"].get<std::string>()];
  }
}

void storm::run_all() {
  // Threads share it; run() would put it back under another one's feet.
  std::signal(SIGPIPE, SIG_IGN);
  auto begun = steady_clock::now();
  REQUIRE(node_.start());
  constexpr int threads = 4;
  std::atomic<int> working{threads};
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i)
    all.emplace_back([&] {
      for (std::size_t at = 0; (at = next_++) < plan_.steps.size();) {
        try {
          perform(plan_.steps[at]);
        } catch (const std::exception& e) {
          problem(plan_.steps[at], std::string{"the test itself: "} + e.what());
        }
      }
      --working;
    });
  int kills = 0;
  for (auto at : plan_.kills) {
    eventually(30min, [&] { return next_ > at || working == 0; });
    node_.kill();
    ++kills;
    if (!node_.start()) {
      problem({}, "the daemon did not start again: " + node_.log());
      break;
    }
  }
  for (auto& one : all)
    one.join();
  auto stormed = steady_clock::now();

  std::vector<std::string> left;
  bool settled = eventually(90s, [&] { return (left = unsettled()).empty(); });
  std::cout
      << "CAGED_SEED=" << seed() << ": " << plan_.steps.size() << " verbs, "
      << kills << " kills of the daemon, "
      << std::chrono::duration<double>(stormed - begun).count()
      << " s, settled after "
      << std::chrono::duration<double>(steady_clock::now() - stormed).count()
      << " s" << std::endl;
  INFO("CAGED_SEED=" << seed());
  {
    INFO(lines(problems_));
    CHECK(problems_.empty());
  }
  {
    INFO(lines(left));
    CHECK(settled);
  }
  everybody_answers();
  CHECK(node_.caged({"destroy", "--all", "--force"}, within(180s)).exit == 0);
  CHECK(eventually(30s, [&] { return (left = unsettled()).empty(); }));
  INFO(lines(left));
  CHECK(left.empty());
  auto books = read_books(node_);
  CHECK(books.placements.empty());
  CHECK(books.names.empty());
  CHECK(books.leases.empty());
  CHECK(books.execs.empty());
  for (const auto& [kind, ids] : books.host) {
    INFO(kind);
    CHECK(ids.empty());
  }
  CHECK(node_.clear() == "");
  for (const auto& [what, n] : counts_)
    std::cout << "  " << n << " " << what << "\n";
  std::cout << std::flush;
}

} // namespace

TEST_CASE(
    "random verbs and kills leave store, journal and kernel in agreement") {
  storm{150, 10, 4}.run_all();
}

TEST_CASE(
    "2000 random verbs over 30 sandboxes with kills leave all in agreement",
    "[.full]") {
  storm{2000, 30, 40}.run_all();
}
