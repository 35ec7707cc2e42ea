#include <array>
#include <cstdio>
#include <ctime>
#include <queue>
#include <unordered_set>

#include "mcp/git/ops.hpp"
#include "mcp/git/revisions.hpp"
#include "messages/text.hpp"

namespace caged::mcp::git {

namespace {

/// Commits looked at for one request: bounds memory (64 bytes each) and time.
constexpr std::size_t walked_most = 200'000;
constexpr std::size_t message_most = 16U << 10U;

/// "Wed Nov 25 18:44:48 2026 +0000", git's default; or ISO 8601.
std::string date_of(const git_time& when, bool iso) {
  // Offsets and times of broken commits may be anything.
  const auto offset =
      when.offset > -1440 && when.offset < 1440 ? when.offset : 0;
  auto seconds = static_cast<std::time_t>(when.time) + offset * 60;
  std::tm parts{};
  if (when.time < 0 || when.time > 253'402'300'799 // the year 9999
      || ::gmtime_r(&seconds, &parts) == nullptr)
    return iso ? "1970-01-01T00:00:00+00:00" : "Thu Jan 1 00:00:00 1970 +0000";
  std::array<char, 64> text{};
  if (iso)
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  else {
    std::strftime(text.data(), text.size(), "%a %b ", &parts);
    std::string start = text.data();
    std::strftime(text.data(), text.size(), " %H:%M:%S %Y ", &parts);
    start += std::to_string(parts.tm_mday) + text.data();
    const auto size = std::abs(offset);
    std::snprintf(text.data(), text.size(), "%c%02d%02d",
                  offset < 0 ? '-' : '+', size / 60, size % 60);
    return start + text.data();
  }
  std::string all = text.data();
  const auto size = std::abs(offset);
  std::snprintf(text.data(), text.size(), "%c%02d:%02d", offset < 0 ? '-' : '+',
                size / 60, size % 60);
  return all + text.data();
}

struct id_hash {
  std::size_t operator()(
      const std::array<unsigned char, GIT_OID_RAWSZ>& id) const noexcept {
    std::size_t h = 0;
    std::copy_n(id.begin(), sizeof h, reinterpret_cast<unsigned char*>(&h));
    return h;
  }
};
using raw_id = std::array<unsigned char, GIT_OID_RAWSZ>;

raw_id raw_of(const git_oid& id) {
  raw_id raw{};
  std::copy_n(std::begin(id.id), raw.size(), raw.begin());
  return raw;
}

/// Commits from one on, newest first, as `git log` lists them: a queue by
/// commit time; with paths, of a merge whose files at the paths are those of
/// one parent only that parent is followed (git-log(1), "History
/// Simplification", default mode).
class walk {
public:
  walk(git_repository* repository, const std::vector<std::string>& paths)
      : repository_{repository}, paths_{paths} {}

  int push(const git_oid& id) {
    if (!seen_.insert(raw_of(id)).second)
      return 0;
    commit_ptr commit;
    if (const int rc = git_commit_lookup(commit.put(), repository_, &id);
        rc != 0)
      return shallow_ ? 0 : rc;
    waiting_.push({git_commit_time(commit.get()), next_++, id});
    return 0;
  }

  /// The next commit that counts; empty at the end. `rc` is libgit2's.
  commit_ptr next(int& rc) {
    for (;;) {
      if (waiting_.empty() || looked_at_ >= walked_most)
        return {};
      const auto top = waiting_.top();
      waiting_.pop();
      ++looked_at_;
      commit_ptr commit;
      rc = git_commit_lookup(commit.put(), repository_, &top.id);
      if (rc != 0)
        return {};
      bool counts = true;
      rc = follow(commit.get(), counts);
      if (rc != 0)
        return {};
      if (counts)
        return commit;
    }
  }

  bool stopped_early() const { return looked_at_ >= walked_most; }
  std::size_t looked_at() const { return looked_at_; }
  /// A shallow clone's oldest commits name parents that are not there.
  void shallow(bool is) { shallow_ = is; }

private:
  struct item {
    git_time_t time;
    std::size_t order;
    git_oid id;
    bool operator<(const item& other) const {
      return time != other.time ? time < other.time : order > other.order;
    }
  };

