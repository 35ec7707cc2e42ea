#include "mcp/file_search.hpp"

#include <algorithm>
#include <mutex>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>

#include "mcp/beneath.hpp"
#include "mcp/path_page.hpp"
#include "mcp/search_text.hpp"
#include "messages/text.hpp"

namespace caged::mcp {

namespace {

using clock = std::chrono::steady_clock;

/// Candidates for content search that are held at a time.
constexpr std::size_t candidates_held = 50'000;
/// Files between two looks at what was found.
constexpr std::size_t round_files = 256;
constexpr unsigned search_threads = 2;

/// What is searched: a folder, or one file.
struct place {
  owned_fd fd;
  std::string prefix; ///< Of results; "" for the workspace.
  bool is_file = false;
};

/// "./a//b/" as "a/b", "." as "".
std::string tidy_path(std::string_view path) {
  std::string out;
  for (std::size_t at = 0; at < path.size();) {
    const auto end = std::min(path.find('/', at), path.size());
    const auto part = path.substr(at, end - at);
    if (!part.empty() && part != ".") {
      if (!out.empty())
        out += '/';
      out += part;
    }
    at = end + 1;
  }
  return out;
}

result<place> open_place(const workspace& where, const search_query& query) {
  auto relative = where.relative(query.path);
  if (!relative)
    return tl::unexpected{relative.error()};
  place out;
  out.prefix = tidy_path(*relative);
  auto fd = where.open_at(query.path, O_PATH);
  if (!fd)
    return tl::unexpected{fd.error()};
  struct stat about {};
  if (::fstat(fd->get(), &about) != 0)
    return fail_errno(ec::io, "cannot use " + caged::quoted(query.path), errno);
  if (S_ISDIR(about.st_mode)) {
    out.fd = std::move(*fd);
    return out;
  }
  if (!query.content || !S_ISREG(about.st_mode))
    return fail(ec::bad_request,
                "path " + caged::quoted(query.path)
                    + (S_ISREG(about.st_mode)
                           ? " is a file: names are searched in folders"
                           : " is neither a folder nor a regular file"),
                "give a folder as path, or content to search in this file");
  auto file = where.open_at(query.path, O_RDONLY);
  if (!file)
    return tl::unexpected{file.error()};
  out.fd = std::move(*file);
  out.is_file = true;
  return out;
}

class search {
public:
  search(const workspace& where, const tool_limits& limits,
         const search_query& query, call& of, place at)
      : where_{where},
        limits_{limits},
        query_{query},
        call_{of},
        place_{std::move(at)} {
    if (!place_.is_file && query_.respect_ignore)
      options_.rules = ignore_rules::of_folder(where_, place_.prefix);
    options_.prefix = place_.prefix;
    options_.respect_ignore = query_.respect_ignore;
    options_.hidden =
        query_.include_hidden || (query_.names && query_.names->dotted());
    options_.threads = search_threads;
    if (query_.names)
      options_.enter = [this](std::string_view below) {
        return query_.names->reaches(below);
      };
  }

  result<tool_result> by_name();
  result<tool_result> by_content();

private:
  struct file_result {
    enum class state {
      skipped,
      searched,
      too_large,
      gone
    } what = state::skipped;
    content_result found;
  };

  path_page collect(std::size_t keep, const std::string& after);
  void scan(const std::vector<std::string>& files, std::size_t from,
            std::vector<file_result>& results, clock::time_point deadline);
  file_result scan_one(const std::string& path, std::string& buffer,
                       std::size_t matches, clock::time_point deadline) const;
  void tell(double done, std::optional<double> total, const char* what);
  result<tool_result> cancelled() const {
    return fail(ec::unavailable, "the search was cancelled");
  }

