#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/verbs.hpp"

/// What a host needs to run caged-node, looked at one by one. The node checks
/// the same when it starts and stops at the first lack; this says all of them,
/// before there is a node.
namespace caged::cli {

enum class level { ok, warn, bad };

struct finding {
  std::string subject; ///< "cgroups"
  level how = level::ok;
  std::string found;
  std::string remedy; ///< what to do; empty when all is well
};

struct doctor_options {
  std::string data_dir = "/var/lib/caged";
  node_address endpoint;
  /// Where /proc, /sys, /dev, /etc and the programs are: for tests.
  std::filesystem::path root = "/";
  /// Whether we are root: some things show only then.
  bool privileged = true;
};

/// Looks, changes nothing, loads no module. At most a few seconds, when a node
/// hangs.
std::vector<finding> examine(const doctor_options& what);

std::string show(const std::vector<finding>& findings, format as);

/// The exit code is 1 when something is bad.
result<int> run_doctor(const common_options& with, doctor_options what);

} // namespace caged::cli
