// A server process that listens, and a workspace with a small git repository.
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync }
  from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { eventually } from './check.mjs';

/// Starts `program` on a free port of loopback and waits until it says where.
/// `mode`: ws or http.
export async function listen(program, mode, workspace, more = []) {
  const child = spawn(program,
                      ['--mode', mode, '--host', '127.0.0.1', '--port', '0',
                       '--workspace', workspace, ...more],
                      { stdio: ['ignore', 'ignore', 'pipe'] });
  const server = { child, log: '', ended: false };
  child.stderr.setEncoding('utf8').on('data', text => { server.log += text; });
  const ended = new Promise(resolve => {
    child.on('error', error => { server.log += error; resolve(); });
    child.on('exit', resolve);
  }).then(() => { server.ended = true; });
  server.stop = async () => {
    if (!server.ended) {
      child.kill('SIGTERM');
      const clock = setTimeout(() => child.kill('SIGKILL'), 5000);
      await ended;
      clearTimeout(clock);
    }
    return { code: child.exitCode, signal: child.signalCode };
  };
  let port;
  const listens = () => (port = portIn(server.log)) !== undefined;
  if (!await eventually(() => server.ended || listens()) || server.ended) {
    await server.stop();
    throw new Error(`${program} --mode ${mode} does not listen: ${server.log}`);
  }
  server.url = mode === 'ws' ? `ws://127.0.0.1:${port}/`
                             : `http://127.0.0.1:${port}/mcp`;
  return server;
}

/// Of the line "listening" in a log of one JSON object a line.
function portIn(log) {
  for (const line of log.split('\n')) {
    if (!line.includes('listening'))
      continue;
    try {
      return JSON.parse(line).port;
    } catch { /* half a line */ }
  }
  return undefined;
}

export function git(folder, ...args) {
  return execFileSync('git', args, {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null',
           GIT_CONFIG_NOSYSTEM: '1' },
  });
}

/// A repository whose test fails: add.sh subtracts.
export function codingWorkspace() {
  const folder = mkdtempSync(join(tmpdir(), 'ws-'));
  const files = {
    'README.md': '# Sums\n\nRun test.sh.\n',
    'src/add.sh': '#!/bin/sh\n# Prints the sum of two numbers.\n'
                  + 'echo $(($1 - $2))\n',
    'src/deep/er/notes.txt': 'nothing here\n',
    'test.sh': '#!/bin/sh\ngot=$(sh src/add.sh 2 3)\n'
               + 'if [ "$got" = 5 ]; then echo "PASS"; else\n'
               + '  echo "FAIL: 2 + 3 is $got" >&2; exit 3\nfi\n',
  };
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  chmodSync(join(folder, 'test.sh'), 0o755);
  git(folder, 'init', '-q', '-b', 'main');
  git(folder, 'config', 'user.name', 'Ada');
  git(folder, 'config', 'user.email', 'ada@example.org');
  git(folder, 'add', '.');
  git(folder, 'commit', '-q', '-m', 'Sums');
  return { folder, remove: () => rmSync(folder, { recursive: true }) };
}
