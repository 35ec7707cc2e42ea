#include "cli/token.hpp"

#include <iostream>

#include "cli/endpoint.hpp"
#include "messages/text.hpp"

namespace caged::cli {

result<int> run_token_create(const common_options& with,
                             const token_options& what) {
  api::token_create wanted;
  if (what.sandbox.empty() == what.template_name.empty())
    return fail(ec::bad_request,
                "a token is for one sandbox or for one template",
                "give --sandbox or --template");
  wanted.sandbox = what.sandbox;
  wanted.template_name = what.template_name;
  const auto scope = api::token_scope_from(what.scope);
  if (!scope)
    return fail(ec::bad_request,
                "there is no scope " + caged::quoted(what.scope),
                "the scopes are mcp and read");
  wanted.scope = *scope;
  if (!what.ttl.empty()) {
    auto ttl = parse_duration(what.ttl);
    if (!ttl)
      return tl::unexpected<failure>(ttl.error());
    if (*ttl < limits::token_ttl_min || *ttl > limits::token_ttl_max)
      return fail(ec::bad_request,
                  "--ttl " + caged::quoted(what.ttl) + " is not between "
                      + format_duration(limits::token_ttl_min) + " and "
                      + format_duration(limits::token_ttl_max));
    wanted.ttl = *ttl;
  }
  auto made = ask<api::token_reply>(with.endpoint, std::move(wanted));
  if (!made)
    return tl::unexpected<failure>(made.error());
  std::cout << show(*made, with.as);
  if (with.as == format::table)
    std::cerr << made->info.id << ": Authorization: Bearer, for "
              << (made->url.empty() ? "a gateway, which this node does not have"
                                    : made->url)
              << "; it is shown this once\n";
  return 0;
}

result<int> run_token_list(const common_options& with,
                           const token_options& what) {
  auto got = ask<api::token_list_reply>(with.endpoint, api::token_list{});
  if (!got)
    return tl::unexpected<failure>(got.error());
  if (what.quiet)
    for (const auto& each : got->tokens)
      std::cout << escape_text(each.id) << "\n";
  else
    std::cout << show(*got, with.as);
  return 0;
}

result<int> run_token_revoke(const common_options& with,
                             const token_options& what) {
  int code = 0;
  for (const auto& id : what.ids) {
    auto done =
        ask<api::token_revoke_reply>(with.endpoint, api::token_revoke{id});
    if (done)
      std::cout << escape_text(done->token) << "\n";
    else
      code = exit_code_of(done.error(), false);
  }
  return code;
}

} // namespace caged::cli