  int follow(git_commit* commit, bool& counts) {
    const auto parents = git_commit_parentcount(commit);
    if (paths_.empty()) {
      for (unsigned i = 0; i < parents; ++i)
        if (const int rc = push(*git_commit_parent_id(commit, i)); rc != 0)
          return rc;
      return 0;
    }
    std::vector<git_oid> here;
    if (const int rc = ids_of(commit, here); rc != 0)
      return rc;
    const git_oid none{};
    bool any = false;
    for (const auto& id : here)
      any = any || git_oid_cmp(&id, &none) != 0;
    counts = parents > 0 || any;
    for (unsigned i = 0; i < parents; ++i) {
      commit_ptr parent;
      int rc = git_commit_lookup(parent.put(), repository_,
                                 git_commit_parent_id(commit, i));
      if (rc != 0 && shallow_)
        continue;
      std::vector<git_oid> there;
      if (rc == 0)
        rc = ids_of(parent.get(), there);
      if (rc != 0)
        return rc;
      bool same = true;
      for (std::size_t k = 0; k < here.size(); ++k)
        same = same && git_oid_equal(&here[k], &there[k]) != 0;
      if (same) {
        counts = false;
        return push(*git_commit_parent_id(commit, i));
      }
    }
    if (parents == 0)
      return 0;
    for (unsigned i = 0; i < parents; ++i)
      if (const int rc = push(*git_commit_parent_id(commit, i)); rc != 0)
        return rc;
    return 0;
  }

  /// What each path is in a commit; zero when it is not there.
  int ids_of(git_commit* commit, std::vector<git_oid>& ids) {
    tree_ptr tree;
    if (const int rc = git_commit_tree(tree.put(), commit); rc != 0)
      return rc;
    for (const auto& path : paths_) {
      tree_entry_ptr entry;
      const int rc =
          git_tree_entry_bypath(entry.put(), tree.get(), path.c_str());
      if (rc != 0 && rc != GIT_ENOTFOUND)
        return rc;
      ids.push_back(rc == 0 ? *git_tree_entry_id(entry.get()) : git_oid{});
    }
    return 0;
  }

