#include <catch2/catch.hpp>

#include <array>
#include <csignal>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tests/support/books.hpp"
#include "tests/support/test_node.hpp"

// Every verb against every state of a sandbox: it works, or one clear sentence
// says why not; and from every state `destroy` frees everything.
using namespace caged::test;
using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string trimmed(std::string text) {
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  return text;
}

// -- the table ----------------------------------------------------------------

enum column {
  pending,
  running,
  unhealthy,
  paused,
  stopping,
  failed,
  destroyed
};
constexpr std::array<const char*, 7> states = {
    "pending",  "running", "unhealthy", "paused",
    "stopping", "failed",  "destroyed"};

/// The exit code, and what the answer (0) or the error contains. {id}, {name},
/// {ended} and {sleeper} (detached execs), {file} are put in.
struct cell {
  int exit;
  const char* says;
};

struct verb_row {
  std::vector<std::string> line;
  std::array<cell, 7> cells; ///< in the order of `states`
};

// What a command in the sandbox needs; 125 is caged's own code there.
constexpr cell made{125, "{id} is still being made"},
    sick{125, "{id} is unhealthy: no heartbeat"},
    frozen{125, "{id} is paused: pause was asked for"},
    ending{125, "{id} is being destroyed"}, dead{125, "{id} has failed: "},
    gone{125, "{id} is destroyed"};
constexpr cell made1{1, made.says}, sick1{1, sick.says},
    frozen1{1, frozen.says}, ending1{1, ending.says}, dead1{1, dead.says},
    gone1{1, gone.says};
constexpr cell fine{0, ""}, asked{0, "up was asked for"}, listed{0, "{id}"},
    used{1, "the name \"{name}\" is in use by {id}"};
constexpr cell no_pause{1, "only a running sandbox can be paused"},
    no_resume{1, "only a paused sandbox can be resumed"};

const std::vector<verb_row> table = {
    // line
    //   pending, running, unhealthy, paused, stopping, failed, destroyed
    {{"get", "{id}"},
     {{{0, "pending"},
       {0, "running"},
       {0, "unhealthy"},
       {0, "paused"},
       {0, "stopping"},
       {0, "failed"},
       {0, "destroyed"}}}},
    {{"list", "-a"},
     {{listed, listed, listed, listed, listed, listed, listed}}},
    {{"list", "-q"}, {{listed, listed, listed, listed, listed, listed, fine}}},
    {{"top", "--once", "--interval", "100ms"},
     {{listed, listed, listed, listed, listed, listed, fine}}},
    {{"why", "{id}"}, {{asked, asked, asked, asked, asked, asked, asked}}},
    {{"events", "{id}"}, {{asked, asked, asked, asked, asked, asked, asked}}},
    {{"logs", "{id}"}, {{fine, fine, fine, fine, fine, fine, gone1}}},
    {{"logs", "--source", "agent", "{id}"},
     {{fine, fine, fine, fine, fine, fine, gone1}}},
    {{"ps", "{id}"},
     {{fine,
       {0, "{sleeper}"},
       {0, "{sleeper}"},
       {0, "{sleeper}"},
       ending1,
       dead1,
       gone1}}},
    {{"attach", "--no-stdin", "{id}", "{ended}"},
     {{{125, "{id} has no exec"},
       {0, "has ended"},
       sick,
       frozen,
       ending,
       dead,
       gone}}},
    {{"kill", "-s", "CONT", "{id}", "{sleeper}"},
     {{made1, {0, "{sleeper}"}, sick1, frozen1, ending1, dead1, gone1}}},
    {{"exec", "{id}", "--", "echo", "hello"},
     {{made, {0, "hello"}, sick, frozen, ending, dead, gone}}},
    {{"exec", "-d", "{id}", "--", "true"},
     {{made, fine, sick, frozen, ending, dead, gone}}},
    {{"exec", "-t", "{id}", "--", "sh", "-c", "test -t 0 && exit 4"},
     {{made, {4, ""}, sick, frozen, ending, dead, gone}}},
    {{"connect", "{id}"}, {{made, {5, ""}, sick, frozen, ending, dead, gone}}},
    {{"cp", "-q", "{file}", "{id}:/tmp/in"},
     {{made1, fine, sick1, frozen1, ending1, dead1, gone1}}},
    {{"cp", "-q", "{id}:/etc/passwd", "-"},
     {{made1, {0, "root:"}, sick1, frozen1, ending1, dead1, gone1}}},
    {{"files", "ls", "{id}", "/etc"},
     {{made1, {0, "passwd"}, sick1, frozen1, ending1, dead1, gone1}}},
    {{"files", "write", "{id}", "/tmp/written"},
     {{made1, fine, sick1, frozen1, ending1, dead1, gone1}}},
    {{"files", "cat", "{id}", "/etc/passwd"},
     {{made1, {0, "root:"}, sick1, frozen1, ending1, dead1, gone1}}},
    {{"files", "rm", "{id}", "/tmp/written"},
     {{made1, fine, sick1, frozen1, ending1, dead1, gone1}}},
    {{"forward", "{id}", "0:8080"},
     {{made1,
       {0, " -> {id}:8080"},
       sick1,
       {1, "{id} is paused"},
       ending1,
       dead1,
       gone1}}},
    {{"up", "--no-config", "--name", "{name}"},
     {{used, used, used, used, used, used, {0, "cage-"}}}},
    // Those that may change the state; it is put back.
    {{"exec", "--resume", "{id}", "--", "echo", "awake"},
     {{made, {0, "awake"}, sick, {0, "awake"}, ending, dead, gone}}},
    {{"forward", "--resume", "{id}", "0:8080"},
     {{made1,
       {0, " -> {id}:8080"},
       sick1,
       {0, " -> {id}:8080"},
       ending1,
       dead1,
       gone1}}},
    {{"resume", "{id}"},
     {{no_resume,
       {0, "{id} (was so before)"},
       no_resume,
       listed,
       no_resume,
       no_resume,
       gone1}}},
    {{"pause", "{id}"},
     {{no_pause,
       listed,
       no_pause,
       {0, "{id} (was so before)"},
       no_pause,
       no_pause,
       gone1}}},
    {{"destroy", "{id}"},
     {{listed,
       listed,
       listed,
       listed,
       listed,
       listed,
       {0, "{id} (was destroyed before)"}}}},
};

