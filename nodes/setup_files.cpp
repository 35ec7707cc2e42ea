#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <utility>

#include <sys/stat.h>
#include <unistd.h>

#include "messages/text.hpp"
#include "messages/whole_file.hpp"
#include "nodes/setup.hpp"

// What init and join read and write.
namespace caged {

namespace fs = std::filesystem;

namespace {

constexpr mode_t secret_mode = 0600;
constexpr mode_t directory_mode = 0755;
const char* const token_variable = "CAGED_JOIN_TOKEN";
/// A token has some 360 characters.
constexpr std::size_t token_most = 4096;

std::string up_to(std::istream& in, std::size_t most) {
  std::string out(most, '\0');
  in.read(out.data(), static_cast<std::streamsize>(most));
  out.resize(static_cast<std::size_t>(in.gcount()));
  return out;
}

result<std::string> token_text(const std::string& file) {
  if (file == "-")
    return up_to(std::cin, token_most);
  if (file.empty()) {
    const char* text = std::getenv(token_variable);
    if (text == nullptr || *text == '\0')
      return fail(ec::bad_request, "there is no join token",
                  std::string{"give --token-file FILE, - for stdin, or set "}
                      + token_variable
                      + "; caged node token makes one on a node of the fleet");
    return std::string{text};
  }
  std::ifstream in{file};
  if (!in)
    return fail_errno(ec::io, "the token file " + file + " cannot be read",
                      errno);
  return up_to(in, token_most);
}

bool has_line_break(const std::string& text) {
  return text.find_first_of("\r\n") != std::string::npos;
}

} // namespace

result<void> may_write_config(const fs::path& file, const std::string& text,
                              bool force) {
  std::error_code none;
  if (force || !fs::exists(file, none))
    return {};
  std::ifstream in{file};
  if (in && std::string{std::istreambuf_iterator<char>{in}, {}} == text)
    return {};
  return fail(ec::conflict,
              "there is another configuration at " + file.string() + " already",
              "name another file with --config, or give --force to replace "
              "it");
}

result<void> write_config(const fs::path& file, const std::string& text,
                          bool force) {
  if (auto may = may_write_config(file, text, force); !may)
    return may;
  std::error_code code;
  if (fs::create_directories(file.parent_path(), code))
    ::chmod(file.parent_path().c_str(), directory_mode);
  if (code)
    return fail(ec::io, "the directory " + file.parent_path().string()
                            + " cannot be made: " + code.message());
  return write_whole_file(file, text, secret_mode, if_there::replace);
}

result<join_token> read_join_token(const std::string& file) {
  const auto text = token_text(file);
  if (!text)
    return tl::unexpected<failure>(text.error());
  auto token = decode_join_token(*text);
  if (!token)
    return token;
  const auto now = wall_clock_ms();
  if (now >= token->expires_ms)
    return fail(ec::denied,
                "this token expired at " + utc_text(token->expires_ms)
                    + "; by this host's clock it is " + utc_text(now),
                "make another on a node of the fleet: caged node token");
  return token;
}

result<given_settings> keep_access(const fs::path& data,
                                   const api::store_access& access) {
  if (access.url.empty() || has_line_break(access.url)
      || has_line_break(access.user))
    return fail(ec::malformed, "the node's answer names no store");
  given_settings out{{"store", access.url}};
  const std::pair<const char*, const std::string*> files[] = {
      {"store-ca", &access.ca},
      {"store-cert", &access.certificate},
      {"store-key", &access.key},
      {"store-password-file", &access.password}};
  for (const auto& [setting, text] : files) {
    if (text->empty())
      continue;
    const auto file = data / setting;
    if (auto done =
            write_whole_file(file, *text, secret_mode, if_there::replace);
        !done)
      return tl::unexpected<failure>(done.error());
    out.emplace_back(setting, file.string());
  }
  if (!access.user.empty())
    out.emplace_back("store-user", access.user);
  return out;
}

} // namespace caged
