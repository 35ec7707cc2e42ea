#include "tests/bench/mcp/report.hpp"

#include <cstdio>
#include <fstream>

namespace caged::bench {

namespace {

std::string number(double value) {
  char text[32];
  const char* form = value < 10 ? "%.2f" : value < 1000 ? "%.1f" : "%.0f";
  std::snprintf(text, sizeof text, form, value);
  return text;
}

bool is_memory(const bar& row) {
  return row.row.rfind("memory", 0) == 0;
}

double judged(const bar& by, const sample& of) {
  switch (by.by) {
  case measure::ops:
    return of.ops;
  case measure::cpu:
    return of.own + of.children;
  case measure::p50:
    break;
  }
  return of.p50;
}

std::string unit(const bar& row) {
  if (is_memory(row))
    return "MB";
  switch (row.by) {
  case measure::ops:
    return "ops/s";
  case measure::cpu:
    return "CPU us";
  case measure::p50:
    break;
  }
  return "p50 us";
}

/// Two figures of a server that stands beside ours.
std::string brief(const samples& all, const std::string& who, const bar& row) {
  auto got = median(all, who, row.row);
  if (!got)
    return "-";
  if (got->ops == 0)
    return number(got->p50);
  return number(got->p50) + " / " + number(got->ops);
}

using cells = std::vector<std::string>;

void print(const cells& of) {
  std::string line = "|";
  for (const auto& cell : of)
    line += " " + cell + " |";
  std::puts(line.c_str());
}

struct score {
  int ahead = 0, behind = 0, open = 0;
};

/// What a program with a fixed reply takes, or the system calls alone, is no
/// server's to go below.
std::string beyond_all(const bar& row, const samples& all, double figure) {
  if (auto floor = median(all, "floor", row.row);
      floor && row.by != measure::ops && judged(row, *floor) > figure)
    return ", nor is the floor: " + number(judged(row, *floor));
  if (auto least = median(all, "machine", row.least);
      least && least->p50 > figure)
    return ", nor is " + row.least + " alone: " + number(least->p50);
  return {};
}

cells cells_of(const bar& row, const samples& all, bool with_peer,
               score& total) {
  auto ours = median(all, "ours", row.row);
  auto figure = to_beat(row, all);
  cells out{row.row};
  if (!ours)
    out.insert(out.end(), {"-", "-", "-"});
  else if (ours->ops == 0)
    out.insert(out.end(), {number(ours->p50), "-", "-"});
  else
    out.insert(out.end(), {number(ours->p50) + " / " + number(ours->p99),
                           number(ours->ops),
                           number(ours->own) + " + " + number(ours->children)});
  out.push_back(brief(all, "npm", row));
  out.push_back(brief(all, "floor", row));
  if (auto floor = median(all, "floor", row.row);
      floor && row.by == measure::cpu)
    out.back() += " / " + number(floor->own);
  if (with_peer)
    out.push_back(brief(all, "peer", row));
  out.push_back(unit(row));
  out.push_back(ours ? number(judged(row, *ours)) : "-");
  out.push_back(figure ? number(*figure) : "-");
  if (!ours || !figure) {
    ++total.open;
    out.emplace_back("-");
    return out;
  }
  auto got = judged(row, *ours);
  bool ahead = row.by == measure::ops ? got > *figure : got < *figure;
  ++(ahead ? total.ahead : total.behind);
  out.emplace_back(ahead ? "yes" : "**no**" + beyond_all(row, all, *figure));
  return out;
}

} // namespace

void print_table(const samples& all, bool with_peer) {
  cells head{"test",
             "ours p50 / p99 us",
             "ops/s",
             "own + child CPU us",
             "npm p50 us / ops/s",
             "floor (p50 / ops/s / CPU us)"};
  if (with_peer)
    head.emplace_back("peer");
  head.insert(head.end(), {"judged by", "ours", "to beat", "ahead"});
  print(head);
  print(cells(head.size(), "---"));
  score total;
  for (const auto& row : bars())
    print(cells_of(row, all, with_peer, total));
  std::printf("\n%d rows ahead, %d behind, %d without a figure.\n\n",
              total.ahead, total.behind, total.open);

  print({"beside it", "p50 us, MB"});
  print({"---", "---:"});
  if (auto machine = all.find("machine"); machine != all.end())
    for (const auto& [name, rounds] : machine->second)
      print({name, number(median(all, "machine", name)->p50)});
  for (const char* who : {"ours", "peer"})
    for (const char* clients : {"ws1", "ws64", "ws512"})
      if (auto took = median(all, who, std::string{"connect: "} + clients))
        print({std::string{who} + ", " + clients
                   + ": all connected and initialized",
               number(took->p50)});
}

void write_samples(const samples& all, const std::string& to) {
  std::ofstream out{to};
  out << "server\trow\tround\tp50\tp99\tops\town\tchildren\n";
  for (const auto& [server, rows] : all)
    for (const auto& [row, rounds] : rows)
      for (std::size_t i = 0; i < rounds.size(); ++i)
        out << server << '\t' << row << '\t' << i + 1 << '\t' << rounds[i].p50
            << '\t' << rounds[i].p99 << '\t' << rounds[i].ops << '\t'
            << rounds[i].own << '\t' << rounds[i].children << '\n';
}

} // namespace caged::bench
