#include <memory>

#include <fcntl.h>
#include <unistd.h>

#include "mcp/git/hooks.hpp"
#include "mcp/git/ops.hpp"
#include "mcp/git/pool.hpp"
#include "mcp/tools/families.hpp"
#include "mcp/tools/git_schemas.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr std::size_t message_bytes = 256U << 10U;
constexpr std::size_t paths_most = 10'000;
constexpr std::chrono::seconds hook_timeout{120};

/// What the git tools share. Outlives them: each holds it.
struct shared {
  shared(const workspace& w, const server_config& c, git::pool_options o)
      : where{w}, config{c}, pool{std::move(o)} {}
  const workspace& where;
  const server_config& config;
  git::worker_pool pool;
};

/// The folder of the repository, relative to the workspace.
result<std::string> repository_of(const shared& s, const arguments& args) {
  return s.where.relative(args.text("repository", "."));
}

/// Paths relative to the repository. Absolute ones beneath it are taken too:
/// clients send both.
result<json> paths_of(const shared& s, const std::vector<std::string>& given,
                      const std::string& repository) {
  if (given.size() > paths_most)
    return fail(ec::too_large,
                "more than " + std::to_string(paths_most) + " paths",
                "name their folders");
  auto paths = json::array();
  for (const auto& path : given) {
    if (path.empty() || path[0] != '/') {
      paths.push_back(path.empty() ? "." : path);
      continue;
    }
    auto beneath = s.where.relative(path);
    if (!beneath)
      return tl::unexpected(beneath.error());
    if (repository == ".") {
      paths.push_back(std::move(*beneath));
    } else if (*beneath == repository) {
      paths.push_back(".");
    } else if (beneath->compare(0, repository.size() + 1, repository + "/")
               == 0) {
      paths.push_back(beneath->substr(repository.size() + 1));
    } else {
      return fail(ec::bad_request,
                  caged::quoted(path) + " is not in the repository "
                      + caged::quoted(repository),
                  "paths are relative to the repository's folder");
    }
  }
  return paths;
}

/// Fills in the members that all requests have.
result<json> request_of(const shared& s, const arguments& args, const char* op,
                        const char* path_argument) {
  const auto given = args.texts(path_argument);
  auto repository = repository_of(s, args);
  if (auto good = args.done(); !good)
    return tl::unexpected(good.error());
  if (!repository)
    return tl::unexpected(repository.error());
  json request{{"op", op}, {"repository", *repository}};
  if (!given.empty()) {
    auto paths = paths_of(s, given, *repository);
    if (!paths)
      return tl::unexpected(paths.error());
    request["paths"] = std::move(*paths);
  }
  return request;
}

result<tool_result> ask(shared& s, const json& request, call& c) {
  auto reply = s.pool.ask(request, c.cancel());
  if (!reply)
    return tl::unexpected(reply.error());
  tool_result out;
  out.text = std::move(reply->text);
  out.structured = std::move(reply->structured);
  return out;
}

