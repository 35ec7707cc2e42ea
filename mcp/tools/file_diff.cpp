#include "mcp/tools/file_diff.hpp"

#include <algorithm>

namespace caged::mcp {

void change_map::apply(const std::vector<replacement>& step) {
  std::vector<region> out;
  out.reserve(regions_.size() + step.size());
  auto old = regions_.cbegin();
  auto fresh = step.cbegin();
  // Between changes each text is the one before, moved by a constant. Modulo
  // arithmetic: a constant may be below zero.
  std::size_t back = 0, forth = 0;
  while (old != regions_.cend() || fresh != step.cend()) {
    const bool old_first =
        fresh == step.cend()
        || (old != regions_.cend() && old->new_begin <= fresh->at);
    // In bytes of the text before this step; grows while something touches it.
    const auto begin = old_first ? old->new_begin : fresh->at;
    auto end = begin;
    region made{begin - back, 0, begin + forth, 0};
    for (;;) {
      if (old != regions_.cend() && old->new_begin <= end) {
        end = std::max(end, old->new_end);
        back +=
            (old->new_end - old->new_begin) - (old->old_end - old->old_begin);
        ++old;
      } else if (fresh != step.cend() && fresh->at <= end) {
        end = std::max(end, fresh->at + fresh->removed);
        forth += fresh->added - fresh->removed;
        ++fresh;
      } else {
        break;
      }
    }
    made.old_end = end - back;
    made.new_end = end + forth;
    out.push_back(made);
  }
  regions_ = std::move(out);
}

namespace {

using region = change_map::region;

constexpr std::size_t context = 3; ///< lines, as diff(1)

std::size_t line_begin(std::string_view text, std::size_t at) {
  const auto end = at == 0 ? std::string_view::npos : text.rfind('\n', at - 1);
  return end == std::string_view::npos ? 0 : end + 1;
}

/// Behind the line that holds byte `at`.
std::size_t line_end(std::string_view text, std::size_t at) {
  const auto end = text.find('\n', at);
  return end == std::string_view::npos ? text.size() : end + 1;
}

bool begins_line(std::string_view text, std::size_t at) {
  return at == 0 || text[at - 1] == '\n';
}

std::size_t count(std::string_view text) {
  const auto ends = std::count(text.begin(), text.end(), '\n');
  return static_cast<std::size_t>(ends)
         + (text.empty() || text.back() == '\n' ? 0U : 1U);
}

/// A diff of one file while it is written.
struct writer {
  std::string_view before, after;

  std::string_view old_part(const region& r) const {
    return before.substr(r.old_begin, r.old_end - r.old_begin);
  }
  std::string_view new_part(const region& r) const {
    return after.substr(r.new_begin, r.new_end - r.new_begin);
  }

  /// The region as whole lines, less those at its ends that are equal. Around
  /// it both texts are the same for at least the rest of its lines.
  region whole_lines(region r) const {
    const auto back = r.old_begin - line_begin(before, r.old_begin);
    r.old_begin -= back;
    r.new_begin -= back;
    if (!begins_line(before, r.old_end) || !begins_line(after, r.new_end)) {
      const auto more = line_end(before, r.old_end) - r.old_end;
      r.old_end += more;
      r.new_end += more;
    }
    for (;;) {
      const auto one = old_part(r), two = new_part(r);
      const auto size = line_end(one, 0);
      if (size == 0 || one.substr(0, size) != two.substr(0, line_end(two, 0)))
        break;
      r.old_begin += size;
      r.new_begin += size;
    }
    for (;;) {
      const auto one = old_part(r), two = new_part(r);
      if (one.empty() || two.empty())
        break;
      const auto last = one.substr(line_begin(one, one.size() - 1));
      if (last != two.substr(line_begin(two, two.size() - 1)))
        break;
      r.old_end -= last.size();
      r.new_end -= last.size();
    }
    return r;
  }

  std::vector<region> parts(const change_map& changes) const {
    // Those that share a line are one.
    std::vector<region> joined;
    for (const auto& r : changes.regions()) {
      if (!joined.empty()) {
        auto& last = joined.back();
        const auto gap =
            before.substr(last.old_end, r.old_begin - last.old_end);
        if (gap.find('\n') == std::string_view::npos) {
          last.old_end = r.old_end;
          last.new_end = r.new_end;
          continue;
        }
      }
      joined.push_back(r);
    }
    std::vector<region> out;
    for (const auto& each : joined)
      if (auto r = whole_lines(each);
          r.old_begin != r.old_end || r.new_begin != r.new_end)
        out.push_back(r);
    return out;
  }
};

void add_lines(std::string& out, char mark, std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto end = line_end(text, at);
    out += mark;
    out += text.substr(at, end - at);
    if (text[end - 1] != '\n')
      out += "\n\\ No newline at end of file\n";
    at = end;
  }
}

std::string range(std::size_t first, std::size_t lines) {
  // diff names the line before a range that is empty.
  auto out = std::to_string(lines == 0 ? first - 1 : first);
  return lines == 1 ? out : out + "," + std::to_string(lines);
}

/// `lines` lines on from `at`, not beyond `limit`.
std::size_t forward(std::string_view text, std::size_t at, std::size_t lines,
                    std::size_t limit) {
  while (lines-- > 0 && at < limit)
    at = line_end(text, at);
  return at;
}

} // namespace

std::string unified_diff(std::string_view before, std::string_view after,
                         const change_map& changes, std::size_t most) {
  const writer in{before, after};
  const auto parts = in.parts(changes);
  std::string out;
  // What was counted so far, and the numbers of the lines that follow.
  std::size_t old_at = 0, old_line = 1, new_at = 0, new_line = 1;
  for (std::size_t i = 0; i < parts.size();) {
    auto from = parts[i].old_begin;
    for (std::size_t n = 0; n < context && from > old_at; ++n)
      from = std::max(line_begin(before, from - 1), old_at);
    const auto new_from = parts[i].new_begin - (parts[i].old_begin - from);
    std::string body;
    auto at = from;
    auto next = i;
    bool fits = true;
    do {
      const auto& part = parts[next++];
      const auto same = before.substr(at, part.old_begin - at);
      fits = out.size() + body.size() + same.size() + in.old_part(part).size()
                 + in.new_part(part).size()
             <= most;
      if (!fits)
        break;
      add_lines(body, ' ', same);
      add_lines(body, '-', in.old_part(part));
      add_lines(body, '+', in.new_part(part));
      at = part.old_end;
    } while (next < parts.size()
             && parts[next].old_begin
                    <= forward(before, at, 2 * context, before.size()));
    const auto to =
        forward(before, at, context,
                next < parts.size() ? parts[next].old_begin : before.size());
    add_lines(body, ' ', before.substr(at, to - at));
    if (!fits || out.size() + body.size() > most) {
      out += "[" + std::to_string(parts.size() - i)
             + (parts.size() - i == 1 ? " more change is" : " more changes are")
             + " not shown]\n";
      return out;
    }
    const auto new_to = parts[next - 1].new_end + (to - at);
    old_line += count(before.substr(old_at, from - old_at));
    new_line += count(after.substr(new_at, new_from - new_at));
    const auto old_lines = count(before.substr(from, to - from));
    const auto new_lines = count(after.substr(new_from, new_to - new_from));
    out += "@@ -" + range(old_line, old_lines) + " +"
           + range(new_line, new_lines) + " @@\n" + body;
    old_line += old_lines;
    new_line += new_lines;
    old_at = to;
    new_at = new_to;
    i = next;
  }
  return out;
}

} // namespace caged::mcp
