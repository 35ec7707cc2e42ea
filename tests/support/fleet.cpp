#include "tests/support/fleet.hpp"

#include <filesystem>
#include <iostream>
#include <sstream>

#include <nlohmann/json.hpp>

namespace caged::test {

using nlohmann::json;

namespace {

json audit_rows(const test_node& node) {
  auto parsed = json::parse(
      node.caged({"node", "audit", "--format", "json"}).out, nullptr, false);
  return parsed.is_object() ? parsed.value("rows", json::array()) : parsed;
}

} // namespace

std::vector<std::string> roomy() {
  return {"--cpus", "400", "--memory-mb", "100000", "--disk-gb", "1000"};
}

std::vector<std::string> make_fleet(const test_node& node, std::size_t count) {
  std::vector<std::unique_ptr<background>> ups;
  for (std::size_t i = 0; i < count; ++i)
    ups.push_back(
        node.start_caged({"up", "--no-config", "--cpus", "1", "--memory", "128",
                          "--disk", "1", "--timeout", "0"}));
  std::vector<std::string> out;
  for (auto& up : ups) {
    if (up->wait(120s) && up->exit() == 0)
      out.push_back(last_line(up->out()));
    else
      std::cerr << "caged up: exit " << up->exit() << ": " << up->err() << "\n";
  }
  return out;
}

std::map<std::string, pid_t> inits(const test_node& node) {
  std::map<std::string, pid_t> out;
  for (const auto& row : audit_rows(node)) {
    if (row.value("kind", "") != "process")
      continue;
    auto pid = std::atoi(row.value("name", "").c_str());
    if (is_init(pid))
      out[row.value("sandbox", "")] = pid;
  }
  return out;
}

pid_t find_command(pid_t init, const std::string& text) {
  std::error_code none;
  auto parent = "\nPPid:\t" + std::to_string(init) + "\n";
  for (const auto& entry : std::filesystem::directory_iterator("/proc", none)) {
    auto pid = entry.path().filename().string();
    if (pid.find_first_not_of("0123456789") == std::string::npos
        && read_file(entry.path() / "status").find(parent) != std::string::npos
        && read_file(entry.path() / "cmdline").find(text) != std::string::npos)
      return std::stoi(pid);
  }
  return 0;
}

std::vector<std::string> running(const test_node& node) {
  std::vector<std::string> out;
  auto all =
      json::parse(node.caged({"list", "--format", "json"}).out, nullptr, false);
  if (all.is_array())
    for (const auto& sandbox : all)
      if (sandbox.value("state", "") == "running")
        out.push_back(sandbox.value("id", ""));
  return out;
}

std::string audit_findings(const test_node& node) {
  auto rows = audit_rows(node);
  if (!rows.is_array() || rows.empty())
    return "no audit";
  std::string out;
  for (const auto& row : rows)
    if (row.value("verdict", "") != "owned")
      out += row.dump() + "\n";
  return out;
}

std::string numbered(std::uint64_t last, const std::string& end) {
  std::string out;
  for (std::uint64_t i = 1; i <= last; ++i)
    out += std::to_string(i) + end;
  return out;
}

std::string count_while(const std::string& condition) {
  return "i=0; while " + condition
         + "; do seq $((i+1)) $((i+25000)); i=$((i+25000)); sleep 0.1; done";
}

std::string last_line(const std::string& text) {
  auto end = text.find_last_not_of('\n');
  if (end == std::string::npos)
    return {};
  auto from = text.rfind('\n', end);
  from = from == std::string::npos ? 0 : from + 1;
  return text.substr(from, end + 1 - from);
}

} // namespace caged::test
