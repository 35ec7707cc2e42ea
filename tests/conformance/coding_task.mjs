// A small coding task, as a model would do it, by the SDK's clients: look
// around, search, run the failing test, read, edit, test, diff, commit. What a
// tool claims is compared with what git and the disk say from outside.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { equal, eventually, has, main, ok, within } from './lib/check.mjs';
import { connect } from './lib/clients.mjs';
import { codingWorkspace, git } from './lib/server.mjs';

const [program, check] = process.argv.slice(2);
const [kind, mode] = check.split('-');
const revision = kind === 'new' ? '2026-07-28' : '2025-11-25';
const tools = ['file_read', 'file_write', 'file_edit', 'file_list',
               'file_delete', 'file_search', 'terminal_exec', 'git_status',
               'git_diff', 'git_log', 'git_commit'];

function textOf(result) {
  return (result.content ?? []).filter(block => block.type === 'text')
    .map(block => block.text).join('\n');
}

await main(async () => {
  const workspace = codingWorkspace();
  let peer;
  try {
    peer = await within(15_000, 'connect',
                        connect(kind, mode, program, workspace.folder));
    await task(peer, workspace.folder);
  } finally {
    try {
      await finish(peer);
    } finally {
      workspace.remove();
    }
  }
});

/// Every call: an answer in time that is no error and, where the tool promises
/// structured content, has it (the clients check it against the schema).
async function call(peer, promised, name, args, { fails = false } = {}) {
  const result = await within(20_000, name, peer.call(name, args));
  const text = textOf(result);
  ok(Boolean(result.isError) === fails,
     `${name} ${JSON.stringify(args)} ${fails ? 'is refused' : 'works'}`, text);
  if (fails)
    ok(text.length > 10, `${name}: the refusal says why`, result);
  else if (promised.has(name))
    ok(typeof result.structuredContent === 'object'
       && result.structuredContent !== null,
       `${name}: structured content, as its schema promises`, result);
  return { text, structured: result.structuredContent };
}

async function task(peer, folder) {
  const onDisk = name => readFileSync(join(folder, name), 'utf8');
  equal(peer.version(), revision, `${kind} over ${mode}: the revision`);
  const listed = await peer.client.listTools();
  const names = listed.tools.map(tool => tool.name);
  has(names.join(' '), tools, 'tools/list names every tool');
  ok(listed.tools.every(tool => tool.description && tool.annotations
                                && tool.inputSchema?.type === 'object'),
     'every tool has a description, annotations and an input schema');
  const promised = new Set(listed.tools.filter(tool => tool.outputSchema)
                             .map(tool => tool.name));
  const use = (name, args, how) => call(peer, promised, name, args, how);

  // Look around.
  has((await use('file_list', { path: '.' })).text,
      ['README.md', 'src', 'test.sh'], 'file_list shows the folder');
  const found = await use('file_search', { pattern: '**/*.sh' });
  has(found.text, ['src/add.sh', 'test.sh'], 'file_search finds by **/*.sh');
  ok(!found.text.includes('README'), 'file_search finds nothing else',
     found.text);
  const inside = await use('file_search', { content: 'echo \\$\\(\\(' });
  has(inside.text, ['src/add.sh'], 'file_search finds a line by its content');
  ok(!inside.text.includes('test.sh'), 'and no other', inside.text);
  const status = await use('git_status', {});
  ok(!/\.sh|README/.test(status.text), 'git_status: nothing changed',
     status.text);

  // The test fails: an answer with an exit code, no protocol error.
  const before = await peer.call('terminal_exec',
                                 { command: 'sh test.sh', timeout: 10 });
  has(textOf(before), ['FAIL: 2 + 3 is -1'], 'terminal_exec: the test fails');
  equal(before.structuredContent?.exit_code, 3, 'its exit code is 3');
  ok(!before.isError, 'a command that fails is no error of the tool', before);

  // Read, edit, and what must not go through.
  const source = onDisk('src/add.sh');
  has((await use('file_read', { path: 'src/add.sh' })).text, [source.trimEnd()],
      'file_read gives the text');
  await use('file_edit', { path: 'src/add.sh', old_text: 'no such text',
                           new_text: 'x' }, { fails: true });
  equal(onDisk('src/add.sh'), source, 'a refused edit changes nothing');
  await use('file_edit', { path: 'src/add.sh', old_text: '$1 - $2',
                           new_text: '$1 + $2' });
  equal(onDisk('src/add.sh'), source.replace('-', '+'),
        'file_edit changed exactly that');
  await use('file_read', { path: '../outside' }, { fails: true });
  await use('file_read', { path: 'missing.txt' }, { fails: true });

  // Test again, in one call with an empty file beside it: a text block that is
  // empty has a text all the same.
  await use('file_write', { path: 'src/new/empty.txt', content: '' });
  equal(onDisk('src/new/empty.txt'), '', 'file_write makes an empty file');
  const empty = await peer.call('file_read', { path: 'src/new/empty.txt' });
  ok(empty.content.every(block => block.type !== 'text'
                                  || typeof block.text === 'string'),
     'file_read of an empty file has a text', empty);
  const words = 'Grüße, 世界 🦀\n"quoted"\\ \u0001\ttab\r\n';
  await use('file_write', { path: 'words.txt', content: words });
  equal(onDisk('words.txt'), words, 'file_write writes what was sent');
  has((await use('file_read', { path: 'words.txt' })).text, ['世界 🦀'],
      'file_read gives it back');
  has((await use('terminal_exec', { command: 'sh test.sh' })).text, ['PASS'],
      'terminal_exec: the test passes');

  // A message of more than 64 KiB in each direction.
  const long = 'a line of text that is 38 bytes long\n'.repeat(8000);
  await use('file_write', { path: 'long.txt', content: long });
  equal(onDisk('long.txt'), long, 'file_write writes 296 kB');
  has((await use('file_read', { path: 'long.txt' })).text, [long.trimEnd()],
      'file_read gives 296 kB');
  await use('file_delete', { path: 'long.txt' });
  ok(!existsSync(join(folder, 'long.txt')), 'file_delete deletes');
  await use('file_delete', { path: '.' }, { fails: true });
  ok(existsSync(join(folder, 'README.md')), 'the workspace is still there');

  await atTheSameTime(peer, folder);

  // Commit what was done, and only that.
  has((await use('git_status', {})).text, ['src/add.sh', 'words.txt'],
      'git_status names what changed');
  has((await use('git_diff', {})).text,
      ['-echo $(($1 - $2))', '+echo $(($1 + $2))'], 'git_diff shows the edit');
  ok(!(await use('git_diff', { staged: true })).text.includes('add.sh'),
     'git_diff of the index shows nothing yet');
  await use('git_commit', { message: 'Add instead of subtracting',
                            files: ['src/add.sh'] });
  equal(git(folder, 'log', '-1', '--format=%an %s').trim(),
        'Ada Add instead of subtracting', 'git itself sees the commit');
  equal(git(folder, 'show', '--format=', '--name-only').trim(), 'src/add.sh',
        'the commit has that one file');
  has((await use('git_log', { count: 5 })).text,
      ['Add instead of subtracting', 'Sums'], 'git_log shows both commits');
  equal(git(folder, 'fsck', '--full', '--strict').trim(), '',
        'the repository is sound');
}

