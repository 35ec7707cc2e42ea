#include <catch2/catch.hpp>

#include <algorithm>
#include <csignal>

#include <nlohmann/json.hpp>

#include "tests/support/chance.hpp"
#include "tests/support/fleet.hpp"
#include "tests/support/pty.hpp"

// Clients that are killed, and others that attach in their place, amid kills of
// the daemon. Whoever attaches to a running exec goes on behind what earlier
// clients have acknowledged: some bytes come twice, none is lost. A detached
// exec is replayed from its start. $CAGED_SEED repeats a run.
using namespace caged::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Where text that some client has seen lies in the whole, at `most` at the
/// latest: its first whole line says so. npos: nowhere.
std::size_t place_of(const std::string& seen, const std::string& whole,
                     const std::string& end, std::size_t most) {
  constexpr std::size_t sure = 32;
  if (seen.size() < sure)
    return whole.rfind(seen, most);
  auto first = seen.find(end) + end.size();
  auto line = "\n" + seen.substr(first, seen.find(end, first) - first) + end;
  auto at = whole.find(line);
  if (at == std::string::npos || at + 1 < first)
    return std::string::npos;
  at = at + 1 - first;
  return whole.compare(at, seen.size(), seen) == 0 ? at : std::string::npos;
}

enum class kind { printer, sender, terminal, detached };

/// One exec and its clients, one after another.
class watched {
public:
  watched(test_node& node, std::string sandbox, kind what, int code);

  void begin();
  /// kill -9 to the client that runs, and to what feeds it.
  void kill_client();
  /// Another one in its place; the old one may still live.
  void attach();
  void tell_end();
  void check();

  std::string label() const {
    return sandbox_ + " " + std::to_string(static_cast<int>(what_));
  }

private:
  struct client {
    std::unique_ptr<background> process;
    std::unique_ptr<pty> terminal;
    bool killed = false;
    std::string seen() const {
      return terminal ? terminal->out() : process->out();
    }
  };
  void start(const std::string& verb, const std::string& rest);
  std::string find_exec() const;
  bool is_attached() const;
  void check_input() const;
  std::size_t cut_before(const std::string& in, std::size_t at,
                         std::size_t same, std::size_t after) const;

  test_node& node_;
  std::string sandbox_, exec_;
  kind what_;
  int code_;
  temp_dir dir_;
  std::vector<client> clients_;
};

watched::watched(test_node& node, std::string sandbox, kind what, int code)
    : node_{node}, sandbox_{std::move(sandbox)}, what_{what}, code_{code} {}

/// `caged VERB FLAGS SANDBOX REST` with what its kind needs around it.
void watched::start(const std::string& verb, const std::string& rest) {
  auto& next = clients_.emplace_back();
  auto line = bin_dir() + "/caged " + verb + " " + sandbox_ + " " + rest;
  if (what_ == kind::terminal) {
    next.terminal = std::make_unique<pty>();
    line = "exec " + line + " < " + next.terminal->path() + " > "
           + next.terminal->path();
  } else if (what_ == kind::sender) {
    // Lines that say which client they are of.
    auto mark = std::to_string(clients_.size());
    line = "i=0; while [ ! -e " + dir_ / "told" + " ]; do seq -f " + mark
           + ":%.0f $((i+1)) $((i+20000)); "
             "i=$((i+20000)); sleep 0.1; done | "
           + line + "; exit ${PIPESTATUS[1]}";
  } else {
    line = "exec " + line;
  }
  process_options options;
  options.env["CAGED_ENDPOINT"] = node_.endpoint();
  next.process = std::make_unique<background>(
      std::vector<std::string>{"bash", "-c", line}, options);
}

void watched::begin() {
  auto until = count_while("[ ! -e /tmp/told ]");
  auto ends = "exit " + std::to_string(code_) + "'";
  switch (what_) {
  case kind::printer:
    start("exec --no-stdin", "-- sh -c '" + until + "; " + ends);
    break;
  case kind::sender:
    start("exec", "-- sh -c 'exec 3<&0; cat <&3 >/workspace/in & exec 3<&-; "
                      + until + "; wait; " + ends);
    break;
  case kind::terminal:
    start("exec -t", "-- sh -c 'stty -echo; " + until + "; read line; " + ends);
    break;
  case kind::detached: {
    // Within what the node keeps of it: 8 MB.
    auto got = node_.caged({"exec", "-d", sandbox_, "--", "sh", "-c",
                            count_while("[ $i -lt 1000000 ]") + "; exit "
                                + std::to_string(code_)});
    REQUIRE(got.exit == 0);
    exec_ = last_line(got.out);
    return attach();
  }
  }
  REQUIRE(eventually(20s, [&] { return !clients_.back().seen().empty(); }));
  exec_ = find_exec();
  REQUIRE_FALSE(exec_.empty());
}

