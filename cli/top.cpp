#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <map>

#include <poll.h>
#include <unistd.h>

#include "cli/endpoint.hpp"
#include "cli/live.hpp"
#include "cli/table.hpp"
#include "cli/terminal.hpp"
#include "cli/values.hpp"
#include "messages/text.hpp"

// `caged top`: the host's own readings, again and again.
namespace caged::cli {

using std::chrono::steady_clock;

namespace {

struct row {
  sandbox_info info;
  api::get_reply now;
  double cpu = NAN; ///< percent of one cpu since the reading before
};

struct reading {
  steady_clock::time_point when;
  double cpu_seconds = 0;
};

class screen {
public:
  explicit screen(const common_options& with) : with_{with} {}

  /// Every sandbox's reading, asked for at once over one connection.
  result<std::vector<row>> read() {
    auto listed =
        ask<api::list_reply>(with_.endpoint, api::list{true, false, {}});
    if (!listed)
      return tl::unexpected<failure>(listed.error());
    auto opened = connection::open(with_.endpoint);
    if (!opened)
      return tl::unexpected<failure>(opened.error());
    auto& node = **opened;
    std::map<std::string, std::size_t> asked;
    std::vector<row> rows;
    for (auto& info : listed->sandboxes) {
      api::request one;
      one.id = make_uuid();
      one.body = api::get{info.id};
      one.remaining = limits::request_deadline_default;
      node.send(one);
      asked[one.id] = rows.size();
      rows.push_back({std::move(info), {}, NAN});
    }
    constexpr auto patience = std::chrono::seconds(5);
    auto until = steady_clock::now() + patience;
    while (!asked.empty() && steady_clock::now() < until && !node.lost()) {
      auto got = node.receive();
      if (!got)
        return tl::unexpected<failure>(got.error());
      if (!*got) {
        wait_for(node, std::chrono::milliseconds(100));
        continue;
      }
      auto it = asked.find((*got)->id);
      if (it == asked.end())
        continue;
      if (auto* reply = std::get_if<api::get_reply>(&(*got)->body))
        take(rows[it->second], std::move(*reply));
      asked.erase(it); // an error: it went away meanwhile
    }
    return rows;
  }

private:
  void take(row& to, api::get_reply&& reply) {
    to.now = std::move(reply);
    if (!to.now.stats)
      return;
    auto now = steady_clock::now();
    auto before = last_.find(to.info.id);
    if (before != last_.end()) {
      auto span =
          std::chrono::duration<double>(now - before->second.when).count();
      if (span > 0)
        to.cpu = std::max(0.0, to.now.stats->cpu_seconds
                                   - before->second.cpu_seconds)
                 / span * 100;
    }
    last_[to.info.id] = {now, to.now.stats->cpu_seconds};
  }

