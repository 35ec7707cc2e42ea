#include "mcp/tools/edit_text.hpp"

#include <algorithm>
#include <vector>

#include "messages/text.hpp"

namespace caged::mcp {

namespace {

constexpr std::size_t places_most = 100'000;
constexpr std::size_t lines_named = 5;

/// How lines end in a text.
struct line_ends {
  std::size_t crlf = 0, lf = 0;

  explicit line_ends(std::string_view text) {
    for (auto at = text.find('\n'); at != std::string_view::npos;
         at = text.find('\n', at + 1))
      ++(at > 0 && text[at - 1] == '\r' ? crlf : lf);
  }
};

std::string to_crlf(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r'))
      out += '\r';
    out += text[i];
  }
  return out;
}

std::string to_lf(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n')
      out += text[i];
  return out;
}

/// Up to one more than places_most.
std::vector<std::size_t> places(std::string_view text, std::string_view what) {
  std::vector<std::size_t> out;
  for (auto at = text.find(what);
       at != std::string_view::npos && out.size() <= places_most;
       at = text.find(what, at + what.size()))
    out.push_back(at);
  return out;
}

std::string_view trimmed(std::string_view line) {
  constexpr const char* blank = " \t\r\n";
  const auto begin = line.find_first_not_of(blank);
  if (begin == std::string_view::npos)
    return {};
  return line.substr(begin, line.find_last_not_of(blank) - begin + 1);
}

std::string listed(const std::vector<std::size_t>& lines) {
  std::string out = lines.size() == 1 ? "line " : "lines ";
  for (std::size_t i = 0; i < lines.size() && i < lines_named; ++i)
    out += (i == 0 ? "" : ", ") + std::to_string(lines[i]);
  return lines.size() > lines_named ? out + ", ..." : out;
}

/// Lines of the places, each once, up to one more than are named.
std::vector<std::size_t> lines_of(std::string_view text,
                                  const std::vector<std::size_t>& at) {
  std::vector<std::size_t> out;
  std::size_t line = 1, counted = 0;
  for (auto place : at) {
    line += static_cast<std::size_t>(
        std::count(text.begin() + static_cast<std::ptrdiff_t>(counted),
                   text.begin() + static_cast<std::ptrdiff_t>(place), '\n'));
    counted = place;
    if (out.empty() || out.back() != line)
      out.push_back(line);
    if (out.size() > lines_named)
      break;
  }
  return out;
}

/// Lines that are the longest line of `what` but for blanks around it: where
/// the caller most likely meant.
std::vector<std::size_t> near_lines(std::string_view text,
                                    std::string_view what) {
  std::string_view key;
  const auto each_line = [](std::string_view all, auto&& take) {
    std::size_t number = 1;
    for (std::size_t at = 0; at < all.size(); ++number) {
      const auto end = std::min(all.find('\n', at), all.size());
      if (!take(trimmed(all.substr(at, end - at)), number))
        return;
      at = end + 1;
    }
  };
  each_line(what, [&](std::string_view line, std::size_t) {
    if (line.size() > key.size())
      key = line;
    return true;
  });
  std::vector<std::size_t> out;
  if (!key.empty())
    each_line(text, [&](std::string_view line, std::size_t number) {
      if (line.find(key) != std::string_view::npos)
        out.push_back(number);
      return out.size() <= lines_named;
    });
  return out;
}

tl::unexpected<failure> not_found(std::string_view text,
                                  const std::string& what,
                                  const std::string& path) {
  const auto near = near_lines(text, what);
  auto said = "old_text does not occur in " + caged::quoted(path);
  if (near.empty())
    return fail(ec::not_found, said,
                "read the file again and copy old_text exactly, without line "
                "numbers");
  return fail(ec::not_found,
              said + "; a part of it is at " + listed(near)
                  + ", with other blanks or other lines around it",
              "read these lines again and copy old_text exactly, with its "
              "indentation and without line numbers");
}

} // namespace

result<std::size_t> apply_edit(std::string& text, const text_edit& edit,
                               const std::string& path, std::size_t size_most,
                               change_map& changes) {
  if (edit.old_text.empty())
    return fail(ec::bad_request, "old_text is empty",
                "give text that is in the file; file_write makes a new file");
  if (edit.old_text == edit.new_text)
    return fail(ec::bad_request,
                "old_text and new_text are the same: nothing would change",
                "give the changed text as new_text");
  const line_ends ends{text};
  auto what = edit.old_text;
  auto with = edit.new_text;
  if (ends.crlf > 0 && ends.lf == 0) {
    what = to_crlf(what);
    with = to_crlf(with);
  }
  auto at = places(text, what);
  if (at.empty() && ends.crlf > 0 && ends.lf > 0) {
    what = to_crlf(what);
    with = to_crlf(with);
    at = places(text, what);
  } else if (at.empty() && ends.crlf == 0
             && what.find("\r\n") != std::string::npos) {
    what = to_lf(what);
    with = to_lf(with);
    at = places(text, what);
  }
  if (at.empty())
    return not_found(text, edit.old_text, path);
  if (at.size() > places_most)
    return fail(ec::too_large,
                "old_text occurs more than " + std::to_string(places_most)
                    + " times in " + caged::quoted(path),
                "change it with a command such as sed");
  const auto where = [&] {
    return std::to_string(at.size()) + (at.size() == 1 ? " time" : " times")
           + " in " + caged::quoted(path) + ", at "
           + listed(lines_of(text, at));
  };
  if (edit.expected && at.size() != static_cast<std::size_t>(*edit.expected))
    return fail(ec::ambiguous,
                "old_text occurs " + where() + "; expected were "
                    + std::to_string(*edit.expected),
                "give the right expected_replacements, or more lines around "
                "the text that is meant");
  if (at.size() > 1 && !edit.expected && !edit.replace_all)
    return fail(ec::ambiguous, "old_text occurs " + where(),
                "add lines around it until it is unique, or set replace_all");
  const auto size =
      text.size() - at.size() * what.size() + at.size() * with.size();
  if (size > size_most)
    return fail(ec::too_large,
                caged::quoted(path) + " would have " + std::to_string(size)
                    + " bytes; at most " + std::to_string(size_most)
                    + " are written",
                "replace less at once");
  std::string out;
  out.reserve(size);
  std::vector<replacement> step;
  step.reserve(at.size());
  std::size_t done = 0;
  for (auto place : at) {
    out.append(text, done, place - done);
    out += with;
    step.push_back({place, what.size(), with.size()});
    done = place + what.size();
  }
  out.append(text, done);
  text = std::move(out);
  changes.apply(step);
  return at.size();
}

} // namespace caged::mcp
