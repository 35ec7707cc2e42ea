#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "messages/error.hpp"

namespace caged::agent {

/// Who a command runs as.
struct identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups; ///< supplementary
  std::string name = "root"; ///< the uid in digits where passwd lacks it
  std::string home = "/";
  std::string shell = "/bin/sh";
};

/// Looks a user up by hand: a static glibc has no NSS. `wanted`: a name, a uid
/// or uid:gid in digits; empty: the agent's own. `root` is put before /etc.
/// Error: bad_request for a name that passwd lacks or a number out of range.
result<identity> find_user(std::string_view wanted,
                           const std::string& root = {});

} // namespace caged::agent
