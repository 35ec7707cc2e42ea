#include <algorithm>
#include <cerrno>
#include <climits>

#include <fcntl.h>
#include <unistd.h>

#include "mcp/call.hpp"
#include "mcp/encode.hpp"
#include "mcp/ignore.hpp"
#include "mcp/tools/file_common.hpp"
#include "mcp/tools/folder_page.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr std::int64_t limit_most = 10'000;
constexpr std::int64_t depth_most = 64;
/// Names that a walk holds for each folder on its way.
constexpr std::size_t names_at_once = 1024;

struct list_request {
  std::string path;
  bool recursive = false, hidden = true, respect_ignore = false;
  std::int64_t depth = 1, limit = 1000;
  std::string cursor; ///< Path below `path` that came last; empty: none.
};

result<list_request> parse(const arguments& args) {
  list_request out;
  out.path = args.text("path", ".");
  const auto depth = args.optional_integer("depth", 1, depth_most);
  out.recursive = args.flag("recursive", depth.value_or(1) > 1);
  out.hidden = args.flag("include_hidden", true);
  out.respect_ignore = args.flag("respect_ignore", out.recursive);
  out.limit = args.integer("limit", 1, limit_most, 1000);
  out.cursor = args.text("cursor", "");
  if (auto good = args.done(); !good)
    return tl::unexpected{std::move(good.error())};
  out.depth = out.recursive ? depth.value_or(depth_most) : 1;
  return out;
}

/// One walk in the order of names, each folder before what is in it.
class lister {
public:
  lister(const workspace& where, const list_request& wanted,
         std::size_t text_most, call& in)
      : where_{where}, wanted_{wanted}, text_most_{text_most}, call_{in} {}

  result<tool_result> work() {
    auto base = where_.relative(wanted_.path);
    if (!base)
      return tl::unexpected{std::move(base.error())};
    base_ = std::move(*base);
    while (base_.size() > 1 && base_.back() == '/')
      base_.pop_back();
    const auto fd = where_.open_at(base_, O_RDONLY | O_DIRECTORY);
    if (!fd)
      return fd.error().code == ec::bad_request && !is_folder()
                 ? fail(ec::bad_request,
                        caged::quoted(wanted_.path) + " is not a folder",
                        "file_read reads a file")
                 : tl::unexpected{fd.error()};
    auto rules = wanted_.respect_ignore ? ignore_rules::of_folder(where_, base_)
                                        : ignore_rules{};
    if (!list(fd->get(), "", 1, rules, wanted_.cursor) && call_.cancelled())
      return fail(ec::unavailable, "the call was cancelled");
    if (error_ != 0)
      return path_error(wanted_.path, error_);
    return tell();
  }

private:
  bool is_folder() const {
    struct stat about {};
    const auto fd = where_.open_at(base_, O_PATH);
    return fd && ::fstat(fd->get(), &about) == 0 && S_ISDIR(about.st_mode);
  }

  /// As ignore_rules wants paths.
  std::string from_root(const std::string& below) const {
    return base_ == "." ? below : base_ + "/" + below;
  }

  /// Lists what is in a folder, behind the cursor's part that concerns it.
  /// False: the page is full, or the call cancelled.
  bool list(int fd, const std::string& prefix, std::int64_t depth,
            const ignore_rules& rules, const std::string& cursor) {
    folder_choice choice;
    choice.hidden = wanted_.hidden;
    const auto slash = cursor.find('/');
    choice.behind = cursor.substr(0, slash);
    // Resumed within that folder: it was shown, what is in it is not.
    auto resume =
        slash == std::string::npos ? std::string{} : cursor.substr(slash + 1);
    choice.inclusive = !choice.behind.empty();
    folder_page page;
    do {
      choice.most = std::min<std::size_t>(names_at_once, left() + 2);
      if (!read_page(fd, choice, page)) {
        if (prefix.empty())
          error_ = errno;
        else
          ++unread_;
        return prefix.empty() ? false : true;
      }
      for (auto& entry : page.entries) {
        if (call_.cancelled())
          return false;
        const bool shown = choice.inclusive && entry.name == choice.behind;
        const auto path = prefix + entry.name;
        const bool folder = entry.type == S_IFDIR;
        if (wanted_.respect_ignore && rules.ignored(from_root(path), folder))
          continue;
        if (!shown && !add(fd, entry, path))
          return false;
        if (folder
            && !below(fd, entry.name, path, depth, rules,
                      shown ? resume : std::string{}))
          return false;
      }
      if (!page.entries.empty())
        choice.behind = page.entries.back().name;
      choice.inclusive = false;
    } while (page.more);
    return true;
  }

