#include "mcp/allow_list.hpp"

#include <algorithm>
#include <cstdlib>

#include <sys/stat.h>
#include <unistd.h>

#include "messages/text.hpp"

namespace caged::mcp {

namespace {

const char* const quote_hint =
    "commands are run without a shell here: put the character in single quotes "
    "if it is meant literally, and make several calls instead of one line";

tl::unexpected<failure> refuse(char what) {
  const std::string name = what == '\n' ? "a newline" : quoted({&what, 1});
  return fail(ec::bad_request,
              "the command holds " + name
                  + " outside quotes, which only a shell would understand",
              quote_hint);
}

bool is_name(std::string_view text) {
  const auto letter = [](char c) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  return !text.empty() && letter(text[0])
         && std::all_of(text.begin(), text.end(), [&](char c) {
              return letter(c) || (c >= '0' && c <= '9');
            });
}

/// Beneath "/" is everything, which would leave no program at all.
bool beneath(std::string_view path, std::string_view folder) {
  return folder.size() > 1 && path.substr(0, folder.size()) == folder
         && (path.size() == folder.size() || path[folder.size()] == '/');
}

bool executable(const std::string& path) {
  struct stat about {};
  return ::stat(path.c_str(), &about) == 0 && S_ISREG(about.st_mode)
         && ::access(path.c_str(), X_OK) == 0;
}

/// The folder without its links, where that can be had.
std::string real(const std::string& folder) {
  char* found = ::realpath(folder.c_str(), nullptr);
  std::string out = found != nullptr ? found : folder;
  ::free(found); // NOLINT: realpath(3) gives it
  return out;
}

/// One word after the other.
class splitter {
public:
  explicit splitter(std::string_view text) : rest_{text} {}
  result<std::vector<std::string>> all();

private:
  result<void> step();
  result<void> double_quoted();
  void put(char c) {
    word_ += c;
    in_word_ = true;
  }
  void end_word() {
    if (in_word_)
      words_.push_back(std::move(word_));
    word_.clear();
    in_word_ = false;
    plain_ = true;
  }

  std::string_view rest_;
  std::vector<std::string> words_;
  std::string word_;
  bool in_word_ = false;
  bool plain_ = true; ///< Nothing of this word was quoted so far.
};

result<void> splitter::double_quoted() {
  in_word_ = true;
  while (!rest_.empty()) {
    const auto c = rest_.front();
    rest_.remove_prefix(1);
    if (c == '"')
      return {};
    if (c == '$' || c == '`')
      return fail(ec::bad_request,
                  "the command holds " + quoted({&c, 1})
                      + " in double quotes, which only a shell would expand",
                  quote_hint);
    if (c != '\\' || rest_.empty()) {
      word_ += c;
      continue;
    }
    const auto next = rest_.front();
    if (next == '\n')
      return refuse('\n');
    if (next == '$' || next == '`' || next == '"' || next == '\\')
      rest_.remove_prefix(1);
    word_ +=
        next == '$' || next == '`' || next == '"' || next == '\\' ? next : c;
  }
  return fail(ec::bad_request, "the command ends within double quotes",
              "close them");
}

result<void> splitter::step() {
  const auto c = rest_.front();
  rest_.remove_prefix(1);
  switch (c) {
  case ' ':
  case '\t':
    end_word();
    return {};
  case '\'': {
    const auto end = rest_.find('\'');
    if (end == std::string_view::npos)
      return fail(ec::bad_request, "the command ends within single quotes",
                  "close them");
    word_ += rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    in_word_ = true;
    plain_ = false;
    return {};
  }
  case '"':
    plain_ = false;
    return double_quoted();
  case '\\':
    if (rest_.empty())
      return fail(ec::bad_request, "the command ends with a backslash",
                  "write it twice if it is meant literally");
    if (rest_.front() == '\n')
      return refuse('\n');
    put(rest_.front());
    rest_.remove_prefix(1);
    plain_ = false;
    return {};
  case ';':
  case '&':
  case '|':
  case '<':
  case '>':
  case '$':
  case '`':
  case '(':
  case ')':
  case '\n':
  case '*':
  case '?':
  case '[':
    return refuse(c);
  case '~':
  case '#':
    if (!in_word_)
      return refuse(c);
    break;
  case '=':
    if (words_.empty() && plain_ && is_name(word_))
      return fail(ec::bad_request,
                  "the command begins with an assignment to " + quoted(word_)
                      + ", which only a shell would understand",
                  "leave it out: the environment is fixed here");
    break;
  default:
    break;
  }
  put(c);
  return {};
}

result<std::vector<std::string>> splitter::all() {
  // Blank lines around a command are no part of it.
  constexpr auto blank = " \t\n";
  const auto begin = rest_.find_first_not_of(blank);
  if (begin == std::string_view::npos)
    return fail(ec::bad_request, "the command is empty",
                "give a command such as \"git status\"");
  rest_.remove_prefix(begin);
  while (!rest_.empty() && rest_.back() == '\n')
    rest_.remove_suffix(1);
  while (!rest_.empty())
    if (auto done = step(); !done)
      return tl::unexpected(done.error());
  end_word();
  return std::move(words_);
}

} // namespace

result<std::vector<std::string>> split_command(std::string_view text) {
  if (text.find('\0') != std::string_view::npos)
    return fail(ec::bad_request, "the command holds a NUL", "leave it out");
  return splitter{text}.all();
}

allow_list::allow_list(const std::vector<std::string>& entries,
                       std::string_view path, std::string_view workspace) {
  std::vector<std::string> folders;
  for (;;) {
    const auto end = path.find(':');
    const std::string folder{path.substr(0, end)};
    if (!folder.empty() && folder[0] == '/'
        && !beneath(real(folder), workspace)) {
      folders.push_back(folder);
      path_ += (path_.empty() ? "" : ":") + folder;
    }
    if (end == std::string_view::npos)
      break;
    path.remove_prefix(end + 1);
  }
  for (const auto& entry : entries) {
    if (entry.empty())
      continue;
    names_ += (names_.empty() ? "" : ", ") + entry;
    if (entry.find('/') != std::string::npos) {
      if (entry[0] == '/')
        programs_[entry] = entry;
      continue; // a relative one would depend on the working folder
    }
    auto& found = programs_[entry];
    for (const auto& folder : folders)
      if (const auto file = folder + "/" + entry; executable(file)) {
        found = file;
        programs_.emplace(file, file);
        break;
      }
  }
}

result<allow_list::program> allow_list::check(std::string_view command) const {
  auto argv = split_command(command);
  if (!argv)
    return tl::unexpected(argv.error());
  return check(std::move(*argv));
}

result<allow_list::program>
allow_list::check(std::vector<std::string> argv) const {
  if (argv.empty() || argv[0].empty())
    return fail(ec::bad_request, "the command is empty",
                "give a command such as \"git status\"");
  const auto at = programs_.find(argv[0]);
  const auto allowed =
      names_.empty() ? "none is" : "allowed are: " + escape_text(names_, 1000);
  if (at == programs_.end() && argv[0][0] != '/'
      && argv[0].find('/') != std::string::npos)
    return fail(ec::denied,
                "the program " + quoted(argv[0])
                    + " is a relative path, which is never allowed",
                allowed);
  if (at == programs_.end())
    return fail(ec::denied,
                "the program " + quoted(argv[0]) + " is not allowed", allowed);
  if (at->second.empty())
    return fail(
        ec::not_found,
        "the program " + quoted(argv[0])
            + " is allowed, but was not in PATH when the server started",
        allowed);
  return program{at->second, std::move(argv)};
}

} // namespace caged::mcp
