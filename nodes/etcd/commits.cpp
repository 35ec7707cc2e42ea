#include "nodes/etcd/commits.hpp"

#include <utility>

#include "messages/text.hpp"

namespace caged::etcd {

namespace {

constexpr std::chrono::seconds slot_ttl{1200};
/// A commit takes seconds: a slot that is used is not about to expire.
constexpr std::chrono::seconds slot_use = slot_ttl / 2;
/// Times that a slot turns out to have been moved on by an earlier commit, or
/// to be gone, before one gives up; each needs a cut connection of its own.
constexpr int most_rounds = 8;

tl::unexpected<failure> in_doubt(failure why) {
  why.code = ec::unavailable;
  why.message += "; nobody knows whether the change was made";
  why.hint = "read it again before you repeat it";
  return tl::unexpected<failure>(std::move(why));
}

tl::unexpected<failure> conflict() {
  return fail(ec::conflict, "a record was changed by somebody else",
              "read it again");
}

} // namespace

commits::commits(client& with, std::string space)
    : with_{with}, space_{std::move(space)} {}

result<std::int64_t> commits::commit(std::vector<compare> compares,
                                     std::vector<operation> operations) {
  if (operations.size() > store::most_operations
      || compares.size() > store::most_operations)
    return fail(ec::too_large,
                "a commit of " + std::to_string(operations.size())
                    + " operations and " + std::to_string(compares.size())
                    + " compares is more than etcd's limit of "
                    + std::to_string(store::most_operations) + " each",
                "make several of it");
  auto mine = take();
  if (!mine)
    return tl::unexpected<failure>(mine.error());
  auto done = run(*mine, {std::move(compares), std::move(operations), {}});
  if (mine->revision != 0) {
    std::lock_guard guard{mutex_};
    free_.push_back(std::move(*mine)); // the next commit takes this one
  }
  return done;
}

result<std::int64_t> commits::run(slot& mine, wire::txn what) {
  const auto id = random_name(16);
  what.compares.emplace_back();
  what.operations.emplace_back();
  bool doubtful = false; ///< a copy of it may be on its way
  bool fencing = false;  ///< a conflict, but for such copies
  for (int round = 0; round < most_rounds; ++round) {
    what.compares.back() = {mine.key, mine.revision};
    what.operations.back() = {operation::kind::put, mine.key,
                              fencing ? "fence" : id, mine.lease};
    what.look = mine.key;
    auto got = with_.call("/v3/kv/txn", wire::write(what));
    if (!got) {
      auto& why = got.error();
      if (doubtful || why.doubtful)
        return in_doubt(std::move(why.why));
      if (why.code == 0 || why.why.code == ec::unavailable)
        why.why.message += "; nothing was changed";
      return tl::unexpected<failure>(std::move(why.why));
    }
    if (!fencing)
      doubtful = doubtful || got->doubtful;
    auto decided = wire::read_txn(got->body);
    if (!decided)
      return in_doubt(decided.error());
    if (decided->succeeded) {
      mine.revision = decided->revision;
      if (fencing)
        return conflict();
      return decided->revision;
    }
    if (!decided->looked) { // its lease has ended: this process stood still
      mine.revision = 0;
      if (doubtful)
        return in_doubt({ec::unavailable, "etcd was away for long", {}});
      auto fresh = make();
      if (!fresh)
        return tl::unexpected<failure>(fresh.error());
      mine = std::move(*fresh);
      continue;
    }
    const bool same = decided->looked->revision == mine.revision;
    mine.revision = decided->looked->revision;
    if (decided->looked->value == id)
      return mine.revision; // an earlier copy
    if (fencing)
      return conflict(); // whoever moved it on: the copies come too late
    if (!same) { // an earlier commit, left in doubt, was carried out late:
      doubtful = false; // so our copies, which compare with R, never will be
      continue;
    }
    if (!doubtful)
      return conflict();
    fencing = true;
    what.compares.resize(1);
    what.operations.resize(1);
  }
  return in_doubt({ec::unavailable, "etcd was away again and again", {}});
}

result<commits::slot> commits::take() {
  const auto now = steady::now();
  {
    std::lock_guard guard{mutex_};
    while (!free_.empty()) {
      auto mine = std::move(free_.back());
      free_.pop_back();
      if (now - mine.made < slot_use)
        return mine;
    }
  }
  return make();
}

result<commits::slot> commits::make() {
  auto lease = with_.call("/v3/lease/grant", wire::write_grant(slot_ttl));
  if (!lease)
    return tl::unexpected<failure>(std::move(lease.error().why));
  auto granted = wire::read_grant(lease->body);
  if (!granted)
    return tl::unexpected<failure>(granted.error());
  slot out{space_ + random_name(20), 0, granted->id, steady::now()};
  // Of several copies one makes the key, the others read it.
  wire::txn create;
  create.compares = {{out.key, 0}};
  create.operations = {{operation::kind::put, out.key, "new", out.lease}};
  create.look = out.key;
  auto got = with_.call("/v3/kv/txn", wire::write(create));
  if (!got)
    return tl::unexpected<failure>(std::move(got.error().why));
  auto decided = wire::read_txn(got->body);
  if (!decided)
    return tl::unexpected<failure>(decided.error());
  out.revision =
      decided->looked ? decided->looked->revision : decided->revision;
  return out;
}

} // namespace caged::etcd
