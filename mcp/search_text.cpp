#include "mcp/search_text.hpp"

#include <algorithm>
#include <charconv>

#include "messages/text.hpp"

namespace caged::mcp {

namespace {

bool is_utf8(std::string_view text) {
  std::uint32_t point = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const auto n = utf8_sequence(text, at, point);
    if (n == 0)
      return false;
    at += n;
  }
  return true;
}

/// A name may hold a newline or worse; a list of names has one on each line.
std::string shown(std::string_view path) {
  const auto plain = std::all_of(path.begin(), path.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20
           && static_cast<unsigned char>(c) < 0x7F;
  });
  return plain ? std::string{path} : escape_text(path, 4 * path.size());
}

/// For programs the name itself, where JSON can carry it.
std::string exact(std::string_view path) {
  return is_utf8(path) ? std::string{path} : shown(path);
}

/// U+FFFD for each byte that is no UTF-8.
std::string valid(const std::string& line) {
  if (is_utf8(line))
    return line;
  std::string out;
  std::uint32_t point = 0;
  for (std::size_t at = 0; at < line.size();) {
    const auto n = static_cast<unsigned char>(line[at]) < 0x80
                       ? 1
                       : utf8_sequence(line, at, point);
    out += n == 0 ? "\xEF\xBF\xBD" : line.substr(at, n);
    at += std::max<std::size_t>(n, 1);
  }
  return out;
}

std::string count(std::uint64_t n, const char* one, const char* many) {
  return std::to_string(n) + ' ' + (n == 1 ? one : many);
}

std::uint64_t fnv(std::string_view text, std::uint64_t hash) {
  for (const auto c : text)
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

/// What the walk left out, for somebody who misses something; may be empty.
std::string left_out(const walk_stats& stats) {
  std::string out;
  const auto add = [&](std::uint64_t n, const std::string& what) {
    if (n > 0)
      out += (out.empty() ? "" : ", ") + std::to_string(n) + ' ' + what;
  };
  add(stats.ignored, "ignored by .gitignore (respect_ignore false searches "
                     "them)");
  add(stats.hidden, "hidden (include_hidden true searches them)");
  add(stats.too_deep, "folders too deep");
  if (stats.unreadable > 0) {
    std::string names;
    for (const auto& each : stats.unreadable_first)
      names +=
          (names.empty() ? ": " : ", ") + (each.empty() ? "." : shown(each));
    add(stats.unreadable, "folders unreadable" + names);
  }
  return out;
}

json skipped(const walk_stats& stats) {
  return {{"ignored", stats.ignored},
          {"hidden", stats.hidden},
          {"unreadable_folders", stats.unreadable},
          {"too_deep_folders", stats.too_deep}};
}

} // namespace

std::string write_cursor(std::uint64_t key, std::string_view path,
                         std::uint64_t line) {
  return base64_encode(std::to_string(key) + ':' + std::to_string(line) + ':'
                       + std::string{path});
}

result<void> read_cursor(std::string_view cursor, search_query& to) {
  const auto bad = [](const char* why) {
    return fail(ec::bad_request, why,
                "give the cursor of the last result unchanged and with the "
                "same arguments, or leave it out to begin again");
  };
  auto bytes = base64_decode(cursor);
  if (!bytes)
    return bad("the cursor is damaged");
  std::uint64_t key = 0, line = 0;
  const std::string_view text = *bytes;
  const auto* at = text.data();
  const auto* end = at + text.size();
  const auto number = [&](std::uint64_t& into) {
    const auto [next, wrong] = std::from_chars(at, end, into);
    if (wrong != std::errc{} || next == end || *next != ':')
      return false;
    at = next + 1;
    return true;
  };
  if (!number(key) || !number(line) || at == end
      || std::find(at, end, '\0') != end)
    return bad("the cursor is damaged");
  if (key != to.key)
    return bad("the cursor belongs to another search");
  to.after.assign(at, end);
  to.after_line = line;
  return {};
}

std::uint64_t search_key(const json& arguments) {
  auto of = arguments;
  of.erase("cursor");
  of.erase("max_results");
  return fnv(of.dump(-1, ' ', false, json::error_handler_t::replace),
             0xCBF29CE484222325ULL);
}