// -- how a state is reached ---------------------------------------------------

bool changes(const std::vector<std::string>& line) {
  return line[0] == "pause" || line[0] == "resume" || line[1] == "--resume";
}

/// crun behind a gate: as long as it is shut no start goes on. The lock goes
/// with us, should we be killed.
class gate {
public:
  gate() {
    auto crun = trimmed(run({"sh", "-c", "command -v crun"}).out);
    fd_ = ::open((dir_ / "gate").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    // What waits dies with the shell: it would hold the sandbox's mounts.
    write_file(dir_ / "crun",
               "#!/bin/sh\ncase \" $* \" in *' run '*)\nexec 9< "
                   + (dir_ / "gate")
                   + "\nsetpriv --pdeathsig KILL flock -s 9 || exit 1\n"
                     "exec 9<&-\nesac\nexec "
                   + crun + " \"$@\"\n",
               0755);
  }
  ~gate() { ::close(fd_); }
  std::string crun() const { return dir_ / "crun"; }
  void shut() { REQUIRE(::flock(fd_, LOCK_EX) == 0); }
  void open() { REQUIRE(::flock(fd_, LOCK_UN) == 0); }

private:
  temp_dir dir_;
  int fd_ = -1;
};

class verbs {
public:
  verbs() : node{{"--heartbeat-interval", "500ms", "--crun", crun.crun()}} {
    REQUIRE(node.start());
    write_file(dir_ / "file", "text\n");
  }

  void check(column in) {
    for (const auto& verb : table) {
      std::vector<std::string> line;
      process_result got;
      // A start cannot be held for ever: once more, should it have ended.
      for (int attempt = 0; attempt < 3; ++attempt) {
        reach(in);
        line = verb.line;
        for (auto& word : line)
          fill(word);
        got = ask(line);
        moved_ = changes(line);
        bool held = in == pending || in == stopping;
        if (!held || line[0] == "destroy" || node.state(id_) == states[in])
          break;
      }
      CAPTURE(states[in], line);
      const auto& want = verb.cells[in];
      std::string says = want.says;
      fill(says);
      INFO("out: " << got.out << "\nerr: " << got.err);
      CHECK_FALSE(got.timed_out);
      CHECK(got.exit == want.exit);
      bool typed = line[0] == "connect" || line[1] == "-t"; // one terminal
      bool refused = want.exit == 1 || want.exit == 125;
      CHECK(has(refused && !typed ? got.err : got.out, says));
      if (refused && !typed) {
        CHECK(got.err.rfind("caged: ", 0) == 0);
        if (line[0] != "cp") // stdout is what was asked for, and nothing came
          CHECK(got.out.empty());
      }
      if (line[0] == "up" && got.exit == 0)
        CHECK(node.caged({"destroy", name_}).exit == 0);
    }
    CHECK(node.state(id_) == "destroyed");
    CHECK(node.why_says(id_, "everything is freed"));
    auto left = traces_of(node, id_);
    CAPTURE(states[in]);
    INFO(lines(left));
    CHECK(left.empty());
    for (auto& client : clients_) {
      CHECK(client->wait(30s));
      INFO(client->err());
      // That of the `up` that was overtaken, of the destroy that did it, and of
      // a start that was held for too long.
      CHECK((client->exit() == 0 || has(client->err(), "was destroyed while")
             || has(client->err(), "did not start the sandbox within")));
    }
    clients_.clear();
    id_.clear();
  }

