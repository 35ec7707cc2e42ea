#include "nodes/etcd/etcd_store.hpp"

#include <utility>

#include "nodes/etcd/client.hpp"
#include "nodes/etcd/commits.hpp"
#include "nodes/etcd/watch_stream.hpp"

namespace caged {

namespace {

using namespace etcd;

class etcd_store final : public store {
public:
  etcd_store(const etcd_options& options, std::shared_ptr<dialer> with)
      : space_{"/" + options.prefix + "/data/"},
        client_{options, std::move(with)},
        commits_{client_, "/" + options.prefix + "/commits/"},
        watches_{client_, space_} {}

  ~etcd_store() override { client_.stop(); }

  result<std::int64_t>
  commit(const std::vector<compare>& compares,
         const std::vector<operation>& operations) override {
    auto where = compares;
    for (auto& one : where)
      one.key.insert(0, space_);
    auto what = operations;
    for (auto& one : what)
      one.key.insert(0, space_);
    return commits_.commit(std::move(where), std::move(what));
  }

  result<std::optional<record>> get(const std::string& key) override {
    auto got = client_.call("/v3/kv/range",
                            wire::write(wire::range{space_ + key, {}}));
    if (!got)
      return tl::unexpected<failure>(std::move(got.error().why));
    auto read = wire::read_range(got->body);
    if (!read)
      return tl::unexpected<failure>(read.error());
    if (read->records.empty())
      return std::optional<record>{};
    auto& found = read->records.front();
    return std::optional{record{key, std::move(found.value), found.revision}};
  }

  result<std::vector<record>> list(const std::string& prefix) override {
    auto got = etcd::list(client_, space_ + prefix);
    if (!got)
      return tl::unexpected<failure>(std::move(got.error().why));
    for (auto& one : got->records) {
      if (!one.key.starts_with(space_))
        return fail(ec::malformed, "etcd lists keys that were not asked for");
      one.key.erase(0, space_.size());
    }
    return std::move(got->records);
  }

  result<std::shared_ptr<void>> watch(const std::string& prefix,
                                      watch_handler handler) override {
    return watches_.add(prefix, std::move(handler));
  }

  result<store_lease> grant(std::chrono::seconds ttl) override {
    if (ttl.count() < 1)
      return fail(ec::bad_request,
                  "a lease of " + std::to_string(ttl.count())
                      + " seconds is less than 1",
                  "ask for a second or more");
    // A second copy leaves a lease without keys, which expires.
    auto got = client_.call("/v3/lease/grant", wire::write_grant(ttl));
    if (!got)
      return tl::unexpected<failure>(std::move(got.error().why));
    return wire::read_grant(got->body);
  }

  result<void> keep_alive(std::int64_t lease) override {
    auto got = client_.call("/v3/lease/keepalive", wire::write_lease(lease));
    if (!got)
      return tl::unexpected<failure>(std::move(got.error().why));
    auto left = wire::read_keep_alive(got->body);
    if (!left)
      return tl::unexpected<failure>(left.error());
    if (left->count() <= 0)
      return fail(ec::not_found,
                  "the lease " + std::to_string(lease) + " has ended",
                  "ask for a new one");
    return {};
  }

  result<void> revoke(std::int64_t lease) override {
    auto got = client_.call("/v3/lease/revoke", wire::write_lease(lease));
    if (!got && got.error().why.code != ec::not_found)
      return tl::unexpected<failure>(std::move(got.error().why));
    return {};
  }

  std::string kind() const override { return "etcd"; }

private:
  const std::string space_; ///< what all keys begin with
  client client_;
  commits commits_;
  watch_stream watches_; // before the client it ends, and its thread with it
};

} // namespace

result<std::unique_ptr<store>> open_etcd_store(const etcd_options& options) {
  if (auto good = check_options(options); !good)
    return tl::unexpected<failure>(good.error());
  auto with = make_dialer(options);
  if (!with)
    return tl::unexpected<failure>(with.error());
  return std::unique_ptr<store>{
      std::make_unique<etcd_store>(options, std::move(*with))};
}

} // namespace caged