  git_repository* repository_;
  const std::vector<std::string>& paths_;
  std::priority_queue<item> waiting_;
  std::unordered_set<raw_id, id_hash> seen_;
  std::size_t next_ = 0;
  std::size_t looked_at_ = 0;
  bool shallow_ = false;
};

std::string text_of(const char* text) {
  return text != nullptr ? text : "";
}

void print(git_commit* commit, bool oneline, answer& to, json& list) {
  const auto id = full_id(*git_commit_id(commit));
  const auto brief = short_id(reinterpret_cast<git_object*>(commit));
  const auto* author = git_commit_author(commit);
  auto message = text_of(git_commit_message(commit));
  if (message.size() > message_most) {
    message.resize(message_most);
    message += "\n[message cut]";
  }
  while (!message.empty() && message.back() == '\n')
    message.pop_back();
  const auto subject = text_of(git_commit_summary(commit)).substr(0, 512);
  const auto parents = git_commit_parentcount(commit);
  json item{{"id", id}, {"short_id", brief}, {"subject", subject}};
  item["parents"] = json::array();
  for (unsigned i = 0; i < parents; ++i)
    item["parents"].push_back(full_id(*git_commit_parent_id(commit, i)));
  if (author != nullptr) {
    item["author"] = text_of(author->name);
    item["email"] = text_of(author->email);
    item["date"] = date_of(author->when, true);
  }
  if (oneline) {
    to.text += brief + " " + subject + "\n";
    list.push_back(std::move(item));
    return;
  }
  item["message"] = message;
  list.push_back(std::move(item));
  if (!to.text.empty())
    to.text += "\n";
  to.text += "commit " + id + "\n";
  if (parents > 1) {
    to.text += "Merge:";
    for (unsigned i = 0; i < parents; ++i) {
      commit_ptr parent;
      if (git_commit_parent(parent.put(), commit, i) == 0)
        to.text += " " + short_id(reinterpret_cast<git_object*>(parent.get()));
    }
    to.text += "\n";
  }
  if (author != nullptr)
    to.text += "Author: " + text_of(author->name) + " <"
               + text_of(author->email)
               + ">\nDate:   " + date_of(author->when, false) + "\n";
  to.text += "\n";
  for (std::string_view rest = message;;) {
    const auto end = rest.find('\n');
    const auto one = rest.substr(0, end);
    to.text.append("    ").append(one).append("\n");
    if (end == std::string_view::npos)
      break;
    rest.remove_prefix(end + 1);
  }
}

} // namespace

result<answer> log(worker_state& state, const json& request) {
  auto opened =
      open_repository(state, request.value("repository", std::string{"."}));
  if (!opened)
    return tl::unexpected(opened.error());
  auto* repository = *opened;
  const auto ref = request.value("ref", std::string{});
  const auto count = request.value("count", std::size_t{10});
  const auto skip = request.value("skip", std::size_t{0});
  const bool oneline = request.value("oneline", false);
  const path_list paths{state, request};
  if (!paths.literal())
    return fail(ec::bad_request, "git_log takes files and folders, no patterns",
                "name a folder, or find names with file_search");
  walk commits{repository, paths.all()};
  commits.shallow(git_repository_is_shallow(repository) == 1);
  revwalk_ptr range;
  git_oid start{};
  if (ref.empty()) {
    auto head = head_commit(repository);
    if (!head)
      return tl::unexpected(head.error());
    if (!*head)
      return fail(ec::not_found, "the current branch has no commits yet",
                  "git_commit makes the first one");
    start = *git_commit_id(head->get());
  } else {
    auto found = parse_revisions(repository, ref);
    if (!found)
      return tl::unexpected(found.error());
    auto to = commit_of(found->to, ref);
    if (!to)
      return tl::unexpected(to.error());
    start = *git_commit_id(to->get());
    if (found->from) {
      if (found->merge_base || !paths.empty())
        return fail(ec::bad_request,
                    "git_log takes a range A..B only without path",
                    "leave out path, or name one revision");
      auto from = commit_of(found->from, ref);
      if (!from)
        return tl::unexpected(from.error());
      int rc = git_revwalk_new(range.put(), repository);
      if (rc == 0)
        rc = git_revwalk_push(range.get(), &start);
      if (rc == 0)
        rc = git_revwalk_hide(range.get(), git_commit_id(from->get()));
      if (rc != 0)
        return git_failure("walk " + caged::quoted(ref), rc);
    }
  }
  if (!range)
    if (const int rc = commits.push(start); rc != 0)
      return git_failure("read the commit", rc);
  const auto next = [&](int& rc) {
    if (!range)
      return commits.next(rc);
    git_oid id{};
    commit_ptr commit;
    rc = git_revwalk_next(&id, range.get());
    if (rc == GIT_ITEROVER) {
      rc = 0;
      return commit;
    }
    if (rc == 0)
      rc = git_commit_lookup(commit.put(), repository, &id);
    return commit;
  };

  answer to;
  auto list = json::array();
  bool more = false;
  int rc = 0;
  for (std::size_t n = 0; rc == 0; ++n) {
    auto commit = next(rc);
    if (!commit || rc != 0)
      break;
    if (n < skip)
      continue;
    if (list.size() >= count || to.text.size() > state.output_bytes / 4) {
      more = true;
      break;
    }
    print(commit.get(), oneline, to, list);
  }
  if (rc != 0)
    return git_failure("read the history", rc);
  const bool early = commits.stopped_early();
  if (list.empty() && to.text.empty())
    to.text = early ? "" : "no commits\n";
  const auto next_skip = skip + list.size();
  if (early)
    to.text += "# stopped behind " + std::to_string(commits.looked_at())
               + " commits\n";
  else if (more)
    to.text += std::string{oneline ? "" : "\n"}
               + "# more: skip=" + std::to_string(next_skip) + "\n";
  to.structured = {{"commits", std::move(list)}, {"more", more || early}};
  if (more)
    to.structured["next_skip"] = next_skip;
  return to;
}

} // namespace caged::mcp::git