  gate crun;
  test_node node;

private:
  void fill(std::string& text) const {
    for (const auto& [key, value] :
         std::map<std::string, std::string>{{"{id}", id_},
                                            {"{name}", name_},
                                            {"{ended}", ended_},
                                            {"{sleeper}", sleeper_},
                                            {"{file}", dir_ / "file"}})
      if (auto at = text.find(key); at != std::string::npos)
        text.replace(at, key.size(), value);
  }

  process_result ask(const std::vector<std::string>& line) {
    if (line[0] == "connect" || line[1] == "-t") {
      std::string quoted = bin_dir() + "/caged";
      for (const auto& word : line)
        quoted += " '" + word + "'";
      process_options options = with_input("exit 5\n");
      options.env["CAGED_ENDPOINT"] = node.endpoint();
      options.env["TERM"] = "xterm";
      return run({"script", "-qec", quoted, "/dev/null"}, options);
    }
    if (line[0] == "forward") { // it goes on until it is told
      auto job = node.start_caged(line);
      eventually(20s, [&] { return has(job->out(), " -> ") || !job->alive(); });
      job->signal(SIGINT);
      process_result got;
      got.timed_out = !job->wait(10s);
      got.exit = job->exit();
      got.out = job->out();
      got.err = job->err();
      return got;
    }
    if (line[0] == "destroy") {
      auto job = node.start_caged(line);
      if (in_ == pending || in_ == stopping) {
        // It waits for the start that is under way.
        CHECK(eventually(10s, [&] { return node.state(id_) == "stopping"; }));
        crun.open();
      }
      process_result got;
      got.timed_out = !job->wait(60s);
      got.exit = job->exit();
      got.out = job->out();
      got.err = job->err();
      return got;
    }
    return node.caged(line, with_input("text\n", 60s));
  }

  /// A sandbox in this state is in id_; the one before where that still is.
  void reach(column in) {
    bool held = in == pending || in == stopping;
    if (!id_.empty() && !held && !moved_)
      return; // nothing so far could change it
    auto now = id_.empty() ? std::string{} : node.state(id_);
    in_ = in;
    if (now == states[in])
      return;
    if (now == "paused" && in == running) {
      REQUIRE(node.caged({"resume", id_}).exit == 0);
      return;
    }
    if (now == "running" && in == paused) {
      REQUIRE(node.caged({"pause", id_}).exit == 0);
      return;
    }
    // A start cannot be held for ever: another one, then.
    INFO("it is " << now << " and should be " << states[in]);
    REQUIRE((now.empty() || in == pending || in == stopping));
    name_ = std::string{states[in]} + std::to_string(++made_);
    ended_ = sleeper_ = "none";
    if (in == pending || in == stopping)
      hold_a_start(in);
    else
      make(in);
    REQUIRE(eventually(15s, [&] { return node.state(id_) == states[in]; }));
  }

  void hold_a_start(column in) {
    if (made_ > 1 && !id_.empty())
      crun.open();
    crun.shut();
    clients_.push_back(node.start_caged(
        {"up", "--no-config", "--memory", "128", "--name", name_}));
    REQUIRE(eventually(10s, [&] { return node.state(name_) == "pending"; }));
    id_ = json::parse(node.caged({"get", name_, "--format", "json"}).out)["id"];
    if (in == stopping)
      clients_.push_back(node.start_caged({"destroy", id_}));
  }

  void make(column in) {
    id_ = node.up({"--no-config", "--memory", "128", "--name", name_});
    REQUIRE_FALSE(id_.empty());
    ended_ = trimmed(
        node.caged({"exec", "-d", id_, "--", "echo", "it", "has", "ended"})
            .out);
    REQUIRE(node.caged({"attach", "--no-stdin", id_, ended_}).exit == 0);
    sleeper_ =
        trimmed(node.caged({"exec", "-d", id_, "--", "sleep", "1000"}).out);
    REQUIRE_FALSE(sleeper_.empty());
    auto init = node.init_of(id_);
    REQUIRE(init > 0);
    if (in == unhealthy)
      REQUIRE(::kill(init, SIGSTOP) == 0);
    else if (in == failed)
      REQUIRE(::kill(init, SIGKILL) == 0);
    else if (in == paused)
      REQUIRE(node.caged({"pause", id_}).exit == 0);
    else if (in == destroyed)
      REQUIRE(node.caged({"destroy", id_}).exit == 0);
  }

  temp_dir dir_;
  column in_ = pending;
  bool moved_ = false; ///< the last verb may have changed the state
  int made_ = 0;
  std::string id_, name_, ended_, sleeper_;
  /// Of the start that is held, and of its destroy.
  std::vector<std::unique_ptr<background>> clients_;
};

} // namespace

TEST_CASE("every verb in every state works or says why not") {
  verbs all;
  for (auto in :
       {running, unhealthy, paused, failed, destroyed, pending, stopping})
    all.check(in);
  auto left = disagreements(all.node);
  INFO(lines(left));
  CHECK(left.empty());
  CHECK(all.node.clear() == "");
}
