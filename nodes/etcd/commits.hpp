#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "nodes/etcd/client.hpp"

namespace caged::etcd {

/// Commits that happen once, whatever becomes of the requests for them. Of a
/// request that was cut off nobody knows whether etcd carried it out, or will:
/// a member that was stopped may come back and do so minutes later. Therefore
/// each commit also changes a key that is only its own meanwhile, a slot:
///
///   if    the caller's compares hold, and the slot is at revision R
///   then  the caller's operations, and slot = the commit's random id
///   else  read the slot
///
/// Of all copies of a request at most one finds the slot at R. So it may be
/// sent again and again; when it fails, the slot tells why: it holds our id (an
/// earlier copy was carried out: success, at the slot's revision), or it is
/// still at R (a compare failed). In this case, if there are copies that nobody
/// has heard of, the slot is moved on before the conflict is reported, so that
/// they come too late for ever. A slot that was left in doubt is used again
/// first, which has the same effect.
///
/// A slot's name is random and never used again. It is under a lease and given
/// up at half its time, so that slots of dead processes vanish by themselves.
///
/// Thread-safe: each commit has a slot of its own.
class commits {
public:
  /// `space`: what the slots' keys begin with. Lives no longer than `with`.
  commits(client& with, std::string space);

  /// Keys are etcd's own. Errors: conflict, not_found (a lease), too_large,
  /// unavailable: nobody knows.
  result<std::int64_t> commit(std::vector<compare> compares,
                              std::vector<operation> operations);

private:
  struct slot {
    std::string key;
    std::int64_t revision = 0, lease = 0;
    steady::time_point made;
  };
  result<slot> take();
  result<slot> make();
  result<std::int64_t> run(slot& mine, wire::txn what);

  client& with_;
  const std::string space_;
  std::mutex mutex_;
  std::vector<slot> free_;
};

} // namespace caged::etcd
