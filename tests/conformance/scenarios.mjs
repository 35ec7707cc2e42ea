// The official conformance suite's server scenarios, over HTTP. It is one run;
// each scenario's own record of checks is judged here, more strictly than by
// the suite: it accepts "unknown tool" as an answer, and warnings.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { connect } from './lib/clients.mjs';
import { equal, main, ok } from './lib/check.mjs';
import { throughGateway } from './lib/gateway.mjs';
import { codingWorkspace, listen } from './lib/server.mjs';

const [program, check] = process.argv.slice(2);
const suite = join(dirname(createRequire(import.meta.url).resolve(
  '@modelcontextprotocol/conformance/package.json')), 'dist/index.js');

/// All of them: the fixtures answer to everything that the suite names. A
/// scenario that is left out one day gets its reason here, beside its name.
const applies = [
  'server-initialize', 'logging-set-level', 'ping', 'completion-complete',
  'tools-list', 'tools-call-simple-text', 'tools-call-image',
  'tools-call-audio', 'tools-call-embedded-resource',
  'tools-call-mixed-content', 'tools-call-with-logging', 'tools-call-error',
  'tools-call-with-progress', 'tools-call-sampling', 'tools-call-elicitation',
  'json-schema-2020-12', 'elicitation-sep1034-defaults', 'server-sse-polling',
  'server-sse-multiple-streams', 'elicitation-sep1330-enums',
  'resources-list', 'resources-read-text', 'resources-read-binary',
  'resources-templates-read', 'resources-subscribe', 'resources-unsubscribe',
  'prompts-list', 'prompts-get-simple', 'prompts-get-with-args',
  'prompts-get-embedded-resource', 'prompts-get-with-image',
  'dns-rebinding-protection',
];
const leftOut = {};
/// The fixture tools that the suite calls: there, or the scenario shows nothing.
const fixtures = ['test_simple_text', 'test_image_content',
                  'test_audio_content', 'test_embedded_resource',
                  'test_multiple_content_types', 'test_tool_with_logging',
                  'test_error_handling', 'test_tool_with_progress',
                  'test_reconnection', 'json_schema_2020_12_tool',
                  'test_sampling', 'test_elicitation',
                  'test_elicitation_sep1034_defaults',
                  'test_elicitation_sep1330_enums'];

function run(args) {
  return new Promise(resolve => {
    const child = spawn(process.execPath, [suite, ...args],
                        { stdio: ['ignore', 'pipe', 'pipe'] });
    const clock = setTimeout(() => child.kill('SIGKILL'), 120_000);
    let said = '';
    child.stdout.on('data', data => { said += data; });
    child.stderr.on('data', data => { said += data; });
    child.on('close', code => {
      clearTimeout(clock);
      resolve({ code, said });
    });
  });
}

/// Scenario -> its checks. A folder is called server-SCENARIO-TIME.
function records(folder, names) {
  const found = new Map();
  for (const entry of readdirSync(folder, { recursive: true })) {
    if (!entry.endsWith('checks.json'))
      continue;
    const name = names.filter(one => entry.includes(`server-${one}-`))
      .sort((a, b) => b.length - a.length)[0];
    if (name)
      found.set(name, JSON.parse(readFileSync(join(folder, entry), 'utf8')));
  }
  return found;
}

async function lookAt(folder, running) {
  const peer = await connect('v1', 'http', program, folder, running);
  try {
    const tools = (await peer.client.listTools()).tools.map(tool => tool.name);
    for (const name of fixtures)
      ok(tools.includes(name), `the fixture ${name} is there`, tools);
  } finally {
    await peer.close();
  }
}

async function judge(server, folder) {
  // A stand-alone server is quick to start: the suite's own is left alone.
  await lookAt(folder, check === 'gateway' ? server : undefined);
  const out = mkdtempSync(join(tmpdir(), 'suite-'));
  const all = (await run(['list', '--server'])).said;
  const names = [...all.matchAll(/^\s+- (\S+)/gm)].map(match => match[1]);
  const known = [...applies, ...Object.keys(leftOut)];
  equal(names.filter(name => !known.includes(name)).join(' '), '',
        'every scenario of the suite is decided upon here');
  equal(known.filter(name => !names.includes(name)).join(' '), '',
        'every scenario named here exists');

  const { said } = await run(['server', '--url', server.url, '--suite', 'all',
                              '-o', out]);
  const got = records(out, names);
  for (const name of applies) {
    const checks = got.get(name) ?? [];
    const bad = checks.filter(check => ['FAILURE', 'WARNING']
                                .includes(check.status));
    const good = checks.filter(check => check.status === 'SUCCESS');
    ok(good.length > 0 && bad.length === 0, `scenario ${name}`,
       checks.length > 0 ? bad : said.slice(-1500));
  }
  for (const [name, why] of Object.entries(leftOut))
    console.log(`left out: ${name}: ${why}`);
}

await main(async () => {
  const workspace = codingWorkspace();
  const server = check === 'gateway'
    ? await throughGateway(program)
    : await listen(program, 'http', workspace.folder);
  try {
    await judge(server, workspace.folder);
    ok(!server.ended, 'the server is still there', server.log);
  } finally {
    await server.stop();
    workspace.remove();
  }
});