  const workspace& where_;
  const tool_limits& limits_;
  const search_query& query_;
  call& call_;
  place place_;
  walk_options options_;
  walk_stats stats_;
  match_page page_;
  double told_ = 0;
  clock::time_point told_at_ = clock::now();
};

/// Progress must grow, and a message per folder would be too many.
void search::tell(double done, std::optional<double> total, const char* what) {
  const auto now = clock::now();
  if (done <= told_ || now - told_at_ < std::chrono::milliseconds{100})
    return;
  told_ = done;
  told_at_ = now;
  call_.progress(done, total, what);
}

path_page search::collect(std::size_t keep, const std::string& after) {
  const auto only_files = query_.content.has_value();
  std::vector<path_page> pages(options_.threads, path_page{keep, after});
  stats_ = walk(
      place_.fd.get(), options_, call_.cancel(),
      [&](const walk_entry& entry) {
        const auto is_folder = entry.type == entry_type::folder;
        if (only_files ? entry.type != entry_type::file
                       : is_folder != query_.names->folders_only())
          return;
        if (query_.names
            && !query_.names->matches(entry.path.substr(entry.below_at),
                                      entry.name_at - entry.below_at))
          return;
        pages[entry.worker].add(entry.path);
      },
      [this](std::uint64_t folders) {
        tell(static_cast<double>(folders), std::nullopt, "folders searched");
      });
  for (std::size_t i = 1; i < pages.size(); ++i)
    pages[0].merge(pages[i]);
  return std::move(pages[0]);
}

result<tool_result> search::by_name() {
  auto page = collect(query_.max_results, query_.after);
  if (stats_.cancelled)
    return cancelled();
  return name_result(query_, page, stats_, limits_.output_bytes);
}

search::file_result search::scan_one(const std::string& path,
                                     std::string& buffer, std::size_t matches,
                                     clock::time_point deadline) const {
  file_result out;
  out.what = file_result::state::gone;
  owned_fd opened;
  if (!place_.is_file) {
    const auto below = place_.prefix.empty() ? 0 : place_.prefix.size() + 1;
    opened = open_unlinked(place_.fd.get(), path.c_str() + below, O_RDONLY);
  }
  const auto fd = place_.is_file ? place_.fd.get() : opened.get();
  if (fd < 0)
    return out;
  if (!read_regular(fd, limits_.file_bytes, buffer)) {
    if (errno == EFBIG)
      out.what = file_result::state::too_large;
    return out;
  }
  content_options options;
  options.context = query_.context;
  options.max_matches = matches;
  options.max_bytes = limits_.output_bytes;
  options.deadline = deadline;
  if (path == query_.after)
    options.after_line = query_.after_line;
  out.what = file_result::state::searched;
  out.found = search_content(buffer, *query_.content, options, call_.cancel());
  // A buffer that once held a large file is not kept for the small ones.
  if (buffer.capacity() > (1U << 20U))
    std::string{}.swap(buffer);
  return out;
}

/// Searches files in their order until enough was found: what is searched is
/// always a beginning of the list. Memory: what fits a page, once per thread.
void search::scan(const std::vector<std::string>& files, std::size_t from,
                  std::vector<file_result>& results,
                  clock::time_point deadline) {
  const auto matches = query_.max_results - page_.matches;
  const auto bytes = limits_.output_bytes;
  std::atomic<std::size_t> next = 0, matches_found = 0, bytes_found = 0;
  const auto work = [&] {
    std::string buffer;
    while (!call_.cancelled() && matches_found < matches
           && page_.bytes + bytes_found < bytes) {
      const auto i = next.fetch_add(1);
      if (i >= results.size())
        return;
      // One file at least, or a page could be empty for ever.
      if (i > 0 && clock::now() > deadline)
        return;
      results[i] = scan_one(files[from + i], buffer, matches, deadline);
      matches_found += results[i].found.matches;
      bytes_found += results[i].found.bytes;
    }
  };
  std::thread second;
  if (results.size() >= 16)
    try {
      second = std::thread{work};
    } catch (const std::system_error&) {
      // Alone, then.
    }
  work();
  if (second.joinable())
    second.join();
}

result<tool_result> search::by_content() {
  const auto deadline = clock::now() + query_.patience;
  auto after = query_.after;
  std::vector<std::string> files;
  if (place_.is_file)
    files.push_back(place_.prefix);
  else if (query_.after_line > 0)
    files.push_back(query_.after); // Not searched to its end.
  auto walked = place_.is_file;
  double before = 0;
  for (;;) {
    if (!walked) {
      auto page = collect(candidates_held, after);
      if (stats_.cancelled)
        return cancelled();
      for (const auto path : page.sorted())
        files.emplace_back(path);
      walked = page.behind() <= candidates_held;
      before = static_cast<double>(stats_.folders);
    }
    for (std::size_t at = 0; at < files.size();) {
      std::vector<file_result> results(
          std::min(round_files, files.size() - at));
      scan(files, at, results, deadline);
      if (call_.cancelled())
        return cancelled();
      for (auto& each : results) {
        if (each.what == file_result::state::skipped) {
          // The page is full, or it took long enough.
          page_.cursor =
              write_cursor(query_.key, at == 0 ? after : files[at - 1], 0);
          if (at > 0 || !after.empty())
            return content_result_of(query_, page_, stats_);
          break;
        }
        const auto& path = files[at++];
        if (each.what == file_result::state::too_large)
          page_.too_large.push_back(path);
        else if (each.what == file_result::state::gone)
          ++page_.gone;
        else if (const auto line = page_.add(path, each.found, query_,
                                             limits_.output_bytes)) {
          // A page never begins with a file that it has no room for: before
          // this one there is another.
          page_.cursor = *line > 0 ? write_cursor(query_.key, path, *line)
                         : at > 1  ? write_cursor(query_.key, files[at - 2], 0)
                                   : write_cursor(query_.key, after, 0);
          return content_result_of(query_, page_, stats_);
        }
        if (page_.matches >= query_.max_results
            || page_.bytes >= limits_.output_bytes) {
          if (at < files.size() || !walked)
            page_.cursor = write_cursor(query_.key, path, 0);
          return content_result_of(query_, page_, stats_);
        }
      }
      tell(before + static_cast<double>(at),
           before + static_cast<double>(files.size()), "files searched");
    }
    if (walked)
      return content_result_of(query_, page_, stats_);
    after = files.empty() ? after : files.back();
    files.clear();
  }
}

} // namespace

result<tool_result> search_files(const workspace& where,
                                 const tool_limits& limits,
                                 const search_query& query, call& of) {
  auto at = open_place(where, query);
  if (!at)
    return tl::unexpected{at.error()};
  // A cursor comes from outside: it stays beneath the folder that is searched.
  if (!query.after.empty() && !at->prefix.empty()
      && query.after.rfind(at->prefix + (at->is_file ? "" : "/"), 0) != 0)
    return fail(ec::bad_request, "the cursor belongs to another search",
                "leave it out to begin again");
  search run{where, limits, query, of, std::move(*at)};
  return query.content ? run.by_content() : run.by_name();
}

} // namespace caged::mcp
