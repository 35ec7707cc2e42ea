#include "mcp/git/offline.hpp"

#include <cstddef>

// The names are those of libgit2 1.5 (src/util, src/libgit2/streams,
// src/libgit2/transports, sysdir.c). They take arguments that are not used
// here; by the C calling conventions of Linux a callee may ignore them. A newer
// libgit2 with other functions shows up as a link error (an undefined or a
// doubly defined name), not at run time. What it saves, measured: 16 ms of
// parsing CA certificates at each start, and 4 MB of program.
//
// GIT_ENOTFOUND is what libgit2 itself answers when there is no such file.
namespace {
constexpr int done = 0;
constexpr int failed = -1;
constexpr int not_found = -3;
} // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): two underscores are in its names.
extern "C" {

// Streams: TLS and sockets.
int git_mbedtls_stream_global_init() {
  return done;
}
int git_mbedtls__set_cert_location() {
  return failed;
}
int git_mbedtls_stream_new() {
  return failed;
}
int git_mbedtls_stream_wrap() {
  return failed;
}
int git_socket_stream_new() {
  return failed;
}

// Transports.
int git_transport_ssh_global_init() {
  return done;
}
int git_smart_subtransport_http() {
  return failed;
}
int git_smart_subtransport_ssh() {
  return failed;
}
int git_smart_subtransport_git() {
  return failed;
}
int git_transport_local() {
  return failed;
}
bool git_http__expect_continue = false;
int http_parser_parse_url() {
  return 1; // not a URL
}
void http_parser_url_init() {}

// Where the files of the user and of the system would be.
int git_sysdir_global_init() {
  return done;
}
int git_sysdir_get() {
  return not_found;
}
int git_sysdir_set() {
  return done;
}
int git_sysdir_reset() {
  return done;
}
int git_sysdir_find_system_file() {
  return not_found;
}
int git_sysdir_find_global_file() {
  return not_found;
}
int git_sysdir_find_xdg_file() {
  return not_found;
}
int git_sysdir_find_programdata_file() {
  return not_found;
}
int git_sysdir_find_template_dir() {
  return not_found;
}
int git_sysdir_expand_global_file() {
  return not_found;
}

} // extern "C"
// NOLINTEND(bugprone-reserved-identifier)

namespace caged::mcp::git {

void take_git_offline() noexcept {}

} // namespace caged::mcp::git
