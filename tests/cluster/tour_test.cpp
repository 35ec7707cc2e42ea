#include <catch2/catch.hpp>

#include <algorithm>
#include <iostream>
#include <regex>
#include <sstream>

#include "tests/support/cluster.hpp"

// The README's tour of a cluster, line by line.
using namespace caged::test;

namespace {

/// One line to type, and what the README says that it prints.
struct step {
  std::string line;
  std::string prints;
};

/// The lines of the section's code blocks: "    $ COMMAND", and what stands
/// beneath it.
std::vector<step> read_tour(const std::string& readme,
                            const std::string& heading) {
  std::vector<step> out;
  std::istringstream lines{readme};
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("## "))
      inside = line == heading;
    else if (!inside || !line.starts_with("    "))
      continue;
    else if (line.starts_with("    $ "))
      out.push_back({line.substr(6), {}});
    else if (!out.empty())
      out.back().prints += line.substr(4) + "\n";
  }
  return out;
}

/// Without what differs from run to run: ids, times, process numbers,
/// addresses, and the width of columns that hold them.
std::string without_chance(std::string text) {
  const std::pair<const char*, const char*> rules[] = {
      {"cage-[a-z0-9]{8}", "cage-ID"},
      {"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}", "TIME"},
      {"198\\.1[89]\\.[0-9]+\\.[0-9]+(/[0-9]+)?", "ADDRESS"},
      {" +[0-9]+\\.[0-9] s ", " SECONDS "},
      {"\\b[0-9]+(ms|s|m|h|d)\\b", "AGE"},
      {"\\b[0-9]{2,}\\b", "N"},
      {" +", " "},
      {" \n", "\n"},
  };
  for (const auto& [what, with] : rules)
    text = std::regex_replace(text, std::regex{what}, with);
  return text;
}

/// A shell that is fed one line after another, and says after each how it
/// ended: what `eval` sets stays set.
class shell {
public:
  explicit shell(const process_options& options) {
    // For people; here everybody is root, and sudo would take our variables.
    write_file(dir_ / "rc",
               "sudo() { \"$@\"; }\n"
               "while IFS= read -r file <&3; do\n"
               "  source \"$file\" >\"$file.out\" 2>&1 </dev/null\n"
               "  echo $? >\"$file.exit\"\n"
               "done\n");
    if (caged::test::run({"mkfifo", dir_ / "lines"}).exit != 0)
      throw std::runtime_error{"no fifo"};
    bash_ = std::make_unique<background>(
        std::vector<std::string>{"bash", "-c", "exec 3<>\"$0\"; source \"$1\"",
                                 dir_ / "lines", dir_ / "rc"},
        options);
  }

  /// What it printed, stderr as well; -1: no end within a minute.
  process_result run(const std::string& line) {
    const auto file = dir_ / ("step" + std::to_string(++steps_));
    write_file(file, line + "\n");
    write_file(dir_ / "lines", file + "\n");
    process_result got;
    if (eventually(60s,
                   [&] { return read_file(file + ".exit").ends_with('\n'); }))
      got.exit = std::atoi(read_file(file + ".exit").c_str());
    got.out = read_file(file + ".out");
    return got;
  }

private:
  temp_dir dir_;
  int steps_ = 0;
  std::unique_ptr<background> bash_;
};

} // namespace

TEST_CASE("the README's tour of a cluster runs line by line", "[cluster]") {
  if (!test_cluster::can_run())
    return;
  const test_cluster fleet;
  const auto tour = read_tour(read_file(test_cluster::root() + "/README.md"),
                              "## A tour of a cluster");
  REQUIRE(tour.size() > 8);
  REQUIRE(tour.front().line == "sudo ./ops/cluster-local up");
  REQUIRE(tour.back().line == "sudo ./ops/cluster-local down");
  {
    shell bash{fleet.environment(within(60s).timeout)};
    for (const auto& [line, prints] : tour) {
      const auto got = bash.run(line);
      INFO("$ " << line << "\n" << got.out << "exit " << got.exit);
      CHECK(without_chance(got.out) == without_chance(prints));
      // What fails is meant to, and says so.
      CHECK((got.exit == 0 || prints.starts_with("caged: ")));
    }
  }
  CHECK(fleet.leftovers() == "");
}
