#include "nodes/client_port.hpp"

#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>

#include <grp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "messages/text.hpp"
#include "nodes/router_port.hpp"

namespace caged {

namespace {

/// "ADDRESS:UID:GID:PID", as libzmq 4.3 writes it for Unix sockets
/// (src/stream_engine_base.cpp). Nothing when it is anything else.
std::optional<unsigned> uid_of(const std::string& peer) {
  std::array<std::string, 3> fields;
  auto end = peer.size();
  for (auto& field : fields) {
    if (end == 0)
      return {};
    auto colon = peer.rfind(':', end - 1);
    if (colon == std::string::npos)
      return {};
    field = peer.substr(colon + 1, end - colon - 1);
    constexpr std::size_t longest = 10; // digits of 2^32
    if (field.empty() || field.size() > longest
        || field.find_first_not_of("0123456789") != std::string::npos)
      return {};
    end = colon;
  }
  return static_cast<unsigned>(std::stoul(fields[2]));
}

class ipc_port : public router_port {
public:
  explicit ipc_port(std::shared_ptr<metrics_sink> metrics)
      : router_port{"ipc/", 0, std::move(metrics)} {}
  ~ipc_port() override { stop(); }

  result<void> bind(const client_port_options& options);
  using router_port::run;

protected:
  result<admitted> admit(zmq::message_t& body) override {
    std::string peer;
    try {
      peer = body.gets("Peer-Address");
    } catch (const zmq::error_t&) {
      peer.clear(); // no such property: nobody we know
    }
    auto uid = uid_of(peer);
    if (!uid)
      return fail(ec::denied, "the kernel does not say who asks");
    // Who can open the socket is an admin.
    return admitted{"uid:" + std::to_string(*uid), true};
  }
};

result<void> ipc_port::bind(const client_port_options& options) {
  const std::string scheme = "ipc://";
  if (options.endpoint.rfind(scheme, 0) != 0)
    return fail(ec::bad_request,
                "the client endpoint " + caged::quoted(options.endpoint)
                    + " is not supported",
                "use ipc:// and a path");
  auto path = options.endpoint.substr(scheme.size());
  if (path.empty() || path[0] != '/'
      || path.size() >= sizeof(sockaddr_un::sun_path))
    return fail(ec::bad_request,
                "the client endpoint's path " + caged::quoted(path)
                    + " must be absolute and at most "
                    + std::to_string(sizeof(sockaddr_un::sun_path) - 1)
                    + " bytes long",
                "choose a shorter --run-dir");
  auto parent = std::filesystem::path{path}.parent_path();
  struct stat about {};
  if (::stat(parent.c_str(), &about) != 0)
    return fail_errno(ec::io,
                      "the directory " + parent.string()
                          + " of the client endpoint cannot be used",
                      errno);
  if (about.st_uid != ::geteuid() || (about.st_mode & 022) != 0)
    return fail(ec::denied,
                "the directory " + parent.string()
                    + " must belong to the daemon's user and be writable to "
                      "nobody else",
                "chown root: " + parent.string() + " && chmod 0750 "
                    + parent.string());
  if (auto made = make_socket(); !made)
    return made;
  try {
    socket_.bind(options.endpoint);
  } catch (const zmq::error_t& e) {
    return fail(ec::io,
                "the client endpoint " + options.endpoint
                    + " cannot be bound: " + e.what(),
                "is the directory writable, and nothing else there?");
  }
  // root and the group; without the group, root alone.
  if (const auto* group = ::getgrnam(options.group.c_str());
      group && ::chown(path.c_str(), ::geteuid(), group->gr_gid) == 0)
    ::chmod(path.c_str(), 0660);
  else
    ::chmod(path.c_str(), 0600);
  return {};
}

} // namespace

result<std::unique_ptr<client_port>>
client_port::open(const client_port_options& options, on_request request,
                  on_gone gone) {
  auto made = std::make_unique<ipc_port>(options.metrics);
  if (auto bound = made->bind(options); !bound)
    return tl::unexpected<failure>(bound.error());
  made->run(std::move(request), std::move(gone));
  return std::unique_ptr<client_port>{std::move(made)};
}

} // namespace caged