  bool below(int fd, const std::string& name, const std::string& path,
             std::int64_t depth, const ignore_rules& rules,
             const std::string& resume) {
    if (depth >= wanted_.depth) {
      if (wanted_.recursive && depth == depth_most)
        ++unread_;
      return true;
    }
    const owned_fd inner{
        ::openat(fd, name.c_str(),
                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
    if (!inner) {
      unread_ += errno == ENOENT ? 0U : 1U;
      return true;
    }
    const auto more = wanted_.respect_ignore
                          ? rules.enter(inner.get(), from_root(path))
                          : ignore_rules{};
    return list(inner.get(), path + "/", depth + 1, more, resume);
  }

  std::size_t left() const {
    return static_cast<std::size_t>(wanted_.limit) - count_;
  }

  /// On one line, whatever it holds.
  void add_name(std::string_view name) {
    const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
      return c >= ' ' && c < '\x7F';
    });
    if (plain)
      text_ += name;
    else
      text_ += escape_text(name, PATH_MAX * std::size_t{4});
  }

  /// False: there is no room for it.
  bool add(int fd, const folder_entry& entry, const std::string& path) {
    if (left() == 0 || text_.size() > text_most_) {
      full_ = true;
      return false;
    }
    // As text at once: a tree of a thousand objects took most of the call.
    entries_ += entries_.empty() ? R"({"path":)" : R"(,{"path":)";
    append_text_string(entries_, path);
    entries_ += R"(,"type":")";
    entries_ += entry.type == 0 ? "unknown" : type_name(entry.type);
    entries_ += '"';
    const auto size =
        entry.size < 0 ? std::string{"-"} : std::to_string(entry.size);
    text_ += entry.type == S_IFREG   ? '-'
             : entry.type == S_IFDIR ? 'd'
             : entry.type == S_IFLNK ? 'l'
                                     : '?';
    text_.append(size.size() < 10 ? 10 - size.size() : 1, ' ');
    text_ += size;
    text_ += "  ";
    add_name(path);
    if (entry.type == S_IFDIR)
      text_ += '/';
    if (entry.size >= 0) {
      entries_ += R"(,"size":)";
      entries_ += size;
    }
    if (entry.type == S_IFLNK) {
      char target[PATH_MAX];
      const auto n =
          ::readlinkat(fd, entry.name.c_str(), target, sizeof target);
      if (n > 0) {
        const std::string_view to{target, static_cast<std::size_t>(n)};
        entries_ += R"(,"target":)";
        append_text_string(entries_, to);
        text_ += " -> ";
        add_name(to);
      }
    }
    text_ += '\n';
    entries_ += '}';
    ++count_;
    last_ = path;
    return true;
  }

  tool_result tell() {
    tool_result out;
    out.structured = {{"path", valid_utf8(base_)}, {"truncated", full_}};
    if (count_ == 0 && !full_)
      text_ = wanted_.cursor.empty() ? "(empty)\n" : "(nothing more)\n";
    if (full_) {
      // Bytes that are no UTF-8 could not come back as they are.
      const auto cursor = base64_encode(last_);
      out.structured["next_cursor"] = cursor;
      text_ += "[more follows: call file_list again with cursor \"" + cursor
               + "\"]\n";
    }
    if (unread_ > 0) {
      out.structured["unread_folders"] = unread_;
      text_ += "[" + std::to_string(unread_)
               + " folders could not be read or lie too deep]\n";
    }
    out.encoded_members = "\"entries\":[" + entries_ + ']';
    out.text = std::move(text_);
    return out;
  }

  const workspace& where_;
  const list_request& wanted_;
  std::size_t text_most_;
  call& call_;
  std::string base_, text_, last_;
  std::string entries_; ///< What is between the brackets, as JSON.
  std::size_t count_ = 0, unread_ = 0;
  bool full_ = false;
  int error_ = 0;
};