tool_result name_result(const search_query& query, path_page& page,
                        const walk_stats& stats, std::size_t max_bytes) {
  tool_result out;
  auto paths = json::array();
  const auto sorted = page.sorted();
  std::size_t taken = 0;
  for (const auto path : sorted) {
    auto line = shown(path);
    if (taken > 0 && out.text.size() + line.size() + 256 > max_bytes)
      break;
    out.text += line;
    out.text += '\n';
    paths.push_back(exact(path));
    ++taken;
  }
  const auto what = query.names->folders_only() ? "folder" : "file";
  const auto whats = query.names->folders_only() ? "folders" : "files";
  out.structured = {{"paths", std::move(paths)},
                    {"total", page.total()},
                    {"skipped", skipped(stats)}};
  if (taken < page.behind()) {
    const auto cursor = write_cursor(query.key, sorted[taken - 1], 0);
    out.structured["cursor"] = cursor;
    out.text += "\n[" + std::to_string(taken) + " of "
                + count(page.total(), what, whats)
                + "; the next ones: call again with cursor \"" + cursor + "\"]";
    return out;
  }
  if (taken > 0) {
    out.text.pop_back();
    if (stats.unreadable + stats.too_deep > 0)
      out.text += "\n\n[left out: " + left_out(stats) + "]";
    return out;
  }
  out.text = page.total() > 0 ? "no more " + std::string{whats}
                              : "no " + std::string{what} + " matches "
                                    + caged::quoted(query.pattern.value_or(""));
  out.text += " (" + count(stats.entries, "entry", "entries") + " in "
              + count(stats.folders, "folder", "folders") + " searched)";
  if (const auto missing = left_out(stats); !missing.empty())
    out.text += "; left out: " + missing;
  return out;
}

std::optional<std::uint64_t> match_page::add(const std::string& path,
                                             const content_result& found,
                                             const search_query& query,
                                             std::size_t max_bytes) {
  ++searched;
  if (found.binary) {
    ++binary;
    return std::nullopt;
  }
  cut += found.cut_lines ? 1 : 0;
  if (found.matches > 0)
    ++files;
  const auto name = shown(path);
  const auto program = exact(path);
  std::uint64_t last = 0;
  for (const auto& line : found.lines) {
    if (line.is_match
        && (matches >= query.max_results
            || (matches > 0 && bytes + line.text.size() > max_bytes))) {
      if (line.number == 1) { // it is for the next page, whole
        --searched;
        --files;
      }
      return line.number - 1;
    }
    const auto separate =
        query.context > 0 && !text.empty() && line.number != last + 1;
    if (separate)
      text += "--\n";
    last = line.number;
    const auto before = text.size();
    const auto mark = line.is_match ? ':' : '-';
    auto content = valid(line.text);
    text += name;
    text += mark;
    text += std::to_string(line.number);
    text += mark;
    text += content;
    text += '\n';
    bytes += text.size() - before;
    items.push_back({{"path", program},
                     {"line", line.number},
                     {"text", std::move(content)}});
    if (query.context > 0)
      items.back()["match"] = line.is_match;
    matches += line.is_match ? 1 : 0;
  }
  if (found.stopped_at > 0)
    return found.stopped_at;
  return std::nullopt;
}

tool_result content_result_of(const search_query& query, match_page& page,
                              const walk_stats& stats) {
  tool_result out;
  std::string notes;
  const auto note = [&](const std::string& text) {
    notes += (notes.empty() ? "" : "; ") + text;
  };
  note((page.matches == 0 ? (page.cursor.empty() ? "no line matches"
                                                 : "no line matches so far")
                          : count(page.matches, "match", "matches") + " in "
                                + count(page.files, "file", "files"))
       + ", " + count(page.searched, "file", "files") + " searched");
  if (page.binary > 0)
    note(count(page.binary, "binary file", "binary files") + " skipped");
  if (!page.too_large.empty())
    note(count(page.too_large.size(), "file", "files")
         + " over the size limit not searched, such as "
         + shown(page.too_large.front()));
  if (page.gone > 0)
    note(count(page.gone, "file", "files") + " could not be read");
  if (page.cut > 0)
    note(count(page.cut, "file", "files")
         + " with lines so long that only their beginnings were searched");
  if (const auto missing = left_out(stats);
      !missing.empty()
      && (page.matches == 0 || stats.unreadable + stats.too_deep > 0))
    note("left out: " + missing);
  auto skips = skipped(stats);
  skips["binary_files"] = page.binary;
  skips["large_files"] = page.too_large.size();
  skips["unreadable_files"] = page.gone;
  skips["long_lines_in_files"] = page.cut;
  out.structured = {{"matches", std::move(page.items)},
                    {"match_count", page.matches},
                    {"files_with_matches", page.files},
                    {"files_searched", page.searched},
                    {"skipped", std::move(skips)}};
  if (!page.cursor.empty()) {
    out.structured["cursor"] = page.cursor;
    note("not finished, for more call again with cursor \"" + page.cursor
         + "\"");
  }
  static_cast<void>(query);
  out.text = std::move(page.text);
  out.text += out.text.empty() ? notes : "\n[" + notes + "]";
  return out;
}

} // namespace caged::mcp
