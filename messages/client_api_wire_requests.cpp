#include <algorithm>

#include "messages/client_api_wire_detail.hpp"
#include "messages/curve_key.hpp"
#include "messages/join_token.hpp"
#include "messages/text.hpp"

// Requests, to and from the wire. What a client sends is checked here.
namespace caged::api::wire {

namespace {

using wire::fill; // more of them follow, which must not hide these

void fill(v1::Envelope& to, const exec& from) {
  auto* out = to.mutable_exec();
  out->set_sandbox(from.sandbox);
  for (const auto& arg : from.argv)
    out->add_argv(arg);
  out->set_login(from.login);
  out->set_cwd(from.cwd);
  out->mutable_env()->insert(from.env.begin(), from.env.end());
  out->set_user(from.user);
  out->set_tty(from.tty);
  out->set_rows(from.rows);
  out->set_cols(from.cols);
  out->set_wants_stdin(from.wants_stdin);
  out->set_timeout_ms(static_cast<std::uint64_t>(from.timeout.count()));
  out->set_stdout_offset(from.stdout_offset);
  out->set_stderr_offset(from.stderr_offset);
  out->set_stdout_credit(from.stdout_credit);
  out->set_stderr_credit(from.stderr_credit);
  out->set_detach(from.detach);
  out->set_attach_only(from.attach_only);
  out->set_resume(from.resume);
}

constexpr std::size_t reference_max = 255;
/// Set by nodes alone.
constexpr std::string_view own_labels = "caged.";

result<void> check_reference(const std::string& reference) {
  if (reference.empty())
    return fail(ec::bad_request, "no sandbox is named",
                "name one by id, name or unique prefix");
  if (reference.size() > reference_max)
    return too_long("the sandbox's name", reference.size(), reference_max);
  return {};
}

result<void> check_node(const std::string& reference) {
  if (reference.empty())
    return fail(ec::bad_request, "no node is named",
                "name one by id or name: caged node list shows them");
  if (reference.size() > reference_max)
    return too_long("the node's name", reference.size(), reference_max);
  return {};
}

result<request_body> read_up(const v1::Up& from, bool by_node) {
  up out{read_spec(from.spec()), from.node(), read_map(from.require())};
  if (from.spec().network() < 1 || from.spec().network() > 3)
    return fail(ec::bad_request, "the network mode is unknown");
  if (auto good = validate(out.spec); !good)
    return tl::unexpected<failure>(good.error());
  for (const auto& [key, _] : out.spec.labels)
    if (!by_node && key.rfind(own_labels, 0) == 0)
      return fail(ec::bad_request,
                  "labels that start with " + std::string{own_labels}
                      + " are caged's own",
                  "name it otherwise");
  if (out.node.size() > reference_max)
    return too_long("the node's name", out.node.size(), reference_max);
  if (auto good = check_labels(out.require); !good)
    return fail(good.error().code,
                "of what is required of a node: " + good.error().message,
                "caged node get NODE shows the labels of one");
  return request_body{std::move(out)};
}

result<request_body> read_join(const v1::Join& from) {
  constexpr std::size_t version_max = 64;
  auto key = parse_public_key(from.public_key());
  if (!key)
    return tl::unexpected<failure>(key.error());
  if (!is_valid_name(from.node()))
    return fail(ec::bad_request,
                caged::quoted(from.node()) + " is no id of a node");
  if (!from.name().empty() && !is_valid_name(from.name()))
    return fail(ec::bad_request,
                caged::quoted(from.name()) + " is no name of a node",
                "take 1 to " + std::to_string(limits::name_max)
                    + " of a-z, 0-9 and -, not - first: --node-name NAME");
  if (!is_uuid(from.cluster()))
    return fail(ec::bad_request, "it names no cluster");
  if (from.version().size() > version_max)
    return too_long("the version", from.version().size(), version_max);
  return request_body{join{from.node(), from.name(), std::move(*key),
                           from.version(), from.cluster()}};
}

result<request_body> read_node_token(const v1::NodeTokenCreate& from) {
  const std::chrono::milliseconds ttl{static_cast<std::int64_t>(
      std::min(from.ttl_ms(), std::uint64_t{1} << 50U))};
  if (auto good = check_join_ttl(ttl); !good)
    return tl::unexpected<failure>(good.error());
  return request_body{node_token_create{ttl}};
}

result<request_body> read_template_read(const v1::TemplateRead& from) {
  if (!is_valid_name(from.template_()))
    return fail(ec::bad_request,
                caged::quoted(from.template_()) + " is no name of a template");
  constexpr std::size_t sha256_digits = 64;
  if (!from.digest().empty()
      && (from.digest().size() != sha256_digits
          || from.digest().find_first_not_of("0123456789abcdef")
                 != std::string::npos))
    return fail(ec::bad_request, caged::quoted(from.digest())
                                     + " is no SHA-256 in lower case "
                                       "hexadecimal");
  return request_body{
      template_read{from.template_(), from.digest(), from.offset()}};
}

bool has_nul(const std::string& text) {
  return text.find('\0') != std::string::npos;
}

result<exec> read_exec(const v1::Exec& from) {
  exec out;
  out.sandbox = from.sandbox();
  if (auto good = check_reference(out.sandbox); !good)
    return tl::unexpected<failure>(good.error());
  out.argv.assign(from.argv().begin(), from.argv().end());
  out.login = from.login();
  out.detach = from.detach();
  out.attach_only = from.attach_only();
  out.resume = from.resume();
  if (out.argv.empty() && !out.login && !out.attach_only)
    return fail(ec::bad_request, "no command is given",
                "put it behind --: caged exec ID -- ls -l");
  if (out.argv.size() > limits::argv_max)
    return fail(ec::too_large, "the command has "
                                   + std::to_string(out.argv.size())
                                   + " arguments; the most is "
                                   + std::to_string(limits::argv_max));
  std::size_t bytes = 0;
  for (const auto& arg : out.argv) {
    bytes += arg.size() + 1;
    if (has_nul(arg))
      return fail(ec::bad_request, "an argument contains a NUL byte");
  }
  if (bytes > limits::argv_bytes_max)
    return too_long("the command", bytes, limits::argv_bytes_max);
  out.cwd = from.cwd();
  out.env = read_map(from.env());
  out.user = from.user();
  if (out.cwd.size() > 4096 || out.user.size() > 256 || has_nul(out.cwd)
      || has_nul(out.user))
    return fail(ec::bad_request, "the working directory or user is no valid "
                                 "text");
  if (out.env.size() > limits::env_max)
    return fail(ec::too_large, "the environment has "
                                   + std::to_string(out.env.size())
                                   + " variables; the most is "
                                   + std::to_string(limits::env_max));
  bytes = 0;
  for (const auto& [key, value] : out.env) {
    bytes += key.size() + value.size() + 2;
    if (key.empty() || key.find('=') != std::string::npos || has_nul(key)
        || has_nul(value))
      return fail(ec::bad_request,
                  caged::quoted(key) + " is no name of a variable");
  }
  if (bytes > limits::env_bytes_max)
    return too_long("the environment", bytes, limits::env_bytes_max);
  out.tty = from.tty();
  auto size = [](std::uint32_t value) {
    return static_cast<std::uint16_t>(std::clamp(value, 1u, 10000u));
  };
  out.rows = size(from.rows());
  out.cols = size(from.cols());
  out.wants_stdin = from.wants_stdin();
  constexpr std::uint64_t longest = 1000ULL * 3600 * 24 * 365;
  out.timeout = std::chrono::milliseconds(std::min(from.timeout_ms(), longest));
  out.stdout_offset = from.stdout_offset();
  out.stderr_offset = from.stderr_offset();
  out.stdout_credit = from.stdout_credit();
  out.stderr_credit = from.stderr_credit();
  for (auto [offset, credit] :
       {std::pair{out.stdout_offset, out.stdout_credit},
        std::pair{out.stderr_offset, out.stderr_credit}})
    if (credit > offset && credit - offset > limits::window_max)
      return too_long("the window", credit - offset, limits::window_max);
  return out;
}

} // namespace

void fill_request(v1::Envelope& to, const request_body& body) {
  std::visit(
      overloaded{
          [&](const hello& b) { to.mutable_hello()->set_client(b.client); },
          [&](const up& b) {
            fill(to.mutable_up()->mutable_spec(), b.spec);
            to.mutable_up()->set_node(b.node);
            to.mutable_up()->mutable_require()->insert(b.require.begin(),
                                                       b.require.end());
          },
          [&](const list& b) {
            to.mutable_list()->set_all_owners(b.all_owners);
            to.mutable_list()->set_destroyed(b.destroyed);
            to.mutable_list()->mutable_labels()->insert(b.labels.begin(),
                                                        b.labels.end());
          },
          [&](const get& b) { to.mutable_get()->set_sandbox(b.sandbox); },
          [&](const destroy& b) {
            to.mutable_destroy()->set_sandbox(b.sandbox);
          },
          [&](const logs& b) {
            to.mutable_logs()->set_sandbox(b.sandbox);
            to.mutable_logs()->set_source(b.source);
          },
          [&](const why& b) { to.mutable_why()->set_sandbox(b.sandbox); },
          [&](const node_status&) { to.mutable_node_status(); },
          [&](const node_audit& b) { to.mutable_node_audit()->set_fix(b.fix); },
          [&](const pause& b) { to.mutable_pause()->set_sandbox(b.sandbox); },
          [&](const resume& b) { to.mutable_resume()->set_sandbox(b.sandbox); },
          [&](const ps& b) { to.mutable_ps()->set_sandbox(b.sandbox); },
          [&](const kill& b) {
            to.mutable_kill()->set_sandbox(b.sandbox);
            to.mutable_kill()->set_exec(b.exec);
            to.mutable_kill()->set_signal(b.signal);
          },
          [&](const events& b) {
            to.mutable_events()->set_sandbox(b.sandbox);
            to.mutable_events()->set_follow(b.follow);
            to.mutable_events()->set_since_ms(b.since_ms);
          },
          [&](const dial& b) {
            to.mutable_dial()->set_sandbox(b.sandbox);
            to.mutable_dial()->set_port(b.port);
            to.mutable_dial()->set_credit(b.credit);
            to.mutable_dial()->set_resume(b.resume);
            if (b.mcp) {
              auto* mcp = to.mutable_dial()->mutable_mcp();
              mcp->set_key(b.mcp->key);
              mcp->set_read_only(b.mcp->read_only);
              mcp->set_one_session(b.mcp->one_session);
            }
          },
          [&](const token_create& b) {
            auto* out = to.mutable_token_create();
            out->set_sandbox(b.sandbox);
            out->set_template_(b.template_name);
            out->set_scope(static_cast<v1::TokenScope>(b.scope));
            out->set_ttl_ms(static_cast<std::uint64_t>(b.ttl.count()));
          },
          [&](const token_list&) { to.mutable_token_list(); },
          [&](const token_revoke& b) {
            to.mutable_token_revoke()->set_token(b.token);
          },
          [&](const key_authorize& b) {
            auto* out = to.mutable_key_authorize();
            out->set_key(b.key);
            out->set_name(b.name);
            out->set_role(static_cast<v1::Role>(b.as));
            out->set_shared(b.shared);
          },
          [&](const key_revoke& b) { to.mutable_key_revoke()->set_key(b.key); },
          [&](const key_list&) { to.mutable_key_list(); },
          [&](const client_gone&) { to.mutable_client_gone(); },
          [&](const node_list&) { to.mutable_node_list(); },
          [&](const node_get& b) { to.mutable_node_get()->set_node(b.node); },
          [&](const node_cordon& b) {
            to.mutable_node_cordon()->set_node(b.node);
            to.mutable_node_cordon()->set_on(b.on);
          },
          [&](const node_remove& b) {
            to.mutable_node_remove()->set_node(b.node);
            to.mutable_node_remove()->set_force(b.force);
          },
          [&](const node_token_create& b) {
            to.mutable_node_token_create()->set_ttl_ms(
                static_cast<std::uint64_t>(b.ttl.count()));
          },
          [&](const join& b) {
            auto* out = to.mutable_join();
            out->set_node(b.node);
            out->set_name(b.name);
            out->set_public_key(b.public_key);
            out->set_version(b.version);
            out->set_cluster(b.cluster);
          },
          [&](const template_read& b) {
            auto* out = to.mutable_template_read();
            out->set_template_(b.template_name);
            out->set_digest(b.digest);
            out->set_offset(b.offset);
          },
          [&](const node_shutdown& b) {
            to.mutable_node_shutdown()->set_destroy_all(b.destroy_all);
          },
          [&](const exec_signal& b) {
            to.mutable_signal()->set_number(b.number);
          },
          [&](const exec_resize& b) {
            to.mutable_resize()->set_rows(b.rows);
            to.mutable_resize()->set_cols(b.cols);
          },
          [&](const auto& b) { fill(to, b); },
      },
      body);
}

result<request_body> read_request_body(v1::Envelope& from) {
  auto named = [](auto body) -> result<request_body> {
    if (auto good = check_reference(body.sandbox); !good)
      return tl::unexpected<failure>(good.error());
    return request_body{std::move(body)};
  };
  auto of_node = [](auto body) -> result<request_body> {
    if (auto good = check_node(body.node); !good)
      return tl::unexpected<failure>(good.error());
    return request_body{std::move(body)};
  };
  switch (from.body_case()) {
  case v1::Envelope::kHello:
    return request_body{hello{escape_text(from.hello().client(), 64)}};
  case v1::Envelope::kUp:
    return read_up(from.up(), from.hop() != 0);
  case v1::Envelope::kList: {
    if (static_cast<std::size_t>(from.list().labels().size())
        > limits::labels_max)
      return fail(ec::too_large, "too many labels");
    return request_body{list{from.list().all_owners(), from.list().destroyed(),
                             read_map(from.list().labels())}};
  }
  case v1::Envelope::kGet:
    return named(get{from.get().sandbox()});
  case v1::Envelope::kExec: {
    auto out = read_exec(from.exec());
    if (!out)
      return tl::unexpected<failure>(out.error());
    return request_body{std::move(*out)};
  }
  case v1::Envelope::kDestroy:
    return named(destroy{from.destroy().sandbox()});
  case v1::Envelope::kLogs:
    return named(logs{from.logs().sandbox(), from.logs().source()});
  case v1::Envelope::kWhy:
    return named(why{from.why().sandbox()});
  case v1::Envelope::kNodeStatus:
    return request_body{node_status{}};
  case v1::Envelope::kNodeAudit:
    return request_body{node_audit{from.node_audit().fix()}};
  case v1::Envelope::kPause:
    return named(pause{from.pause().sandbox()});
  case v1::Envelope::kResume:
    return named(resume{from.resume().sandbox()});
  case v1::Envelope::kPs:
    return named(ps{from.ps().sandbox()});
  case v1::Envelope::kKill: {
    const auto& k = from.kill();
    if (k.signal() < 1 || k.signal() > 64)
      return fail(ec::bad_request,
                  "there is no signal " + std::to_string(k.signal()));
    if (k.exec().empty() || k.exec().size() > reference_max)
      return fail(ec::bad_request, "no exec is named",
                  "caged ps SANDBOX shows them");
    return named(kill{k.sandbox(), k.exec(), k.signal()});
  }
  case v1::Envelope::kEvents:
    if (from.events().sandbox().size() > reference_max)
      return too_long("the sandbox's name", from.events().sandbox().size(),
                      reference_max);
    return request_body{events{from.events().sandbox(), from.events().follow(),
                               from.events().since_ms()}};
  case v1::Envelope::kDial: {
    const auto& d = from.dial();
    std::optional<mcp_target> mcp;
    if (d.has_mcp()) {
      mcp =
          mcp_target{d.mcp().key(), d.mcp().read_only(), d.mcp().one_session()};
      if (!is_valid_name(mcp->key))
        return fail(ec::bad_request,
                    caged::quoted(mcp->key) + " is no key of an MCP server");
    }
    if (mcp ? d.port() != 0 : d.port() < 1 || d.port() > 65535)
      return fail(ec::bad_request, "port " + std::to_string(d.port())
                                       + " is not between 1 and 65535");
    if (d.credit() > limits::window_max)
      return too_long("the window", d.credit(), limits::window_max);
    return named(dial{d.sandbox(), static_cast<std::uint16_t>(d.port()),
                      d.credit(), d.resume(), std::move(mcp)});
  }
  case v1::Envelope::kTokenCreate: {
    const auto& t = from.token_create();
    if (t.sandbox().empty() == t.template_().empty())
      return fail(ec::bad_request,
                  "a token is for one sandbox or for one template",
                  "give --sandbox or --template");
    if (t.sandbox().size() > reference_max)
      return too_long("the sandbox's name", t.sandbox().size(), reference_max);
    if (!t.template_().empty() && !is_valid_name(t.template_()))
      return fail(ec::bad_request,
                  caged::quoted(t.template_()) + " is no name of a template");
    if (t.scope() != v1::TOKEN_SCOPE_MCP && t.scope() != v1::TOKEN_SCOPE_READ)
      return fail(ec::bad_request, "the token's scope is unknown",
                  "the scopes are mcp and read");
    if (t.ttl_ms() < static_cast<std::uint64_t>(limits::token_ttl_min.count())
        || t.ttl_ms()
               > static_cast<std::uint64_t>(limits::token_ttl_max.count()))
      return fail(ec::bad_request,
                  "a token lives from " + format_duration(limits::token_ttl_min)
                      + " to " + format_duration(limits::token_ttl_max));
    return request_body{token_create{t.sandbox(), t.template_(),
                                     static_cast<token_scope>(t.scope()),
                                     std::chrono::milliseconds(t.ttl_ms())}};
  }
  case v1::Envelope::kTokenList:
    return request_body{token_list{}};
  case v1::Envelope::kTokenRevoke:
    if (!is_valid_name(from.token_revoke().token()))
      return fail(ec::bad_request,
                  caged::quoted(from.token_revoke().token())
                      + " is no id of a token",
                  "caged token list shows them");
    return request_body{token_revoke{from.token_revoke().token()}};
  case v1::Envelope::kKeyAuthorize: {
    const auto& k = from.key_authorize();
    auto key = parse_public_key(k.key());
    if (!key)
      return tl::unexpected<failure>(key.error());
    if (!is_valid_name(k.name()))
      return fail(ec::bad_request,
                  caged::quoted(k.name()) + " is no name of a key's bearer",
                  "it takes 1 to " + std::to_string(limits::name_max)
                      + " of a-z, 0-9 and -, not - first");
    const auto as = read_role(k.role());
    if (!as)
      return fail(ec::bad_request, "the key's role is unknown",
                  "the roles are admin, user and viewer");
    return request_body{key_authorize{*key, k.name(), *as, k.shared()}};
  }
  case v1::Envelope::kKeyRevoke: {
    const auto& k = from.key_revoke().key();
    if (is_valid_name(k))
      return request_body{key_revoke{k}};
    auto key = parse_public_key(k);
    if (!key)
      return fail(ec::bad_request,
                  caged::quoted(k) + " is neither a public key nor a name",
                  "caged key list shows both");
    return request_body{key_revoke{std::move(*key)}};
  }
  case v1::Envelope::kKeyList:
    return request_body{key_list{}};
  case v1::Envelope::kClientGone:
    return request_body{client_gone{}};
  case v1::Envelope::kNodeList:
    return request_body{node_list{}};
  case v1::Envelope::kNodeGet:
    return of_node(node_get{from.node_get().node()});
  case v1::Envelope::kNodeCordon:
    return of_node(
        node_cordon{from.node_cordon().node(), from.node_cordon().on()});
  case v1::Envelope::kNodeRemove:
    return of_node(
        node_remove{from.node_remove().node(), from.node_remove().force()});
  case v1::Envelope::kNodeTokenCreate:
    return read_node_token(from.node_token_create());
  case v1::Envelope::kJoin:
    return read_join(from.join());
  case v1::Envelope::kTemplateRead:
    return read_template_read(from.template_read());
  case v1::Envelope::kNodeShutdown:
    return request_body{node_shutdown{from.node_shutdown().destroy_all()}};
  case v1::Envelope::kSignal:
    if (from.signal().number() < 1 || from.signal().number() > 64)
      return fail(ec::bad_request,
                  "there is no signal "
                      + std::to_string(from.signal().number()));
    return request_body{exec_signal{from.signal().number()}};
  case v1::Envelope::kResize: {
    if (from.resize().rows() < 1 || from.resize().rows() > 10000
        || from.resize().cols() < 1 || from.resize().cols() > 10000)
      return fail(ec::bad_request, "a terminal has 1 to 10000 rows and "
                                   "columns");
    return request_body{
        exec_resize{static_cast<std::uint16_t>(from.resize().rows()),
                    static_cast<std::uint16_t>(from.resize().cols())}};
  }
  default:
    return read_stream<request_body>(from);
  }
}

} // namespace caged::api::wire
