#pragma once

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include "mcp/git/pool.hpp"
#include "mcp/tools/families.hpp"
#include "tests/support/process.hpp"

/// What the tests of the git tools share: a repository made by the real git in
/// a temporary folder, and a server's tools on it.
namespace caged::test {

using mcp::json;

class quiet_call : public mcp::call {
public:
  quiet_call() : call{std::make_shared<mcp::cancellation>()} {}
  void progress(double, std::optional<double>, std::string_view) override {}
  void log(mcp::log_level, std::string_view, const json&) override {}
  mcp::process_table& processes() override {
    throw std::logic_error{"git tools have no background commands"};
  }
};

/// base/ws is the workspace; base/outside/secret.txt must never show up, and
/// base/evil, a program that makes base/marker, must never run.
class git_box {
public:
  static constexpr const char* secret = "TOP-SECRET-OF-THE-OUTSIDE";
  temp_dir base;
  std::string ws = base / "ws";
  std::string outside = base / "outside";
  std::string evil = base / "evil";
  mcp::server_config config;

  git_box() {
    std::filesystem::create_directories(ws);
    std::filesystem::create_directories(outside);
    write_file(outside + "/secret.txt", std::string{secret} + "\n");
    write_file(evil,
               "#!/bin/sh\necho ran >>'" + base.path() + "/marker'\ncat\n",
               0755);
    config.git_author = "Ada Test <ada@example.org>";
  }

  /// The real git, in the workspace (or below), without anybody's
  /// configuration; its stdout.
  std::string git(std::vector<std::string> argv, const std::string& in = {},
                  const std::string& cwd = {}) const {
    argv.insert(argv.begin(),
                {"git", "-c", "core.quotePath=false", "-c",
                 "protocol.file.allow=always", "-c", "init.defaultBranch=main",
                 "-c", "advice.detachedHead=false"});
    process_options options;
    options.in = in;
    options.cwd = cwd.empty() ? ws : cwd;
    options.env = {{"HOME", base.path()},
                   {"GIT_CONFIG_NOSYSTEM", "1"},
                   {"GIT_AUTHOR_NAME", "Bea Real"},
                   {"GIT_AUTHOR_EMAIL", "bea@example.org"},
                   {"GIT_COMMITTER_NAME", "Bea Real"},
                   {"GIT_COMMITTER_EMAIL", "bea@example.org"},
                   {"LC_ALL", "C"}};
    auto done = run(argv, options);
    last_exit = done.exit;
    return done.out;
  }
  mutable int last_exit = 0;

  void write(const std::string& name, std::string_view text,
             unsigned mode = 0644) const {
    const std::filesystem::path path = ws + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    write_file(path, text, mode);
  }
  void append_config(const std::string& text) const {
    write(".git/config", read_file(ws + "/.git/config") + text);
  }
  void link(const std::string& target, const std::string& name) const {
    REQUIRE(::symlink(target.c_str(), (ws + "/" + name).c_str()) == 0);
  }

  /// A repository with one commit of a.txt and dir/b.txt.
  void start_repository() const {
    git({"init", "-q"});
    write("a.txt", "one\ntwo\nthree\n");
    write("dir/b.txt", "b\n");
    git({"add", "-A"});
    git({"commit", "-qm", "first commit"});
    REQUIRE(last_exit == 0);
  }

  /// Opens the workspace and its tools, at first use.
  mcp::tool_result call(const std::string& name, const json& arguments) {
    if (!where) {
      auto opened = mcp::workspace::open(ws);
      REQUIRE(opened);
      where = std::make_unique<mcp::workspace>(std::move(*opened));
      mcp::add_git_tools(tools, *where, config);
    }
    const auto* tool = tools.find(name);
    REQUIRE(tool != nullptr);
    quiet_call c;
    auto done = tool->run(mcp::arguments{arguments}, c);
    return done ? std::move(*done) : mcp::tool_error(done.error());
  }

  /// That nothing ran and nothing of the outside is in a result.
  void check_harmless(const mcp::tool_result& got) const {
    CHECK(got.text.find(secret) == std::string::npos);
    CHECK(got.structured.dump(-1, ' ', false, json::error_handler_t::replace)
              .find(secret)
          == std::string::npos);
    CHECK_FALSE(std::filesystem::exists(base.path() + "/marker"));
  }

  /// Every tool, and that each is harmless. The texts, by tool.
  std::map<std::string, mcp::tool_result> try_everything() {
    std::map<std::string, mcp::tool_result> got;
    got["status"] = call("git_status", {{"ignored", true}});
    got["diff"] = call("git_diff", json::object());
    got["staged"] = call("git_diff", {{"staged", true}});
    got["range"] = call("git_diff", {{"range", "HEAD"}});
    got["log"] = call("git_log", json::object());
    if (!config.read_only)
      got["commit"] = call("git_commit", {{"message", "m"}, {"all", true}});
    for (const auto& [name, result] : got) {
      INFO(name);
      check_harmless(result);
      CHECK(result.text.find("ended in the middle") == std::string::npos);
    }
    return got;
  }

  std::unique_ptr<mcp::workspace> where;
  mcp::tool_set tools;
};

/// The same through a pool of its own, for what the tools do not offer: no
/// Landlock, short timeouts.
class git_workers {
public:
  explicit git_workers(const git_box& box, bool use_landlock = true,
                       bool writable = true)
      : where{std::move(*mcp::workspace::open(box.ws))} {
    options.root_fd = where.root_fd();
    options.writable = writable;
    options.use_landlock = use_landlock;
  }
  result<mcp::git::worker_reply> ask(json request) {
    if (!pool)
      pool = std::make_unique<mcp::git::worker_pool>(options);
    return pool->ask(request, cancel);
  }
  /// Text and structured content, or the error's sentence and hint.
  std::string all(json request) {
    auto got = ask(std::move(request));
    if (!got)
      return "<" + std::string{to_string(got.error().code)} + "> "
             + got.error().message + " " + got.error().hint;
    return got->text + got->structured.dump();
  }

  mcp::workspace where;
  mcp::git::pool_options options;
  mcp::cancellation cancel;
  std::unique_ptr<mcp::git::worker_pool> pool;
};

} // namespace caged::test