std::string watched::find_exec() const {
  auto got = json::parse(node_.caged({"ps", sandbox_, "--format", "json"}).out,
                         nullptr, false);
  auto all = got.is_object() ? got.value("execs", json::array()) : got;
  for (const auto& item : all)
    return item.value("exec", "");
  return {};
}

void watched::kill_client() {
  auto& last = clients_.back();
  last.killed = true;
  // Its whole group: the pid is not reaped, so the number is still its own.
  ::kill(-last.process->pid(), SIGKILL);
  CHECK(last.process->wait(10s));
}

void watched::attach() {
  std::string flags = what_ == kind::printer ? "attach --no-stdin" : "attach";
  start(flags, exec_);
  // A client that has never met a node does not wait for one: it must be there
  // before the next kill. The one that is pushed aside ends.
  auto* before = clients_.size() > 1 ? &clients_[clients_.size() - 2] : nullptr;
  CHECK(eventually(20s, [&] {
    return is_attached() && (!before || !before->process->alive());
  }));
}

bool watched::is_attached() const {
  auto got = json::parse(node_.caged({"ps", sandbox_, "--format", "json"}).out,
                         nullptr, false);
  auto all = got.is_object() ? got.value("execs", json::array()) : got;
  for (const auto& item : all)
    if (item.value("exec", "") == exec_)
      return item.value("attached", false) || item.value("exited", false);
  return false;
}

void watched::tell_end() {
  if (what_ == kind::detached)
    return;
  CHECK(node_.caged({"exec", sandbox_, "--", "touch", "/tmp/told"}).exit == 0);
  write_file(dir_ / "told", "");
  if (what_ == kind::terminal)
    clients_.back().terminal->type("\r");
}