/// Twenty calls at once, a ping that overtakes a command, and a cancelled
/// command that ends with its children.
async function atTheSameTime(peer, folder) {
  const reads = await within(20_000, '20 calls at once', Promise.all(
    Array.from({ length: 20 }, (_, i) => peer.call(
      'terminal_exec', { command: `echo number $((${i} * ${i}))` }))));
  ok(reads.every((result, i) => textOf(result).includes(`number ${i * i}`)),
     'each of 20 calls at once gets its own answer', reads.map(textOf));

  const gate = join(folder, 'gate');
  let done = false;
  const slow = peer.call('terminal_exec', {
    command: 'until [ -e gate ]; do sleep 0.05; done; echo opened' })
    .then(result => { done = true; return result; });
  // 2026-07-28 has no ping: there any other request must overtake.
  if (kind === 'new')
    await within(5000, 'tools/list during a command', peer.client.listTools());
  else
    await within(5000, 'ping during a command', peer.client.ping());
  const read = await within(5000, 'file_read during a command',
                            peer.call('file_read', { path: 'README.md' }));
  has(textOf(read), ['# Sums'], 'a file is read while a command runs');
  ok(!done, 'the command still runs');
  writeFileSync(gate, '');
  has(textOf(await within(10_000, 'the command', slow)), ['opened'],
      'and then ends by itself');
  await peer.call('file_delete', { path: 'gate' });

  const pids = join(folder, 'pids');
  const stop = new AbortController();
  const cancelled = peer.call('terminal_exec', {
    command: 'echo $$ >pids.new; sleep 60 & echo $! >>pids.new;'
             + ' mv pids.new pids; wait' }, { signal: stop.signal })
    .then(() => 'answered', () => 'cancelled');
  ok(await eventually(() => existsSync(pids)), 'a long command runs');
  const running = readFileSync(pids, 'utf8').trim().split('\n');
  const alive = () => running.filter(isAlive);
  equal(alive().length, 2, 'the shell and its child');
  stop.abort();
  equal(await within(5000, 'cancel', cancelled), 'cancelled',
        'the call is cancelled');
  ok(await eventually(() => alive().length === 0),
     'a cancelled command ends with its children', alive());
  for (const pid of alive())
    process.kill(Number(pid), 'SIGKILL');
  await peer.call('file_delete', { path: 'pids' });
}

function isAlive(pid) {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/// HTTP before 2026-07-28: the client ends its session, and then it is gone.
async function endSession(peer) {
  const session = peer.transport.sessionId;
  if (!ok(session, 'the server gave the session an id'))
    return;
  await within(5000, 'DELETE', peer.transport.terminateSession());
  const after = await fetch(peer.server.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'mcp-session-id': session,
               accept: 'application/json, text/event-stream',
               'mcp-protocol-version': revision },
    body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
    signal: AbortSignal.timeout(5000),
  });
  await after.text();
  equal(after.status, 404, 'a request of an ended session is answered by 404');
}

async function finish(peer) {
  if (!peer)
    return;
  if (mode === 'http' && kind !== 'new')
    await endSession(peer);
  const said = await within(15_000, 'close', peer.close());
  if (peer.server)
    ok(said.code === 0 && said.signal === null,
       'SIGTERM ends the server with 0', said);
  else
    ok(await eventually(() => !isAlive(peer.pid), 2000),
       'the server ends with its input');
  for (const line of peer.log().split('\n').filter(Boolean)) {
    let parsed = null;
    try {
      parsed = JSON.parse(line);
    } catch { /* told below */ }
    if (parsed === null) {
      ok(false, 'the log is a JSON object a line', line);
      break;
    }
  }
  await wait(0);
}