result<tool_result> run_status(shared& s, const arguments& args, call& c) {
  const auto untracked =
      args.choice("untracked", {"normal", "all", "no"}, "normal");
  const bool ignored = args.flag("ignored", false);
  const bool renames = args.flag("renames", false);
  const auto limit = args.integer("limit", 1, 10'000, 1000);
  auto request = request_of(s, args, "status", "path");
  if (!request)
    return tl::unexpected(request.error());
  request->update({{"untracked", untracked},
                   {"ignored", ignored},
                   {"renames", renames},
                   {"limit", limit}});
  return ask(s, *request, c);
}

result<tool_result> run_diff(shared& s, const arguments& args, call& c) {
  const bool staged = args.flag("staged", false);
  const auto context = args.integer("context", 0, 1000, 3);
  const bool stat_only = args.flag("stat_only", false);
  const auto range = args.text("range", "");
  auto request = request_of(s, args, "diff", "path");
  if (!request)
    return tl::unexpected(request.error());
  request->update({{"staged", staged},
                   {"context", context},
                   {"stat_only", stat_only},
                   {"range", range}});
  auto out = ask(s, *request, c);
  if (!out)
    return out;
  if (out->text.empty()) {
    // An empty text says nothing to a model.
    out->structured["diff"] = "";
    out->text = range.empty() && !staged
                    ? "no unstaged changes (staged: true compares the index "
                      "with HEAD; untracked files are in git_status)\n"
                    : "no changes\n";
  } else {
    out->text_member = "diff";
  }
  return out;
}

result<tool_result> run_log(shared& s, const arguments& args, call& c) {
  const auto count = args.integer("count", 1, 1000, 10);
  const auto skip = args.integer("skip", 0, 1'000'000, 0);
  const auto ref = args.text("ref", "");
  const bool oneline = args.flag("oneline", false);
  auto request = request_of(s, args, "log", "path");
  if (!request)
    return tl::unexpected(request.error());
  request->update(
      {{"count", count}, {"skip", skip}, {"ref", ref}, {"oneline", oneline}});
  return ask(s, *request, c);
}

result<void> write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return fail_errno(ec::io, "cannot write COMMIT_EDITMSG", errno);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

/// The message as the hook commit-msg leaves it.
result<std::string> message_after(const workspace& where,
                                  const std::string& path) {
  auto file = where.open_at(path, O_RDONLY);
  if (!file)
    return tl::unexpected(file.error());
  std::string text(message_bytes, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const auto n = ::read(file->get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      break;
    size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  return text;
}

/// pre-commit, then commit-msg, between staging and the commit itself.
result<void> run_hooks(shared& s, json& request, call& c) {
  request["phase"] = "stage";
  auto staged = s.pool.ask(request, c.cancel());
  if (!staged)
    return tl::unexpected(staged.error());
  const auto text = [&](const char* name) {
    auto at = staged->structured.find(name);
    return at != staged->structured.end() && at->is_string()
               ? at->get<std::string>()
               : std::string{};
  };
  const auto worktree = text("worktree"), git_dir = text("git_dir");
  auto hooks = text("hooks_path");
  if (hooks.empty())
    hooks = git_dir + "/hooks";
  else if (hooks[0] != '/')
    hooks = worktree + "/" + hooks;
  if (auto good = git::run_hook(s.where, hooks + "/pre-commit", {}, worktree,
                                c.cancel(), hook_timeout);
      !good)
    return good;
  const auto path = git_dir + "/COMMIT_EDITMSG";
  auto file =
      s.where.open_at(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0666);
  if (!file)
    return tl::unexpected(file.error());
  auto message = request["message"].get<std::string>();
  if (message.empty() || message.back() != '\n')
    message += '\n';
  if (auto good = write_all(file->get(), message); !good)
    return good;
  if (auto good = git::run_hook(s.where, hooks + "/commit-msg", {path},
                                worktree, c.cancel(), hook_timeout);
      !good)
    return good;
  auto changed = message_after(s.where, path);
  if (!changed)
    return tl::unexpected(changed.error());
  request["message"] = std::move(*changed);
  request["phase"] = "finish";
  return {};
}

result<tool_result> run_commit(shared& s, const arguments& args, call& c) {
  auto message = args.text("message");
  const bool all = args.flag("all", false);
  auto author = args.text("author", "");
  auto request = request_of(s, args, "commit", "files");
  if (!request)
    return tl::unexpected(request.error());
  if (message.size() > message_bytes)
    return fail(ec::too_large,
                "the commit message has more than "
                    + std::to_string(message_bytes) + " bytes",
                "put long texts into files");
  if (author.empty())
    author = s.config.git_author;
  request->update({{"message", std::move(message)},
                   {"all", all},
                   {"author", std::move(author)},
                   {"committer", s.config.git_author},
                   {"phase", "whole"}});
  if (s.config.allow_hooks)
    if (auto good = run_hooks(s, *request, c); !good)
      return tl::unexpected(good.error());
  return ask(s, *request, c);
}

using runner = result<tool_result> (*)(shared&, const arguments&, call&);

void add(tool_set& tools, tool t, const std::shared_ptr<shared>& s,
         runner run) {
  t.run = [s, run](const arguments& args, call& c) { return run(*s, args, c); };
  tools.add(std::move(t));
}

} // namespace

void add_git_tools(tool_set& tools, const workspace& where,
                   const server_config& config) {
  git::pool_options options;
  options.root_fd = where.root_fd();
  options.writable = !config.read_only;
  options.output_bytes = config.limits.output_bytes;
  const auto s = std::make_shared<shared>(where, config, std::move(options));
  add(tools, git::status_tool(), s, run_status);
  add(tools, git::diff_tool(), s, run_diff);
  add(tools, git::log_tool(), s, run_log);
  if (!config.read_only)
    add(tools, git::commit_tool(config.allow_hooks), s, run_commit);
}

} // namespace caged::mcp