result<tool_result> run(const workspace& where, const server_config& config,
                        const arguments& args, call& in) {
  auto wanted = parse(args);
  if (!wanted)
    return tl::unexpected{std::move(wanted.error())};
  if (!wanted->cursor.empty()) {
    auto path = base64_decode(wanted->cursor);
    if (!path || path->find('\0') != std::string::npos)
      return fail(ec::bad_request, "argument \"cursor\" is none of ours",
                  "give next_cursor of the page before as it is, with the "
                  "same other arguments");
    wanted->cursor = std::move(*path);
  }
  // Both forms of an entry count: half for the text.
  return lister{where, *wanted, config.limits.output_bytes / 2, in}.work();
}

constexpr const char* description =
    "Lists a folder of the workspace: type (d folder, - file, l link), size in "
    "bytes and name, sorted by name. With recursive also what is in folders "
    "below, to a depth if that is given, without what .gitignore leaves out "
    "(respect_ignore false shows that too). Links are shown, not followed. "
    "Long lists come in pages: pass next_cursor back as cursor. To find files "
    "by name or content use file_search.";

} // namespace

void add_file_list(tool_set& tools, const workspace& where,
                   const server_config& config) {
  tool t;
  t.name = "file_list";
  t.title = "List folder";
  t.description = description;
  t.input_schema = [] {
    return object_schema(
        {{"path",
          {{"type", "string"},
           {"default", "."},
           {"description", "Folder, relative to the workspace or absolute "
                           "beneath it"}}},
         {"recursive",
          {{"type", "boolean"},
           {"default", false},
           {"description", "List folders below as well"}}},
         {"depth",
          {{"type", "integer"},
           {"minimum", 1},
           {"maximum", depth_most},
           {"description",
            "Levels to list, 1 for the folder alone; more than 1 "
            "means recursive"}}},
         {"include_hidden",
          {{"type", "boolean"},
           {"default", true},
           {"description", "Show names that begin with a dot"}}},
         {"respect_ignore",
          {{"type", "boolean"},
           {"description", "Leave out .git and what .gitignore files name; the "
                           "default is that of recursive"}}},
         {"limit",
          {{"type", "integer"},
           {"minimum", 1},
           {"maximum", limit_most},
           {"default", 1000},
           {"description", "Entries of a page"}}},
         {"cursor", property("string", "next_cursor of the page before")}},
        json::array());
  };
  t.output_schema = [] {
    return object_schema(
        {{"path", property("string", "The folder, relative to the workspace")},
         {"entries",
          {{"type", "array"},
           {"items",
            object_schema(
                {{"path", property("string", "Relative to the folder")},
                 {"type",
                  property("string", "file, folder, link, fifo, socket, "
                                     "device or unknown")},
                 {"size", property("integer", "Bytes of a file")},
                 {"target", property("string", "What a link holds")}},
                {"path", "type"})}}},
         {"truncated", property("boolean", "More entries follow")},
         {"next_cursor", property("string", "cursor of the next page")},
         {"unread_folders",
          property("integer", "Folders that could not be read")}},
        {"path", "entries", "truncated"});
  };
  t.annotations.read_only = true;
  t.annotations.idempotent = true;
  t.pace = tool_pace::brief;
  t.run = [&where, &config](const arguments& args, call& in) {
    return run(where, config, args, in);
  };
  tools.add(std::move(t));
}

} // namespace caged::mcp