void watched::check() {
  auto& last = clients_.back();
  REQUIRE(last.process->wait(120s));
  INFO(last.process->err());
  CHECK(last.process->exit() == code_);
  std::string end = what_ == kind::terminal ? "\r\n" : "\n";
  auto seen = last.seen();
  auto count = last_line(seen);
  CAPTURE(count, clients_.size());
  auto whole = numbered(std::strtoull(count.c_str(), nullptr, 10), end);
  CHECK(whole.size() > 500'000);
  std::size_t covered = 0;
  for (std::size_t i = 0; i < clients_.size(); ++i) {
    CAPTURE(i, covered);
    auto part = clients_[i].seen();
    if (i == 0 || what_ == kind::detached) {
      CHECK(whole.compare(0, part.size(), part) == 0);
      covered = std::max(covered, part.size());
      continue;
    }
    auto at = place_of(part, whole, end, covered);
    CAPTURE(at, part.size());
    REQUIRE(at != std::string::npos);
    CHECK(at <= covered); // nothing is lost between two clients
    covered = std::max(covered, at + part.size());
  }
  CHECK(covered == whole.size());
  if (what_ == kind::sender)
    check_input();
}

/// How many of these bytes are the client's before: a later one's first line
/// may begin as its next would have.
std::size_t watched::cut_before(const std::string& in, std::size_t at,
                                std::size_t same, std::size_t after) const {
  for (auto back = same + 1; back-- > 0;)
    for (auto next = after; next < clients_.size(); ++next) {
      auto line = std::to_string(next + 1) + ":1\n";
      if (in.compare(at + back, line.size(), line) == 0)
        return back;
    }
  return same;
}

/// A beginning of what each client sent, in their order; all of the last one's.
void watched::check_input() const {
  auto in = node_.caged({"exec", sandbox_, "--", "cat", "/workspace/in"}).out;
  std::size_t at = 0;
  for (std::size_t i = 0; i < clients_.size() && at < in.size(); ++i) {
    auto mark = std::to_string(i + 1) + ":";
    std::uint64_t number = 0;
    for (;;) {
      auto line = mark + std::to_string(number + 1) + "\n";
      std::size_t same = 0;
      while (same < line.size() && at + same < in.size()
             && in[at + same] == line[same])
        ++same;
      if (same < line.size()) {
        at += cut_before(in, at, same, i + 1);
        break;
      }
      at += same;
      ++number;
    }
    CAPTURE(i, at, number, clients_.size());
    if (i + 1 == clients_.size())
      CHECK(number % 20000 == 0); // its end was not cut
  }
  CHECK(at == in.size());
}

void survive(std::size_t sandboxes, int printers, int kills) {
  CAPTURE(seed());
  chance random;
  test_node node{roomy()};
  REQUIRE(node.start());
  auto ids = make_fleet(node, sandboxes);
  REQUIRE(ids.size() == sandboxes);
  auto before = inits(node);
  std::vector<std::unique_ptr<watched>> all;
  auto add = [&](kind what) {
    auto count = all.size();
    all.push_back(std::make_unique<watched>(node, ids.at(count), what,
                                            static_cast<int>(10 + count)));
    all.back()->begin();
  };
  for (int i = 0; i < printers; ++i)
    add(kind::printer);
  for (int i = 0; i < 3; ++i)
    for (auto what : {kind::sender, kind::terminal, kind::detached})
      add(what);
  for (int kill = 0; kill < kills; ++kill) {
    CAPTURE(kill);
    // Clients die before, while the daemon is away, and after; some are only
    // pushed aside.
    std::vector<watched*> alone;
    auto some_die = [&](bool may_push) {
      auto* one = all[random.below(static_cast<unsigned>(all.size()))].get();
      INFO(one->label());
      if (may_push && random.below(3) == 0)
        return one->attach();
      if (std::find(alone.begin(), alone.end(), one) != alone.end())
        return;
      one->kill_client();
      alone.push_back(one);
    };
    random.let_pass(500ms);
    some_die(true);
    some_die(true);
    random.let_pass(300ms);
    node.kill();
    some_die(false);
    some_die(false);
    REQUIRE(node.start());
    if (random.below(2) == 0)
      some_die(false);
    for (auto* one : alone)
      one->attach();
    CHECK(running(node).size() == sandboxes);
  }
  for (auto& one : all)
    one->tell_end();
  for (auto& one : all) {
    INFO(one->label());
    one->check();
  }
  CHECK(inits(node) == before);
  CHECK(audit_findings(node).empty());
  CHECK(node.clear() == "");
}

} // namespace

TEST_CASE("the last client to attach goes on, the one before is told") {
  test_node node;
  REQUIRE(node.start());
  auto id = node.up({"--name", "web"});
  REQUIRE_FALSE(id.empty());
  auto begun = node.start_caged({"exec", "--no-stdin", "web", "--", "sh", "-c",
                                 "seq 1 100000; while [ ! -e /tmp/go ]; do "
                                 "sleep 0.05; done; echo end; exit 9"});
  REQUIRE(eventually(20s, [&] { return has(begun->out(), "\n100000\n"); }));
  auto ps = json::parse(node.caged({"ps", "web", "--format", "json"}).out);
  auto execs = ps.is_object() ? ps["execs"] : ps;
  REQUIRE(execs.size() == 1);
  std::string exec = execs[0]["exec"];
  auto second = node.start_caged({"attach", "--no-stdin", "web", exec});
  REQUIRE(begun->wait(20s));
  CHECK(begun->exit() == 125);
  CHECK(has(begun->err(), "another client attached"));
  CHECK(begun->out() == numbered(100000));
  CHECK(node.caged({"exec", "web", "--", "touch", "/tmp/go"}).exit == 0);
  REQUIRE(second->wait(20s));
  CHECK(second->exit() == 9);
  // Not all again: only what was not acknowledged.
  auto whole = numbered(100000) + "end\n";
  auto rest = second->out();
  CHECK(rest.size() >= 4);
  CHECK(rest.size() < whole.size() / 2);
  CHECK(whole.compare(whole.size() - rest.size(), rest.size(), rest) == 0);
  CHECK(node.clear() == "");
}

TEST_CASE(
    "clients killed amid 4 kills of the daemon are replaced without loss") {
  survive(12, 2, 4);
}

TEST_CASE(
    "20 clients killed amid 10 kills of the daemon are replaced without loss",
    "[.full]") {
  survive(50, 11, 10);
}
