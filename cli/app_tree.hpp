#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
} // namespace CLI

/// The program's verbs and flags as data, read from CLI11: completion scripts
/// and the reference are made from it, so that none can forget a flag.
namespace caged::cli {

enum class value_kind { none, text, choice, file, sandbox, node };

/// A flag or a positional argument.
struct argument {
  std::vector<std::string> flags; ///< "-n", "--name"; empty: positional
  std::string name;               ///< of a positional
  std::string type;               ///< "TEXT", "FILE", ...; empty: no value
  std::string help, default_value, variable;
  std::vector<std::string> choices;
  value_kind kind = value_kind::none;
  bool required = false, repeats = false;
};

struct verb_node {
  std::string path; ///< "caged node status"
  std::string name;
  std::vector<std::string> aliases;
  std::string help, footer;
  std::vector<argument> flags, positionals;
  /// Flags of the verbs above, which are understood here, too.
  std::vector<argument> inherited;
  std::vector<verb_node> verbs;
};

/// Everything that is not hidden (a group without a name hides in CLI11).
verb_node describe(const CLI::App& app);

/// The node and those beneath it that do something, in the order of the help.
std::vector<const verb_node*> leaves(const verb_node& from);

} // namespace caged::cli