  const common_options& with_;
  std::map<std::string, reading> last_;
};

void sort(std::vector<row>& rows, const std::string& by) {
  auto key = [&](const row& r) {
    if (by == "cpu")
      return std::isnan(r.cpu) ? 0.0 : r.cpu;
    if (by == "memory")
      return r.now.stats ? static_cast<double>(r.now.stats->memory_bytes) : 0;
    if (by == "pids")
      return r.now.stats ? static_cast<double>(r.now.stats->pids) : 0;
    return static_cast<double>(-r.info.created_ms);
  };
  std::stable_sort(rows.begin(), rows.end(), [&](const row& a, const row& b) {
    return by == "name" ? a.info.spec.name < b.info.spec.name : key(a) > key(b);
  });
}

std::string mega(std::uint64_t bytes) {
  return std::to_string(bytes >> 20U) + " MB";
}

std::string view(const std::vector<row>& rows, bool colour) {
  table out{{"ID", "NAME", "STATE", "CPU %", "MEMORY", "LIMIT", "PIDS", "DISK",
             "EXECS", "AGE"}};
  auto now = wall_clock_ms();
  for (const auto& r : rows) {
    auto cpu = std::to_string(std::isnan(r.cpu) ? 0.0 : r.cpu);
    const auto& s = r.now.stats;
    out.add({r.info.id, r.info.spec.name, std::string{to_string(r.info.state)},
             std::isnan(r.cpu) ? "-" : cpu.substr(0, cpu.find('.') + 2),
             s ? mega(s->memory_bytes) : "-",
             std::to_string(r.info.spec.memory_mb) + " MB",
             s ? std::to_string(s->pids) : "-", s ? mega(s->disk_bytes) : "-",
             std::to_string(r.now.execs), age(r.info.created_ms, now)});
  }
  return out.str(colour);
}

/// As many lines and columns as the terminal has.
std::string cut(const std::string& text, std::size_t rows, std::size_t cols) {
  std::string out;
  std::size_t from = 0;
  for (std::size_t n = 0; n < rows && from < text.size(); ++n) {
    auto end = std::min(text.find('\n', from), text.size());
    auto line = text.substr(from, end - from);
    // The header's two escape sequences take no column.
    auto room = cols + (line.find('\x1b') != line.npos ? 8 : 0);
    out += line.substr(0, room) + "\x1b[K\r\n";
    from = end + 1;
  }
  return out;
}

} // namespace

result<int> run_top(const common_options& with, const top_options& what) {
  auto interval = parse_duration(what.interval);
  if (!interval)
    return tl::unexpected<failure>(interval.error());
  if (*interval < std::chrono::milliseconds(100))
    return fail(ec::bad_request,
                "the interval " + what.interval + " is below 100ms");
  screen node{with};
  auto by = what.sort;
  bool live = !what.once && with.as == format::table
              && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  auto rows = node.read();
  if (!rows)
    return tl::unexpected<failure>(rows.error());
  if (!live) {
    // A share of cpu needs two readings.
    pollfd nothing{-1, 0, 0};
    ::poll(&nothing, 1,
           static_cast<int>(std::min<std::int64_t>(interval->count(), 1000)));
    rows = node.read();
    if (!rows)
      return tl::unexpected<failure>(rows.error());
    sort(*rows, by);
    if (with.as == format::table) {
      std::cout << view(*rows, stdout_has_colour());
      return 0;
    }
    std::vector<api::get_reply> all;
    for (auto& r : *rows) {
      r.now.sandbox = r.info;
      all.push_back(r.now);
    }
    std::cout << show(all, with.as);
    return 0;
  }
  raw_terminal raw;
  std::cout << "\x1b[?1049h\x1b[?25l"; // xterm: the other screen, no cursor
  std::string trouble;
  for (bool goes_on = true; goes_on;) {
    auto [height, width] = terminal_size();
    if (rows)
      sort(*rows, by);
    auto text = "caged top, every " + format_duration(*interval) + ", by " + by
                + "   c cpu  m memory  p pids  n name  a age  q quit\n"
                + (trouble.empty() ? "" : escape_text(trouble)) + "\n"
                + (rows ? view(*rows, stdout_has_colour()) : "");
    std::cout << "\x1b[H" << cut(text, height > 1 ? height - 1U : 1U, width)
              << "\x1b[J" << std::flush;
    auto until = steady_clock::now() + *interval;
    bool again = false;
    while (goes_on && !again) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          until - steady_clock::now());
      pollfd keys{STDIN_FILENO, POLLIN, 0};
      if (left.count() <= 0
          || ::poll(&keys, 1, static_cast<int>(left.count())) <= 0)
        break;
      char key = 'q';
      if (::read(STDIN_FILENO, &key, 1) != 1)
        key = 'q';
      again = true;
      switch (key) {
      case 'q':
      case 'Q':
      case 3: // Ctrl-C
        goes_on = false;
        break;
      case 'c':
        by = "cpu";
        break;
      case 'm':
        by = "memory";
        break;
      case 'p':
        by = "pids";
        break;
      case 'n':
        by = "name";
        break;
      case 'a':
        by = "age";
        break;
      default:
        again = false;
      }
    }
    if (!goes_on || again)
      continue;
    auto fresh = node.read();
    trouble = fresh ? "" : fresh.error().message;
    if (fresh)
      rows = std::move(fresh);
  }
  std::cout << "\x1b[?25h\x1b[?1049l" << std::flush;
  return 0;
}

} // namespace caged::cli
